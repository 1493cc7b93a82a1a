//! `bench [throughput|handoff|health|restart|memory|all] [--quick]`: clustr beside its peers, in one run.
//!
//! Owns the choice of what is measured, and the report: Markdown on standard output and in `bench` of the target
//! folder. Ends with 0 whether a goal is held or missed: numbers are for reading, tests are for judging.
#![expect(clippy::disallowed_methods, reason = "measuring starts programs")]
#![expect(clippy::print_stdout, reason = "a report")]

mod bare;
mod handoff;
mod health;
mod memory;
mod report;
mod restart;
mod throughput;

use std::process::ExitCode;

use clustr_benches::places::Places;
use report::Report;

/// How much is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effort {
    /// Enough to see that everything works.
    Quick,
    /// Enough for numbers that mean something.
    Full,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    match words {
        // The other sides of two measurements, in processes of their own.
        ["serve", port] => return bare::serve(port),
        ["restart-loop", program, fifo] => return bare::restart(program, fifo),
        _ => {}
    }
    let effort = if words.contains(&"--quick") { Effort::Quick } else { Effort::Full };
    let chosen: Vec<&str> = words.iter().copied().filter(|word| *word != "--quick").collect();
    let all = chosen.is_empty() || chosen == ["all"];
    let known = ["throughput", "handoff", "health", "restart", "memory"];
    if let Some(strange) = chosen.iter().find(|word| !known.contains(word) && **word != "all") {
        return Err(format!(
            "'{strange}' is none of throughput, handoff, health, restart, memory, all, --quick"
        ));
    }
    let places = Places::find()?;
    let report = Report::new(&places)?;
    if all || chosen.contains(&"throughput") {
        report.add("throughput", throughput::measure(&places, effort)?)?;
    }
    if all || chosen.contains(&"handoff") {
        report.add("handoff", handoff::measure(&places, effort)?)?;
    }
    if all || chosen.contains(&"health") {
        report.add("health", health::measure(&places, effort)?)?;
    }
    if all || chosen.contains(&"restart") {
        report.add("restart", restart::measure(&places, effort)?)?;
    }
    if all || chosen.contains(&"memory") {
        report.add("memory", memory::measure(&places, effort)?)?;
    }
    Ok(())
}
