//! Scaling down and up, again and again: nobody fails.
//!
//! Owns the commands; the load goes on all the while.

use super::{Outcome, Subject, ensure, short_connections, stop, wait_answers};

/// So often from many workers to two and back, while 500 connections arrive each second.
///
/// # Errors
///
/// One request failed.
pub fn scaling(subject: Subject<'_>, workers: u32, rounds: u32) -> Outcome {
    let primary = subject.start("hello.js", workers, &[])?;
    let load = short_connections(&primary, 500.0)?;
    for _ in 0..rounds {
        for wanted in [2, workers] {
            wait_answers(&load, 50)?;
            primary.clustr(&["scale", &wanted.to_string()])?;
            let count = primary.workers()?.len();
            ensure(count == wanted as usize, || format!("{count} workers, not {wanted}"))?;
        }
    }
    wait_answers(&load, 50)?;
    let tally = stop(load)?;
    ensure(tally.failed() == 0, || tally.to_string())?;
    primary.stop()?;
    Ok(format!("{}: {tally}, {workers} → 2 → {workers} workers {rounds} times", subject.share))
}
