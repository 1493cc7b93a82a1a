//! The root machine: facts in, orders out.
//!
//! Owns what concerns all slots at once: how many are wanted, when the app runs, and how it ends. Never does
//! anything itself, and never looks at all slots for one event. Called by the shell, one fact at a time.

mod rollout;
#[cfg(test)]
mod table;

use crate::action::{Action, Actions, Answer, Verdict};
use crate::command::{Command, EndReason, Refusal, Target};
use crate::event::{Event, Fact, Why};
use crate::health::Health;
use crate::id::{SlotId, Ticket};
use crate::notice::Notice;
use crate::plan::Plan;
use crate::policy::Policy;
use crate::reload::Reload;
use crate::roster::Roster;
use crate::scale::Scale;
use crate::shutdown::{Shutdown, Word};
use crate::slot::Slot;
use crate::time::Time;
use crate::turn::Heard;
use crate::view::{AppState, AppView, Deadline, SlotView, WorkerView};

/// One app: its slots, their workers, and the rules.
///
/// Its methods are of three kinds. `start`, `handle` and `handle_timeout` take in what has happened and
/// return what has to be done. `deadline` says when to call `handle_timeout`. `view`, `slots` and `slot` are
/// pictures. There is nothing else to call, and no order to remember.
///
/// Every moment given to it should be read from one monotonic clock; one earlier than the last counts as
/// the last.
#[derive(Clone, Debug)]
pub struct App {
    roster: Roster,
    scale: Scale,
    shutdown: Shutdown,
    reload: Option<Reload>,
    /// The one that begins when this one is over.
    remembered: Option<(Ticket, Plan)>,
    health: Health,
    state: AppState,
    wanted: u32,
    ignored_events: u64,
}

