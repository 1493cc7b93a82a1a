//! `handoff`: the primary accepts, and hands each connection to one worker.
//!
//! Owns the listeners' place in the reactor, the connections that wait for a worker, who may have one, and whose turn it
//! is. Never knows how a worker gets a connection: whoever calls [`Handoff::turn`] brings the giving along, and
//! reports what came back. Called by `sharing::node`, last in a turn of the loop.
//!
//! A connection is accepted only when somebody has room for it; until then it waits where it is safest, in the kernel's
//! queue. What a worker refused, or left unanswered when it ended, waits here and goes first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use clustr_core::{Time, WorkerId};
use clustr_net::node::{Closed, Fault, Table, Window};
use clustr_net::{Acceptor, Balance, Balancer, Candidate, Connection, Listener};

use super::reserve::Reserve;
use crate::reactor::{Reactor, Registration, Wake};

/// Bound: how many bursts of clients a last call takes in.
const LAST_BURSTS_MAX: usize = 16;

/// How long a worker gets to read from the last connection that it accepted, before it may be told to leave: http in node
/// closes, when it is told, whatever it has not read a byte from.
const SETTLE: Duration = Duration::from_millis(20);

/// Connections on their way from listeners to workers.
#[derive(Debug)]
pub(crate) struct Handoff {
    balance: Balance,
    lanes: BTreeMap<u64, Lane>,
    takers: BTreeMap<WorkerId, Taker>,
    choice: Choice,
    reserve: Reserve,
    lost: u64,
}

/// One listener, by its number in the table.
#[derive(Debug)]
struct Lane {
    acceptor: Acceptor,
    balancer: Balancer,
    /// `None` while the kernel had no room to watch it.
    watch: Option<Registration>,
    /// Accepted, and with nobody: refused by one worker, or left behind by one that ended.
    waiting: VecDeque<Connection>,
}

/// One worker.
#[derive(Debug, Default)]
struct Taker {
    admitted: bool,
    window: Window,
    /// The listeners for which it has a server open.
    lanes: Vec<u64>,
    answered_at: Duration,
    /// It is to be told to leave once it has settled.
    leaving: bool,
}

/// Who might get the next connection. Its room is used again for each.
#[derive(Debug, Default)]
struct Choice {
    ids: Vec<WorkerId>,
    candidates: Vec<Candidate>,
}

/// Who counts as having room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Haste {
    /// Whose window is not full.
    Usual,
    /// Everybody who is admitted: afterwards, nobody will be.
    LastCall,
}

impl Handoff {
    pub(crate) fn new(balance: Balance) -> Self {
        Self {
            balance,
            lanes: BTreeMap::new(),
            takers: BTreeMap::new(),
            choice: Choice::default(),
            reserve: Reserve::new(),
            lost: 0,
        }
    }

    /// A worker has opened a server on this listener.
    pub(crate) fn join(&mut self, id: WorkerId, number: u64) {
        let (balance, wants_source) = (self.balance, self.balance == Balance::Sticky);
        self.lanes.entry(number).or_insert_with(|| Lane {
            acceptor: Acceptor::new(number, wants_source),
            balancer: Balancer::new(balance),
            watch: None,
            waiting: VecDeque::new(),
        });
        let taker = self.takers.entry(id).or_default();
        if !taker.lanes.contains(&number) {
            taker.lanes.push(number);
        }
    }

    /// A worker has closed its server on this listener.
    pub(crate) fn part(&mut self, id: WorkerId, number: u64) {
        if let Some(taker) = self.takers.get_mut(&id) {
            taker.lanes.retain(|lane| *lane != number);
        }
    }

    /// A listener closes: whoever still waits for a worker of it has nobody left.
    pub(crate) fn close(&mut self, closed: &Closed, reactor: &mut Reactor) {
        let Some(lane) = self.lanes.remove(&closed.number) else { return };
        if let Some(watch) = lane.watch {
            reactor.deregister(&closed.listener, watch);
        }
        self.lost += lane.waiting.len() as u64;
        for taker in self.takers.values_mut() {
            taker.lanes.retain(|number| *number != closed.number);
        }
    }

    /// The worker may get connections from now on, or none any more.
    pub(crate) fn admit(&mut self, id: WorkerId, admitted: bool) {
        self.takers.entry(id).or_default().admitted = admitted;
    }

    /// A listener became readable.
    pub(crate) fn notice(&mut self, number: u64) {
        if let Some(lane) = self.lanes.get_mut(&number) {
            lane.acceptor.notice();
        }
    }

