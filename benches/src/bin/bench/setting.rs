//! What every part is given: where the programs are, how much is wanted, who takes part.
//!
//! Owns how long and how often things are measured. Never measures.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use clustr_benches::places::Places;

use crate::budget::Budget;
use crate::parts::Part;
use crate::peers::{self, Name, Peers};
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
    pub(crate) budget: Budget,
    /// How often everything is measured.
    pub(crate) times: u32,
    /// What builds and downloads have taken.
    pub(crate) spent: Duration,
    /// The command as it was typed.
    pub(crate) typed: String,
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
        Ok(Self {
            places,
            effort: words.effort,
            peers,
            progress: Progress::new(words.parts.len() * words.times as usize),
            budget: Budget::new(words.effort, words.spent, words.times),
            times: words.times,
            spent: words.spent,
            typed: words.typed.clone(),
            write: words.write,
            alone: words.parts.len() == 1,
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

    /// So many rounds by effort, or as many as fit into what is left to the part.
    pub(crate) fn rounds(&self, quick: u32, full: u32) -> Wanted {
        self.rounds_within(1.0, quick, full)
    }

    /// The same, for a phase that may take this `share` of what is left to the part.
    pub(crate) fn rounds_within(&self, share: f64, quick: u32, full: u32) -> Wanted {
        Wanted { rounds: self.pick(quick, full), until: self.budget.until(share) }
    }

    /// How often something that takes `each` can be done for every one of `servers`, which are measured one after the
    /// other and take `start` besides: at most `most`, at least `least`.
    pub(crate) fn fitting(
        &self,
        servers: u32,
        start: Duration,
        each: Duration,
        [least, most]: [u32; 2],
    ) -> u32 {
        fitting(self.budget.left(), servers, start, each, [least, most])
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

    /// Whether there is time for another peer of a part that measures one after the other; if not, that is told.
    pub(crate) fn has_time_for(&self, name: &str) -> bool {
        let some = !self.budget.left().is_zero();
        if !some {
            self.excuses.borrow_mut().push(format!("{name} was left out: the time of this part was up"));
        }
        some
    }

    /// The next part begins: `number` of `parts`, in this `run` of all.
    pub(crate) fn begin(&self, parts: &[&'static Part], number: usize, run: u32) {
        let runs_left = self.times.saturating_sub(run + 1) as usize;
        let rest = parts.iter().skip(number).chain(parts.iter().cycle().take(parts.len() * runs_left));
        let rest: Vec<&Part> = rest.copied().collect();
        self.budget.begin(&rest);
        self.progress.begin(parts[number].name);
    }

    /// Starts every peer once, all at the same time: who does not answer here will not be waited for in every part.
    pub(crate) fn try_peers(&mut self) {
        self.progress.at("peers");
        for (name, why) in peers::faulty(self) {
            self.peers.leave(name, &why);
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

fn fitting(left: Duration, servers: u32, start: Duration, each: Duration, [least, most]: [u32; 2]) -> u32 {
    let own = (left / servers.max(1)).saturating_sub(start);
    let fit = own.as_millis() / each.as_millis().max(1);
    u32::try_from(fit).unwrap_or(most).clamp(least, most)
}

/// So many rounds, if time allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) rounds: u32,
    /// No round begins that would not be over by then, but the first.
    pub(crate) until: Instant,
}

/// So many rounds were gone through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Done {
    pub(crate) rounds: u32,
    pub(crate) wanted: u32,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rounds, wanted } = self;
        let plural = if *rounds == 1 { "" } else { "s" };
        write!(f, "{rounds} interleaved round{plural}")?;
        if rounds < wanted { write!(f, " ({wanted} were wanted, but time was up)") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_that_were_left_out_are_told() {
        assert_eq!(Done { rounds: 3, wanted: 3 }.to_string(), "3 interleaved rounds");
        assert_eq!(
            Done { rounds: 1, wanted: 3 }.to_string(),
            "1 interleaved round (3 were wanted, but time was up)"
        );
    }

    #[test]
    fn as_much_is_done_for_every_server_as_fits() {
        let second = Duration::from_secs(1);
        assert_eq!(fitting(second * 100, 10, second * 2, second, [1, 50]), 8);
        assert_eq!(fitting(second * 100, 10, second * 2, second, [1, 5]), 5);
        assert_eq!(fitting(second, 10, second * 2, second, [3, 5]), 3);
    }
}
