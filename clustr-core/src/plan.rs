//! The plan of a reload: how many slots at a time, how long each batch is watched, what becomes of the old.
//!
//! Owns the arithmetic of batches. Never knows a worker. Made by whoever asks, walked by
//! [`reload`](crate::reload).

use core::num::NonZeroU32;
use core::time::Duration;

/// A list of batches, walked from the lowest slot to the highest. The next batch begins when every worker of the
/// last one is ready and has been watched.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Plan {
    first: Size,
    then: Size,
    settle: Duration,
    old: Old,
}

/// What becomes of the workers that are replaced, until the new generation is confirmed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Old {
    /// They stand by: rolling back needs no process to start. There are two workers a slot meanwhile.
    Parked,
    /// They are stopped batch by batch: there is never more than one batch of workers too many. Rolling back
    /// starts the old generation again where it had been replaced.
    Replaced,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Size {
    Slots(NonZeroU32),
    Rest,
}

impl Plan {
    /// All slots at once, the old workers parked.
    #[must_use]
    pub const fn all(settle: Duration) -> Self {
        Self { first: Size::Rest, then: Size::Rest, settle, old: Old::Parked }
    }

    /// So many slots, then the rest, the old workers parked.
    #[must_use]
    pub const fn canary(slots: NonZeroU32, settle: Duration) -> Self {
        Self { first: Size::Slots(slots), then: Size::Rest, settle, old: Old::Parked }
    }

    /// So many slots at a time, the old workers stopped as it goes.
    #[must_use]
    pub const fn rolling(batch: NonZeroU32, settle: Duration) -> Self {
        Self { first: Size::Slots(batch), then: Size::Slots(batch), settle, old: Old::Replaced }
    }

    /// How long a batch is watched once all of it is ready.
    #[must_use]
    pub const fn settle(&self) -> Duration {
        self.settle
    }

    /// What becomes of the old workers.
    #[must_use]
    pub const fn old(&self) -> Old {
        self.old
    }

    /// How many of `slots` have their turn after `done` of them.
    pub(crate) fn batch(&self, done: usize, slots: usize) -> usize {
        let size = if done == 0 { self.first } else { self.then };
        let rest = slots.saturating_sub(done);
        match size {
            Size::Slots(count) => usize::try_from(count.get()).map_or(rest, |count| count.min(rest)),
            Size::Rest => rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn batches(plan: &Plan, slots: usize) -> Vec<usize> {
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < slots {
            sizes.push(plan.batch(sizes.iter().sum(), slots));
        }
        sizes
    }

    #[test]
    fn a_plan_is_a_list_of_batches_that_are_all_slots_together() {
        let two = NonZeroU32::new(2).unwrap();
        assert_eq!(batches(&Plan::all(Duration::ZERO), 5), [5]);
        assert_eq!(batches(&Plan::canary(two, Duration::ZERO), 5), [2, 3]);
        assert_eq!(batches(&Plan::canary(two, Duration::ZERO), 1), [1]);
        assert_eq!(batches(&Plan::rolling(two, Duration::ZERO), 5), [2, 2, 1]);
        assert_eq!(batches(&Plan::rolling(NonZeroU32::MAX, Duration::ZERO), 5), [5]);
    }
}
