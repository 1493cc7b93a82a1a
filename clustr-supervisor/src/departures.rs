//! Workers that leave and cannot be asked to drain: they hear the stop signal once nothing of theirs is under way.
//!
//! Owns the wait, and how often is looked. Never signals: the core does, when it is told that the worker cannot drain. Called by
//! the loop, for workers that nobody new is sent to and whose queues are empty.
//!
//! Programs that know nothing end at once when they are signalled, and take along what they have open. From outside it can
//! be seen whether that is much: the kernel lists connections with when they last moved ([`Connected::is_busy`]), procfs says
//! whose they are. One that is kept open for another request is closed with its worker, as any server would.
//!
//! [`Connected::is_busy`]: clustr_net::sock_diag::Connected::is_busy

use std::collections::BTreeSet;
use std::time::Duration;

use clustr_core::{Time, WorkerId};
use clustr_net::sock_diag;

use crate::app::App;
use crate::process::socket_inodes;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// So many looks in a row have to find nothing: a request may come at any moment.
const QUIET_LOOKS: u32 = 5;

/// Who is waited for.
#[derive(Debug)]
pub(crate) struct Departures {
    leaving: Vec<Departure>,
    /// The longest that one is waited for, from when it shall leave.
    patience: Duration,
}

#[derive(Debug)]
struct Departure {
    id: WorkerId,
    until: Time,
    /// `None`: its queues are not empty yet.
    next_at: Option<Time>,
    quiet: u32,
}

impl Departures {
    /// A stop may take so long; the signal comes when a fifth of that is left.
    pub(crate) fn new(stop_timeout: Duration) -> Self {
        Self { leaving: Vec::new(), patience: stop_timeout * 4 / 5 }
    }

    /// A worker shall leave.
    pub(crate) fn announce(&mut self, id: WorkerId, now: Time) {
        self.forget(id);
        self.leaving.push(Departure { id, until: now + self.patience, next_at: None, quiet: 0 });
    }

    /// Its queues are empty.
    pub(crate) fn begin(&mut self, id: WorkerId, now: Time) {
        self.leaving.iter_mut().filter(|one| one.id == id).for_each(|one| one.next_at = Some(now));
    }

    pub(crate) fn forget(&mut self, id: WorkerId) {
        self.leaving.retain(|one| one.id != id);
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.leaving.iter().filter_map(|one| Some(one.next_at?.min(one.until))).min()
    }

    /// Workers that are to be looked at now.
    fn due(&self, now: Time) -> Vec<WorkerId> {
        let is_due = |one: &&Departure| one.next_at.is_some_and(|at| at.min(one.until) <= now);
        self.leaving.iter().filter(is_due).map(|one| one.id).collect()
    }

    /// A worker was looked at. Says whether it may be signalled.
    fn looked(&mut self, id: WorkerId, busy: bool, now: Time) -> bool {
        let Some(one) = self.leaving.iter_mut().find(|one| one.id == id) else { return false };
        one.quiet = if busy { 0 } else { one.quiet + 1 };
        one.next_at = Some(now + LOOK_EVERY);
        let is_over = one.quiet >= QUIET_LOOKS || one.until <= now;
        if is_over {
            self.forget(id);
        }
        is_over
    }

    /// Nobody is waited for any more.
    fn end(&mut self) -> Vec<WorkerId> {
        std::mem::take(&mut self.leaving)
            .into_iter()
            .filter(|one| one.next_at.is_some())
            .map(|one| one.id)
            .collect()
    }
}

impl App {
    /// A worker has emptied its queues, or had none: it is asked to drain, or seen off if nobody can ask it.
    pub(crate) fn see_off(&mut self, id: WorkerId) {
        let is_mute = self.workers.get(&id).is_some_and(|worker| !worker.can_be_asked());
        if is_mute && self.sharing.is_relieved(id) {
            self.departures.begin(id, self.now);
        } else {
            self.departures.forget(id);
            self.drain_now(id);
        }
    }

    /// At the end of a turn: those of whom nothing is under way hear the signal.
    pub(crate) fn tend_departures(&mut self) {
        if self.is_ending() {
            self.departures.end().into_iter().for_each(|id| self.drain_now(id));
            return;
        }
        for id in self.departures.due(self.now) {
            let busy = self.is_busy(id);
            if self.departures.looked(id, busy, self.now) {
                self.drain_now(id);
            }
        }
    }

    /// Whether something is under way between a worker and its clients; not, where that cannot be seen.
    fn is_busy(&self, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get(&id) else { return false };
        let ports: BTreeSet<u16> = self.sharing.ports_of(id).collect();
        let own = socket_inodes(worker.process.id());
        let is_busy_on = |port: u16| {
            let connections = sock_diag::connections(port).unwrap_or_default();
            connections.iter().any(|one| own.contains(&one.inode) && one.is_busy())
        };
        ports.into_iter().any(is_busy_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clustr_core::SlotId;

    const A: WorkerId = WorkerId { slot: SlotId(0), incarnation: 1 };

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_worker_leaves_after_quiet_looks_in_a_row_and_one_busy_look_starts_anew() {
        let mut departures = Departures::new(Duration::from_secs(10));
        departures.announce(A, at(0));
        assert_eq!(departures.deadline(), None, "its queues are not empty yet");
        departures.begin(A, at(100));
        for (look, busy) in (0..).zip([false, false, true, false, false, false, false]) {
            assert_eq!(departures.due(at(100 + look * 20)), [A]);
            assert!(!departures.looked(A, busy, at(100 + look * 20)));
        }
        assert_eq!(departures.due(at(225)), []);
        assert!(departures.looked(A, false, at(240)));
        assert_eq!(departures.deadline(), None);
    }

    #[test]
    fn nobody_is_waited_for_until_the_kill() {
        let mut departures = Departures::new(Duration::from_secs(1));
        departures.announce(A, at(0));
        departures.begin(A, at(700));
        assert!(!departures.looked(A, true, at(790)));
        assert_eq!(departures.deadline(), Some(at(800)));
        assert!(departures.looked(A, true, at(800)));
    }

    #[test]
    fn at_the_end_those_who_would_be_signalled_next_are() {
        let mut departures = Departures::new(Duration::from_secs(1));
        departures.announce(A, at(0));
        assert_eq!(departures.end(), []);
        departures.announce(A, at(0));
        departures.begin(A, at(1));
        assert_eq!(departures.end(), [A]);
    }
}
