//! Queues that a worker has made for itself: an intercepted program may have several on one port.
//!
//! Owns their seats; from then on they are like any other. Called by `intercept`.

use super::{QueueId, Queues, Seat, Seats, Table, WorkerId};

impl Seats {
    /// A queue that the worker's slot was left on a port, or that nobody will take: it is the worker's from now on.
    pub(crate) fn left(&mut self, id: WorkerId, number: u64, queues: &mut Queues) -> Option<QueueId> {
        let hangs = |seat: &&mut Seat| seat.is_left_by_one_that_hangs(id, number, &self.watch);
        if let Some(seat) = self.seats.iter_mut().find(hangs) {
            seat.before = seat.holder.replace(id);
            return Some(seat.queue);
        }
        let place = self.place(id, number)?;
        let seat = &mut self.seats[place];
        if seat.slot != id.slot {
            queues.rekey(seat.queue, id.slot.0).ok()?;
        }
        self.changed = true;
        *seat = Seat { holder: Some(id), edge: seat.edge, ..Seat::new(number, seat.queue, id.slot) };
        Some(seat.queue)
    }

    /// The worker's own, which has joined a moment ago.
    pub(crate) fn take_in(&mut self, id: WorkerId, number: u64, queue: QueueId) {
        self.changed = true;
        self.seats.push(Seat { holder: Some(id), ..Seat::new(number, queue, id.slot) });
    }

    /// The worker has closed it and goes on.
    pub(crate) fn free(&mut self, id: WorkerId, number: u64, queue: QueueId) {
        let is_it = |seat: &&mut Seat| (seat.holder, seat.number, seat.queue) == (Some(id), number, queue);
        self.seats.iter_mut().filter(is_it).for_each(|seat| seat.holder = None);
    }

    /// Whether somebody is filled on a port.
    pub(crate) fn is_live(&self, number: u64) -> bool {
        self.live(number).next().is_some()
    }

    /// Whether somebody waits in a queue of a worker.
    pub(crate) fn is_waited_for(&self, id: WorkerId, table: &Table) -> bool {
        let waits_in = |seat: &Seat| {
            let queues = table.queues(seat.number);
            queues.is_some_and(|queues| queues.waiting(seat.queue).is_ok_and(|count| count > 0))
        };
        self.seats.iter().any(|seat| seat.holder == Some(id) && waits_in(seat))
    }

    /// Whether any worker has a queue on a port.
    pub(crate) fn is_held(&self, number: u64) -> bool {
        let is_held = |seat: &Seat| seat.holder.or(seat.before).is_some();
        self.seats.iter().any(|seat| seat.number == number && is_held(seat))
    }

    /// The queues that a worker has on a port.
    pub(super) fn all_of(&self, id: WorkerId, number: u64) -> impl Iterator<Item = QueueId> {
        let has = move |seat: &&Seat| seat.number == number && seat.holder == Some(id);
        self.seats.iter().filter(has).map(|seat| seat.queue)
    }
}
