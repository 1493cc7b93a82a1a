//! An app in a world without processes: a clock that is set by hand, and facts that are made up.

use std::time::Duration;

use clustr_core::{
    Action, Actions, Answer, App, AppState, Backoff, Command, EndReason, Event, Exit, Intensity, Notice,
    Overdue, Policy, PolicyBuilder, SlotId, SlotState, SlotView, SpawnFault, Target, Ticket, Time, Verdict,
    WorkerId,
};

use crate::watch::Watch;

pub(crate) const SEGV: Exit = Exit::Signal { number: 11, core_dumped: true };
pub(crate) const KILLED: Exit = Exit::Signal { number: 9, core_dumped: false };
pub(crate) const FAILED: Exit = Exit::Code(1);
pub(crate) const CLEAN: Exit = Exit::Code(0);

/// The numbers of a policy that its observer needs as well.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) slots: u32,
    pub(crate) intensity: Intensity,
    pub(crate) overdue: Overdue,
    pub(crate) ready_timeout: Duration,
    pub(crate) builder: PolicyBuilder,
}

pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) now: Time,
    pub(crate) watch: Watch,
    /// Every order of this life.
    pub(crate) log: Vec<Action>,
    tickets: u64,
}

impl Rules {
    /// The defaults, without jitter so that scenes can name their rests.
    pub(crate) fn new(slots: u32) -> Self {
        let backoff =
            Backoff { first: millis(100), factor: 2, cap: Duration::from_secs(30), jitter_percent: 0 };
        Self {
            slots,
            intensity: Intensity { restarts: 5, period: Duration::from_secs(10) },
            overdue: Overdue::CountsAsReady,
            ready_timeout: Duration::from_secs(30),
            builder: Policy::builder(slots).backoff(backoff),
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(PolicyBuilder) -> PolicyBuilder) -> Self {
        self.builder = change(self.builder);
        self
    }

    pub(crate) fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.intensity = Intensity { restarts, period };
        self
    }

    pub(crate) fn overdue(mut self, overdue: Overdue, after: Duration) -> Self {
        self.overdue = overdue;
        self.ready_timeout = after;
        self
    }

    pub(crate) fn policy(self) -> Policy {
        let builder = self.builder.intensity(self.intensity);
        builder.ready_timeout(self.ready_timeout, self.overdue).build().unwrap()
    }

    /// A world in which nothing has been started.
    pub(crate) fn asleep(self, seed: u64) -> World {
        let assumed = self.overdue == Overdue::CountsAsReady;
        World {
            watch: Watch::new(self.slots, self.intensity, assumed),
            app: App::new(self.policy(), seed),
            now: Time::from_nanos(1_000_000_000_000),
            log: Vec::new(),
            tickets: 0,
        }
    }

    /// A world in which every slot has a process that is not ready yet.
    pub(crate) fn started(self) -> World {
        let slots = self.slots;
        let mut world = self.asleep(1);
        world.start();
        for slot in 0..slots {
            world.spawned(slot);
        }
        world
    }

    /// A world in which every worker serves.
    pub(crate) fn running(self) -> World {
        let slots = self.slots;
        let mut world = self.started();
        for slot in 0..slots {
            world.ready(slot);
        }
        assert_eq!(world.app.view().state, AppState::Running);
        world
    }
}

impl World {
    pub(crate) fn start(&mut self) -> Vec<Action> {
        let orders = self.app.start(self.now);
        self.take(orders, None)
    }

    /// Feeds any fact, however odd.
    pub(crate) fn tell(&mut self, event: Event) -> Vec<Action> {
        self.tell_at(event, self.now)
    }

    /// As `tell`, by a clock that may be wrong.
    pub(crate) fn tell_at(&mut self, event: Event, now: Time) -> Vec<Action> {
        self.announce(&event);
        let fault = self.note(&event);
        let orders = self.app.handle(event, now);
        self.take(orders, fault)
    }

