//! Which queues stand still, as far as that can be seen from outside.
//!
//! Owns what was seen of each queue, and the verdict. Pure: no I/O, and time is given. Never looks, never steers, never
//! knows whose queue it is. Called by [`watch`](super::watch), at each look.
//!
//! The kernel says how many wait, and nothing else; nobody leaves an accept queue but by accept(2), not even a client
//! that has hung up. So a queue of which nobody accepts never gets shorter, and one that is not empty and not shorter
//! at a second look may be such a queue: or as many came as went. More looks tell, and they follow closely: a busy queue
//! is shorter at one of them, a stuck one at none.
//!
//! | look | 1 | 2 | 3 | 4 | 5 | 6 |
//! |---|---|---|---|---|---|---|
//! | ms since somebody was seen to wait | 0 | 20 | 40 | 45 | 50 | 55 |
//! | not shorter since the look before | | maybe | in doubt | in doubt | in doubt | stands still |
//!
//! A worker that serves without pause keeps its queue as long as it is: it takes one, and another comes. So whoever can see
//! more than the queue is asked twice before one counts as hanging ([`Change::Suspect`], [`Change::Hangs`]), and may object
//! ([`Health::accepts`]).
//!
//! A queue that stands still moves again when it is shorter than what we have left in it. One that we have emptied ourselves says nothing
//! more about its worker, who may still be blocked: it moves again at a sign of life of the worker ([`Health::lives`]).

use std::collections::BTreeMap;
use std::time::Duration;

use clustr_core::Time;

use super::rhythm::Seen;

/// Between two looks, as a rule.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The same while some queue is in doubt.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// So many looks in a row make a closer look worth its cost: half of all looks at a busy queue find it not shorter.
const DOUBT: u32 = 3;
/// So many looks in a row show a queue that stands still.
const LOOKS: u32 = 6;
/// This part of the hang timeout makes one suspect: a hiccup is none, and the most is left to see it accept.
const SUSPECT_AFTER: u32 = 8;

/// What was seen of all queues.
#[derive(Debug)]
pub(super) struct Health<K> {
    marks: BTreeMap<K, Mark>,
    /// For how long at least nobody leaves one that stands still: more where its clients are moved for it dearly.
    patience: Duration,
    /// How long one may stand still.
    hang_timeout: Duration,
    /// Something has changed since this was asked last.
    has_news: bool,
}

/// What was seen of one queue.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// How many wait there now, of those whom we have left in it.
    waiting: u32,
    /// Looks in a row at which somebody waited, and not fewer than before.
    looks: u32,
    /// The first of them.
    since: Time,
    /// We have taken somebody out since.
    taken: bool,
    still: bool,
    /// Since when it is suspected.
    suspect: Option<Time>,
    hangs: bool,
}

/// What a look has shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// It stands still from now on.
    StandsStill,
    /// It has for a while: what its worker has now is to be remembered.
    Suspect,
    /// It has stood still for too long, unless its worker has something new.
    Hangs,
    /// It does not stand still any more.
    Moves {
        /// And had for too long.
        hung: bool,
    },
}

impl<K: Copy + Ord> Health<K> {
    pub(super) const fn new(patience: Duration, hang_timeout: Duration) -> Self {
        Self { marks: BTreeMap::new(), patience, hang_timeout, has_news: false }
    }

    /// So many wait in a queue.
    pub(super) fn look(&mut self, key: K, waiting: u32, now: Time) -> Option<Change> {
        let Some(mark) = self.marks.get_mut(&key) else {
            if waiting > 0 {
                self.has_news = true;
                self.marks.insert(key, Mark::new(waiting, now));
            }
            return None;
        };
        let (left, was_still) = (std::mem::replace(&mut mark.waiting, waiting), mark.still);
        self.has_news |= waiting != left;
        let is_empty = waiting == 0 && !(was_still && mark.taken);
        if waiting < left || is_empty {
            return self.moves(key, waiting, now);
        }
        mark.looks = (mark.looks + 1).min(LOOKS);
        mark.still |= mark.looks == LOOKS && now.since(mark.since) >= self.patience;
        if mark.still && !was_still {
            return Some(Change::StandsStill);
        }
        mark.grow_suspect(self.hang_timeout, now)
    }

    /// One that seemed to hang does not: its worker accepts, and as many come as go.
    pub(super) fn accepts(&mut self, key: K, now: Time) -> Option<Change> {
        self.marks.get_mut(&key)?.hangs = false;
        self.lives(key, now)
    }

    /// What was said of a queue could not be looked into yet: it is said again at the next look.
    pub(super) fn postpone(&mut self, key: K, change: Change) {
        let Some(mark) = self.marks.get_mut(&key) else { return };
        match change {
            Change::Suspect => mark.suspect = None,
            Change::Hangs => mark.hangs = false,
            Change::StandsStill | Change::Moves { .. } => {}
        }
    }

