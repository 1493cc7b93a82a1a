//! Notices of the core made into news: with pids, names of signals and last words, which only the shell knows.
//!
//! Owns the translation. Never tells anybody: `supervisor` does.

mod replacing;

use std::time::Duration;

use clustr_core::{EndReason, Exit, Notice, SlotId, Verdict, WorkerId};

use crate::clock::millis;
use crate::news::Fact;
use crate::oom::Shortage;
use crate::signals;

/// What the shell knows and the core does not.
pub(crate) trait Knowledge {
    /// The worker's process, 0 if there is none.
    fn pid(&self, worker: WorkerId) -> u32;
    /// The last lines of a worker on both outputs.
    fn last_output(&self, worker: WorkerId) -> Vec<String>;
    /// Those of the slot's last worker.
    fn last_output_of_slot(&self, slot: u32) -> Vec<String>;
    /// The file because of which the generation before the last reload cannot be started again.
    fn changed_file(&self) -> Option<String>;
    /// What a worker was asked, and why its last answer was not good.
    fn last_answer(&self, worker: WorkerId) -> Option<String>;
    /// Whether it has said itself that something is wrong with it.
    fn said_failing(&self, worker: WorkerId) -> bool;
    /// Who was out of memory when the kernel killed a worker, if that is why it ended.
    fn shortage(&self, worker: WorkerId) -> Option<Shortage>;
    /// Why the last process could not be made, and what to type.
    fn spawn_error(&self) -> (String, Option<String>);
}

/// The news that a notice is.
pub(crate) fn fact(notice: Notice, known: &impl Knowledge) -> Fact {
    match notice {
        Notice::Started { worker, generation } => {
            let (slot, incarnation) = names(worker);
            Fact::Started { slot, incarnation, generation: generation.0, pid: known.pid(worker) }
        }
        Notice::NotStarted { worker, .. } => {
            let (slot, incarnation) = names(worker);
            let (error, hint) = known.spawn_error();
            Fact::NotStarted { slot, incarnation, error, hint }
        }
        Notice::Ready { worker, took, assumed } => {
            let (slot, incarnation) = names(worker);
            Fact::Ready { slot, incarnation, pid: known.pid(worker), took_ms: millis(took), assumed }
        }
        Notice::Overdue { worker, after } => {
            let (slot, incarnation) = names(worker);
            Fact::Overdue { slot, incarnation, after_ms: millis(after) }
        }
        Notice::Left { worker } => {
            let (slot, incarnation) = names(worker);
            Fact::Left { slot, incarnation }
        }
        Notice::Stopping { worker } => {
            let (slot, incarnation) = names(worker);
            Fact::Stopping { slot, incarnation }
        }
        Notice::Killing { worker, after } => {
            let (slot, incarnation) = names(worker);
            Fact::Killing { slot, incarnation, after_ms: millis(after) }
        }
        Notice::Unkillable { worker } => {
            let (slot, incarnation) = names(worker);
            Fact::Unkillable { slot, incarnation }
        }
        Notice::Exited { .. } => exited(notice, known),
        Notice::Resting { slot, rest, recent } => {
            Fact::Resting { slot: slot.0, rest_ms: millis(rest), recent }
        }
        Notice::GaveUp { slot, recent, period } => gave_up(slot, recent, period, known),
        Notice::Done { slot } => Fact::Done { slot: slot.0 },
        Notice::Scaled { from, to } => Fact::Scaled { from, to },
        Notice::Running { ready } => Fact::Running { ready },
        Notice::Ending { reason } => Fact::Ending { reason: reason_name(reason).into() },
        Notice::Ended { verdict } => Fact::Ended { verdict: verdict_name(verdict).into() },
        Notice::Parked { .. }
        | Notice::Readmitted { .. }
        | Notice::Reloading { .. }
        | Notice::Remembered { .. }
        | Notice::Settling { .. }
        | Notice::Reloaded { .. }
        | Notice::RolledBack { .. }
        | Notice::ReloadCancelled { .. }
        | Notice::Stranded { .. }
        | Notice::Renewing { .. }
        | Notice::Renewed { .. }
        | Notice::RenewedInVain { .. }
        | Notice::NotRenewed { .. } => replacing::fact(notice, known),
    }
}

fn gave_up(slot: SlotId, recent: u32, period: Duration, known: &impl Knowledge) -> Fact {
    let last_output = known.last_output_of_slot(slot.0);
    Fact::GaveUp { slot: slot.0, recent, period_ms: millis(period), last_output }
}

fn exited(notice: Notice, known: &impl Knowledge) -> Fact {
    let Notice::Exited { worker, exit, expected, was_ready, lived } = notice else {
        unreachable!("`fact` passes exits only")
    };
    let (slot, incarnation) = names(worker);
    let (code, signal, core_dumped) = match exit {
        Exit::Code(code) => (Some(code), None, false),
        Exit::Signal { number, core_dumped } => (None, Some(signals::name(number)), core_dumped),
    };
    let last_output = if exit.is_clean() || expected { Vec::new() } else { known.last_output(worker) };
    Fact::Exited {
        slot,
        incarnation,
        pid: known.pid(worker),
        code,
        signal,
        core_dumped,
        expected,
        was_ready,
        lived_ms: millis(lived),
        out_of_memory: known.shortage(worker).filter(|_| !expected).map(|shortage| shortage.name().into()),
        last_output,
    }
}

/// An exit in the words of `clustr status`: `code 1`, `SIGKILL`.
pub(crate) fn exit_words(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("code {code}"),
        Exit::Signal { number, .. } => signals::name(number),
    }
}

const fn names(worker: WorkerId) -> (u32, u64) {
    (worker.slot.0, worker.incarnation)
}

const fn reason_name(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Finished => "finished",
        EndReason::GaveUp => "gave-up",
        EndReason::Asked => "asked",
        EndReason::Signalled => "signalled",
        EndReason::AtOnce => "at-once",
    }
}

pub(crate) const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Finished => "finished",
        Verdict::Stopped => "stopped",
        Verdict::GaveUp => "gave-up",
    }
}
