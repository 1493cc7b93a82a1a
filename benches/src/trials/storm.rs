//! A storm of kills: nobody is refused, nobody waits in vain, and a killed worker takes along only what it had accepted.
//!
//! Owns the choice of who is killed, and when.

use std::time::Duration;

use rustix::process::Signal;

use super::logs::{Killed, check_logs};
use super::{Outcome, SOON, Subject, TIRELESS, ensure, short_connections, stop};
use crate::load::{Running, monotonic_ns};
use crate::primary::Primary;
use crate::started::signal_pid;
use crate::wait;

/// Between two kills, at least.
const REST: Duration = Duration::from_millis(200);

/// So many kills of two workers, while 500 connections arrive each second.
///
/// # Errors
///
/// Somebody was refused or timed out, or failed whom no killed worker had accepted.
pub fn storm(subject: Subject<'_>, kills: usize) -> Outcome {
    let primary = subject.start("logged.js", 2, &TIRELESS)?;
    let load = short_connections(&primary, 500.0)?;
    let killed = kill(&primary, &load, kills)?;
    let tally = stop(load)?;
    ensure(tally.refused == 0 && tally.timed_out == 0, || tally.to_string())?;
    ensure(tally.success > kills as u64 * 20, || format!("hardly anybody was served: {tally}"))?;
    let unlogged = check_logs(primary.folder(), &tally, &killed)?;
    primary.stop()?;
    let kills = killed.len();
    Ok(format!("{}: {tally}, {kills} kills, {unlogged} failures in no log", subject.share))
}

/// Between two kills so many are answered, at least: on a busy machine workers may take longer to start than the storm
/// would let them live, and then nobody could be.
const ANSWERS: u64 = 50;

/// Kills the longest-lived worker, again and again.
fn kill(primary: &Primary, load: &Running, kills: usize) -> Result<Vec<Killed>, String> {
    let mut killed = Vec::new();
    for _ in 0..kills {
        if let Some(oldest) = primary.workers()?.into_iter().max_by_key(|worker| worker.uptime_ms) {
            killed.push(Killed { pid: oldest.pid, at_ns: monotonic_ns() });
            signal_pid(oldest.pid, Signal::KILL)?;
        }
        let answered = load.succeeded();
        wait::observe_for(REST);
        wait::until_true("answers between two kills", SOON, || load.succeeded() >= answered + ANSWERS)?;
    }
    ensure(killed.len() * 10 >= kills * 9, || format!("only {} of {kills} found a worker", killed.len()))?;
    Ok(killed)
}
