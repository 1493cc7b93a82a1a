//! The filters of every machine, as they are installed.

use std::fmt::Write as _;

use clustr_net::intercept::{Arch, Filter, Watch};

#[test]
fn the_filters_are_those_that_were_read() {
    let mut text = String::new();
    let machines = [("x86-64", [Arch::X86_64, Arch::X86]), ("64-bit Arm", [Arch::Aarch64, Arch::Arm])];
    for (machine, archs) in machines {
        for (way, watch) in [("adopt", Watch::default()), ("replace", Watch { v6_only: true })] {
            write!(text, "{machine}, {way}:\n{}", Filter::new(&archs, watch)).unwrap();
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/intercept.golden.txt");
    if std::env::var_os("CLUSTR_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap(), "CLUSTR_BLESS=1 writes it anew");
}
