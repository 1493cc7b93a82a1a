//! The few numbers that the README shows, taken from the report.
//!
//! Owns what stands between two marks of that page: a table, and the command that makes it again. Never touches the words
//! around it.

use std::fmt::Write as _;

use serde_json::Value;

/// Before the numbers.
pub(super) const BEGIN: &str = "<!-- numbers: written by `cargo xtask bench --write` -->\n";
/// After them.
pub(super) const END: &str = "<!-- end of the numbers -->";

/// Who is shown: as the README calls it, and where the report has it.
const ROWS: &[(&str, &str, &str)] = &[
    ("clustr, `shared`", "Short connections", "clustr, shared"),
    ("clustr, `per-worker`", "Short connections", "clustr, per-worker"),
    ("clustr, `handoff`", "Connections handed over", "clustr, handoff to node"),
    ("node:cluster, SCHED_NONE", "Short connections", "node:cluster, SCHED_NONE"),
    ("node:cluster, round robin (its default)", "Short connections", "node:cluster, round robin"),
    ("PM2", "Short connections", "PM2"),
];

/// The table, and where it is from; nothing if the report has none of it.
pub(super) fn numbers(sections: &[Value], command: &str, machine: &str) -> Option<String> {
    let mut rows = String::new();
    for (shown, section, row) in ROWS {
        let Some(cells) = cells(sections, section, row) else { continue };
        let median = |column: &str| cells[column]["median"].as_f64();
        let ratio = median("× node's round robin").map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let (speed, cpu) = (median("per second")?, median("primary's CPU, ms per 10,000")?);
        let _ = writeln!(rows, "| {shown} | {} | {ratio} | {cpu:.0} ms |", thousands(speed));
    }
    if rows.is_empty() {
        return None;
    }
    Some(format!(
        "\n| | short connections/s | × node's round robin | primary's CPU for 10,000 |\n|---|---|---|---|\n{rows}\n\
         Medians of `{command}` on {machine}.\n\n"
    ))
}

/// The page with other numbers; nothing if it has lost its marks.
pub(super) fn replaced(page: &str, numbers: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{numbers}{END}{after}"))
}

fn cells<'a>(sections: &'a [Value], section: &str, row: &str) -> Option<&'a Value> {
    let section = sections.iter().find(|found| found["title"] == section)?;
    let row = section["rows"].as_array()?.iter().find(|found| found["name"] == row)?;
    Some(&row["cells"])
}

/// `13,290`.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut shown = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sections() -> Vec<Value> {
        let cells = |speed: f64, ratio: Value| {
            json!({ "per second": { "median": speed }, "× node's round robin": ratio,
                    "primary's CPU, ms per 10,000": { "median": 0.04 } })
        };
        let rows = json!([
            { "name": "clustr, shared", "cells": cells(13_290.4, json!({ "median": 2.271 })) },
            { "name": "PM2", "cells": cells(925.0, Value::Null) },
        ]);
        vec![json!({ "title": "Short connections", "rows": rows })]
    }

    #[test]
    fn the_readme_gets_the_medians_and_the_command() {
        let text = numbers(&sections(), "cargo xtask bench --quick --write", "2 CPUs").unwrap();
        for line in [
            "| clustr, `shared` | 13,290 | 2.27 | 0 ms |",
            "| PM2 | 925 | – | 0 ms |",
            "Medians of `cargo xtask bench --quick --write` on 2 CPUs.",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("handoff"), "who was not measured is not shown: {text}");
        assert!(numbers(&[], "", "").is_none());
    }

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let page = format!("# Title\n\n{BEGIN}old\n{END}\n\nend\n");
        assert_eq!(replaced(&page, "new\n").unwrap(), format!("# Title\n\n{BEGIN}new\n{END}\n\nend\n"));
        assert!(replaced("no marks", "new").is_none());
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([999.0, 1_000.0, 1_234_567.0].map(thousands), ["999", "1,000", "1,234,567"]);
    }
}
