//! Orders: what the shell has to do, in the imperative, in order.
//!
//! Owns everything the core may want done. Every action that can fail has an event that reports it:
//! `Spawn` has `Spawned` and `SpawnFailed`, `Drain` has `DrainFailed`; `Terminate` and `Kill` cannot fail
//! but for a process that has ended already, which `Exited` reports.

use alloc::vec::{self, Vec};

use crate::command::Refusal;
use crate::id::{Generation, SlotId, Ticket, WorkerId};
use crate::notice::Notice;

/// Something to be done now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Start a process. Answered by `Spawned` or `SpawnFailed`.
    Spawn(WorkerId, Generation),
    /// Allow this worker new connections.
    Admit(WorkerId),
    /// Stop bringing new connections to this worker.
    Withhold(WorkerId),
    /// Ask the worker, in the way that it understands, to finish what is open and take nothing new.
    /// Answered by `Drained`, `DrainFailed` or `Exited`.
    Drain(WorkerId),
    /// Send the app's stop signal to the process that listens.
    Terminate(WorkerId),
    /// SIGKILL for the worker's process group and all its descendants.
    Kill(WorkerId),
    /// The reload of this ticket begins: this number means what it carried from now on. Comes before the first
    /// `Spawn` of that generation.
    Begin(Ticket, Generation),
    /// Nobody lives of this generation and nobody will be started from it: what it was may be forgotten. The
    /// end of the app forgets all.
    Forget(Generation),
    /// Tell whoever watches.
    Notify(Notice),
    /// Tell whoever asked.
    Answer(Ticket, Answer),
    /// The app has ended: nothing of it runs any more. Always the last action of its life.
    Leave(Verdict),
}

/// What a command came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It has begun; one more answer follows.
    Accepted,
    /// It is done and proven.
    Done,
    /// It cannot be done now, and nothing was changed by asking.
    Refused(Refusal),
    /// A later command replaced it before it was done.
    Superseded,
    /// It was tried and came to nothing: the slots it waited for gave up, or nobody served where a restart failed.
    Failed,
    /// It was tried, and not all that was wanted anew is there: this slot gave up.
    GaveUp {
        /// The lowest of those that gave up.
        slot: SlotId,
        /// How many more did.
        others: u32,
    },
    /// It was tried, failed, and what served before serves again.
    RolledBack,
}

/// How an app ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// Every slot did its work.
    Finished,
    /// It was asked to stop, and stopped.
    Stopped,
    /// It gave up.
    GaveUp,
}

/// Orders in the order in which they have to be carried out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use = "an order that nobody carries out leaves the core waiting for ever"]
pub struct Actions(Vec<Action>);

impl Actions {
    /// Nothing to do.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The orders, to look at.
    #[must_use]
    pub fn as_slice(&self) -> &[Action] {
        &self.0
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, action: Action) {
        self.0.push(action);
    }

    pub(crate) fn notify(&mut self, notice: Notice) {
        self.push(Action::Notify(notice));
    }
}

impl IntoIterator for Actions {
    type Item = Action;
    type IntoIter = vec::IntoIter<Action>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
