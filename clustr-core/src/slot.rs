//! One slot: a numbered place, and the succession of workers in it.
//!
//! Owns who follows whom, and when: `wanted` is what somebody wishes, `state` is what is there, and the two
//! are never one field. Never looks at another slot. Called by [`roster`](crate::roster).

mod beside;
#[cfg(test)]
mod table;

use alloc::vec::Vec;
use core::time::Duration;

use crate::backoff::Rests;
use crate::event::{Exit, Fact, SpawnFault};
use crate::id::{Generation, SlotId, WorkerId};
use crate::intensity::{FailedStarts, Window};
use crate::notice::{Notice, Setback};
use crate::policy::{Policy, RestartMode};
use crate::time::Time;
use crate::turn::{Heard, Signal, Turn};
use crate::view::{Due, SlotState, SlotView};
use crate::worker::{Ending, Part, Worker};

pub(crate) use beside::Newcomer;
pub use beside::SLOT_WORKERS_MAX;

/// A place that one worker holds at a time, and those beside it: who is to take the place, and who had it.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    id: SlotId,
    wanted: bool,
    state: State,
    /// The last one that was given out. Never reused, not even after the slot was unwanted for a while.
    incarnation: u64,
    generation: Generation,
    restarts: u64,
    last_exit: Option<Exit>,
    window: Window,
    failed_starts: FailedStarts,
    rests: Rests,
    newcomer: Option<Newcomer>,
    /// Those that had the place, or should have had it, and are on their way out: oldest first.
    leaving: Vec<Worker>,
    /// Whether a newcomer serves here, so that who holds the place stands by.
    parked: bool,
    /// Whether who holds the place is of a generation that has not been confirmed.
    on_trial: bool,
}

/// What is there.
#[derive(Clone, Debug)]
enum State {
    Vacant,
    Occupied(Worker),
    Resting { until: Time },
    GaveUp,
    Done,
}

impl Slot {
    /// An empty place that somebody wishes to be filled, or does not.
    pub(crate) fn new(id: SlotId, wanted: bool) -> Self {
        Self {
            id,
            wanted,
            state: State::Vacant,
            incarnation: 0,
            generation: Generation(1),
            restarts: 0,
            last_exit: None,
            window: Window::default(),
            failed_starts: FailedStarts::default(),
            rests: Rests::default(),
            newcomer: None,
            leaving: Vec::new(),
            parked: false,
            on_trial: false,
        }
    }

