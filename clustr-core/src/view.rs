//! A picture of an app: what status, metrics and tests read.
//!
//! Owns nothing and changes nothing; made anew at each look.

use core::time::Duration;

use crate::event::Exit;
use crate::id::{Generation, SlotId, WorkerId};
use crate::time::Time;

/// An app as it is now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AppView {
    /// In which part of its life it is.
    pub state: AppState,
    /// How many slots are wanted: none once the app is ending.
    pub wanted: u32,
    /// How many workers are ready.
    pub ready: u32,
    /// The version that new workers are started from.
    pub generation: Generation,
    /// The reload or restart that is under way.
    pub reload: Option<ReloadView>,
    /// Facts that were ignored because they were late or out of place.
    pub ignored_events: u64,
}

/// A reload or restart that is under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReloadView {
    /// The generation that serves again if it fails.
    pub from: Generation,
    /// The generation that is tried: the same, if this is a restart.
    pub to: Generation,
    /// How many slots have a worker of it that is ready.
    pub ready: u32,
    /// How many slots will have one.
    pub slots: u32,
    /// Whether another reload was asked for meanwhile and is remembered.
    pub remembered: bool,
}

/// One worker as it is now. A slot has up to [`SLOT_WORKERS_MAX`](crate::SLOT_WORKERS_MAX) of them while its
/// worker is replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WorkerView {
    /// Who.
    pub worker: WorkerId,
    /// From which version it was started.
    pub generation: Generation,
    /// What it does: never one of the states of a slot without a worker.
    pub state: SlotState,
    /// When it was started.
    pub started_at: Time,
    /// Since when it can serve, or could.
    pub ready_at: Option<Time>,
}

/// In which part of its life an app is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AppState {
    /// Not every wanted slot has settled yet, for the first time.
    Starting,
    /// It has been running since every wanted slot settled.
    Running,
    /// Its workers are being replaced, by a reload or a restart.
    Reloading,
    /// It is ending.
    Stopping,
    /// It has ended.
    Ended,
}

/// A slot as it is now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SlotView {
    /// Which place.
    pub slot: SlotId,
    /// Whether somebody should be there.
    pub wanted: bool,
    /// What is there.
    pub state: SlotState,
    /// Who is there, if anybody is.
    pub worker: Option<WorkerId>,
    /// From which version it was started.
    pub generation: Generation,
    /// When its worker was started.
    pub started_at: Option<Time>,
    /// When it rests: until when.
    pub rests_until: Option<Time>,
    /// How often a worker of this slot had a successor, or will have once its rest has passed. Starts that the
    /// host had no room for do not count, nor exits that were asked for.
    pub restarts: u64,
    /// How its last worker ended.
    pub last_exit: Option<Exit>,
    /// How many restarts count against its intensity now.
    pub recent_restarts: u32,
}

/// What is in a slot, in the words of `clustr status`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SlotState {
    /// Nobody, and nobody is wanted.
    Vacant,
    /// A worker that is not ready yet.
    Starting,
    /// A worker that can serve.
    Ready,
    /// A worker that can serve and stands by, while a newer generation is tried in its place.
    Parked,
    /// A worker that was asked to drain.
    Draining,
    /// A worker that was sent its stop signal, or is being killed.
    Stopping,
    /// Nobody, until a rest has passed.
    Resting,
    /// Nobody: it exceeded its intensity.
    GaveUp,
    /// Nobody: its worker ended and its restart mode asks for no other.
    Done,
}

/// When the core wants to be called again, and for what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadline {
    /// Not before this moment.
    pub at: Time,
    /// What is due then.
    pub why: Due,
}

/// What is due at a deadline.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Due {
    /// A worker has to be ready by then.
    Readiness(SlotId),
    /// A worker that is being stopped gets the next, stronger word.
    Escalation(SlotId),
    /// A rest has passed.
    Rest(SlotId),
    /// A worker has reached its largest age.
    Age(SlotId),
    /// There has to be room for one more worker by then.
    Room(SlotId),
    /// A batch of a reload has settled.
    Settle,
    /// The next worker may be recycled, or one that is failing has waited long enough for its replacement.
    Renewal,
}

impl Deadline {
    /// How long from `now`: zero if it is due.
    #[must_use]
    pub const fn within(self, now: Time) -> Duration {
        self.at.since(now)
    }
}

impl SlotState {
    /// The stable name that `clustr status --json` shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vacant => "vacant",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Parked => "parked",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Resting => "resting",
            Self::GaveUp => "gave-up",
            Self::Done => "done",
        }
    }
}

impl AppState {
    /// The stable name that `clustr status --json` shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Reloading => "reloading",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        }
    }
}
