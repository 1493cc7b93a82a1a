//! Two runs side by side.
//!
//! Owns what counts as a change: medians that differ, in ranges that do not touch; a number of one round has a range of a
//! tenth on either side. Everything else is the weather of the
//! machine, and is not listed. Never says which of both is better: that depends on what was measured.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// An earlier report.
pub(crate) fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let report: Value =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    match report["version"].as_u64() {
        Some(1) => Ok(report),
        _ => Err(format!("{}: not a report of this benchmark", path.display())),
    }
}

/// What has changed between two reports.
pub(super) fn compare(before: &Value, now: &Value) -> String {
    let mut text = format!("\n## Compared with an earlier run\n\nThen: {}\n\n", word(&before["machine"]));
    let (mut changes, mut compared) = (String::new(), 0);
    for (name, was, is) in pairs(before, now) {
        let (Some(was), Some(is)) = (Numbers::of(was), Numbers::of(is)) else { continue };
        compared += 1;
        if was.apart(&is) {
            let ratio = is.median / was.median;
            let _ = writeln!(changes, "| {name} | {} | {} | {ratio:.2} |", was.shown(), is.shown());
        }
    }
    if changes.is_empty() {
        let _ = writeln!(text, "None of {compared} numbers has left the range of the earlier run.");
        return text;
    }
    text.push_str("| | then | now | × |\n|---|---|---|---|\n");
    text.push_str(&changes);
    let _ = writeln!(text, "\n{compared} numbers were compared; the others' ranges overlap.");
    text
}

/// Every number that both have, with its name.
fn pairs<'a>(before: &'a Value, now: &'a Value) -> Vec<(String, &'a Value, &'a Value)> {
    let mut found = Vec::new();
    for section in list(&now["sections"]) {
        let Some(earlier) = named(&before["sections"], "title", &section["title"]) else { continue };
        for row in list(&section["rows"]) {
            let Some(earlier) = named(&earlier["rows"], "name", &row["name"]) else { continue };
            for (column, cell) in row["cells"].as_object().into_iter().flatten() {
                let name = format!("{}: {}, {column}", word(&section["title"]), word(&row["name"]));
                found.push((name, &earlier["cells"][column], cell));
            }
        }
    }
    found
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn named<'a>(values: &'a Value, key: &str, name: &Value) -> Option<&'a Value> {
    list(values).iter().find(|value| value[key] == *name)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

struct Numbers {
    median: f64,
    least: f64,
    most: f64,
}

impl Numbers {
    fn of(cell: &Value) -> Option<Self> {
        let number = |key: &str| cell[key].as_f64();
        let (median, least, most) = (number("median")?, number("least")?, number("most")?);
        if least < most {
            return Some(Self { median, least, most });
        }
        let tenth = median.abs() / 10.0;
        Some(Self { median, least: median - tenth, most: median + tenth })
    }

    fn apart(&self, other: &Self) -> bool {
        self.least > other.most || other.least > self.most
    }

    fn shown(&self) -> String {
        format!("{:.2} ({:.2}–{:.2})", self.median, self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(least: f64, most: f64) -> Value {
        let numbers = json!({ "median": f64::midpoint(least, most), "least": least, "most": most });
        let rows = json!([{ "name": "clustr", "cells": { "ms": numbers, "note": "text" } }]);
        json!({ "version": 1, "machine": "m", "sections": [{ "title": "T", "rows": rows }] })
    }

    #[test]
    fn only_ranges_that_do_not_touch_are_a_change() {
        let same = compare(&report(1.0, 3.0), &report(2.0, 4.0));
        assert!(same.contains("None of 1 numbers"), "{same}");
        let other = compare(&report(1.0, 3.0), &report(4.0, 8.0));
        assert!(other.contains("| T: clustr, ms | 2.00 (1.00–3.00) | 6.00 (4.00–8.00) | 3.00 |"), "{other}");
    }

    #[test]
    fn a_number_of_one_round_has_changed_if_it_is_far_from_the_other() {
        let near = compare(&report(10.0, 10.0), &report(11.5, 11.5));
        assert!(near.contains("None of 1 numbers"), "{near}");
        let far = compare(&report(10.0, 10.0), &report(20.0, 20.0));
        assert!(far.contains("| T: clustr, ms | 10.00 (9.00–11.00) | 20.00 (18.00–22.00) | 2.00 |"), "{far}");
        let none = compare(&report(0.0, 0.0), &report(0.0, 0.0));
        assert!(none.contains("None of 1 numbers"), "{none}");
    }

    #[test]
    fn what_only_one_of_both_has_is_left_out() {
        let empty = json!({ "version": 1, "machine": "m", "sections": [] });
        assert!(compare(&empty, &report(1.0, 2.0)).contains("None of 0 numbers"));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        assert!(read(Path::new("no/such/file")).unwrap_err().contains("no/such/file"));
        assert!(read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).is_err());
    }
}
