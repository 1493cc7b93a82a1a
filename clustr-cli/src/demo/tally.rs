//! What became of the requests.
//!
//! Owns the five counters, the failures that can be named, and the workers that left. Never does I/O.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use clustr_supervisor::control::protocol::WorkerStatus;

/// Bound: failures that are kept by name; all are counted.
const NAMED_MAX: usize = 100;
/// How far apart a worker's end and a failure may be seen and still belong together.
const TOGETHER: Duration = Duration::from_secs(1);

/// What became of one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// A whole answer, from the worker of this pid.
    Answered(u32),
    /// It failed: how, and from which port of ours it came.
    Failed(Fault, Option<u16>),
    /// We could not even try: no ports or descriptors of our own. No request.
    NotTried,
}

/// How a request can fail.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Fault {
    /// Nobody listened.
    Refused,
    /// The connection was broken.
    Reset,
    /// No answer came in time.
    TimedOut,
    /// The answer ended early.
    Truncated,
}

impl Fault {
    pub(super) const ALL: [Self; 4] = [Self::Refused, Self::Reset, Self::TimedOut, Self::Truncated];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::TimedOut => "timed out",
            Self::Truncated => "truncated",
        }
    }
}

/// A failure that can be named.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub(super) fault: Fault,
    pub(super) client_port: Option<u16>,
    pub(super) at: Instant,
}

/// The counters.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) answered: u64,
    faults: BTreeMap<Fault, u64>,
    by_pid: BTreeMap<u32, u64>,
    pub(super) named: Vec<Failed>,
}

impl Tally {
    pub(super) fn record(&mut self, outcome: Outcome, at: Instant) {
        match outcome {
            Outcome::Answered(pid) => {
                self.answered += 1;
                *self.by_pid.entry(pid).or_default() += 1;
            }
            Outcome::Failed(fault, client_port) => {
                *self.faults.entry(fault).or_default() += 1;
                if self.named.len() < NAMED_MAX {
                    self.named.push(Failed { fault, client_port, at });
                }
            }
            Outcome::NotTried => {}
        }
    }

    /// Forgets who answered what, of workers that are no more.
    pub(super) fn forget_but(&mut self, workers: &[WorkerStatus]) {
        self.by_pid.retain(|pid, _| workers.iter().any(|worker| worker.pid == Some(*pid)));
    }

    pub(super) fn failed(&self) -> u64 {
        self.faults.values().sum()
    }

    pub(super) fn total(&self) -> u64 {
        self.answered + self.failed()
    }

    pub(super) fn of(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).copied().unwrap_or_default()
    }

    pub(super) fn by(&self, pid: u32) -> u64 {
        self.by_pid.get(&pid).copied().unwrap_or_default()
    }

    pub(super) fn verdict(&self, departures: &Departures) -> Verdict {
        let waiting = self.of(Fault::Refused) + self.of(Fault::TimedOut);
        let broken = self.of(Fault::Reset) + self.of(Fault::Truncated);
        let explained = self.named.iter().filter(|failed| departures.explain(failed).is_some()).count();
        let explained = u64::try_from(explained).unwrap_or(u64::MAX);
        match (self.answered, waiting, broken) {
            (0, _, _) => Verdict::NothingAnswered,
            (_, 0, 0) => Verdict::Flawless,
            (_, 0, broken) if explained >= broken => Verdict::OnlyAccepted,
            (_, _, _) => Verdict::Lost,
        }
    }
}

/// What the play has shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Every request was answered.
    Flawless,
    /// Those that were not had been accepted by a worker that was killed.
    OnlyAccepted,
    /// A request was lost that should not have been.
    Lost,
    /// There was nothing to judge.
    NothingAnswered,
}

impl Verdict {
    pub(super) const fn is_good(self) -> bool {
        matches!(self, Self::Flawless | Self::OnlyAccepted)
    }
}

/// A worker that is no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Departure {
    pub(super) pid: u32,
    pub(super) slot: u32,
    pub(super) at: Instant,
}

