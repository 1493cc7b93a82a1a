//! Identity: never a pid, never a descriptor number.
//!
//! Owns the names of slots, workers, generations and tickets. A late fact about a dead worker carries an
//! incarnation that nobody has any more, and so matches nobody.

use core::fmt;

/// A numbered place, 0…n-1, filled by a succession of workers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SlotId(pub u32);

/// One worker of one slot: a process with one life.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WorkerId {
    /// The place that it fills.
    pub slot: SlotId,
    /// Which worker of its slot, from 1, never reused.
    pub incarnation: u64,
}

/// Which version of command and environment a worker was started from, from 1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Generation(pub u64);

/// Ties a command to its answers. The caller chooses the number; the core only repeats it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

impl SlotId {
    /// The slot's place in a list of slots.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for WorkerId {
    /// `3#7`: slot 3, incarnation 7.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.slot, self.incarnation)
    }
}