impl App {
    /// An app that has not started. `seed` is its only randomness (it jitters the rests).
    #[must_use]
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self {
            wanted: policy.slots,
            roster: Roster::new(policy, seed),
            scale: Scale::default(),
            shutdown: Shutdown::default(),
            reload: None,
            remembered: None,
            health: Health::default(),
            state: AppState::Starting,
            ignored_events: 0,
        }
    }

    /// Starts every wanted slot. Called once; again, it changes nothing.
    pub fn start(&mut self, now: Time) -> Actions {
        self.turn(now, |app, out| {
            app.roster.each(0, app.wanted, out, Slot::open);
        })
    }

    /// Takes in a fact. None is invalid: one that comes late, twice or out of place is counted in
    /// [`AppView::ignored_events`] and changes nothing.
    pub fn handle(&mut self, event: Event, now: Time) -> Actions {
        let mut heard = Heard::Ignored;
        let orders = self.turn(now, |app, out| heard = app.take_in(event, out));
        self.ignored_events += u64::from(heard == Heard::Ignored);
        orders
    }

    /// Does what is due: one step for each slot whose deadline has come. A slot that has more to do at once
    /// (the clock may have jumped) shows it in [`deadline`](Self::deadline), for the next call.
    pub fn handle_timeout(&mut self, now: Time) -> Actions {
        self.turn(now, |app, out| {
            app.roster.run_due(out);
            app.reload_due(out);
        })
    }

    /// One turn: something happens, and the app as a whole draws its conclusions. After the end nothing does.
    fn turn(&mut self, now: Time, work: impl FnOnce(&mut Self, &mut Actions)) -> Actions {
        let mut out = Actions::none();
        if self.state != AppState::Ended {
            self.roster.advance(now);
            work(self, &mut out);
            self.conclude(&mut out);
        }
        debug_assert_eq!(self.check(), Ok(()));
        out
    }

    fn take_in(&mut self, event: Event, out: &mut Actions) -> Heard {
        let roster = &mut self.roster;
        match event {
            Event::Spawned(worker) => roster.hear(worker, Fact::Spawned, out),
            Event::SpawnFailed(worker, fault) => roster.hear(worker, Fact::SpawnFailed(fault), out),
            Event::Ready(worker) => roster.hear(worker, Fact::Ready, out),
            Event::AssumedReady(worker) => roster.hear(worker, Fact::AssumedReady, out),
            Event::Left(worker) => roster.hear(worker, Fact::Left, out),
            Event::Drained(worker) => roster.hear(worker, Fact::Drained, out),
            Event::DrainFailed(worker) => roster.hear(worker, Fact::DrainFailed, out),
            Event::Unfit(worker) => roster.hear(worker, Fact::Unfit, out),
            Event::Exited(worker, exit) => roster.hear(worker, Fact::Exited(exit), out),
            Event::Failing(worker, ailment) => self.failing(worker, ailment, out),
            Event::Recovered(worker) => self.health.recovered(worker, roster, out),
            Event::Worn(worker, wear) => self.ask_renewal(worker, Why::Worn(wear), out),
            Event::Awaited(slot) => roster.awaited(slot, out),
            Event::Lost(generation) if roster.versions.lose(generation) => Heard::Taken,
            Event::Lost(_) => Heard::Ignored,
            Event::Asked(ticket, Command::Scale(target)) => self.asked_to_scale(ticket, target, out),
            Event::Asked(ticket, Command::Reload(plan)) => self.asked_to_reload(ticket, plan, out),
            Event::Asked(ticket, Command::Restart(slot, plan)) => {
                self.asked_to_restart(ticket, slot, plan, out)
            }
            Event::Asked(ticket, Command::Stop(reason)) => self.asked_to_stop(ticket, reason, out),
            Event::Interrupted => self.interrupted(out),
        }
    }

    fn asked_to_scale(&mut self, ticket: Ticket, target: Target, out: &mut Actions) -> Heard {
        match self.unhindered().and_then(|()| self.resolve(target)) {
            Ok(to) => {
                self.scale.begin(ticket, self.wanted, to, &self.roster, out);
                self.rescale(to, out);
            }
            Err(refusal) => out.push(Action::Answer(ticket, Answer::Refused(refusal))),
        }
        Heard::Taken
    }

    /// Scaling never ends an app: if all slots that would stay have given up or are done, nobody would serve.
    fn resolve(&self, target: Target) -> Result<u32, Refusal> {
        let to = target.resolve(self.wanted)?;
        if self.roster.has_hope(to) { Ok(to) } else { Err(Refusal::NoWorkers) }
    }

    /// Only slots that become wanted, or cease to be, are touched: one that gave up and stays wanted is not
    /// re-armed by asking for another.
    fn rescale(&mut self, to: u32, out: &mut Actions) {
        let from = core::mem::replace(&mut self.wanted, to);
        if from != to {
            out.notify(Notice::Scaled { from, to });
        }
        self.roster.each(from, to, out, Slot::want);
        self.roster.each_back(to, from, out, Slot::unwant);
    }

    fn asked_to_stop(&mut self, ticket: Ticket, reason: EndReason, out: &mut Actions) -> Heard {
        // Whoever asks has asked: no caller can declare the app finished.
        let reason = reason.max(EndReason::Asked);
        if self.shutdown.admit(ticket, reason, out) {
            self.end(reason, Answer::Superseded, out);
        }
        Heard::Taken
    }

    fn interrupted(&mut self, out: &mut Actions) -> Heard {
        match self.shutdown.signal(self.roster.now()) {
            Some(reason) => {
                self.end(reason, Answer::Superseded, out);
                Heard::Taken
            }
            None => Heard::Ignored,
        }
    }

    /// What follows for the app from what has happened to its slots.
    fn conclude(&mut self, out: &mut Actions) {
        self.replace_workers(out);
        if self.is_open() {
            match self.reason_to_end() {
                Some(reason) => {
                    self.scale.settle(self.wanted, &self.roster, out);
                    self.end(reason, Answer::Failed, out);
                }
                None => self.settle(out),
            }
        }
        let tried = self.reload.as_ref().map(Reload::tries);
        self.roster.versions.forget(tried, out);
        if self.state == AppState::Stopping && self.roster.tally().alive == 0 {
            self.leave(out);
        }
    }

    /// Whether it does more than end.
    const fn is_open(&self) -> bool {
        match self.state {
            AppState::Starting | AppState::Running | AppState::Reloading => true,
            AppState::Stopping | AppState::Ended => false,
        }
    }

    /// What a reload tries may well be the remedy: nothing is given up while one is under way.
    fn reason_to_end(&self) -> Option<EndReason> {
        if self.reload.is_some() {
            return None;
        }
        let tally = self.roster.tally();
        let over = tally.gave_up + tally.done == self.wanted;
        if tally.gave_up > 0 && (over || !self.roster.is_proven()) {
            Some(EndReason::GaveUp)
        } else {
            over.then_some(EndReason::Finished)
        }
    }

    fn settle(&mut self, out: &mut Actions) {
        let tally = self.roster.tally();
        if self.state == AppState::Starting && tally.settled() == self.wanted {
            self.state = AppState::Running;
            out.notify(Notice::Running { ready: tally.ready });
        }
        self.scale.settle(self.wanted, &self.roster, out);
    }

    /// The app ends, or ends faster. `unfinished` is what a scaling comes to that was under way.
    fn end(&mut self, reason: EndReason, unfinished: Answer, out: &mut Actions) {
        let all = self.roster.len();
        let word = self.shutdown.escalate(reason);
        if word == Word::Nothing {
            return;
        }
        // The app's news come before those of its workers, which are its consequences.
        out.notify(Notice::Ending { reason });
        self.end_replacing(out);
        match word {
            Word::Nothing | Word::Noted => {}
            Word::Stop => self.roster.each(0, all, out, Slot::unwant),
            Word::Kill => self.roster.each(0, all, out, Slot::kill),
        }
        self.state = AppState::Stopping;
        self.wanted = 0;
        self.scale.end(unfinished, out);
    }

    fn leave(&mut self, out: &mut Actions) {
        self.state = AppState::Ended;
        self.roster.close();
        self.shutdown.finish(out);
        let verdict = self.shutdown.verdict().unwrap_or(Verdict::Stopped);
        out.notify(Notice::Ended { verdict });
        out.push(Action::Leave(verdict));
    }

    /// When to call `handle_timeout`, and for what. `None`: not before something happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        if self.state == AppState::Ended {
            return None;
        }
        let health = if self.reload.is_none() { self.health.deadline() } else { None };
        let reload = self.reload.as_ref().and_then(Reload::deadline);
        let all = self.roster.deadline().into_iter().chain(reload).chain(health);
        all.min_by_key(|deadline| deadline.at)
    }

    /// A picture of the app.
    #[must_use]
    pub fn view(&self) -> AppView {
        let reload = self.reload.as_ref().map(|reload| reload.view(self.remembered.is_some()));
        AppView {
            state: if reload.is_some() { AppState::Reloading } else { self.state },
            wanted: self.wanted,
            ready: self.roster.tally().ready,
            generation: self.roster.generation(),
            reload,
            ignored_events: self.ignored_events,
        }
    }

    /// A picture of every worker, by slot: who holds it, who is to take its place, who had it.
    pub fn workers(&self) -> impl Iterator<Item = WorkerView> + '_ {
        self.roster.workers()
    }

    /// A picture of every slot that is wanted or not empty, by number.
    pub fn slots(&self) -> impl Iterator<Item = SlotView> + '_ {
        (0..self.roster.len()).filter_map(|number| self.slot(SlotId(number)))
    }

    /// A picture of one slot, if it is wanted or not empty.
    #[must_use]
    pub fn slot(&self, slot: SlotId) -> Option<SlotView> {
        self.roster.view(slot)
    }

    /// Whether everything is as it always has to be; looks at every slot. Debug builds call it after each turn.
    ///
    /// # Errors
    /// The first invariant that does not hold: a bug in this crate.
    pub fn check(&self) -> Result<(), &'static str> {
        self.roster.check(self.wanted, self.state == AppState::Ended)?;
        let tally = self.roster.tally();
        match self.state {
            AppState::Reloading => Err("that an app reloads is seen, not remembered"),
            AppState::Starting | AppState::Running if self.reason_to_end().is_some() => {
                Err("an app with nothing left to hope for ends")
            }
            AppState::Stopping if tally.alive == 0 => Err("an app whose workers are gone has ended"),
            AppState::Ended if tally.alive > 0 => Err("an app that has ended has no workers"),
            AppState::Starting | AppState::Running | AppState::Stopping | AppState::Ended => Ok(()),
        }
    }
}