/// Workers that left: those that the demo killed, and those that somebody else did.
#[derive(Debug, Default)]
pub(super) struct Departures {
    seen: BTreeMap<u32, u32>,
    recent: VecDeque<Departure>,
    pub(super) count: u64,
}

impl Departures {
    /// Notes every slot whose worker is not the one of the last look.
    pub(super) fn compare(&mut self, workers: &[WorkerStatus], at: Instant) {
        for worker in workers {
            let before = match worker.pid {
                Some(pid) => self.seen.insert(worker.slot, pid).filter(|before| *before != pid),
                None => self.seen.remove(&worker.slot),
            };
            self.extend(before.map(|pid| (worker.slot, pid)), at);
        }
    }

    /// Notes a worker that the demo has just killed; a worker leaves once.
    pub(super) fn extend(&mut self, killed: Option<(u32, u32)>, at: Instant) {
        let Some((slot, pid)) = killed else { return };
        if self.recent.iter().any(|departure| departure.pid == pid && departure.slot == slot) {
            return;
        }
        self.count += 1;
        self.recent.push_back(Departure { pid, slot, at });
        if self.recent.len() > NAMED_MAX * 10 {
            self.recent.pop_front();
        }
    }

    pub(super) fn last(&self) -> Option<&Departure> {
        self.recent.back()
    }

    /// The worker whose end broke this connection. One that nobody had accepted cannot be broken by it.
    pub(super) fn explain(&self, failed: &Failed) -> Option<&Departure> {
        let apart = |departure: &Departure| {
            let (one, other) = (departure.at, failed.at);
            one.saturating_duration_since(other).max(other.saturating_duration_since(one))
        };
        let broken = match failed.fault {
            Fault::Reset | Fault::Truncated => true,
            Fault::Refused | Fault::TimedOut => false,
        };
        let nearest = self.recent.iter().min_by_key(|departure| apart(departure));
        nearest.filter(|departure| broken && apart(departure) <= TOGETHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn departures(at: Instant) -> Departures {
        let mut departures = Departures::default();
        departures.extend(Some((1, 42)), at);
        departures
    }

    fn tally(outcomes: &[Outcome], at: Instant) -> Tally {
        let mut tally = Tally::default();
        for outcome in outcomes {
            tally.record(*outcome, at);
        }
        tally
    }

    #[test]
    fn a_broken_connection_is_explained_by_a_worker_that_has_just_been_killed() {
        let now = clock::now();
        let outcomes = [Outcome::Answered(7), Outcome::Failed(Fault::Reset, Some(5000))];
        let near = now + Duration::from_millis(900);
        let far = now + Duration::from_millis(1100);
        assert_eq!(tally(&outcomes, near).verdict(&departures(now)), Verdict::OnlyAccepted);
        assert_eq!(tally(&outcomes, far).verdict(&departures(now)), Verdict::Lost);
    }

    #[test]
    fn nothing_explains_a_refusal_or_a_silence() {
        let now = clock::now();
        for fault in [Fault::Refused, Fault::TimedOut] {
            let outcomes = [Outcome::Answered(7), Outcome::Failed(fault, None)];
            assert_eq!(tally(&outcomes, now).verdict(&departures(now)), Verdict::Lost);
        }
    }

    #[test]
    fn silence_is_no_success() {
        let now = clock::now();
        assert_eq!(tally(&[Outcome::NotTried], now).verdict(&departures(now)), Verdict::NothingAnswered);
        assert_eq!(tally(&[Outcome::Answered(7)], now).verdict(&departures(now)), Verdict::Flawless);
    }

    #[test]
    fn a_worker_leaves_once_however_often_it_is_seen_gone() {
        let now = clock::now();
        let mut departures = departures(now);
        departures.extend(Some((1, 42)), now);
        assert_eq!(departures.count, 1);
        departures.extend(Some((1, 43)), now);
        assert_eq!(departures.count, 2);
    }
}