    /// Fills the place for the first time.
    pub(crate) fn open(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::Vacant if self.wanted => self.start(turn),
            State::Vacant | State::Occupied(_) | State::Resting { .. } | State::GaveUp | State::Done => {}
        }
    }

    /// Somebody wishes the place to be filled (again): it begins afresh, with nothing held against it. A worker
    /// that is still on its way out is waited for.
    pub(crate) fn want(&mut self, turn: &mut Turn<'_>) {
        if self.wanted {
            return;
        }
        self.wanted = true;
        self.window.clear();
        self.failed_starts.clear();
        self.rests = Rests::default();
        match self.state {
            State::Vacant | State::Resting { .. } | State::GaveUp | State::Done => self.start(turn),
            State::Occupied(_) => {}
        }
    }

    /// Nobody wishes the place to be filled any more.
    pub(crate) fn unwant(&mut self, turn: &mut Turn<'_>) {
        self.vacate(Worker::stop, turn);
    }

    /// As [`unwant`](Self::unwant), and nobody waits.
    pub(crate) fn kill(&mut self, turn: &mut Turn<'_>) {
        self.vacate(Worker::kill, turn);
    }

    /// Takes the wish back. Who is still there then has to go.
    fn vacate(&mut self, end: fn(&mut Worker, &mut Turn<'_>), turn: &mut Turn<'_>) {
        self.wanted = false;
        self.on_trial = false;
        self.parked = false;
        match self.worker_mut() {
            Some(worker) => end(worker, turn),
            None => self.state = State::Vacant,
        }
        self.leaving.extend(self.newcomer.take().and_then(Newcomer::into_worker));
        for worker in &mut self.leaving {
            end(worker, turn);
        }
    }

    /// What is said of who holds the place.
    fn holder_hears(&mut self, fact: Fact, turn: &mut Turn<'_>) -> Heard {
        match fact {
            Fact::Spawned => self.spawned(turn),
            Fact::SpawnFailed(fault) => self.spawn_failed(fault, turn),
            Fact::Ready => self.ready(turn),
            Fact::AssumedReady => self.assumed_ready(turn),
            Fact::Left => self.left(turn),
            Fact::Drained => self.drained(turn),
            Fact::DrainFailed => self.drain_failed(turn),
            Fact::Unfit => self.unfit(turn),
            Fact::Exited(exit) => self.exited(exit, turn),
        }
    }

    pub(crate) fn spawned(&mut self, turn: &mut Turn<'_>) -> Heard {
        self.rests.shortage_over();
        self.worker_mut().map_or(Heard::Ignored, |worker| worker.spawned(turn))
    }

    pub(crate) fn ready(&mut self, turn: &mut Turn<'_>) -> Heard {
        self.worker_mut().map_or(Heard::Ignored, |worker| worker.ready(turn))
    }

    pub(crate) fn assumed_ready(&mut self, turn: &mut Turn<'_>) -> Heard {
        self.worker_mut().map_or(Heard::Ignored, |worker| worker.assumed_ready(turn))
    }

    pub(crate) fn left(&mut self, turn: &mut Turn<'_>) -> Heard {
        self.worker_mut().map_or(Heard::Ignored, |worker| worker.left(turn))
    }

    pub(crate) fn drained(&mut self, turn: &mut Turn<'_>) -> Heard {
        self.worker_mut().map_or(Heard::Ignored, |worker| worker.drained(turn))
    }

    pub(crate) fn drain_failed(&mut self, turn: &mut Turn<'_>) -> Heard {
        self.worker_mut().map_or(Heard::Ignored, |worker| worker.drain_failed(turn))
    }

    pub(crate) fn unfit(&mut self, turn: &mut Turn<'_>) -> Heard {
        self.worker_mut().map_or(Heard::Ignored, |worker| worker.unfit(turn))
    }

    /// There is no process: nobody has exited, so the restart mode has no say.
    pub(crate) fn spawn_failed(&mut self, fault: SpawnFault, turn: &mut Turn<'_>) -> Heard {
        let Some(worker) = self.worker().filter(|worker| !worker.was_spawned()) else {
            return Heard::Ignored;
        };
        let (id, ending) = (worker.id(), worker.end(None, turn));
        turn.tell(Notice::NotStarted { worker: id, fault });
        self.state = State::Vacant;
        match fault {
            SpawnFault::Program | SpawnFault::HostShort if ending == Ending::Unwanted => {
                self.follow_unwanted(turn);
            }
            SpawnFault::Program => self.follow_failed_start(turn),
            SpawnFault::HostShort => self.follow_shortage(turn),
        }
        Heard::Taken
    }

    pub(crate) fn exited(&mut self, exit: Exit, turn: &mut Turn<'_>) -> Heard {
        let Some(worker) = self.worker() else {
            return Heard::Ignored;
        };
        let (id, ending) = (worker.id(), worker.end(Some(exit), turn));
        self.last_exit = Some(exit);
        self.state = State::Vacant;
        self.expect_nobody();
        match ending {
            Ending::Unwanted => self.follow_unwanted(turn),
            // Whoever tried its generation decides what follows here.
            Ending::Run { .. } | Ending::FailedStart | Ending::Overdue | Ending::Unfit if self.on_trial => {
                turn.raise(Signal::Failed(id, Setback::ExitedOnTrial(exit)));
            }
            Ending::Run { .. } | Ending::FailedStart if !has_successor(turn.policy, exit) => {
                self.finish(turn);
            }
            Ending::Overdue if turn.policy.restart == RestartMode::Temporary => self.finish(turn),
            Ending::Run { .. } | Ending::FailedStart | Ending::Overdue | Ending::Unfit
                if self.has_replacement() =>
            {
                self.replace(turn);
            }
            Ending::Run { ready_for } => self.follow_run(ready_for, turn),
            // Unfit asks for another form of start, which is not another run: no restart mode forbids it.
            Ending::FailedStart | Ending::Overdue | Ending::Unfit => self.follow_failed_start(turn),
        }
        Heard::Taken
    }

    /// Somebody waits for the next worker here. Resting spares nobody then but a host that is short of something.
    pub(crate) fn awaited(&mut self, turn: &mut Turn<'_>) -> Heard {
        match self.state {
            State::Resting { .. } if !self.rests.is_short() => self.start(turn),
            State::Resting { .. } => {}
            State::Vacant | State::Occupied(_) | State::GaveUp | State::Done => return Heard::Ignored,
        }
        Heard::Taken
    }

    /// The deadline of who holds the place, or of its rest, has come.
    fn holder_due(&mut self, turn: &mut Turn<'_>) {
        match &mut self.state {
            State::Occupied(worker) => worker.due(turn),
            State::Resting { .. } => self.start(turn),
            State::Vacant | State::GaveUp | State::Done => {}
        }
    }

    /// Its end had been asked for, so it counts for nothing. Somebody may want the place again by now.
    fn follow_unwanted(&mut self, turn: &mut Turn<'_>) {
        if self.wanted {
            self.start(turn);
        }
    }

    fn follow_run(&mut self, ready_for: Duration, turn: &mut Turn<'_>) {
        if self.bears_restart(turn) {
            let stable = ready_for >= turn.policy.stable_time;
            let rest = self.rests.after_run(stable, turn.policy.backoff, turn.seed);
            self.rest(rest, turn);
        }
    }

    fn follow_failed_start(&mut self, turn: &mut Turn<'_>) {
        self.failed_starts.record(turn.now);
        if self.bears_restart(turn) {
            let rest = self.rests.after_failed_start(turn.policy.backoff, turn.seed);
            self.rest(rest, turn);
        }
    }

    fn follow_shortage(&mut self, turn: &mut Turn<'_>) {
        let rest = self.rests.after_shortage(turn.policy.backoff, turn.seed);
        self.rest(rest, turn);
    }

    /// Counts a restart against the intensity; the slot gives up if it was one too many, or if as many starts
    /// in a row failed before any worker of the app was ever ready, in whatever time.
    fn bears_restart(&mut self, turn: &mut Turn<'_>) -> bool {
        let rule = turn.policy.intensity;
        let borne = self.window.record(rule, turn.now);
        // Of a program that never was ready slow failures are enough: a long ready timeout would be a way round.
        let in_vain = self.failed_starts.too_many(rule, turn.now).filter(|_| !turn.proven);
        if borne && in_vain.is_none() {
            self.restarts += 1;
            return true;
        }
        self.state = State::GaveUp;
        let in_period = (self.window.recent(rule, turn.now), rule.period);
        let (recent, period) = if borne { in_vain.unwrap_or(in_period) } else { in_period };
        turn.tell(Notice::GaveUp { slot: self.id, recent, period });
        false
    }

    fn rest(&mut self, rest: Duration, turn: &mut Turn<'_>) {
        if rest.is_zero() {
            return self.start(turn);
        }
        self.state = State::Resting { until: turn.now + rest };
        let recent = self.window.recent(turn.policy.intensity, turn.now);
        turn.tell(Notice::Resting { slot: self.id, rest, recent });
    }

    fn finish(&mut self, turn: &mut Turn<'_>) {
        self.state = State::Done;
        if self.has_replacement() {
            self.dismiss(turn);
        }
        turn.tell(Notice::Done { slot: self.id });
    }

    fn start(&mut self, turn: &mut Turn<'_>) {
        self.generation = turn.generation;
        let (id, part) = (self.next_id(), if self.parked { Part::Substitute } else { Part::Holder });
        self.state = State::Occupied(Worker::start(id, turn.generation, part, turn));
    }

    const fn next_id(&mut self) -> WorkerId {
        self.incarnation += 1;
        WorkerId { slot: self.id, incarnation: self.incarnation }
    }

    pub(crate) const fn worker(&self) -> Option<&Worker> {
        match &self.state {
            State::Occupied(worker) => Some(worker),
            State::Vacant | State::Resting { .. } | State::GaveUp | State::Done => None,
        }
    }

    const fn worker_mut(&mut self) -> Option<&mut Worker> {
        match &mut self.state {
            State::Occupied(worker) => Some(worker),
            State::Vacant | State::Resting { .. } | State::GaveUp | State::Done => None,
        }
    }

    pub(crate) const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether a worker is here, or will be without anybody asking.
    pub(crate) const fn is_hopeful(&self) -> bool {
        match &self.state {
            State::Vacant | State::Occupied(_) | State::Resting { .. } => true,
            State::GaveUp | State::Done => self.newcomer.is_some(),
        }
    }

    pub(crate) const fn state(&self) -> SlotState {
        match &self.state {
            State::Vacant => SlotState::Vacant,
            State::Occupied(worker) => worker.state(),
            State::Resting { .. } => SlotState::Resting,
            State::GaveUp => SlotState::GaveUp,
            State::Done => SlotState::Done,
        }
    }

    fn holder_due_at(&self) -> Option<(Time, Due)> {
        let due = match &self.state {
            State::Occupied(worker) => worker.due_at(),
            State::Resting { until } => Some((*until, Due::Rest(self.id))),
            State::Vacant | State::GaveUp | State::Done => None,
        };
        due.filter(|(at, _)| *at < Time::MAX)
    }

    pub(crate) fn view(&self, policy: &Policy, now: Time) -> SlotView {
        let rests_until = match &self.state {
            State::Resting { until } => Some(*until),
            State::Vacant | State::Occupied(_) | State::GaveUp | State::Done => None,
        };
        SlotView {
            slot: self.id,
            wanted: self.wanted,
            state: self.state(),
            worker: self.worker().map(Worker::id),
            generation: self.generation,
            started_at: self.worker().map(Worker::started_at),
            rests_until,
            restarts: self.restarts,
            last_exit: self.last_exit,
            recent_restarts: self.window.recent(policy.intensity, now),
        }
    }

    /// What has to hold between two steps, whatever happened.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        self.check_beside()?;
        let needs_a_wish = match self.state() {
            SlotState::Vacant | SlotState::Draining | SlotState::Stopping => false,
            SlotState::Starting
            | SlotState::Ready
            | SlotState::Parked
            | SlotState::Resting
            | SlotState::GaveUp
            | SlotState::Done => true,
        };
        if needs_a_wish && !self.wanted {
            return Err("an unwanted slot is empty, or its worker is on its way out");
        }
        Ok(())
    }
}

/// The restart modes of Erlang/OTP's supervisor, for a worker that ended of its own accord.
fn has_successor(policy: &Policy, exit: Exit) -> bool {
    if matches!(exit, Exit::Code(code) if policy.stop_exit_codes.contains(code)) {
        return false;
    }
    match policy.restart {
        RestartMode::Permanent => true,
        RestartMode::Transient => !exit.is_clean(),
        RestartMode::Temporary => false,
    }
}
