//! How long tests wait.

use std::time::{Duration, Instant};

/// How long anything may take before it counts as never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A point in time that fails the test when it has passed.
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn new() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    /// Panics with `what` once the time is over.
    pub(crate) fn check(&self, what: impl FnOnce() -> String) {
        assert!(Instant::now() < self.0, "timed out: {}", what());
    }
}
