//! Workers that are replaced for their own sake: those that fail, and those that have served long enough.
//!
//! Owns who is next, and the one replacement that is under way. Never finds out by itself that a worker fails:
//! the shell probes, and says so. Called by [`app`](crate::app).
//!
//! One worker of an app at a time, those that fail before those that are worn, and a jittered second between two:
//! workers do not go together, not even if all of them ask for it. A failing one is removed when its replacement
//! is ready, or at the hang timeout anyway, counted from the moment at which its turn came. One whose
//! predecessor was replaced too, and that has not been ready for the stable time, waits before it is in line:
//! each time twice as long, for what ails it ails its replacement.

mod streaks;

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

use streaks::Streaks;

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
    /// Those that are not in line yet, by the moment at which they will be.
    held: BTreeSet<(Time, SlotId)>,
    streaks: Streaks,
    asked: u64,
    under_way: Option<Renewal>,
    /// Nobody's turn comes before.
    pause_until: Time,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    worker: WorkerId,
    wish: Wish,
    place: Place,
    /// When it is in line.
    from: Time,
}

/// Why somebody is to be replaced: because it fails, or is worn, or both.
#[derive(Clone, Copy, Debug)]
struct Wish {
    why: Why,
    /// That it is worn too, while it fails: that it serves again does not make it younger.
    also: Option<Why>,
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
    wish: Wish,
    /// The replacement, while there is one.
    by: Option<WorkerId>,
    /// When the worker is removed whether or not it has been replaced, if it is failing.
    remove_at: Time,
}

impl Health {
    /// Somebody says that `worker` should be replaced.
    pub(crate) fn ask(
        &mut self,
        worker: WorkerId,
        why: Why,
        roster: &mut Roster,
        out: &mut Actions,
    ) -> Heard {
        if !holds_ready(worker, roster) {
            return Heard::Ignored;
        }
        if let Some(renewal) = self.under_way.as_mut().filter(|renewal| renewal.worker == worker) {
            let begins_to_fail = renewal.wish.is_worn() && !is_worn(why);
            renewal.wish = renewal.wish.and(why);
            if begins_to_fail {
                renewal.remove_at = roster.now() + roster.policy().hang_timeout;
            }
            return Heard::Taken;
        }
        match self.requests.get_mut(&worker.slot).filter(|request| request.worker == worker) {
            Some(request) if request.wish.is_worn() == request.wish.and(why).is_worn() => {
                request.wish = request.wish.and(why);
            }
            Some(request) => {
                let wish = request.wish.and(why);
                let from = self.turn_of(worker, why, roster, out);
                self.enter(worker, wish, from);
            }
            None => {
                let from = self.turn_of(worker, why, roster, out);
                self.enter(worker, Wish::new(why), from);
            }
        }
        Heard::Taken
    }

    /// When it may be in line.
    fn turn_of(&mut self, worker: WorkerId, why: Why, roster: &mut Roster, out: &mut Actions) -> Time {
        let holder = roster.slot(worker.slot).and_then(Slot::worker);
        let ready_for = holder.and_then(|holder| holder.ready_for(roster.now()));
        let lived_well = ready_for.is_some_and(|span| span >= roster.policy().stable_time);
        let wait = self.streaks.wait(worker.slot, why, lived_well, roster.now());
        let wait = roster.jitter(wait, PAUSE_JITTER_PERCENT);
        let told = if wait.is_zero() { None } else { self.streaks.tell(worker.slot) };
        if let Some(renewals) = told {
            out.notify(Notice::RenewedInVain { worker, why, renewals, wait });
        }
        roster.now() + wait
    }

    /// It serves again. What was asked for because it failed is called off; that it is worn stays true.
    pub(crate) fn recovered(&mut self, worker: WorkerId, roster: &mut Roster, out: &mut Actions) -> Heard {
        let fails = |of: WorkerId, wish: Wish| of == worker && !wish.is_worn();
        if let Some(renewal) = self.under_way.filter(|renewal| fails(renewal.worker, renewal.wish)) {
            self.call_off(renewal, roster, out);
            return Heard::Taken;
        }
        let asked = self.requests.get(&worker.slot).copied();
        match asked.filter(|request| fails(request.worker, request.wish)) {
            Some(request) => {
                self.strike(request);
                if let Some(worn) = request.wish.also {
                    self.enter(worker, Wish::new(worn), roster.now());
                }
                Heard::Taken
            }
            None => Heard::Ignored,
        }
    }

    fn call_off(&mut self, renewal: Renewal, roster: &mut Roster, out: &mut Actions) {
        let Renewal { worker, wish, by, .. } = renewal;
        match (wish.also.map(Wish::new), by) {
            (Some(wish), Some(_)) => {
                self.under_way = Some(Renewal { wish, remove_at: Time::MAX, ..renewal });
            }
            // Its replacement would not do: the next attempt is that of one that is worn.
            (Some(wish), None) => self.put_off(worker, wish, roster),
            (None, _) => {
                roster.at(worker.slot, out, Slot::abandon);
                self.finish(roster);
            }
        }
    }

