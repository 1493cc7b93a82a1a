//! Orders into system calls: one small function an order.
//!
//! Owns the meaning of every [`Action`]; what it takes to start a worker is `start`'s. Never decides; what fails becomes an event in the inbox.

use clustr_core::{Action, Actions, Answer, Event, Generation, Notice, SlotId, Ticket, WorkerId};

use crate::advice::{Advice, LastWords, advise, out_of_memory};
use crate::app::{App, Said};
use crate::control::{Setback, rolled_back};
use crate::news::Fact;
use crate::oom::Shortage;
use crate::process::{Brood, Process};
use crate::tell::{self, Knowledge};
use crate::worker::Worker;

impl App {
    /// Carries out orders, in order.
    pub(crate) fn execute(&mut self, actions: Actions) {
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Spawn(worker, generation) => self.spawn(worker, generation),
            Action::Admit(worker) => self.sharing.admit(worker),
            Action::Withhold(worker) => self.withhold(worker),
            Action::Drain(worker) => self.drain(worker),
            Action::Terminate(worker) => self.terminate(worker),
            Action::Kill(worker) => self.kill(worker),
            Action::Begin(ticket, generation) => self.begin(ticket, generation),
            Action::Forget(generation) => self.generations.forget(generation),
            Action::Notify(notice) => self.notify(notice),
            Action::Answer(ticket, answer) => self.pass_on(ticket, answer),
            Action::Leave(verdict) => self.say(Said::Ended(verdict)),
        }
    }

    fn notify(&mut self, notice: Notice) {
        let fact = tell::fact(notice, self);
        if matches!(fact, Fact::RolledBack { .. }) {
            self.setback = Setback::of(&fact);
            self.rolled_back = rolled_back(&fact).map(|failed| (failed, self.now));
        }
        let was_restart = self.rolled_back.as_ref().is_some_and(|(failed, _)| failed.is_of_restart());
        if matches!(notice, Notice::Reloaded { from, to, .. } if from != to || was_restart) {
            self.rolled_back = None;
        }
        self.tell(fact);
        if let Notice::GaveUp { slot, .. } = notice {
            self.advise(slot);
        }
        if let Notice::Exited { worker, expected: false, .. } = notice {
            self.advise_on_memory(worker);
        }
        if let Notice::Overdue { worker, .. } = notice {
            self.explain_delay(worker);
        }
        if let Notice::Ready { worker, assumed, .. } = notice {
            self.see_brood(worker, Brood::glance);
            self.workers.get_mut(&worker).into_iter().for_each(|worker| worker.was_ready = true);
            self.sharing.ready(worker.slot, self.now);
            self.probes.ready(worker, self.now);
            self.watchdogs.ready(worker, self.now);
            self.sharing.settled(worker);
            self.begin_to_wear(worker);
            if assumed {
                self.doubt(worker);
            }
        }
    }

    /// From now on this number is what the ticket's reload carries. The core has to know what it can go back to.
    fn begin(&mut self, ticket: Ticket, generation: Generation) {
        let from = self.rules.view().generation;
        self.changed_file = self.generations.begin(ticket, generation, from);
        if let Some(replaced) = &self.changed_file {
            let detail = format!(
                "generation {} cannot be started again, {} has changed since it began",
                from.0,
                replaced.display()
            );
            self.tell(Fact::Warning { detail, hint: None });
            self.inbox.push_back(Event::Lost(from));
        }
    }

    /// Tells whoever asked, wherever that is, what it came to.
    fn pass_on(&mut self, ticket: Ticket, answer: Answer) {
        let (setback, is_final) = match answer {
            Answer::RolledBack | Answer::Failed => (self.setback.take(), true),
            Answer::Done | Answer::Refused(_) | Answer::Superseded | Answer::GaveUp { .. } => (None, true),
            Answer::Accepted => (None, false),
        };
        if is_final {
            self.generations.drop_wish(ticket);
        }
        self.say(Said::Answer(ticket, answer, setback));
    }

    /// The kernel has killed a worker for want of memory, as far as can be known.
    fn advise_on_memory(&mut self, id: WorkerId) {
        let Some(shortage) = self.short.get(&id) else { return };
        let Advice { detail, hint } = out_of_memory(*shortage, id.slot);
        self.tell(Fact::Warning { detail, hint: Some(hint) });
    }

    /// A worker was not ready in time: what it was asked last, and why that was not good.
    fn explain_delay(&mut self, id: WorkerId) {
        if let Some(answer) = self.probes.last_answer(id) {
            let detail = format!("slot={} was not ready in time by {answer}", id.slot);
            self.tell(Fact::Warning { detail, hint: None });
        }
    }

    /// A worker counts as ready that has said nothing: where only words bring connections, it will have none.
    fn doubt(&mut self, id: WorkerId) {
        let is_idle = self.workers.get(&id).is_some_and(|worker| self.sharing.takes_nothing(worker));
        if is_idle {
            let detail = format!(
                "slot={} takes no connections: its program speaks neither clustr's channel nor node's",
                id.slot
            );
            self.tell(Fact::Warning {
                detail,
                hint: Some("--share shared, and it finds its listeners by LISTEN_FDS".into()),
            });
        }
    }

    /// A slot gave up: says what a person can do, where that is known.
    fn advise(&mut self, slot: SlotId) {
        let spoke = |(_, worker): (&WorkerId, &Worker)| worker.node.spoke;
        let last = LastWords {
            lines: &self.logs.last_tail(slot.0),
            spoke: self.workers.iter().rfind(|(id, _)| id.slot == slot).is_some_and(spoke),
            wanted: self.rules.view().wanted,
        };
        if let Some(Advice { detail, hint }) = advise(last) {
            self.tell(Fact::Warning { detail, hint: Some(hint) });
        }
    }

    fn withhold(&mut self, id: WorkerId) {
        let ending = self.is_ending();
        self.sharing.withhold(id, &mut self.workers, ending, self.now);
    }

    /// Nothing that a worker does on its way out speaks against it.
    fn stop_watching(&mut self, id: WorkerId) {
        self.probes.stop(id, &mut self.reactor);
        self.watchdogs.forget(id);
        self.recycling.forget(id);
    }

    /// A worker that serves a queue of its own empties that first, while others are sent whoever comes.
    fn drain(&mut self, id: WorkerId) {
        self.stop_watching(id);
        self.departures.announce(id, self.now);
        if self.is_ending() || !self.sharing.detain(id, self.now) {
            self.see_off(id);
        }
    }

    /// Whose a process is shows only as long as its parent lives. Where orphans are not ours, nothing follows from it.
    fn see_brood(&mut self, id: WorkerId, see: fn(&mut Brood, &Process)) {
        if let Some(worker) = self.workers.get_mut(&id).filter(|_| self.adopts) {
            see(&mut worker.brood, &worker.process);
            if worker.brood.known().next().is_some() {
                self.has_changed = true;
            }
        }
    }

    /// Asks over its channels; a worker that nobody has heard of there cannot be asked.
    pub(crate) fn drain_now(&mut self, id: WorkerId) {
        self.see_brood(id, Brood::look);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if !self.sharing.drain(id, worker, self.now) {
            self.inbox.push_back(Event::DrainFailed(id));
        }
    }

    fn terminate(&mut self, id: WorkerId) {
        self.stop_watching(id);
        self.see_brood(id, Brood::look);
        if let Some(worker) = self.workers.get(&id) {
            worker.terminate(self.stop_signal);
        }
    }

    fn kill(&mut self, id: WorkerId) {
        self.stop_watching(id);
        if let Some(worker) = self.workers.get(&id) {
            worker.process.kill_tree();
        }
    }
}

impl Knowledge for App {
    fn pid(&self, worker: WorkerId) -> u32 {
        self.workers.get(&worker).map_or(0, |worker| worker.process.id())
    }

    fn last_output(&self, worker: WorkerId) -> Vec<String> {
        self.logs.last_output(worker.slot.0, worker.incarnation)
    }

    fn last_output_of_slot(&self, slot: u32) -> Vec<String> {
        self.logs.last_tail(slot)
    }

    fn changed_file(&self) -> Option<String> {
        self.changed_file.as_ref().map(|path| path.display().to_string())
    }

    fn last_answer(&self, worker: WorkerId) -> Option<String> {
        self.probes.last_answer(worker)
    }

    fn said_failing(&self, worker: WorkerId) -> bool {
        self.watchdogs.has_barked(worker)
    }

    fn shortage(&self, worker: WorkerId) -> Option<Shortage> {
        self.short.get(&worker).copied()
    }

    fn spawn_error(&self) -> (String, Option<String>) {
        self.spawn_error.clone()
    }
}
