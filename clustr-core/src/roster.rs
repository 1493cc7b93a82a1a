//! All slots of an app, counted and timed.
//!
//! Owns the slots, the running counts over them, and the order of their deadlines, so that no event ever
//! looks at all of them. Never decides anything. Called by [`app`](crate::app).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::action::Actions;
use crate::event::Fact;
use crate::id::{Generation, SlotId, WorkerId};
use crate::policy::Policy;
use crate::seed::Seed;
use crate::slot::{SLOT_WORKERS_MAX, Slot};
use crate::time::Time;
use crate::turn::{Heard, Signal, Turn};
use crate::versions::Versions;
use crate::view::{Deadline, SlotState, SlotView, WorkerView};
use crate::worker::Worker;

/// The slots, by number.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    slots: Vec<Slot>,
    tally: Tally,
    /// One entry for each slot that waits for something.
    agenda: BTreeSet<(Time, SlotId)>,
    policy: Policy,
    pub(crate) versions: Versions,
    seed: Seed,
    spoken: bool,
    /// Whether any worker was ever ready: a program that never was is not worth insisting on.
    proven: bool,
    /// What slots have told, oldest first: heeded before the turn ends.
    signals: Vec<Signal>,
    /// The latest moment that anybody named. A clock that steps back stands still here.
    now: Time,
}

/// Counts over all slots.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    /// Slots in which a worker serves.
    pub(crate) ready: u32,
    /// Wanted slots that gave up.
    pub(crate) gave_up: u32,
    /// Wanted slots that are done.
    pub(crate) done: u32,
    /// Unwanted slots that still have a worker.
    pub(crate) leftover: u32,
    /// Workers whose exit is worth waiting for: those that outlived SIGKILL are not.
    pub(crate) alive: u32,
}

impl Roster {
    pub(crate) fn new(policy: Policy, seed: u64) -> Self {
        let slots = (0..policy.slots).map(|number| Slot::new(SlotId(number), true)).collect();
        Self {
            slots,
            tally: Tally::default(),
            agenda: BTreeSet::new(),
            policy,
            versions: Versions::new(),
            seed: Seed::new(seed),
            spoken: false,
            proven: false,
            signals: Vec::new(),
            now: Time::ZERO,
        }
    }

    /// Time goes on.
    pub(crate) fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// Tells a slot what is said of one of its workers. A late word about a past one matches nobody.
    pub(crate) fn hear(&mut self, worker: WorkerId, fact: Fact, out: &mut Actions) -> Heard {
        let here = |slot: &Slot| slot.workers().any(|known| known.id() == worker);
        if !self.slots.get(worker.slot.index()).is_some_and(here) {
            return Heard::Ignored;
        }
        self.step(worker.slot, out, |slot, turn| slot.hear(worker, fact, turn))
    }

    /// Somebody waits for a slot's next worker.
    pub(crate) fn awaited(&mut self, slot: SlotId, out: &mut Actions) -> Heard {
        if self.slots.get(slot.index()).is_none() {
            return Heard::Ignored;
        }
        self.step(slot, out, Slot::awaited)
    }

