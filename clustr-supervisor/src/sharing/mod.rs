//! How workers get connections: the listeners, who has which, and over which ways they reach a worker.
//!
//! Owns the listeners of the app and what is under way to workers. Three ways of sharing: in `shared` every worker accepts
//! from the one queue in the kernel; in `per-worker` each has one of its own ([`queues`]); in [`handoff`] the primary accepts. Three ways of delivery, which add up: the
//! descriptors that `LISTEN_FDS` counts ([`given`]), clustr's own channel ([`channel`]), node's ([`node`]), and the program's own `bind`
//! ([`intercept`]). Never touches a
//! worker's life: what it hears becomes events and facts for the supervisor.

mod channel;
mod given;
mod handoff;
mod intercept;
mod listened;
mod messages;
mod node;
mod probing;
mod queues;
mod rescue;
mod reserve;
mod revive;
mod unanswered;
mod unclaimed;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use clustr_core::{Event, SlotId, Time, WorkerId};
use clustr_net::node::{Closed, Fate, Table};
use clustr_net::queue::Plan;
use clustr_net::{Addr, Connection, balance};

use self::given::Given;
use self::handoff::{Handoff, Via};
use self::intercept::Intercept;
pub(crate) use self::messages::SendFault;
pub(crate) use self::probing::{Obstacle, Way};
use self::queues::Seats;
use crate::config::{Balance, Config, Delivery, ReadyWhen, Share};
use crate::control::protocol::ListenerStatus;
use crate::error::{ListenError, StartError};
use crate::news::Fact;
use crate::reactor::Reactor;
use crate::worker::{ChannelState, Worker};

/// How many messages one worker brings in one turn, over each of its channels.
const TURN_MESSAGES_MAX: usize = 64;

/// The longest address that is shown to observers, in bytes.
const ADDRESS_BYTES_MAX: usize = 1024;

/// The longest message of a worker that observers get whole, in bytes. More than clustr's channel carries, less than node's.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// What a worker's words come to.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) events: Vec<Event>,
    pub(crate) facts: Vec<Fact>,
    /// There may be more to read.
    pub(crate) more: bool,
    /// It has said something, whatever it was: it is no program that never does.
    pub(crate) spoke: bool,
    /// Workers that can serve if nothing else follows soon.
    pub(crate) maybe: Vec<WorkerId>,
    at: Moment,
}

/// When a worker is heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    pub(crate) now: Time,
    /// The whole app stops, so listeners may close.
    pub(crate) ending: bool,
}

/// The listeners, and the ways to the workers.
#[derive(Debug)]
pub(crate) struct Sharing {
    table: Table,
    given: Given,
    delivery: Delivery,
    ready: ReadyWhen,
    /// Whether the primary accepts, and workers do not.
    hands_over: bool,
    /// Gives connections to workers: all of them where the primary accepts, else those that their own worker does not
    /// serve. `None`: every worker accepts for itself, from one queue.
    handoff: Option<Handoff>,
    /// `None`: no worker has a queue of its own.
    seats: Option<Seats>,
    called_last: bool,
    /// Why it is shared in this way, where clustr has chosen.
    why: Option<String>,
    hang_ups: revive::HangUps,
    node: node::Pending,
    channel: channel::Pending,
    /// `None`: workers' own calls go on unseen.
    intercept: Option<Intercept>,
    /// Why they do, and what is done instead, where they should not.
    instead: Option<String>,
}

