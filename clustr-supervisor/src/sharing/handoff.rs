//! `handoff`: the primary accepts, and hands each connection to one worker.
//!
//! Owns the listeners' place in the reactor, the connections that wait for a worker, who may have one, and whose turn it
//! is. Never gives by itself: whoever calls [`Handoff::turn`] brings the giving along, and reports what came back. Called
//! by `sharing`, last in a turn of the loop.
//!
//! A connection is accepted only when somebody has room for it; until then it waits where it is safest, in the kernel's
//! queue. What a worker refused, or left unanswered when it ended, waits here and goes first.
//!
//! In `per-worker`, where workers accept for themselves, the same hands over whoever waits in the queue of a worker that does
//! not serve: [`Handoff::empty`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use clustr_core::{Ailment, Event, Time, WorkerId};
use clustr_net::node::{Closed, Fault, Table, Window};
use clustr_net::{Acceptor, Balance, Balancer, Candidate, Connection, Listener};

use super::reserve::Reserve;
use super::unanswered::{Change, Unanswered};
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
    /// For how long a worker may answer nothing of what it was handed.
    hang_timeout: Duration,
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

/// How a worker is given the connections of a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Via {
    /// Node's channel: one a message, within a window of ours.
    Node,
    /// clustr's own: as many as the worker has granted.
    Channel,
}

/// What a worker's channel of our own bears.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Credits {
    /// How many more it takes.
    pub(crate) left: usize,
    /// How many it was given and has not acknowledged.
    pub(crate) unacked: usize,
    /// How many it has open.
    pub(crate) open: u64,
    /// How many it has taken, in all.
    pub(crate) taken: u64,
}

/// One worker.
#[derive(Debug, Default)]
struct Taker {
    admitted: bool,
    window: Window,
    credits: Credits,
    /// The listeners whose connections it takes.
    lanes: Vec<(u64, Via)>,
    answered_at: Duration,
    /// How many it has accepted on node's channel.
    accepted: u64,
    unanswered: Unanswered,
    /// It is to be told to leave once it has settled.
    leaving: bool,
}

/// Who might get the next connection. Its room is used again for each.
#[derive(Debug, Default)]
struct Choice {
    takers: Vec<(WorkerId, Via)>,
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

/// How connections are handed over at one time.
#[derive(Clone, Copy)]
struct Way<'a> {
    now: Duration,
    haste: Haste,
    is_fit: &'a dyn Fn(WorkerId) -> bool,
}

impl Handoff {
    /// Without a hang timeout nobody hangs.
    pub(crate) fn new(balance: Balance, hang_timeout: Option<Duration>) -> Self {
        Self {
            balance,
            hang_timeout: hang_timeout.unwrap_or(Duration::MAX),
            lanes: BTreeMap::new(),
            takers: BTreeMap::new(),
            choice: Choice::default(),
            reserve: Reserve::new(),
            lost: 0,
        }
    }

    /// A worker takes the connections of this listener.
    pub(crate) fn join(&mut self, id: WorkerId, number: u64, via: Via) {
        let (balance, wants_source) = (self.balance, self.balance == Balance::Sticky);
        self.lanes.entry(number).or_insert_with(|| Lane {
            acceptor: Acceptor::new(number, wants_source),
            balancer: Balancer::new(balance),
            watch: None,
            waiting: VecDeque::new(),
        });
        let taker = self.takers.entry(id).or_default();
        if taker.via(number).is_none() {
            taker.lanes.push((number, via));
        }
        self.wake();
    }

    /// A worker has closed its server on this listener.
    pub(crate) fn part(&mut self, id: WorkerId, number: u64) {
        if let Some(taker) = self.takers.get_mut(&id) {
            taker.lanes.retain(|(lane, _)| *lane != number);
        }
    }

    /// What a worker's channel bears has changed.
    pub(crate) fn grant(&mut self, id: WorkerId, credits: Credits, now: Time) {
        if let Some(taker) = self.takers.get_mut(&id) {
            let before = std::mem::replace(&mut taker.credits, credits);
            if credits.unacked < before.unacked {
                taker.unanswered.answered(taker.level_of_all(), since_zero(now));
            }
        }
        self.wake();
    }

