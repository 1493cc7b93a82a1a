//! News: what observers are told, as values.
//!
//! Owns the vocabulary of everything that is worth telling. Never a text: rendering for people, as JSON or
//! as metrics happens outside, from these values.

use core::time::Duration;

use crate::action::Verdict;
use crate::command::EndReason;
use crate::event::{Ailment, Exit, SpawnFault, Why};
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
    /// A slot had more restarts than its intensity allows, or as many failed starts in a row before any worker
    /// was ever ready, and is left empty.
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
    /// A worker stands by, while a newer generation is tried in its place.
    Parked {
        /// Who.
        worker: WorkerId,
    },
    /// A parked worker serves again.
    Readmitted {
        /// Who.
        worker: WorkerId,
    },
    /// A reload (or a restart: then both generations are the same) has begun.
    Reloading {
        /// What serves now.
        from: Generation,
        /// What is to serve.
        to: Generation,
        /// In how many slots.
        slots: u32,
    },
    /// A reload was asked for during another and is remembered.
    Remembered {
        /// Whether one that was remembered before is forgotten for it.
        instead: bool,
    },
    /// Every worker of a batch is ready, and is now watched.
    Settling {
        /// What is being tried.
        to: Generation,
        /// How many slots have it.
        ready: u32,
        /// How many will.
        slots: u32,
        /// For how long it is watched.
        settle: Duration,
    },
    /// The new generation is confirmed.
    Reloaded {
        /// What served before.
        from: Generation,
        /// What serves now.
        to: Generation,
        /// How long that took.
        took: Duration,
    },
    /// A reload (or restart) failed, and what served before serves again.
    RolledBack {
        /// What was tried.
        tried: Generation,
        /// What serves.
        serves: Generation,
        /// Who failed.
        worker: WorkerId,
        /// How.
        setback: Setback,
        /// In how many slots the old generation has to be started again, having been replaced.
        put_back: u32,
        /// In how many slots it had been replaced, and cannot be started again.
        lost: u32,
    },
    /// A reload (or restart) ended because the app does.
    ReloadCancelled {
        /// What was being tried.
        to: Generation,
    },
    /// A slot is left empty: what it held has failed, and what it held before cannot be started again.
    Stranded {
        /// Which place.
        slot: SlotId,
    },
    /// A worker gets a replacement, and is removed then.
    Renewing {
        /// Who.
        worker: WorkerId,
        /// Its replacement.
        by: WorkerId,
        /// Why.
        why: Why,
    },
    /// A worker was replaced, and is being removed.
    Renewed {
        /// Who.
        worker: WorkerId,
        /// Its replacement.
        by: WorkerId,
        /// Whether the replacement is ready. A failing worker is removed at the hang timeout anyway.
        ready: bool,
    },
    /// A replacement will not do. The worker stays: until the hang timeout if it is failing, else until the
    /// next attempt.
    NotRenewed {
        /// Who stays.
        worker: WorkerId,
        /// Why it was to be replaced.
        why: Why,
        /// What became of the replacement.
        setback: Setback,
    },
    /// A slot's replacements fail as what they replaced did, soon after they are ready: the next one waits,
    /// each time longer. Told once.
    RenewedInVain {
        /// Who is to be replaced again.
        worker: WorkerId,
        /// Why.
        why: Why,
        /// How many were replaced before it, in a row.
        renewals: u32,
        /// How long it waits for its turn.
        wait: Duration,
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

/// What became of a worker that was to take another's place.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Setback {
    /// It could not be made.
    NotStarted(SpawnFault),
    /// It ended before it was ready.
    ExitedEarly(Exit),
    /// It ended after it was ready, before it was confirmed.
    ExitedOnTrial(Exit),
    /// It was not ready in time.
    Overdue,
    /// It said itself that it leaves.
    Left,
    /// It cannot do its work in the form in which it was started.
    Unfit,
    /// It does not serve as it should.
    Failing(Ailment),
    /// There was no room for it: its slot holds workers that outlive SIGKILL.
    Crowded,
}

impl Setback {
    /// The stable name in kebab-case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotStarted(SpawnFault::HostShort) => "host-short",
            Self::NotStarted(SpawnFault::Program) => "not-started",
            Self::ExitedEarly(_) => "exited-early",
            Self::ExitedOnTrial(_) => "exited-on-trial",
            Self::Overdue => "overdue",
            Self::Left => "left",
            Self::Unfit => "unfit",
            Self::Failing(_) => "failing",
            Self::Crowded => "crowded",
        }
    }
}
