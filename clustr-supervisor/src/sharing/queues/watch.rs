//! When queues are looked at, and what follows from it.
//!
//! Owns the edges of the reactor. Never judges: `health` does, and `rhythm` says when. Never accepts. Called by the loop
//! when somebody waits, and at the end of each turn.
//!
//! Each queue is registered for one edge. The first arrival anywhere wakes the loop; from then on nothing is
//! registered, and all queues are looked at (`TCP_INFO`) until nothing has changed for a second. Then they are registered
//! again, and looked at rarely where somebody still waits. So an idle primary sleeps, and one under load is not woken by
//! each client.

use std::time::Duration;

use clustr_core::{Ailment, Event, SlotId, Time, WorkerId};
use clustr_net::node::Table;
use clustr_net::queue::{QueueError, QueueId, Queues};
use clustr_net::steer::Steer;
use clustr_net::{Acceptor, Connection, Kind};

use std::collections::BTreeSet;

use super::health::{Change, Health};
use super::rhythm::Rhythm;
use super::witness::Witness;
use super::{Seat, Seats, not_steered};
use crate::process::Sight;
use crate::reactor::{Reactor, Wake};
use crate::sharing::revive;

/// Between two looks that only tell who waits for a worker that is gone, and who else is on the port.
const IDLE_LOOK: Duration = Duration::from_millis(100);
/// Clients that shall stay with their worker are not moved for a hiccup.
const STICKY_PATIENCE: Duration = Duration::from_secs(1);

/// A queue by its port and its number there.
type Key = (u64, QueueId);

/// Which connections to a port a worker has accepted. Costs milliseconds.
pub(crate) type Accepted<'a> = &'a dyn Fn(WorkerId, u16) -> Sight;

/// What is known of queues from outside.
#[derive(Debug)]
pub(super) struct Watch {
    health: Health<Key>,
    witness: Witness<Key>,
    /// Whether what stands still is steered around.
    steers: bool,
    rhythm: Rhythm,
}

impl Watch {
    /// Without a hang timeout nobody hangs, and nobody is steered around.
    pub(super) fn new(steer: Steer, hang_timeout: Option<Duration>) -> Self {
        let patience = match steer {
            Steer::Hash | Steer::Random | Steer::Cpu => Duration::ZERO,
            Steer::Sticky => STICKY_PATIENCE,
        };
        let health = Health::new(patience, hang_timeout.unwrap_or(Duration::MAX));
        Self { health, witness: Witness::new(), steers: hang_timeout.is_some(), rhythm: Rhythm::Asleep }
    }

    /// Which of the live queues of a port are to be filled.
    pub(super) fn fit(&self, number: u64, live: &[QueueId]) -> Vec<QueueId> {
        if !self.steers {
            return live.to_vec();
        }
        let keys: Vec<Key> = live.iter().map(|&queue| (number, queue)).collect();
        self.health.fit(&keys).into_iter().map(|(_, queue)| queue).collect()
    }

    pub(super) const fn due(&self) -> Option<Time> {
        self.rhythm.next_look()
    }

    /// Before a queue closes: the loop hears nothing more of it.
    pub(super) fn let_go(&mut self, seat: &Seat, queues: Option<&Queues>, reactor: &mut Reactor) {
        self.health.forget(seat.key());
        self.witness.forget(seat.key());
        let listener = queues.and_then(|queues| queues.listener(seat.queue));
        if let (Some(edge), Some(listener)) = (seat.edge, listener) {
            reactor.deregister(listener, edge);
        }
    }

    /// Whether a queue's worker is about to be replaced because it stands still.
    pub(super) fn hangs(&self, seat: &Seat) -> bool {
        self.health.hangs(seat.key())
    }

    /// What a look at one queue shows; before it counts as hanging, what its worker has accepted is looked at too.
    fn look(
        &mut self,
        seat: &Seat,
        waiting: u32,
        look: impl Fn(Option<WorkerId>) -> Sight,
        now: Time,
    ) -> Option<Change> {
        let key = seat.key();
        let change = self.health.look(key, waiting, now)?;
        if matches!(change, Change::StandsStill | Change::Moves { .. }) {
            self.witness.forget(key);
            return Some(change);
        }
        match (look(seat.holder), change) {
            (Sight::Later, _) => {
                self.health.postpone(key, change);
                return None;
            }
            (Sight::Sample(has), Change::Suspect) => self.witness.remember(key, has),
            (Sight::Sample(has), _) if self.witness.has_seen_it_accept(key, &has) => {
                return self.health.accepts(key, now);
            }
            (Sight::Sample(_) | Sight::Nothing, _) => self.witness.forget(key),
        }
        Some(change)
    }

    fn stands_still(&self, seat: &Seat) -> bool {
        self.steers && self.health.is_still(seat.key())
    }

    fn plan_next_look(&mut self, now: Time) {
        let pause = if self.steers { self.health.next_look() } else { IDLE_LOOK };
        let seen = self.health.seen(pause);
        self.rhythm.looked(seen, now);
    }