    /// We have taken somebody out of a queue.
    pub(super) fn took(&mut self, key: K) {
        if let Some(mark) = self.marks.get_mut(&key) {
            mark.waiting = mark.waiting.saturating_sub(1);
            mark.taken = true;
            self.has_news = true;
        }
    }

    /// A queue's worker has shown that it goes on.
    pub(super) fn lives(&mut self, key: K, now: Time) -> Option<Change> {
        let waiting = self.marks.get(&key)?.waiting;
        self.moves(key, waiting, now)
    }

    fn moves(&mut self, key: K, waiting: u32, now: Time) -> Option<Change> {
        let before = self.marks.remove(&key)?;
        self.has_news = true;
        if waiting > 0 {
            self.marks.insert(key, Mark::new(waiting, now));
        }
        before.still.then_some(Change::Moves { hung: before.hangs })
    }

    /// A queue has another worker, or one that begins afresh, or is gone.
    pub(super) fn forget(&mut self, key: K) {
        self.has_news |= self.marks.remove(&key).is_some();
    }

    pub(super) fn is_still(&self, key: K) -> bool {
        self.marks.get(&key).is_some_and(|mark| mark.still)
    }

    /// Whether it has stood still for too long.
    pub(super) fn hangs(&self, key: K) -> bool {
        self.marks.get(&key).is_some_and(|mark| mark.hangs)
    }

    /// Whether only a sign of life can tell that it moves again.
    pub(super) fn is_unproven(&self, key: K) -> bool {
        self.marks.get(&key).is_some_and(|mark| mark.still && mark.taken)
    }

    /// Those of these queues to be filled: all that do not stand still; if all do, all.
    pub(super) fn fit(&self, live: &[K]) -> Vec<K> {
        let moving: Vec<K> = live.iter().copied().filter(|&key| !self.is_still(key)).collect();
        if moving.is_empty() { live.to_vec() } else { moving }
    }

    /// How soon the next look should be.
    pub(super) fn next_look(&self) -> Duration {
        let in_doubt = |mark: &Mark| (DOUBT..LOOKS).contains(&mark.looks);
        if self.marks.values().any(in_doubt) { LOOK_AGAIN } else { LOOK_EVERY }
    }

    /// When something is to be said of a queue, should nobody leave any.
    fn verdict_at(&self) -> Option<Time> {
        self.marks.values().filter_map(|mark| mark.verdict_at(self.patience, self.hang_timeout)).min()
    }

    /// Whether any queue is not what it was.
    pub(super) const fn has_news(&self) -> bool {
        self.has_news
    }

    /// What the looks have shown since this was asked last; the next close one would be after `pause`.
    pub(super) fn seen(&mut self, pause: Duration) -> Seen {
        Seen {
            occupied: self.marks.len(),
            is_new: std::mem::replace(&mut self.has_news, false),
            pause,
            verdict_at: self.verdict_at(),
        }
    }
}

impl Mark {
    const fn new(waiting: u32, since: Time) -> Self {
        Self { waiting, looks: 1, since, taken: false, still: false, suspect: None, hangs: false }
    }

    fn verdict_at(&self, patience: Duration, timeout: Duration) -> Option<Time> {
        match self.suspect {
            None if !self.still => Some(self.since + patience),
            None => Some(self.since + timeout / SUSPECT_AFTER),
            Some(at) if !self.hangs => Some((self.since + timeout).max(at + timeout / 2)),
            Some(_) => None,
        }
    }

