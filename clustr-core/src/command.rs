//! Wishes, and why one cannot be granted now.
//!
//! Owns what an operator may ask of an app. A command has exactly one final answer, an
//! [`Answer`](crate::Answer); one that takes long is first said to be accepted.

use core::fmt;

use crate::id::SlotId;
use crate::plan::Plan;

/// Something that somebody wishes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Change the number of wanted slots.
    Scale(Target),
    /// Replace every worker by one of a new generation, whose number is told by
    /// [`Action::Begin`](crate::Action::Begin). During a reload or restart it is remembered; the latest wins.
    Reload(Plan),
    /// As a reload, with the generation that is there: of one slot, or of all.
    Restart(Option<SlotId>, Plan),
    /// End every worker, then the app. A reason below [`EndReason::Asked`] counts as `Asked`. At most 64
    /// callers may wait for the end by words that change nothing; one more is refused.
    Stop(EndReason),
}

/// How many slots are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// Exactly so many.
    To(u32),
    /// So many more (or, negative, fewer) than are wanted now.
    By(i32),
}

/// Why the app is ending. Later variants outrank earlier ones: a stronger word changes how it ends, an
/// equal or weaker one changes nothing. The [`Verdict`](crate::Verdict) is that of the first word: an app
/// that gave up has given up, even if somebody stops it while it ends.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EndReason {
    /// Every slot has done its work (restart modes transient and temporary).
    Finished,
    /// Its slots gave up.
    GaveUp,
    /// Somebody asked it to stop.
    Asked,
    /// A polite signal reached the primary.
    Signalled,
    /// A second polite signal, or a signal that means "at once": nobody is waited for.
    AtOnce,
}

/// Why a command cannot be done now. The name is stable: scripts may compare it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Refusal {
    /// The app is ending; only a stronger stop is heard.
    Stopping,
    /// Zero workers cannot serve anybody, and neither can slots that have all given up or are done: scaling
    /// never ends an app. For that there is `stop`.
    NoWorkers,
    /// More slots than an app can have: [`SLOTS_MAX`](crate::SLOTS_MAX).
    TooManyWorkers,
    /// A reload or restart is under way, and its outcome decides what there is to scale or restart.
    ReloadInProgress,
    /// There is no such slot.
    NoSuchSlot,
}

impl Refusal {
    /// The stable name in kebab-case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::NoWorkers => "no-workers",
            Self::TooManyWorkers => "too-many-workers",
            Self::ReloadInProgress => "reload-in-progress",
            Self::NoSuchSlot => "no-such-slot",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopping => f.write_str("the app is stopping"),
            Self::NoWorkers => f.write_str("an app needs at least one worker"),
            Self::ReloadInProgress => f.write_str("a reload or restart is under way"),
            Self::NoSuchSlot => f.write_str("there is no such slot"),
            Self::TooManyWorkers => write!(f, "an app has at most {} workers", crate::SLOTS_MAX),
        }
    }
}
