//! Ports that workers are asked at, against how many workers there are.
//!
//! Owns the refusal of a port that several workers cannot each have. Never asks anything. Called by `plan`.

use std::time::Duration;

use clustr_supervisor::config::{Liveness, Probe, ReadyWhen};

use crate::args::RunOptions;
use crate::failure::{Failure, Usage};

/// How it is known that a worker still serves.
pub(super) fn live(options: &RunOptions) -> Option<Liveness> {
    let standard = Liveness::new(options.live.clone()?);
    Some(Liveness {
        every: options.live_every.unwrap_or(standard.every),
        timeout: options.live_timeout.unwrap_or(standard.timeout),
        failures: options.live_failures.unwrap_or(standard.failures),
        ..standard
    })
}

/// A worker is asked at a port that it alone has: one port for all, or ports beyond the last, can never all be good.
pub(super) fn check_ports(options: &RunOptions, workers: u32) -> Result<(), Failure> {
    let ready = match &options.ready {
        Some(ReadyWhen::Probe(probe)) => Some(("--ready", probe)),
        Some(ReadyWhen::Auto | ReadyWhen::Listen | ReadyWhen::Message | ReadyWhen::Notify) => None,
        Some(ReadyWhen::Delay(_)) | None => None,
    };
    let live = options.live.as_ref().map(|probe| ("--live", probe));
    for (option, probe) in ready.into_iter().chain(live) {
        check_port(option, probe, workers)?;
    }
    Ok(())
}

fn check_port(option: &str, probe: &Probe, workers: u32) -> Result<(), Failure> {
    let Probe::Tcp(port) = probe else { return Ok(()) };
    let last = workers.saturating_sub(1);
    let (first, end) = (port.of(0), port.of(last));
    let (detail, hint) = match (first, end) {
        (Some(first), Some(end)) if workers > 1 && first == end => (
            format!("a worker is asked at a port of its own, and {workers} workers cannot all have {first}"),
            format!("{option} tcp:{first}+slot"),
        ),
        (_, None) => (
            format!("slot {last} would need a port beyond 65535"),
            format!("{option} tcp:{}+slot", u32::from(u16::MAX).saturating_sub(last)),
        ),
        (_, Some(_)) => return Ok(()),
    };
    let what = format!("{option} {probe} cannot work with {workers} workers");
    Err(Failure::Usage(Usage { what, detail: Some(detail), hint: Some(hint) }))
}

/// A worker that has to live for longer than it may take is never ready.
pub(super) fn check_delay(options: &RunOptions, ready_timeout: Duration) -> Result<(), Failure> {
    let Some(ReadyWhen::Delay(delay)) = options.ready else { return Ok(()) };
    if delay < ready_timeout {
        return Ok(());
    }
    let (delay, longer) = (humantime::format_duration(delay), humantime::format_duration(delay * 2));
    Err(Failure::Usage(Usage {
        what: format!("--ready delay:{delay} is not within --ready-timeout"),
        detail: Some(format!(
            "a worker that is not ready after {} has failed",
            humantime::format_duration(ready_timeout)
        )),
        hint: Some(format!("--ready delay:{delay} --ready-timeout {longer}")),
    }))
}
