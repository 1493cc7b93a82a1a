//! How far a bounded reading of a channel came.
//!
//! Owns the one answer of every `receive` in this crate, so that a loop has one way to treat them all. Never reads. Returned by
//! `handoff::Sender` and `node::Endpoint`, and re-exported beside each.

/// How far `receive` came: [`handoff::Sender::receive`](crate::handoff::Sender::receive), and that of `node::Endpoint`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Progress {
    /// All that has arrived was read; the next readable edge will tell.
    Drained,
    /// The budget is used up: call again without waiting for an edge.
    More,
    /// The worker closed its end, and everything that it said before was read: what it was given and did not answer can be
    /// taken back now.
    Closed,
}
