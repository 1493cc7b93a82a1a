//! Sections and goals as Markdown.
//!
//! Owns the words of the report. Never decides anything.

use std::fmt::Write as _;

use clustr_benches::series::Series;

use super::{Cell, Column, Found, Section, Table};
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

/// Every goal: what was found of it in so many runs, and at the end those that nothing was measured for.
pub(super) fn goals(found: &Found, times: u32) -> String {
    let mut text = String::from("\n## Goals\n\nA goal is judged by the median");
    if times > 1 {
        let _ = write!(text, ", in each of {times} runs, of which the chapters above show the last");
    }
    text.push_str(".\n\n");
    text.push_str("| measure | goal | found | verdict | what stands in the way |\n|---|---|---|---|---|\n");
    let mut unmeasured = Vec::new();
    for goal in GOALS {
        let must = if goal.must { " (must)" } else { "" };
        let Goal { name, what, limit, .. } = goal;
        let Some(numbers) = found.get(name) else {
            unmeasured.push(*what);
            continue;
        };
        let (shown, found, verdict) = (goal.shown(), all(numbers), verdicts(goal, numbers));
        let _ = writeln!(text, "| {what}{must} | {shown} | {found} | {verdict} | {limit} |");
    }
    if !unmeasured.is_empty() {
        let _ = writeln!(text, "\nNot measured in this run: {}.", unmeasured.join("; "));
    }
    text
}

/// What each run found.
fn all(runs: &[Series]) -> String {
    match runs {
        [one] => format!("{one:.2}"),
        several => several.iter().map(|run| format!("{:.2}", run.median())).collect::<Vec<_>>().join(", "),
    }
}

/// How often it was held, and by how much it was missed.
fn verdicts(goal: &Goal, runs: &[Series]) -> String {
    let missed: Vec<_> = runs.iter().filter(|run| goal.judge(run) != Verdict::Held).collect();
    match (runs, missed.as_slice()) {
        ([one], _) => verdict(goal, one),
        (runs, []) => format!("held in {0} of {0}", runs.len()),
        (runs, missed) => {
            let by = missed.iter().map(|run| verdict(goal, run)).collect::<Vec<_>>().join(", ");
            format!("held in {} of {}: {by}", runs.len() - missed.len(), runs.len())
        }
    }
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
        let mark = if row.near_limit { " †" } else { "" };
        let _ = writeln!(text, "| {}{mark} | {} |", row.name, cells.join(" | "));
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
        let text = goals(&Found::from([("wake-ups", vec![Series::of(0.0)])]), 1);
        let line = |part: &str| text.lines().find(|line| line.contains(part)).unwrap();
        assert!(line("wake-ups").contains("| held |"));
        assert!(line("from cold × node:cluster").starts_with("Not measured in this run"));
        assert_eq!(text.matches("| held |").count(), 1);
    }

    #[test]
    fn of_several_runs_each_is_judged() {
        let runs = |found: [f64; 3]| found.map(Series::of).to_vec();
        let found =
            Found::from([("cold-node", runs([0.5, 0.6, 0.7])), ("restart-bare", runs([1.9, 2.5, 2.0]))]);
        let text = goals(&found, 3);
        assert!(text.contains("| 0.50, 0.60, 0.70 | held in 3 of 3 |"), "{text}");
        assert!(text.contains("| 1.90, 2.50, 2.00 | held in 2 of 3: MISSED by 25.0 % |"), "{text}");
    }

    #[test]
    fn who_was_near_the_generators_limit_is_marked() {
        let mut table = Table::new(&[("per second", 0)]);
        table.row("nginx", vec![Series::of(9.0).into()]);
        table.rows[0].near_limit = true;
        assert!(self::table(&table).contains("| nginx † | 9 |"));
    }
}
