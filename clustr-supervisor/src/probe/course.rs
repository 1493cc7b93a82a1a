//! When a worker is asked, and what its answers come to: pure, time is given.
//!
//! Owns the pace of questions and the count of failures. Never asks. Called by `probe`, with each answer.
//!
//! | asked for | first | then | comes to |
//! |---|---|---|---|
//! | readiness | a moment after the start | after each answer that is not good, ever more rarely | ready, once |
//! | liveness | within one interval after it was ready, at random | each interval | failing, after so many in a row; recovered, after one that is good |
//!
//! A question that could not even be put says nothing of the worker: it counts neither as good nor as bad.

use std::time::Duration;

use clustr_core::Time;

use crate::config::Liveness;

/// The first question after a start, and how much longer each further pause is.
const FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Bound: nobody is asked without a pause.
const EVERY_MIN: Duration = Duration::from_millis(10);

/// How long an answer may take while a worker starts. It may be asked before it has accepted anybody.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// An answer, as far as it matters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Good,
    /// Not good: why.
    Bad(String),
    /// It could not be asked: why.
    Unasked(String),
}

/// What has changed by an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    Nothing,
    Ready,
    /// Also said again with each further failure: whoever heard it may have had no ear for it.
    Failing,
    Recovered,
}

/// The questions to one worker.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    aim: Aim,
    next_at: Time,
    failures: u32,
    /// Why the last answer was not good.
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Aim {
    Readiness { pause: Duration },
    Liveness { every: Duration, timeout: Duration, limit: u32 },
}

impl Course {
    /// Until it is ready.
    pub(crate) fn readiness(now: Time) -> Self {
        Self { aim: Aim::Readiness { pause: FIRST }, next_at: now + FIRST, failures: 0, why: None }
    }

    /// From its readiness on. `chance` is from 0 to 255.
    pub(crate) fn liveness(live: &Liveness, chance: u8, now: Time) -> Self {
        let Liveness { every, timeout, failures, .. } = *live;
        let first = every / 256 * (u32::from(chance) + 1);
        let aim = Aim::Liveness { every, timeout, limit: failures.get() };
        Self { aim, next_at: now + first, failures: 0, why: None }
    }

    /// Whether it is asked if it is ready.
    pub(crate) const fn is_readiness(&self) -> bool {
        matches!(self.aim, Aim::Readiness { .. })
    }

    /// When it is asked next.
    pub(crate) const fn next_at(&self) -> Time {
        self.next_at
    }

    /// It is asked now. Returns until when an answer counts.
    pub(crate) fn ask(&mut self, now: Time) -> Time {
        match &mut self.aim {
            Aim::Readiness { .. } => now + START_PATIENCE,
            Aim::Liveness { every, timeout, .. } => {
                // After a pause of the loop nothing is made up for.
                self.next_at = (self.next_at + (*every).max(EVERY_MIN)).max(now);
                now + *timeout
            }
        }
    }

    /// What the answer comes to.
    pub(crate) fn hear(&mut self, verdict: Verdict, now: Time) -> Turn {
        if let Aim::Readiness { pause } = &mut self.aim {
            self.next_at = now + *pause;
            *pause = (*pause * 3 / 2).min(PAUSE_MAX);
        }
        match verdict {
            Verdict::Good => self.good(),
            Verdict::Unasked(why) => {
                self.why = Some(why);
                Turn::Nothing
            }
            Verdict::Bad(why) => {
                self.why = Some(why);
                self.bad()
            }
        }
    }

    fn good(&mut self) -> Turn {
        let failures = std::mem::take(&mut self.failures);
        self.why = None;
        match self.aim {
            Aim::Readiness { .. } => Turn::Ready,
            Aim::Liveness { limit, .. } if failures >= limit => Turn::Recovered,
            Aim::Liveness { .. } => Turn::Nothing,
        }
    }

    fn bad(&mut self) -> Turn {
        self.failures = self.failures.saturating_add(1);
        match self.aim {
            Aim::Readiness { .. } => Turn::Nothing,
            Aim::Liveness { limit, .. } if self.failures < limit => Turn::Nothing,
            Aim::Liveness { .. } => Turn::Failing,
        }
    }

    /// Why the last answer was not good.
    pub(crate) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Probe;
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    const MS: Duration = Duration::from_millis(1);

    fn live(failures: u32) -> Liveness {
        let failures = NonZeroU32::new(failures).unwrap();
        Liveness { failures, ..Liveness::new(Probe::Http("/".into())) }
    }

    fn bad() -> Verdict {
        Verdict::Bad("503".into())
    }

    #[test]
    fn a_start_is_asked_ever_more_rarely_until_it_is_good() {
        let mut course = Course::readiness(Time::ZERO);
        let mut now = Time::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pauses.push(course.next_at().since(now));
            now = course.next_at();
            course.ask(now);
            assert_eq!(course.hear(bad(), now), Turn::Nothing);
        }
        assert_eq!(pauses[..4], [50 * MS, 50 * MS, 75 * MS, Duration::from_micros(112_500)]);
        assert_eq!(pauses[11], PAUSE_MAX);
        assert_eq!(course.why(), Some("503"));
        assert_eq!(course.hear(Verdict::Good, now), Turn::Ready);
    }

    #[test]
    fn so_many_failures_in_a_row_are_failing_and_one_good_answer_ends_it() {
        let mut course = Course::liveness(&live(3), 0, Time::ZERO);
        let mut hear = |verdict| course.hear(verdict, Time::ZERO);
        assert_eq!([hear(bad()), hear(bad()), hear(Verdict::Good)], [Turn::Nothing; 3]);
        assert_eq!([hear(bad()), hear(bad())], [Turn::Nothing; 2]);
        assert_eq!(hear(bad()), Turn::Failing);
        assert_eq!(hear(bad()), Turn::Failing);
        assert_eq!(hear(Verdict::Unasked("no descriptor left".into())), Turn::Nothing);
        assert_eq!([hear(Verdict::Good), hear(Verdict::Good)], [Turn::Recovered, Turn::Nothing]);
    }

    #[test]
    fn workers_that_start_together_are_not_asked_together() {
        let first = |chance| Course::liveness(&live(1), chance, Time::ZERO).next_at().since(Time::ZERO);
        assert!(first(0) > Duration::ZERO && first(0) < first(128) && first(128) < first(255));
        assert_eq!(first(255), Duration::from_secs(10) / 256 * 256);
    }

    proptest! {
        #[test]
        fn questions_keep_their_pace_and_failing_is_said_exactly_when_there_were_enough(
            limit in 1..5_u32,
            answers in prop::collection::vec((0..3_u8, 0..30_000_u32), 1..60),
        ) {
            let live = live(limit);
            let mut course = Course::liveness(&live, 7, Time::ZERO);
            let (mut now, mut row) = (Time::ZERO, 0);
            for (answer, late) in answers {
                let due = course.next_at();
                now = now.max(due) + MS * late;
                prop_assert!(course.ask(now) == now + live.timeout);
                prop_assert!(course.next_at() >= now && course.next_at() <= now.max(due + live.every));
                let failing = row >= limit;
                let turn = match answer {
                    0 => course.hear(Verdict::Good, now),
                    1 => course.hear(bad(), now),
                    _ => course.hear(Verdict::Unasked(String::new()), now),
                };
                row = match answer { 0 => 0, 1 => row + 1, _ => row };
                let expected = match answer {
                    0 if failing => Turn::Recovered,
                    1 if row >= limit => Turn::Failing,
                    _ => Turn::Nothing,
                };
                prop_assert_eq!(turn, expected);
            }
        }
    }
}
