//! For how long a worker has answered nothing of what it was handed.
//!
//! Owns one worker's count and its clock. Pure: no I/O, and time is given. Never sees a connection. Called by `handoff`.
//!
//! An answer is any sign that the worker goes on: taken, refused, or not arrived. One answer starts the clock anew for all
//! that is still unanswered, so that a slow worker hangs as little as a fast one.

use std::time::Duration;

/// What one worker has not answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unanswered {
    count: usize,
    since: Duration,
    hangs: bool,
}

/// What has become of a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// It has not answered for too long.
    Hangs,
    /// It had not, and has now.
    Answers,
}

impl Unanswered {
    /// So many are unanswered after one more was handed over.
    pub(super) const fn given(&mut self, count: usize, now: Duration) {
        if self.count == 0 {
            self.since = now;
        }
        self.count = count;
    }

    /// So many are unanswered after an answer came.
    pub(super) const fn answered(&mut self, count: usize, now: Duration) {
        (self.count, self.since) = (count, now);
    }

    /// What has changed since the last time, where `timeout` is too long.
    pub(super) fn change(&mut self, timeout: Duration, now: Duration) -> Option<Change> {
        let hangs = self.count > 0 && now.saturating_sub(self.since) >= timeout;
        match (std::mem::replace(&mut self.hangs, hangs), hangs) {
            (false, true) => Some(Change::Hangs),
            (true, false) => Some(Change::Answers),
            (false, false) | (true, true) => None,
        }
    }

    /// When it hangs, if it does not answer before; rounded up, so that a timer need not be set for each connection.
    pub(super) fn hangs_at(&self, timeout: Duration) -> Option<Duration> {
        let grain = (timeout / 16).max(Duration::from_millis(1)).as_nanos();
        let due = self.since.checked_add(timeout).filter(|_| self.count > 0 && !self.hangs)?;
        u64::try_from(due.as_nanos().next_multiple_of(grain)).ok().map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const TIMEOUT: Duration = Duration::from_millis(160);

    #[test]
    fn one_that_answers_nothing_hangs_once_and_an_answer_ends_it() {
        let mut unanswered = Unanswered::default();
        unanswered.given(1, MS);
        unanswered.given(2, MS * 100);
        assert_eq!(unanswered.change(TIMEOUT, MS * 160), None);
        assert_eq!(unanswered.hangs_at(TIMEOUT), Some(MS * 170));
        assert_eq!(unanswered.change(TIMEOUT, MS * 170), Some(Change::Hangs));
        assert_eq!((unanswered.change(TIMEOUT, MS * 900), unanswered.hangs_at(TIMEOUT)), (None, None));
        unanswered.answered(1, MS * 901);
        assert_eq!(unanswered.change(TIMEOUT, MS * 901), Some(Change::Answers));
        assert_eq!(unanswered.change(TIMEOUT, MS * 1061), Some(Change::Hangs));
    }

    #[test]
    fn one_that_has_answered_for_all_has_time() {
        let mut unanswered = Unanswered::default();
        unanswered.given(1, MS);
        unanswered.answered(0, MS * 2);
        assert_eq!((unanswered.change(TIMEOUT, MS * 10_000), unanswered.hangs_at(TIMEOUT)), (None, None));
        unanswered.given(1, MS * 10_000);
        assert_eq!(unanswered.change(TIMEOUT, MS * 10_001), None);
    }

    #[test]
    fn without_a_timeout_nobody_hangs() {
        let mut unanswered = Unanswered::default();
        unanswered.given(1, MS);
        assert_eq!(
            (unanswered.change(Duration::MAX, Duration::MAX), unanswered.hangs_at(Duration::MAX)),
            (None, None)
        );
    }

    proptest! {
        #[test]
        fn an_answer_in_time_keeps_everybody_from_hanging(steps in proptest::collection::vec((1..160_u32, 0..5_usize), 1..200)) {
            let (mut unanswered, mut now) = (Unanswered::default(), Duration::ZERO);
            for (pause, count) in steps {
                now += MS * pause;
                prop_assert_eq!(unanswered.change(TIMEOUT, now), None);
                unanswered.answered(count, now);
                unanswered.given(count + 1, now);
                prop_assert!(unanswered.hangs_at(TIMEOUT).is_some_and(|at| at >= now + TIMEOUT));
            }
        }
    }
}
