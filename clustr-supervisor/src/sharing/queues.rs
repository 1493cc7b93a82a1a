//! Sharing `per-worker`: which worker has which queue, who gets connections, and when a queue may go.
//!
//! Owns the seats: a queue, the slot that it is for, and the worker that has it now. A queue belongs to the primary and
//! outlives its worker; the slot's next worker gets it with all who wait in it. The sockets and the kernel's program are
//! `clustr_net::queue`'s, and are kept in the table. Never accepts. Called by the rest of `sharing`.
//!
//! A queue that nobody will take closes once no handshake is under way to it; a worker that shall leave is told so once it
//! has emptied its queues, which nobody fills any more (`farewell`). Queues that stand still are steered around (`watch`), as
//! `health` says. Strangers on a port are looked for after each change, once a second while queues are looked at, and when
//! somebody asks for the status: nothing tells of them, and without any client an idle primary sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use clustr_core::{SlotId, Time, WorkerId};
use clustr_net::node::{Closed, Table};
use clustr_net::queue::{Plan, QueueError, QueueId, Queues, Removal};
use clustr_net::sock_diag::HalfOpen;
use clustr_net::steer::{ProbePorts, Steer};

use crate::news::Fact;
use crate::reactor::{Reactor, Registration};

mod farewell;
mod health;
mod own;
mod rhythm;
mod strangers;
mod watch;
mod witness;

use farewell::Farewell;
use strangers::Strangers;
pub(super) use watch::Accepted;
use watch::Watch;

/// How long a server that a worker has closed may be opened again before its queue is given up: as long as a listener.
const REOPEN_GRACE: Duration = Duration::from_millis(200);
/// How often it is looked whether a queue may go.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a queue that nobody takes is kept for whoever waits in it, until a worker is started that does: longer than a start.
const STRANDED_WAIT: Duration = Duration::from_secs(60);

/// The queues of all ports, and whose they are.
#[derive(Debug)]
pub(super) struct Seats {
    seats: Vec<Seat>,
    admitted: BTreeSet<WorkerId>,
    farewells: Vec<Farewell>,
    /// The longest that a worker is kept from leaving by who may still come to its queues.
    patience: Duration,
    strangers: Strangers,
    changed: bool,
    /// Of these slots a worker is wanted who takes a queue in which somebody waits.
    stranded: Vec<SlotId>,
    watch: Watch,
    facts: Vec<Fact>,
}

#[derive(Debug)]
struct Seat {
    /// The port, by its number in the table.
    number: u64,
    queue: QueueId,
    slot: SlotId,
    holder: Option<WorkerId>,
    /// Who hangs and has the same queue, while the holder is its replacement and has not taken its place.
    before: Option<WorkerId>,
    /// Its holder has closed its server, and may open it again.
    shut: Option<Time>,
    leaving: Option<Leaving>,
    /// The first arrival wakes the loop.
    edge: Option<Registration>,
    /// Somebody has shut it down, and it could not listen again.
    deaf: bool,
}

/// A queue that nobody will take.
#[derive(Debug, Default)]
struct Leaving {
    /// The handshakes that were under way when it was not filled any more, and still are; not known before it was asked.
    half_open: Option<BTreeSet<HalfOpen>>,
    next_at: Option<Time>,
    /// Somebody waits in it, and a worker was asked for who takes it: until then it stays.
    stays_until: Option<Time>,
}

/// How the queues of one primary are filled, for as long as it lives.
pub(super) fn plan(steer: Steer, probes: Option<ProbePorts>) -> Plan {
    // Strangers cannot know the hasher's keys.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish().to_be_bytes();
    let seed = u32::from_be_bytes([random[0], random[1], random[2], random[3]]);
    Plan { steer, seed, probes }
}

impl Seats {
    /// `hang_timeout`: how long a queue may stand still; `None`: none is steered around or hangs.
    pub(super) fn new(steer: Steer, patience: Duration, hang_timeout: Option<Duration>) -> Self {
        Self {
            seats: Vec::new(),
            admitted: BTreeSet::new(),
            farewells: Vec::new(),
            patience,
            strangers: Strangers::default(),
            changed: false,
            stranded: Vec::new(),
            watch: Watch::new(steer, hang_timeout),
            facts: Vec::new(),
        }
    }

