//! How far a long command has come: a bar on a terminal, plain lines elsewhere; on standard error, for the outcome stands on
//! standard output.
//!
//! Owns what counts as progress of which work. Never asks: it is told the news that the primary tells while it works.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};

use clustr_supervisor::news::{Fact, News};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{plain, units};
use crate::client::Witness;

/// What is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    Start,
    Scale,
    Reload,
    Restart,
    Stop,
}

/// Who shows the progress of `work`, as long as it hears news.
pub(crate) fn witness(work: Work) -> Witness {
    if io::stderr().is_terminal() {
        let (mut bar, mut tally) = (Bar::new(work), Tally::new(work));
        Box::new(move |news| {
            if tally.hear(&news.fact) {
                bar.show(&tally);
            }
        })
    } else {
        Box::new(|news| {
            if is_worth_a_line(news) {
                // Nobody is left to be told that it cannot be written.
                let _ = writeln!(io::stderr().lock(), "{}", plain::line(&news.to_string()));
            }
        })
    }
}

/// What a person who reads the log of a deployment wants to find there.
fn is_worth_a_line(news: &News) -> bool {
    !matches!(news.fact, Fact::Message { .. } | Fact::Listening { .. } | Fact::Control { .. })
}

/// A bar that goes when it is dropped.
struct Bar(ProgressBar);

impl Bar {
    /// Draws nothing yet.
    fn new(work: Work) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Self(bar.with_style(style("{prefix} {wide_msg}")).with_prefix(work.word()))
    }

    fn show(&mut self, tally: &Tally) {
        if let Some(of) = tally.of {
            self.0.set_style(style("{prefix} [{bar:24}] {pos}/{len} {wide_msg}"));
            self.0.set_length(of);
        }
        self.0.set_position(tally.come);
        self.0.set_message(plain::cell(&tally.now).into_owned());
        self.0.tick();
    }
}

/// A template of ours is one; were it none, a plain bar does as well.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Work {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Scale => "scale",
            Self::Reload => "reload",
            Self::Restart => "restart",
            Self::Stop => "stop",
        }
    }
}

/// How far the work has come, by what was told.
#[derive(Debug)]
struct Tally {
    work: Work,
    come: u64,
    /// Of how many, once that is known.
    of: Option<u64>,
    /// What is being done.
    now: String,
    /// Workers that are the work: by slot and incarnation.
    ours: BTreeSet<(u32, u64)>,
    /// Which generation the work brings, once it has begun.
    bringing: Option<u64>,
}

impl Tally {
    const fn new(work: Work) -> Self {
        let now = String::new();
        Self { work, come: 0, of: None, now, ours: BTreeSet::new(), bringing: None }
    }

    /// Takes a fact into account; says whether it changes what is shown.
    fn hear(&mut self, fact: &Fact) -> bool {
        let before = (self.come, self.of, self.now.clone());
        match self.work {
            Work::Reload | Work::Restart => self.hear_of_replacing(fact),
            Work::Start | Work::Scale => self.hear_of_scaling(fact),
            Work::Stop => self.hear_of_the_end(fact),
        }
        before != (self.come, self.of, self.now.clone())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "other facts are no progress of this work")]
    fn hear_of_replacing(&mut self, fact: &Fact) {
        match fact {
            Fact::Reloading { to, slots, .. } => {
                (self.come, self.of, self.bringing) = (0, Some(u64::from(*slots)), Some(*to));
                self.ours.clear();
                self.now = format!("starting workers of generation {to}");
            }
            Fact::Started { slot, incarnation, generation, .. } if self.bringing == Some(*generation) => {
                self.ours.insert((*slot, *incarnation));
            }
            Fact::Ready { slot, incarnation, .. } if self.ours.remove(&(*slot, *incarnation)) => {
                self.come += 1;
            }
            Fact::Settling { ready, slots, settle_ms, .. } => {
                self.now = format!("watching {ready} of {slots} for {}", units::span(*settle_ms));
            }
            Fact::Reloaded { .. } => self.now = "the old workers leave".to_owned(),
            Fact::RolledBack { why, .. } => self.now = format!("rolling back: {why}"),
            Fact::Remembered { .. } => self.now = "waiting for the reload that is under way".to_owned(),
            _ => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "other facts are no progress of this work")]
    fn hear_of_scaling(&mut self, fact: &Fact) {
        match fact {
            Fact::Scaled { from, to } => {
                (self.come, self.of) = (0, Some(u64::from(from.abs_diff(*to))));
                self.now = format!("from {from} to {}", units::plural((*to).into(), "worker"));
            }
            Fact::Ready { .. } => self.come += 1,
            Fact::Exited { expected: true, .. } => self.come += 1,
            Fact::Resting { slot, .. } => self.now = format!("slot {slot} rests, its worker has failed"),
            _ => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "other facts are no progress of this work")]
    fn hear_of_the_end(&mut self, fact: &Fact) {
        match fact {
            Fact::Stopping { .. } => self.of = Some(self.of.unwrap_or(0) + 1),
            Fact::Exited { .. } => self.come += 1,
            Fact::Killing { slot, .. } => {
                self.now = format!("slot {slot} has not stopped in time, and is killed");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(work: Work, facts: &[Fact]) -> (u64, Option<u64>, String) {
        let mut tally = Tally::new(work);
        for fact in facts {
            tally.hear(fact);
        }
        (tally.come, tally.of, tally.now)
    }

    fn started(slot: u32, incarnation: u64, generation: u64) -> Fact {
        Fact::Started { slot, incarnation, generation, pid: 1 }
    }

    fn ready(slot: u32, incarnation: u64) -> Fact {
        Fact::Ready { slot, incarnation, pid: 1, took_ms: 1, assumed: false }
    }

    #[test]
    fn a_reload_comes_as_far_as_its_new_workers_are_ready() {
        let facts = [
            started(0, 2, 1),
            Fact::Reloading { from: 1, to: 2, slots: 2 },
            ready(0, 2),
            started(0, 3, 2),
            started(1, 2, 2),
            ready(0, 3),
            ready(0, 3),
        ];
        let (come, of, now) = told(Work::Reload, &facts);
        assert_eq!((come, of, &*now), (1, Some(2), "starting workers of generation 2"));
    }

    #[test]
    fn a_scale_comes_as_far_as_workers_have_come_or_gone() {
        let down = Fact::Exited {
            slot: 3,
            incarnation: 1,
            pid: 1,
            code: Some(0),
            signal: None,
            core_dumped: false,
            expected: true,
            was_ready: true,
            lived_ms: 1,
            out_of_memory: None,
            last_output: Vec::new(),
        };
        let facts = [Fact::Scaled { from: 4, to: 2 }, down];
        assert_eq!(told(Work::Scale, &facts), (1, Some(2), "from 4 to 2 workers".to_owned()));
    }

    #[test]
    fn what_is_no_progress_is_not_shown() {
        let mut tally = Tally::new(Work::Stop);
        assert!(!tally.hear(&ready(0, 1)));
        assert!(tally.hear(&Fact::Stopping { slot: 0, incarnation: 1 }));
    }
}
