//! The stop of one worker: from the first word to the last signal.
//!
//! Owns the order in which a worker is asked to end, and how long each word may take. Never decides that a
//! worker has to end, nor who follows it. Called by [`worker`](crate::worker).

use core::time::Duration;

use crate::action::Action;
use crate::id::WorkerId;
use crate::notice::Notice;
use crate::policy::StopOrder;
use crate::time::Time;
use crate::turn::{Heard, Turn};
use crate::view::SlotState;

/// A drained worker may still be alive by mistake: a timer or an idle database connection keeps its event loop
/// busy. This is time enough to end by itself, with its own exit code, and too short for anybody to notice.
const DRAINED_GRACE: Duration = Duration::from_millis(200);

/// Time to finish most requests, and not too long for the reload that waits for it.
const PRESSED_GRACE: Duration = Duration::from_secs(5);

/// The kernel ends a killed process within milliseconds, unless it sleeps uninterruptibly: in state D, on a
/// disk or a network file system that does not answer.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Bound: a process that hangs in the kernel is killed again, ever more rarely, but at least once a minute.
const KILL_WAIT_MAX: Duration = Duration::from_secs(60);

/// How far the stop of one worker has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ladder {
    cause: Cause,
    rung: Rung,
    asked_at: Time,
    next_at: Time,
}

/// Why a worker has to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// Nobody wants its slot to be filled.
    Unwanted,
    /// It said itself that it leaves.
    OwnWord,
    /// It was not ready in time.
    Overdue,
    /// It cannot do its work in the form in which it was started.
    Unfit,
}

/// What was said last, and so what comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rung {
    /// It finishes of its own accord; the stop signal is next.
    Finishing,
    /// It was asked to drain; the stop signal is next.
    Draining,
    /// It was sent the stop signal; draining is next.
    Signalled,
    /// It has heard every polite word; SIGKILL is next.
    Warned,
    /// It was killed, and should be gone before this wait is over.
    Killed,
    /// It outlived SIGKILL; after this wait it is sent once more.
    Unkillable(Duration),
}

impl Ladder {
    /// The first word to `worker`. It has been withheld already.
    pub(crate) fn begin(worker: WorkerId, cause: Cause, turn: &mut Turn<'_>) -> Self {
        let mut ladder = Self { cause, rung: Rung::Finishing, asked_at: turn.now, next_at: turn.now };
        match cause {
            Cause::Overdue => {
                ladder.kill(worker, turn);
                turn.tell(Notice::Overdue { worker, after: turn.policy.ready_timeout });
            }
            Cause::Unfit => ladder.kill_and_tell(worker, turn),
            Cause::OwnWord => {
                ladder.wait(Rung::Finishing, last_word_after(turn));
                turn.tell(Notice::Left { worker });
            }
            Cause::Unwanted => ladder.ask(worker, turn),
        }
        ladder
    }

    /// The last word to `worker` as the first one: nobody waits for it.
    pub(crate) fn at_once(worker: WorkerId, turn: &mut Turn<'_>) -> Self {
        let mut ladder =
            Self { cause: Cause::Unwanted, rung: Rung::Finishing, asked_at: turn.now, next_at: turn.now };
        ladder.kill_and_tell(worker, turn);
        ladder
    }

    fn ask(&mut self, worker: WorkerId, turn: &mut Turn<'_>) {
        if turn.policy.stop_timeout.is_zero() {
            return self.kill_and_tell(worker, turn);
        }
        match turn.policy.stop_order {
            StopOrder::DrainFirst => {
                turn.order(Action::Drain(worker));
                self.wait(Rung::Draining, last_word_after(turn));
            }
            StopOrder::SignalFirst => {
                turn.order(Action::Terminate(worker));
                self.wait(Rung::Signalled, last_word_after(turn));
            }
        }
        turn.tell(Notice::Stopping { worker });
    }

    /// Time has passed and the worker is still there: the next, stronger word.
    pub(crate) fn due(&mut self, worker: WorkerId, turn: &mut Turn<'_>) {
        match self.rung {
            Rung::Finishing | Rung::Draining => self.terminate(worker, turn),
            Rung::Signalled => {
                turn.order(Action::Drain(worker));
                self.wait(Rung::Warned, turn.policy.stop_timeout);
            }
            Rung::Warned => self.kill_and_tell(worker, turn),
            Rung::Killed => {
                self.kill_again(worker, KILL_WAIT, turn);
                turn.tell(Notice::Unkillable { worker });
            }
            Rung::Unkillable(waited) => self.kill_again(worker, waited, turn),
        }
    }

