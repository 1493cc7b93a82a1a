//! When queues are looked at: never, closely, or rarely.
//!
//! Owns the time of the next look, and of the next search for strangers. Pure: no I/O, and time is given. Never looks, never
//! judges. Called by [`watch`](super::watch).
//!
//! | | somebody comes | a look: nothing new | nothing new for a second | something new |
//! |---|---|---|---|---|
//! | asleep | closely | | | |
//! | closely | | the next in 20 ms | nobody waits: asleep; else rarely | the second begins anew |
//! | rarely | closely | the next in twice the time, at most a second | | closely |
//!
//! Asleep and rarely, whoever comes wakes the loop: the queues have edges. So one who waits and whom nobody accepts keeps the
//! primary awake for a second and not for ever. A verdict that is due before the next look is waited for no longer than that.

use std::time::Duration;

use clustr_core::Time;

/// How long nothing has to happen until nobody looks closely any more.
const CALM: Duration = Duration::from_secs(1);
/// Between two looks at queues in which nothing happens.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How soon a stranger is noticed while clients come.
const STRANGERS_EVERY: Duration = Duration::from_millis(900);

/// How often queues are looked at now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rhythm {
    /// The first arrival anywhere is waited for.
    Asleep,
    Closely {
        next: Next,
        calm_since: Time,
    },
    Rarely {
        next: Next,
        pause: Duration,
        /// So many queues in which somebody waits already may still say so: an edge comes for those too.
        echoes: usize,
    },
    /// The app ends.
    Over,
}

/// What is next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    look_at: Time,
    strangers_at: Time,
}

/// What a look has shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Queues in which somebody waits, or that stand still.
    pub(super) occupied: usize,
    /// Not what was there at the look before.
    pub(super) is_new: bool,
    /// How soon the next look is due, as long as it is looked closely.
    pub(super) pause: Duration,
    /// When there is a verdict, should nobody move.
    pub(super) verdict_at: Option<Time>,
}

impl Rhythm {
    pub(super) const fn next_look(&self) -> Option<Time> {
        match self {
            Self::Closely { next, .. } | Self::Rarely { next, .. } => Some(next.look_at),
            Self::Asleep | Self::Over => None,
        }
    }

    pub(super) fn searches_strangers(&self, now: Time) -> bool {
        match self {
            Self::Closely { next, .. } | Self::Rarely { next, .. } => next.strangers_at <= now,
            Self::Asleep | Self::Over => false,
        }
    }

    /// Whether whoever comes is to wake the loop.
    pub(super) const fn wants_edges(&self) -> bool {
        match self {
            Self::Asleep | Self::Rarely { .. } => true,
            Self::Closely { .. } | Self::Over => false,
        }
    }

    /// Somebody has come, or waits already.
    pub(super) fn wake(&mut self, now: Time) {
        match self {
            Self::Asleep => *self = Self::closely(Next { look_at: now, strangers_at: now }, now),
            Self::Rarely { next, echoes, .. } => {
                next.look_at = now;
                match echoes.checked_sub(1) {
                    Some(left) => *echoes = left,
                    None => *self = Self::closely(*next, now),
                }
            }
            Self::Closely { .. } | Self::Over => {}
        }
    }

    /// Something has happened to a queue that no look has shown: the next is due where there would be one.
    pub(super) fn hurry(&mut self, now: Time) {
        if let Self::Rarely { next, .. } = self {
            next.look_at = now;
        }
    }

    /// A queue that nobody new comes to has changed: its worker leaves, and may have shut it down.
    pub(super) fn look_now(&mut self, now: Time) {
        match self {
            Self::Closely { next, .. } | Self::Rarely { next, .. } => next.look_at = now,
            Self::Asleep | Self::Over => {}
        }
    }

    /// After a look.
    pub(super) fn looked(&mut self, seen: Seen, now: Time) {
        *self = match *self {
            Self::Closely { next, calm_since } => {
                let calm_since = if seen.is_new { now } else { calm_since };
                match seen.occupied {
                    _ if now.since(calm_since) < CALM => {
                        Self::closely(next.after(seen.pause, now), calm_since)
                    }
                    0 => Self::Asleep,
                    echoes => Self::rarely(next, seen.pause * 2, echoes, seen, now),
                }
            }
            Self::Rarely { next, .. } if seen.is_new => Self::closely(next.after(seen.pause, now), now),
            Self::Rarely { next, pause, echoes } => Self::rarely(next, pause * 2, echoes, seen, now),
            Self::Asleep | Self::Over => return,
        };
    }

    const fn closely(next: Next, calm_since: Time) -> Self {
        Self::Closely { next, calm_since }
    }

    fn rarely(next: Next, pause: Duration, echoes: usize, seen: Seen, now: Time) -> Self {
        let pause = pause.min(PAUSE_MAX);
        let mut next = next.after(pause, now);
        if let Some(at) = seen.verdict_at {
            // What nobody can judge may be overdue.
            next.look_at = next.look_at.min(at.max(now + seen.pause));
        }
        Self::Rarely { next, pause, echoes }
    }
}

impl Next {
    fn after(self, pause: Duration, now: Time) -> Self {
        let is_over = self.strangers_at <= now;
        let strangers_at = if is_over { now + STRANGERS_EVERY } else { self.strangers_at };
        Self { look_at: now + pause, strangers_at }
    }
}

#[cfg(test)]
mod tests {
    use super::super::health::{Change, Health};
    use super::*;

    const PAUSE: Duration = Duration::from_millis(20);

