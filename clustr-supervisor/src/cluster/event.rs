//! What happens in a cluster, as values for a program that embeds it.
//!
//! Owns [`Event`], the typed twin of `news::Fact`: durations instead of milliseconds, exits instead of names. Never decides
//! and never tells: made by the loop from the same news that the log and the control socket's subscribers get.

mod of_news;
mod replacing;

use std::fmt;
use std::time::Duration;

use clustr_core::{EndReason, Exit, Generation, SlotId, Verdict, WorkerId};

/// Something that has happened.
///
/// `worker` says which slot and which of its workers; `pid` is its process, 0 if it has none (any more). A worker's
/// usual life is [`Started`](Self::Started), [`Listening`](Self::Listening), [`Ready`](Self::Ready),
/// [`Stopping`](Self::Stopping) or not, [`Exited`](Self::Exited).
///
/// For readers who come from node:
///
/// | `node:cluster` | here |
/// |---|---|
/// | `fork`, `online` | `Started`: when it is told, the process has become its program |
/// | `listening` | `Listening`, once for each address; `Ready` when it can serve |
/// | `disconnect` | `Left` |
/// | `exit`, once `death` | `Exited`; its successor is started without being asked for, see `Resting` |
/// | `message` | `Message` |
///
/// Matches may be exhaustive. A later minor version adds no variant; a major one may.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A worker's process was started, and has become its program.
    Started {
        /// Which worker.
        worker: WorkerId,
        /// Its process.
        pid: u32,
        /// From which version of command and environment.
        generation: Generation,
    },
    /// A worker's process could not be started. Its slot rests and tries again.
    NotStarted {
        /// Which worker it would have been.
        worker: WorkerId,
        /// Why not.
        error: String,
        /// Something to do about it.
        hint: Option<String>,
    },
    /// A worker listens on an address. Told once for each address of each worker.
    Listening {
        /// Which worker.
        worker: WorkerId,
        /// Its process.
        pid: u32,
        /// Where.
        address: String,
    },
    /// A worker can serve.
    Ready {
        /// Which worker.
        worker: WorkerId,
        /// Its process.
        pid: u32,
        /// Since its start.
        took: Duration,
        /// It never said so: its readiness deadline stood for its word.
        assumed: bool,
    },
    /// A worker missed its readiness deadline and is being killed.
    Overdue {
        /// Which worker.
        worker: WorkerId,
        /// Its process.
        pid: u32,
        /// Since its start.
        after: Duration,
    },
    /// A worker is leaving of its own accord.
    Left {
        /// Which worker.
        worker: WorkerId,
        /// Its process.
        pid: u32,
    },
    /// A worker was asked to stop.
    Stopping {
        /// Which worker.
        worker: WorkerId,
        /// Its process.
        pid: u32,
    },
    /// A worker did not stop in time, or nobody waits for it, and is being killed.
    Killing {
        /// Which worker.
        worker: WorkerId,
        /// Its process.
        pid: u32,
        /// Since it was asked; zero if it was not.
        after: Duration,
    },
    /// A worker did not end even by SIGKILL: it hangs in the kernel.
    Unkillable {
        /// Which worker.
        worker: WorkerId,
        /// Its process.
        pid: u32,
    },
    /// A worker ended.
    Exited {
        /// Which worker.
        worker: WorkerId,
        /// What its process was; the number may soon be somebody else's.
        pid: u32,
        /// How: by a code or by a signal.
        exit: Exit,
        /// It had been asked to.
        expected: bool,
        /// It had been ready.
        was_ready: bool,
        /// Since its start.
        lived: Duration,
        /// The kernel killed it for want of memory: of the `cgroup`, or probably of the `host`.
        out_of_memory: Option<String>,
        /// Its last lines on both outputs, where it failed and they were not inherited; with [`Output::None`](crate::config::Output)
        /// those on standard error alone.
        last_output: Vec<String>,
    },
    /// A slot waits before its next worker starts. An exit that is answered at once is not told so.
    Resting {
        /// Which slot.
        slot: SlotId,
        /// How long.
        rest: Duration,
        /// How many restarts count against its intensity now.
        recent: u32,
    },
    /// A slot had more restarts than its intensity allows, and stays empty.
    GaveUp {
        /// Which slot.
        slot: SlotId,
        /// So many restarts…
        recent: u32,
        /// …in this time.
        period: Duration,
        /// The last lines of its last worker on both outputs.
        last_output: Vec<String>,
    },
    /// A slot's worker ended and has no successor by its restart mode.
    Done {
        /// Which slot.
        slot: SlotId,
    },
    /// The number of wanted workers changed.
    Scaled {
        /// So many were wanted.
        from: u32,
        /// So many are wanted now.
        to: u32,
    },
    /// A reload has begun; where both generations are the same, a restart.
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
    /// Every worker of a batch is ready, and is watched.
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
    /// A worker stands by while a newer generation is tried in its place.
    Parked {
        /// Which worker.
        worker: WorkerId,
    },
    /// A parked worker serves again.
    Readmitted {
        /// Which worker.
        worker: WorkerId,
    },
    /// The new generation is confirmed.
    Reloaded {
        /// What served before.
        from: Generation,
        /// What serves now.
        to: Generation,
        /// Since the reload began.
        took: Duration,
    },
    /// A reload or restart failed, and what served before serves again.
    RolledBack {
        /// What was tried.
        tried: Generation,
        /// What serves.
        serves: Generation,
        /// Who failed.
        worker: WorkerId,
        /// The stable name of what became of it, in kebab-case.
        setback: String,
        /// The same for people.
        why: String,
        /// In how many slots the old generation is started again.
        put_back: u32,
        /// In how many slots it cannot be.
        lost: u32,
        /// The file that has changed since the old generation began, because of which it cannot be.
        changed: Option<String>,
        /// Its last lines on both outputs, where they were not inherited.
        last_output: Vec<String>,
        /// Something to do about it.
        hint: Option<String>,
    },
    /// A reload or restart ended because the cluster does.
    ReloadCancelled {
        /// What was being tried.
        to: Generation,
    },
    /// A slot is left empty: what it held has failed, and what it held before cannot be started again.
    Stranded {
        /// Which slot.
        slot: SlotId,
    },
    /// A worker does not serve as it should.
    Failing {
        /// Which worker.
        worker: WorkerId,
        /// By which sign.
        ailment: String,
        /// Why that is believed.
        why: String,
    },
    /// It does again.
    Recovered {
        /// Which worker.
        worker: WorkerId,
        /// By which sign it was failing.
        ailment: String,
    },
    /// A worker gets a replacement, and is removed then.
    Renewing {
        /// Which worker.
        worker: WorkerId,
        /// Its replacement.
        by: WorkerId,
        /// The stable name of the reason, in kebab-case.
        why: String,
    },
    /// A worker was replaced, and is being removed.
    Renewed {
        /// Which worker.
        worker: WorkerId,
        /// Its replacement.
        by: WorkerId,
        /// Whether that is ready.
        ready: bool,
    },
    /// A worker's replacement will not do, and it stays.
    NotRenewed {
        /// Which worker.
        worker: WorkerId,
        /// The stable name of the reason for replacing it.
        why: String,
        /// The stable name of what became of the replacement.
        setback: String,
    },
    /// Every wanted slot has settled for the first time.
    Running {
        /// How many workers are ready.
        ready: u32,
    },
    /// The cluster is ending.
    Ending {
        /// Why.
        reason: EndReason,
    },
    /// The cluster has ended: no worker is left. The last event, but for lost ones that were counted.
    Ended {
        /// How.
        verdict: Verdict,
    },
    /// A worker sent a message.
    Message {
        /// Which worker.
        worker: WorkerId,
        /// Its process.
        pid: u32,
        /// The message as JSON. Of one that is longer than 64 KiB, which only node's channel carries, the first 64 KiB: no
        /// JSON any more.
        json: String,
    },
    /// Something unusual was handled.
    Warning {
        /// What.
        detail: String,
        /// Something to do about it.
        hint: Option<String>,
    },
    /// Lines of the workers' output were lost because whoever reads them had stopped reading.
    OutputLost {
        /// How many.
        lines: u64,
    },
    /// The control socket is there ([`Cluster::control`](crate::Cluster::control)).
    Control {
        /// Where.
        path: String,
    },
    /// This receiver was too slow: events before this one are missing. Callbacks miss none.
    Lost {
        /// How many.
        events: u64,
    },
}

