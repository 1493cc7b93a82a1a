//! Replacements that fail as those before them did: how long the next one waits for its turn.
//!
//! Owns how many there were in a row in each slot. Never replaces anybody. Called by [`health`](super).

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::PAUSE;
use crate::event::{Wear, Why};
use crate::id::SlotId;
use crate::time::Time;

/// The longest that a replacement waits because those before it failed, before jitter.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// A row of failures that is so old is over: somebody has lived well since, and ended in another way.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(900);

/// From so many failures in a row on, it is no coincidence.
const TOLD_FROM: u32 = 2;

/// The rows of all slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Streaks {
    /// Bound: one for each slot.
    rows: BTreeMap<SlotId, Row>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    renewals: u32,
    newest_at: Time,
    told: bool,
}

impl Streaks {
    /// A slot's worker was replaced for this reason.
    pub(super) fn renewed(&mut self, slot: SlotId, why: Why, now: Time) {
        if counts(why) {
            let row = self.rows.entry(slot).or_default();
            row.renewals = row.renewals.saturating_add(1);
            row.newest_at = now;
        }
    }

    /// A slot's worker is to be replaced: how long it has to wait, before jitter. One that had lived well ends
    /// the row.
    pub(super) fn wait(&mut self, slot: SlotId, why: Why, lived_well: bool, now: Time) -> Duration {
        let Some(row) = self.rows.get(&slot).filter(|_| counts(why)) else {
            return Duration::ZERO;
        };
        if lived_well || now.since(row.newest_at) > FORGOTTEN_AFTER {
            self.rows.remove(&slot);
            return Duration::ZERO;
        }
        let times = 1_u32.checked_shl(row.renewals).unwrap_or(u32::MAX);
        PAUSE.saturating_mul(times).min(WAIT_MAX)
    }

    /// How many there were, if that is worth telling and has not been told.
    pub(super) fn tell(&mut self, slot: SlotId) -> Option<u32> {
        let row = self.rows.get_mut(&slot).filter(|row| row.renewals >= TOLD_FROM && !row.told)?;
        row.told = true;
        Some(row.renewals)
    }

    /// What comes is another version, or was asked for by somebody.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }
}

/// The other wears are no failures: they come as often as somebody wished.
const fn counts(why: Why) -> bool {
    match why {
        Why::Failing(_) | Why::Worn(Wear::MaxRss) => true,
        Why::Worn(Wear::MaxAge | Wear::MaxRequests | Wear::Schedule | Wear::Stranded | Wear::Deaf) => false,
    }
}
