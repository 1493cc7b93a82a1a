//! What one step may see and say.
//!
//! Owns the list of orders while it is being written. Never remembers anything between two steps. Made by
//! [`roster`](crate::roster), used by everything below it.

use alloc::vec::Vec;

use crate::action::{Action, Actions};
use crate::id::{Generation, SlotId, WorkerId};
use crate::notice::{Notice, Setback};
use crate::policy::Policy;
use crate::seed::Seed;
use crate::time::Time;

/// The surroundings of one step: the moment, the rules, and where orders go.
pub(crate) struct Turn<'a> {
    pub(crate) now: Time,
    pub(crate) policy: &'a Policy,
    pub(crate) generation: Generation,
    pub(crate) seed: &'a mut Seed,
    /// Whether any worker of this app ever said itself that it is ready.
    pub(crate) spoken: &'a mut bool,
    /// Whether any worker of this app was ever ready.
    pub(crate) proven: bool,
    pub(crate) signals: &'a mut Vec<Signal>,
    pub(crate) out: &'a mut Actions,
}

/// What a slot tells those who decide over all of them; it is heeded before the turn ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    /// A newcomer is ready.
    Arrived(SlotId),
    /// A newcomer, or a holder on trial, will not do.
    Failed(WorkerId, Setback),
    /// One that was on its way out beside the others is gone, or is not to be waited for.
    Gone(WorkerId),
    /// A worker has reached its largest age.
    Aged(WorkerId),
}

/// Whether a fact meant anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) enum Heard {
    /// It belonged here, whether or not it changed anything.
    Taken,
    /// It came late, twice or out of place.
    Ignored,
}

impl Turn<'_> {
    pub(crate) fn order(&mut self, action: Action) {
        self.out.push(action);
    }

    pub(crate) fn raise(&mut self, signal: Signal) {
        self.signals.push(signal);
    }

    pub(crate) fn tell(&mut self, notice: Notice) {
        self.out.notify(notice);
    }
}
