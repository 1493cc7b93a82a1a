//! Workers that leave and cannot be asked to drain: they hear the stop signal once nothing of theirs is under way.
//!
//! Owns the wait, and how often is looked. Never signals: the core does, when it is told that the worker cannot drain. Called by
//! the loop, for workers that nobody new is sent to and whose queues are empty; and for all of them when the app is stopped.
//!
//! Programs that know nothing end at once when they are signalled, and take along what they have open. From outside it can
//! be seen whether that is much: the kernel lists connections with when they last moved ([`Connected::is_busy`]), procfs says
//! whose they are. One that is kept open for another request is closed with its worker, as any server would.
//!
//! A worker that others replace leaves when all is quiet. Where the whole app stops, clients may come without end, for nobody can
//! be sent elsewhere: then who was there when the stop came is noted ([`Last`]), and nobody else is waited for.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use clustr_core::{Time, WorkerId};
use clustr_net::sock_diag::{self, Connected};

use crate::app::App;
use crate::process::socket_inodes;

mod last;
mod pace;

use last::Last;
use pace::Pace;

/// So many looks in a row have to find nothing: a request may come at any moment.
const QUIET_LOOKS: u32 = 5;

/// Who is waited for.
#[derive(Debug)]
pub(crate) struct Departures {
    leaving: Vec<Departure>,
    /// The longest that one is waited for, from when it shall leave.
    patience: Duration,
    pace: Pace,
    /// The whole app stops: for whom.
    last: Option<Last>,
}

#[derive(Debug)]
struct Departure {
    id: WorkerId,
    until: Time,
    /// Its queues are empty, or are not waited for.
    begun: bool,
    quiet: u32,
}

impl Departures {
    /// A stop may take so long; the signal comes when a fifth of that is left.
    pub(crate) fn new(stop_timeout: Duration) -> Self {
        Self { leaving: Vec::new(), patience: stop_timeout * 4 / 5, pace: Pace::new(), last: None }
    }

    /// A worker shall leave.
    pub(crate) fn announce(&mut self, id: WorkerId, now: Time) {
        self.forget(id);
        self.leaving.push(Departure { id, until: now + self.patience, begun: false, quiet: 0 });
    }

    /// Its queues are empty.
    pub(crate) fn begin(&mut self, id: WorkerId) {
        self.leaving.iter_mut().filter(|one| one.id == id).for_each(|one| one.begun = true);
    }

    pub(crate) fn forget(&mut self, id: WorkerId) {
        self.leaving.retain(|one| one.id != id);
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let look = self.pace.deadline();
        self.begun().map(|one| look.min(one.until)).min()
    }

    /// Workers that are waited for no longer, whatever they have open.
    fn overdue(&mut self, now: Time) -> Vec<WorkerId> {
        self.leaving.extract_if(.., |one| one.begun && one.until <= now).map(|one| one.id).collect()
    }

    /// Workers that are to be looked at now.
    fn due(&mut self, now: Time) -> Vec<WorkerId> {
        if self.leaving.is_empty() || !self.pace.is_due(now) {
            return Vec::new();
        }
        self.begun().map(|one| one.id).collect()
    }

    /// A worker was looked at. Says whether it may be signalled.
    fn looked(&mut self, id: WorkerId, busy: bool, now: Time) -> bool {
        self.pace.looked(now);
        let looks = if self.last.is_some() { 1 } else { QUIET_LOOKS };
        let Some(one) = self.leaving.iter_mut().find(|one| one.id == id) else { return false };
        one.quiet = if busy { 0 } else { one.quiet + 1 };
        let is_over = one.quiet >= looks;
        if is_over {
            self.forget(id);
        }
        is_over
    }

    fn begun(&self) -> impl Iterator<Item = &Departure> {
        self.leaving.iter().filter(|one| one.begun)
    }
}

impl App {
    /// A worker has emptied its queues, or had none: it is asked to drain, or seen off if nobody can ask it.
    pub(crate) fn see_off(&mut self, id: WorkerId) {
        let is_mute = self.workers.get(&id).is_some_and(|worker| !worker.can_be_asked());
        if is_mute && (self.is_ending() || self.sharing.is_relieved(id)) {
            self.departures.begin(id);
        } else {
            self.departures.forget(id);
            self.drain_now(id);
        }
    }

