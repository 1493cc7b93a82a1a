//! `per-worker`: whoever waits for a worker that does not serve is given to one that does.
//!
//! Owns nothing: the queues are `queues`', the giving is `handoff`'s. Never takes a client out of a queue whose worker
//! serves, nor for want of room elsewhere. Called by the loop, at the end of each turn.
//!
//! It takes workers that can be given a connection: node's, and those that speak clustr's channel. Where there are none, queues
//! keep their clients: for the worker itself, or for its slot's next, who then need not rest.

use std::collections::BTreeMap;

use clustr_core::{Event, SlotId, Time, WorkerId};

use super::{Sharing, give};
use crate::worker::{ChannelState, Worker};

impl Sharing {
    /// Empties the queues that nobody serves into workers that serve.
    pub(crate) fn rescue(&mut self, workers: &mut BTreeMap<WorkerId, Worker>, now: Time) {
        let (Some(seats), Some(handoff)) = (&mut self.seats, &mut self.handoff) else { return };
        let numbers: Vec<u64> = self.table.ports().map(|(number, _)| number).collect();
        let mut has_given = false;
        for number in numbers {
            let donors = seats.donors(number, |id| workers.get(&id).is_some_and(can_be_asked));
            if donors.is_empty() && !handoff.is_waited_for(number) {
                continue;
            }
            let (Some(queues), Some(key)) = (self.table.queues(number), self.table.key_of(number)) else {
                continue;
            };
            let (given, unfit) = (&self.given, seats.unfit());
            handoff.empty(
                number,
                now,
                |id| !unfit.contains(&id),
                |acceptor, now| seats.take(number, &donors, queues, acceptor, now),
                |id, via, connection| give(workers, given, id, (via, key), connection),
            );
            has_given = true;
        }
        if has_given {
            self.channel.flush(workers, now);
        }
        for id in seats.unproven() {
            workers.get_mut(&id).into_iter().for_each(ask);
        }
    }

    /// Slots for whose next worker somebody waits whom nobody else can serve.
    pub(crate) fn awaited(&mut self) -> Vec<SlotId> {
        let (Some(seats), Some(handoff)) = (&mut self.seats, &self.handoff) else { return Vec::new() };
        let unfit = seats.unfit();
        seats.awaited(&mut self.table, |number| handoff.has_taker(number, |id| !unfit.contains(&id)))
    }

    /// Slots of which a worker is wanted that takes a queue whose own is gone for good.
    pub(crate) fn stranded(&mut self) -> Vec<SlotId> {
        self.seats.as_mut().map_or_else(Vec::new, super::queues::Seats::stranded)
    }

    /// A worker that was asked has shown that it goes on.
    pub(super) fn show_life(&mut self, id: WorkerId, now: Time) -> Vec<Event> {
        self.seats.as_mut().map_or_else(Vec::new, |seats| seats.lives(id, &mut self.table, now))
    }
}

/// Whether a worker can show that it goes on without accepting anybody.
fn can_be_asked(worker: &Worker) -> bool {
    let over_channel = worker.channel.as_ref().is_some_and(|channel| channel.state == ChannelState::Online);
    over_channel || worker.node.state == ChannelState::Online
}

/// One that cannot be asked now is asked at the next look.
fn ask(worker: &mut Worker) {
    if let Some(channel) = worker.channel.as_mut().filter(|channel| channel.state == ChannelState::Online)
        && let Some(sender) = &mut channel.sender
    {
        sender.ask();
        let _ = sender.flush();
    } else if let Some(endpoint) = &mut worker.node.endpoint {
        let _ = endpoint.ask();
    }
}
