//! Listeners that go while workers have them.
//!
//! Owns what the table gives up of itself, at the wish of whoever calls. Never binds. Called by the loop of a primary when a
//! listener is dead for all who have it.

use super::{Closed, Listener, Table};

impl Table {
    /// Puts another listener in the place of one, for whoever asks from now on. Returns the one before, for whoever watches it.
    pub fn replace(&mut self, number: u64, listener: Listener) -> Option<Closed> {
        let place = self.place_of(number)?;
        let bound = std::mem::replace(&mut self.entries[place].bound, listener.into());
        Some(Closed { number, bound })
    }

    /// Closes what has this number, whoever holds it.
    pub fn close(&mut self, number: u64) -> Option<Closed> {
        Some(self.entries.remove(self.place_of(number)?).into())
    }
}
