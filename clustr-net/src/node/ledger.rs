//! Connections that a worker was sent and has not answered: our copy of each.
//!
//! Owns the descriptors, in the order of their numbers. Never closes one by itself: each comes out by its number or
//! with all others, and closes where it is dropped. Called by `outbox`, which sends them, and by `endpoint`, which
//! hears the answers.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

use crate::accept::{Connection, PROBE};

/// What is unanswered on one channel.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Ascending by number: answers come in order, so what is looked for is at the front.
    entries: VecDeque<(u64, Connection)>,
}

impl Ledger {
    /// Enters a connection. Numbers must ascend.
    pub(crate) fn enter(&mut self, seq: u64, connection: Connection) {
        debug_assert!(self.entries.back().is_none_or(|(last, _)| *last < seq));
        self.entries.push_back((seq, connection));
    }

    /// The descriptor of a number, to be sent.
    pub(crate) fn fd(&self, seq: u64) -> Option<BorrowedFd<'_>> {
        Some(self.entries[self.place(seq)?].1.as_fd())
    }

    /// Takes one out.
    pub(crate) fn take(&mut self, seq: u64) -> Option<Connection> {
        let (_, connection) = self.entries.remove(self.place(seq)?)?;
        Some(connection)
    }

    /// Takes all out, oldest first.
    pub(crate) fn take_all(&mut self) -> impl DoubleEndedIterator<Item = Connection> + use<> {
        std::mem::take(&mut self.entries).into_iter().map(|(_, connection)| connection)
    }

    /// How many of them are probes.
    pub(crate) fn probes(&self) -> usize {
        self.entries.iter().filter(|(_, connection)| connection.listener == PROBE).count()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn place(&self, seq: u64) -> Option<usize> {
        if self.entries.front().is_some_and(|(first, _)| *first == seq) {
            return Some(0);
        }
        self.entries.binary_search_by_key(&seq, |(seq, _)| *seq).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn each_comes_out_once_by_its_number_and_the_rest_in_order() {
        let mut ledger = Ledger::default();
        for seq in [3, 5, 8, 9] {
            let fd = UnixStream::pair().unwrap().0.into();
            ledger.enter(seq, Connection { fd, listener: seq, source: None });
        }
        assert!(ledger.fd(8).is_some() && ledger.fd(4).is_none());
        assert_eq!(ledger.take(5).map(|connection| connection.listener), Some(5));
        assert!(ledger.take(5).is_none());
        assert_eq!(ledger.take(3).map(|connection| connection.listener), Some(3));
        assert_eq!(ledger.len(), 2);
        assert_eq!(ledger.take_all().map(|connection| connection.listener).collect::<Vec<_>>(), [8, 9]);
        assert_eq!(ledger.len(), 0);
    }
}
