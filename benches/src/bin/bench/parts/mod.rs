//! The parts of the comparison, one file each: a part is given the setting, measures, and returns sections.
//!
//! Owns the table of parts and the interleaving. A new part is a file here, a line in `PARTS`, one in `benches/parts.txt`,
//! and its goals in `goals`.

mod balance;
mod handoff;
mod health;
mod lane;
mod memory;
mod micro;
mod ops;
mod reload;
mod restart;
mod startup;
mod storm;
mod throughput;

use crate::report::Section;
use crate::setting::Setting;

/// One part.
pub(crate) struct Part {
    /// As it is typed.
    pub(crate) name: &'static str,
    pub(crate) measure: fn(&Setting) -> Result<Vec<Section>, String>,
}

/// All of them, in order.
pub(crate) static PARTS: [Part; 10] = [
    Part { name: "micro", measure: micro::measure },
    Part { name: "throughput", measure: throughput::measure },
    Part { name: "handoff", measure: handoff::measure },
    Part { name: "balance", measure: balance::measure },
    Part { name: "health", measure: health::measure },
    Part { name: "restart", measure: restart_and_storm },
    Part { name: "reload", measure: reload::measure },
    Part { name: "startup", measure: startup::measure },
    Part { name: "memory", measure: memory::measure },
    Part { name: "ops", measure: ops::measure },
];

fn restart_and_storm(setting: &Setting) -> Result<Vec<Section>, String> {
    let mut sections = restart::measure(setting)?;
    sections.extend(storm::measure(setting)?);
    Ok(sections)
}

/// Asks everybody once in every round, so that a slow moment of the machine meets all. A peer that fails leaves.
fn interleave<T>(
    setting: &Setting,
    rounds: u32,
    all: &mut Vec<T>,
    name: impl Fn(&T) -> &'static str,
    mut once: impl FnMut(&mut T) -> Result<(), String>,
) -> Result<(), String> {
    for round in 1..=rounds {
        let mut number = 0;
        while let Some(one) = all.get_mut(number) {
            let name = name(one);
            setting.progress.at(format!("round {round} of {rounds}, {name}"));
            match setting.excuse(name, once(one))? {
                Some(()) => number += 1,
                None => drop(all.remove(number)),
            }
        }
    }
    Ok(())
}
