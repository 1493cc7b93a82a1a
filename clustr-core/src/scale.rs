//! Scaling: how many slots are wanted, and who waits to hear that they are there.
//!
//! Owns what a target comes to, the one ticket that waits for it, and for whom. Never touches a slot. Called by
//! [`app`](crate::app).

use alloc::collections::BTreeSet;

use crate::action::{Action, Actions, Answer};
use crate::command::{Refusal, Target};
use crate::id::{SlotId, Ticket};
use crate::policy::SLOTS_MAX;
use crate::roster::Roster;

/// The scaling that is under way, if one is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scale {
    waiting: Option<Ticket>,
    /// The slots that became wanted by it, or by those that it replaced and that were not there yet.
    /// Bound: the most slots there can be.
    anew: BTreeSet<SlotId>,
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
    pub(crate) fn begin(&mut self, ticket: Ticket, from: u32, to: u32, roster: &Roster, out: &mut Actions) {
        let mut anew = core::mem::take(&mut self.anew);
        self.end(Answer::Superseded, out);
        out.push(Action::Answer(ticket, Answer::Accepted));
        // One that had given up before is not the fault of this one.
        anew.retain(|slot| slot.0 < to && !roster.gave_up(*slot));
        anew.extend((from..to).map(SlotId));
        self.anew = anew;
        self.waiting = Some(ticket);
    }

    /// Answers if every wanted slot has settled and nobody is left where nobody is wanted.
    pub(crate) fn settle(&mut self, wanted: u32, roster: &Roster, out: &mut Actions) {
        let tally = roster.tally();
        if self.waiting.is_some() && tally.settled() == wanted && tally.leftover == 0 {
            self.end(self.outcome(roster), out);
        }
    }

    fn outcome(&self, roster: &Roster) -> Answer {
        let mut missing = self.anew.iter().filter(|slot| roster.gave_up(**slot));
        match missing.next() {
            Some(&slot) => {
                Answer::GaveUp { slot, others: u32::try_from(missing.count()).unwrap_or(u32::MAX) }
            }
            None => Answer::Done,
        }
    }

    /// The last answer to whoever waits.
    pub(crate) fn end(&mut self, answer: Answer, out: &mut Actions) {
        self.anew.clear();
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
