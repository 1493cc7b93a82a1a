//! Workers that say again and again that they are alive: sd_notify(3), `WATCHDOG=1`.
//!
//! Owns the time that each of them has until its next word. Pure: time is given. Never hears by itself, never decides over a
//! worker's life. Called by the loop of the supervisor, and by whoever hears notices.
//!
//! | a worker | then |
//! |---|---|
//! | is ready | its time begins |
//! | says `WATCHDOG=1` | it begins anew; one that was failing has recovered |
//! | lets it pass | it is failing, once |
//! | says `WATCHDOG=trigger` | the same, at once |
//! | says `WATCHDOG_USEC=n` | it has this much time from now on; 0: it says no more |

use std::collections::BTreeMap;
use std::time::Duration;

use clustr_core::{Time, WorkerId};

/// Bound: the shortest time that a worker may give itself.
const SHORTEST: Duration = Duration::from_millis(1);

/// The watchdogs of all workers.
#[derive(Debug)]
pub(crate) struct Watchdogs {
    /// `None`: nobody is watched in this way.
    every: Option<Duration>,
    watched: BTreeMap<WorkerId, Watched>,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    every: Duration,
    due_at: Time,
    is_failing: bool,
    /// It has said so itself.
    has_barked: bool,
}

impl Watchdogs {
    pub(crate) const fn new(every: Option<Duration>) -> Self {
        Self { every, watched: BTreeMap::new() }
    }

    /// How much time a worker has, for its environment.
    pub(crate) const fn every(&self) -> Option<Duration> {
        self.every
    }

    /// A worker is ready.
    pub(crate) fn ready(&mut self, id: WorkerId, now: Time) {
        if let Some(every) = self.every {
            self.watched
                .insert(id, Watched { every, due_at: now + every, is_failing: false, has_barked: false });
        }
    }

    /// A worker leaves, or is gone.
    pub(crate) fn forget(&mut self, id: WorkerId) {
        self.watched.remove(&id);
    }

    /// It is alive. Says whether it was failing.
    pub(crate) fn alive(&mut self, id: WorkerId, now: Time) -> bool {
        let Some(watched) = self.watched.get_mut(&id) else { return false };
        watched.due_at = now + watched.every;
        watched.has_barked = false;
        std::mem::take(&mut watched.is_failing)
    }

    /// It says itself that something is wrong. Says whether that counts.
    pub(crate) fn trigger(&mut self, id: WorkerId) -> bool {
        self.watched.get_mut(&id).is_some_and(|watched| {
            watched.is_failing = true;
            watched.has_barked = true;
            true
        })
    }

    /// Whether it has said itself that something is wrong, and nothing else since.
    pub(crate) fn has_barked(&self, id: WorkerId) -> bool {
        self.watched.get(&id).is_some_and(|watched| watched.has_barked)
    }

    /// It gives itself another time, or says that nothing more will come. Says whether it was failing.
    pub(crate) fn reset(&mut self, id: WorkerId, every: Option<Duration>, now: Time) -> bool {
        let Some(watched) = self.watched.get_mut(&id) else { return false };
        match every {
            Some(every) => {
                watched.every = every.max(SHORTEST);
                self.alive(id, now)
            }
            None => self.watched.remove(&id).is_some_and(|watched| watched.is_failing),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let awaited = self.watched.values().filter(|watched| !watched.is_failing);
        awaited.map(|watched| watched.due_at).min()
    }

    /// A worker that has let its time pass, and how much that was; each once.
    pub(crate) fn due(&mut self, now: Time) -> Option<(WorkerId, Duration)> {
        let late = |watched: &Watched| !watched.is_failing && watched.due_at <= now;
        let (id, watched) = self.watched.iter_mut().find(|(_, watched)| late(watched))?;
        watched.is_failing = true;
        Some((*id, watched.every))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clustr_core::SlotId;
    use proptest::prelude::*;

    const A: WorkerId = WorkerId { slot: SlotId(0), incarnation: 1 };
    const B: WorkerId = WorkerId { slot: SlotId(1), incarnation: 1 };
    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn whoever_is_silent_for_too_long_is_failing_once_and_recovers_by_a_word() {
        let mut dogs = Watchdogs::new(Some(SECOND));
        dogs.ready(A, at(0));
        dogs.ready(B, at(0));
        assert!(!dogs.alive(A, at(600)));
        assert_eq!((dogs.deadline(), dogs.due(at(1_000))), (Some(at(1_000)), Some((B, SECOND))));
        assert_eq!((dogs.deadline(), dogs.due(at(1_599))), (Some(at(1_600)), None));
        assert!(dogs.alive(B, at(1_599)));
        assert_eq!(dogs.due(at(1_600)), Some((A, SECOND)));
        dogs.forget(A);
        assert_eq!(dogs.deadline(), Some(at(2_599)));
    }

    #[test]
    fn a_worker_may_bark_by_itself_and_choose_its_own_time() {
        let mut dogs = Watchdogs::new(Some(SECOND));
        assert!(!dogs.trigger(A) && !dogs.alive(A, at(0)), "it is not ready yet");
        dogs.ready(A, at(0));
        assert!(dogs.trigger(A) && dogs.has_barked(A) && !dogs.has_barked(B));
        assert_eq!((dogs.deadline(), dogs.due(at(5_000))), (None, None));
        assert!(dogs.reset(A, Some(SECOND * 5), at(5_000)) && !dogs.has_barked(A));
        assert_eq!(dogs.deadline(), Some(at(10_000)));
        assert!(!dogs.reset(A, None, at(6_000)));
        assert_eq!(dogs.deadline(), None);
    }

    #[test]
    fn without_a_wish_nobody_is_watched() {
        let mut dogs = Watchdogs::new(None);
        dogs.ready(A, at(0));
        assert_eq!((dogs.deadline(), dogs.due(at(9_999))), (None, None));
    }

    proptest! {
        #[test]
        fn nobody_is_late_who_spoke_in_time(words in prop::collection::vec((0..4_u8, 1..3_000_u64), 1..50)) {
            let mut dogs = Watchdogs::new(Some(SECOND));
            dogs.ready(A, at(0));
            let (mut now, mut spoke, mut is_failing) = (0, 0, false);
            for (word, pause) in words {
                now += pause;
                let late = now >= spoke + 1_000 && !is_failing;
                prop_assert_eq!(dogs.due(at(now)).is_some(), late);
                is_failing |= late;
                if word > 0 {
                    prop_assert_eq!(dogs.alive(A, at(now)), is_failing);
                    (spoke, is_failing) = (now, false);
                }
            }
        }
    }
}