    /// What the observer knows before the app answers: a scaling that will be accepted.
    fn announce(&mut self, event: &Event) {
        match event {
            Event::Asked(ticket, command) => {
                self.watch.asked(*ticket);
                let mut future = self.app.clone();
                let orders = future.handle(*event, self.now);
                let accepted = orders.as_slice().contains(&Action::Answer(*ticket, Answer::Accepted));
                match command {
                    Command::Scale(_) if accepted => self.watch.want(target_of(&orders, &self.app)),
                    Command::Scale(_) | Command::Stop(_) | Command::Reload(_) | Command::Restart(..) => {}
                }
            }
            Event::Spawned(_)
            | Event::SpawnFailed(..)
            | Event::Ready(_)
            | Event::AssumedReady(_)
            | Event::Left(_)
            | Event::Drained(_)
            | Event::DrainFailed(_)
            | Event::Unfit(_)
            | Event::Exited(..)
            | Event::Failing(..)
            | Event::Recovered(_)
            | Event::Worn(..)
            | Event::Awaited(_)
            | Event::Lost(_)
            | Event::Interrupted => {}
        }
    }

    /// Keeps the observer's books on processes. The slot is returned if its worker ended in a way that counts.
    fn note(&mut self, event: &Event) -> Option<SlotId> {
        let worker = event.worker()?;
        let process = self.watch.processes.get_mut(&worker)?;
        let faulty = match event {
            Event::Spawned(_) => {
                process.spawned = true;
                return None;
            }
            Event::Ready(_) | Event::AssumedReady(_) => {
                process.said_ready = true;
                return None;
            }
            Event::SpawnFailed(_, _) if process.spawned => return None,
            Event::SpawnFailed(_, fault) => *fault == SpawnFault::Program,
            Event::Exited(..) => true,
            Event::Left(_)
            | Event::Drained(_)
            | Event::DrainFailed(_)
            | Event::Unfit(_)
            | Event::Failing(..)
            | Event::Recovered(_)
            | Event::Worn(..)
            | Event::Awaited(_)
            | Event::Lost(_)
            | Event::Asked(..)
            | Event::Interrupted => return None,
        };
        let process = self.watch.ended(worker);
        let held = self.app.slot(worker.slot).is_some_and(|slot| slot.worker == Some(worker));
        let counts = held && self.app.view().reload.is_none();
        (faulty && counts && !process.unwanted).then_some(worker.slot)
    }

    fn take(&mut self, orders: Actions, fault: Option<SlotId>) -> Vec<Action> {
        self.watch.see(&orders, fault, self.now, &self.app);
        let orders: Vec<Action> = orders.into_iter().collect();
        self.log.extend(&orders);
        orders
    }

    /// Does what is due now.
    pub(crate) fn timeout(&mut self) -> Vec<Action> {
        let orders = self.app.handle_timeout(self.now);
        self.take(orders, None)
    }

    /// Lets time go by, as a punctual shell does: every deadline is met exactly.
    pub(crate) fn pass(&mut self, span: Duration) -> Vec<Action> {
        let end = self.now + span;
        let mut orders = Vec::new();
        while let Some(deadline) = self.app.deadline().filter(|deadline| deadline.at <= end) {
            self.now = self.now.max(deadline.at);
            orders.extend(self.timeout());
        }
        self.now = end;
        orders
    }

    /// The next deadline, met exactly.
    pub(crate) fn pass_to_deadline(&mut self) -> Vec<Action> {
        let at = self.app.deadline().expect("something is due").at;
        self.pass(at.since(self.now))
    }

    /// The next deadline, if there is one.
    pub(crate) fn pass_if_due(&mut self) {
        if self.app.deadline().is_some() {
            self.pass_to_deadline();
        }
    }

    pub(crate) fn worker(&self, slot: u32) -> WorkerId {
        self.view(slot).worker.expect("somebody is there")
    }

    pub(crate) fn view(&self, slot: u32) -> SlotView {
        self.app.slot(SlotId(slot)).expect("the slot is shown")
    }

