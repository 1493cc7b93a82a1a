//! Whether the primary, woken while all processors are busy, waits until a worker pauses.
//!
//! Owns the loop thread's scheduling policy: `SCHED_BATCH`, sched(7). Workers never get it. Never changes a policy that
//! somebody else has chosen. Called by the supervisor, where it hands connections over.
//!
//! Every client and every answer wakes the primary. On an idle machine it then runs at once, with either policy. On a
//! busy one it would interrupt a worker each time, to carry a single connection; with `SCHED_BATCH` it comes when
//! somebody pauses, and carries all that have come until then. Measured with 64 short connections at once on two
//! processors: a third less of a processor's time for each connection, and no fewer connections.

use crate::sys;

/// The policy of the loop's thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Courtesy {
    on: bool,
}

impl Courtesy {
    /// Takes the policy, if it is wanted and the thread has the ordinary one.
    pub(crate) fn new(wanted: bool) -> Self {
        Self { on: wanted && sys::is_ordinarily_scheduled() && sys::schedule_as_batch(true) }
    }

    /// Does something with the ordinary policy: what is started in it has no other.
    pub(crate) fn suspended<T>(self, act: impl FnOnce() -> T) -> T {
        if self.on {
            sys::schedule_as_batch(false);
        }
        let result = act();
        if self.on {
            sys::schedule_as_batch(true);
        }
        result
    }
}
