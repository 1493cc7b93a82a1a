//! `bench [PART...] [--peers NAME,...] [--quick] [--against FILE] [--write]`: clustr beside its peers, in one run.
//!
//! Owns the way from words to a report. Ends with 0 whether a goal is held or missed: numbers are for reading, tests are
//! for judging. Called by `cargo xtask bench`, which builds what is measured and fetches the peers.
#![expect(clippy::disallowed_methods, reason = "measuring starts programs and reads clocks")]
#![expect(clippy::print_stdout, reason = "a report")]

mod goals;
mod parts;
mod peers;
mod progress;
mod report;
mod setting;
mod words;

use std::process::ExitCode;

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
    let setting = Setting::new(&words)?;
    let mut report = Report::new(&setting)?;
    let mut faults = Vec::new();
    for part in &words.parts {
        setting.progress.begin(part.name);
        match (part.measure)(&setting) {
            Ok(sections) => report.add(&setting, sections)?,
            Err(why) => faults.push(format!("{}: {why}", part.name)),
        }
    }
    setting.progress.end();
    report.finish(&setting, before.as_ref())?;
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}
