//! What workers have written down: each connection, before anything else is done for it.
//!
//! Owns the judgement whether a failure is of a connection that a killed worker had accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::ensure;
use crate::load::{Failure, Tally};

/// A worker that was killed, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Killed {
    pub(super) pid: u32,
    pub(super) at_ns: u64,
}

/// Every failure is of a connection that a killed worker had written into its log; returns how many are not.
///
/// A worker takes one connection at a time and writes it down at once after accept(2), and is killed in between now and
/// then, the more so on a busy machine: one connection of each kill may be missing in its log, never two.
pub(super) fn check_logs(folder: &Path, tally: &Tally, killed: &[Killed]) -> Result<usize, String> {
    let logs: BTreeMap<u32, Vec<(u64, u16)>> =
        killed.iter().map(|dead| (dead.pid, log_of(folder, dead.pid))).collect();
    let is_logged = |failure: &Failure| {
        let of_its_time = killed.iter().filter(|dead| is_of(failure, dead.at_ns));
        of_its_time
            .flat_map(|dead| &logs[&dead.pid])
            .any(|(at, port)| *port == failure.port && is_of(failure, *at))
    };
    let strange: Vec<&Failure> = tally.failures.iter().filter(|failure| !is_logged(failure)).collect();
    let mut unexplained: BTreeSet<u64> = killed.iter().map(|dead| dead.at_ns).collect();
    for failure in &strange {
        let kill = unexplained.iter().copied().find(|at_ns| is_of(failure, *at_ns));
        let explained = kill.is_some_and(|kill| unexplained.remove(&kill));
        ensure(explained, || format!("no worker was killed for {failure:?}: {tally}"))?;
    }
    Ok(strange.len())
}

fn log_of(folder: &Path, pid: u32) -> Vec<(u64, u16)> {
    let text = std::fs::read_to_string(folder.join(format!("{pid}.log"))).unwrap_or_default();
    let entry = |line: &str| {
        let (at, port) = line.split_once(' ')?;
        Some((at.parse().ok()?, port.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

/// Whether something happened while the request was open.
const fn is_of(failure: &Failure, at_ns: u64) -> bool {
    failure.issued_at_ns <= at_ns && at_ns <= failure.failed_at_ns
}
