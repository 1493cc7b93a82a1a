//! The clock, for deadlines of clients and the demo.
//!
//! Owns the one reading of the monotonic clock in this crate. The primary has its own, in clustr-supervisor.

use std::time::{Duration, Instant};

/// Now.
#[expect(clippy::disallowed_methods, reason = "clients and the demo are no part of the primary's loop")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A moment until which something may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// So long from now; `None`: for ever.
    pub(crate) fn after(span: Option<Duration>) -> Self {
        Self(span.and_then(|span| now().checked_add(span)))
    }

    /// This one, or so long from now, whichever comes first.
    pub(crate) fn or_after(self, span: Duration) -> Self {
        let then = now().checked_add(span);
        Self(self.0.map_or(then, |at| Some(then.map_or(at, |then| then.min(at)))))
    }

    /// What is left: `None` where there is no end, zero where it has passed.
    pub(crate) fn left(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(now()))
    }
}
