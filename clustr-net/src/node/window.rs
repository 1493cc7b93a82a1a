//! How many connections one worker may leave unanswered.
//!
//! Owns one worker's count, its bound, and its rest after a refusal. Pure: no I/O, and time is given. Never sees a
//! connection. Called by whoever hands connections over: [`level`](Window::level) of every worker, then
//! [`has_room`](Window::has_room) with the lowest of them.
//!
//! Node's own primary has at most one unanswered connection per worker, and pays a round trip for each. More are
//! faster, but a worker that is stuck holds back all that it was sent, and nothing calls them back. So:
//!
//! - while another worker is idle, nobody gets a second one;
//! - a worker that is as busy as all others gets at most twice what the least busy has;
//! - its own bound begins low, grows with each answer while it is made use of, and is forgotten when it was quiet.
//!
//! | what came back | rest | then |
//! |---|---|---|
//! | accepted | none | one more may be outstanding, up to [`WINDOW_MAX`] |
//! | refused (`maxConnections`) | 20 ms | a single one, on trial |
//! | did not arrive (no descriptor left there) | 50 ms | a single one, on trial |

use std::time::Duration;

/// Bound: connections that one worker can hold back.
pub const WINDOW_MAX: u32 = 32;
/// How many a worker may have unanswered before it has shown how fast it answers.
const FIRST: u32 = 2;
/// A worker that had nothing unanswered for so long has to show it again.
const QUIET: Duration = Duration::from_millis(10);
/// The rest after a refusal.
const REST_REFUSED: Duration = Duration::from_millis(20);
/// The rest after a connection did not arrive.
const REST_LOST: Duration = Duration::from_millis(50);

/// One worker's window. Times are on any monotonic clock, from any beginning.
#[derive(Clone, Debug)]
pub struct Window {
    unanswered: u32,
    bound: u32,
    on_trial: bool,
    rests_until: Duration,
    quiet_since: Duration,
}

impl Default for Window {
    fn default() -> Self {
        let (rests_until, quiet_since) = (Duration::ZERO, Duration::ZERO);
        Self { unanswered: 0, bound: FIRST, on_trial: false, rests_until, quiet_since }
    }
}

impl Window {
    /// How many are unanswered.
    #[must_use]
    pub const fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// How many are unanswered, if there may be more: what others are measured by.
    #[must_use]
    pub fn level(&self, now: Duration) -> Option<u32> {
        (self.rests_until <= now && self.unanswered < self.own_bound()).then_some(self.unanswered)
    }

    /// Whether it may get one more, where `lowest` is the lowest level of all workers that might get it instead.
    #[must_use]
    pub fn has_room(&self, now: Duration, lowest: u32) -> bool {
        self.level(now).is_some_and(|level| level < lowest.saturating_mul(2).max(1))
    }

    /// Whether it may get one more where nobody else is meant: what others do is no measure then.
    #[must_use]
    pub fn has_room_for_its_own(&self, now: Duration) -> bool {
        let bound = if self.on_trial { 1 } else { WINDOW_MAX };
        self.rests_until <= now && self.unanswered < bound
    }

    /// When its rest ends, if it rests.
    #[must_use]
    pub fn rests_until(&self, now: Duration) -> Option<Duration> {
        (self.rests_until > now).then_some(self.rests_until)
    }

    /// One more was sent.
    pub fn sent(&mut self, now: Duration) {
        if self.unanswered == 0 && now.saturating_sub(self.quiet_since) > QUIET {
            self.bound = FIRST;
        }
        self.unanswered += 1;
    }

    /// One was accepted.
    pub fn accepted(&mut self, now: Duration) {
        if self.unanswered * 2 > self.bound {
            self.bound = (self.bound + 1).min(WINDOW_MAX);
        }
        self.on_trial = false;
        self.answered(now);
    }

    /// One was refused.
    pub fn refused(&mut self, now: Duration) {
        self.rest(now + REST_REFUSED);
        self.answered(now);
    }

    /// One did not arrive.
    pub fn lost(&mut self, now: Duration) {
        self.rest(now + REST_LOST);
        self.answered(now);
    }

