//! `cargo xtask compat programs [NAME...] [--write]`: programs that know nothing of clusters, and launchers, as a table.
//!
//! Owns the table and `docs/programs.md`. Never judges a program: `clustr-cli/tests/programs` does, and prints one line
//! each: `programs: NAME | VERSION | SERVED BY | FAILED | FAILED IN RELOADS | ok`, or `programs: NAME | FAILED WHY`, or
//! `programs: NAME | skipped: X not found`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::{Outcome, languages, run};

const COLUMNS: [&str; 6] = ["program", "version", "served by", "failed", "failed in reloads", ""];

/// What was asked for.
#[derive(Debug, Default, Eq, PartialEq)]
struct Wish {
    names: Vec<String>,
    write: bool,
}

/// One line of the test: a program with its cells, or why it has none.
#[derive(Debug, Eq, PartialEq)]
enum Line {
    Ran([String; COLUMNS.len()]),
    Failed(String),
    Skipped { program: String, why: String },
}

#[derive(Debug, Default)]
struct Table {
    rows: Vec<[String; COLUMNS.len()]>,
    failed: Vec<String>,
    skipped: Vec<String>,
}

/// The chore.
pub(crate) fn run(args: &[String]) -> Outcome {
    let wish = Wish::parse(args)?;
    let path = languages::prepare()?;
    run::run(&mut run::cargo(&["build", "--package", "clustr-net", "--examples"]))?;
    let mut table = Table::default();
    let result = run::watch(&mut command(&wish, &path), |line| {
        table.put(Line::parse(line));
        true
    });
    let text = table.to_string();
    run::announce("programs");
    print!("{text}");
    if wish.write {
        let page = run::root().join("docs/programs.md");
        let text = document(&text, &machine());
        fs::write(&page, text).map_err(|error| format!("'{}': {error}", page.display()))?;
    }
    if table.rows.is_empty() { result.and(Err("no program ran".to_owned())) } else { result }
}

impl Wish {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut wish = Self::default();
        for arg in args {
            match arg.as_str() {
                "--write" => wish.write = true,
                _ if arg.starts_with('-') => {
                    return Err(format!("'{arg}' is neither --write nor (a part of) a program's name"));
                }
                _ => wish.names.push(arg.clone()),
            }
        }
        if wish.write && !wish.names.is_empty() {
            return Err("--write writes the whole table: name no programs with it".to_owned());
        }
        Ok(wish)
    }
}

/// One program after the other: what they are asked to bear is load enough.
fn command(wish: &Wish, path: &OsString) -> Command {
    let words = ["test", "--package", "clustr-cli", "--test", "programs", "--", "--nocapture"];
    let mut command = run::cargo(&words);
    let matrix = if wish.names.is_empty() { "1".to_owned() } else { wish.names.join(",") };
    command.env("PATH", path).env("CLUSTR_MATRIX", matrix).arg("--test-threads=1");
    if !wish.names.is_empty() {
        command.arg("every_other_program");
    }
    command
}

impl Line {
    /// Somewhere in a line, because the test program may have begun it with words of its own.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("programs: ")?;
        let cells: Vec<&str> = rest.split(" | ").map(str::trim).collect();
        let program = (*cells.first()?).to_owned();
        match cells.get(1)? {
            why if why.starts_with("FAILED") => Some(Self::Failed(program)),
            why if why.starts_with("skipped: ") => {
                Some(Self::Skipped { program, why: why.trim_start_matches("skipped: ").to_owned() })
            }
            _ => {
                let cells: Vec<String> = cells.into_iter().map(str::to_owned).collect();
                cells.try_into().ok().map(Self::Ran)
            }
        }
    }
}

impl Table {
    fn put(&mut self, line: Option<Line>) {
        match line {
            Some(Line::Ran(row)) => self.rows.push(row),
            Some(Line::Failed(program)) => self.failed.push(program),
            Some(Line::Skipped { program, why }) => self.skipped.push(format!("{program}: {why}")),
            None => {}
        }
    }

    fn widths(&self) -> [usize; COLUMNS.len()] {
        let width = |at: usize| self.rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
        std::array::from_fn(|at| width(at).max(COLUMNS[at].len()))
    }
}

impl std::fmt::Display for Table {
    /// As Markdown, its columns aligned so that it reads well as text too; under it those that failed, and those that were not there.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widths = self.widths();
        let head = COLUMNS.map(str::to_owned);
        let rule = widths.map(|width| "-".repeat(width));
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|row| row[0].to_lowercase());
        for row in [&head, &rule].into_iter().chain(rows) {
            row.iter().zip(widths).try_for_each(|(cell, width)| write!(f, "| {cell:<width$} "))?;
            writeln!(f, "|")?;
        }
        for (title, lines) in [("Failed", &self.failed), ("Skipped", &self.skipped)] {
            if !lines.is_empty() {
                writeln!(f, "\n{title}:\n")?;
                lines.iter().try_for_each(|line| writeln!(f, "- {line}"))?;
            }
        }
        Ok(())
    }
}

/// What it was tried on: the kernel's version, without what a distribution adds, and how many CPUs.
fn machine() -> String {
    let release = run::ask(Command::new("uname").arg("-r")).unwrap_or_default();
    let release = release.split('-').next().unwrap_or_default().to_owned();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("Linux {release}, {}, {cpus} CPUs", std::env::consts::ARCH)
}

/// The page `docs/programs.md`.
fn document(table: &str, machine: &str) -> String {
    let mut page = String::from(INTRODUCTION);
    let _ = write!(page, "\n## Results\n\nOn {machine}.\n\n{table}\n");
    page.push_str(NOTES);
    page
}

const INTRODUCTION: &str = include_str!("programs/introduction.md");
const NOTES: &str = include_str!("programs/notes.md");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_test_program_are_read() {
        let row = ["redis", "7.0.15", "4 of 4", "0 of 400", "0 of 1125", "ok"].map(str::to_owned);
        let line = "test x ... programs: redis | 7.0.15 | 4 of 4 | 0 of 400 | 0 of 1125 | ok";
        assert_eq!(Line::parse(line), Some(Line::Ran(row)));
        assert_eq!(Line::parse("programs: Deno | FAILED two reloads"), Some(Line::Failed("Deno".into())));
        let skipped = Line::Skipped { program: "Bun".into(), why: "bun not found".into() };
        assert_eq!(Line::parse("programs: Bun | skipped: bun not found"), Some(skipped));
        assert_eq!(Line::parse("test result: ok"), None);
        assert_eq!(Line::parse("programs: Bun"), None);
    }

    #[test]
    fn the_table_says_who_failed_and_who_was_not_there() {
        let mut table = Table::default();
        for line in [
            "programs: redis | 7.0 | 4 of 4 | 0 of 400 | 0 of 9 | ok",
            "programs: Bun | skipped: bun not found",
            "programs: Deno | FAILED x",
        ] {
            table.put(Line::parse(line));
        }
        let expected = "\
| program | version | served by | failed   | failed in reloads |    |
| ------- | ------- | --------- | -------- | ----------------- | -- |
| redis   | 7.0     | 4 of 4    | 0 of 400 | 0 of 9            | ok |

Failed:

- Deno

Skipped:

- Bun: bun not found
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_part_of_the_table_is_not_written() {
        let parse =
            |words: &[&str]| Wish::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(parse(&["redis"]), Ok(Wish { names: vec!["redis".into()], write: false }));
        assert!(parse(&["--write"]).is_ok_and(|wish| wish.write));
        assert!(parse(&["redis", "--write"]).is_err() && parse(&["--wirte"]).is_err());
    }
}
