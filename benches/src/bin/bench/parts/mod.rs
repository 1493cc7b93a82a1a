//! The parts of the comparison, one file each: a part is given the setting, measures, and returns sections.
//!
//! Owns the table of parts and the interleaving. A new part is a file here, a line in `PARTS`, one in `benches/parts.txt`,
//! and its goals in `goals`.

mod balance;
mod handoff;
mod health;
mod intercept;
mod lane;
mod memory;
mod micro;
mod ops;
mod reload;
mod restart;
mod startup;
mod storm;
mod throughput;

use std::time::{Duration, Instant};

use crate::report::Section;
use crate::setting::{Done, Effort, Setting, Wanted};

/// One part.
pub(crate) struct Part {
    /// As it is typed.
    pub(crate) name: &'static str,
    /// The seconds that it needs for all its rounds, of a quick run and of a full one, with every peer.
    seconds: (u64, u64),
    /// Whether clustr's own workers are of node in it.
    pub(crate) needs_node: bool,
    pub(crate) measure: fn(&Setting) -> Result<Vec<Section>, String>,
}

impl Part {
    const fn new(
        name: &'static str,
        seconds: (u64, u64),
        measure: fn(&Setting) -> Result<Vec<Section>, String>,
    ) -> Self {
        Self { name, seconds, needs_node: true, measure }
    }

    const fn without_node(self) -> Self {
        Self { needs_node: false, ..self }
    }

    /// How much time it asks for.
    pub(crate) fn asks(&self, effort: Effort) -> Duration {
        let (quick, full) = self.seconds;
        Duration::from_secs(match effort {
            Effort::Quick => quick,
            Effort::Full => full,
        })
    }
}

/// All of them, in order.
pub(crate) static PARTS: [Part; 11] = [
    Part::new("micro", (35, 160), micro::measure).without_node(),
    Part::new("throughput", (45, 310), throughput::measure),
    Part::new("handoff", (20, 100), handoff::measure),
    Part::new("intercept", (30, 90), intercept::measure),
    Part::new("balance", (20, 130), balance::measure),
    Part::new("health", (15, 80), health::measure),
    Part::new("restart", (75, 340), restart_and_storm),
    Part::new("reload", (35, 150), reload::measure),
    Part::new("startup", (30, 240), startup::measure),
    Part::new("memory", (40, 170), memory::measure),
    Part::new("ops", (15, 40), ops::measure).without_node(),
];

fn restart_and_storm(setting: &Setting) -> Result<Vec<Section>, String> {
    let mut sections = restart::measure(setting)?;
    sections.extend(storm::measure(setting)?);
    Ok(sections)
}

/// Asks everybody once in every round, so that a slow moment of the machine meets all. A peer that fails leaves. Ends
/// early if another round as long as the last one would not fit.
fn interleave<T>(
    setting: &Setting,
    wanted: Wanted,
    all: &mut Vec<T>,
    name: impl Fn(&T) -> &'static str,
    mut once: impl FnMut(&mut T) -> Result<(), String>,
) -> Result<Done, String> {
    let (mut done, mut last) = (0, Duration::ZERO);
    while done < wanted.rounds && (done == 0 || Instant::now() + last <= wanted.until) {
        let began = Instant::now();
        let mut number = 0;
        while let Some(one) = all.get_mut(number) {
            let name = name(one);
            setting.progress.at(format!("round {} of {}, {name}", done + 1, wanted.rounds));
            match setting.excuse(name, once(one))? {
                Some(()) => number += 1,
                None => drop(all.remove(number)),
            }
        }
        done += 1;
        last = began.elapsed();
    }
    Ok(Done { rounds: done, wanted: wanted.rounds })
}
