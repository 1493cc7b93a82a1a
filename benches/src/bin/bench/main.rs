//! `bench [PART...] [--peers NAME,...] [--quick] [--against FILE] [--write]`: clustr beside its peers, in one run.
//!
//! Owns the way from words to a report. Ends with 0 whether a goal is held or missed: numbers are for reading, tests are
//! for judging. Called by `cargo xtask bench`, which builds what is measured and fetches the peers.
#![expect(clippy::disallowed_methods, reason = "measuring starts programs and reads clocks")]
#![expect(clippy::print_stdout, reason = "a report")]

mod budget;
mod goals;
mod parts;
mod peers;
mod progress;
mod report;
mod setting;
mod words;

use std::process::ExitCode;

use parts::Part;
use report::Report;
use setting::Setting;
use words::Words;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match Words::parse(&words).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: Words) -> Result<(), String> {
    // Read first: a file that cannot be read should not be learnt of after half an hour.
    let before = words.against.as_deref().map(report::against::read).transpose()?;
    let mut setting = Setting::new(&words)?;
    setting.try_peers();
    let (parts, skipped) = possible(&words.parts);
    let mut report = Report::new(&setting, &parts, skipped)?;
    let mut faults = Vec::new();
    for run in 0..words.times {
        report.begin(&setting, run);
        for (number, part) in parts.iter().enumerate() {
            setting.begin(&parts, number, run);
            match (part.measure)(&setting) {
                Ok(sections) => report.add(&setting, sections)?,
                Err(why) => faults.push(format!("{}: {why}", part.name)),
            }
        }
    }
    setting.progress.end();
    report.finish(&setting, before.as_ref())?;
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// What can be measured here, and what was skipped: most workers are of node.
fn possible(parts: &[&'static Part]) -> (Vec<&'static Part>, Option<String>) {
    if peers::on_path("node").is_some() {
        return (parts.to_vec(), None);
    }
    let (without, with): (Vec<_>, Vec<_>) = parts.iter().copied().partition(|part| !part.needs_node);
    let names = with.iter().map(|part| part.name).collect::<Vec<_>>().join(", ");
    (without, (!with.is_empty()).then(|| format!("node not found: nothing is said of {names}")))
}
