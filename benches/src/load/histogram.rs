//! Latencies, to a tenth of a percent.
//!
//! Owns the bounds of an HdrHistogram, and its numbers as spans. Never keeps a single measurement.

use std::time::Duration;

/// Bound: what took longer than an hour counts as an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Digits that every measurement keeps.
const DIGITS: u8 = 3;

/// How often something took how long.
#[derive(Clone, Debug)]
pub struct Histogram(hdrhistogram::Histogram<u64>);

impl Default for Histogram {
    fn default() -> Self {
        let made = hdrhistogram::Histogram::new_with_bounds(1, LONGEST_NS, DIGITS);
        Self(made.expect("the bounds and the digits are within what the crate documents"))
    }
}

impl Histogram {
    /// Counts one measurement.
    pub fn record(&mut self, span_ns: u64) {
        self.0.saturating_record(span_ns);
    }

    /// Counts everything that another one counted.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// The span that `percent` of the measurements do not exceed; zero if there are none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_percentile(percent))
    }

    /// The longest span.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// How many measurements there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_measurements() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.percentile(99.0), histogram.longest()), (Duration::ZERO, Duration::ZERO));
        (1..=1_000).for_each(|millis| histogram.record(millis * 1_000_000));
        let close = |percent, millis: f64| {
            let found = histogram.percentile(percent).as_secs_f64() * 1e3;
            assert!((found / millis - 1.0).abs() <= 0.002, "p{percent}: {found} ms");
        };
        close(50.0, 500.0);
        close(99.0, 990.0);
        close(100.0, 1_000.0);
    }

    #[test]
    fn two_halves_make_a_whole() {
        let (mut low, mut high) = (Histogram::default(), Histogram::default());
        low.record(10);
        high.record(1_000);
        low.add(&high);
        assert_eq!((low.total(), low.longest()), (2, Duration::from_micros(1)));
    }

    #[test]
    fn what_is_out_of_bounds_is_still_counted() {
        let mut histogram = Histogram::default();
        histogram.record(u64::MAX);
        histogram.record(0);
        assert_eq!(histogram.total(), 2);
    }
}
