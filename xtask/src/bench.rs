//! `cargo xtask bench` and `cargo xtask soak`: measurements and long trials, which live in the `benches` package.
//!
//! Owns only the ways in, so that no other chore compiles what is heavy. Never measures anything itself.

use crate::{Outcome, run};

/// The chore: `micro` runs the criterion suites; everything else goes to the side-by-side program.
pub(crate) fn run(args: &[String]) -> Outcome {
    let (words, rest) = route(args);
    run::run(run::cargo(words).args(rest))
}

/// The chore `soak`.
pub(crate) fn soak(args: &[String]) -> Outcome {
    run::run(
        run::cargo(&["run", "--release", "--package", "clustr-benches", "--bin", "soak", "--"]).args(args),
    )
}

fn route(args: &[String]) -> (&'static [&'static str], &[String]) {
    match args.split_first() {
        Some((what, rest)) if what == "micro" => (&["bench", "--package", "clustr-benches", "--"], rest),
        _ => (&["run", "--release", "--package", "clustr-benches", "--bin", "bench", "--"], args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_goes_to_criterion_and_the_rest_to_the_program() {
        let args = ["micro".to_owned(), "backoff".to_owned()];
        assert_eq!(route(&args).0[0], "bench");
        assert_eq!(route(&args).1, ["backoff"]);
        assert_eq!(
            route(&args[1..]),
            (&["run", "--release", "--package", "clustr-benches", "--bin", "bench", "--"][..], &args[1..])
        );
    }
}
