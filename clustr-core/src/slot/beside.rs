//! Replacement first: who is to take the place of another, and who had it before.
//!
//! Owns the way of a newcomer into its place, the standing by of who holds it meanwhile, and the last days of
//! those who had it. Never decides that somebody is replaced: [`reload`](crate::reload) and
//! [`health`](crate::health) do.

use super::{Fact, Rests, Slot, State};
use crate::event::Exit;
use crate::id::{Generation, WorkerId};
use crate::notice::{Notice, Setback};
use crate::time::Time;
use crate::turn::{Heard, Signal, Turn};
use crate::view::{Due, WorkerView};
use crate::worker::{Part, Worker};
use core::time::Duration;

/// Bound: so many workers a slot has at the most, with one that holds it, one that is to take its place, and
/// those that are on their way out. A newcomer waits until there is room, which the oldest are pressed to make.
pub const SLOT_WORKERS_MAX: usize = 4;

/// So many may be on their way out beside a newcomer and who holds the place.
const LEAVING_ROOM: usize = SLOT_WORKERS_MAX - 2;

/// How long a newcomer waits for one that is pressed to make room: longer than one that can be killed lives then.
const ROOM_WAIT: Duration = Duration::from_secs(12);

/// Who is to take the place.
#[derive(Clone, Debug)]
pub(crate) struct Newcomer {
    stage: Stage,
    /// Whether it takes the place also when who holds it ends, ready or not; else that one is restarted.
    takes_over: bool,
}

#[derive(Clone, Debug)]
enum Stage {
    /// There is no room for it yet.
    Awaited {
        id: WorkerId,
        generation: Generation,
        until: Time,
    },
    There(Worker),
}

impl Slot {
    /// Starts a newcomer beside who holds the place, if there is none.
    pub(crate) fn bring(
        &mut self,
        generation: Generation,
        takes_over: bool,
        turn: &mut Turn<'_>,
    ) -> Option<WorkerId> {
        if !self.wanted || self.newcomer.is_some() {
            return None;
        }
        let id = self.next_id();
        let surplus = self.leaving.len().saturating_sub(LEAVING_ROOM);
        for worker in self.leaving.iter_mut().take(surplus) {
            worker.press(turn);
        }
        let stage = if surplus == 0 {
            Stage::There(Worker::start(id, generation, Part::Newcomer, turn))
        } else {
            Stage::Awaited { id, generation, until: turn.now + ROOM_WAIT }
        };
        self.newcomer = Some(Newcomer { stage, takes_over });
        Some(id)
    }

    /// The newcomer takes the place; who held it goes. It is returned if its exit is worth waiting for.
    /// `on_trial`: its generation is not confirmed yet.
    pub(crate) fn promote(&mut self, on_trial: bool, turn: &mut Turn<'_>) -> Option<WorkerId> {
        let replacement = self.has_replacement();
        let worker = self.newcomer.take().and_then(Newcomer::into_worker)?;
        if !replacement {
            self.window.clear();
            self.rests = Rests::default();
        }
        self.on_trial = on_trial;
        self.parked = false;
        self.generation = worker.generation();
        let State::Occupied(mut old) = core::mem::replace(&mut self.state, State::Occupied(worker)) else {
            return None;
        };
        old.stop(turn);
        let awaited = (!old.is_hopeless()).then_some(old.id());
        self.leaving.push(old);
        awaited
    }

    /// The newcomer goes, if it is still there; who stood by serves again.
    pub(crate) fn abandon(&mut self, turn: &mut Turn<'_>) {
        self.parked = false;
        if let Some(worker) = self.worker_mut() {
            worker.readmit(turn);
        }
        self.dismiss(turn);
    }

    /// Who holds the place goes; its successor is started when it is gone, and nothing is held against it.
    pub(crate) fn retire(&mut self, turn: &mut Turn<'_>) {
        self.on_trial = false;
        match &mut self.state {
            State::Occupied(worker) => worker.stop(turn),
            State::Vacant if self.wanted => self.start(turn),
            State::Vacant | State::Resting { .. } | State::GaveUp | State::Done => {}
        }
    }

    /// Who holds the place goes, and nobody follows.
    pub(crate) fn strand(&mut self, turn: &mut Turn<'_>) {
        self.on_trial = false;
        if let State::Occupied(mut worker) = core::mem::replace(&mut self.state, State::GaveUp) {
            worker.stop(turn);
            self.leaving.push(worker);
        }
        turn.tell(Notice::Stranded { slot: self.id });
    }

    /// The generation of who holds the place is confirmed. If it is gone already, its successor is started.
    pub(crate) fn confirm(&mut self, turn: &mut Turn<'_>) {
        self.on_trial = false;
        self.open(turn);
    }

