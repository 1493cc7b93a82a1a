//! `cargo xtask bare`: the core is built where there is no `std`.
//!
//! Owns the proof. With a target that has no `std` ([`TARGET`], as `rustup target add` brings it) it is that target. Without
//! it, for nothing is fetched here, it is this machine's own, in a folder of libraries that has `core` and `alloc` and no
//! `std`: whatever needs `std`, directly or not, does not compile. Called by `ci`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, run};

/// A target without an operating system.
const TARGET: &str = "x86_64-unknown-none";

/// What the crate may be built from.
const LIBRARIES: &[&str] = &["libcore-", "liballoc-", "libcompiler_builtins-"];

/// The chore.
pub(crate) fn run(_: &[String]) -> Outcome {
    let sysroot = PathBuf::from(run::ask(Command::new(rustc()).args(["--print", "sysroot"]))?);
    if libraries(&sysroot, TARGET).is_dir() {
        return run::run(&mut run::cargo(&["build", "--package", "clustr-core", "--target", TARGET]));
    }
    println!("{TARGET} is not installed: built for this machine, from core and alloc alone");
    without_std(&sysroot).map_err(|error| format!("no folder without std could be made: {error}"))?;
    run::run(&mut compile())
}

fn rustc() -> std::ffi::OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn libraries(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(target).join("lib")
}

fn bare_sysroot() -> PathBuf {
    run::cache().join("bare")
}

/// Copies the libraries that a target without `std` would have.
fn without_std(sysroot: &Path) -> Result<(), String> {
    let host = run::ask(Command::new(rustc()).args(["--print", "host-tuple"]))?;
    let (from, to) = (libraries(sysroot, &host), libraries(&bare_sysroot(), &host));
    let text = |error: std::io::Error| error.to_string();
    if to.is_dir() {
        fs::remove_dir_all(&to).map_err(text)?;
    }
    fs::create_dir_all(&to).map_err(text)?;
    for entry in fs::read_dir(from).map_err(text)?.flatten() {
        let name = entry.file_name();
        if is_bare(&name.to_string_lossy()) {
            fs::copy(entry.path(), to.join(&name)).map_err(text)?;
        }
    }
    Ok(())
}

fn is_bare(library: &str) -> bool {
    LIBRARIES.iter().any(|known| library.starts_with(known))
}

/// The core has no dependencies, so its compiler needs no cargo.
fn compile() -> Command {
    let mut command = Command::new(rustc());
    command.current_dir(run::root()).arg("--sysroot").arg(bare_sysroot());
    command.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--out-dir"]);
    command.arg(bare_sysroot()).arg("clustr-core/src/lib.rs");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn std_and_what_stands_on_it_is_left_out() {
        assert!(is_bare("libcore-0123.rlib") && is_bare("liballoc-0123.rlib"));
        assert!(
            !["libstd-0123.rlib", "libstd-0123.so", "libproc_macro-0.rlib"].iter().any(|name| is_bare(name))
        );
    }
}