impl Event {
    /// The worker that the event is about, if it is about one.
    #[must_use]
    pub const fn worker(&self) -> Option<WorkerId> {
        match self {
            Self::Started { worker, .. }
            | Self::NotStarted { worker, .. }
            | Self::Listening { worker, .. }
            | Self::Ready { worker, .. }
            | Self::Overdue { worker, .. }
            | Self::Left { worker, .. }
            | Self::Stopping { worker, .. }
            | Self::Killing { worker, .. }
            | Self::Unkillable { worker, .. }
            | Self::Exited { worker, .. }
            | Self::Parked { worker }
            | Self::Readmitted { worker }
            | Self::RolledBack { worker, .. }
            | Self::Failing { worker, .. }
            | Self::Recovered { worker, .. }
            | Self::Renewing { worker, .. }
            | Self::Renewed { worker, .. }
            | Self::NotRenewed { worker, .. }
            | Self::Message { worker, .. } => Some(*worker),
            Self::Resting { .. }
            | Self::GaveUp { .. }
            | Self::Done { .. }
            | Self::Reloading { .. }
            | Self::Remembered { .. }
            | Self::Settling { .. }
            | Self::Reloaded { .. }
            | Self::ReloadCancelled { .. }
            | Self::Stranded { .. }
            | Self::Scaled { .. }
            | Self::Running { .. }
            | Self::Ending { .. }
            | Self::Ended { .. }
            | Self::Warning { .. }
            | Self::OutputLost { .. }
            | Self::Control { .. }
            | Self::Lost { .. } => None,
        }
    }
}

