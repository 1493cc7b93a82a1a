//! What a worker was given and has not acknowledged, as the primary keeps it.
//!
//! Owns the numbers of connections, the copies that are kept, and the credits. Pure: what is kept may be anything. Never
//! sends. Called by `Sender`, which keeps descriptors in it, and by tests, which keep numbers.
//!
//! ```text
//!   numbers:   1 … acked │ acked+1 … sent │ sent+1 … queued │ … granted
//!              gone      │ kept, under way │ kept, to send   │ may still be offered
//! ```

use std::collections::VecDeque;

use super::WINDOW_MAX;
use super::codec::Report;

/// The connections of one worker.
#[derive(Debug)]
pub struct Ledger<T> {
    /// From number `acked + 1` on. A hole was refused.
    kept: VecDeque<Option<T>>,
    acked: u64,
    sent: u64,
    granted: u64,
    holes: usize,
    taken: u64,
    closed: u64,
}

/// A worker's word that contradicts what it was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Lie {
    /// It acknowledges what it was never sent.
    #[error("a connection is acknowledged that was never sent")]
    Acked,
    /// It closed more than it took.
    #[error("more connections are closed than were taken")]
    Closed,
    /// It refuses what it was never sent, or has acknowledged or refused before.
    #[error("a connection is refused that is not under way")]
    Refused,
}

impl<T> Default for Ledger<T> {
    /// An empty one, without credits. It allocates now, and never again.
    fn default() -> Self {
        let kept = VecDeque::with_capacity(WINDOW_MAX as usize);
        Self { kept, acked: 0, sent: 0, granted: 0, holes: 0, taken: 0, closed: 0 }
    }
}

impl<T> Ledger<T> {
    /// Keeps one more, to be sent.
    ///
    /// # Errors
    ///
    /// Gives it back if there is no credit.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.credits() == 0 {
            return Err(item);
        }
        self.kept.push_back(Some(item));
        Ok(())
    }

    /// The number of the next to be sent, and all that are to be sent.
    pub fn unsent(&self) -> (u64, impl ExactSizeIterator<Item = &T>) {
        let under_way = usize::try_from(self.sent - self.acked).unwrap_or(usize::MAX);
        // Invariant: only what was sent can be refused, so there is no hole among these.
        let unsent = self.kept.range(under_way.min(self.kept.len())..);
        (self.sent + 1, unsent.map(|item| item.as_ref().expect("what was not sent has not been refused")))
    }

    /// The next `count` have left.
    pub fn mark_sent(&mut self, count: usize) {
        self.sent = (self.sent + count as u64).min(self.queued());
    }

    /// What the worker reports. Dropping what it acknowledged, in order.
    ///
    /// # Errors
    ///
    /// [`Lie`]; a report that is older than the last one is none.
    pub fn report(&mut self, report: Report) -> Result<(), Lie> {
        if report.acked > self.sent {
            return Err(Lie::Acked);
        }
        while self.acked < report.acked {
            self.pop();
        }
        if report.closed > self.taken {
            return Err(Lie::Closed);
        }
        self.closed = self.closed.max(report.closed);
        self.granted = self.granted.max(report.granted.min(self.acked + u64::from(WINDOW_MAX)));
        Ok(())
    }

    fn pop(&mut self) {
        match self.kept.pop_front() {
            Some(Some(_)) => self.taken += 1,
            Some(None) => self.holes -= 1,
            None => {}
        }
        self.acked += 1;
    }

    /// `count` from number `first` on did not arrive; each is given to `back`.
    ///
    /// # Errors
    ///
    /// [`Lie::Refused`].
    pub fn refuse(&mut self, first: u64, count: u16, mut back: impl FnMut(T)) -> Result<(), Lie> {
        let last = first.checked_add(u64::from(count)).ok_or(Lie::Refused)?;
        if count == 0 || first <= self.acked || last > self.sent + 1 {
            return Err(Lie::Refused);
        }
        for number in first..last {
            let place = usize::try_from(number - self.acked - 1).map_err(|_| Lie::Refused)?;
            back(self.kept.get_mut(place).and_then(Option::take).ok_or(Lie::Refused)?);
            self.holes += 1;
        }
        // Holes in front hold nobody up.
        while self.acked < self.sent && matches!(self.kept.front(), Some(None)) {
            self.pop();
        }
        Ok(())
    }

    /// All that was not sent, in order: it was never the worker's.
    pub fn take_unsent(&mut self) -> impl Iterator<Item = T> {
        let under_way = usize::try_from(self.sent - self.acked).unwrap_or(usize::MAX);
        self.kept.drain(under_way.min(self.kept.len())..).flatten()
    }

    /// All that was not acknowledged, in order. The worker is gone: the ledger is empty, and without credits.
    pub fn take_back(&mut self) -> impl Iterator<Item = T> {
        (self.acked, self.holes) = (self.queued(), 0);
        (self.sent, self.granted) = (self.acked, self.acked);
        self.kept.drain(..).flatten()
    }

    /// How many more may be pushed.
    #[must_use]
    pub fn credits(&self) -> usize {
        usize::try_from(self.granted.saturating_sub(self.queued())).unwrap_or(usize::MAX)
    }

    /// How many are kept: queued, or sent and not acknowledged.
    #[must_use]
    pub fn unacked(&self) -> usize {
        self.kept.len() - self.holes
    }

    /// How many the worker has taken and not closed.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.taken - self.closed
    }

    /// How many the worker has taken, in all.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// The number of the last that was pushed.
    fn queued(&self) -> u64 {
        self.acked + self.kept.len() as u64
    }
}
