//! Workers that are replaced for their own sake: those that fail, and those that have served long enough.
//!
//! Owns who is next, and the one replacement that is under way. Never finds out by itself that a worker fails:
//! the shell probes, and says so. Called by [`app`](crate::app).
//!
//! One worker of an app at a time, those that fail before those that are worn, and a jittered second between two:
//! workers do not go together, not even if all of them ask for it. A failing one is removed when its replacement
//! is ready, or at the hang timeout anyway, counted from the moment at which its turn came.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::action::Actions;
use crate::event::Why;
use crate::id::{SlotId, WorkerId};
use crate::notice::{Notice, Setback};
use crate::roster::Roster;
use crate::slot::Slot;
use crate::time::Time;
use crate::turn::Heard;
use crate::view::{Deadline, Due};
use crate::worker::Worker;

/// Between two replacements: long enough to see whether the first one serves.
const PAUSE: Duration = Duration::from_secs(1);

/// After a replacement that would not do. Whatever kept it from serving would keep the next one too.
const PAUSE_AFTER_SETBACK: Duration = Duration::from_secs(30);

/// How much both pauses are jittered.
const PAUSE_JITTER_PERCENT: u8 = 50;

/// Who is to be replaced, and who is being replaced.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// Bound: one for each slot.
    requests: BTreeMap<SlotId, Request>,
    /// The same, in the order of their turns.
    line: BTreeSet<Place>,
    asked: u64,
    under_way: Option<Renewal>,
    /// Nobody's turn comes before.
    pause_until: Time,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    worker: WorkerId,
    why: Why,
    place: Place,
}

/// Those that fail first, then by the order in which it was asked for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Place {
    worn: bool,
    asked: u64,
    slot: SlotId,
}

#[derive(Clone, Copy, Debug)]
struct Renewal {
    worker: WorkerId,
    why: Why,
    /// The replacement, while there is one.
    by: Option<WorkerId>,
    /// When the worker is removed whether or not it has been replaced, if it is failing.
    remove_at: Time,
}

impl Health {
    /// Somebody says that `worker` should be replaced.
    pub(crate) fn ask(&mut self, worker: WorkerId, why: Why, roster: &Roster) -> Heard {
        if !holds_ready(worker, roster) {
            return Heard::Ignored;
        }
        if let Some(renewal) = self.under_way.as_mut().filter(|renewal| renewal.worker == worker) {
            if is_worn(renewal.why) && !is_worn(why) {
                renewal.why = why;
                renewal.remove_at = roster.now() + roster.policy().hang_timeout;
            }
            return Heard::Taken;
        }
        let known = self.requests.get(&worker.slot).filter(|request| request.worker == worker);
        if known.is_none_or(|request| is_worn(request.why) && !is_worn(why)) {
            self.enter(worker, why);
        }
        Heard::Taken
    }

    /// It serves again. What was asked for because it failed is called off.
    pub(crate) fn recovered(&mut self, worker: WorkerId, roster: &mut Roster, out: &mut Actions) -> Heard {
        if self.under_way.is_some_and(|renewal| renewal.worker == worker && !is_worn(renewal.why)) {
            roster.at(worker.slot, out, Slot::abandon);
            self.finish(roster);
            return Heard::Taken;
        }
        let asked = self.requests.get(&worker.slot).copied();
        match asked.filter(|request| request.worker == worker && !is_worn(request.why)) {
            Some(request) => {
                self.strike(request);
                Heard::Taken
            }
            None => Heard::Ignored,
        }
    }

    /// A replacement will not do.
    pub(crate) fn failed(&mut self, by: WorkerId, setback: Setback, roster: &mut Roster, out: &mut Actions) {
        let Some(renewal) = self.under_way.as_mut().filter(|renewal| renewal.by == Some(by)) else {
            return;
        };
        renewal.by = None;
        let Renewal { worker, why, .. } = *renewal;
        out.notify(Notice::NotRenewed { worker, why, setback });
        roster.at(worker.slot, out, Slot::abandon);
        if is_worn(why) {
            self.under_way = None;
            self.pause(PAUSE_AFTER_SETBACK, roster);
            self.enter(worker, why);
        }
    }

    /// Goes on with the one under way, then with the next.
    pub(crate) fn advance(&mut self, roster: &mut Roster, out: &mut Actions) {
        if let Some(renewal) = self.under_way {
            self.watch(renewal, roster, out);
        }
        while self.under_way.is_none() && self.pause_until <= roster.now() {
            let Some(request) = self.line.first().and_then(|place| self.requests.get(&place.slot)) else {
                return;
            };
            let request = *request;
            self.strike(request);
            self.begin(request, roster, out);
        }
    }

