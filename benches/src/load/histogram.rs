//! Latencies in 32 steps per power of two: an error below 3.2 %, in 15 kB.
//!
//! Owns counting and percentiles. Never keeps a single measurement.

use std::time::Duration;

/// Steps per power of two.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// How often something took how long.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest_ns: u64,
}

impl Histogram {
    /// Counts one measurement.
    pub fn record(&mut self, span_ns: u64) {
        let step = step_of(span_ns);
        if step >= self.counts.len() {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += 1;
        self.total += 1;
        self.longest_ns = self.longest_ns.max(span_ns);
    }

    /// Counts everything that another one counted.
    pub fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }

    /// The span that `percent` of the measurements do not exceed; zero if there are none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Duration {
        let wanted = percent / 100.0 * self.total as f64;
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return Duration::from_nanos(upper_end(step).min(self.longest_ns));
            }
        }
        self.longest()
    }

    /// The longest span, exactly.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns)
    }

    /// How many measurements there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }
}

fn step_of(span: u64) -> usize {
    let step = if span < STEPS {
        span
    } else {
        let shift = 63 - span.leading_zeros() - STEP_BITS;
        (u64::from(shift) + 1) * STEPS + ((span >> shift) - STEPS)
    };
    usize::try_from(step).unwrap_or(usize::MAX)
}

/// The longest span of a step.
fn upper_end(step: usize) -> u64 {
    let step = step as u64;
    if step < STEPS {
        return step;
    }
    let shift = step / STEPS - 1;
    ((step % STEPS + STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lie_side_by_side_and_are_narrow() {
        for span in (0..100_000).chain((0..50).map(|bits| 1_u64 << bits)) {
            let step = step_of(span);
            assert!(upper_end(step) >= span, "{span}");
            assert!(step == 0 || upper_end(step - 1) < span, "{span}");
            assert!(upper_end(step) - span <= span / 31 + 1, "{span}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_measurements() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|millis| histogram.record(millis * 1_000_000));
        let close = |percent, millis: u64| {
            let found = histogram.percentile(percent).as_secs_f64() * 1e3;
            assert!((found - millis as f64).abs() <= millis as f64 * 0.04, "p{percent}: {found} ms");
        };
        close(50.0, 500);
        close(99.0, 990);
        assert_eq!(histogram.longest(), Duration::from_secs(1));
        assert_eq!(histogram.percentile(100.0), Duration::from_secs(1));
    }

    #[test]
    fn two_halves_make_a_whole() {
        let (mut low, mut high) = (Histogram::default(), Histogram::default());
        low.record(10);
        high.record(1_000_000);
        low.add(&high);
        assert_eq!((low.total(), low.longest()), (2, Duration::from_millis(1)));
    }
}
