//! The end of an app: how strong the word was, and who waits for it.
//!
//! Owns the reason, the verdict, and the tickets of those who asked. Never touches a slot. Called by
//! [`app`](crate::app).

use alloc::vec::Vec;
use core::time::Duration;

use crate::action::{Action, Actions, Answer, Verdict};
use crate::command::{EndReason, Refusal};
use crate::id::Ticket;
use crate::time::Time;

/// A second polite signal sooner than this is the echo of the first: the terminal signals the whole process
/// group, and npm passes on what its children have received already.
const ECHO: Duration = Duration::from_millis(500);

/// Bound: so many callers may wait for the end of one app by words that change nothing.
const TICKETS_MAX: usize = 64;

/// How an app is ending, if it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown {
    reason: Option<EndReason>,
    verdict: Option<Verdict>,
    signalled_at: Option<Time>,
    waiting: Vec<Ticket>,
}

/// What a word comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) enum Word {
    /// The first one, and polite: every worker is asked to stop.
    Stop,
    /// Nobody is waited for.
    Kill,
    /// A stronger reason for what is being done anyway.
    Noted,
    /// Equal or weaker than what was said before.
    Nothing,
}

impl Shutdown {
    /// The first word decides how the app will have ended; a stronger one only how soon.
    pub(crate) fn escalate(&mut self, reason: EndReason) -> Word {
        if self.reason >= Some(reason) {
            return Word::Nothing;
        }
        let first = self.reason.is_none();
        self.reason = Some(reason);
        self.verdict = self.verdict.or(Some(verdict(reason)));
        match reason {
            EndReason::AtOnce => Word::Kill,
            EndReason::Finished | EndReason::GaveUp | EndReason::Asked | EndReason::Signalled => {
                if first {
                    Word::Stop
                } else {
                    Word::Noted
                }
            }
        }
    }

    /// What a polite signal means now: nothing if it is an echo.
    pub(crate) fn signal(&mut self, now: Time) -> Option<EndReason> {
        match self.signalled_at {
            None => {
                self.signalled_at = Some(now);
                Some(EndReason::Signalled)
            }
            Some(first) if now.since(first) < ECHO => None,
            Some(_) => Some(EndReason::AtOnce),
        }
    }

    /// Somebody wants to hear of the end. Whether there is room for one more: there always is for a stronger
    /// word, of which there are but a few.
    pub(crate) fn admit(&mut self, ticket: Ticket, reason: EndReason, out: &mut Actions) -> bool {
        let room = self.waiting.len() < TICKETS_MAX || self.reason < Some(reason);
        if room {
            self.waiting.push(ticket);
            out.push(Action::Answer(ticket, Answer::Accepted));
        } else {
            out.push(Action::Answer(ticket, Answer::Refused(Refusal::Stopping)));
        }
        room
    }

    /// Answers everybody who waited.
    pub(crate) fn finish(&mut self, out: &mut Actions) {
        for ticket in self.waiting.drain(..) {
            out.push(Action::Answer(ticket, Answer::Done));
        }
    }

    #[cfg(test)]
    pub(crate) const fn reason(&self) -> Option<EndReason> {
        self.reason
    }

    #[cfg(test)]
    pub(crate) const fn has_been_signalled(&self) -> bool {
        self.signalled_at.is_some()
    }

    pub(crate) const fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }
}

const fn verdict(reason: EndReason) -> Verdict {
    match reason {
        EndReason::Finished => Verdict::Finished,
        EndReason::GaveUp => Verdict::GaveUp,
        EndReason::Asked | EndReason::Signalled | EndReason::AtOnce => Verdict::Stopped,
    }
}
