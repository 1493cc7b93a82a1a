//! Intensity: at most so many restarts in any period.
//!
//! Owns the sliding window in which one slot's restarts are counted, and the row of its starts that failed. Never decides what giving up means.
//! Called by [`slot`](crate::slot).

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::policy::Intensity;
use crate::time::Time;

/// Bound: up to this many restarts are remembered one by one. An intensity that bears more counts together
/// what falls into the same 256th of its period, so that a window never holds more than this and two marks.
const MARKS_EXACT: u32 = 256;

/// The recent restarts of one slot, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    marks: VecDeque<Mark>,
    total: u64,
}

/// Restarts that are counted, and forgotten, together.
#[derive(Clone, Copy, Debug)]
struct Mark {
    opened_at: Time,
    newest_at: Time,
    restarts: u64,
}

impl Window {
    /// Counts one restart. Whether the intensity bears it.
    pub(crate) fn record(&mut self, rule: Intensity, now: Time) -> bool {
        self.forget(rule.period, now);
        match self.marks.back_mut() {
            Some(mark) if now.since(mark.opened_at) < grain(rule) => {
                mark.newest_at = now;
                mark.restarts += 1;
            }
            Some(_) | None => self.marks.push_back(Mark { opened_at: now, newest_at: now, restarts: 1 }),
        }
        self.total += 1;
        self.total <= u64::from(rule.restarts)
    }

    /// How many restarts count now.
    pub(crate) fn recent(&self, rule: Intensity, now: Time) -> u32 {
        let counted = |mark: &&Mark| now.since(mark.newest_at) <= rule.period;
        let total: u64 = self.marks.iter().rev().take_while(counted).map(|mark| mark.restarts).sum();
        u32::try_from(total).unwrap_or(u32::MAX)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The border is OTP's: a restart exactly one period old still counts
    /// (`supervisor.erl`: `R >= Now - Period`).
    fn forget(&mut self, period: Duration, now: Time) {
        while let Some(mark) = self.marks.front().filter(|mark| now.since(mark.newest_at) > period) {
            self.total -= mark.restarts;
            self.marks.pop_front();
        }
    }
}

/// How far apart restarts have to be to be remembered one by one. A shared mark is forgotten with its newest
/// restart: the slot may give up up to this much early, and never bears one restart too many.
fn grain(rule: Intensity) -> Duration {
    if rule.restarts <= MARKS_EXACT { Duration::ZERO } else { rule.period / MARKS_EXACT }
}

/// The starts of one slot that failed, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FailedStarts {
    count: u32,
    since: Time,
}

impl FailedStarts {
    pub(crate) const fn record(&mut self, now: Time) {
        if self.count == 0 {
            self.since = now;
        }
        self.count = self.count.saturating_add(1);
    }

    /// How many there were, and in which time, if they are more than the intensity bears in any period.
    pub(crate) fn too_many(self, rule: Intensity, now: Time) -> Option<(u32, Duration)> {
        (self.count > rule.restarts).then(|| (self.count, now.since(self.since)))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Intensity = Intensity { restarts: 2, period: Duration::from_secs(10) };

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_restart_exactly_one_period_old_still_counts() {
        let mut window = Window::default();
        assert!(window.record(RULE, at(0)));
        assert!(window.record(RULE, at(5_000)));
        assert!(!window.record(RULE, at(10_000)));
    }

    #[test]
    fn a_restart_older_than_the_period_is_forgotten() {
        let mut window = Window::default();
        assert!(window.record(RULE, at(0)));
        assert!(window.record(RULE, at(5_000)));
        assert_eq!(window.recent(RULE, at(10_001)), 1);
        assert!(window.record(RULE, at(10_001)));
    }

    #[test]
    fn no_restarts_allowed_means_that_the_first_is_one_too_many() {
        let rule = Intensity { restarts: 0, ..RULE };
        assert!(!Window::default().record(rule, at(0)));
    }

    #[test]
    fn a_huge_intensity_is_counted_in_bounded_memory_and_never_bears_one_too_many() {
        let rule = Intensity { restarts: 100_000, ..RULE };
        let mut window = Window::default();
        for restart in 0..100_000_u64 {
            assert!(window.record(rule, Time::from_nanos(restart * 100_000)), "restart {restart}");
        }
        assert!(window.marks.len() <= 258, "{} marks", window.marks.len());
        assert!(!window.record(rule, at(10_000)));
    }
}
