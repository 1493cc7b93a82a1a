//! Where an app replaces its workers: one reload or restart at a time, and between them those that ask for it
//! themselves.
//!
//! Owns which of them has its turn. Never walks a plan: [`reload`](crate::reload) does.

#[cfg(test)]
mod table;

use alloc::vec::Vec;

use super::App;
use crate::action::{Action, Actions, Answer};
use crate::command::Refusal;
use crate::event::{Ailment, Wear, Why};
use crate::id::{Generation, SlotId, Ticket, WorkerId};
use crate::notice::{Notice, Setback};
use crate::plan::Plan;
use crate::reload::{Progress, Reload};
use crate::slot::Slot;
use crate::turn::{Heard, Signal};
use crate::view::{AppState, SlotState};

impl App {
    pub(super) fn asked_to_reload(&mut self, ticket: Ticket, plan: Plan, out: &mut Actions) -> Heard {
        match self.unhindered() {
            Ok(()) => {
                out.push(Action::Answer(ticket, Answer::Accepted));
                self.begin_reload(ticket, plan, out);
            }
            Err(Refusal::ReloadInProgress) => self.remember(ticket, plan, out),
            Err(refusal) => out.push(Action::Answer(ticket, Answer::Refused(refusal))),
        }
        Heard::Taken
    }

    pub(super) fn asked_to_restart(
        &mut self,
        ticket: Ticket,
        slot: Option<SlotId>,
        plan: Plan,
        out: &mut Actions,
    ) -> Heard {
        match self.unhindered().and_then(|()| self.restarted(slot)) {
            Ok(line) => {
                out.push(Action::Answer(ticket, Answer::Accepted));
                self.begin(ticket, self.roster.generation(), plan, line, out);
            }
            Err(refusal) => out.push(Action::Answer(ticket, Answer::Refused(refusal))),
        }
        Heard::Taken
    }

    /// What keeps an app from being changed now, if anything does.
    pub(super) fn unhindered(&self) -> Result<(), Refusal> {
        match self.state {
            AppState::Stopping | AppState::Ended => Err(Refusal::Stopping),
            AppState::Starting | AppState::Running | AppState::Reloading if self.reload.is_some() => {
                Err(Refusal::ReloadInProgress)
            }
            AppState::Starting | AppState::Running | AppState::Reloading => Ok(()),
        }
    }

    /// The latest wins.
    fn remember(&mut self, ticket: Ticket, plan: Plan, out: &mut Actions) {
        let before = self.remembered.replace((ticket, plan));
        if let Some((before, _)) = before {
            out.push(Action::Answer(before, Answer::Superseded));
        }
        out.push(Action::Answer(ticket, Answer::Accepted));
        out.notify(Notice::Remembered { instead: before.is_some() });
    }

    fn restarted(&self, slot: Option<SlotId>) -> Result<Vec<SlotId>, Refusal> {
        match slot {
            Some(slot) if slot.0 < self.wanted => Ok(Vec::from([slot])),
            Some(_) => Err(Refusal::NoSuchSlot),
            None => Ok(self.undone()),
        }
    }

    /// The wanted slots, but for those that have done their work.
    fn undone(&self) -> Vec<SlotId> {
        let undone = |slot: &SlotId| self.roster.slot(*slot).map(Slot::state) != Some(SlotState::Done);
        (0..self.wanted).map(SlotId).filter(undone).collect()
    }

    fn begin_reload(&mut self, ticket: Ticket, plan: Plan, out: &mut Actions) {
        let to = self.roster.versions.begin();
        out.push(Action::Begin(ticket, to));
        self.begin(ticket, to, plan, self.undone(), out);
    }

    fn begin(&mut self, ticket: Ticket, to: Generation, plan: Plan, line: Vec<SlotId>, out: &mut Actions) {
        self.health.interrupt(&mut self.roster, out);
        let mut reload = Reload::new(ticket, to, plan, line, &self.roster);
        out.notify(reload.begun_notice());
        let progress = reload.advance(&mut self.roster, out);
        self.go_on(reload, progress);
    }

    fn go_on(&mut self, reload: Reload, progress: Progress) {
        self.reload = match progress {
            Progress::Goes => Some(reload),
            Progress::Over => None,
        };
    }

    pub(super) fn reload_due(&mut self, out: &mut Actions) {
        // What has gone wrong in this very turn comes first.
        self.heed_signals(out);
        if let Some(mut reload) = self.reload.take() {
            let progress = reload.due(&mut self.roster, out);
            self.go_on(reload, progress);
        }
    }

    /// What follows for those that are being replaced from what has happened to their slots.
    pub(super) fn replace_workers(&mut self, out: &mut Actions) {
        self.heed_signals(out);
        while self.is_open() && self.reload.is_none() {
            let Some((ticket, plan)) = self.remembered.take() else { break };
            self.begin_reload(ticket, plan, out);
        }
        if self.is_open() && self.reload.is_none() {
            self.health.advance(&mut self.roster, out);
        }
    }

    fn heed_signals(&mut self, out: &mut Actions) {
        loop {
            let signals = self.roster.take_signals();
            if signals.is_empty() {
                return;
            }
            for signal in signals {
                self.heed(signal, out);
            }
        }
    }

    fn heed(&mut self, signal: Signal, out: &mut Actions) {
        if let Some(mut reload) = self.reload.take() {
            let progress = reload.heed(signal, &mut self.roster, out);
            self.go_on(reload, progress);
        } else if let Signal::Failed(by, setback) = signal {
            self.health.failed(by, setback, &mut self.roster, out);
        }
        if let Signal::Aged(worker) = signal {
            let _late_or_not = self.ask_renewal(worker, Why::Worn(Wear::MaxAge), out);
        }
    }

    /// One that is being tried has failed its trial; any other gets a replacement.
    pub(super) fn failing(&mut self, worker: WorkerId, ailment: Ailment, out: &mut Actions) -> Heard {
        if !self.roster.slot(worker.slot).is_some_and(|slot| slot.is_trying(worker)) {
            return self.ask_renewal(worker, Why::Failing(ailment), out);
        }
        self.heed(Signal::Failed(worker, Setback::Failing(ailment)), out);
        Heard::Taken
    }

    pub(super) fn ask_renewal(&mut self, worker: WorkerId, why: Why, out: &mut Actions) -> Heard {
        if self.is_open() { self.health.ask(worker, why, &mut self.roster, out) } else { Heard::Ignored }
    }

    /// The app ends, and with it every wish to replace somebody.
    pub(super) fn end_replacing(&mut self, out: &mut Actions) {
        if let Some(reload) = self.reload.take() {
            reload.cancel(out);
        }
        if let Some((ticket, _)) = self.remembered.take() {
            out.push(Action::Answer(ticket, Answer::Superseded));
        }
        self.health.end();
    }
}