    /// Nobody looks any more.
    pub(super) const fn end(&mut self) {
        self.rhythm = Rhythm::Over;
    }
}

impl Seats {
    /// Somebody waits where nobody did.
    pub(crate) fn notice(&mut self, now: Time) {
        self.watch.rhythm.wake(now);
        if !self.watch.rhythm.wants_edges() {
            // Only those that are withheld have an edge then.
            self.watch.rhythm.look_now(now);
        }
    }

    /// What is held against a worker's queues was another worker's, or is forgiven.
    pub(super) fn begin_afresh(&mut self, id: WorkerId) {
        let theirs = self.seats.iter().filter(|seat| seat.holder == Some(id));
        theirs.for_each(|seat| self.watch.health.forget(seat.key()));
    }

    /// A worker goes on, whatever its queues look like.
    pub(crate) fn lives(&mut self, id: WorkerId, table: &mut Table, now: Time) -> Vec<Event> {
        let mut events = Vec::new();
        for (number, queues) in table.ports() {
            let theirs = self.seats.iter().filter(|seat| seat.number == number && seat.holder == Some(id));
            let health = &mut self.watch.health;
            let changes: Vec<Change> = theirs.filter_map(|seat| health.lives(seat.key(), now)).collect();
            if !changes.is_empty() {
                self.steer_port(number, queues);
            }
            events.extend(changes.into_iter().filter_map(|change| event(id, change)));
        }
        events
    }

    /// The queues of a port that nobody serves: their worker is gone, or stands still and can show it if it goes on. One that
    /// is not filled need not show it.
    pub(crate) fn donors(&self, number: u64, can_be_asked: impl Fn(WorkerId) -> bool) -> Vec<QueueId> {
        let is_donor = |seat: &&Seat| match seat.holder {
            None => true,
            Some(id) => {
                let may_return = self.admitted.contains(&id);
                self.watch.stands_still(seat) && (!may_return || can_be_asked(id))
            }
        };
        self.seats
            .iter()
            .filter(|seat| seat.number == number)
            .filter(is_donor)
            .map(|seat| seat.queue)
            .collect()
    }

    /// The next who waits in one of these queues.
    pub(crate) fn take(
        &mut self,
        number: u64,
        donors: &[QueueId],
        queues: &Queues,
        acceptor: &mut Acceptor,
        now: Duration,
    ) -> Option<Connection> {
        donors.iter().find_map(|&queue| {
            acceptor.notice();
            let connection = queues.take(queue, acceptor, now)?;
            self.watch.health.took((number, queue));
            Some(connection)
        })
    }

    /// Workers that stand still: nobody is given to them.
    pub(crate) fn unfit(&self) -> BTreeSet<WorkerId> {
        let still = self.seats.iter().filter(|seat| self.watch.stands_still(seat));
        still.filter_map(|seat| seat.holder).collect()
    }

    /// Workers of whom only a sign of life can tell that they go on.
    pub(crate) fn unproven(&self) -> BTreeSet<WorkerId> {
        let unproven = self.seats.iter().filter(|seat| self.watch.health.is_unproven(seat.key()));
        unproven.filter_map(|seat| seat.holder).filter(|id| self.admitted.contains(id)).collect()
    }

    /// Slots for whose next worker somebody waits, on a port of which nobody else can be given anybody.
    pub(crate) fn awaited(&self, table: &mut Table, has_taker: impl Fn(u64) -> bool) -> Vec<SlotId> {
        let mut awaited = Vec::new();
        for (number, queues) in table.ports().filter(|(number, _)| !has_taker(*number)) {
            let vacant =
                |seat: &&Seat| seat.number == number && seat.holder.is_none() && seat.leaving.is_none();
            let is_waited_for = |seat: &&Seat| queues.waiting(seat.queue).is_ok_and(|count| count > 0);
            awaited.extend(self.seats.iter().filter(vacant).filter(is_waited_for).map(|seat| seat.slot));
        }
        awaited
    }

    /// At the end of a turn: looks if it is time, and says who hangs, and who does not any more.
    /// `accepted` shows which connections to a port a worker has.
    pub(crate) fn look_around(
        &mut self,
        table: &mut Table,
        reactor: &mut Reactor,
        accepted: Accepted<'_>,
        now: Time,
    ) -> Vec<Event> {
        if self.watch.health.has_news() {
            self.watch.rhythm.hurry(now);
        }
        let mut events = Vec::new();
        if self.watch.due().is_some_and(|at| at <= now) {
            self.changed |= self.watch.rhythm.searches_strangers(now);
            events = self.look_at_all(table, accepted, now);
            self.watch.plan_next_look(now);
        }
        if !self.watch.rhythm.wants_edges() {
            self.forget_edges(table, reactor);
        }
        self.listen_for_edges(table, reactor);
        events
    }

