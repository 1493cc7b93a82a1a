//! One worker: a process with one life, from its start to its exit.
//!
//! Owns what is known about that life. Never decides who follows it. Called by [`slot`](crate::slot).

use core::time::Duration;

use crate::action::Action;
use crate::event::Exit;
use crate::id::{Generation, WorkerId};
use crate::ladder::{Cause, Ladder};
use crate::notice::Notice;
use crate::policy::Overdue;
use crate::time::Time;
use crate::turn::{Heard, Signal, Turn};
use crate::view::{Due, SlotState, WorkerView};

/// Workers of one age are not recycled at one moment.
const AGE_JITTER_PERCENT: u8 = 10;

/// A process, wished for or alive.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    id: WorkerId,
    generation: Generation,
    started_at: Time,
    spawned: bool,
    ready_at: Option<Time>,
    /// When it is old enough to be recycled; asked for once.
    aged_at: Option<Time>,
    /// It stands by: nothing new reaches it, and it serves again as soon as somebody says so.
    parked: bool,
    /// Nothing new reaches it, by the last order.
    withheld: bool,
    /// Whether only its own word makes it ready: it takes the place of one whose like do speak.
    must_speak: bool,
    phase: Phase,
}

/// As what a worker is started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// It holds its place.
    Holder,
    /// It holds its place while another serves there: it is parked as soon as it is ready.
    Substitute,
    /// It is to take the place of another: where workers do say that they are ready, so must it.
    Newcomer,
}

/// In which part of its life a worker is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// It has until then to be ready.
    Starting { overdue_at: Time },
    /// It serves; its own word for that is still missing if it is only assumed.
    Ready { assumed: bool },
    /// It is on its way out.
    Leaving(Ladder),
}

/// Why a worker is gone, as far as its successor is concerned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// Its slot had become unwanted.
    Unwanted,
    /// It ended of its own accord, announced or not, after having been ready for so long.
    Run { ready_for: Duration },
    /// It ended of its own accord before it was ready.
    FailedStart,
    /// It was killed because it was not ready in time.
    Overdue,
    /// It was killed because it could not do its work as it was started.
    Unfit,
}

impl Worker {
    /// Orders a process.
    pub(crate) fn start(id: WorkerId, generation: Generation, part: Part, turn: &mut Turn<'_>) -> Self {
        turn.order(Action::Spawn(id, generation));
        Self {
            id,
            generation,
            started_at: turn.now,
            spawned: false,
            ready_at: None,
            aged_at: None,
            parked: part == Part::Substitute,
            withheld: false,
            must_speak: part == Part::Newcomer && *turn.spoken,
            phase: Phase::Starting { overdue_at: turn.now + turn.policy.ready_timeout },
        }
    }

    pub(crate) fn spawned(&mut self, turn: &mut Turn<'_>) -> Heard {
        if self.spawned {
            return Heard::Ignored;
        }
        self.spawned = true;
        turn.tell(Notice::Started { worker: self.id, generation: self.generation });
        Heard::Taken
    }

    pub(crate) fn ready(&mut self, turn: &mut Turn<'_>) -> Heard {
        match self.phase {
            Phase::Starting { .. } => {
                *turn.spoken = true;
                self.serve(false, turn);
            }
            // Its own word, after the deadline had stood for it: there is nothing left to do.
            Phase::Ready { assumed: true } => {
                *turn.spoken = true;
                self.phase = Phase::Ready { assumed: false };
            }
            Phase::Ready { assumed: false } => return Heard::Ignored,
            Phase::Leaving(_) => {}
        }
        Heard::Taken
    }

    pub(crate) fn assumed_ready(&mut self, turn: &mut Turn<'_>) -> Heard {
        match self.phase {
            Phase::Starting { .. } if self.must_speak => {}
            Phase::Starting { .. } => self.serve(true, turn),
            Phase::Ready { .. } | Phase::Leaving(_) => return Heard::Ignored,
        }
        Heard::Taken
    }