    /// Does something with one slot.
    pub(crate) fn at<T>(
        &mut self,
        slot: SlotId,
        out: &mut Actions,
        work: impl FnOnce(&mut Slot, &mut Turn<'_>) -> T,
    ) -> T {
        self.step(slot, out, work)
    }

    /// Everything that slots have told since the last time.
    pub(crate) fn take_signals(&mut self) -> Vec<Signal> {
        core::mem::take(&mut self.signals)
    }

    /// Does what is due now: one step for each slot, so that no policy can keep this turn from ending.
    pub(crate) fn run_due(&mut self, out: &mut Actions) {
        let ripe: Vec<SlotId> =
            self.agenda.iter().take_while(|(at, _)| *at <= self.now).map(|&(_, slot)| slot).collect();
        for slot in ripe {
            self.step(slot, out, Slot::due);
        }
    }

    /// Does something with the slots `from..to`, lowest first.
    pub(crate) fn each(
        &mut self,
        from: u32,
        to: u32,
        out: &mut Actions,
        mut work: impl FnMut(&mut Slot, &mut Turn<'_>),
    ) {
        for number in from..to {
            self.make(number);
            self.step(SlotId(number), out, &mut work);
        }
    }

    /// Does something with the slots `from..to`, highest first.
    pub(crate) fn each_back(
        &mut self,
        from: u32,
        to: u32,
        out: &mut Actions,
        mut work: impl FnMut(&mut Slot, &mut Turn<'_>),
    ) {
        for number in (from..to).rev() {
            self.step(SlotId(number), out, &mut work);
        }
    }

    /// Every slot that ever was: the bound of [`each`](Self::each) over all of them.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Whether any of the slots `0..to` has a worker, or will have one without anybody asking.
    pub(crate) fn has_hope(&self, to: u32) -> bool {
        let new = to > self.len();
        new || self.slots.iter().take(SlotId(to).index()).any(Slot::is_hopeful)
    }

    /// Whether this slot is wanted, and was left empty.
    pub(crate) fn gave_up(&self, slot: SlotId) -> bool {
        self.slot(slot).is_some_and(|slot| Tally::of(slot).gave_up > 0)
    }

    fn make(&mut self, number: u32) {
        if number == self.len() {
            self.slots.push(Slot::new(SlotId(number), false));
        }
    }

    /// The only way to change a slot: what it counts for and what it waits for change with it.
    fn step<T>(
        &mut self,
        id: SlotId,
        out: &mut Actions,
        work: impl FnOnce(&mut Slot, &mut Turn<'_>) -> T,
    ) -> T {
        let Self { slots, tally, agenda, policy, versions, seed, spoken, proven, signals, now } = self;
        let slot = &mut slots[id.index()];
        let (counted, due, held) = (Tally::of(slot), slot.due_at(), holds(slot));
        let generation = versions.current();
        let mut turn = Turn { now: *now, policy, generation, seed, spoken, proven: *proven, signals, out };
        let heard = work(slot, &mut turn);
        tally.exchange(counted, Tally::of(slot));
        *proven |= tally.ready > 0;
        let holding = holds(slot);
        if held != holding {
            holding.into_iter().flatten().for_each(|generation| versions.gained(generation));
            held.into_iter().flatten().for_each(|generation| versions.dropped(generation));
        }
        if due != slot.due_at() {
            if let Some((at, _)) = due {
                agenda.remove(&(at, id));
            }
            if let Some((at, _)) = slot.due_at() {
                agenda.insert((at, id));
            }
        }
        heard
    }

    /// Nothing is waited for any more.
    pub(crate) fn close(&mut self) {
        self.agenda.clear();
    }

    pub(crate) const fn tally(&self) -> Tally {
        self.tally
    }

    pub(crate) const fn is_proven(&self) -> bool {
        self.proven
    }

    /// One slot, to look at.
    pub(crate) fn slot(&self, slot: SlotId) -> Option<&Slot> {
        self.slots.get(slot.index())
    }

    pub(crate) const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// `span`, longer or shorter by up to `percent` of itself.
    pub(crate) fn jitter(&mut self, span: core::time::Duration, percent: u8) -> core::time::Duration {
        self.seed.jitter(span, percent)
    }

    pub(crate) const fn now(&self) -> Time {
        self.now
    }

    pub(crate) const fn generation(&self) -> Generation {
        self.versions.current()
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        let (at, slot) = self.agenda.first()?;
        let (_, why) = self.slots.get(slot.index())?.due_at()?;
        Some(Deadline { at: *at, why })
    }

    pub(crate) fn view(&self, slot: SlotId) -> Option<SlotView> {
        let slot = self.slots.get(slot.index())?;
        let shown = slot.is_wanted() || slot.workers().next().is_some();
        shown.then(|| slot.view(&self.policy, self.now))
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = WorkerView> + '_ {
        self.slots.iter().flat_map(Slot::views)
    }

    /// The slots `0..wanted` are wanted and no other is; counts and deadlines are what they would be if
    /// somebody looked at every slot.
    pub(crate) fn check(&self, wanted: u32, closed: bool) -> Result<(), &'static str> {
        let mut tally = Tally::default();
        let mut agenda = BTreeSet::new();
        let mut workers: BTreeMap<Generation, u32> = BTreeMap::new();
        for (number, slot) in (0..).zip(&self.slots) {
            slot.check()?;
            if slot.is_wanted() != (number < wanted) {
                return Err("the lowest slots are wanted, as many as the app says");
            }
            tally.exchange(Tally::default(), Tally::of(slot));
            agenda.extend(slot.due_at().map(|(at, _)| (at, SlotId(number))));
            for worker in slot.workers() {
                *workers.entry(worker.generation()).or_default() += 1;
            }
        }
        if !self.versions.counts().filter(|(_, count)| *count > 0).eq(workers) {
            return Err("the workers of each generation are counted");
        }
        if !self.signals.is_empty() {
            return Err("what a slot has told is heeded in the same turn");
        }
        if tally != self.tally {
            return Err("the running counts are those of the slots");
        }
        if agenda != self.agenda && !closed {
            return Err("the agenda holds the deadlines of the slots");
        }
        Ok(())
    }
}

impl Tally {
    /// What one slot counts for.
    fn of(slot: &Slot) -> Self {
        let wanted = slot.is_wanted();
        let state = slot.state();
        let newcomer_serves = slot.newcomer().is_some_and(Worker::is_ready);
        let empty = wanted && !newcomer_serves;
        let alive = slot.workers().filter(|worker| !worker.is_hopeless()).count();
        Self {
            ready: u32::from(state == SlotState::Ready || newcomer_serves),
            gave_up: u32::from(empty && state == SlotState::GaveUp),
            done: u32::from(empty && state == SlotState::Done),
            leftover: u32::from(!wanted && slot.workers().next().is_some()),
            alive: u32::try_from(alive).unwrap_or(u32::MAX),
        }
    }

    /// One slot counted for `before`, and counts for `after` now.
    const fn exchange(&mut self, before: Self, after: Self) {
        self.ready = self.ready - before.ready + after.ready;
        self.gave_up = self.gave_up - before.gave_up + after.gave_up;
        self.done = self.done - before.done + after.done;
        self.leftover = self.leftover - before.leftover + after.leftover;
        self.alive = self.alive - before.alive + after.alive;
    }

    /// Wanted slots in which nothing is going to happen by itself.
    pub(crate) const fn settled(self) -> u32 {
        self.ready + self.gave_up + self.done
    }
}

/// From which generations a slot's workers were started.
fn holds(slot: &Slot) -> [Option<Generation>; SLOT_WORKERS_MAX] {
    let mut held = [None; SLOT_WORKERS_MAX];
    for (place, worker) in held.iter_mut().zip(slot.workers()) {
        *place = Some(worker.generation());
    }
    held
}
