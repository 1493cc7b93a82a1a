//! Generations: which one serves, which others are still known, and which may be forgotten.
//!
//! Owns their numbers, never reused. Never knows what a generation is: command, environment and executable are the
//! shell's. Called by [`roster`](crate::roster) and [`app`](crate::app).

use alloc::collections::BTreeMap;

use crate::action::{Action, Actions};
use crate::id::Generation;

/// The generations of an app.
#[derive(Clone, Debug)]
pub(crate) struct Versions {
    /// What serves, and what is started.
    current: Generation,
    /// The last number that was given out.
    last: Generation,
    /// Those that were begun and not forgotten. Bound: each has a worker, is current, or is being tried.
    known: BTreeMap<Generation, Version>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Version {
    workers: u32,
    lost: bool,
}

impl Versions {
    pub(crate) fn new() -> Self {
        let first = Generation(1);
        Self { current: first, last: first, known: BTreeMap::from([(first, Version::default())]) }
    }

    /// A number that nobody ever had.
    pub(crate) fn begin(&mut self) -> Generation {
        self.last = Generation(self.last.0 + 1);
        self.known.insert(self.last, Version::default());
        self.last
    }

    pub(crate) const fn confirm(&mut self, generation: Generation) {
        self.current = generation;
    }

    /// It cannot be started again. Whether anybody knows it.
    pub(crate) fn lose(&mut self, generation: Generation) -> bool {
        self.known.get_mut(&generation).map(|version| version.lost = true).is_some()
    }

    pub(crate) fn is_lost(&self, generation: Generation) -> bool {
        self.known.get(&generation).is_some_and(|version| version.lost)
    }

    pub(crate) fn gained(&mut self, generation: Generation) {
        self.known.entry(generation).or_default().workers += 1;
    }

    pub(crate) fn dropped(&mut self, generation: Generation) {
        if let Some(version) = self.known.get_mut(&generation) {
            version.workers -= 1;
        }
    }

    /// Forgets what nobody lives of, nobody tries, and nobody will be started from.
    pub(crate) fn forget(&mut self, tried: Option<Generation>, out: &mut Actions) {
        if self.known.len() == 1 {
            return;
        }
        let current = self.current;
        self.known.retain(|generation, version| {
            let kept = version.workers > 0 || *generation == current || tried == Some(*generation);
            if !kept {
                out.push(Action::Forget(*generation));
            }
            kept
        });
    }

    pub(crate) const fn current(&self) -> Generation {
        self.current
    }

    /// How many workers live of each: for the check alone.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Generation, u32)> + '_ {
        self.known.iter().map(|(generation, version)| (*generation, version.workers))
    }
}