impl Sharing {
    /// Binds what the primary was told to listen on.
    pub(crate) fn new(config: &mut Config) -> Result<Self, StartError> {
        let inherited = std::mem::take(&mut config.inherited);
        let hang_timeout = config.sees_hangs.then(|| config.policy.hang_timeout());
        let chosen = config.chosen_share()?;
        let is_choice = std::mem::replace(&mut config.share, chosen.share) == Share::Auto;
        let (handoff, plan) = ways(config, hang_timeout)?;
        let intercept = config.delivery.intercept.then(|| Intercept::new(config, plan)).transpose()?;
        let hands_over = handoff.is_some() && plan.is_none();
        let listeners = given::bind(&config.listen, &inherited, (plan, is_choice), hands_over)?;
        let mut table = match plan {
            Some(plan) if is_choice => Table::queueing(inherited, plan).sharing_the_rest(),
            Some(plan) => Table::queueing(inherited, plan),
            None if hands_over => Table::handing_over(inherited),
            None => Table::new(inherited),
        };
        given::check(&config.listen, config.share, config.delivery)?;
        Ok(Self {
            given: Given::new(listeners, &mut table),
            table,
            // On clustr's channel connections come where they are handed over; else it is where a worker says that it is
            // ready, and its listeners are those that LISTEN_FDS counts.
            delivery: Delivery { fds: config.delivery.fds || config.delivery.channel, ..config.delivery },
            ready: config.ready.clone(),
            why: chosen.why,
            hands_over,
            handoff,
            // Half of the time that a stop may take: then it is asked, whoever may still come.
            seats: plan.map(|plan| Seats::new(plan.steer, config.policy.stop_timeout() / 2, hang_timeout)),
            called_last: false,
            hang_ups: revive::HangUps::default(),
            node: node::Pending::default(),
            channel: channel::Pending::default(),
            intercept,
            instead: config.instead_of_intercept(),
        })
    }

