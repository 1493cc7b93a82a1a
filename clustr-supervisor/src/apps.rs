//! The beginning and the end of each app of a primary, in order.
//!
//! Owns how the whole stops, and who waits to hear that it has. Never decides who is next (that is `order`'s), nor how an app
//! stops (the core's). A primary of one app hands every word about its end to that app. Called by the turn of the loop in
//! `supervisor`, and by `heed` and `requests`.

use std::time::Duration;

use clustr_core::{Answer, Command, EndReason, Event, Ticket, Time};

use crate::app::App;
use crate::control::Outcome;
use crate::news::Fact;
use crate::supervisor::{Member, Supervisor};

/// The ticket of wishes that nobody waits for: those that came as signals.
pub(crate) const NOBODY: Ticket = Ticket(u64::MAX);

/// A second polite signal sooner than this is the echo of the first, as it is for each app.
const ECHO: Duration = Duration::from_millis(500);

/// How several apps stop together, if they do.
#[derive(Debug, Default)]
pub(crate) struct Stopping {
    /// What each is told when it is its turn.
    word: Option<Event>,
    signalled_at: Option<Time>,
    /// Who waits for the end of all. Bound: what clients and handles may be owed.
    asked: Vec<Ticket>,
}

impl Supervisor {
    /// Starts and stops the apps whose turn has come; lets go of those that have ended.
    pub(crate) fn move_on(&mut self) {
        loop {
            self.let_go();
            if let Some(number) = self.order.next_to_start() {
                self.app_mut(number).into_iter().for_each(App::start);
            } else if let Some((number, cause)) = self.order.next_in_vain() {
                self.tell_in_vain(number, cause);
            } else if let Some(number) = self.order.next_to_stop() {
                let word = self.stopping.word.unwrap_or(Event::Interrupted);
                self.say_to(number, word);
            } else {
                break;
            }
            self.pass_on();
        }
        if let Some(superior) = self.superior.as_mut().filter(|_| self.apps.len() > 1) {
            superior.look(&self.order);
        }
        if self.order.verdict().is_some() {
            for ticket in std::mem::take(&mut self.stopping.asked) {
                self.answer_whole(ticket, Answer::Done);
            }
        }
    }

    /// A polite signal: the first stops all apps in their order; a second one, that is no echo, at once.
    pub(crate) fn interrupt(&mut self) {
        if self.apps.len() == 1 {
            return self.say_to(0, Event::Interrupted);
        }
        match self.stopping.signalled_at {
            Some(first) if self.now.since(first) < ECHO => {}
            Some(_) => self.stop_all(EndReason::AtOnce, NOBODY),
            None => {
                self.stopping.signalled_at = Some(self.now);
                self.stop_in_order(Event::Interrupted);
            }
        }
    }

    /// Stops all apps, in their order or at once; whoever asked is told when nothing runs any more.
    pub(crate) fn stop_all(&mut self, reason: EndReason, ticket: Ticket) {
        let word = Event::Asked(NOBODY, Command::Stop(reason));
        if self.apps.len() == 1 {
            return self.say_to(0, Event::Asked(ticket, Command::Stop(reason)));
        }
        if ticket != NOBODY {
            self.stopping.asked.push(ticket);
            self.answer_whole(ticket, Answer::Accepted);
        }
        if reason == EndReason::AtOnce {
            for number in self.order.tell_all() {
                self.say_to(number, word);
            }
        } else {
            self.stop_in_order(word);
        }
    }

    fn stop_in_order(&mut self, word: Event) {
        self.stopping.word.get_or_insert(word);
        self.order.stop();
    }

    fn say_to(&mut self, number: usize, event: Event) {
        if let Some(app) = self.app_mut(number) {
            app.inbox.push_back(event);
            app.pump();
        }
    }

    /// Of an app that has ended among others nothing stays but its picture: its listeners close, so that clients are refused
    /// rather than kept waiting.
    fn let_go(&mut self) {
        if self.apps.len() == 1 {
            return;
        }
        for number in 0..self.apps.len() {
            let is_over = !self.order.is_there(number) && !self.order.is_waiting(number);
            let Some(app) = self.app_mut(number).filter(|_| is_over) else { continue };
            app.abandon();
            self.pass_on();
            let picture = self.app_status(number, None, false);
            self.apps[number] = Member::Ended(Box::new(picture));
        }
    }

    fn tell_in_vain(&mut self, number: usize, cause: usize) {
        let [name, cause] = [number, cause].map(|one| self.apps[one].name().to_owned());
        let detail = format!("app={name} is not started: it is after app={cause}, which has ended");
        self.tell(Fact::Warning { detail, hint: Some(format!("clustr status --app {cause}")) });
    }

    /// Tells whoever asked for something of all apps what it has come to.
    pub(crate) fn answer_whole(&mut self, ticket: Ticket, answer: Answer) {
        self.tell_asker(ticket, &Outcome { answer, setback: None, whose: None });
    }
}
