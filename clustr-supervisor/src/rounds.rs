//! Wishes for all apps, fulfilled by one after another.
//!
//! Owns how far each such wish has come. The first app that cannot fulfil it ends it, and those after it are left as they are: a
//! version that fails in one is not tried in the next. Never fulfils anything: that is the apps'. Called by `requests` and
//! `heed`.

use std::collections::{BTreeMap, VecDeque};

use clustr_core::{Answer, Command, Event, Ticket};

use crate::control::{Outcome, Whose};
use crate::news::Fact;
use crate::supervisor::{Member, Supervisor};

/// Tickets of rounds count from here: more than the control socket's clients ever come to, less than those of handles.
const FIRST_TICKET: u64 = 1 << 61;

/// All that are under way. Bound: one for each request that a client or a handle may be owed; those of signals replace each
/// other in the first app that they come to.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    under_way: BTreeMap<Ticket, Round>,
    begun: u64,
}

/// One wish.
#[derive(Debug)]
struct Round {
    asker: Ticket,
    command: Command,
    /// Those whose turn has not come.
    left: VecDeque<usize>,
    is_accepted: bool,
}

impl Supervisor {
    /// Has all apps that are there fulfil a wish, one after another.
    pub(crate) fn begin_round(&mut self, asker: Ticket, command: Command) {
        let left = (0..self.apps.len()).filter(|number| self.order.is_there(*number)).collect();
        let ticket = Ticket(FIRST_TICKET + self.rounds.begun);
        self.rounds.begun += 1;
        self.rounds.under_way.insert(ticket, Round { asker, command, left, is_accepted: false });
        self.go_round(ticket);
    }

    /// An app has said what a wish came to: a round's goes on to the next app.
    pub(crate) fn answered(&mut self, number: usize, ticket: Ticket, outcome: Outcome) {
        let Some(round) = self.rounds.under_way.get_mut(&ticket) else {
            return self.tell_asker(ticket, &outcome);
        };
        match outcome.answer {
            Answer::Accepted if round.is_accepted => {}
            Answer::Accepted => {
                round.is_accepted = true;
                let asker = round.asker;
                self.tell_asker(asker, &outcome);
            }
            Answer::Done => self.go_round(ticket),
            Answer::Refused(_)
            | Answer::Superseded
            | Answer::RolledBack
            | Answer::GaveUp { .. }
            | Answer::Failed => self.break_off(ticket, number, outcome),
        }
    }

    fn go_round(&mut self, ticket: Ticket) {
        let Some(round) = self.rounds.under_way.get_mut(&ticket) else { return };
        let (asker, command) = (round.asker, round.command);
        while let Some(number) = round.left.pop_front() {
            if self.order.is_there(number)
                && let Some(app) = self.apps.get_mut(number).and_then(Member::app_mut)
            {
                app.inbox.push_back(Event::Asked(ticket, command));
                return app.pump();
            }
        }
        self.rounds.under_way.remove(&ticket);
        self.answer_whole(asker, Answer::Done);
    }

    fn break_off(&mut self, ticket: Ticket, number: usize, outcome: Outcome) {
        let Some(round) = self.rounds.under_way.remove(&ticket) else { return };
        let names = |number: usize| self.apps[number].name().to_owned();
        let whose = Whose { app: names(number), spared: round.left.into_iter().map(names).collect() };
        let has_failed = !matches!(outcome.answer, Answer::Superseded | Answer::Refused(_));
        if has_failed && !whose.spared.is_empty() {
            // Whoever has asked by a signal reads the log.
            let detail =
                format!("app={} has failed, left as they are: {}", whose.app, whose.spared.join(", "));
            self.tell(Fact::Warning { detail, hint: Some("clustr status".into()) });
        }
        self.tell_asker(round.asker, &Outcome { whose: Some(whose), ..outcome });
    }
}