    /// Who has ended or is on its way out meanwhile needs no replacement: its slot sees to that.
    fn begin(&mut self, request: Request, roster: &mut Roster, out: &mut Actions) {
        let Request { worker, why, .. } = request;
        if !holds_ready(worker, roster) {
            return;
        }
        let generation = roster.generation();
        let hang_timeout = roster.policy().hang_timeout;
        let remove_at = if is_worn(why) { Time::MAX } else { roster.now() + hang_timeout };
        let by = roster.at(worker.slot, out, |slot, turn| slot.bring(generation, true, turn));
        if let Some(by) = by {
            out.notify(Notice::Renewing { worker, by, why });
        }
        self.under_way = Some(Renewal { worker, why, by, remove_at });
    }

    fn watch(&mut self, renewal: Renewal, roster: &mut Roster, out: &mut Actions) {
        let Renewal { worker, by, remove_at, .. } = renewal;
        let Some(slot) = roster.slot(worker.slot) else { return };
        let holder = slot.worker().map(Worker::id);
        let (newcomer, overdue) = (slot.newcomer(), remove_at <= roster.now());
        let ready = newcomer.is_some_and(Worker::is_ready);
        match by {
            Some(by) if slot.newcomer_id() == Some(by) => {
                if newcomer.is_some() && (ready || overdue) {
                    out.notify(Notice::Renewed { worker, by, ready });
                    roster.at(worker.slot, out, |slot, turn| slot.promote(false, turn));
                    self.finish(roster);
                } else if overdue {
                    self.remove(renewal, roster, out);
                }
            }
            // It took over when the one that it was to replace ended.
            Some(by) if holder == Some(by) => {
                let ready = slot.worker().is_some_and(Worker::is_ready);
                out.notify(Notice::Renewed { worker, by, ready });
                self.finish(roster);
            }
            Some(_) => self.finish(roster),
            None if holder != Some(worker) => self.finish(roster),
            None if overdue => self.remove(renewal, roster, out),
            None => {}
        }
    }

    /// There is no replacement, and the failing one has had its time: its slot goes by the rules of restarts.
    fn remove(&mut self, renewal: Renewal, roster: &mut Roster, out: &mut Actions) {
        roster.at(renewal.worker.slot, out, |slot, turn| {
            slot.abandon(turn);
            slot.retire(turn);
        });
        self.finish(roster);
    }

    fn finish(&mut self, roster: &mut Roster) {
        self.under_way = None;
        self.pause(PAUSE, roster);
    }

    /// A reload begins: what is under way is called off, and asked for again after it.
    pub(crate) fn interrupt(&mut self, roster: &mut Roster, out: &mut Actions) {
        if let Some(renewal) = self.under_way.take() {
            roster.at(renewal.worker.slot, out, Slot::abandon);
            self.enter(renewal.worker, renewal.why);
        }
    }

    /// The app ends.
    pub(crate) fn end(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        let at = match self.under_way {
            Some(renewal) => renewal.remove_at,
            None if self.line.is_empty() => Time::MAX,
            None => self.pause_until,
        };
        (at < Time::MAX).then_some(Deadline { at, why: Due::Renewal })
    }

    fn pause(&mut self, span: Duration, roster: &mut Roster) {
        let span = roster.jitter(span, PAUSE_JITTER_PERCENT);
        self.pause_until = roster.now() + span;
    }

    fn enter(&mut self, worker: WorkerId, why: Why) {
        if let Some(before) = self.requests.get(&worker.slot).copied() {
            self.strike(before);
        }
        self.asked += 1;
        let place = Place { worn: is_worn(why), asked: self.asked, slot: worker.slot };
        self.line.insert(place);
        self.requests.insert(worker.slot, Request { worker, why, place });
    }

    fn strike(&mut self, request: Request) {
        self.line.remove(&request.place);
        self.requests.remove(&request.worker.slot);
    }
}

const fn is_worn(why: Why) -> bool {
    match why {
        Why::Failing(_) => false,
        Why::Worn(_) => true,
    }
}

/// Whether it holds its place, and nobody has asked it to go.
fn holds_ready(worker: WorkerId, roster: &Roster) -> bool {
    let holder = roster.slot(worker.slot).and_then(Slot::worker);
    holder.is_some_and(|holder| holder.id() == worker && holder.is_ready())
}
