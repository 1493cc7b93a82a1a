//! Listeners that go at the wish of whoever calls.
//!
//! Owns what the table gives up of itself. Never binds. Called by the loop of a primary when a listener is dead for all who
//! have it, or when nobody has it any more.

use std::os::fd::AsFd;

use super::{Addr, Bound, Closed, Kind, Listener, Table};
use crate::queue::is_readable;
use crate::sys;

impl Table {
    /// Puts another listener in the place of one, for whoever asks from now on. Returns the one before, for whoever watches it.
    pub fn replace(&mut self, number: u64, listener: Listener) -> Option<Closed> {
        let place = self.place_of(number)?;
        let bound = std::mem::replace(&mut self.entries[place].bound, listener.into());
        Some(Closed { number, bound })
    }

    /// Whether a worker holds what has this number, by a [`Query`](super::super::Query) of its own.
    #[must_use]
    pub fn is_held(&self, number: u64) -> bool {
        self.place_of(number).is_some_and(|place| !self.entries[place].holders.is_empty())
    }

    /// Closes what has this number, whoever holds it.
    pub fn close(&mut self, number: u64) -> Option<Closed> {
        Some(self.entries.remove(self.place_of(number)?).into())
    }
}

impl Closed {
    /// How many clients wait in it whom nobody has accepted; of those of a Unix socket, and of datagrams, 1 if there is any.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        match &self.bound {
            Bound::Listener(listener) => match (listener.kind(), listener.local_addr()) {
                (Kind::Stream, Addr::Tcp { .. } | Addr::Udp { .. } | Addr::Fd(_)) => {
                    sys::accept_queue_len(listener.as_fd()).ok().flatten().map_or(0, u64::from)
                }
                (Kind::Datagram, _) | (Kind::Stream, Addr::Unix(_) | Addr::Abstract(_)) => {
                    is_readable(listener).is_ok_and(|is_readable| is_readable).into()
                }
            },
            Bound::Queues(queues) => {
                queues.queues().filter_map(|(id, ..)| queues.waiting(id).ok()).map(u64::from).sum()
            }
        }
    }
}
