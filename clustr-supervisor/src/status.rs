//! The picture that `clustr status` shows.
//!
//! Owns the translation of the core's views into the control protocol's. Never changes anything.

use clustr_core::{App, SlotView, Time, WorkerId, WorkerView};

use crate::clock::millis;
use crate::control::protocol::{AppStatus, ListenerStatus, RolledBack, WorkerStatus};
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
    /// The last reload that failed, and when.
    pub(crate) rolled_back: Option<(RolledBack, Time)>,
}

/// An app as it is now. `pid` tells a worker's process.
pub(crate) fn app_status(
    app: &App,
    facts: AppFacts<'_>,
    now: Time,
    pid: impl Fn(WorkerId) -> Option<u32>,
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
        workers: app.slots().flat_map(|slot| slot_status(app, &slot, now, &pid)).collect(),
        command: facts.command,
        rolled_back: facts
            .rolled_back
            .map(|(failed, at)| RolledBack { ago_ms: millis(now.since(at)), ..failed }),
    }
}

/// A slot's workers, or the slot alone if there are none.
fn slot_status(
    app: &App,
    slot: &SlotView,
    now: Time,
    pid: &impl Fn(WorkerId) -> Option<u32>,
) -> Vec<WorkerStatus> {
    let workers = app.workers().filter(|view| view.worker.slot == slot.slot);
    let theirs: Vec<WorkerStatus> =
        workers.map(|view| worker_status(slot, &view, pid(view.worker), now)).collect();
    if theirs.is_empty() { vec![vacancy(slot, now)] } else { theirs }
}

fn worker_status(slot: &SlotView, view: &WorkerView, pid: Option<u32>, now: Time) -> WorkerStatus {
    let used = pid.and_then(usage);
    WorkerStatus {
        incarnation: view.worker.incarnation,
        generation: view.generation.0,
        pid,
        state: view.state.name().into(),
        uptime_ms: pid.map(|_| millis(now.since(view.started_at))),
        rss_bytes: used.map(|used| used.rss_bytes),
        cpu_ms: used.map(|used| millis(used.cpu)),
        ..vacancy(slot, now)
    }
}

/// What is to say of a slot whoever is in it.
fn vacancy(slot: &SlotView, now: Time) -> WorkerStatus {
    WorkerStatus {
        slot: slot.slot.0,
        incarnation: slot.worker.map_or(0, |worker| worker.incarnation),
        generation: slot.generation.0,
        pid: None,
        state: slot.state.name().into(),
        restarts: slot.restarts,
        uptime_ms: None,
        last_exit: slot.last_exit.map(exit_words),
        rss_bytes: None,
        cpu_ms: None,
        rest_ms: slot.rests_until.map(|until| millis(until.since(now))),
    }
}
