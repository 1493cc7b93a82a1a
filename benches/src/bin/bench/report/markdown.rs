//! Sections and goals as Markdown.
//!
//! Owns the words of the report. Never decides anything.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clustr_benches::series::Series;

use super::{Cell, Column, Section, Table};
use crate::goals::{GOALS, Goal, Verdict};

/// A chapter; `plot` is the name of its picture's file.
pub(super) fn section(section: &Section, plot: Option<&str>) -> String {
    let mut text = format!("\n## {}\n\n{}\n\n{}", section.title, section.about, table(&section.table));
    if let Some(plot) = plot {
        let _ = write!(text, "\n![{}]({plot})\n", section.title);
    }
    if !section.notes.is_empty() || !section.found.is_empty() {
        text.push('\n');
    }
    for note in &section.notes {
        let _ = writeln!(text, "- {note}");
    }
    for (name, numbers) in &section.found {
        let Some(goal) = Goal::named(name) else { continue };
        let _ = writeln!(text, "- {}: {}: {}", goal.what, goal.shown(), judged(goal, numbers));
    }
    text
}

/// Every goal: what was found of it, and at the end those that nothing was measured for.
pub(super) fn goals(found: &BTreeMap<&'static str, Series>) -> String {
    let mut text = String::from("\n## Goals\n\nA goal is judged by the median.\n\n");
    text.push_str("| measure | goal | found | verdict | what stands in the way |\n|---|---|---|---|---|\n");
    let mut unmeasured = Vec::new();
    for goal in GOALS {
        let must = if goal.must { " (must)" } else { "" };
        let Goal { name, what, limit, .. } = goal;
        let Some(numbers) = found.get(name) else {
            unmeasured.push(*what);
            continue;
        };
        let (shown, verdict) = (goal.shown(), verdict(goal, numbers));
        let _ = writeln!(text, "| {what}{must} | {shown} | {numbers:.2} | {verdict} | {limit} |");
    }
    if !unmeasured.is_empty() {
        let _ = writeln!(text, "\nNot measured in this run: {}.", unmeasured.join("; "));
    }
    text
}

fn judged(goal: &Goal, numbers: &Series) -> String {
    format!("{} ({numbers:.2})", verdict(goal, numbers))
}

fn verdict(goal: &Goal, numbers: &Series) -> String {
    match goal.judge(numbers) {
        Verdict::Held => "held".to_owned(),
        Verdict::Missed(by) => format!("MISSED by {by}"),
    }
}

fn table(table: &Table) -> String {
    let labels: Vec<_> = table.columns.iter().map(|column| column.label).collect();
    let mut text = format!("| | {} |\n|---|{}\n", labels.join(" | "), "---|".repeat(labels.len()));
    for row in &table.rows {
        let cells: Vec<_> = row.cells.iter().zip(&table.columns).map(cell).collect();
        let _ = writeln!(text, "| {} | {} |", row.name, cells.join(" | "));
    }
    text
}

fn cell((cell, column): (&Cell, &Column)) -> String {
    match cell {
        Cell::Numbers(series) => format!("{series:.*}", column.digits),
        Cell::Text(text) => text.clone(),
        Cell::Nothing => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chapter_says_what_was_found_and_judges_it() {
        let mut table = Table::new(&[("ms", 1), ("failed", 0)]);
        table.row("clustr", vec![Series::of(1.25).into(), Cell::Nothing]);
        table.row("other", vec![Cell::Text("skipped".into()), Series::of(3.0).into()]);
        let mut chapter = Section::new("Restart", "so it was measured", table);
        chapter.found("restart-bare", Series::of(2.5));
        chapter.notes.push("a note".into());
        let text = section(&chapter, Some("restart.svg"));
        for line in [
            "## Restart",
            "| | ms | failed |",
            "|---|---|---|",
            "| clustr | 1.2 | – |",
            "| other | skipped | 3 |",
            "![Restart](restart.svg)",
            "- a note",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("≤ 2 ×: MISSED by 25.0 % (2.50)"), "{text}");
    }

    #[test]
    fn a_goal_that_was_not_measured_is_not_held() {
        let text = goals(&BTreeMap::from([("wake-ups", Series::of(0.0))]));
        let line = |part: &str| text.lines().find(|line| line.contains(part)).unwrap();
        assert!(line("wake-ups").contains("| held |"));
        assert!(line("from cold × node:cluster").starts_with("Not measured in this run"));
        assert_eq!(text.matches("| held |").count(), 1);
    }
}