    /// A worker serves what it was handed.
    pub(crate) fn accepted(&mut self, id: WorkerId, now: Time) {
        if let Some(taker) = self.takers.get_mut(&id) {
            taker.window.accepted(since_zero(now));
            taker.answered_at = since_zero(now);
        }
        self.wake();
    }

    /// A worker does not serve what it was handed: to the next.
    pub(crate) fn returned(&mut self, id: WorkerId, connection: Connection, fault: Fault, now: Time) {
        if let Some(taker) = self.takers.get_mut(&id) {
            match fault {
                Fault::Refused => taker.window.refused(since_zero(now)),
                Fault::Lost => taker.window.lost(since_zero(now)),
            }
        }
        self.wait(connection);
    }

    /// A worker's channel has ended, or another process has taken its place there: its servers are gone, and what it
    /// had not answered goes to the next, oldest first.
    pub(crate) fn hang_up(&mut self, id: WorkerId, left: impl DoubleEndedIterator<Item = Connection>) {
        if let Some(taker) = self.takers.get_mut(&id) {
            taker.lanes.clear();
            taker.window = Window::default();
        }
        left.rev().for_each(|connection| self.wait(connection));
    }

    /// Whether a worker is still busy with what it was handed; [`Handoff::settled`] tells when it no longer is.
    pub(crate) fn see_off(&mut self, id: WorkerId, now: Time) -> bool {
        let Some(taker) = self.takers.get_mut(&id) else { return false };
        taker.leaving = taker.settles_at().is_none_or(|at| at > since_zero(now));
        taker.leaving
    }

    /// A worker that was seen off and has settled since; each once.
    pub(crate) fn settled(&mut self, now: Time) -> Option<WorkerId> {
        let now = since_zero(now);
        let is_over = |taker: &Taker| taker.leaving && taker.settles_at().is_some_and(|at| at <= now);
        let (id, taker) = self.takers.iter_mut().find(|(_, taker)| is_over(taker))?;
        taker.leaving = false;
        Some(*id)
    }

    /// A worker is gone.
    pub(crate) fn forget(&mut self, id: WorkerId) {
        self.takers.remove(&id);
    }

    /// Frees the descriptors that are kept for spawning and control; [`Handoff::turn`] takes them back.
    pub(crate) fn make_room(&mut self) {
        self.reserve.lend();
    }

    /// How many clients were let down since the last look: accepted, and no worker left to take them.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Gives everybody up who still waits.
    pub(crate) fn abandon(&mut self) {
        let waiting = self.lanes.values_mut().map(|lane| lane.waiting.drain(..).count() as u64);
        self.lost += waiting.sum::<u64>();
    }

    /// When there is something to be done that nothing else wakes the loop for: a rest ends, and somebody waits for it.
    pub(crate) fn deadline(&self, now: Time) -> Option<Time> {
        let now = since_zero(now);
        let with_work = self.lanes.iter().filter(|(_, lane)| lane.has_work());
        let times = with_work.flat_map(|(number, lane)| {
            let takers = self.takers.values().filter(|taker| taker.may_take(*number));
            takers.filter_map(move |taker| taker.window.rests_until(now)).chain(lane.acceptor.rests_until())
        });
        let leaving = self.takers.values().filter(|taker| taker.leaving);
        times.chain(leaving.filter_map(Taker::settles_at)).min().map(|at| Time::ZERO + at)
    }

    /// Hands over what waits and what comes, as long as somebody has room. `give` hands one connection to a worker by
    /// the listener's key, or gives it back.
    pub(crate) fn turn(
        &mut self,
        table: &Table,
        reactor: &mut Reactor,
        now: Time,
        mut give: impl FnMut(WorkerId, &str, Connection) -> Result<(), Connection>,
    ) {
        self.reserve.refill();
        let now = since_zero(now);
        for (&number, lane) in &mut self.lanes {
            let Some((listener, key)) = table.listener(number) else { continue };
            lane.watch(listener, number, reactor);
            lane.acceptor.begin_turn(now);
            let mut give = |id, connection| give(id, key, connection);
            let is_open =
                lane.serve(listener, &mut self.takers, &mut self.choice, (now, Haste::Usual), &mut give);
            if is_open && lane.acceptor.is_cut_short() {
                reactor.again(Wake::Listener(number));
            }
        }
    }