    pub(crate) fn state(&self, slot: u32) -> SlotState {
        self.app.slot(SlotId(slot)).map_or(SlotState::Vacant, |view| view.state)
    }

    pub(crate) fn spawned(&mut self, slot: u32) -> Vec<Action> {
        self.tell(Event::Spawned(self.worker(slot)))
    }

    pub(crate) fn host_short(&mut self, slot: u32) -> Vec<Action> {
        self.tell(Event::SpawnFailed(self.worker(slot), SpawnFault::HostShort))
    }

    pub(crate) fn program_wrong(&mut self, slot: u32) -> Vec<Action> {
        self.tell(Event::SpawnFailed(self.worker(slot), SpawnFault::Program))
    }

    pub(crate) fn ready(&mut self, slot: u32) -> Vec<Action> {
        self.tell(Event::Ready(self.worker(slot)))
    }

    /// A successor that comes up at once.
    pub(crate) fn serve(&mut self, slot: u32) {
        self.spawned(slot);
        self.ready(slot);
    }

    pub(crate) fn left(&mut self, slot: u32) -> Vec<Action> {
        self.tell(Event::Left(self.worker(slot)))
    }

    pub(crate) fn drained(&mut self, slot: u32) -> Vec<Action> {
        self.tell(Event::Drained(self.worker(slot)))
    }

    pub(crate) fn drain_failed(&mut self, slot: u32) -> Vec<Action> {
        self.tell(Event::DrainFailed(self.worker(slot)))
    }

    pub(crate) fn unfit(&mut self, slot: u32) -> Vec<Action> {
        self.tell(Event::Unfit(self.worker(slot)))
    }

    pub(crate) fn exit(&mut self, slot: u32, exit: Exit) -> Vec<Action> {
        self.tell(Event::Exited(self.worker(slot), exit))
    }

    pub(crate) fn ask(&mut self, command: Command) -> (Ticket, Vec<Action>) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        (ticket, self.tell(Event::Asked(ticket, command)))
    }

    pub(crate) fn scale(&mut self, target: Target) -> (Ticket, Vec<Action>) {
        self.ask(Command::Scale(target))
    }

    pub(crate) fn stop(&mut self) -> (Ticket, Vec<Action>) {
        self.ask(Command::Stop(EndReason::Asked))
    }

    /// The final answer to a ticket, if there was one.
    pub(crate) fn answer(&self, ticket: Ticket) -> Option<Answer> {
        self.log.iter().rev().find_map(|action| match action {
            Action::Answer(to, answer) if *to == ticket && *answer != Answer::Accepted => Some(*answer),
            Action::Answer(..)
            | Action::Begin(..)
            | Action::Forget(_)
            | Action::Spawn(..)
            | Action::Admit(_)
            | Action::Withhold(_)
            | Action::Drain(_)
            | Action::Terminate(_)
            | Action::Kill(_)
            | Action::Notify(_)
            | Action::Leave(_) => None,
        })
    }

    pub(crate) fn told(&self, notice: Notice) -> bool {
        self.log.contains(&Action::Notify(notice))
    }

    pub(crate) fn verdict(&self) -> Option<Verdict> {
        match self.log.last() {
            Some(Action::Leave(verdict)) => Some(*verdict),
            Some(_) | None => None,
        }
    }
}

fn target_of(orders: &Actions, app: &App) -> u32 {
    let scaled = orders.as_slice().iter().find_map(|action| match action {
        Action::Notify(Notice::Scaled { to, .. }) => Some(*to),
        Action::Notify(_)
        | Action::Begin(..)
        | Action::Forget(_)
        | Action::Spawn(..)
        | Action::Admit(_)
        | Action::Withhold(_)
        | Action::Drain(_)
        | Action::Terminate(_)
        | Action::Kill(_)
        | Action::Answer(..)
        | Action::Leave(_) => None,
    });
    scaled.unwrap_or_else(|| app.view().wanted)
}

pub(crate) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}