    /// It could not be sent at all: as if it had not arrived.
    pub fn unsent(&mut self, now: Duration) {
        self.rest(now + REST_LOST);
    }

    fn rest(&mut self, until: Duration) {
        self.rests_until = self.rests_until.max(until);
        self.on_trial = true;
        self.bound = FIRST;
    }

    fn answered(&mut self, now: Duration) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered == 0 {
            self.quiet_since = now;
        }
    }

    const fn own_bound(&self) -> u32 {
        if self.on_trial { 1 } else { self.bound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends to whoever has room, lowest first, until nobody has; returns who got how many.
    fn fill(windows: &mut [Window], now: Duration) -> Vec<u32> {
        let mut got = vec![0; windows.len()];
        while let Some(lowest) = windows.iter().filter_map(|window| window.level(now)).min() {
            let place = windows.iter().position(|window| window.has_room(now, lowest)).unwrap();
            windows[place].sent(now);
            got[place] += 1;
        }
        got
    }

    fn grown(now: Duration) -> Window {
        let mut window = Window::default();
        for _ in 0..200 {
            while window.level(now).is_some() {
                window.sent(now);
            }
            window.accepted(now);
        }
        window
    }

    #[test]
    fn while_another_is_idle_nobody_gets_a_second_one() {
        let (mut busy, idle) = (grown(MS), Window::default());
        while busy.unanswered() > 1 {
            busy.accepted(MS);
        }
        assert!(!busy.has_room(MS, idle.level(MS).unwrap()));
        assert!(idle.has_room(MS, 0));
    }

    #[test]
    fn the_window_grows_with_answers_under_load_and_is_forgotten_when_it_was_quiet() {
        let mut window = grown(MS);
        assert_eq!(window.unanswered(), WINDOW_MAX - 1);
        while window.unanswered() > 0 {
            window.accepted(MS);
        }
        assert_eq!(fill(&mut [window.clone()], MS), [WINDOW_MAX]);
        assert_eq!(fill(&mut [window], MS * 20), [FIRST]);
    }

    #[test]
    fn a_worker_that_never_answers_holds_back_no_more_than_its_first_window_and_slows_nobody() {
        let mut windows = [Window::default(), Window::default()];
        for _ in 0..500 {
            fill(&mut windows, MS);
            windows[1].accepted(MS);
        }
        fill(&mut windows, MS);
        assert_eq!([windows[0].unanswered(), windows[1].unanswered()], [FIRST, WINDOW_MAX]);
    }

    #[test]
    fn a_refusal_brings_a_rest_and_a_trial() {
        let mut window = grown(MS);
        while window.unanswered() > 0 {
            window.refused(MS);
        }
        assert_eq!((window.level(MS * 20), window.rests_until(MS)), (None, Some(MS * 21)));
        assert_eq!(fill(&mut [window.clone()], MS * 21), [1]);
        window.sent(MS * 21);
        window.accepted(MS * 22);
        assert_eq!(fill(&mut [window.clone()], MS * 22), [FIRST]);
        window.lost(MS * 22);
        assert_eq!(window.rests_until(MS * 22), Some(MS * 72));
    }

    proptest! {
        #[test]
        fn no_history_of_answers_brings_a_window_beyond_its_bound(
            steps in prop::collection::vec((0..6_u8, 0..4_usize, 0..30_u32), 1..300),
        ) {
            let mut windows = vec![Window::default(); 4];
            let mut now = Duration::ZERO;
            for (step, which, pause) in steps {
                let window = &mut windows[which];
                match step {
                    0 => window.accepted(now),
                    1 => window.refused(now),
                    2 => window.lost(now),
                    3 => now += MS * pause,
                    _ => drop(fill(&mut windows, now)),
                }
                prop_assert!(windows.iter().all(|window| window.unanswered() <= WINDOW_MAX));
                let lowest = windows.iter().filter_map(|window| window.level(now)).min();
                let anybody = lowest.is_some_and(|lowest| windows.iter().any(|window| window.has_room(now, lowest)));
                prop_assert_eq!(anybody, lowest.is_some(), "somebody has room if anybody may have more");
            }
        }
    }
}
