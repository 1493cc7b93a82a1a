//! Notices of workers that are replaced, made into news.
//!
//! Owns the words for what became of a worker that was to take another's place. Never tells anybody. Called by
//! [`fact`](super::fact).

use std::time::Duration;

use clustr_core::{Ailment, Notice, Setback, Why, WorkerId};

use super::{Knowledge, exit_words, names};
use crate::clock::millis;
use crate::news::{Fact, span};

/// The news that a notice of replacing is.
pub(super) fn fact(notice: Notice, known: &impl Knowledge) -> Fact {
    match notice {
        Notice::Reloading { from, to, slots } => Fact::Reloading { from: from.0, to: to.0, slots },
        Notice::Remembered { instead } => Fact::Remembered { instead },
        Notice::Settling { to, ready, slots, settle } => {
            Fact::Settling { to: to.0, ready, slots, settle_ms: millis(settle) }
        }
        Notice::Parked { worker } => {
            let (slot, incarnation) = names(worker);
            Fact::Parked { slot, incarnation }
        }
        Notice::Readmitted { worker } => {
            let (slot, incarnation) = names(worker);
            Fact::Readmitted { slot, incarnation }
        }
        Notice::Reloaded { from, to, took } => {
            Fact::Reloaded { from: from.0, to: to.0, took_ms: millis(took) }
        }
        Notice::RolledBack { .. } => rolled_back(notice, known),
        Notice::ReloadCancelled { to } => Fact::ReloadCancelled { to: to.0 },
        Notice::Stranded { slot } => Fact::Stranded { slot: slot.0 },
        Notice::Renewing { .. } | Notice::Renewed { .. } | Notice::NotRenewed { .. } => renewal(notice),
        Notice::RenewedInVain { worker, why, renewals, wait } => in_vain(worker, why, renewals, wait),
        Notice::Started { .. }
        | Notice::NotStarted { .. }
        | Notice::Ready { .. }
        | Notice::Overdue { .. }
        | Notice::Left { .. }
        | Notice::Stopping { .. }
        | Notice::Killing { .. }
        | Notice::Unkillable { .. }
        | Notice::Exited { .. }
        | Notice::Resting { .. }
        | Notice::GaveUp { .. }
        | Notice::Done { .. }
        | Notice::Scaled { .. }
        | Notice::Running { .. }
        | Notice::Ending { .. }
        | Notice::Ended { .. } => unreachable!("`fact` passes notices of replacing only"),
    }
}

fn rolled_back(notice: Notice, known: &impl Knowledge) -> Fact {
    let Notice::RolledBack { tried, serves, worker, setback, put_back, lost } = notice else {
        unreachable!("`fact` passes roll backs only")
    };
    let (why, hint) = why(worker, setback, known);
    let (slot, incarnation) = names(worker);
    Fact::RolledBack {
        tried: tried.0,
        serves: serves.0,
        slot,
        incarnation,
        setback: setback.name().into(),
        why,
        put_back,
        lost,
        changed: known.changed_file().filter(|_| lost > 0),
        last_output: known.last_output(worker),
        hint: hint.or_else(|| Some(next_step(tried == serves && lost == 0, slot))),
    }
}

/// What to do once it is known why a version, or another worker of the same one, failed.
fn next_step(is_restart: bool, slot: u32) -> String {
    if is_restart {
        return format!("clustr status --slot {slot}; once that is mended: clustr restart {slot}");
    }
    "mend it, then: clustr reload".into()
}

/// What became of it in words that follow its name, and what to do.
fn why(worker: WorkerId, setback: Setback, known: &impl Knowledge) -> (String, Option<String>) {
    match setback {
        Setback::NotStarted(_) => {
            let (error, hint) = known.spawn_error();
            (format!("could not be started: {error}"), hint)
        }
        Setback::ExitedEarly(exit) => (format!("ended with {} before it was ready", exit_words(exit)), None),
        Setback::ExitedOnTrial(exit) => {
            (format!("was ready and ended with {} while it was watched", exit_words(exit)), None)
        }
        Setback::Overdue => {
            let hint = "mend it, or give it longer: clustr run --ready-timeout".into();
            let answer = known.last_answer(worker).map(|answer| format!(" ({answer})")).unwrap_or_default();
            (format!("was not ready in time{answer}"), Some(hint))
        }
        Setback::Left => ("said that it leaves".into(), None),
        Setback::Unfit => ("cannot do its work in the form in which it was started".into(), None),
        Setback::Failing(ailment) => {
            let answer = known.last_answer(worker).filter(|_| ailment == Ailment::Probe);
            let answer = answer.map(|answer| format!(" ({answer})")).unwrap_or_default();
            (format!("does not serve: {}{answer}", ailment_words(ailment, known.said_failing(worker))), None)
        }
        Setback::Crowded => {
            let hint = "look for processes in state D: ps -eo pid,stat,wchan,args".into();
            ("found no room: its slot holds workers that not even SIGKILL ends".into(), Some(hint))
        }
    }
}

const fn ailment_words(ailment: Ailment, says_so: bool) -> &'static str {
    match ailment {
        Ailment::Watchdog if says_so => "it says so itself",
        Ailment::Probe => "its probe failed too often",
        Ailment::Watchdog => "it let its watchdog time pass",
        Ailment::Stuck => "what waits for it stands still",
    }
}

/// That nothing is won by replacing it, and where to look instead.
fn in_vain(worker: WorkerId, why: Why, renewals: u32, wait: Duration) -> Fact {
    let (slot, why_name, wait) = (worker.slot, why.name(), span(millis(wait)));
    let detail = format!(
        "slot={slot} why={why_name}: its replacements fail as it did, {renewals} in a row soon after they were ready; \
         next in {wait}, then later each time, until one serves for longer"
    );
    let hint = match why {
        Why::Failing(Ailment::Probe) => "mend the program, or what --live asks it",
        Why::Failing(Ailment::Watchdog) => "mend the program, or what it says to its watchdog",
        Why::Failing(Ailment::Stuck) => "mend the program, or give it longer: clustr run --hang-timeout",
        Why::Worn(_) => "it needs more from the start: clustr run --max-rss",
    };
    Fact::Warning { detail, hint: Some(hint.into()) }
}

fn renewal(notice: Notice) -> Fact {
    if let Notice::Renewing { worker, by, why } = notice {
        let (slot, incarnation) = names(worker);
        return Fact::Renewing { slot, incarnation, by: by.incarnation, why: why.name().into() };
    }
    if let Notice::Renewed { worker, by, ready } = notice {
        let (slot, incarnation) = names(worker);
        return Fact::Renewed { slot, incarnation, by: by.incarnation, ready };
    }
    let Notice::NotRenewed { worker, why, setback } = notice else {
        unreachable!("`fact` passes renewals only")
    };
    let (slot, incarnation) = names(worker);
    Fact::NotRenewed { slot, incarnation, why: why.name().into(), setback: setback.name().into() }
}