impl fmt::Display for Event {
    /// A line for people, in the words of the log: `worker exited slot=0 incarnation=1 pid=42 code=1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = |f: &mut fmt::Formatter<'_>, what: &str, worker: &WorkerId, pid: &u32| {
            write!(f, "worker {what} slot={} incarnation={} pid={pid}", worker.slot, worker.incarnation)
        };
        match self {
            Self::Started { worker, pid, .. } => who(f, "started", worker, pid),
            Self::NotStarted { worker, error, .. } => {
                write!(f, "worker could not be started slot={}: {error}", worker.slot)
            }
            Self::Listening { worker, pid, address } => {
                who(f, "listening", worker, pid)?;
                write!(f, " address={address}")
            }
            Self::Ready { worker, pid, .. } => who(f, "ready", worker, pid),
            Self::Overdue { worker, pid, .. } => who(f, "not ready in time, being killed", worker, pid),
            Self::Left { worker, pid } => who(f, "leaving of its own accord", worker, pid),
            Self::Stopping { worker, pid } => who(f, "stopping", worker, pid),
            Self::Killing { worker, pid, .. } => who(f, "being killed", worker, pid),
            Self::Unkillable { worker, pid } => who(f, "not ended by SIGKILL", worker, pid),
            Self::Exited { worker, pid, exit, .. } => {
                who(f, "exited", worker, pid)?;
                match exit {
                    Exit::Code(code) => write!(f, " code={code}"),
                    Exit::Signal { number, .. } => write!(f, " signal={}", crate::signals::name(*number)),
                }
            }
            Self::Message { worker, pid, json } => {
                who(f, "message", worker, pid)?;
                write!(f, " {json}")
            }
            Self::Resting { slot, rest, .. } => write!(f, "slot resting slot={slot} rest={rest:?}"),
            Self::GaveUp { slot, .. } => write!(f, "slot gave up slot={slot}"),
            Self::Done { slot } => write!(f, "slot done slot={slot}"),
            Self::Reloading { .. }
            | Self::Remembered { .. }
            | Self::Settling { .. }
            | Self::Parked { .. }
            | Self::Readmitted { .. }
            | Self::Reloaded { .. }
            | Self::RolledBack { .. }
            | Self::ReloadCancelled { .. }
            | Self::Stranded { .. }
            | Self::Failing { .. }
            | Self::Recovered { .. }
            | Self::Renewing { .. }
            | Self::Renewed { .. }
            | Self::NotRenewed { .. } => replacing::write(self, f),
            Self::Scaled { from, to } => write!(f, "scaled from={from} to={to}"),
            Self::Running { ready } => write!(f, "running ready={ready}"),
            Self::Ending { reason } => write!(f, "stopping reason={reason:?}"),
            Self::Ended { verdict } => write!(f, "ended verdict={verdict:?}"),
            Self::Warning { detail, .. } => f.write_str(detail),
            Self::OutputLost { lines } => write!(f, "output lost lines={lines}"),
            Self::Control { path } => write!(f, "control socket path={path}"),
            Self::Lost { events } => write!(f, "events lost events={events}"),
        }
    }
}

#[cfg(test)]
mod tests;
