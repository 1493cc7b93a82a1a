//! What every part is given: where the programs are, how much is wanted, who takes part.
//!
//! Owns how long and how often things are measured. Never measures.

use std::cell::RefCell;
use std::time::Duration;

use clustr_benches::places::Places;

use crate::peers::{Name, Peers};
use crate::progress::Progress;
use crate::words::Words;

/// How much is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effort {
    /// Enough to see that everything works, and about where the numbers lie.
    Quick,
    /// Enough for numbers that mean something.
    Full,
}

/// What every part is given.
pub(crate) struct Setting {
    pub(crate) places: Places,
    pub(crate) effort: Effort,
    pub(crate) peers: Peers,
    pub(crate) progress: Progress,
    /// Whether the report goes into the documentation.
    pub(crate) write: bool,
    /// Whether one part was asked for, and no other.
    pub(crate) alone: bool,
    /// What went wrong with peers since the last section.
    excuses: RefCell<Vec<String>>,
}

impl Setting {
    pub(crate) fn new(words: &Words) -> Result<Self, String> {
        let places = Places::find()?;
        let peers = Peers::find(&places, &words.peers);
        let progress = Progress::new(words.parts.len());
        let alone = words.parts.len() == 1;
        Ok(Self {
            places,
            effort: words.effort,
            peers,
            progress,
            write: words.write,
            alone,
            excuses: RefCell::default(),
        })
    }

    /// The one or the other, by effort.
    pub(crate) fn pick<T>(&self, quick: T, full: T) -> T {
        match self.effort {
            Effort::Quick => quick,
            Effort::Full => full,
        }
    }

    /// A peer's fault is told in the report, and ends nothing; those of clustr and of the bare loops end the part.
    pub(crate) fn excuse<T>(&self, name: &str, outcome: Result<T, String>) -> Result<Option<T>, String> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(why) if name.starts_with("clustr") || name.starts_with("bare") => {
                Err(format!("{name}: {why}"))
            }
            Err(why) => {
                let first = why.lines().next().unwrap_or_default();
                self.excuses.borrow_mut().push(format!("{name} does not take part: {first}"));
                Ok(None)
            }
        }
    }

    /// What went wrong with peers since this was asked last.
    pub(crate) fn take_excuses(&self) -> Vec<String> {
        self.excuses.take()
    }

    /// Whether this peer was asked for and is there.
    pub(crate) fn has(&self, name: Name) -> bool {
        self.peers.has(name)
    }
}

/// So many rounds of so long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) count: u32,
    pub(crate) span: Duration,
}

impl Rounds {
    pub(crate) const fn new(count: u32, millis: u64) -> Self {
        Self { count, span: Duration::from_millis(millis) }
    }
}

impl std::fmt::Display for Rounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} interleaved rounds of {:?}", self.count, self.span)
    }
}
