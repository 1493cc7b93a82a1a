//! What must never happen, whatever did: looks at every order that an app gives.
//!
//! Owns its own idea of who is alive and what was said; never asks the app for it.

use std::collections::BTreeMap;

use clustr_core::{
    Action, Actions, Answer, App, AppState, Generation, Intensity, Notice, SlotId, Ticket, Time, WorkerId,
};

/// A process as an observer sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) id: WorkerId,
    pub(crate) spawned: bool,
    pub(crate) said_ready: bool,
    pub(crate) admitted: bool,
    pub(crate) withheld: bool,
    pub(crate) drain: bool,
    pub(crate) terminate: bool,
    pub(crate) kill: bool,
    /// Its slot became unwanted during its life: nothing that follows counts as a restart.
    pub(crate) unwanted: bool,
}

#[derive(Debug)]
pub(crate) struct Watch {
    intensity: Intensity,
    readiness_may_be_assumed: bool,
    pub(crate) processes: BTreeMap<SlotId, Process>,
    incarnations: BTreeMap<SlotId, u64>,
    restarts: BTreeMap<SlotId, Vec<Time>>,
    unanswered: BTreeMap<Ticket, bool>,
    wanted: u32,
    ending: bool,
    pub(crate) left: bool,
}

impl Watch {
    pub(crate) fn new(wanted: u32, intensity: Intensity, readiness_may_be_assumed: bool) -> Self {
        Self {
            intensity,
            readiness_may_be_assumed,
            processes: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            restarts: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            wanted,
            ending: false,
            left: false,
        }
    }

    pub(crate) fn asked(&mut self, ticket: Ticket) {
        if !self.left {
            assert!(self.unanswered.insert(ticket, false).is_none(), "tickets are not reused by this test");
        }
    }

    /// The process of `slot` is gone, by its own fault or not.
    pub(crate) fn ended(&mut self, slot: SlotId) -> Process {
        self.processes.remove(&slot).expect("only living processes end")
    }

    /// Looks at what the app ordered. `fault` is the slot whose worker ended in this turn in a way that counts.
    pub(crate) fn see(&mut self, actions: &Actions, fault: Option<SlotId>, now: Time, app: &App) {
        assert_eq!(app.check(), Ok(()));
        assert!(!self.left || actions.is_empty(), "nothing is ordered after Leave: {actions:?}");
        for (place, action) in actions.as_slice().iter().enumerate() {
            let last = place + 1 == actions.as_slice().len();
            self.see_one(*action, last);
        }
        if let Some(slot) = fault.filter(|slot| has_successor(*slot, actions)) {
            self.count_restart(slot, now);
        }
        self.compare(app);
    }

    fn see_one(&mut self, action: Action, last: bool) {
        match action {
            Action::Spawn(worker, generation) => self.spawn(worker, generation),
            Action::Admit(worker) => self.admit(worker),
            Action::Withhold(worker) => self.withhold(worker),
            Action::Drain(worker) => self.stop_order(worker).drain = true,
            Action::Terminate(worker) => self.stop_order(worker).terminate = true,
            Action::Kill(worker) => self.stop_order(worker).kill = true,
            Action::Notify(notice) => self.notice(notice),
            Action::Answer(ticket, answer) => self.answer(ticket, answer),
            Action::Leave(_) => {
                assert!(last, "Leave is the last order");
                assert!(!self.left, "Leave comes once");
                assert!(
                    self.unanswered.is_empty(),
                    "nobody is left without an answer: {:?}",
                    self.unanswered
                );
                self.left = true;
            }
        }
    }

    fn spawn(&mut self, id: WorkerId, generation: Generation) {
        assert!(!self.ending, "{id} is started while the app ends");
        assert!(id.slot.0 < self.wanted, "{id} is started though nobody wants its slot");
        assert_eq!(generation, Generation(1));
        let incarnation = self.incarnations.entry(id.slot).or_default();
        assert!(id.incarnation == *incarnation + 1, "{id} is no fresh incarnation");
        *incarnation = id.incarnation;
        let process = Process {
            id,
            spawned: false,
            said_ready: false,
            admitted: false,
            withheld: false,
            drain: false,
            terminate: false,
            kill: false,
            unwanted: false,
        };
        let other = self.processes.insert(id.slot, process);
        assert!(other.is_none(), "{id} is started beside {other:?}");
    }

