//! The only randomness there is: a seed that was given.
//!
//! Owns a small generator for jitter. Never asks the host for entropy, never protects a secret. Called by
//! [`backoff`](crate::backoff).

use core::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014): one addition and three mixing steps, equidistributed over 2^64.
/// The same seed gives the same jitter, so that a history can be played again.
#[derive(Clone, Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `span`, longer or shorter by up to `percent` of itself.
    pub(crate) fn jitter(&mut self, span: Duration, percent: u8) -> Duration {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let swing = nanos / 100 * u64::from(percent) + nanos % 100 * u64::from(percent) / 100;
        if swing == 0 {
            return span;
        }
        let longest = nanos.saturating_add(swing);
        let shortest = nanos - swing;
        Duration::from_nanos(shortest + self.below_or_equal(longest - shortest))
    }

    /// A number in `0..=top`: the high half of a product, which needs no division and is even enough for rests.
    fn below_or_equal(&mut self, top: u64) -> u64 {
        let product = u128::from(self.next()) * (u128::from(top) + 1);
        u64::try_from(product >> 64).unwrap_or(top)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        let mut seed = Seed::new(0);
        assert_eq!(seed.next(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(seed.next(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn jitter_stays_within_its_percentage_and_reaches_both_sides() {
        let span = Duration::from_millis(100);
        let mut seed = Seed::new(7);
        let rests: alloc::vec::Vec<_> = (0..1_000).map(|_| seed.jitter(span, 20)).collect();
        assert!(rests.iter().all(|rest| (80..=120).contains(&rest.as_millis())));
        assert!(rests.iter().any(|rest| rest.as_millis() < 85));
        assert!(rests.iter().any(|rest| rest.as_millis() > 115));
    }

    #[test]
    fn no_jitter_changes_nothing_and_endless_spans_do_not_overflow() {
        let mut seed = Seed::new(7);
        assert_eq!(seed.jitter(Duration::from_secs(1), 0), Duration::from_secs(1));
        assert_eq!(seed.jitter(Duration::ZERO, 100), Duration::ZERO);
        let _no_panic = seed.jitter(Duration::MAX, 100);
    }
}