    /// The queue of a worker on one port: the one it has; else the one that its slot's last worker left, or one that
    /// nobody will take; else a new one.
    pub(super) fn choose(
        &mut self,
        id: WorkerId,
        number: u64,
        queues: &mut Queues,
    ) -> Result<QueueId, QueueError> {
        self.changed = true;
        self.enrol(number, queues);
        let mut here = self.seats.iter_mut().filter(|seat| seat.number == number);
        if let Some(seat) = here.find(|seat| seat.holder == Some(id)) {
            seat.shut = None;
            return Ok(seat.queue);
        }
        if let Some(seat) =
            self.seats.iter_mut().find(|seat| seat.is_left_by_one_that_hangs(id, number, &self.watch))
        {
            seat.before = seat.holder.replace(id);
            return Ok(seat.queue);
        }
        let place = self.place(id, number);
        let Some(seat) = place.map(|place| &mut self.seats[place]) else {
            let queue = queues.join(id.slot.0)?;
            self.seats.push(Seat { holder: Some(id), ..Seat::new(number, queue, id.slot) });
            return Ok(queue);
        };
        if seat.slot != id.slot {
            queues.rekey(seat.queue, id.slot.0)?;
        }
        queues.restore(seat.queue)?;
        *seat = Seat { holder: Some(id), edge: seat.edge, ..Seat::new(number, seat.queue, id.slot) };
        Ok(seat.queue)
    }

    /// A seat that a new worker may take.
    fn place(&self, id: WorkerId, number: u64) -> Option<usize> {
        let is_free = |seat: &Seat| seat.number == number && seat.holder.is_none();
        let find =
            |which: &dyn Fn(&Seat) -> bool| self.seats.iter().position(|seat| is_free(seat) && which(seat));
        find(&|seat| seat.slot == id.slot).or_else(|| find(&|seat| seat.leaving.is_some()))
    }

    /// A new port comes with its first queue.
    fn enrol(&mut self, number: u64, queues: &Queues) {
        for (queue, key, _) in queues.queues() {
            if !self.seats.iter().any(|seat| (seat.number, seat.queue) == (number, queue)) {
                self.seats.push(Seat::new(number, queue, SlotId(key)));
            }
        }
    }

    /// The queue that a worker has on a port.
    pub(super) fn of(&self, id: WorkerId, number: u64) -> Option<QueueId> {
        let has = |seat: &&Seat| seat.number == number && seat.holder == Some(id);
        self.seats.iter().find(has).map(|seat| seat.queue)
    }

    pub(super) fn admit(&mut self, id: WorkerId, table: &mut Table) {
        self.admitted.insert(id);
        self.begin_afresh(id);
        self.farewells.retain(|farewell| farewell.id != id);
        self.steer(table);
    }

    pub(super) fn withhold(&mut self, id: WorkerId, table: &mut Table) {
        if self.admitted.remove(&id) {
            self.steer(table);
        }
    }

    /// A worker has another queue now, or one again: it is filled if the worker is admitted.
    pub(super) fn seated(&mut self, id: WorkerId, table: &mut Table) {
        if self.admitted.contains(&id) {
            self.steer(table);
        }
    }

    /// A worker has closed its server on a port, and may open it again.
    pub(super) fn shut(&mut self, id: WorkerId, number: u64, table: &mut Table, now: Time) {
        let mut seats = self.seats.iter_mut().filter(|seat| seat.number == number);
        if let Some(seat) = seats.find(|seat| seat.holder == Some(id)) {
            seat.shut = Some(now + REOPEN_GRACE);
            self.steer(table);
        }
    }

    /// A worker has closed its servers because it leaves: its queues are its successor's.
    pub(super) fn leaves(&mut self, id: WorkerId) {
        self.seats.iter_mut().filter(|seat| seat.holder == Some(id)).for_each(|seat| seat.shut = None);
    }

    /// A worker has ended, or was never there: its queues wait for the next of its slot.
    pub(super) fn vacate(&mut self, id: WorkerId, table: &mut Table) {
        self.farewells.retain(|farewell| farewell.id != id);
        for seat in &mut self.seats {
            seat.before.take_if(|before| *before == id);
            if seat.holder == Some(id) {
                (seat.holder, seat.shut) = (seat.before.take(), None);
            }
        }
        self.withhold(id, table);
    }

