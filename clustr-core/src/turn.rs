//! What one step may see and say.
//!
//! Owns the list of orders while it is being written. Never remembers anything between two steps. Made by
//! [`roster`](crate::roster), used by everything below it.

use crate::action::{Action, Actions};
use crate::id::Generation;
use crate::notice::Notice;
use crate::policy::Policy;
use crate::seed::Seed;
use crate::time::Time;

/// The surroundings of one step: the moment, the rules, and where orders go.
pub(crate) struct Turn<'a> {
    pub(crate) now: Time,
    pub(crate) policy: &'a Policy,
    pub(crate) generation: Generation,
    pub(crate) seed: &'a mut Seed,
    pub(crate) out: &'a mut Actions,
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

    pub(crate) fn tell(&mut self, notice: Notice) {
        self.out.notify(notice);
    }
}
