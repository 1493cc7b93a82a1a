//! Events of workers that are replaced: from the news, and as a line for people.
//!
//! Owns the translation. Never decides anything. Called by [`Event`].

use std::fmt::{self, Display as _};

use clustr_core::{Generation, SlotId, WorkerId};

use super::Event;
use super::of_news::ms;
use crate::news::Fact;

/// The event that one of these facts is.
#[expect(clippy::wildcard_enum_match_arm, reason = "`Event::of` has looked at all others")]
pub(super) fn event(fact: Fact) -> Event {
    let who = |slot: u32, incarnation: u64| WorkerId { slot: SlotId(slot), incarnation };
    match fact {
        Fact::Reloading { from, to, slots } => {
            Event::Reloading { from: Generation(from), to: Generation(to), slots }
        }
        Fact::Remembered { instead } => Event::Remembered { instead },
        Fact::Settling { to, ready, slots, settle_ms } => {
            Event::Settling { to: Generation(to), ready, slots, settle: ms(settle_ms) }
        }
        Fact::Parked { slot, incarnation } => Event::Parked { worker: who(slot, incarnation) },
        Fact::Readmitted { slot, incarnation } => Event::Readmitted { worker: who(slot, incarnation) },
        Fact::Reloaded { from, to, took_ms } => {
            Event::Reloaded { from: Generation(from), to: Generation(to), took: ms(took_ms) }
        }
        Fact::RolledBack {
            tried,
            serves,
            slot,
            incarnation,
            setback,
            why,
            put_back,
            lost,
            changed,
            last_output,
            hint,
        } => {
            let (tried, serves) = (Generation(tried), Generation(serves));
            let worker = who(slot, incarnation);
            Event::RolledBack {
                tried,
                serves,
                worker,
                setback,
                why,
                put_back,
                lost,
                changed,
                last_output,
                hint,
            }
        }
        Fact::ReloadCancelled { to } => Event::ReloadCancelled { to: Generation(to) },
        Fact::Stranded { slot } => Event::Stranded { slot: SlotId(slot) },
        other => of_one_worker(other),
    }
}

/// Of a worker that fails, or is replaced for its own sake.
#[expect(clippy::wildcard_enum_match_arm, reason = "`Event::of` has looked at all others")]
fn of_one_worker(fact: Fact) -> Event {
    let who = |slot: u32, incarnation: u64| WorkerId { slot: SlotId(slot), incarnation };
    match fact {
        Fact::Failing { slot, incarnation, ailment, why } => {
            Event::Failing { worker: who(slot, incarnation), ailment, why }
        }
        Fact::Recovered { slot, incarnation, ailment } => {
            Event::Recovered { worker: who(slot, incarnation), ailment }
        }
        Fact::Renewing { slot, incarnation, by, why } => {
            Event::Renewing { worker: who(slot, incarnation), by: who(slot, by), why }
        }
        Fact::Renewed { slot, incarnation, by, ready } => {
            Event::Renewed { worker: who(slot, incarnation), by: who(slot, by), ready }
        }
        Fact::NotRenewed { slot, incarnation, why, setback } => {
            Event::NotRenewed { worker: who(slot, incarnation), why, setback }
        }
        other => Event::Warning { detail: other.to_string(), hint: None },
    }
}

/// Writes the line of one of these events, in the words of the log.
pub(super) fn write(event: &Event, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    fact(event).map_or(Ok(()), |fact| fact.fmt(f))
}

/// The way back, for the words alone.
#[expect(clippy::wildcard_enum_match_arm, reason = "`Event` passes those that are about replacing")]
fn fact(event: &Event) -> Option<Fact> {
    use crate::clock::millis;
    Some(match event.clone() {
        Event::Reloading { from, to, slots } => Fact::Reloading { from: from.0, to: to.0, slots },
        Event::Remembered { instead } => Fact::Remembered { instead },
        Event::Settling { to, ready, slots, settle } => {
            Fact::Settling { to: to.0, ready, slots, settle_ms: millis(settle) }
        }
        Event::Parked { worker } => Fact::Parked { slot: worker.slot.0, incarnation: worker.incarnation },
        Event::Readmitted { worker } => {
            Fact::Readmitted { slot: worker.slot.0, incarnation: worker.incarnation }
        }
        Event::Reloaded { from, to, took } => {
            Fact::Reloaded { from: from.0, to: to.0, took_ms: millis(took) }
        }
        Event::RolledBack { .. } => return rolled_back(event.clone()),
        Event::ReloadCancelled { to } => Fact::ReloadCancelled { to: to.0 },
        Event::Stranded { slot } => Fact::Stranded { slot: slot.0 },
        Event::Failing { worker, ailment, why } => {
            Fact::Failing { slot: worker.slot.0, incarnation: worker.incarnation, ailment, why }
        }
        Event::Recovered { worker, ailment } => {
            Fact::Recovered { slot: worker.slot.0, incarnation: worker.incarnation, ailment }
        }
        Event::Renewing { worker, by, why } => {
            let (slot, incarnation) = (worker.slot.0, worker.incarnation);
            Fact::Renewing { slot, incarnation, by: by.incarnation, why }
        }
        Event::Renewed { worker, by, ready } => {
            let (slot, incarnation) = (worker.slot.0, worker.incarnation);
            Fact::Renewed { slot, incarnation, by: by.incarnation, ready }
        }
        Event::NotRenewed { worker, why, setback } => {
            let (slot, incarnation) = (worker.slot.0, worker.incarnation);
            Fact::NotRenewed { slot, incarnation, why, setback }
        }
        _ => return None,
    })
}

fn rolled_back(event: Event) -> Option<Fact> {
    let Event::RolledBack { tried, serves, worker, setback, why, put_back, lost, changed, last_output, hint } =
        event
    else {
        return None;
    };
    let (tried, serves) = (tried.0, serves.0);
    let (slot, incarnation) = (worker.slot.0, worker.incarnation);
    Some(Fact::RolledBack {
        tried,
        serves,
        slot,
        incarnation,
        setback,
        why,
        put_back,
        lost,
        changed,
        last_output,
        hint,
    })
}
