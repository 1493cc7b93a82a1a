//! `cargo xtask compat [MAJOR...] [--write]`: the conformance cases on each version of node, as a table.
//!
//! Owns the table and `docs/compat.md`. Never judges a case: `clustr-cli/tests/conformance` does, and prints one
//! line a case: `conformance: CASE node VERSION ok`, or `FAILED WHY`, or `skipped WHY`; with `[handoff]` or
//! `[per-worker]` after the version where connections were shared so, which is a row of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use crate::nodes::{self, MAJORS, Node};
use crate::{Outcome, apps, programs, run, sharing, test};

/// What was asked for.
#[derive(Debug, Eq, PartialEq)]
struct Wish {
    majors: Vec<u32>,
    write: bool,
}

/// One line of the conformance test.
#[derive(Debug, Eq, PartialEq)]
struct Line {
    case: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Verdict {
    Ok,
    Skipped,
    Failed,
}

/// Case by case, in alphabetical order because they run in none, what each version made of it.
#[derive(Debug, Default)]
struct Table {
    versions: Vec<String>,
    /// Verdicts by column.
    rows: BTreeMap<String, BTreeMap<usize, Verdict>>,
}

/// The chore.
pub(crate) fn run(args: &[String]) -> Outcome {
    match args.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        Some(("sharing", rest)) => return sharing::run(rest),
        Some(("programs", rest)) => return programs::run(rest),
        Some(_) | None => {}
    }
    let wish = Wish::parse(args)?;
    let apps = apps::prepare()?;
    let mut table = Table::default();
    let mut faults = Vec::new();
    for major in wish.majors {
        let ran = nodes::fetch(major).and_then(|node| run_on(&node, apps.as_ref(), &mut table));
        faults.extend(ran.err().map(|why| format!("node {major}: {why}")));
    }
    let text = table.to_string();
    run::announce("conformance");
    print!("{text}");
    if wish.write {
        let page = run::root().join("docs/compat.md");
        fs::write(&page, document(&text)).map_err(|error| format!("'{}': {error}", page.display()))?;
    }
    if faults.is_empty() { table.judge() } else { Err(faults.join("; ")) }
}

impl Wish {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut wish = Self { majors: Vec::new(), write: false };
        for arg in args {
            match (arg.as_str(), arg.parse()) {
                ("--write", _) => wish.write = true,
                ("node", _) => {}
                (_, Ok(major)) if MAJORS.contains(&major) => wish.majors.push(major),
                _ => {
                    return Err(format!(
                        "'{arg}' is none of sharing, programs, --write and the majors {MAJORS:?}"
                    ));
                }
            }
        }
        if wish.majors.is_empty() {
            wish.majors = MAJORS.to_vec();
        }
        Ok(wish)
    }
}

/// Runs the cases on one node; a failed case is a cell of the table, a run without any case is a failure.
fn run_on(node: &Node, apps: Option<&std::path::PathBuf>, table: &mut Table) -> Outcome {
    let mut command =
        run::cargo(&["test", "--package", "clustr-cli", "--test", "conformance", "--", "--nocapture"]);
    test::pass_on(&mut command, std::iter::once(node), apps);
    let column = table.column(&node.version);
    let result = run::watch(&mut command, |line| {
        if let Some(line) = Line::parse(line) {
            table.put(column, &line);
        }
        true
    });
    if table.has_any(column) { Ok(()) } else { result.and(Err("no case ran".to_owned())) }
}

impl Line {
    /// Somewhere in a line, because the test program may have begun it with words of its own.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("conformance: ")?;
        let (case, rest) = rest.split_once(" node ")?;
        let (_version, verdict) = rest.split_once(' ')?;
        let (case, verdict) = match verdict.split_once("] ").filter(|_| verdict.starts_with('[')) {
            Some((share, verdict)) => (format!("{case} {share}]"), verdict),
            None => (case.to_owned(), verdict),
        };
        let verdict = match verdict.split([' ', ':']).next()? {
            "ok" => Verdict::Ok,
            "skipped" => Verdict::Skipped,
            "FAILED" => Verdict::Failed,
            _ => return None,
        };
        Some(Self { case, verdict })
    }
}

impl Table {
    fn column(&mut self, version: &str) -> usize {
        self.versions.push(version.to_owned());
        self.versions.len() - 1
    }