    /// What is due of one that stands still, each once.
    fn grow_suspect(&mut self, timeout: Duration, now: Time) -> Option<Change> {
        let since = self.since;
        let is_over = |since: Time, wait: Duration| now.since(since) >= wait;
        match self.suspect {
            None if self.still && is_over(since, timeout / SUSPECT_AFTER) => {
                self.suspect = Some(now);
                Some(Change::Suspect)
            }
            Some(at) if !self.hangs && is_over(since, timeout) && is_over(at, timeout / 2) => {
                self.hangs = true;
                Some(Change::Hangs)
            }
            None | Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HANG: Duration = Duration::from_secs(1);

    /// Looks again and again at one queue of which nobody accepts.
    fn stand_still(health: &mut Health<u8>, key: u8, from: Time) -> Time {
        let mut now = from;
        for _ in 1..LOOKS {
            assert_eq!(health.look(key, 3, now), None);
            now = now + health.next_look();
        }
        assert_eq!(health.look(key, 3, now), Some(Change::StandsStill));
        now
    }

    #[test]
    fn a_queue_that_is_not_shorter_for_fifty_five_milliseconds_stands_still() {
        let mut health = Health::new(Duration::ZERO, HANG);
        let at = stand_still(&mut health, 1, Time::ZERO);
        assert_eq!(at.since(Time::ZERO), Duration::from_millis(55));
        assert_eq!(health.fit(&[0, 1, 2]), [0, 2]);
    }

    #[test]
    fn where_moving_clients_is_dear_a_queue_has_to_stand_still_for_longer() {
        let (mut health, mut now) = (Health::new(LOOK_EVERY * 50, HANG * 5), Time::ZERO);
        while health.look(1, 3, now).is_none() {
            now = now + health.next_look();
        }
        assert!((LOOK_EVERY * 50..LOOK_EVERY * 52).contains(&now.since(Time::ZERO)), "{now}");
        assert!(health.is_still(1));
    }

    #[test]
    fn if_all_stand_still_none_is_steered_around() {
        let mut health = Health::new(Duration::ZERO, HANG);
        stand_still(&mut health, 0, Time::ZERO);
        stand_still(&mut health, 1, Time::ZERO);
        assert_eq!(health.fit(&[0, 1]), [0, 1]);
        assert_eq!(health.fit(&[0, 1, 2]), [2]);
    }

    #[test]
    fn one_who_leaves_shows_that_it_moves() {
        let mut health = Health::new(Duration::ZERO, HANG);
        let at = stand_still(&mut health, 1, Time::ZERO);
        assert_eq!(health.look(1, 2, at + LOOK_EVERY), Some(Change::Moves { hung: false }));
        assert!(!health.is_still(1));
    }

    #[test]
    fn a_queue_that_we_have_emptied_moves_only_at_a_sign_of_life() {
        let mut health = Health::new(Duration::ZERO, HANG);
        let at = stand_still(&mut health, 1, Time::ZERO);
        (0..3).for_each(|_| health.took(1));
        assert_eq!(health.look(1, 0, at + LOOK_EVERY), None);
        // Who was under way arrives, and is taken too.
        assert_eq!(health.look(1, 1, at + LOOK_EVERY * 2), None);
        health.took(1);
        assert_eq!(health.look(1, 0, at + LOOK_EVERY * 3), None);
        assert_eq!(health.look(1, 0, at + HANG / 4), Some(Change::Suspect));
        assert_eq!(health.look(1, 0, at + HANG), Some(Change::Hangs));
        assert_eq!(health.lives(1, at + HANG), Some(Change::Moves { hung: true }));
        assert_eq!(health.lives(1, at + HANG), None);
    }

    #[test]
    fn one_whom_the_worker_took_beside_us_shows_that_it_moves() {
        let mut health = Health::new(Duration::ZERO, HANG);
        let at = stand_still(&mut health, 1, Time::ZERO);
        health.took(1);
        assert_eq!(health.look(1, 0, at + LOOK_EVERY), Some(Change::Moves { hung: false }));
    }

    #[test]
    fn the_next_verdict_is_known_and_in_the_end_there_is_none() {
        let mut health = Health::new(LOOK_EVERY * 10, HANG);
        assert_eq!(health.look(1, 3, Time::ZERO), None);
        for change in [Change::StandsStill, Change::Suspect, Change::Hangs] {
            let at = health.verdict_at().unwrap();
            // As long as it is in doubt more looks are needed.
            while change == Change::StandsStill && health.next_look() == LOOK_AGAIN
                || health.marks[&1].looks < DOUBT
            {
                assert_eq!(health.look(1, 3, Time::ZERO), None);
            }
            assert_eq!(health.look(1, 3, at + Duration::from_nanos(1)), Some(change));
        }
        assert_eq!(health.verdict_at(), None);
        let mut health = Health::new(Duration::ZERO, Duration::MAX);
        stand_still(&mut health, 1, Time::ZERO);
        assert_eq!(health.look(1, 3, health.verdict_at().unwrap()), None, "without a timeout");
    }

    #[test]
    fn what_could_not_be_looked_into_is_said_again() {
        let mut health = Health::new(Duration::ZERO, HANG);
        let at = stand_still(&mut health, 1, Time::ZERO);
        for (wait, change) in [(HANG / 4, Change::Suspect), (HANG, Change::Hangs)] {
            for _ in 0..3 {
                assert_eq!(health.look(1, 3, at + wait), Some(change));
                health.postpone(1, change);
                assert!(!health.hangs(1));
            }
            assert_eq!(health.look(1, 3, at + wait), Some(change));
        }
    }

    #[test]
    fn it_is_news_who_comes_goes_or_is_taken_and_not_who_stays() {
        let mut health = Health::new(Duration::ZERO, HANG);
        let mut news_of = |what: &dyn Fn(&mut Health<u8>)| {
            what(&mut health);
            health.seen(LOOK_EVERY).is_new
        };
        let look =
            |waiting| move |health: &mut Health<u8>| assert_eq!(health.look(1, waiting, Time::ZERO), None);
        assert!(!news_of(&look(0)));
        assert!(news_of(&look(2)), "they come");
        assert!(!news_of(&look(2)));
        assert!(news_of(&look(1)), "one goes");
        assert!(news_of(&|health| health.took(1)));
        assert!(!news_of(&|health| health.forget(2)), "of another");
        assert!(news_of(&|health| health.forget(1)));
        assert!(!news_of(&|health| health.forget(1)));
    }

    proptest! {
        /// Whatever comes: while somebody leaves between two looks of any six, nothing stands still.
        #[test]
        fn a_queue_from_which_somebody_leaves_now_and_then_never_stands_still(
            steps in proptest::collection::vec((0..50_u32, 1..5_u32), 1..60),
        ) {
            let (mut health, mut now, mut waiting) = (Health::new(Duration::ZERO, HANG), Time::ZERO, 0_u32);
            for (come, looks) in steps {
                for _ in 0..looks {
                    waiting += come;
                    prop_assert!(health.look((), waiting, now).is_none());
                    now = now + health.next_look();
                }
                waiting = waiting.saturating_sub(1);
                prop_assert!(health.look((), waiting, now).is_none());
                now = now + health.next_look();
            }
        }

        /// Whatever comes: without anybody who leaves it stands still within 55 ms, and hangs once, in time.
        #[test]
        fn a_queue_of_which_nobody_accepts_is_found_out(come in proptest::collection::vec(0..9_u32, 80), first in 1..9_u32) {
            let (mut health, mut now, mut waiting) = (Health::new(Duration::ZERO, HANG), Time::ZERO, first);
            let mut found = Vec::new();
            for more in come {
                found.extend(health.look((), waiting, now).map(|change| (change, now.since(Time::ZERO))));
                waiting += more;
                now = now + health.next_look();
            }
            prop_assert_eq!(found.len(), 3);
            prop_assert_eq!(found[0], (Change::StandsStill, Duration::from_millis(55)));
            prop_assert_eq!(found[1].0, Change::Suspect);
            prop_assert!((HANG / 8..HANG / 8 + LOOK_EVERY).contains(&found[1].1));
            prop_assert_eq!(found[2].0, Change::Hangs);
            prop_assert!((HANG..HANG + LOOK_EVERY).contains(&found[2].1));
        }

        /// However long a queue stays as it is: one whose worker accepts is at no time known to hang, and is asked about twice a hang timeout.
        #[test]
        fn a_queue_that_a_busy_worker_never_shortens_does_not_hang(waiting in 1..50_u32, timeouts in 1..20_u32) {
            let (mut health, mut now, mut asked) = (Health::new(Duration::ZERO, HANG), Time::ZERO, 0);
            while now < Time::ZERO + HANG * timeouts {
                let change = health.look((), waiting, now);
                asked += u32::from(matches!(change, Some(Change::Suspect | Change::Hangs)));
                if change == Some(Change::Hangs) {
                    prop_assert_eq!(health.accepts((), now), Some(Change::Moves { hung: false }));
                }
                prop_assert!(!health.hangs(()));
                now = now + health.next_look();
            }
            prop_assert!(asked <= 2 * timeouts, "asked {} times in {} timeouts", asked, timeouts);
        }

        /// Of any history: still and moving alternate, what hangs stood still, and somebody is always filled.
        #[test]
        fn every_history_makes_sense(steps in proptest::collection::vec((0..3_u8, 0..5_u32, 0..6_u8), 1..400)) {
            let (mut health, mut now) = (Health::new(Duration::ZERO, Duration::from_millis(100)), Time::ZERO);
            let mut seen = [(false, false); 3];
            for (key, waiting, step) in steps {
                now = now + LOOK_AGAIN;
                let change = match step {
                    0 => { health.took(key); None }
                    1 => health.lives(key, now),
                    2 if health.hangs(key) => { seen[usize::from(key)].1 = false; health.accepts(key, now) }
                    _ => health.look(key, waiting, now),
                };
                let (still, hangs) = &mut seen[usize::from(key)];
                match change {
                    Some(Change::StandsStill) => { prop_assert!(!*still); *still = true; }
                    Some(Change::Suspect) => prop_assert!(*still && !*hangs),
                    Some(Change::Hangs) => { prop_assert!(*still && !*hangs); *hangs = true; }
                    Some(Change::Moves { hung }) => {
                        prop_assert!(*still);
                        prop_assert_eq!(hung, *hangs);
                        (*still, *hangs) = (false, false);
                    }
                    None => {}
                }
                prop_assert_eq!(health.is_still(key), seen[usize::from(key)].0);
                prop_assert!(!health.fit(&[0, 1, 2]).is_empty());
            }
        }
    }
}