    /// What is said of one of its workers. A late word about a past one matches nobody.
    pub(crate) fn hear(&mut self, id: WorkerId, fact: Fact, turn: &mut Turn<'_>) -> Heard {
        if self.worker().is_some_and(|worker| worker.id() == id) {
            return self.holder_hears(fact, turn);
        }
        if self.newcomer().is_some_and(|worker| worker.id() == id) {
            return self.newcomer_hears(fact, turn);
        }
        match self.leaving.iter().position(|worker| worker.id() == id) {
            Some(place) => self.leaver_hears(place, fact, turn),
            None => Heard::Ignored,
        }
    }

    fn newcomer_hears(&mut self, fact: Fact, turn: &mut Turn<'_>) -> Heard {
        let Some(Newcomer { stage: Stage::There(worker), .. }) = &mut self.newcomer else {
            return Heard::Ignored;
        };
        let (id, was_ready) = (worker.id(), worker.was_ready());
        let heard = tell_worker(worker, fact, turn);
        if heard == Heard::Ignored {
            return heard;
        }
        let setback = match fact {
            Fact::Spawned | Fact::Drained | Fact::DrainFailed => return heard,
            Fact::Ready | Fact::AssumedReady if was_ready || !worker.is_ready() => return heard,
            Fact::Ready | Fact::AssumedReady => {
                self.arrived(turn);
                return heard;
            }
            Fact::Left => Setback::Left,
            Fact::Unfit => Setback::Unfit,
            Fact::SpawnFailed(fault) => Setback::NotStarted(fault),
            Fact::Exited(exit) if was_ready => Setback::ExitedOnTrial(exit),
            Fact::Exited(exit) => Setback::ExitedEarly(exit),
        };
        if is_end(fact) {
            self.newcomer = None;
        }
        turn.raise(Signal::Failed(id, setback));
        heard
    }

    fn leaver_hears(&mut self, place: usize, fact: Fact, turn: &mut Turn<'_>) -> Heard {
        let worker = &mut self.leaving[place];
        let id = worker.id();
        let heard = tell_worker(worker, fact, turn);
        if heard == Heard::Taken && is_end(fact) {
            self.leaving.remove(place);
            turn.raise(Signal::Gone(id));
            self.make_room(turn);
        }
        heard
    }

    /// It serves, and who holds the place stands by.
    fn arrived(&mut self, turn: &mut Turn<'_>) {
        self.parked = true;
        if let Some(worker) = self.worker_mut() {
            worker.park(turn);
        }
        turn.raise(Signal::Arrived(self.id));
    }

    fn make_room(&mut self, turn: &mut Turn<'_>) {
        let Some(newcomer) = self.newcomer.as_mut().filter(|_| self.leaving.len() <= LEAVING_ROOM) else {
            return;
        };
        if let Stage::Awaited { id, generation, .. } = newcomer.stage {
            newcomer.stage = Stage::There(Worker::start(id, generation, Part::Newcomer, turn));
        }
    }

    /// The newcomer takes the place of one that has just ended: at once, ready or not.
    pub(super) fn replace(&mut self, turn: &mut Turn<'_>) {
        let _nobody_was_there = self.promote(false, turn);
    }

    /// Who held the place has ended, and its replacement has not even been started: the slot goes by the rules of
    /// restarts.
    pub(super) fn expect_nobody(&mut self) {
        if self.has_replacement() && self.newcomer().is_none() {
            self.newcomer = None;
        }
    }

    /// The newcomer goes, if it is still there.
    pub(super) fn dismiss(&mut self, turn: &mut Turn<'_>) {
        if let Some(mut worker) = self.newcomer.take().and_then(Newcomer::into_worker) {
            worker.stop(turn);
            self.leaving.push(worker);
        }
    }

    /// A deadline of this slot has come: one step for each of its workers that waits for it.
    pub(crate) fn due(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let is_due = move |due: Option<(Time, Due)>| due.is_some_and(|(at, _)| at <= now);
        for worker in self.leaving.iter_mut().filter(|worker| is_due(worker.due_at())) {
            let was_hopeless = worker.is_hopeless();
            worker.due(turn);
            if worker.is_hopeless() && !was_hopeless {
                turn.raise(Signal::Gone(worker.id()));
            }
        }
        if is_due(self.newcomer.as_ref().and_then(Newcomer::due_at)) {
            self.newcomer_due(turn);
        }
        if is_due(self.holder_due_at()) {
            self.holder_due(turn);
        }
    }

    fn newcomer_due(&mut self, turn: &mut Turn<'_>) {
        match self.newcomer.as_mut().map(|newcomer| &mut newcomer.stage) {
            Some(Stage::There(worker)) => {
                worker.due(turn);
                let (id, is_ready) = (worker.id(), worker.is_ready());
                if is_ready {
                    self.arrived(turn);
                } else {
                    turn.raise(Signal::Failed(id, Setback::Overdue));
                }
            }
            Some(Stage::Awaited { id, .. }) => {
                turn.raise(Signal::Failed(*id, Setback::Crowded));
                self.newcomer = None;
            }
            None => {}
        }
    }