    /// A listener closes: whoever still waits for a worker of it has nobody left.
    pub(crate) fn close(&mut self, closed: &Closed, reactor: &mut Reactor) {
        let Some(lane) = self.lanes.remove(&closed.number) else { return };
        if let (Some(watch), Some(listener)) = (lane.watch, closed.bound.listener()) {
            reactor.deregister(listener, watch);
        }
        self.lost += lane.waiting.len() as u64;
        for taker in self.takers.values_mut() {
            taker.lanes.retain(|(number, _)| *number != closed.number);
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
            taker.accepted += 1;
            taker.unanswered.answered(taker.level_of_all(), since_zero(now));
        }
        self.wake();
    }

    /// How many connections a worker has taken, whichever way they went.
    pub(crate) fn handed_to(&self, id: WorkerId) -> u64 {
        self.takers.get(&id).map_or(0, |taker| taker.accepted + taker.credits.taken)
    }

    /// A worker does not serve what it was handed: to the next.
    pub(crate) fn returned(&mut self, id: WorkerId, connection: Connection, fault: Fault, now: Time) {
        if let Some(taker) = self.takers.get_mut(&id) {
            match fault {
                Fault::Refused => taker.window.refused(since_zero(now)),
                Fault::Lost => taker.window.lost(since_zero(now)),
            }
            taker.unanswered.answered(taker.level_of_all(), since_zero(now));
        }
        self.wait(connection);
    }

    /// A worker did not take these after all: to the next, oldest first.
    pub(crate) fn take_back(&mut self, left: impl DoubleEndedIterator<Item = Connection>) {
        left.rev().for_each(|connection| self.wait(connection));
    }

    /// A worker's channel has ended, or another process has taken its place there: it takes nothing that way any more.
    pub(crate) fn hang_up(&mut self, id: WorkerId, via: Via) {
        let Some(taker) = self.takers.get_mut(&id) else { return };
        taker.lanes.retain(|(_, lane)| *lane != via);
        match via {
            Via::Node => taker.window = Window::default(),
            Via::Channel => taker.credits = Credits::default(),
        }
        taker.unanswered.answered(taker.level_of_all(), taker.answered_at);
    }

