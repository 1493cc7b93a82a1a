//! The picture that `clustr status` shows.
//!
//! Owns the translation of the core's views into the control protocol's. Never changes anything.

use clustr_core::{App, SlotView, Time};

use crate::clock::millis;
use crate::control::protocol::{AppStatus, ListenerStatus, WorkerStatus};
use crate::process::usage;
use crate::tell::exit_words;

/// What the core does not know of an app.
#[derive(Debug)]
pub(crate) struct AppFacts<'a> {
    pub(crate) name: &'a str,
    pub(crate) command: Vec<String>,
    pub(crate) addresses: Vec<String>,
    pub(crate) share: &'static str,
    pub(crate) delivery: Vec<String>,
}

/// An app as it is now. `pid` tells a slot's process.
pub(crate) fn app_status(
    app: &App,
    facts: AppFacts<'_>,
    now: Time,
    pid: impl Fn(&SlotView) -> Option<u32>,
) -> AppStatus {
    let view = app.view();
    let listeners = facts.addresses.into_iter().map(|address| ListenerStatus { address });
    AppStatus {
        name: facts.name.to_owned(),
        generation: view.generation.0,
        wanted: view.wanted,
        ready: view.ready,
        share: facts.share.into(),
        delivery: facts.delivery,
        listeners: listeners.collect(),
        workers: app.slots().map(|slot| worker_status(&slot, pid(&slot), now)).collect(),
        command: facts.command,
    }
}

fn worker_status(slot: &SlotView, pid: Option<u32>, now: Time) -> WorkerStatus {
    let used = pid.and_then(usage);
    WorkerStatus {
        slot: slot.slot.0,
        incarnation: slot.worker.map_or(0, |worker| worker.incarnation),
        generation: slot.generation.0,
        pid,
        state: slot.state.name().into(),
        restarts: slot.restarts,
        uptime_ms: slot.started_at.filter(|_| pid.is_some()).map(|at| millis(now.since(at))),
        last_exit: slot.last_exit.map(exit_words),
        rss_bytes: used.map(|used| used.rss_bytes),
        cpu_ms: used.map(|used| millis(used.cpu)),
        rest_ms: slot.rests_until.map(|until| millis(until.since(now))),
    }
}
