//! What sharing `per-worker` needs of the loop in each turn.
//!
//! Owns nothing: the queues are `sharing`'s. Never decides which worker leaves: it says the word that was held back.
//! Called by the loop of the supervisor, last in a turn.

use clustr_core::{Event, SlotId, SlotState, Wear, WorkerId};

use std::cell::RefCell;

use crate::app::{App, is_hopeful};
use crate::process::{Sampler, Sight};

impl App {
    /// Tells workers to leave whose queues are empty now; steers around those that stand still; closes queues that
    /// nobody will take.
    pub(crate) fn tend_queues(&mut self) {
        for id in self.sharing.emptied(self.now) {
            self.see_off(id);
        }
        self.tend_departures();
        self.pump();
        if self.is_ending() {
            return self.sharing.leave_queues();
        }
        let workers = &self.workers;
        let sampler = RefCell::new(Sampler::new());
        let accepted = |id: WorkerId, port: u16| {
            let worker = workers.get(&id);
            worker.map_or(Sight::Nothing, |worker| sampler.borrow_mut().look(worker.process.id(), port))
        };
        for event in self.sharing.look_around(&mut self.reactor, &accepted, self.now) {
            self.hear_of_health(event);
        }
        self.pump();
        self.sharing.rescue(&mut self.workers, self.now);
        self.start_the_awaited();
        let rules = &self.rules;
        let has_hope = |slot| rules.slot(slot).is_some_and(is_hopeful);
        for fact in self.sharing.tend_queues(&mut self.reactor, has_hope, self.now) {
            self.tell(fact);
        }
        self.take_the_stranded();
    }

    /// A slot for whose next worker clients wait does not rest.
    fn start_the_awaited(&mut self) {
        for slot in self.sharing.awaited() {
            if self.rules.slot(slot).is_some_and(|view| view.state == SlotState::Resting) {
                self.inbox.push_back(Event::Awaited(slot));
            }
        }
        self.pump();
    }

    /// Where somebody waits in a queue whose worker is gone for good (of a reload that failed, say), and nobody can be given
    /// them, one worker is replaced: the new one takes that queue and serves them, the old one finishes its own.
    fn take_the_stranded(&mut self) {
        for slot in self.sharing.stranded() {
            if let Some(worker) = self.replaceable(slot) {
                self.inbox.push_back(Event::Worn(worker, Wear::Stranded));
            }
        }
        self.pump();
    }

    /// The worker of this slot, else of any other.
    fn replaceable(&self, slot: SlotId) -> Option<WorkerId> {
        let ready = |view: &clustr_core::SlotView| view.worker.filter(|_| view.state == SlotState::Ready);
        let own = self.rules.slot(slot).and_then(|view| ready(&view));
        own.or_else(|| self.rules.slots().find_map(|view| ready(&view)))
    }
}
