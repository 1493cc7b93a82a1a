//! What must never happen, whatever did: looks at every order that an app gives.
//!
//! Owns its own idea of who is alive and what was said; never asks the app for it.

use std::collections::{BTreeMap, BTreeSet};

use clustr_core::{
    Action, Actions, Answer, App, AppState, Generation, Intensity, Notice, SLOT_WORKERS_MAX, SlotId,
    SlotState, Ticket, Time, WorkerId,
};

/// A process as an observer sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) id: WorkerId,
    pub(crate) generation: Generation,
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
    pub(crate) processes: BTreeMap<WorkerId, Process>,
    /// Those that were begun and not forgotten.
    pub(crate) generations: BTreeSet<Generation>,
    /// Whether anybody was ever to be replaced: then a kill may be a polite one.
    replacing: bool,
    incarnations: BTreeSet<WorkerId>,
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
            generations: BTreeSet::from([Generation(1)]),
            replacing: false,
            incarnations: BTreeSet::new(),
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

    /// Those that were neither accepted nor refused yet.
    pub(crate) fn tickets_waiting(&self) -> Vec<Ticket> {
        self.unanswered.iter().filter(|(_, accepted)| !**accepted).map(|(ticket, _)| *ticket).collect()
    }

    pub(crate) fn tickets_open(&self) -> Vec<Ticket> {
        self.unanswered.keys().copied().collect()
    }

    /// The process is gone, by its own fault or not.
    pub(crate) fn ended(&mut self, worker: WorkerId) -> Process {
        self.processes.remove(&worker).expect("only living processes end")
    }

    /// Looks at what the app ordered. `fault` is the slot whose worker ended in this turn in a way that counts.
    pub(crate) fn see(&mut self, actions: &Actions, fault: Option<SlotId>, now: Time, app: &App) {
        assert_eq!(app.check(), Ok(()));
        assert!(!self.left || actions.is_empty(), "nothing is ordered after Leave: {actions:?}");
        // A replacement is started before it is told for whom.
        self.replacing |=
            actions.as_slice().iter().any(|action| matches!(action, Action::Notify(Notice::Renewing { .. })));
        for (place, action) in actions.as_slice().iter().enumerate() {
            let last = place + 1 == actions.as_slice().len();
            self.see_one(*action, last);
        }
        if app.view().reload.is_some() {
            self.restarts.clear(); // What is replaced begins afresh.
        }
        if let Some(slot) = fault.filter(|slot| has_successor(*slot, actions)) {
            self.count_restart(slot, now, actions);
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
            Action::Begin(ticket, generation) => {
                assert!(self.unanswered.contains_key(&ticket), "{ticket:?} is not waited for");
                assert!(
                    self.generations.iter().all(|known| *known < generation),
                    "{generation:?} is not new"
                );
                self.generations.insert(generation);
            }
            Action::Forget(generation) => {
                let lives = self.processes.values().any(|process| process.generation == generation);
                assert!(!lives, "{generation:?} is forgotten and lives");
                assert!(self.generations.remove(&generation), "{generation:?} is forgotten twice");
            }
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
        assert!(self.generations.contains(&generation), "{id} is of a generation that nobody knows");
        assert!(self.incarnations.insert(id), "{id} is no fresh incarnation");
        let process = Process {
            id,
            generation,
            spawned: false,
            said_ready: false,
            admitted: false,
            withheld: false,
            drain: false,
            terminate: false,
            kill: false,
            unwanted: false,
        };
        self.processes.insert(id, process);
        let here = self.processes.keys().filter(|other| other.slot == id.slot).count();
        assert!(here <= SLOT_WORKERS_MAX, "{id} is one of {here}");
        assert!(self.replacing || here == 1, "{id} is started beside another");
    }

    fn admit(&mut self, worker: WorkerId) {
        let assumed = self.readiness_may_be_assumed;
        let process = self.living(worker);
        assert!(process.said_ready || assumed, "{worker} is admitted before it is ready");
        assert!(!process.admitted, "{worker} is admitted twice");
        assert!(!process.is_leaving(), "{worker} is admitted on its way out");
        process.admitted = true;
        process.withheld = false;
    }

    fn withhold(&mut self, worker: WorkerId) {
        // The one order that may name a process that has just ended: its queue is still there.
        if let Some(process) = self.processes.get_mut(&worker) {
            assert!(!process.withheld, "{worker} is withheld twice");
            process.withheld = true;
            process.admitted = false;
        }
    }

    fn stop_order(&mut self, worker: WorkerId) -> &mut Process {
        let process = self.living(worker);
        assert!(process.withheld, "{worker} is asked to stop while connections may still reach it");
        process
    }

    fn living(&mut self, worker: WorkerId) -> &mut Process {
        let process = self.processes.get_mut(&worker);
        process.unwrap_or_else(|| panic!("{worker} gets an order and does not live"))
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Ending { .. } => self.ending = true,
            Notice::Reloading { .. } | Notice::Renewing { .. } => self.replacing = true,
            Notice::Stopping { worker } => self.living(worker).unwanted = true,
            Notice::Killing { worker, .. } if self.replacing => self.living(worker).unwanted = true,
            Notice::Ended { .. }
            | Notice::Started { .. }
            | Notice::NotStarted { .. }
            | Notice::Ready { .. }
            | Notice::Overdue { .. }
            | Notice::Left { .. }
            | Notice::Killing { .. }
            | Notice::Unkillable { .. }
            | Notice::Exited { .. }
            | Notice::Resting { .. }
            | Notice::GaveUp { .. }
            | Notice::Done { .. }
            | Notice::Scaled { .. }
            | Notice::Running { .. }
            | Notice::Parked { .. }
            | Notice::Readmitted { .. }
            | Notice::Remembered { .. }
            | Notice::Settling { .. }
            | Notice::Reloaded { .. }
            | Notice::RolledBack { .. }
            | Notice::ReloadCancelled { .. }
            | Notice::Stranded { .. }
            | Notice::Renewed { .. }
            | Notice::RenewedInVain { .. }
            | Notice::NotRenewed { .. } => {}
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
            Answer::Done
            | Answer::Superseded
            | Answer::Failed
            | Answer::GaveUp { .. }
            | Answer::RolledBack => {
                assert_eq!(accepted, Some(true), "{ticket:?} has one final answer, after acceptance");
            }
        }
    }

    /// Somebody changed how many are wanted: told before the orders are seen, since they follow from it.
    pub(crate) fn want(&mut self, to: u32) {
        for (worker, process) in &mut self.processes {
            process.unwanted |= worker.slot.0 >= to;
        }
        for slot in self.wanted..to {
            self.restarts.remove(&SlotId(slot));
        }
        self.wanted = to;
    }

    fn count_restart(&mut self, slot: SlotId, now: Time, actions: &Actions) {
        let times = self.restarts.entry(slot).or_default();
        times.push(now);
        let recent = times.iter().filter(|then| now.since(**then) <= self.intensity.period).count();
        assert!(
            recent <= self.intensity.restarts as usize,
            "{slot:?} was restarted {recent} times: {actions:?}"
        );
    }

    /// The app's own picture is the one an observer has.
    fn compare(&self, app: &App) {
        assert_eq!(app.view().state == AppState::Ended, self.left);
        if self.left {
            return; // Nobody tells an ended app who outlived it.
        }
        let known: BTreeSet<WorkerId> = app.workers().map(|view| view.worker).collect();
        assert!(known.iter().eq(self.processes.keys()), "{known:?} are {:?}", self.processes.keys());
        let holders = app.slots().filter_map(|slot| slot.worker);
        assert_eq!(holders.filter(|holder| !known.contains(holder)).count(), 0, "who holds a slot lives");
        for view in app.workers() {
            let process = &self.processes[&view.worker];
            let serves = view.state == SlotState::Ready;
            assert_eq!(process.admitted, serves, "{} is {:?}", view.worker, view.state);
        }
        self.check_generations(app);
    }

    /// Nothing is remembered of a generation that nobody needs.
    fn check_generations(&self, app: &App) {
        let view = app.view();
        let mut needed: BTreeSet<Generation> =
            self.processes.values().map(|process| process.generation).collect();
        needed.insert(view.generation);
        needed.extend(view.reload.map(|reload| reload.to));
        assert_eq!(self.generations, needed, "what has to be known of generations");
    }
}

impl Process {
    pub(crate) const fn is_leaving(&self) -> bool {
        self.drain || self.terminate || self.kill
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
        | Action::Begin(..)
        | Action::Forget(_)
        | Action::Leave(_) => false,
    })
}
