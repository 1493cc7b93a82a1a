//! How long everything may take, and how that is divided.
//!
//! Owns the promise, six minutes for a quick run and thirty for a full one, builds included; and each part's share of what
//! is left of it. A part that was faster leaves its time to those that follow, and one that was slower takes it from them.
//! Never interrupts anything: a part asks between rounds.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use crate::parts::Part;
use crate::setting::Effort;

/// The time of one run, and of the part that is being measured.
pub(crate) struct Budget {
    /// Everything is over then.
    until: Instant,
    /// The part under way is.
    part_until: Cell<Instant>,
    effort: Effort,
}

/// What a run has for its parts at least, however long the builds took.
const LEAST_SHARE: u32 = 3;

impl Budget {
    /// `spent` has gone into builds and downloads already; everything is measured so many `times`.
    pub(crate) fn new(effort: Effort, spent: Duration, times: u32) -> Self {
        let whole = promised(effort);
        let left = (whole * times).saturating_sub(spent).max(whole * times / LEAST_SHARE);
        let now = Instant::now();
        Self { until: now + left, part_until: Cell::new(now), effort }
    }

    /// What a part gets now, when `rest` (itself among them) are still to be measured: what it asks for, or its share of
    /// what is left.
    fn share(&self, part: &Part, rest: &[&Part], left: Duration) -> Duration {
        let asked = part.asks(self.effort);
        let all: Duration = rest.iter().map(|part| part.asks(self.effort)).sum();
        asked.min(left.mul_f64(asked.as_secs_f64() / all.as_secs_f64().max(1e-9)))
    }

    /// The next part begins; `rest` are this one and all that follow.
    pub(crate) fn begin(&self, rest: &[&Part]) {
        let Some(part) = rest.first() else { return };
        let now = Instant::now();
        let left = self.until.saturating_duration_since(now);
        self.part_until.set(now + self.share(part, rest, left));
    }

    /// What is left to the part.
    pub(crate) fn left(&self) -> Duration {
        self.part_until.get().saturating_duration_since(Instant::now())
    }

    /// When the first `share` (0.5: the half) of what is left to the part will be over.
    pub(crate) fn until(&self, share: f64) -> Instant {
        Instant::now() + self.left().mul_f64(share)
    }

    /// The plan in words: how long each part takes at most, and all of them so many `times`.
    pub(crate) fn plan(&self, parts: &[&Part], times: u32) -> String {
        let left = self.until.saturating_duration_since(Instant::now()) / times.max(1);
        let mut sum = Duration::ZERO;
        let each = parts.iter().map(|part| {
            let share = self.share(part, parts, left);
            sum += share;
            format!("{} {}", part.name, Shown(share))
        });
        let each = each.collect::<Vec<_>>().join(", ");
        let runs = if times > 1 { format!(" {times} times") } else { String::new() };
        format!("Takes{runs} at most {}: {each}.", Shown(sum))
    }
}

/// What `--quick` and a full run promise, a round that is still under way at the end allowed for.
fn promised(effort: Effort) -> Duration {
    Duration::from_secs(match effort {
        Effort::Quick => 340,
        Effort::Full => 28 * 60,
    })
}

/// Minutes and seconds.
pub(crate) struct Shown(pub(crate) Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        write!(f, "{}:{:02}", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::PARTS;

    fn parts() -> Vec<&'static Part> {
        PARTS.iter().collect()
    }

    fn sum(budget: &Budget, left: Duration) -> Duration {
        let parts = parts();
        let mut left = left;
        let shares = (0..parts.len()).map(|first| {
            let share = budget.share(parts[first], &parts[first..], left);
            left = left.saturating_sub(share);
            share
        });
        shares.sum()
    }

    #[test]
    fn all_parts_together_fit_into_what_is_promised_even_after_a_long_build() {
        for (effort, minutes) in [(Effort::Quick, 6), (Effort::Full, 30)] {
            let promise = Duration::from_secs(minutes * 60);
            let build = promise / 2;
            let budget = Budget::new(effort, build, 1);
            let left = budget.until.saturating_duration_since(Instant::now());
            assert!(build + sum(&budget, left) < promise, "{effort:?}");
            assert!(promised(effort) < promise, "{effort:?}");
        }
    }

    #[test]
    fn a_part_asks_for_no_more_than_it_needs_and_gives_way_when_time_is_short() {
        let budget = Budget::new(Effort::Full, Duration::ZERO, 1);
        let (parts, hour) = (parts(), Duration::from_secs(3_600));
        assert_eq!(budget.share(parts[0], &parts, hour), parts[0].asks(Effort::Full));
        let minute = Duration::from_secs(60);
        assert!(sum(&budget, minute) <= minute);
        assert!(parts.iter().all(|part| budget.share(part, &parts, minute) > Duration::ZERO));
    }

    #[test]
    fn a_long_build_leaves_a_third_to_the_measuring() {
        let budget = Budget::new(Effort::Quick, Duration::from_secs(3_600), 1);
        let left = budget.until.saturating_duration_since(Instant::now());
        assert!(left > promised(Effort::Quick) / 4, "{left:?}");
    }

    #[test]
    fn the_plan_names_every_part_and_its_time() {
        let plan = Budget::new(Effort::Quick, Duration::ZERO, 1).plan(&parts(), 1);
        assert!(parts().iter().all(|part| plan.contains(part.name)), "{plan}");
        assert!(plan.starts_with("Takes at most "), "{plan}");
        assert_eq!(Shown(Duration::from_secs(65)).to_string(), "1:05");
    }
}