    /// The way of sharing, in the words of `clustr status`.
    pub(crate) const fn name(&self) -> &'static str {
        match (&self.handoff, &self.seats) {
            (_, Some(_)) => "per-worker",
            (Some(_), None) => "handoff",
            (None, None) => "shared",
        }
    }

    /// Why, where clustr has chosen.
    pub(crate) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// The ways of delivery, in the words of `clustr status`.
    pub(crate) fn deliveries(&self) -> Vec<String> {
        let ways = [
            ("fds", self.lends_listeners()),
            ("channel", self.has_channel()),
            ("node", self.has_node()),
            ("intercept", self.intercept.is_some()),
        ];
        ways.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| (*name).to_owned()).collect()
    }

    /// Whether workers get clustr's channel.
    pub(crate) fn has_channel(&self) -> bool {
        self.delivery.messages || (self.delivery.channel && !self.given.is_empty())
    }

    /// Whether workers get node's channel.
    pub(crate) const fn has_node(&self) -> bool {
        self.delivery.node
    }

    /// Whether workers get descriptors of listeners.
    pub(crate) fn lends_listeners(&self) -> bool {
        self.delivery.fds && self.given.lent(self.hands_over).next().is_some()
    }

    /// Sees to it that a new worker has a queue wherever it has to have one.
    pub(crate) fn seat(&mut self, id: WorkerId) -> io::Result<()> {
        let Some(seats) = self.seats.as_mut().filter(|_| self.delivery.fds) else { return Ok(()) };
        for (number, queues) in self.table.ports().filter(|(number, _)| self.given.has(*number)) {
            seats.choose(id, number, queues).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// The listeners that a new worker gets, in order, and the variables that tell it so.
    pub(crate) fn lent(&self, id: WorkerId) -> (Vec<BorrowedFd<'_>>, Vec<(&'static str, String)>) {
        if !self.lends_listeners() {
            return (Vec::new(), Vec::new());
        }
        let hands_over = self.hands_over;
        let queue = |number| self.seats.as_ref()?.of(id, number);
        (self.given.fds(&self.table, hands_over, queue), self.given.environment(hands_over))
    }

    /// When to call [`Sharing::handle_timeout`].
    pub(crate) fn deadline(&self, now: Time) -> Option<Time> {
        let handoff = self.handoff.as_ref().and_then(|handoff| handoff.deadline(now));
        let queues = self.seats.as_ref().and_then(Seats::deadline);
        let calls = self.intercept.as_ref().and_then(Intercept::deadline);
        [self.node.deadline(), self.channel.deadline(), handoff, queues, calls].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(
        &mut self,
        workers: &mut BTreeMap<WorkerId, Worker>,
        reactor: &mut Reactor,
        now: Time,
    ) -> Heard {
        let let_go = self.let_go_in_time(reactor, now);
        self.probe_in_time(workers, now);
        let mut heard = self.release_calls(now);
        heard.facts.extend(let_go);
        heard
    }

    /// A worker can serve: what its predecessors left and it does not ask for soon, it does not want.
    pub(crate) fn ready(&mut self, slot: SlotId, now: Time) {
        self.node.ready(slot, now);
    }

    /// This very worker counts as ready: its successor has to listen wherever it does.
    pub(crate) fn settled(&mut self, id: WorkerId) {
        self.intercept.iter_mut().for_each(|intercept| intercept.ready(id));
    }

    /// From now on the worker may get connections. In `shared` it takes them from its first accept on.
    pub(crate) fn admit(&mut self, id: WorkerId) {
        if let Some(handoff) = &mut self.handoff {
            handoff.admit(id, true);
        }
        if let Some(seats) = &mut self.seats {
            seats.admit(id, &mut self.table);
        }
    }

    /// From now on the worker gets none. In `shared` it stops when it drains. `ending`: so do all others, now.
    pub(crate) fn withhold(
        &mut self,
        id: WorkerId,
        workers: &mut BTreeMap<WorkerId, Worker>,
        ending: bool,
        now: Time,
    ) {
        if let Some(seats) = &mut self.seats {
            seats.withhold(id, &mut self.table);
        }
        let Some(handoff) = &mut self.handoff else { return };
        if ending && !self.called_last {
            self.called_last = true;
            let given = &self.given;
            handoff.last_call(&self.table, now, |id, via, key, connection| {
                give(workers, given, id, (via, key), connection)
            });
            self.channel.flush(workers, now);
        }
        if let Some(handoff) = &mut self.handoff {
            handoff.admit(id, false);
        }
    }

    /// A listener became readable.
    pub(crate) fn notice(&mut self, number: u64) {
        if let Some(handoff) = &mut self.handoff {
            handoff.notice(number);
        }
    }

    /// Hands over what waits and what comes. Returns how many clients were let down since the last time.
    pub(crate) fn hand_over(
        &mut self,
        workers: &mut BTreeMap<WorkerId, Worker>,
        reactor: &mut Reactor,
        now: Time,
    ) -> u64 {
        let Some(handoff) = &mut self.handoff else { return 0 };
        let given = &self.given;
        handoff.turn(&self.table, reactor, now, |id, via, key, connection| {
            give(workers, given, id, (via, key), connection)
        });
        self.channel.flush(workers, now);
        while let Some(id) = handoff.settled(now) {
            // One that cannot be told any more has closed its end, which shows by itself.
            let endpoint = workers.get_mut(&id).and_then(|worker| worker.node.endpoint.as_mut());
            endpoint.map(clustr_net::node::Endpoint::disconnect);
        }
        handoff.take_lost()
    }

    /// How many connections a worker has taken of those that it was handed.
    pub(crate) fn handed_to(&self, id: WorkerId) -> u64 {
        self.handoff.as_ref().map_or(0, |handoff| handoff.handed_to(id))
    }

    /// Whether a worker that shall leave has to empty its queues first: [`Sharing::emptied`] names it then.
    pub(crate) fn detain(&mut self, id: WorkerId, now: Time) -> bool {
        self.seats.as_mut().is_some_and(|seats| seats.detain(id, &mut self.table, now))
    }

    /// The ports on which a worker has a queue of its own.
    pub(crate) fn ports_of(&self, id: WorkerId) -> impl Iterator<Item = u16> {
        let seats = self.seats.as_ref();
        let is_its = move |number: &u64| seats.is_some_and(|seats| seats.of(id, *number).is_some());
        self.table.numbers().filter(is_its).filter_map(|number| Some(self.table.queues(number)?.port()))
    }

    /// Every port on which clients of this app arrive by TCP.
    pub(crate) fn tcp_ports(&self) -> BTreeSet<u16> {
        let port = |addr: &Addr| match addr {
            Addr::Tcp { port, .. } => Some(*port),
            Addr::Udp { .. } | Addr::Unix(_) | Addr::Abstract(_) | Addr::Fd(_) => None,
        };
        self.table.addrs().filter_map(port).collect()
    }

    /// Whether a worker may still accept somebody who waits: in a queue of its own, where it has any, else in the shared one.
    pub(crate) fn may_accept(&self, id: WorkerId) -> bool {
        match &self.seats {
            Some(seats) => seats.is_waited_for(id, &self.table),
            None => !self.hands_over,
        }
    }

    /// Whether others are sent what would come to a worker: on every port on which it has a queue, somebody else is live.
    pub(crate) fn is_relieved(&self, id: WorkerId) -> bool {
        let Some(seats) = &self.seats else { return false };
        self.table
            .numbers()
            .filter(|number| seats.of(id, *number).is_some())
            .all(|number| seats.is_live(number))
    }

    /// Workers that had to empty their queues and have, or that had to wait for too long.
    pub(crate) fn emptied(&mut self, now: Time) -> Vec<WorkerId> {
        self.seats.as_mut().map_or_else(Vec::new, |seats| seats.emptied(&mut self.table, now))
    }

    /// Looks who else is on the ports; whoever is new there is named at the end of this turn.
    pub(crate) fn look_for_strangers(&mut self, now: Time) {
        if let Some(seats) = &mut self.seats {
            seats.look_for_strangers(&mut self.table, now);
        }
    }

    /// Somebody waits in a worker's queue.
    pub(crate) fn notice_queues(&mut self, now: Time) {
        self.seats.iter_mut().for_each(|seats| seats.notice(now));
    }

    /// Looks for whom clients wait without end, and who goes on; queues that stand still are steered around.
    /// `accepted` shows which connections to a port a worker has.
    pub(crate) fn look_around(
        &mut self,
        reactor: &mut Reactor,
        accepted: queues::Accepted<'_>,
        now: Time,
    ) -> Vec<Event> {
        let handed = self.handoff.as_mut().map_or_else(Vec::new, |handoff| handoff.look_around(now));
        let Some(seats) = &mut self.seats else { return handed };
        [handed, seats.look_around(&mut self.table, reactor, accepted, now)].concat()
    }

    /// Closes queues that nobody will take. `is_hopeful` says whether somebody is in a slot, or will be.
    pub(crate) fn tend_queues(
        &mut self,
        reactor: &mut Reactor,
        is_hopeful: impl Fn(SlotId) -> bool,
        now: Time,
    ) -> Vec<Fact> {
        let (Some(seats), handoff) = (&mut self.seats, &self.handoff) else { return Vec::new() };
        let has_taker = |number: u64, is_fit: &dyn Fn(WorkerId) -> bool| {
            handoff.as_ref().is_some_and(|handoff| handoff.has_taker(number, is_fit))
        };
        seats.tend(&mut self.table, reactor, is_hopeful, has_taker, now)
    }

    /// The app ends: queues stay as they are until all are closed, and nothing is due for them.
    pub(crate) fn leave_queues(&mut self) {
        self.seats.iter_mut().for_each(Seats::leave_be);
    }

    /// A worker has ended, or was never there: its queues are its successor's.
    pub(crate) fn vacate(&mut self, id: WorkerId) {
        if let Some(seats) = &mut self.seats {
            seats.vacate(id, &mut self.table);
        }
    }

    /// Tells a worker to finish what is open, now or when it has settled. Says whether that is possible.
    pub(crate) fn drain(&mut self, id: WorkerId, worker: &mut Worker, now: Time) -> bool {
        let over_channel = self.drain_channel(worker);
        let over_node = worker.node.state == ChannelState::Online && self.disconnect(id, worker, now);
        if over_node {
            worker.node.state = ChannelState::Draining;
        }
        over_channel || over_node
    }

    /// A worker is gone; its listeners stay, for its successor and for whoever waits in their queues.
    pub(crate) fn gone(
        &mut self,
        id: WorkerId,
        worker: &mut Worker,
        reactor: &mut Reactor,
        comes_back: bool,
    ) -> Heard {
        self.stop_hearing(worker, reactor);
        let heard = self.forget_calls(id, worker.unique_id);
        self.close_node(id, worker, reactor);
        self.close_channel(id, worker, reactor);
        let fate = if comes_back { Fate::Keep } else { Fate::Release };
        let gone = self.table.gone(worker.unique_id, fate);
        self.node.gone(id.slot, worker.unique_id, gone.left);
        self.unwatch(gone.closed, reactor);
        if let Some(handoff) = &mut self.handoff {
            handoff.forget(id);
        }
        heard
    }

    /// Listeners close here, and nowhere else: they leave the reactor before their descriptors are gone.
    fn unwatch(&mut self, closed: impl IntoIterator<Item = Closed>, reactor: &mut Reactor) {
        for closed in closed {
            self.hang_ups.forget(&closed, reactor);
            if let Some(handoff) = &mut self.handoff {
                handoff.close(&closed, reactor);
            }
            if let Some(seats) = &mut self.seats {
                seats.close(&closed, reactor);
            }
        }
    }

    /// At the end: how many clients still wait for a worker. There will be none.
    pub(crate) fn abandon(&mut self) -> u64 {
        let waiting = if self.seats.is_some() { Seats::waiting(&mut self.table) } else { 0 };
        let Some(handoff) = &mut self.handoff else { return waiting };
        handoff.abandon();
        waiting + handoff.take_lost()
    }

    /// Frees the descriptors that are kept for what must not fail for want of one, until the end of the turn.
    pub(crate) fn make_room(&mut self) {
        if let Some(handoff) = &mut self.handoff {
            handoff.make_room();
        }
    }

    /// What the workers listen on, and who else does.
    pub(crate) fn listeners(&self) -> Vec<ListenerStatus> {
        let strangers =
            |number| self.seats.as_ref().map_or_else(Vec::new, |seats| seats.strangers_on(number));
        let listener = |(number, addr): (u64, &Addr)| ListenerStatus {
            address: addr.to_string(),
            strangers: strangers(number),
        };
        self.table.numbers().zip(self.table.addrs()).map(listener).collect()
    }

    /// Where the workers listen.
    pub(crate) fn addrs(&self) -> impl Iterator<Item = &Addr> {
        self.table.addrs()
    }

    /// How many connections a worker has open that gets all of them over clustr's channel, and counts them there.
    pub(crate) fn open(&self, worker: &Worker) -> Option<u64> {
        let by_channel = self.handoff.is_some() && worker.node.state == ChannelState::Silent;
        let channel =
            worker.channel.as_ref().filter(|channel| by_channel && channel.state != ChannelState::Silent)?;
        channel.sender.as_ref().map(clustr_net::handoff::Sender::open)
    }
}

/// What carries out the wished way of sharing, and how queues are to be filled if there shall be any.
fn ways(
    config: &Config,
    hang_timeout: Option<Duration>,
) -> Result<(Option<Handoff>, Option<Plan>), StartError> {
    let refused = || StartError::Listen(ListenError::Balance(config.balance.name()));
    match config.share {
        Share::Auto | Share::Shared if config.balance == Balance::Auto => Ok((None, None)),
        Share::Auto | Share::Shared => Err(refused()),
        Share::PerWorker => {
            let steer = config.balance.steer().ok_or_else(refused)?;
            let plan = queues::plan(steer, probing::ports_for(config)?);
            // Whoever is handed over here has lost the worker that the kernel chose.
            Ok((Some(Handoff::new(balance::Balance::LeastBusy, hang_timeout)), Some(plan)))
        }
        Share::Handoff if config.delivery.intercept => {
            Err(StartError::Listen(ListenError::HandoffByIntercept))
        }
        Share::Handoff => {
            let balance = config.balance.handoff().ok_or_else(refused)?;
            Ok((Some(Handoff::new(balance, hang_timeout)), None))
        }
    }
}

/// Gives one connection to one worker.
fn give(
    workers: &mut BTreeMap<WorkerId, Worker>,
    given: &Given,
    id: WorkerId,
    (via, key): (Via, &str),
    connection: Connection,
) -> Result<(), Connection> {
    let Some(worker) = workers.get_mut(&id) else { return Err(connection) };
    match via {
        Via::Node => node::give(worker, key, connection),
        Via::Channel => channel::give(worker, given, connection),
    }
}

/// As much of a worker's words as is shown.
fn shortened(words: &str, bytes_max: usize) -> String {
    let mut end = words.len().min(bytes_max);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    words[..end].to_owned()
}

fn message_fact(id: WorkerId, json: &str) -> Fact {
    Fact::Message { slot: id.slot.0, incarnation: id.incarnation, json: shortened(json, MESSAGE_BYTES_MAX) }
}