    pub(crate) fn due_at(&self) -> Option<(Time, Due)> {
        let newcomer = self.newcomer.as_ref().and_then(Newcomer::due_at);
        let leaving = self.leaving.iter().filter_map(Worker::due_at);
        let all = self.holder_due_at().into_iter().chain(newcomer).chain(leaving);
        all.filter(|(at, _)| *at < Time::MAX).min_by_key(|(at, _)| *at)
    }

    /// Who is to take the place, if its process was ordered.
    pub(crate) fn newcomer(&self) -> Option<&Worker> {
        match &self.newcomer.as_ref()?.stage {
            Stage::There(worker) => Some(worker),
            Stage::Awaited { .. } => None,
        }
    }

    /// Who is to take the place, also while there is no room for it.
    pub(crate) fn newcomer_id(&self) -> Option<WorkerId> {
        self.newcomer.as_ref().map(|newcomer| match &newcomer.stage {
            Stage::There(worker) => worker.id(),
            Stage::Awaited { id, .. } => *id,
        })
    }

    /// Whether who holds the place has one that follows in any case.
    pub(super) fn has_replacement(&self) -> bool {
        self.newcomer.as_ref().is_some_and(|newcomer| newcomer.takes_over)
    }

    /// Whether this one has still to prove itself: as a newcomer, or of a generation that is not confirmed.
    pub(crate) fn is_trying(&self, id: WorkerId) -> bool {
        let holds = self.worker().is_some_and(|worker| worker.id() == id);
        (holds && self.on_trial) || self.newcomer().is_some_and(|worker| worker.id() == id)
    }

    pub(crate) const fn is_on_trial(&self) -> bool {
        self.on_trial
    }

    /// Everybody: who holds the place, who is to take it, who had it.
    pub(crate) fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.worker().into_iter().chain(self.newcomer()).chain(&self.leaving)
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = WorkerView> + '_ {
        self.workers().map(Worker::view)
    }

    /// What has to hold of all of its workers.
    pub(super) fn check_beside(&self) -> Result<(), &'static str> {
        let known = |worker: &Worker| {
            worker.id().slot == self.id && (1..=self.incarnation).contains(&worker.id().incarnation)
        };
        if !self.workers().all(known) {
            return Err("a slot's workers are among its incarnations");
        }
        if self.workers().count() > SLOT_WORKERS_MAX {
            return Err("a slot has no more workers than there is room for");
        }
        if self.newcomer.is_some() && !self.wanted {
            return Err("nobody is brought to an unwanted slot");
        }
        if !self.leaving.iter().all(Worker::is_leaving) {
            return Err("who had the place is on its way out");
        }
        let serves = self.newcomer().is_some_and(Worker::is_ready);
        if self.parked != serves {
            return Err("who holds a place stands by while a newcomer serves, and not longer");
        }
        if !self.parked && self.worker().is_some_and(|worker| worker.state() == super::SlotState::Parked) {
            return Err("nobody stands by for nobody");
        }
        Ok(())
    }
}

impl Newcomer {
    pub(super) fn into_worker(self) -> Option<Worker> {
        match self.stage {
            Stage::There(worker) => Some(worker),
            Stage::Awaited { .. } => None,
        }
    }

    /// What it waits for, until it serves: its age counts from the day on which it holds the place.
    fn due_at(&self) -> Option<(Time, Due)> {
        match &self.stage {
            Stage::There(worker) => worker.due_at().filter(|_| !worker.is_ready()),
            Stage::Awaited { id, until, .. } => Some((*until, Due::Room(id.slot))),
        }
    }
}

/// A fact for one that does not hold its place: its end has no successor here.
fn tell_worker(worker: &mut Worker, fact: Fact, turn: &mut Turn<'_>) -> Heard {
    match fact {
        Fact::Spawned => worker.spawned(turn),
        Fact::SpawnFailed(_) if worker.was_spawned() => Heard::Ignored,
        Fact::SpawnFailed(fault) => {
            end(worker, None, turn);
            turn.tell(Notice::NotStarted { worker: worker.id(), fault });
            Heard::Taken
        }
        Fact::Ready => worker.ready(turn),
        Fact::AssumedReady => worker.assumed_ready(turn),
        Fact::Left => worker.left(turn),
        Fact::Drained => worker.drained(turn),
        Fact::DrainFailed => worker.drain_failed(turn),
        Fact::Unfit => worker.unfit(turn),
        Fact::Exited(exit) => {
            end(worker, Some(exit), turn);
            Heard::Taken
        }
    }
}

fn end(worker: &Worker, exit: Option<Exit>, turn: &mut Turn<'_>) {
    let _nobody_follows = worker.end(exit, turn);
}

const fn is_end(fact: Fact) -> bool {
    match fact {
        Fact::SpawnFailed(_) | Fact::Exited(_) => true,
        Fact::Spawned
        | Fact::Ready
        | Fact::AssumedReady
        | Fact::Left
        | Fact::Drained
        | Fact::DrainFailed
        | Fact::Unfit => false,
    }
}