    /// Who has answered nothing for too long, and who does again.
    pub(crate) fn look_around(&mut self, now: Time) -> Vec<Event> {
        let (now, timeout) = (since_zero(now), self.hang_timeout);
        let changed = |(id, taker): (&WorkerId, &mut Taker)| {
            Some(match taker.unanswered.change(timeout, now)? {
                Change::Hangs => Event::Failing(*id, Ailment::Stuck),
                Change::Answers => Event::Recovered(*id),
            })
        };
        self.takers.iter_mut().filter(|(_, taker)| taker.admitted).filter_map(changed).collect()
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

    /// When there is something to be done that nothing else wakes the loop for: a rest ends, and somebody waits for it;
    /// somebody hangs.
    pub(crate) fn deadline(&self, now: Time) -> Option<Time> {
        let now = since_zero(now);
        let with_work = self.lanes.iter().filter(|(_, lane)| lane.has_work());
        let times = with_work.flat_map(|(number, lane)| {
            let takers = self.takers.values().filter(|taker| taker.may_take(*number) == Some(Via::Node));
            takers.filter_map(move |taker| taker.window.rests_until(now)).chain(lane.acceptor.rests_until())
        });
        let leaving = self.takers.values().filter(|taker| taker.leaving).filter_map(Taker::settles_at);
        let timeout = self.hang_timeout;
        let admitted = self.takers.values().filter(|taker| taker.admitted);
        let hangs = admitted.filter_map(|taker| taker.unanswered.hangs_at(timeout));
        times.chain(leaving).chain(hangs).min().map(|at| Time::ZERO + at)
    }

    /// Hands over what waits and what comes, as long as somebody has room. `give` hands one connection to a worker, on
    /// node's channel by the listener's key, or gives it back.
    pub(crate) fn turn(
        &mut self,
        table: &Table,
        reactor: &mut Reactor,
        now: Time,
        mut give: impl FnMut(WorkerId, Via, &str, Connection) -> Result<(), Connection>,
    ) {
        self.reserve.refill();
        let now = since_zero(now);
        for (&number, lane) in &mut self.lanes {
            let Some((listener, key)) = table.listener(number) else { continue };
            lane.watch(listener, number, reactor);
            lane.acceptor.begin_turn(now);
            let mut give = |id, via, connection| give(id, via, key, connection);
            let mut accept = |acceptor: &mut Acceptor, now| acceptor.accept(listener, now);
            let way = Way { now, haste: Haste::Usual, is_fit: &|_| true };
            let is_open = lane.serve(&mut accept, &mut self.takers, &mut self.choice, way, &mut give);
            if is_open && lane.acceptor.is_cut_short() {
                reactor.again(Wake::Listener(number));
            }
        }
    }

    /// Hands over whoever waits where nobody serves, to workers that are fit, as long as somebody has room. `accept` takes
    /// one out of where they wait.
    pub(crate) fn empty(
        &mut self,
        number: u64,
        now: Time,
        is_fit: impl Fn(WorkerId) -> bool,
        mut accept: impl FnMut(&mut Acceptor, Duration) -> Option<Connection>,
        mut give: impl FnMut(WorkerId, Via, Connection) -> Result<(), Connection>,
    ) {
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        self.reserve.refill();
        let now = since_zero(now);
        lane.acceptor.begin_turn(now);
        lane.acceptor.notice();
        let way = Way { now, haste: Haste::Usual, is_fit: &is_fit };
        lane.serve(&mut accept, &mut self.takers, &mut self.choice, way, &mut give);
    }

    /// Whether anybody is there who may be handed connections of this listener.
    pub(crate) fn has_taker(&self, number: u64, is_fit: impl Fn(WorkerId) -> bool) -> bool {
        self.takers.iter().any(|(id, taker)| taker.may_take(number).is_some() && is_fit(*id))
    }

    /// Whether somebody was accepted and is with nobody.
    pub(crate) fn is_waited_for(&self, number: u64) -> bool {
        self.lanes.get(&number).is_some_and(|lane| !lane.waiting.is_empty())
    }

    /// Before the first worker of an app that ends is withheld: whoever waits, here or in the kernel, gets one.
    pub(crate) fn last_call(
        &mut self,
        table: &Table,
        now: Time,
        mut give: impl FnMut(WorkerId, Via, &str, Connection) -> Result<(), Connection>,
    ) {
        let now = since_zero(now);
        for (&number, lane) in &mut self.lanes {
            let Some((listener, key)) = table.listener(number) else { continue };
            let mut give = |id, via, connection| give(id, via, key, connection);
            // The edge may have come in this very turn, and listeners are last in it.
            lane.acceptor.notice();
            for _ in 0..LAST_BURSTS_MAX {
                lane.acceptor.begin_turn(now);
                let mut accept = |acceptor: &mut Acceptor, now| acceptor.accept(listener, now);
                let way = Way { now, haste: Haste::LastCall, is_fit: &|_| true };
                lane.serve(&mut accept, &mut self.takers, &mut self.choice, way, &mut give);
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
        accept: &mut impl FnMut(&mut Acceptor, Duration) -> Option<Connection>,
        takers: &mut BTreeMap<WorkerId, Taker>,
        choice: &mut Choice,
        way: Way<'_>,
        give: &mut impl FnMut(WorkerId, Via, Connection) -> Result<(), Connection>,
    ) -> bool {
        let number = self.acceptor.listener();
        let is_sticky = self.balancer.balance() == Balance::Sticky;
        while !self.waiting.is_empty() || self.acceptor.is_promising() {
            if !choice.look(number, takers, way, is_sticky) {
                return false;
            }
            let next = self.waiting.pop_front().or_else(|| accept(&mut self.acceptor, way.now));
            let Some(connection) = next else { return true };
            let Some((id, via)) = choice.choose(&mut self.balancer, &connection) else { return false };
            let given = give(id, via, connection);
            if let Some(taker) = takers.get_mut(&id) {
                taker.note(via, given.is_ok(), way.now);
            }
            if let Err(connection) = given {
                self.waiting.push_front(connection);
                if way.haste == Haste::LastCall {
                    return false;
                }
            }
        }
        true
    }
}

impl Taker {
    fn via(&self, lane: u64) -> Option<Via> {
        self.lanes.iter().find(|(number, _)| *number == lane).map(|(_, via)| *via)
    }

    /// How it may be given a connection of this lane now.
    fn may_take(&self, lane: u64) -> Option<Via> {
        self.via(lane).filter(|_| self.admitted)
    }

    /// How many it has not answered for, if there may be more.
    fn level(&self, via: Via, now: Duration) -> Option<u32> {
        match via {
            Via::Node => self.window.level(now),
            Via::Channel => (self.credits.left > 0).then_some(bounded(self.credits.unacked)),
        }
    }

    /// Whether it may have one more, where `lowest` is the lowest level of all.
    fn has_room(&self, via: Via, haste: Haste, now: Duration, lowest: u32, is_sticky: bool) -> bool {
        match (via, haste) {
            (Via::Node, Haste::LastCall) => true,
            (Via::Node, Haste::Usual) if is_sticky => self.window.has_room_for_its_own(now),
            (Via::Node, Haste::Usual) => self.window.has_room(now, lowest),
            (Via::Channel, Haste::LastCall) => self.credits.left > 0,
            (Via::Channel, Haste::Usual) if is_sticky => self.credits.left > 0,
            (Via::Channel, Haste::Usual) => {
                self.level(via, now).is_some_and(|level| level < lowest.saturating_mul(2).max(1))
            }
        }
    }

    fn load(&self, via: Via) -> u32 {
        match via {
            Via::Node => self.window.unanswered(),
            Via::Channel => bounded(self.credits.unacked).saturating_add(bounded(self.credits.open)),
        }
    }

    /// When it will have looked at all that it was handed; `None` while it has not answered for all.
    fn settles_at(&self) -> Option<Duration> {
        (self.window.unanswered() == 0).then_some(self.answered_at + SETTLE)
    }

    fn note(&mut self, via: Via, given: bool, now: Duration) {
        match (via, given) {
            (Via::Node, true) => self.window.sent(now),
            (Via::Node, false) => self.window.unsent(now),
            (Via::Channel, true) => {
                self.credits.left = self.credits.left.saturating_sub(1);
                self.credits.unacked += 1;
            }
            (Via::Channel, false) => self.credits.left = 0,
        }
        if given {
            self.unanswered.given(self.level_of_all(), now);
        }
    }

    /// How many it has not answered for, whichever way they went.
    const fn level_of_all(&self) -> usize {
        self.window.unanswered() as usize + self.credits.unacked
    }
}

impl Choice {
    /// Looks who might get a connection of this lane; says whether anybody has room.
    fn look(
        &mut self,
        lane: u64,
        takers: &BTreeMap<WorkerId, Taker>,
        Way { now, haste, is_fit }: Way<'_>,
        is_sticky: bool,
    ) -> bool {
        self.takers.clear();
        self.candidates.clear();
        let fit = || takers.iter().filter(|(id, _)| is_fit(**id));
        let may = || fit().filter_map(|(id, taker)| Some((*id, taker, taker.may_take(lane)?)));
        let lowest = may().filter_map(|(_, taker, via)| taker.level(via, now)).min().unwrap_or(0);
        for (id, taker, via) in may() {
            let has_room = taker.has_room(via, haste, now, lowest, is_sticky);
            self.takers.push((id, via));
            self.candidates.push(Candidate { slot: id.slot.0, load: taker.load(via), has_room });
        }
        self.candidates.iter().any(|candidate| candidate.has_room)
    }

    fn choose(&self, balancer: &mut Balancer, connection: &Connection) -> Option<(WorkerId, Via)> {
        self.takers.get(balancer.choose(&self.candidates, connection.source)?).copied()
    }
}

/// A count as levels are compared.
fn bounded(count: impl TryInto<u32>) -> u32 {
    count.try_into().unwrap_or(u32::MAX)
}

/// A time as windows and acceptors count it.
fn since_zero(now: Time) -> Duration {
    now.since(Time::ZERO)
}
