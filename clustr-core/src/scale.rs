//! Scaling: how many slots are wanted, and who waits to hear that they are there.
//!
//! Owns what a target comes to and the one ticket that waits for it. Never touches a slot. Called by
//! [`app`](crate::app).

use crate::action::{Action, Actions, Answer};
use crate::command::{Refusal, Target};
use crate::id::Ticket;
use crate::policy::SLOTS_MAX;
use crate::roster::Tally;

/// The scaling that is under way, if one is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scale {
    waiting: Option<Ticket>,
}

impl Target {
    /// How many slots it means if so many are wanted now.
    pub(crate) fn resolve(self, wanted: u32) -> Result<u32, Refusal> {
        let target = match self {
            Self::To(count) => i64::from(count),
            Self::By(change) => i64::from(wanted) + i64::from(change),
        };
        match u32::try_from(target) {
            Ok(0) | Err(_) if target <= 0 => Err(Refusal::NoWorkers),
            Ok(count) if count <= SLOTS_MAX => Ok(count),
            Ok(_) | Err(_) => Err(Refusal::TooManyWorkers),
        }
    }
}

impl Scale {
    /// A new target replaces the one that somebody still waits for.
    pub(crate) fn begin(&mut self, ticket: Ticket, out: &mut Actions) {
        self.end(Answer::Superseded, out);
        out.push(Action::Answer(ticket, Answer::Accepted));
        self.waiting = Some(ticket);
    }

    /// Answers if every wanted slot has settled and nobody is left where nobody is wanted.
    pub(crate) fn settle(&mut self, wanted: u32, tally: Tally, out: &mut Actions) {
        if self.waiting.is_some() && tally.settled() == wanted && tally.leftover == 0 {
            let answer = if tally.gave_up == wanted { Answer::Failed } else { Answer::Done };
            self.end(answer, out);
        }
    }

    /// The last answer to whoever waits.
    pub(crate) fn end(&mut self, answer: Answer, out: &mut Actions) {
        if let Some(ticket) = self.waiting.take() {
            out.push(Action::Answer(ticket, answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_never_below_one_nor_above_the_most() {
        assert_eq!(Target::To(0).resolve(3), Err(Refusal::NoWorkers));
        assert_eq!(Target::By(-3).resolve(3), Err(Refusal::NoWorkers));
        assert_eq!(Target::By(i32::MIN).resolve(1), Err(Refusal::NoWorkers));
        assert_eq!(Target::By(-2).resolve(3), Ok(1));
        assert_eq!(Target::To(SLOTS_MAX).resolve(1), Ok(SLOTS_MAX));
        assert_eq!(Target::To(SLOTS_MAX + 1).resolve(1), Err(Refusal::TooManyWorkers));
        assert_eq!(Target::By(i32::MAX).resolve(SLOTS_MAX), Err(Refusal::TooManyWorkers));
        assert_eq!(Target::To(u32::MAX).resolve(1), Err(Refusal::TooManyWorkers));
    }
}
