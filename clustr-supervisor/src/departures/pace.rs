//! How often is looked: more rarely, the longer a look takes.
//!
//! Owns the time of the last look and of the next. Never reads a clock: how long a look took is seen in the turn after it, which
//! is asked for at once. Called by `departures`.

use std::time::Duration;

use clustr_core::Time;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A look of ten milliseconds is followed by a hundred without one.
const TIMES_ITS_COST: u32 = 10;
/// A machine that stood still in a look is no reason to look away for longer.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// When to look.
#[derive(Debug)]
pub(super) struct Pace {
    /// There was a look in this turn, and nobody knows yet how long it took.
    looked_at: Option<Time>,
    next_at: Time,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { looked_at: None, next_at: Time::ZERO }
    }

    /// A turn begins: what there is to know of the last look is known now. Says whether it is time for another.
    pub(super) fn is_due(&mut self, now: Time) -> bool {
        if let Some(looked_at) = self.looked_at.take() {
            let pause = now.since(looked_at).saturating_mul(TIMES_ITS_COST).min(PAUSE_MAX);
            self.next_at = looked_at + pause.max(LOOK_EVERY);
        }
        self.next_at <= now
    }

    /// There was a look.
    pub(super) const fn looked(&mut self, now: Time) {
        self.looked_at = Some(now);
    }

    /// When to ask [`Pace::is_due`] again: after a look, in the very next turn.
    pub(super) fn deadline(&self) -> Time {
        self.looked_at.unwrap_or(self.next_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// Looks at a moment, and so long: says when the next look is due.
    fn after_a_look(began: u64, took: u64) -> Time {
        let mut pace = Pace::new();
        assert!(pace.is_due(at(began)));
        pace.looked(at(began));
        assert_eq!(
            pace.deadline(),
            at(began),
            "the next turn comes at once: it shows how long this look took"
        );
        assert!(!pace.is_due(at(began + took)));
        assert!(!pace.is_due(at(began + took)), "asked twice");
        pace.deadline()
    }

    #[test]
    fn a_look_that_costs_nothing_is_followed_by_another_soon() {
        assert_eq!(after_a_look(100, 0), at(120));
        assert_eq!(after_a_look(100, 2), at(120));
    }

    #[test]
    fn most_of_the_time_nobody_looks_whatever_a_look_costs() {
        for took in [3, 10, 50, 150] {
            assert_eq!(after_a_look(1000, took), at(1000 + took * 10), "{took}");
        }
    }

    #[test]
    fn a_machine_that_stood_still_is_looked_at_again() {
        assert_eq!(after_a_look(1000, 1500), at(3000));
    }
}
