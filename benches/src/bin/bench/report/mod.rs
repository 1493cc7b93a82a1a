//! The report: Markdown, plots and JSON in the folder `bench` of the target folder, and Markdown on standard output.
//!
//! Owns what a part hands in (`Section`), the files, and the last chapter: every goal, held or missed. Never measures.

pub(crate) mod against;
mod json;
mod machine;
mod markdown;
mod page;
mod plot;
mod readme;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clustr_benches::places::Places;
use clustr_benches::series::Series;
use serde_json::Value;

use crate::budget::Shown;
use crate::goals::Goal;
use crate::parts::Part;
use crate::setting::Setting;

/// What one part found.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// How it was measured.
    pub(crate) about: String,
    pub(crate) table: Table,
    /// Found under the name of a goal.
    pub(crate) found: Vec<(&'static str, Series)>,
    /// What a reader has to know besides: who was skipped, what a mark means.
    pub(crate) notes: Vec<String>,
}

/// Numbers, a row for each who was measured.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
    /// The column that is drawn.
    pub(crate) drawn: Option<usize>,
}

/// What the numbers below it are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) label: &'static str,
    /// After the point.
    pub(crate) digits: usize,
}

/// One who was measured.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) cells: Vec<Cell>,
    /// Whether it was the load generator that stood in the way.
    pub(crate) near_limit: bool,
}

/// What was found of one.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Numbers(Series),
    Text(String),
    Nothing,
}

impl From<Series> for Cell {
    fn from(series: Series) -> Self {
        Self::Numbers(series)
    }
}

impl From<&Series> for Cell {
    fn from(series: &Series) -> Self {
        Self::Numbers(series.clone())
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(some: Option<T>) -> Self {
        some.map_or(Self::Nothing, Into::into)
    }
}

impl Table {
    /// A table whose first column is drawn.
    pub(crate) fn new(columns: &[(&'static str, usize)]) -> Self {
        let columns = columns.iter().map(|(label, digits)| Column { label, digits: *digits }).collect();
        Self { columns, rows: Vec::new(), drawn: Some(0) }
    }

    pub(crate) fn row(&mut self, name: impl Into<String>, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(Row { name: name.into(), cells, near_limit: false });
    }
}

impl Section {
    pub(crate) fn new(title: impl Into<String>, about: impl Into<String>, table: Table) -> Self {
        let (title, about) = (title.into(), about.into());
        Self { title, about, table, found: Vec::new(), notes: Vec::new() }
    }

    /// Reports what belongs to a goal.
    pub(crate) fn found(&mut self, goal: &'static str, numbers: Series) {
        debug_assert!(Goal::named(goal).is_some(), "no goal is called {goal}");
        self.found.push((goal, numbers));
    }

    /// As files and anchors are called.
    fn slug(&self) -> String {
        let letter = |letter: char| if letter.is_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
        self.title.chars().map(letter).collect::<String>().replace("--", "-").trim_matches('-').to_owned()
    }
}

/// What was found for each goal, run by run.
pub(crate) type Found = BTreeMap<&'static str, Vec<Series>>;

/// The report, as far as it has come.
pub(crate) struct Report {
    folder: PathBuf,
    machine: String,
    /// Before the first chapter.
    head: String,
    /// The chapters of the last run.
    text: String,
    sections: Vec<Value>,
    found: Found,
    began: Instant,
    spent: Duration,
}

impl Report {
    /// Says on what is measured, who takes part, and how long it will take.
    pub(crate) fn new(
        setting: &Setting,
        parts: &[&'static Part],
        skipped: Option<String>,
    ) -> Result<Self, String> {
        let folder = setting.places.reports();
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let machine = machine::describe(setting);
        let mut head = format!("# clustr beside its peers\n\n{machine}\n");
        for skipped in setting.peers.skipped().iter().chain(&skipped) {
            head.push_str(&format!("\nskipped: {skipped}\n"));
        }
        let plan = setting.budget.plan(parts, setting.times);
        setting.progress.aside(|| println!("{head}\n{plan}"));
        let (text, sections, found) = (String::new(), Vec::new(), BTreeMap::new());
        let (began, spent) = (Instant::now(), setting.spent);
        Ok(Self { folder, machine, head, text, sections, found, began, spent })
    }

    /// The next run of everything: its chapters take the place of those before.
    pub(crate) fn begin(&mut self, setting: &Setting, run: u32) {
        self.text.clear();
        self.sections.clear();
        if setting.times > 1 {
            let line = format!("\nRun {} of {}.\n", run + 1, setting.times);
            setting.progress.aside(|| println!("{line}"));
            self.text.push_str(&line);
        }
    }

    /// Says what a part found, draws it and keeps it, so that nothing is lost if a later part fails.
    pub(crate) fn add(&mut self, setting: &Setting, mut sections: Vec<Section>) -> Result<(), String> {
        if let Some(last) = sections.last_mut() {
            last.notes.extend(setting.take_excuses());
        }
        for section in sections {
            let plot = plot::draw(&self.folder, &section)?;
            let text = markdown::section(&section, plot.as_deref());
            setting.progress.aside(|| println!("{text}"));
            self.text.push_str(&text);
            self.sections.push(json::section(&section));
            for (goal, numbers) in section.found {
                self.found.entry(goal).or_default().push(numbers);
            }
        }
        self.keep()
    }

    /// The last chapter: all goals, and what has changed since an earlier run.
    pub(crate) fn finish(&mut self, setting: &Setting, before: Option<&Value>) -> Result<(), String> {
        let mut text = markdown::goals(&self.found, setting.times);
        if let Some(before) = before {
            text.push_str(&against::compare(before, &self.as_json()));
        }
        text.push_str(&took(self.began.elapsed(), self.spent));
        setting.progress.aside(|| println!("{text}"));
        self.text.push_str(&text);
        self.keep()?;
        if setting.write {
            page::keep(&Places::root(), &self.folder, &self.whole(), || {
                readme::numbers(&self.sections, &setting.typed, &machine::cpus())
            })?;
        }
        println!("report: {}", self.folder.join("report.md").display());
        Ok(())
    }

    fn whole(&self) -> String {
        format!("{}{}", self.head, self.text)
    }

    fn keep(&self) -> Result<(), String> {
        write(&self.folder.join("report.md"), &self.whole())?;
        write(&self.folder.join("report.json"), &format!("{:#}\n", self.as_json()))
    }

    fn as_json(&self) -> Value {
        json::report(&self.machine, &self.sections, &self.found)
    }
}

/// How long it took, for whoever was promised how long it would.
fn took(measured: Duration, spent: Duration) -> String {
    let builds = if spent.is_zero() {
        String::new()
    } else {
        format!(", after {} of builds and downloads", Shown(spent))
    };
    format!("\nThis took {}{builds}.\n", Shown(measured))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
