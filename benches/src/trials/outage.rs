//! All slots dead for a while: clients wait, and are answered when somebody is there again.
//!
//! Owns the killing of every worker as soon as it is there, for as long as the outage lasts.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::logs::{Killed, check_logs};
use super::{Outcome, Subject, TIRELESS, ensure, short_connections, stop, wait_answers};
use crate::load::monotonic_ns;
use crate::primary::Primary;
use crate::started::signal_pid;

/// For so long nobody serves.
const OUTAGE: Duration = Duration::from_secs(1);

/// So many outages of two workers, while 200 connections arrive each second.
///
/// # Errors
///
/// Somebody failed whom no worker had accepted, or nobody had to wait.
pub fn outage(subject: Subject<'_>, outages: u32) -> Outcome {
    let primary = subject.start("logged.js", 2, &TIRELESS)?;
    let load = short_connections(&primary, 200.0)?;
    let (mut killed, mut kills) = (Vec::new(), 0);
    for _ in 0..outages {
        wait_answers(&load, 50)?;
        kills += keep_dead(&primary, &mut killed)?;
        primary.wait_ready(2)?;
    }
    wait_answers(&load, 50)?;
    let tally = stop(load)?;
    ensure(tally.refused == 0 && tally.timed_out == 0, || tally.to_string())?;
    let unlogged = check_logs(primary.folder(), &tally, &killed)?;
    ensure(tally.latency.longest() >= OUTAGE * 9 / 10, || format!("nobody had to wait: {tally}"))?;
    primary.stop()?;
    let told = format!("{outages} outages, {kills} kills, {unlogged} failures in no log");
    Ok(format!("{}: {tally}, {told}", subject.share))
}

/// Kills every worker as soon as it is there; adds those that served, and returns how many there were in all.
fn keep_dead(primary: &Primary, killed: &mut Vec<Killed>) -> Result<u32, String> {
    let (until, mut kills) = (Instant::now() + OUTAGE, 0);
    while Instant::now() < until {
        for worker in primary.workers()? {
            let at_ns = monotonic_ns();
            // It may have ended between the look and the kill.
            kills += u32::from(signal_pid(worker.pid, Signal::KILL).is_ok());
            killed.extend(worker.ready.then_some(Killed { pid: worker.pid, at_ns }));
        }
    }
    Ok(kills)
}
