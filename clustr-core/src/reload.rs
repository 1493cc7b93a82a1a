//! Reload and restart: a plan walked batch by batch, until the new generation is confirmed or the old one serves
//! again.
//!
//! Owns how far the walk has come, and what one failure means for all. Never decides who follows whom in a slot,
//! and never what a generation is. Called by [`app`](crate::app).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::action::{Action, Actions, Answer};
use crate::id::{Generation, SlotId, Ticket, WorkerId};
use crate::notice::{Notice, Setback};
use crate::plan::{Old, Plan};
use crate::roster::Roster;
use crate::slot::Slot;
use crate::time::Time;
use crate::turn::Signal;
use crate::view::{Deadline, Due, ReloadView};

/// A reload or restart that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Reload {
    ticket: Ticket,
    from: Generation,
    to: Generation,
    plan: Plan,
    began_at: Time,
    /// The slots concerned, in their order.
    line: Vec<SlotId>,
    /// So many of them have been watched: their batches are through.
    through: usize,
    /// So many of them have been given a newcomer.
    begun: usize,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Newcomers have been ordered; so many are not ready yet.
    Gathering { missing: usize },
    /// All of the batch are ready, and watched until then.
    Settling { until: Time },
    /// The batch is through; those that it replaced end first.
    Clearing { old: BTreeSet<WorkerId> },
}

/// Whether it goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) enum Progress {
    Goes,
    Over,
}

impl Reload {
    /// Before the first batch: [`advance`](Self::advance) starts it.
    pub(crate) fn new(
        ticket: Ticket,
        to: Generation,
        plan: Plan,
        line: Vec<SlotId>,
        roster: &Roster,
    ) -> Self {
        let (from, began_at) = (roster.generation(), roster.now());
        let stage = Stage::Gathering { missing: 0 };
        Self { ticket, from, to, plan, began_at, line, through: 0, begun: 0, stage }
    }

    /// Starts the next batch; after the last one the new generation is confirmed.
    pub(crate) fn advance(&mut self, roster: &mut Roster, out: &mut Actions) -> Progress {
        let size = self.plan.batch(self.begun, self.line.len());
        if size == 0 {
            return self.confirm(roster, out);
        }
        let batch = self.begun..self.begun + size;
        self.begun = batch.end;
        self.stage = Stage::Gathering { missing: size };
        for slot in &self.line[batch] {
            roster.at(*slot, out, |slot, turn| slot.bring(self.to, false, turn));
        }
        Progress::Goes
    }

    /// A slot has told something.
    pub(crate) fn heed(&mut self, signal: Signal, roster: &mut Roster, out: &mut Actions) -> Progress {
        match signal {
            Signal::Arrived(_) => self.arrived(roster, out),
            Signal::Failed(worker, setback) => self.roll_back(worker, setback, roster, out),
            Signal::Gone(worker) => self.gone(worker, roster, out),
            Signal::Aged(_) => Progress::Goes,
        }
    }

    fn arrived(&mut self, roster: &mut Roster, out: &mut Actions) -> Progress {
        let Stage::Gathering { missing } = &mut self.stage else { return Progress::Goes };
        *missing = missing.saturating_sub(1);
        if *missing > 0 {
            return Progress::Goes;
        }
        let (settle, now) = (self.plan.settle(), roster.now());
        if settle.is_zero() {
            return self.settled(roster, out);
        }
        self.stage = Stage::Settling { until: now + settle };
        let (ready, slots) = (count(self.begun), count(self.line.len()));
        out.notify(Notice::Settling { to: self.to, ready, slots, settle });
        Progress::Goes
    }

    fn gone(&mut self, worker: WorkerId, roster: &mut Roster, out: &mut Actions) -> Progress {
        let Stage::Clearing { old } = &mut self.stage else { return Progress::Goes };
        if old.remove(&worker) && old.is_empty() { self.advance(roster, out) } else { Progress::Goes }
    }

    /// Does what is due now.
    pub(crate) fn due(&mut self, roster: &mut Roster, out: &mut Actions) -> Progress {
        match self.stage {
            Stage::Settling { until } if until <= roster.now() => self.settled(roster, out),
            Stage::Settling { .. } | Stage::Gathering { .. } | Stage::Clearing { .. } => Progress::Goes,
        }
    }

    /// The batch is through. Who stood by for it goes now, if the plan has no memory for two generations: with the
    /// last batch all of them go in any case.
    fn settled(&mut self, roster: &mut Roster, out: &mut Actions) -> Progress {
        let batch = core::mem::replace(&mut self.through, self.begun)..self.begun;
        if self.plan.old() == Old::Parked || self.begun == self.line.len() {
            return self.advance(roster, out);
        }
        let (mut old, on_trial) = (BTreeSet::new(), self.from != self.to);
        for slot in &self.line[batch] {
            old.extend(roster.at(*slot, out, |slot, turn| slot.promote(on_trial, turn)));
        }
        if old.is_empty() {
            return self.advance(roster, out);
        }
        self.stage = Stage::Clearing { old };
        Progress::Goes
    }