    /// At the end of a turn: those of whom nothing is under way hear the signal.
    pub(crate) fn tend_departures(&mut self) {
        for id in self.departures.overdue(self.now) {
            self.drain_now(id);
        }
        if self.is_ending() && self.departures.last.is_none() {
            self.departures.pace = Pace::new();
        }
        let due = self.departures.due(self.now);
        if due.is_empty() {
            return;
        }
        let busy = if self.is_ending() { self.busy_at_the_end(&due) } else { self.busy(&due) };
        for id in due {
            if self.departures.looked(id, busy.contains(&id), self.now) {
                self.drain_now(id);
            }
        }
    }

    /// Those between whom and their clients something is under way; nobody, where that cannot be seen.
    fn busy(&self, due: &[WorkerId]) -> BTreeSet<WorkerId> {
        let ports: BTreeSet<u16> = due.iter().flat_map(|id| self.sharing.ports_of(*id)).collect();
        let connections = ports.into_iter().flat_map(|port| sock_diag::connections(port).unwrap_or_default());
        let busy = connections.filter(Connected::is_busy).map(|one| one.inode).collect();
        self.holders(due, &busy).collect()
    }

    /// The same, and only for clients that were there when the app was told to stop. A worker that has never been ready is not
    /// waited for to accept anybody.
    fn busy_at_the_end(&mut self, due: &[WorkerId]) -> BTreeSet<WorkerId> {
        let is_ready = |id: &WorkerId| self.workers.get(id).is_some_and(|worker| worker.was_ready);
        let may_accept = |id: &WorkerId| is_ready(id) && self.sharing.may_accept(*id);
        // First this, then the list: who is accepted in between shows as somebody's.
        let mut busy: BTreeSet<WorkerId> = due.iter().copied().filter(may_accept).collect();
        let ports = self.sharing.tcp_ports().into_iter();
        let seen: Vec<Connected> =
            ports.flat_map(|port| sock_diag::arrived(port).unwrap_or_default()).collect();
        let last = self.departures.last.get_or_insert_with(|| Last::new(&seen, self.now));
        let rest = last.still_there(&seen, self.now);
        if !rest.waits {
            busy.clear();
        }
        busy.extend(self.holders(due, &rest.busy));
        busy
    }

    /// Who of these has one of the sockets. Nobody is looked at where there are none.
    fn holders(&self, due: &[WorkerId], sockets: &HashSet<u64>) -> impl Iterator<Item = WorkerId> {
        let holds = |id: &WorkerId| {
            let worker = self.workers.get(id);
            worker.is_some_and(|worker| !socket_inodes(worker.process.id()).is_disjoint(sockets))
        };
        due.iter().copied().filter(move |id| !sockets.is_empty() && holds(id))
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
        departures.begin(A);
        for (look, busy) in (0..).zip([false, false, true, false, false, false, false]) {
            assert_eq!(departures.due(at(100 + look * 20)), [A]);
            assert!(!departures.looked(A, busy, at(100 + look * 20)));
            assert_eq!(departures.due(at(100 + look * 20)), [], "once a turn");
        }
        assert_eq!(departures.due(at(225)), []);
        assert_eq!(departures.deadline(), Some(at(240)));
        assert_eq!(departures.due(at(240)), [A]);
        assert!(departures.looked(A, false, at(240)));
        assert_eq!(departures.deadline(), None);
    }

    #[test]
    fn nobody_is_waited_for_until_the_kill() {
        let mut departures = Departures::new(Duration::from_secs(1));
        departures.announce(A, at(0));
        departures.begin(A);
        assert_eq!(departures.due(at(790)), [A]);
        assert!(!departures.looked(A, true, at(790)));
        assert_eq!(departures.due(at(790)), []);
        assert_eq!(departures.overdue(at(799)), []);
        assert_eq!(departures.deadline(), Some(at(800)));
        assert_eq!(departures.overdue(at(800)), [A]);
        assert_eq!(departures.deadline(), None);
    }

    #[test]
    fn who_still_empties_a_queue_is_not_overdue() {
        let mut departures = Departures::new(Duration::from_secs(1));
        departures.announce(A, at(0));
        assert_eq!(departures.overdue(at(5000)), []);
        assert_eq!(departures.due(at(5000)), []);
    }

    #[test]
    fn at_the_end_one_look_that_finds_nothing_is_enough() {
        let mut departures = Departures::new(Duration::from_secs(10));
        departures.announce(A, at(0));
        departures.begin(A);
        departures.last = Some(Last::new(&[], at(0)));
        assert_eq!(departures.due(at(0)), [A]);
        assert!(!departures.looked(A, true, at(0)));
        assert_eq!(departures.due(at(1)), []);
        assert_eq!(departures.due(at(20)), [A]);
        assert!(departures.looked(A, false, at(20)));
    }
}