    /// Every queue wakes the loop once, at once if somebody waits there already. One that the kernel has no room to watch is tried again at the next turn.
    /// While queues are looked at closely, those alone that are withheld from a worker: when it shuts down its queue as it leaves, the
    /// last one is in its place at once, and the kernel has to be told before many have come.
    fn listen_for_edges(&mut self, table: &Table, reactor: &mut Reactor) {
        let (wants_all, admitted) = (self.watch.rhythm.wants_edges(), &self.admitted);
        let is_wanted = |seat: &Seat| wants_all || is_withheld(seat, admitted);
        let lacks = |seat: &&mut Seat| seat.edge.is_none() && !seat.deaf && is_wanted(seat);
        for seat in self.seats.iter_mut().filter(lacks) {
            let listener = table.queues(seat.number).and_then(|queues| queues.listener(seat.queue));
            let Some(listener) = listener.filter(|listener| listener.kind() == Kind::Stream) else {
                continue;
            };
            seat.edge = reactor.register_readable(listener, Wake::Queue).ok();
        }
    }

    fn forget_edges(&mut self, table: &Table, reactor: &mut Reactor) {
        let admitted = &self.admitted;
        for seat in self.seats.iter_mut().filter(|seat| !is_withheld(seat, admitted)) {
            let listener = table.queues(seat.number).and_then(|queues| queues.listener(seat.queue));
            if let (Some(edge), Some(listener)) = (seat.edge.take(), listener) {
                reactor.deregister(listener, edge);
            }
        }
    }

    fn look_at_all(&mut self, table: &mut Table, accepted: Accepted<'_>, now: Time) -> Vec<Event> {
        let mut events = Vec::new();
        for (number, queues) in table.ports() {
            let (changes, is_deaf) = self.look_at_port(number, queues, accepted, now);
            if is_deaf {
                self.revive(number, queues);
            }
            let is_filled_anew = changes.iter().any(|(_, change)| is_for_the_kernel(*change));
            events.extend(changes.into_iter().filter_map(|(holder, change)| event(holder?, change)));
            if is_filled_anew {
                self.steer_port(number, queues);
            }
        }
        events
    }

    /// Queues that their workers have shut down listen again.
    fn revive(&mut self, number: u64, queues: &mut Queues) {
        let is_deaf = |seat: &Seat| matches!(queues.waiting(seat.queue), Err(QueueError::Deaf));
        let deaf: Vec<Key> =
            self.seats.iter().filter(|seat| seat.number == number && is_deaf(seat)).map(Seat::key).collect();
        let fault = queues.revive().err();
        for seat in self.seats.iter_mut().filter(|seat| deaf.contains(&seat.key())) {
            self.watch.health.forget(seat.key());
            let is_deaf = matches!(queues.waiting(seat.queue), Err(QueueError::Deaf));
            let serves = seat.holder.is_some_and(|id| self.admitted.contains(&id));
            match &fault {
                Some(error) if is_deaf && !seat.deaf => self.facts.push(not_steered(queues, error)),
                // Who is leaving may: nobody waited there.
                None if serves => {
                    self.facts.push(revive::again(&format!("slot={}", seat.slot), queues.addr()));
                }
                Some(_) | None => {}
            }
            seat.deaf = is_deaf;
        }
    }

    /// What one look at the queues of a port shows, and whether one of them was shut down.
    fn look_at_port(
        &mut self,
        number: u64,
        queues: &Queues,
        accepted: Accepted<'_>,
        now: Time,
    ) -> (Vec<(Option<WorkerId>, Change)>, bool) {
        let (mut changes, mut is_deaf) = (Vec::new(), false);
        if queues.kind() == Kind::Datagram {
            return (changes, is_deaf);
        }
        let look = |id: Option<WorkerId>| id.map_or(Sight::Nothing, |id| accepted(id, queues.port()));
        // Where two workers have one queue, it does not tell which of them accepts.
        for seat in self.seats.iter().filter(|seat| seat.number == number && seat.before.is_none()) {
            match queues.waiting(seat.queue) {
                Ok(waiting) => {
                    let change = self.watch.look(seat, waiting, look, now);
                    changes.extend(change.map(|change| (seat.holder, change)));
                }
                Err(error) => is_deaf |= matches!(error, QueueError::Deaf),
            }
        }
        (changes, is_deaf)
    }
}

/// Whether a worker has the queue, and nobody is sent to it.
fn is_withheld(seat: &Seat, admitted: &BTreeSet<WorkerId>) -> bool {
    seat.holder.is_some_and(|id| !admitted.contains(&id))
}

const fn is_for_the_kernel(change: Change) -> bool {
    match change {
        Change::StandsStill | Change::Moves { .. } => true,
        Change::Suspect | Change::Hangs => false,
    }
}

const fn event(holder: WorkerId, change: Change) -> Option<Event> {
    match change {
        Change::Hangs => Some(Event::Failing(holder, Ailment::Stuck)),
        Change::Moves { hung: true } => Some(Event::Recovered(holder)),
        Change::Moves { hung: false } | Change::Suspect | Change::StandsStill => None,
    }
}