    /// Before the first worker of an app that ends is withheld: whoever waits, here or in the kernel, gets one.
    pub(crate) fn last_call(
        &mut self,
        table: &Table,
        now: Time,
        mut give: impl FnMut(WorkerId, &str, Connection) -> Result<(), Connection>,
    ) {
        let now = since_zero(now);
        for (&number, lane) in &mut self.lanes {
            let Some((listener, key)) = table.listener(number) else { continue };
            let mut give = |id, connection| give(id, key, connection);
            // The edge may have come in this very turn, and listeners are last in it.
            lane.acceptor.notice();
            for _ in 0..LAST_BURSTS_MAX {
                lane.acceptor.begin_turn(now);
                lane.serve(listener, &mut self.takers, &mut self.choice, (now, Haste::LastCall), &mut give);
                if !lane.acceptor.is_cut_short() {
                    break;
                }
            }
        }
    }

    fn wait(&mut self, connection: Connection) {
        match self.lanes.get_mut(&connection.listener) {
            Some(lane) => lane.waiting.push_front(connection),
            None => self.lost += 1,
        }
    }

    fn wake(&mut self) {
        self.lanes.values_mut().for_each(|lane| lane.acceptor.wake());
    }
}

impl Lane {
    /// Watches the listener, if the kernel has room for that; else it tries again in the next turn.
    fn watch(&mut self, listener: &Listener, number: u64, reactor: &mut Reactor) {
        if self.watch.is_none() {
            self.watch = reactor.register_readable(listener, Wake::Listener(number)).ok();
            self.acceptor.notice();
        }
    }

    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || self.acceptor.may_hold()
    }

    /// Serves clients while there are some and somebody has room; says whether somebody still has.
    fn serve(
        &mut self,
        listener: &Listener,
        takers: &mut BTreeMap<WorkerId, Taker>,
        choice: &mut Choice,
        (now, haste): (Duration, Haste),
        give: &mut impl FnMut(WorkerId, Connection) -> Result<(), Connection>,
    ) -> bool {
        let number = self.acceptor.listener();
        let is_sticky = self.balancer.balance() == Balance::Sticky;
        while !self.waiting.is_empty() || self.acceptor.is_promising() {
            if !choice.look(number, takers, (now, haste), is_sticky) {
                return false;
            }
            let next = self.waiting.pop_front().or_else(|| self.acceptor.accept(listener, now));
            let Some(connection) = next else { return true };
            let Some(id) = choice.choose(&mut self.balancer, &connection) else { return false };
            let given = give(id, connection);
            if let Some(taker) = takers.get_mut(&id) {
                taker.note(given.is_ok(), now);
            }
            if let Err(connection) = given {
                self.waiting.push_front(connection);
                if haste == Haste::LastCall {
                    return false;
                }
            }
        }
        true
    }
}

impl Taker {
    fn may_take(&self, lane: u64) -> bool {
        self.admitted && self.lanes.contains(&lane)
    }

    /// When it will have looked at all that it was handed; `None` while it has not answered for all.
    fn settles_at(&self) -> Option<Duration> {
        (self.window.unanswered() == 0).then_some(self.answered_at + SETTLE)
    }

    fn note(&mut self, given: bool, now: Duration) {
        if given {
            self.window.sent(now);
        } else {
            self.window.unsent(now);
        }
    }
}

impl Choice {
    /// Looks who might get a connection of this lane; says whether anybody has room.
    fn look(
        &mut self,
        lane: u64,
        takers: &BTreeMap<WorkerId, Taker>,
        (now, haste): (Duration, Haste),
        is_sticky: bool,
    ) -> bool {
        self.ids.clear();
        self.candidates.clear();
        let may = || takers.iter().filter(|(_, taker)| taker.may_take(lane));
        let lowest = may().filter_map(|(_, taker)| taker.window.level(now)).min().unwrap_or(0);
        for (id, taker) in may() {
            let has_room = match haste {
                Haste::LastCall => true,
                Haste::Usual if is_sticky => taker.window.has_room_for_its_own(now),
                Haste::Usual => taker.window.has_room(now, lowest),
            };
            self.ids.push(*id);
            self.candidates.push(Candidate { slot: id.slot.0, load: taker.window.unanswered(), has_room });
        }
        self.candidates.iter().any(|candidate| candidate.has_room)
    }

    fn choose(&self, balancer: &mut Balancer, connection: &Connection) -> Option<WorkerId> {
        self.ids.get(balancer.choose(&self.candidates, connection.source)?).copied()
    }
}

/// A time as windows and acceptors count it.
fn since_zero(now: Time) -> Duration {
    now.since(Time::ZERO)
}
