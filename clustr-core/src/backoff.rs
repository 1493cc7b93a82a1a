//! Backoff: how long a slot rests before its next worker.
//!
//! Owns how far one slot's rests have grown. Never measures time and never starts anything. Called by
//! [`slot`](crate::slot).

use core::time::Duration;

use crate::policy::Backoff;
use crate::seed::Seed;

/// A host that is short of something is not asked again sooner than this, whatever the policy says: it would
/// answer the same at once, and the primary would do nothing but ask.
const SHORTAGE_REST_MIN: Duration = Duration::from_millis(100);

/// How far the rests of one slot have grown.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Rests {
    /// Whether a worker has ended since the last one that was stable: the next end is not the first.
    unsettled: bool,
    /// How many rests were taken since then.
    taken: u32,
    /// How often in a row the host was short.
    shortages: u32,
}

impl Rests {
    /// The rest after a worker that had been ready. The first one is forgiven: it is answered at once.
    pub(crate) fn after_run(&mut self, stable: bool, rule: Backoff, seed: &mut Seed) -> Duration {
        if stable {
            *self = Self::default();
        }
        if self.unsettled {
            return self.after_failed_start(rule, seed);
        }
        self.unsettled = true;
        Duration::ZERO
    }

    /// The rest after a start that failed: there always is one (unless the policy's rests are zero).
    pub(crate) fn after_failed_start(&mut self, rule: Backoff, seed: &mut Seed) -> Duration {
        self.unsettled = true;
        let rest = grown(rule, self.taken);
        self.taken = self.taken.saturating_add(1);
        seed.jitter(rest, rule.jitter_percent)
    }

    /// The rest after the host was short: it grows apart from the worker's own, and is never zero.
    pub(crate) fn after_shortage(&mut self, rule: Backoff, seed: &mut Seed) -> Duration {
        let first = rule.first.max(SHORTAGE_REST_MIN);
        let rest = grown(Backoff { first, cap: rule.cap.max(first), ..rule }, self.shortages);
        self.shortages = self.shortages.saturating_add(1);
        seed.jitter(rest, rule.jitter_percent).max(SHORTAGE_REST_MIN)
    }

    /// Whether the host was short when it was last asked.
    pub(crate) const fn is_short(&self) -> bool {
        self.shortages > 0
    }

    /// The host was able to start a process.
    pub(crate) const fn shortage_over(&mut self) {
        self.shortages = 0;
    }
}

/// `first · factor^taken`, at most `cap`, before jitter.
fn grown(rule: Backoff, taken: u32) -> Duration {
    let times = u128::from(rule.factor).saturating_pow(taken);
    let nanos = rule.first.as_nanos().saturating_mul(times).min(rule.cap.as_nanos());
    u64::try_from(nanos).map_or(rule.cap, Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Backoff = Backoff {
        first: Duration::from_millis(100),
        factor: 2,
        cap: Duration::from_millis(500),
        jitter_percent: 0,
    };

    fn millis(rest: Duration) -> u128 {
        rest.as_millis()
    }

    #[test]
    fn rests_double_up_to_the_cap() {
        let (mut rests, mut seed) = (Rests::default(), Seed::new(0));
        let grown = [(); 5].map(|()| millis(rests.after_failed_start(RULE, &mut seed)));
        assert_eq!(grown, [100, 200, 400, 500, 500]);
    }

    #[test]
    fn the_first_exit_after_ready_is_free_and_a_stable_life_forgives() {
        let (mut rests, mut seed) = (Rests::default(), Seed::new(0));
        let mut after = |stable| millis(rests.after_run(stable, RULE, &mut seed));
        assert_eq!([after(false), after(false), after(false)], [0, 100, 200]);
        assert_eq!([after(true), after(false)], [0, 100]);
    }

    #[test]
    fn a_start_that_failed_uses_up_the_free_exit() {
        let (mut rests, mut seed) = (Rests::default(), Seed::new(0));
        assert_eq!(millis(rests.after_failed_start(RULE, &mut seed)), 100);
        assert_eq!(millis(rests.after_run(false, RULE, &mut seed)), 200);
    }

    #[test]
    fn a_short_host_is_never_asked_again_at_once() {
        let rule = Backoff { first: Duration::ZERO, cap: Duration::ZERO, jitter_percent: 100, ..RULE };
        let (mut rests, mut seed) = (Rests::default(), Seed::new(0));
        for _ in 0..100 {
            assert!(rests.after_shortage(rule, &mut seed) >= SHORTAGE_REST_MIN);
        }
        assert_eq!(rests.after_failed_start(rule, &mut seed), Duration::ZERO);
    }

    #[test]
    fn endless_growth_does_not_overflow() {
        let rule = Backoff {
            first: Duration::from_secs(1),
            factor: u32::MAX,
            cap: Duration::MAX,
            jitter_percent: 0,
        };
        assert_eq!(grown(rule, u32::MAX), Duration::MAX);
    }
}