    /// A port was let go.
    pub(super) fn close(&mut self, closed: &Closed, reactor: &mut Reactor) {
        for seat in self.seats.extract_if(.., |seat| seat.number == closed.number) {
            self.watch.let_go(&seat, closed.bound.queues(), reactor);
        }
    }

    /// Tells the kernel who is live.
    fn steer(&mut self, table: &mut Table) {
        self.changed = true;
        for (number, queues) in table.ports() {
            self.steer_port(number, queues);
        }
    }

    /// Those that stand still are live, and steered around.
    fn steer_port(&mut self, number: u64, queues: &mut Queues) {
        let live: Vec<QueueId> = self.live(number).map(|seat| seat.queue).collect();
        if let Err(error) = queues.admit(&self.watch.fit(number, &live)) {
            self.facts.push(not_steered(queues, &error));
        }
    }

    fn live(&self, number: u64) -> impl Iterator<Item = &Seat> {
        let is_admitted = |id: Option<WorkerId>| id.is_some_and(|id| self.admitted.contains(&id));
        let is_live =
            move |seat: &Seat| seat.shut.is_none() && (is_admitted(seat.holder) || is_admitted(seat.before));
        self.seats.iter().filter(move |seat| seat.number == number && is_live(seat))
    }

    /// When to call [`Seats::tend`] at the latest.
    pub(super) fn deadline(&self) -> Option<Time> {
        let leaving = self.seats.iter().filter_map(|seat| seat.leaving.as_ref()?.next_at);
        let shut = self.seats.iter().filter_map(|seat| seat.shut);
        let farewells = self.farewells.iter().map(Farewell::due);
        leaving.chain(shut).chain(farewells).chain(self.watch.due()).min()
    }

    /// At the end of a turn: gives up queues that nobody will take, and closes those that may go. `is_hopeful` says
    /// whether somebody is in a slot, or will be.
    pub(super) fn tend(
        &mut self,
        table: &mut Table,
        reactor: &mut Reactor,
        is_hopeful: impl Fn(SlotId) -> bool,
        has_taker: impl Fn(u64, &dyn Fn(WorkerId) -> bool) -> bool,
        now: Time,
    ) -> Vec<Fact> {
        self.give_up(&is_hopeful, now);
        let unfit = self.unfit();
        for (number, queues) in table.ports() {
            let is_emptied = has_taker(number, &|id| !unfit.contains(&id));
            self.let_go(number, queues, reactor, is_emptied, now);
        }
        if std::mem::take(&mut self.changed) {
            self.look_for_strangers(table, now);
        }
        std::mem::take(&mut self.facts)
    }

    /// Nothing is given up or closed any more, and nobody looks.
    pub(super) fn leave_be(&mut self) {
        self.watch.end();
        self.seats.iter_mut().for_each(|seat| (seat.shut, seat.leaving) = (None, None));
    }

    /// Finds the queues that nobody will take: of slots that have nobody, or another queue.
    fn give_up(&mut self, is_hopeful: &impl Fn(SlotId) -> bool, now: Time) {
        for seat in self.seats.iter_mut().filter(|seat| seat.shut.is_some_and(|until| until <= now)) {
            (seat.holder, seat.shut) = (None, None);
            seat.leaving.get_or_insert_default();
        }
        // One that is not ready yet may still ask for all that its predecessor had.
        let serves = |seat: &&Seat| seat.holder.is_some_and(|id| self.admitted.contains(&id));
        let held: BTreeSet<(u64, SlotId)> =
            self.seats.iter().filter(serves).map(|seat| (seat.number, seat.slot)).collect();
        for seat in self.seats.iter_mut().filter(|seat| seat.holder.is_none()) {
            if !is_hopeful(seat.slot) || held.contains(&(seat.number, seat.slot)) {
                seat.leaving.get_or_insert_default();
            }
        }
    }

