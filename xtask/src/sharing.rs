//! `cargo xtask compat sharing [--write]`: each way to share with each way to deliver, with real programs, as a table.
//!
//! Owns the table and `docs/sharing.md`. Never judges a cell: `clustr-cli/tests/sharing` does, and prints one line a
//! cell: `sharing: PROGRAM [DELIVERY] SHARE ok`, or `refused`, or `FAILED WHY`, or `skipped WHY`.

use std::fmt::Write as _;
use std::fs;

use crate::{Outcome, nodes, python, run, test};

/// The columns.
const SHARES: [&str; 3] = ["shared", "per-worker", "handoff"];

/// One line of the test.
#[derive(Debug, Eq, PartialEq)]
struct Line {
    program: String,
    delivery: String,
    share: usize,
    verdict: String,
}

/// Programs in the order in which they came up, each with its verdicts by column.
#[derive(Debug, Default)]
struct Table(Vec<Row>);

#[derive(Debug)]
struct Row {
    program: String,
    delivery: String,
    verdicts: [String; SHARES.len()],
}

/// The chore.
pub(crate) fn run(args: &[String]) -> Outcome {
    let write = match args {
        [] => false,
        [word] if word == "--write" => true,
        _ => return Err("compat sharing takes --write and nothing else".to_owned()),
    };
    let node = nodes::machine()?;
    let python = python::prepare();
    run::run(&mut run::cargo(&["build", "--package", "clustr-net", "--examples"]))?;
    let mut command =
        run::cargo(&["test", "--package", "clustr-cli", "--test", "sharing", "--", "--nocapture"]);
    command.env("CLUSTR_MATRIX", "1");
    test::pass_on(&mut command, std::iter::once(&node), None);
    match python {
        Ok(folder) => drop(command.env("CLUSTR_PYTHON", folder)),
        Err(why) => println!("skipped: {why}"),
    }
    let mut table = Table::default();
    let result = run::watch(&mut command, |line| {
        table.put(Line::parse(line));
        true
    });
    let text = table.to_string();
    run::announce("sharing");
    print!("{text}");
    if write {
        let page = run::root().join("docs/sharing.md");
        fs::write(&page, document(&text)).map_err(|error| format!("'{}': {error}", page.display()))?;
    }
    result
}

impl Line {
    /// Somewhere in a line, because the test program may have begun it with words of its own.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("sharing: ")?;
        let (program, rest) = rest.split_once(" [")?;
        let (delivery, rest) = rest.split_once("] ")?;
        let (share, verdict) = rest.split_once(' ')?;
        let share = SHARES.iter().position(|known| *known == share)?;
        let verdict = verdict.split(' ').next().filter(|word| KNOWN.contains(word))?;
        Some(Self { program: program.into(), delivery: delivery.into(), share, verdict: verdict.into() })
    }
}

const KNOWN: [&str; 4] = ["ok", "refused", "FAILED", "skipped"];

impl Table {
    fn put(&mut self, line: Option<Line>) {
        let Some(Line { program, delivery, share, verdict }) = line else { return };
        let is_it = |row: &Row| (&row.program, &row.delivery) == (&program, &delivery);
        let place = self.0.iter().position(is_it).unwrap_or_else(|| {
            self.0.push(Row { program, delivery, verdicts: Default::default() });
            self.0.len() - 1
        });
        self.0[place].verdicts[share] = verdict;
    }

    fn sorted(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.0.iter().collect();
        rows.sort_by_key(|row| (&row.delivery, &row.program));
        rows
    }
}

impl std::fmt::Display for Table {
    /// As Markdown, its columns aligned so that it reads well as text too.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.0.iter().map(|row| row.program.len()).max().unwrap_or(0).max("program".len());
        writeln!(f, "| {:<width$} | delivery  | shared   | per-worker | handoff  |", "program")?;
        writeln!(f, "|-{:-<width$}-|-----------|----------|------------|----------|", "")?;
        for Row { program, delivery, verdicts: [shared, per_worker, handoff] } in self.sorted() {
            writeln!(
                f,
                "| {program:<width$} | {delivery:<9} | {shared:<8} | {per_worker:<10} | {handoff:<8} |"
            )?;
        }
        Ok(())
    }
}

/// The page `docs/sharing.md`.
fn document(table: &str) -> String {
    let mut page = String::from("# Sharing and delivery\n\n");
    page.push_str("Written by `cargo xtask compat sharing --write`: real programs of two workers, in each way of sharing\n");
    page.push_str("and by each way of delivery (`clustr-cli/tests/sharing`). `ok`: each worker gets connections; when one is\n");
    page.push_str("killed, and when there is one fewer and one more, nobody is refused and nobody waits in vain; who leaves\n");
    page.push_str(
        "finishes what it has, where it does so on SIGTERM. `refused`: it cannot be, and clustr says why before it starts anything.\n\n",
    );
    let _ = write!(page, "{table}");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_test_program_are_read() {
        let line =
            Line::parse("test x ... sharing: Rust, std [channel] per-worker ok (157 answers)").unwrap();
        let (program, delivery) = ("Rust, std".to_owned(), "channel".to_owned());
        assert_eq!(line, Line { program, delivery, share: 1, verdict: "ok".into() });
        assert_eq!(Line::parse("sharing: node [node] shared perhaps"), None);
        assert_eq!(Line::parse("sharing: node [node] alone ok"), None);
        assert_eq!(Line::parse("test result: ok"), None);
    }

    #[test]
    fn the_table_has_a_row_for_each_program_and_delivery() {
        let mut table = Table::default();
        for line in [
            "sharing: uvicorn [fds] handoff refused",
            "sharing: node [node] shared ok",
            "sharing: uvicorn [fds] shared FAILED x",
        ] {
            table.put(Line::parse(line));
        }
        let expected = "\
| program | delivery  | shared   | per-worker | handoff  |
|---------|-----------|----------|------------|----------|
| uvicorn | fds       | FAILED   |            | refused  |
| node    | node      | ok       |            |          |
";
        assert_eq!(table.to_string(), expected);
    }
}
