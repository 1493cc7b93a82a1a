//! Addresses that programs have bound for themselves, and on which no worker listens any more.
//!
//! Owns the doubt after a worker has gone, and the wait for whoever still takes up what it had: once every wanted slot has a
//! ready worker, what none of them has asked for in a while is closed, as by a restart by hand, and who waited there is counted.
//! Without it a version that listens elsewhere, accepted by another sign than its `listen`, would leave a port on which clients
//! wait for ever; and a socket file with the process's number in it one listener for every worker there ever was. What node's
//! protocol has is `node`'s to let go; what clustr was told to bind stays. Called by the loop, last in a turn.

use std::time::Duration;

use clustr_core::{AppState, Time, WorkerId};
use clustr_net::Addr;
use clustr_net::node::{Closed, Table};

use super::Sharing;
use super::intercept::Kept;
use super::queues::Seats;
use crate::app::App;
use crate::news::Fact;
use crate::reactor::Reactor;

/// How long after all are ready one of them may still ask for what its predecessor had: long enough for a server that is
/// started late, and for whoever waits in the queue meanwhile.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// What may be nobody's.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    /// Something may have been left since the last look.
    doubt: bool,
    /// What was nobody's at the last look, by number in the table.
    found: Vec<u64>,
    until: Option<Time>,
}

impl Unclaimed {
    /// A worker has gone, or has closed what it listened on.
    pub(super) const fn doubt(&mut self) {
        self.doubt = true;
    }

    pub(super) const fn deadline(&self) -> Option<Time> {
        self.until
    }

    /// What was nobody's for a whole grace, and may still be.
    fn due(&mut self, now: Time) -> Vec<u64> {
        if self.until.is_none_or(|until| until > now) {
            return Vec::new();
        }
        (self.until, self.doubt) = (None, true);
        std::mem::take(&mut self.found)
    }

    /// Whether it is time to look for what is nobody's.
    fn is_to_look(&mut self) -> bool {
        self.until.is_none() && std::mem::take(&mut self.doubt)
    }

    fn has_found(&mut self, found: Vec<u64>, now: Time) {
        self.until = (!found.is_empty()).then_some(now + GRACE);
        self.found = found;
    }
}

impl Kept {
    fn is_unclaimed(&self, number: u64, table: &Table, seats: Option<&Seats>) -> bool {
        let is_held = match table.queues(number) {
            Some(_) => seats.is_some_and(|seats| seats.is_held(number)),
            None => self.holders.iter().any(|(held, _)| *held == number),
        };
        !is_held && !table.is_held(number)
    }

    /// A worker has the common socket of this number from now on.
    pub(super) fn hold(&mut self, id: WorkerId, number: u64) {
        self.holders.insert((number, id));
    }
}

impl Sharing {
    /// Closes what no worker listens on any more. `is_settled`: every wanted slot has a ready worker, and nobody is being
    /// replaced.
    fn close_unclaimed(&mut self, is_settled: bool, reactor: &mut Reactor, now: Time) -> Vec<Fact> {
        let Some(intercept) = &mut self.intercept else { return Vec::new() };
        let due = intercept.unclaimed.due(now);
        if !is_settled {
            return Vec::new();
        }
        let (kept, table, seats) = (&intercept.kept, &self.table, self.seats.as_ref());
        let is_unclaimed = |number: &u64| kept.is_unclaimed(*number, table, seats);
        let over: Vec<u64> = due.into_iter().filter(is_unclaimed).collect();
        if over.is_empty() && intercept.unclaimed.is_to_look() {
            let found = kept.numbers.iter().map(|(_, number)| *number).filter(is_unclaimed).collect();
            intercept.unclaimed.has_found(found, now);
        }
        over.into_iter().filter_map(|number| self.close_one(number, reactor)).collect()
    }

    fn close_one(&mut self, number: u64, reactor: &mut Reactor) -> Option<Fact> {
        let closed = self.table.close(number)?;
        if let Some(intercept) = &mut self.intercept {
            intercept.abandon(number, closed.bound.local_addr());
        }
        let told = told(&closed);
        self.unwatch([closed], reactor);
        told
    }

    /// The app ends: what is open closes with it.
    fn leave_unclaimed(&mut self) {
        self.intercept.iter_mut().for_each(|intercept| intercept.unclaimed = Unclaimed::default());
    }
}

impl App {
    /// At the end of a turn: what no worker listens on any more closes.
    pub(crate) fn tend_unclaimed(&mut self) {
        if self.is_ending() {
            return self.sharing.leave_unclaimed();
        }
        let view = self.rules.view();
        let is_settled = view.state == AppState::Running && view.wanted > 0 && view.ready >= view.wanted;
        for fact in self.sharing.close_unclaimed(is_settled, &mut self.reactor, self.now) {
            self.tell(fact);
        }
    }
}

/// News of what nobody listens on. A socket file with the process's number in it comes and goes with each worker: that
/// is only worth a word if somebody has waited there.
pub(super) fn told(closed: &Closed) -> Option<Fact> {
    let (addr, lost) = (closed.bound.local_addr(), closed.waiting());
    let is_unix = matches!(addr, Addr::Unix(_) | Addr::Abstract(_));
    let mut detail = format!("no worker listens on {addr} any more: it is closed");
    if lost > 0 {
        let or_more = if is_unix { " or more" } else { "" };
        detail.push_str(&format!(", connections closed without an answer: {lost}{or_more}"));
    }
    let hint = Some("clustr reload, with a version that listens there, if it should be open".into());
    (lost > 0 || !is_unix).then_some(Fact::Warning { detail, hint })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Time = Time::from_nanos(1_000);

    #[test]
    fn nothing_is_looked_for_before_a_worker_has_gone() {
        let mut unclaimed = Unclaimed::default();
        assert!(!unclaimed.is_to_look());
        unclaimed.doubt();
        assert!(unclaimed.is_to_look());
        assert!(!unclaimed.is_to_look());
        unclaimed.has_found(Vec::new(), LATER);
        assert_eq!(unclaimed.deadline(), None);
    }

    #[test]
    fn what_was_found_is_due_after_a_grace_and_once() {
        let mut unclaimed = Unclaimed::default();
        unclaimed.has_found(vec![1, 2], LATER);
        assert_eq!(unclaimed.deadline(), Some(LATER + GRACE));
        assert!(unclaimed.due(LATER).is_empty());
        assert_eq!(unclaimed.due(LATER + GRACE), [1, 2]);
        assert_eq!(unclaimed.deadline(), None);
        assert!(unclaimed.due(LATER + GRACE).is_empty());
    }

    #[test]
    fn what_is_left_during_a_grace_has_one_of_its_own() {
        let mut unclaimed = Unclaimed::default();
        unclaimed.has_found(vec![1], LATER);
        unclaimed.doubt();
        assert!(!unclaimed.is_to_look());
        unclaimed.due(LATER + GRACE);
        assert!(unclaimed.is_to_look());
    }
}