    fn confirm(&mut self, roster: &mut Roster, out: &mut Actions) -> Progress {
        roster.versions.confirm(self.to);
        let took = roster.now().since(self.began_at);
        out.notify(Notice::Reloaded { from: self.from, to: self.to, took });
        for slot in &self.line {
            roster.at(*slot, out, |slot, turn| {
                slot.promote(false, turn);
                slot.confirm(turn);
            });
        }
        out.push(Action::Answer(self.ticket, Answer::Done));
        Progress::Over
    }

    /// One failure ends it: newcomers are stopped, who stood by serves again, what was replaced is put back.
    fn roll_back(
        &self,
        worker: WorkerId,
        setback: Setback,
        roster: &mut Roster,
        out: &mut Actions,
    ) -> Progress {
        let tried = self.to;
        let replaced = if self.plan.old() == Old::Replaced { self.promoted(roster) } else { Vec::new() };
        let back = if self.from == self.to { Back::Same } else { self.way_back(&replaced, roster) };
        let (serves, put_back, lost, answer) = match back {
            Back::Same => (self.from, 0, 0, still_serving(worker, roster)),
            Back::Restart => (self.from, count(replaced.len()), 0, Answer::RolledBack),
            Back::Strand => (self.from, 0, count(replaced.len()), Answer::RolledBack),
            Back::Keep => (self.to, 0, count(replaced.len()), Answer::Failed),
        };
        out.notify(Notice::RolledBack { tried, serves, worker, setback, put_back, lost });
        roster.versions.confirm(serves);
        for slot in &self.line[..self.begun] {
            roster.at(*slot, out, Slot::abandon);
        }
        let put_back = match back {
            Back::Same | Back::Keep => Slot::confirm,
            Back::Restart => Slot::retire,
            Back::Strand => Slot::strand,
        };
        for slot in replaced {
            roster.at(slot, out, put_back);
        }
        out.push(Action::Answer(self.ticket, answer));
        Progress::Over
    }

    /// The slots that are held by the new generation already.
    fn promoted(&self, roster: &Roster) -> Vec<SlotId> {
        let on_trial = |slot: &SlotId| roster.slot(*slot).is_some_and(Slot::is_on_trial);
        self.line[..self.begun].iter().copied().filter(on_trial).collect()
    }

    /// A bad version is not left to serve, unless nobody else would.
    fn way_back(&self, replaced: &[SlotId], roster: &Roster) -> Back {
        if replaced.is_empty() || !roster.versions.is_lost(self.from) {
            return Back::Restart;
        }
        let serves = |slot: &SlotId| {
            roster.slot(*slot).is_some_and(|slot| {
                !slot.is_on_trial() && slot.worker().is_some_and(crate::worker::Worker::is_ready)
            })
        };
        if self.line.iter().any(serves) { Back::Strand } else { Back::Keep }
    }

    /// The app ends: so does this, and what happens to the workers is the app's.
    pub(crate) fn cancel(&self, out: &mut Actions) {
        out.notify(Notice::ReloadCancelled { to: self.to });
        out.push(Action::Answer(self.ticket, Answer::Superseded));
    }

    pub(crate) fn begun_notice(&self) -> Notice {
        Notice::Reloading { from: self.from, to: self.to, slots: count(self.line.len()) }
    }

    pub(crate) const fn tries(&self) -> Generation {
        self.to
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        match self.stage {
            Stage::Settling { until } if until < Time::MAX => Some(Deadline { at: until, why: Due::Settle }),
            Stage::Settling { .. } | Stage::Gathering { .. } | Stage::Clearing { .. } => None,
        }
    }

    pub(crate) fn view(&self, remembered: bool) -> ReloadView {
        let missing = match self.stage {
            Stage::Gathering { missing } => missing,
            Stage::Settling { .. } | Stage::Clearing { .. } => 0,
        };
        ReloadView {
            from: self.from,
            to: self.to,
            ready: count(self.begun.saturating_sub(missing)),
            slots: count(self.line.len()),
            remembered,
        }
    }

    #[cfg(test)]
    pub(crate) const fn stage_name(&self) -> &'static str {
        match self.stage {
            Stage::Gathering { .. } => "gathering",
            Stage::Settling { .. } => "settling",
            Stage::Clearing { .. } => "clearing",
        }
    }
}

/// What becomes of slots that were replaced already, when it fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Back {
    /// Nothing: they hold what they held before, in a younger process.
    Same,
    /// The old generation is started again there.
    Restart,
    /// The old generation is lost: they are left empty, and the others go on.
    Strand,
    /// The old generation is lost, and nobody of it serves any more: the new one is better than nobody.
    Keep,
}

/// What a restart came to of which this worker failed: where nobody serves in its slot, there was nothing to go back to.
fn still_serving(failed: WorkerId, roster: &Roster) -> Answer {
    let holder = roster.slot(failed.slot).and_then(Slot::worker);
    if holder.is_some_and(crate::worker::Worker::is_ready) { Answer::RolledBack } else { Answer::Failed }
}

/// Slots are at most [`SLOTS_MAX`](crate::SLOTS_MAX).
fn count(slots: usize) -> u32 {
    u32::try_from(slots).unwrap_or(u32::MAX)
}
