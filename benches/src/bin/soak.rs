//! `soak [--connections N] [--restarts N]`: what much work leaves behind in a primary.
//!
//! Owns the limits: at most 200 kB more, and the same number of descriptors. Ends with 1 if one of them is passed.
#![expect(clippy::print_stdout, reason = "a report")]

use std::process::ExitCode;

use clustr_benches::places::Places;
use clustr_benches::primary::Primary;
use clustr_benches::soak::{self, Growth};

/// So much more memory, over both runs.
const GROWTH_BYTES_MAX: u64 = 200_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            println!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<bool, String> {
    let connections = number(words, "--connections", 100_000)?;
    let restarts = number(words, "--restarts", 10_000)?;
    let places = Places::find()?;
    let primary = Primary::start(&places.clustr, &["-n", "2"], &["node", &Places::peer("hello.js")])?;
    primary.wait_ready(2)?;
    primary.settle()?;
    let served = soak::connections(&primary, u64::from(connections))?;
    primary.stop()?;
    let told = tell(&format!("{connections} connections"), &served);
    let restarted = soak::restarts(&places.clustr, &places.trivial, restarts)?;
    let told = tell(&format!("{restarts} restarts"), &restarted) && told;
    let sum = served.bytes() + restarted.bytes();
    println!("together {sum} bytes more, {GROWTH_BYTES_MAX} allowed");
    Ok(told && sum <= GROWTH_BYTES_MAX)
}

fn tell(what: &str, growth: &Growth) -> bool {
    let Growth { before, after } = growth;
    let (from, to) = (before.descriptors, after.descriptors);
    println!("{what}: PSS {} → {} bytes, descriptors {from} → {to}", before.pss_bytes, after.pss_bytes);
    from == to
}

fn number(words: &[String], name: &str, otherwise: u32) -> Result<u32, String> {
    match words.iter().position(|word| word == name) {
        None => Ok(otherwise),
        Some(at) => {
            let value = words.get(at + 1).and_then(|word| word.parse().ok());
            value.ok_or_else(|| format!("{name} needs a number"))
        }
    }
}
