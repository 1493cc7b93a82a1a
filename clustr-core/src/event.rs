//! Facts: what has happened, in the past tense.
//!
//! Owns everything that may be told to the core. No event is invalid: one that comes late, twice or out of
//! place is ignored and counted, never an error and never a panic.

use crate::command::Command;
use crate::id::{Generation, SlotId, Ticket, WorkerId};

/// Something that has happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// The process that [`Action::Spawn`](crate::Action::Spawn) ordered exists.
    Spawned(WorkerId),
    /// The process that was ordered could not be made.
    SpawnFailed(WorkerId, SpawnFault),
    /// The worker can serve: by its own word, or by what stands for it.
    Ready(WorkerId),
    /// Nothing speaks against it: a program of a kind that says nothing has lived for as long as stands for its word.
    AssumedReady(WorkerId),
    /// The worker said that it is leaving of its own accord (it takes nothing new from now on).
    Left(WorkerId),
    /// The worker has finished what it had open, after [`Action::Drain`](crate::Action::Drain).
    Drained(WorkerId),
    /// There is no way to ask this worker to drain (it has no channel, or its channel is gone).
    DrainFailed(WorkerId),
    /// The worker cannot do its work in the form in which it was started, and has to be killed. Its start has
    /// failed, in every restart mode.
    Unfit(WorkerId),
    /// The process has ended.
    Exited(WorkerId, Exit),
    /// The worker is there and does not serve as it should: a replacement is started, then it is removed.
    Failing(WorkerId, Ailment),
    /// The worker serves again as it should: what `Failing` asked for is called off if it has not been done.
    Recovered(WorkerId),
    /// The worker has served long enough: it is replaced when its turn comes.
    Worn(WorkerId, Wear),
    /// Somebody waits for the slot's next worker, and nobody else can serve them: a slot that rests starts it now. What
    /// counts against its intensity counts all the same, and a host that is short of something is not hurried.
    Awaited(SlotId),
    /// What this generation was is no longer there, so that it cannot be started again (a file was replaced in
    /// its place). It stays so. Its living workers are not concerned.
    Lost(Generation),
    /// Somebody wishes something.
    Asked(Ticket, Command),
    /// A polite stop signal reached the primary: SIGTERM or SIGINT. Twice, at least half a second apart,
    /// means "now".
    Interrupted,
}

/// How a process ended: wait(2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Exit {
    /// It ended itself with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number: signal(7).
        number: i32,
        /// Whether a core file was written.
        core_dumped: bool,
    },
}

/// What a fact says of its worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fact {
    Spawned,
    SpawnFailed(SpawnFault),
    Ready,
    AssumedReady,
    Left,
    Drained,
    DrainFailed,
    Unfit,
    Exited(Exit),
}

/// How it shows that a worker does not serve.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Ailment {
    /// A liveness probe failed too often.
    Probe,
    /// It let its watchdog time pass: sd_notify(3).
    Watchdog,
    /// What waits for it stands still.
    Stuck,
}

/// What makes a worker worth recycling.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Wear {
    /// It holds more memory than it may.
    MaxRss,
    /// It is older than it may be.
    MaxAge,
    /// It was given more connections than it may have.
    MaxRequests,
    /// The time of day has come.
    Schedule,
    /// Somebody waits where only a worker that is started now can serve them.
    Stranded,
    /// The socket that it has was shut down for good, and a new one is only for those that are started now.
    Deaf,
}

/// Why one worker is replaced.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Why {
    /// It does not serve.
    Failing(Ailment),
    /// It has served long enough.
    Worn(Wear),
}

impl Why {
    /// The stable name in kebab-case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failing(Ailment::Probe) => "probe",
            Self::Failing(Ailment::Watchdog) => "watchdog",
            Self::Failing(Ailment::Stuck) => "stuck",
            Self::Worn(Wear::MaxRss) => "max-rss",
            Self::Worn(Wear::MaxAge) => "max-age",
            Self::Worn(Wear::MaxRequests) => "max-requests",
            Self::Worn(Wear::Schedule) => "schedule",
            Self::Worn(Wear::Stranded) => "stranded",
            Self::Worn(Wear::Deaf) => "deaf",
        }
    }
}

/// Why a process could not be made.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SpawnFault {
    /// The host is short of processes, memory or descriptors (EAGAIN, ENOMEM, EMFILE, ENFILE): worth trying
    /// again, and not the worker's fault, so it does not count against its intensity.
    HostShort,
    /// The program or its surroundings are wrong (ENOENT, EACCES, ENOEXEC…): counts as a failed start.
    Program,
}

impl Event {
    /// The worker that the fact is about, if it is about one.
    #[must_use]
    pub const fn worker(&self) -> Option<WorkerId> {
        match *self {
            Self::Spawned(worker)
            | Self::SpawnFailed(worker, _)
            | Self::Ready(worker)
            | Self::AssumedReady(worker)
            | Self::Left(worker)
            | Self::Drained(worker)
            | Self::DrainFailed(worker)
            | Self::Unfit(worker)
            | Self::Failing(worker, _)
            | Self::Recovered(worker)
            | Self::Worn(worker, _)
            | Self::Exited(worker, _) => Some(worker),
            Self::Awaited(_) | Self::Lost(_) | Self::Asked(..) | Self::Interrupted => None,
        }
    }
}

impl Exit {
    /// Whether the process ended as programs end that have finished: code 0.
    #[must_use]
    pub const fn is_clean(self) -> bool {
        matches!(self, Self::Code(0))
    }
}