    /// Closes queues to which no handshake is under way any more, once they are empty if somebody can empty them: another
    /// worker, or one that is started for it. Where no queue is live all stay: who comes, waits.
    fn let_go(
        &mut self,
        number: u64,
        queues: &mut Queues,
        reactor: &mut Reactor,
        is_emptied: bool,
        now: Time,
    ) {
        if self.live(number).next().is_none() {
            let stay = self.seats.iter_mut().filter(|seat| seat.number == number);
            stay.filter_map(|seat| seat.leaving.as_mut()).for_each(|leaving| leaving.next_at = None);
            return;
        }
        let mut over = Vec::new();
        for seat in self.seats.iter_mut().filter(|seat| seat.number == number) {
            let Some(leaving) = seat.leaving.as_mut().filter(|leaving| leaving.is_due(now)) else { continue };
            let does_wait = |queues: &Queues| queues.waiting(seat.queue).is_ok_and(|count| count > 0);
            // Whoever waits already does not wait for those who are still on the way.
            if leaving.wants_taker(does_wait(queues) && !is_emptied, now) {
                self.stranded.push(seat.slot);
            }
            if !leaving.is_over(queues, now) {
                continue;
            }
            // One who has arrived since is asked for at the next look.
            if does_wait(queues) && (is_emptied || leaving.stays_until.is_none_or(|until| until > now)) {
                continue;
            }
            over.push((seat.queue, seat.slot));
        }
        for (queue, slot) in over {
            let is_it = |seat: &mut Seat| (seat.number, seat.queue) == (number, queue);
            for seat in self.seats.extract_if(.., is_it) {
                self.watch.let_go(&seat, Some(queues), reactor);
            }
            self.changed = true;
            match queues.remove(queue) {
                Ok(Removal::Closed { lost: 0 } | Removal::Postponed) => {}
                Ok(Removal::Closed { lost }) => self.facts.push(lost_with(slot, queues, lost)),
                Err(error) => self.facts.push(not_steered(queues, &error)),
            }
        }
    }

    /// Slots of which a worker is wanted now, to take a queue in which somebody waits; each queue once.
    pub(super) fn stranded(&mut self) -> Vec<SlotId> {
        std::mem::take(&mut self.stranded)
    }

    /// How many wait for a worker now.
    pub(super) fn waiting(table: &mut Table) -> u64 {
        let in_port = |(_, queues): (u64, &mut Queues)| -> u64 {
            queues.queues().filter_map(|(id, ..)| queues.waiting(id).ok()).map(u64::from).sum()
        };
        table.ports().map(in_port).sum()
    }
}

impl Seat {
    const fn new(number: u64, queue: QueueId, slot: SlotId) -> Self {
        Self {
            number,
            queue,
            slot,
            holder: None,
            before: None,
            shut: None,
            leaving: None,
            edge: None,
            deaf: false,
        }
    }

    const fn key(&self) -> (u64, QueueId) {
        (self.number, self.queue)
    }

    fn is_left_by_one_that_hangs(&self, id: WorkerId, number: u64, watch: &Watch) -> bool {
        let is_its_slots = (self.number, self.slot) == (number, id.slot);
        is_its_slots && self.holder.is_some() && self.before.is_none() && watch.hangs(self)
    }
}

impl Leaving {
    fn is_due(&self, now: Time) -> bool {
        self.next_at.is_none_or(|at| at <= now)
    }

    /// Whether a worker is to be asked for, where somebody waits whom nobody else empties: once, until nobody does.
    fn wants_taker(&mut self, is_waited_for: bool, now: Time) -> bool {
        let is_asked = self.stays_until.is_some();
        self.stays_until = is_waited_for.then(|| self.stays_until.unwrap_or(now + STRANDED_WAIT));
        is_waited_for && !is_asked
    }

    /// Whether everybody who was on the way to this queue has arrived, or has gone.
    fn is_over(&mut self, queues: &Queues, now: Time) -> bool {
        // Where the kernel does not say, nothing is to be waited for.
        let now_open = queues.half_open().unwrap_or_default();
        let left = match self.half_open.take() {
            None => now_open,
            Some(before) => &before & &now_open,
        };
        self.next_at = Some(now + LOOK_EVERY);
        self.half_open.insert(left).is_empty()
    }
}

fn not_steered(queues: &Queues, error: &QueueError) -> Fact {
    let mut detail = format!("the queues of {} stay as they are: {error}", queues.addr());
    if let Some(source) = std::error::Error::source(error) {
        detail.push_str(&format!(": {source}"));
    }
    Fact::Warning { detail, hint: None }
}

fn lost_with(slot: SlotId, queues: &Queues, lost: u32) -> Fact {
    let detail = format!(
        "slot={slot} connections closed without an answer, its queue on {} has no worker any more: {lost}",
        queues.addr()
    );
    Fact::Warning { detail, hint: None }
}
