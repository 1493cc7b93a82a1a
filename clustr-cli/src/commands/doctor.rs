//! `clustr doctor`: what of this machine is good for clustr, what is not, and what mends it.
//!
//! Owns the report and its exit code: 1 where anything fails. What is so is gathered by `facts` and `ports`, what it means is said by
//! `rules`. Never changes anything, and starts nothing but the trial of the interception.

mod facts;
mod ports;
mod rules;

use serde::Serialize;

use crate::args::DoctorArgs;
use crate::exit_code;
use crate::failure::Failure;
use crate::render;
use facts::Facts;
use rules::{Check, Level};

#[derive(Serialize)]
struct Report<'a> {
    version: u8,
    /// Whether nothing fails.
    ok: bool,
    checks: &'a [Check],
}

pub(super) fn run(args: DoctorArgs) -> Result<u8, Failure> {
    let json = args.json;
    let checks = rules::judge(&Facts::gather(args));
    let ok = checks.iter().all(|check| check.level != Level::Fail);
    if json {
        let report = Report { version: 1, ok, checks: &checks };
        render::json(&serde_json::to_string(&report).map_err(|error| Failure::Output(error.into()))?)?;
    } else {
        render::output(&text(&checks))?;
    }
    Ok(if ok { exit_code::DONE } else { exit_code::FAILED })
}

/// One line a check, and below it what mends it.
fn text(checks: &[Check]) -> String {
    let line = |check: &Check| {
        let Check { check, level, detail, mend } = check;
        let mend = mend.as_ref().map(|mend| format!("{:21}mend: {mend}\n", "")).unwrap_or_default();
        format!("{:<6}{check:<15}{detail}\n{mend}", level.word())
    };
    let count = |level| checks.iter().filter(|check| check.level == level).count();
    let lines: String = checks.iter().map(line).collect();
    format!("{lines}\n{} ok, {} warn, {} fail", count(Level::Ok), count(Level::Warn), count(Level::Fail))
}
