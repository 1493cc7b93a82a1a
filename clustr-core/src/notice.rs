//! News: what observers are told, as values.
//!
//! Owns the vocabulary of everything that is worth telling. Never a text: rendering for people, as JSON or
//! as metrics happens outside, from these values.

use core::time::Duration;

use crate::action::Verdict;
use crate::command::EndReason;
use crate::event::{Exit, SpawnFault};
use crate::id::{Generation, SlotId, WorkerId};

/// Something that happened and is worth telling.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// A process was started.
    Started {
        /// Who.
        worker: WorkerId,
        /// From which version.
        generation: Generation,
    },
    /// A process could not be started.
    NotStarted {
        /// Who it would have been.
        worker: WorkerId,
        /// Whose fault it was.
        fault: SpawnFault,
    },
    /// A worker can serve.
    Ready {
        /// Who.
        worker: WorkerId,
        /// How long its start took.
        took: Duration,
        /// Whether the readiness deadline stood for its word: it never said so itself.
        assumed: bool,
    },
    /// A worker missed its readiness deadline and is being killed.
    Overdue {
        /// Who.
        worker: WorkerId,
        /// The deadline that it missed.
        after: Duration,
    },
    /// A worker is leaving of its own accord.
    Left {
        /// Who.
        worker: WorkerId,
    },
    /// A worker was asked to stop.
    Stopping {
        /// Who.
        worker: WorkerId,
    },
    /// A worker did not stop in time, was not to be waited for, or is unfit, and is being killed.
    Killing {
        /// Who.
        worker: WorkerId,
        /// How long it had been asked to stop: zero if it never was.
        after: Duration,
    },
    /// A worker did not even end by SIGKILL (it hangs in the kernel): its slot waits for it.
    Unkillable {
        /// Who.
        worker: WorkerId,
    },
    /// A worker ended.
    Exited {
        /// Who.
        worker: WorkerId,
        /// How.
        exit: Exit,
        /// Whether it had been asked to, or had said that it would leave.
        expected: bool,
        /// Whether it had been ready: an exit before that is a start that failed.
        was_ready: bool,
        /// How long it lived, from its start.
        lived: Duration,
    },
    /// A slot waits before its next worker starts.
    Resting {
        /// Which place.
        slot: SlotId,
        /// For how long.
        rest: Duration,
        /// How many restarts count against its intensity now.
        recent: u32,
    },
    /// A slot had more restarts than its intensity allows, and is left empty.
    GaveUp {
        /// Which place.
        slot: SlotId,
        /// How many restarts there were.
        recent: u32,
        /// In which time.
        period: Duration,
    },
    /// A slot's worker ended and its restart mode asks for no other.
    Done {
        /// Which place.
        slot: SlotId,
    },
    /// The number of wanted slots changed.
    Scaled {
        /// How many were wanted.
        from: u32,
        /// How many are wanted now.
        to: u32,
    },
    /// Every wanted slot has settled for the first time: the app runs.
    Running {
        /// How many workers are ready.
        ready: u32,
    },
    /// The app is ending, or ends for a stronger reason than before.
    Ending {
        /// Why.
        reason: EndReason,
    },
    /// The app has ended.
    Ended {
        /// How.
        verdict: Verdict,
    },
}
