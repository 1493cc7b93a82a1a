//! How fast one thing is beside another that is measured in the same run.
//!
//! Owns the interleaving: on a busy machine two numbers are only comparable when they were taken side by side. Called by the
//! criterion suites, after criterion's own measurements.

use std::time::Duration;

/// Pairs of measurements, enough for a median that holds still.
const PAIRS: usize = 41;

/// Measures both, turn by turn, and says in how many percent of the bare speed ours goes: the median over all pairs, and
/// the quartiles.
pub fn percent(mut bare: impl FnMut() -> Duration, mut ours: impl FnMut() -> Duration) -> [f64; 3] {
    let mut measured: Vec<f64> =
        (0..PAIRS).map(|_| 100.0 * bare().as_secs_f64() / ours().as_secs_f64()).collect();
    measured.sort_by(f64::total_cmp);
    [PAIRS / 4, PAIRS / 2, PAIRS - 1 - PAIRS / 4].map(|place| measured[place])
}

/// Prints [`percent`] as one line, with the goal.
#[allow(clippy::print_stdout, reason = "the result of a benchmark")]
pub fn print(name: &str, goal: u32, [low, median, high]: [f64; 3]) {
    println!("{name:<24} {median:>6.1} % of the bare loop (quartiles {low:.1} to {high:.1}, goal {goal})");
}