    /// The readiness deadline, or the next word of its stop, has come.
    pub(crate) fn due(&mut self, turn: &mut Turn<'_>) {
        match &mut self.phase {
            Phase::Starting { .. } => match turn.policy.overdue {
                Overdue::CountsAsReady if !self.must_speak => self.serve(true, turn),
                Overdue::CountsAsReady | Overdue::Fails => self.leave(Cause::Overdue, turn),
            },
            Phase::Ready { .. } => {
                self.aged_at = None;
                turn.raise(Signal::Aged(self.id));
            }
            Phase::Leaving(ladder) => ladder.due(self.id, turn),
        }
    }

    pub(crate) fn left(&mut self, turn: &mut Turn<'_>) -> Heard {
        match self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } => self.leave(Cause::OwnWord, turn),
            // A worker that was asked to stop may well say so.
            Phase::Leaving(_) => {}
        }
        Heard::Taken
    }

    pub(crate) fn drained(&mut self, turn: &Turn<'_>) -> Heard {
        match &mut self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } => Heard::Ignored,
            Phase::Leaving(ladder) => ladder.drained(turn),
        }
    }

    pub(crate) fn drain_failed(&mut self, turn: &mut Turn<'_>) -> Heard {
        match &mut self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } => Heard::Ignored,
            Phase::Leaving(ladder) => ladder.drain_failed(self.id, turn),
        }
    }

    pub(crate) fn unfit(&mut self, turn: &mut Turn<'_>) -> Heard {
        match &mut self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } => {
                self.leave(Cause::Unfit, turn);
                Heard::Taken
            }
            Phase::Leaving(ladder) => ladder.unfit(self.id, turn),
        }
    }

    /// Nothing new reaches it from now on, and it is kept.
    pub(crate) fn park(&mut self, turn: &mut Turn<'_>) {
        if !core::mem::replace(&mut self.parked, true) && self.is_ready() {
            self.withheld = true;
            turn.order(Action::Withhold(self.id));
            turn.tell(Notice::Parked { worker: self.id });
        }
    }

    /// It serves again.
    pub(crate) fn readmit(&mut self, turn: &mut Turn<'_>) {
        if core::mem::replace(&mut self.parked, false) && self.is_ready() {
            self.withheld = false;
            turn.order(Action::Admit(self.id));
            turn.tell(Notice::Readmitted { worker: self.id });
        }
    }

    /// Its slot is not wanted any more.
    pub(crate) fn stop(&mut self, turn: &mut Turn<'_>) {
        match &mut self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } => self.leave(Cause::Unwanted, turn),
            Phase::Leaving(ladder) => ladder.unwant(),
        }
    }

    /// On its way out it takes the place of somebody who waits: it may finish what it has, but not for long.
    pub(crate) fn press(&mut self, turn: &mut Turn<'_>) {
        match &mut self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } => {}
            Phase::Leaving(ladder) => ladder.press(self.id, turn),
        }
    }

    /// Its slot is not wanted any more, and nobody waits for it.
    pub(crate) fn kill(&mut self, turn: &mut Turn<'_>) {
        match &mut self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } => {
                self.withhold(turn);
                self.phase = Phase::Leaving(Ladder::at_once(self.id, turn));
            }
            Phase::Leaving(ladder) => {
                ladder.unwant();
                ladder.hurry(self.id, turn);
            }
        }
    }

    /// The process is gone, or never was.
    pub(crate) fn end(&self, exit: Option<Exit>, turn: &mut Turn<'_>) -> Ending {
        match self.phase {
            Phase::Ready { .. } => self.withhold(turn),
            Phase::Starting { .. } | Phase::Leaving(_) => {}
        }
        if let Some(exit) = exit {
            turn.tell(self.obituary(exit, turn.now));
        }
        self.ending(turn.now)
    }

    fn obituary(&self, exit: Exit, now: Time) -> Notice {
        let expected = match self.cause() {
            Some(Cause::Unwanted | Cause::OwnWord) => true,
            Some(Cause::Overdue | Cause::Unfit) | None => false,
        };
        let was_ready = self.ready_at.is_some();
        Notice::Exited { worker: self.id, exit, expected, was_ready, lived: now.since(self.started_at) }
    }

    pub(crate) fn ending(&self, now: Time) -> Ending {
        match (self.cause(), self.ready_at) {
            (Some(Cause::Unwanted), _) => Ending::Unwanted,
            (Some(Cause::Overdue), _) => Ending::Overdue,
            (Some(Cause::Unfit), _) => Ending::Unfit,
            (Some(Cause::OwnWord) | None, Some(ready_at)) => Ending::Run { ready_for: now.since(ready_at) },
            (Some(Cause::OwnWord) | None, None) => Ending::FailedStart,
        }
    }

    fn serve(&mut self, assumed: bool, turn: &mut Turn<'_>) {
        self.phase = Phase::Ready { assumed };
        self.ready_at = Some(turn.now);
        self.aged_at = turn.policy.max_age.map(|age| turn.now + turn.seed.jitter(age, AGE_JITTER_PERCENT));
        if !self.parked {
            turn.order(Action::Admit(self.id));
        }
        let took = turn.now.since(self.started_at);
        turn.tell(Notice::Ready { worker: self.id, took, assumed });
    }

    /// Every stop order of a life is preceded by one `Withhold`: nothing new may reach who is on its way out.
    fn leave(&mut self, cause: Cause, turn: &mut Turn<'_>) {
        self.withhold(turn);
        self.phase = Phase::Leaving(Ladder::begin(self.id, cause, turn));
    }

    /// One that stood by may be withheld already.
    fn withhold(&self, turn: &mut Turn<'_>) {
        if !self.withheld {
            turn.order(Action::Withhold(self.id));
        }
    }

    const fn cause(&self) -> Option<Cause> {
        match &self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } => None,
            Phase::Leaving(ladder) => Some(ladder.cause()),
        }
    }

    #[cfg(test)]
    pub(crate) const fn rung(&self) -> Option<crate::ladder::Rung> {
        match &self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } => None,
            Phase::Leaving(ladder) => Some(ladder.rung()),
        }
    }

    #[cfg(test)]
    pub(crate) const fn is_assumed(&self) -> bool {
        matches!(self.phase, Phase::Ready { assumed: true })
    }

    pub(crate) const fn id(&self) -> WorkerId {
        self.id
    }

    pub(crate) const fn started_at(&self) -> Time {
        self.started_at
    }

    pub(crate) const fn generation(&self) -> Generation {
        self.generation
    }

    pub(crate) const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    pub(crate) const fn was_ready(&self) -> bool {
        self.ready_at.is_some()
    }

    pub(crate) const fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Leaving(_))
    }

    pub(crate) const fn was_spawned(&self) -> bool {
        self.spawned
    }

    pub(crate) const fn state(&self) -> SlotState {
        match &self.phase {
            Phase::Starting { .. } => SlotState::Starting,
            Phase::Ready { .. } if self.parked => SlotState::Parked,
            Phase::Ready { .. } => SlotState::Ready,
            Phase::Leaving(ladder) => ladder.state(),
        }
    }

    /// How long it has been ready, if it ever was.
    pub(crate) fn ready_for(&self, now: Time) -> Option<Duration> {
        self.ready_at.map(|at| now.since(at))
    }

    pub(crate) fn due_at(&self) -> Option<(Time, Due)> {
        match &self.phase {
            Phase::Starting { overdue_at } => Some((*overdue_at, Due::Readiness(self.id.slot))),
            Phase::Ready { .. } => self.aged_at.map(|at| (at, Due::Age(self.id.slot))),
            Phase::Leaving(ladder) => Some((ladder.next_at(), Due::Escalation(self.id.slot))),
        }
    }

    pub(crate) fn view(&self) -> WorkerView {
        WorkerView {
            worker: self.id,
            generation: self.generation,
            state: self.state(),
            started_at: self.started_at,
            ready_at: self.ready_at,
        }
    }

    /// Whether it outlived SIGKILL.
    pub(crate) const fn is_hopeless(&self) -> bool {
        match &self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } => false,
            Phase::Leaving(ladder) => ladder.is_hopeless(),
        }
    }
}