    const fn seen(occupied: usize, is_new: bool) -> Seen {
        Seen { occupied, is_new, pause: PAUSE, verdict_at: None }
    }

    /// Looks whenever it is time, until `end`: how often.
    fn look_until(rhythm: &mut Rhythm, seen: Seen, end: Time) -> usize {
        let mut count = 0;
        while let Some(now) = rhythm.next_look().filter(|at| *at < end) {
            rhythm.looked(seen, now);
            count += 1;
        }
        count
    }

    /// Somebody came, nobody accepts.
    fn rare() -> (Rhythm, Time) {
        let mut rhythm = Rhythm::Asleep;
        rhythm.wake(Time::ZERO);
        rhythm.looked(seen(1, true), Time::ZERO);
        look_until(&mut rhythm, seen(1, false), Time::ZERO + CALM + PAUSE);
        assert!(matches!(rhythm, Rhythm::Rarely { .. }), "{rhythm:?}");
        (rhythm, Time::ZERO + CALM)
    }

    #[test]
    fn where_all_are_empty_nobody_looks_after_a_second() {
        let mut rhythm = Rhythm::Asleep;
        rhythm.wake(Time::ZERO);
        assert_eq!(look_until(&mut rhythm, seen(0, false), Time::ZERO + CALM * 10), 51);
        assert!(rhythm.wants_edges());
        assert_eq!(rhythm.next_look(), None);
    }

    #[test]
    fn one_whom_nobody_accepts_is_looked_at_less_and_less() {
        let (mut rhythm, now) = rare();
        // After 40, 80, … 640 ms, and then each second.
        assert_eq!(look_until(&mut rhythm, seen(1, false), now + CALM * 100), 5 + 98);
        assert!(rhythm.wants_edges());
    }

    #[test]
    fn whoever_comes_is_looked_at_closely_after_those_who_were_there_have_said_so() {
        let (mut rhythm, now) = rare();
        rhythm.wake(now + PAUSE);
        assert_eq!(rhythm.next_look(), Some(now + PAUSE));
        rhythm.looked(seen(1, false), now + PAUSE);
        assert!(rhythm.wants_edges(), "{rhythm:?}");
        rhythm.wake(now + PAUSE * 3);
        assert_eq!(rhythm.next_look(), Some(now + PAUSE * 3));
        rhythm.looked(seen(1, false), now + PAUSE * 3);
        assert!(!rhythm.wants_edges(), "{rhythm:?}");
        assert_eq!(rhythm.next_look(), Some(now + PAUSE * 4));
    }

    #[test]
    fn what_is_new_is_looked_at_closely_again() {
        let (mut rhythm, now) = rare();
        rhythm.hurry(now + PAUSE);
        rhythm.looked(seen(1, true), now + PAUSE);
        assert!(!rhythm.wants_edges(), "{rhythm:?}");
        assert_eq!(look_until(&mut rhythm, seen(1, false), now + PAUSE + CALM), 49);
    }

    #[test]
    fn a_verdict_is_not_late_and_one_that_cannot_be_given_keeps_nobody_busy() {
        let (mut rhythm, now) = rare();
        let verdict_at = Some(now + CALM * 5 + PAUSE / 3);
        look_until(&mut rhythm, Seen { verdict_at, ..seen(1, false) }, now + CALM * 5);
        assert_eq!(rhythm.next_look(), verdict_at);
        let now = now + CALM * 6;
        rhythm.looked(Seen { verdict_at, ..seen(1, false) }, now);
        assert_eq!(rhythm.next_look(), Some(now + PAUSE));
    }

    /// With the verdicts as they are given.
    #[test]
    fn one_that_hangs_is_found_in_time_however_rarely_it_is_looked_at() {
        let hang_timeout = CALM * 30;
        let (mut rhythm, mut health) = (Rhythm::Asleep, Health::new(Duration::ZERO, hang_timeout));
        rhythm.wake(Time::ZERO);
        let (mut found, mut looks) = (Vec::new(), 0);
        while let Some(now) = rhythm.next_look().filter(|at| *at < Time::ZERO + hang_timeout * 2) {
            found.extend(health.look((), 1, now).map(|change| (change, now.since(Time::ZERO))));
            let pause = health.next_look();
            rhythm.looked(health.seen(pause), now);
            looks += 1;
        }
        let ms = |ms| Duration::from_millis(ms);
        let wanted =
            [(Change::StandsStill, ms(55)), (Change::Suspect, ms(3750)), (Change::Hangs, ms(30_000))];
        assert_eq!(found, wanted);
        assert!(looks < 53 + 6 + 60, "{looks}");
    }

    #[test]
    fn strangers_are_searched_at_once_and_then_once_a_second() {
        let (mut rhythm, mut searches) = (Rhythm::Asleep, 0);
        rhythm.wake(Time::ZERO);
        while let Some(now) = rhythm.next_look().filter(|at| *at < Time::ZERO + CALM * 10) {
            searches += usize::from(rhythm.searches_strangers(now));
            rhythm.looked(seen(1, true), now);
        }
        assert_eq!(searches, 12);
    }

    #[test]
    fn a_queue_that_ends_is_looked_at_at_once_and_wakes_nobody_who_sleeps() {
        let mut rhythm = Rhythm::Asleep;
        rhythm.look_now(Time::ZERO);
        assert_eq!(rhythm.next_look(), None);
        rhythm.wake(Time::ZERO);
        rhythm.looked(seen(0, true), Time::ZERO);
        let now = Time::ZERO + PAUSE / 2;
        rhythm.look_now(now);
        assert_eq!(rhythm.next_look(), Some(now));
    }
}
