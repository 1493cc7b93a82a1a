//! The event that each piece of news is.
//!
//! Owns the translation: durations of milliseconds, exits and reasons of names. Never decides anything. Called by the loop's
//! end of all handles.

use std::str::FromStr;
use std::time::Duration;

use clustr_core::{EndReason, Exit, Generation, SlotId, Verdict, WorkerId};
use nix::sys::signal::Signal;

use super::{Event, replacing};
use crate::news::Fact;

impl Event {
    /// The event that a piece of news is. `pid` knows the workers' processes.
    pub(crate) fn of(fact: &Fact, pid: impl Fn(WorkerId) -> u32) -> Self {
        let whose = |slot, incarnation| {
            let worker = WorkerId { slot: SlotId(slot), incarnation };
            (worker, pid(worker))
        };
        match fact.clone() {
            Fact::Listening { slot, incarnation, address } => {
                let (worker, pid) = whose(slot, incarnation);
                Self::Listening { worker, pid, address }
            }
            fact @ (Fact::Overdue { .. }
            | Fact::Left { .. }
            | Fact::Stopping { .. }
            | Fact::Killing { .. }
            | Fact::Unkillable { .. }) => Self::of_a_leaving(fact, whose),
            Fact::Message { slot, incarnation, json } => {
                let (worker, pid) = whose(slot, incarnation);
                Self::Message { worker, pid, json }
            }
            rest @ (Fact::Started { .. }
            | Fact::NotStarted { .. }
            | Fact::Ready { .. }
            | Fact::Exited { .. }
            | Fact::Resting { .. }
            | Fact::GaveUp { .. }
            | Fact::Done { .. }
            | Fact::Scaled { .. }
            | Fact::Running { .. }
            | Fact::Ending { .. }
            | Fact::Ended { .. }
            | Fact::Warning { .. }
            | Fact::OutputLost { .. }
            | Fact::Control { .. }
            | Fact::Reloading { .. }
            | Fact::Remembered { .. }
            | Fact::Settling { .. }
            | Fact::Parked { .. }
            | Fact::Readmitted { .. }
            | Fact::Reloaded { .. }
            | Fact::RolledBack { .. }
            | Fact::ReloadCancelled { .. }
            | Fact::Stranded { .. }
            | Fact::Failing { .. }
            | Fact::Recovered { .. }
            | Fact::Renewing { .. }
            | Fact::Renewed { .. }
            | Fact::NotRenewed { .. }) => Self::of_the_rest(rest),
        }
    }

    /// Of workers that have to go, or want to.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`of` has looked at all others")]
    fn of_a_leaving(fact: Fact, whose: impl Fn(u32, u64) -> (WorkerId, u32)) -> Self {
        match fact {
            Fact::Overdue { slot, incarnation, after_ms } => {
                let (worker, pid) = whose(slot, incarnation);
                Self::Overdue { worker, pid, after: ms(after_ms) }
            }
            Fact::Left { slot, incarnation } => {
                let (worker, pid) = whose(slot, incarnation);
                Self::Left { worker, pid }
            }
            Fact::Stopping { slot, incarnation } => {
                let (worker, pid) = whose(slot, incarnation);
                Self::Stopping { worker, pid }
            }
            Fact::Killing { slot, incarnation, after_ms } => {
                let (worker, pid) = whose(slot, incarnation);
                Self::Killing { worker, pid, after: ms(after_ms) }
            }
            Fact::Unkillable { slot, incarnation } => {
                let (worker, pid) = whose(slot, incarnation);
                Self::Unkillable { worker, pid }
            }
            other => Self::of_the_rest(other),
        }
    }

    /// Of exits, slots and the whole.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`of` has looked at all others")]
    fn of_the_rest(fact: Fact) -> Self {
        let who = |slot: u32, incarnation: u64| WorkerId { slot: SlotId(slot), incarnation };
        match fact {
            Fact::Started { slot, incarnation, generation, pid } => {
                Self::Started { worker: who(slot, incarnation), pid, generation: Generation(generation) }
            }
            Fact::NotStarted { slot, incarnation, error, hint } => {
                Self::NotStarted { worker: who(slot, incarnation), error, hint }
            }
            Fact::Ready { slot, incarnation, pid, took_ms, assumed } => {
                Self::Ready { worker: who(slot, incarnation), pid, took: ms(took_ms), assumed }
            }
            Fact::Exited { .. } => Self::exited(fact),
            Fact::Resting { slot, rest_ms, recent } => {
                Self::Resting { slot: SlotId(slot), rest: ms(rest_ms), recent }
            }
            Fact::GaveUp { slot, recent, period_ms, last_output } => {
                Self::GaveUp { slot: SlotId(slot), recent, period: ms(period_ms), last_output }
            }
            Fact::Done { slot } => Self::Done { slot: SlotId(slot) },
            Fact::Scaled { from, to } => Self::Scaled { from, to },
            Fact::Running { ready } => Self::Running { ready },
            Fact::Ending { reason } => Self::Ending { reason: reason_of(&reason) },
            Fact::Ended { verdict } => Self::Ended { verdict: verdict_of(&verdict) },
            Fact::Warning { detail, hint } => Self::Warning { detail, hint },
            Fact::OutputLost { lines } => Self::OutputLost { lines },
            Fact::Control { path } => Self::Control { path },
            other => replacing::event(other),
        }
    }

    fn exited(fact: Fact) -> Self {
        let Fact::Exited {
            slot,
            incarnation,
            pid,
            code,
            signal,
            core_dumped,
            expected,
            was_ready,
            lived_ms,
            out_of_memory,
            last_output,
        } = fact
        else {
            unreachable!("`of_the_rest` passes exits only")
        };
        let by_signal = |name: &str| Exit::Signal { number: number_of(name), core_dumped };
        let exit = signal.as_deref().map_or(Exit::Code(code.unwrap_or(0)), by_signal);
        let worker = WorkerId { slot: SlotId(slot), incarnation };
        let lived = ms(lived_ms);
        Self::Exited { worker, pid, exit, expected, was_ready, lived, out_of_memory, last_output }
    }
}

pub(super) const fn ms(span: u64) -> Duration {
    Duration::from_millis(span)
}

/// The number of a name that `signals::name` gave: `SIGKILL`, or `SIG34` for those without one.
fn number_of(name: &str) -> i32 {
    let nameless = || name.strip_prefix("SIG").and_then(|number| number.parse().ok());
    Signal::from_str(name).map_or_else(|_| nameless().unwrap_or(0), |signal| signal as i32)
}

fn reason_of(name: &str) -> EndReason {
    match name {
        "finished" => EndReason::Finished,
        "gave-up" => EndReason::GaveUp,
        "signalled" => EndReason::Signalled,
        "at-once" => EndReason::AtOnce,
        _ => EndReason::Asked,
    }
}

fn verdict_of(name: &str) -> Verdict {
    match name {
        "finished" => Verdict::Finished,
        "gave-up" => Verdict::GaveUp,
        _ => Verdict::Stopped,
    }
}
