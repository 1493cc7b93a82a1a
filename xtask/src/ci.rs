//! `cargo xtask ci`: what must hold besides the tests. Reports every failure, not only the first.
//!
//! Owns the list of steps, in the order from quick to slow. Called by `.ci/run` after `cargo xtask test`.

use std::process::Command;

use crate::{Outcome, bare, package, run, tidy, trees};

/// The chore.
pub(crate) fn run(_: &[String]) -> Outcome {
    let steps = [
        ("tidy", tidy::run(&[])),
        ("trees", trees::run(&[])),
        ("bare", bare::run(&[])),
        ("package", package::run(&[])),
        ("fmt", run::run(&mut run::cargo(&["fmt", "--all", "--check"]))),
        ("clippy", run::run(&mut clippy())),
        ("report", run::run(&mut clippy_report())),
        ("doc", run::run(&mut doc())),
    ];
    report(&steps)
}

fn clippy() -> Command {
    run::cargo(&["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"])
}

/// The comparison, whose plots nothing else compiles.
fn clippy_report() -> Command {
    run::cargo(&[
        "clippy",
        "--package",
        "clustr-benches",
        "--features",
        "report",
        "--bin",
        "bench",
        "--",
        "-D",
        "warnings",
    ])
}

fn doc() -> Command {
    let mut command = run::cargo(&["doc", "--workspace", "--no-deps", "--keep-going"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    command
}

fn report(steps: &[(&str, Outcome)]) -> Outcome {
    run::announce("summary");
    for (name, result) in steps {
        println!("{name:<8}{}", result.as_ref().err().map_or("ok", String::as_str));
    }
    let failed: Vec<&str> =
        steps.iter().filter(|(_, result)| result.is_err()).map(|(name, _)| *name).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_named() {
        let bad = || Err("broken".to_owned());
        let why = report(&[("tidy", bad()), ("fmt", Ok(())), ("clippy", bad())]).unwrap_err();
        assert_eq!(why, "failed: tidy, clippy");
        assert!(report(&[("tidy", Ok(()))]).is_ok());
    }
}