    /// A case that is reported twice is as good as its worse half.
    fn put(&mut self, column: usize, line: &Line) {
        let row = self.rows.entry(line.case.clone()).or_default();
        let cell = row.entry(column).or_insert(line.verdict);
        *cell = line.verdict.max(*cell);
    }

    fn has_any(&self, column: usize) -> bool {
        self.rows.values().any(|row| row.contains_key(&column))
    }

    fn judge(&self) -> Outcome {
        let cells: Vec<&Verdict> = self.rows.values().flat_map(BTreeMap::values).collect();
        let failed = cells.iter().filter(|verdict| ***verdict == Verdict::Failed).count();
        if failed == 0 { Ok(()) } else { Err(format!("{failed} of {} failed", cells.len())) }
    }
}

impl std::fmt::Display for Table {
    /// As Markdown, its columns aligned so that it reads well as text too.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.rows.keys().map(String::len).max().unwrap_or(0).max("case".len());
        write!(f, "| {:<width$} |", "case")?;
        self.versions.iter().try_for_each(|version| write!(f, " {version:<8} |"))?;
        write!(f, "\n|-{:-<width$}-|", "")?;
        self.versions.iter().try_for_each(|version| write!(f, "-{:-<1$}-|", "", version.len().max(8)))?;
        writeln!(f)?;
        for (case, row) in &self.rows {
            write!(f, "| {case:<width$} |")?;
            for (column, version) in self.versions.iter().enumerate() {
                let cell = row.get(&column).map_or("-", |verdict| verdict.name());
                write!(f, " {cell:<0$} |", version.len().max(8))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Failed => "FAILED",
        }
    }
}

/// The page `docs/compat.md`.
fn document(table: &str) -> String {
    let mut page = String::from("# Versions of node\n\n");
    page.push_str("Written by `cargo xtask compat --write`: the conformance cases of\n");
    page.push_str("`clustr-cli/tests/conformance`, each on each version and in each way of sharing: a case by its name\n");
    page.push_str(
        "alone is `--share shared`, with `[handoff]` after it `--share handoff`, with `[per-worker]` that.\n",
    );
    page.push_str("`skipped` or `-`: the case does not apply to that version, that machine or that way.\n\n");
    let _ = write!(page, "{table}");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_test_program_are_read() {
        let line = Line::parse("test x ... conformance: two ports node 22.23.3 ok").unwrap();
        assert_eq!(line, Line { case: "two ports".into(), verdict: Verdict::Ok });
        let line = Line::parse("conformance: https node v18.20.8 FAILED no answer: timed out").unwrap();
        assert_eq!(line.verdict, Verdict::Failed);
        let line = Line::parse("conformance: udp node 18.20.8 [handoff] ok").unwrap();
        assert_eq!(line, Line { case: "udp [handoff]".into(), verdict: Verdict::Ok });
        let line = Line::parse("conformance: udp node 18.20.8 [per-worker] skipped no such thing").unwrap();
        assert_eq!(line, Line { case: "udp [per-worker]".into(), verdict: Verdict::Skipped });
        assert_eq!(Line::parse("conformance: https node 18.20.8 perhaps"), None);
        assert_eq!(Line::parse("test result: ok"), None);
    }

    #[test]
    fn the_table_shows_every_case_and_fails_if_one_did() {
        let mut table = Table::default();
        let (old, new) = (table.column("18.20.8"), table.column("26.10.0"));
        table.put(old, &Line { case: "plain http".into(), verdict: Verdict::Ok });
        table.put(new, &Line { case: "plain http".into(), verdict: Verdict::Ok });
        assert!(table.judge().is_ok());
        table.put(new, &Line { case: "udp".into(), verdict: Verdict::Failed });
        table.put(new, &Line { case: "udp".into(), verdict: Verdict::Ok });
        assert!(table.judge().is_err());
        let expected = "\
| case       | 18.20.8  | 26.10.0  |
|------------|----------|----------|
| plain http | ok       | ok       |
| udp        | -        | FAILED   |
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn majors_and_write_are_understood_and_nothing_else() {
        let parse =
            |words: &[&str]| Wish::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(parse(&[]), Ok(Wish { majors: MAJORS.to_vec(), write: false }));
        assert_eq!(parse(&["node", "22", "--write"]), Ok(Wish { majors: vec![22], write: true }));
        assert!(parse(&["17"]).is_err());
        assert!(parse(&["--wirte"]).is_err());
    }
}