    /// It has nothing open any more. The stop signal comes soon, but never later than it would have.
    pub(crate) fn drained(&mut self, turn: &Turn<'_>) -> Heard {
        match self.rung {
            Rung::Finishing | Rung::Draining => self.next_at = self.next_at.min(turn.now + DRAINED_GRACE),
            Rung::Signalled | Rung::Warned | Rung::Killed | Rung::Unkillable(_) => {}
        }
        Heard::Taken
    }

    /// It cannot be asked to drain: the stop signal takes that word's place, at once.
    pub(crate) fn drain_failed(&mut self, worker: WorkerId, turn: &mut Turn<'_>) -> Heard {
        match self.rung {
            Rung::Draining => {
                self.terminate(worker, turn);
                Heard::Taken
            }
            Rung::Warned | Rung::Killed | Rung::Unkillable(_) => Heard::Taken,
            Rung::Finishing | Rung::Signalled => Heard::Ignored,
        }
    }

    /// Its slot is not wanted any more: whatever it was ending for, it now ends because it has to.
    pub(crate) const fn unwant(&mut self) {
        self.cause = Cause::Unwanted;
    }

    /// Somebody waits for its room: it hears the next word now, and the last one soon after.
    pub(crate) fn press(&mut self, worker: WorkerId, turn: &mut Turn<'_>) {
        match self.rung {
            Rung::Finishing | Rung::Draining | Rung::Signalled => self.due(worker, turn),
            Rung::Warned | Rung::Killed | Rung::Unkillable(_) => {}
        }
        if self.rung == Rung::Warned {
            self.next_at = self.next_at.min(turn.now + PRESSED_GRACE);
        }
    }

    /// Nobody waits for it any longer. One that was killed already is not killed again.
    pub(crate) fn hurry(&mut self, worker: WorkerId, turn: &mut Turn<'_>) {
        if !self.was_killed() {
            self.kill_and_tell(worker, turn);
        }
    }

    /// It turned out to be unfit while it was on its way out.
    pub(crate) fn unfit(&mut self, worker: WorkerId, turn: &mut Turn<'_>) -> Heard {
        if self.was_killed() {
            return Heard::Ignored;
        }
        match self.cause {
            Cause::Unwanted => {}
            Cause::OwnWord | Cause::Overdue | Cause::Unfit => self.cause = Cause::Unfit,
        }
        self.hurry(worker, turn);
        Heard::Taken
    }

    const fn was_killed(&self) -> bool {
        match self.rung {
            Rung::Finishing | Rung::Draining | Rung::Signalled | Rung::Warned => false,
            Rung::Killed | Rung::Unkillable(_) => true,
        }
    }

    #[cfg(test)]
    pub(crate) const fn rung(&self) -> Rung {
        self.rung
    }

    pub(crate) const fn cause(&self) -> Cause {
        self.cause
    }

    pub(crate) const fn next_at(&self) -> Time {
        self.next_at
    }

    /// Whether SIGKILL has had no effect for so long that nobody should wait for it.
    pub(crate) const fn is_hopeless(&self) -> bool {
        matches!(self.rung, Rung::Unkillable(_))
    }

    pub(crate) const fn state(&self) -> SlotState {
        match self.rung {
            Rung::Finishing | Rung::Draining => SlotState::Draining,
            Rung::Signalled | Rung::Warned | Rung::Killed | Rung::Unkillable(_) => SlotState::Stopping,
        }
    }

    fn terminate(&mut self, worker: WorkerId, turn: &mut Turn<'_>) {
        turn.order(Action::Terminate(worker));
        self.wait(Rung::Warned, turn.policy.stop_timeout);
    }

    fn kill_and_tell(&mut self, worker: WorkerId, turn: &mut Turn<'_>) {
        self.kill(worker, turn);
        turn.tell(Notice::Killing { worker, after: turn.now.since(self.asked_at) });
    }

    fn kill(&mut self, worker: WorkerId, turn: &mut Turn<'_>) {
        turn.order(Action::Kill(worker));
        self.rung = Rung::Killed;
        self.next_at = turn.now + KILL_WAIT;
    }

    fn kill_again(&mut self, worker: WorkerId, waited: Duration, turn: &mut Turn<'_>) {
        let wait = waited.saturating_mul(2).min(KILL_WAIT_MAX);
        turn.order(Action::Kill(worker));
        self.rung = Rung::Unkillable(wait);
        self.next_at = turn.now + wait;
    }

    /// Waits on `rung` until so long after the first word.
    fn wait(&mut self, rung: Rung, after: Duration) {
        self.rung = rung;
        self.next_at = self.asked_at + after;
    }
}

/// The second polite word comes at 90 % of the stop timeout: late enough to drain, early enough to be heard.
fn last_word_after(turn: &Turn<'_>) -> Duration {
    turn.policy.stop_timeout / 10 * 9
}