    fn admit(&mut self, worker: WorkerId) {
        let assumed = self.readiness_may_be_assumed;
        let process = self.living(worker);
        assert!(process.said_ready || assumed, "{worker} is admitted before it is ready");
        assert!(!process.admitted && !process.withheld, "{worker} is admitted twice, or on its way out");
        process.admitted = true;
    }

    fn withhold(&mut self, worker: WorkerId) {
        // The one order that may name a process that has just ended: its queue is still there.
        if let Some(process) = self.processes.get_mut(&worker.slot).filter(|process| process.id == worker) {
            assert!(!process.withheld, "{worker} is withheld twice");
            process.withheld = true;
        }
    }

    fn stop_order(&mut self, worker: WorkerId) -> &mut Process {
        let process = self.living(worker);
        assert!(process.withheld, "{worker} is asked to stop while connections may still reach it");
        process
    }

    fn living(&mut self, worker: WorkerId) -> &mut Process {
        let process = self.processes.get_mut(&worker.slot).filter(|process| process.id == worker);
        process.unwrap_or_else(|| panic!("{worker} gets an order and does not live"))
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Ending { .. } => self.ending = true,
            Notice::Ended { .. }
            | Notice::Started { .. }
            | Notice::NotStarted { .. }
            | Notice::Ready { .. }
            | Notice::Overdue { .. }
            | Notice::Left { .. }
            | Notice::Stopping { .. }
            | Notice::Killing { .. }
            | Notice::Unkillable { .. }
            | Notice::Exited { .. }
            | Notice::Resting { .. }
            | Notice::GaveUp { .. }
            | Notice::Done { .. }
            | Notice::Scaled { .. }
            | Notice::Running { .. } => {}
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        let accepted = self.unanswered.remove(&ticket);
        match answer {
            Answer::Accepted => {
                assert_eq!(accepted, Some(false), "{ticket:?} is accepted once, and first");
                self.unanswered.insert(ticket, true);
            }
            Answer::Refused(_) => {
                assert_eq!(accepted, Some(false), "{ticket:?} is refused before acceptance");
            }
            Answer::Done | Answer::Superseded | Answer::Failed => {
                assert_eq!(accepted, Some(true), "{ticket:?} has one final answer, after acceptance");
            }
        }
    }

    /// Somebody changed how many are wanted: told before the orders are seen, since they follow from it.
    pub(crate) fn want(&mut self, to: u32) {
        for (slot, process) in &mut self.processes {
            process.unwanted |= slot.0 >= to;
        }
        for slot in self.wanted..to {
            self.restarts.remove(&SlotId(slot));
        }
        self.wanted = to;
    }

    fn count_restart(&mut self, slot: SlotId, now: Time) {
        let times = self.restarts.entry(slot).or_default();
        times.push(now);
        let recent = times.iter().filter(|then| now.since(**then) <= self.intensity.period).count();
        assert!(recent <= self.intensity.restarts as usize, "{slot:?} was restarted {recent} times");
    }

    /// The app's own picture is the one an observer has.
    fn compare(&self, app: &App) {
        assert_eq!(app.view().state == AppState::Ended, self.left);
        if self.left {
            return; // Nobody tells an ended app who outlived it.
        }
        for slot in app.slots() {
            let seen = self.processes.get(&slot.slot).map(|process| process.id);
            assert_eq!(slot.worker, seen, "who is in {:?}", slot.slot);
        }
        assert!(self.processes.keys().all(|slot| app.slot(*slot).is_some()), "a process belongs to nobody");
    }
}

/// Whether the slot was filled again in this turn, or waits to be.
fn has_successor(slot: SlotId, actions: &Actions) -> bool {
    actions.as_slice().iter().any(|action| match action {
        Action::Spawn(worker, _) => worker.slot == slot,
        Action::Notify(Notice::Resting { slot: resting, .. }) => *resting == slot,
        Action::Notify(_)
        | Action::Admit(_)
        | Action::Withhold(_)
        | Action::Drain(_)
        | Action::Terminate(_)
        | Action::Kill(_)
        | Action::Answer(..)
        | Action::Leave(_) => false,
    })
}