    /// A replacement will not do.
    pub(crate) fn failed(&mut self, by: WorkerId, setback: Setback, roster: &mut Roster, out: &mut Actions) {
        let Some(renewal) = self.under_way.as_mut().filter(|renewal| renewal.by == Some(by)) else {
            return;
        };
        renewal.by = None;
        let Renewal { worker, wish, .. } = *renewal;
        out.notify(Notice::NotRenewed { worker, why: wish.why, setback });
        roster.at(worker.slot, out, Slot::abandon);
        if wish.is_worn() {
            self.put_off(worker, wish, roster);
        }
    }

    /// The worn one stays until the next attempt.
    fn put_off(&mut self, worker: WorkerId, wish: Wish, roster: &mut Roster) {
        self.under_way = None;
        self.pause(PAUSE_AFTER_SETBACK, roster);
        self.enter(worker, wish, roster.now());
    }

    /// Goes on with the one under way, then with the next.
    pub(crate) fn advance(&mut self, roster: &mut Roster, out: &mut Actions) {
        if let Some(renewal) = self.under_way {
            self.watch(renewal, roster, out);
        }
        self.line_up(roster.now());
        while self.under_way.is_none() && self.pause_until <= roster.now() {
            let Some(request) = self.line.first().and_then(|place| self.requests.get(&place.slot)) else {
                return;
            };
            let request = *request;
            self.strike(request);
            self.begin(request, roster, out);
        }
    }

    /// Those that have waited long enough are in line.
    fn line_up(&mut self, now: Time) {
        while let Some((_, slot)) = self.held.first().copied().filter(|(from, _)| *from <= now) {
            self.held.pop_first();
            self.line.extend(self.requests.get(&slot).map(|request| request.place));
        }
    }

    /// Who has ended or is on its way out meanwhile needs no replacement: its slot sees to that.
    fn begin(&mut self, request: Request, roster: &mut Roster, out: &mut Actions) {
        let Request { worker, wish, .. } = request;
        if !holds_ready(worker, roster) {
            return;
        }
        let generation = roster.generation();
        let hang_timeout = roster.policy().hang_timeout;
        let remove_at = if wish.is_worn() { Time::MAX } else { roster.now() + hang_timeout };
        let by = roster.at(worker.slot, out, |slot, turn| slot.bring(generation, true, turn));
        if let Some(by) = by {
            out.notify(Notice::Renewing { worker, by, why: wish.why });
        }
        self.under_way = Some(Renewal { worker, wish, by, remove_at });
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
                    self.renewed(renewal, roster);
                } else if overdue {
                    self.remove(renewal, roster, out);
                }
            }
            // It took over when the one that it was to replace ended.
            Some(by) if holder == Some(by) => {
                let ready = slot.worker().is_some_and(Worker::is_ready);
                out.notify(Notice::Renewed { worker, by, ready });
                self.renewed(renewal, roster);
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
        self.renewed(renewal, roster);
    }

    fn renewed(&mut self, renewal: Renewal, roster: &mut Roster) {
        self.streaks.renewed(renewal.worker.slot, renewal.wish.why, roster.now());
        self.finish(roster);
    }

    fn finish(&mut self, roster: &mut Roster) {
        self.under_way = None;
        self.pause(PAUSE, roster);
    }

    /// A reload begins: what is under way is called off, and asked for again after it. What replacements were
    /// like before it says nothing of those that follow.
    pub(crate) fn interrupt(&mut self, roster: &mut Roster, out: &mut Actions) {
        self.streaks.clear();
        if let Some(renewal) = self.under_way.take() {
            roster.at(renewal.worker.slot, out, Slot::abandon);
            self.enter(renewal.worker, renewal.wish, roster.now());
        }
    }

    /// The app ends.
    pub(crate) fn end(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        let at = match self.under_way {
            Some(renewal) => renewal.remove_at,
            None if self.line.is_empty() => {
                self.held.first().map_or(Time::MAX, |(from, _)| self.pause_until.max(*from))
            }
            None => self.pause_until,
        };
        (at < Time::MAX).then_some(Deadline { at, why: Due::Renewal })
    }

    fn pause(&mut self, span: Duration, roster: &mut Roster) {
        let span = roster.jitter(span, PAUSE_JITTER_PERCENT);
        self.pause_until = roster.now() + span;
    }

    fn enter(&mut self, worker: WorkerId, wish: Wish, from: Time) {
        if let Some(before) = self.requests.get(&worker.slot).copied() {
            self.strike(before);
        }
        self.asked += 1;
        let place = Place { worn: wish.is_worn(), asked: self.asked, slot: worker.slot };
        self.held.insert((from, worker.slot));
        self.requests.insert(worker.slot, Request { worker, wish, place, from });
    }

    fn strike(&mut self, request: Request) {
        self.line.remove(&request.place);
        self.held.remove(&(request.from, request.worker.slot));
        self.requests.remove(&request.worker.slot);
    }
}

impl Wish {
    const fn new(why: Why) -> Self {
        Self { why, also: None }
    }

    /// The same, and `why` as well.
    fn and(self, why: Why) -> Self {
        match (is_worn(self.why), is_worn(why)) {
            (true, false) => Self { why, also: Some(self.why) },
            (false, true) => Self { also: self.also.or(Some(why)), ..self },
            (true, true) | (false, false) => self,
        }
    }

    const fn is_worn(self) -> bool {
        is_worn(self.why)
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
