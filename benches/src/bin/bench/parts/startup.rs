//! From the start of a primary until all its workers are there.
//!
//! Owns two starts: many trivial programs, told by their own first lines, and two of node, told when they listen.

use std::process::{Command, Stdio};
use std::time::Duration;

use clustr_benches::load::monotonic_ns;
use clustr_benches::primary::Primary;
use clustr_benches::series::Series;
use clustr_benches::soak::Births;
use clustr_benches::started::Started;
use clustr_benches::wait;

use super::interleave;
use crate::peers::{self, App, Fleet, Name};
use crate::report::{Cell, Section, Table};
use crate::setting::{Done, Setting, Wanted};

/// Everything is at rest again.
const REST: Duration = Duration::from_millis(100);

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    let sizes = [(100, setting.rounds_within(0.25, 3, 11)), (500, setting.rounds_within(0.7, 2, 11))];
    Ok(vec![many(setting, &sizes)?, cold(setting)?])
}

/// Who starts, and how long it took.
struct Starter<'a> {
    name: &'static str,
    millis: Series,
    /// So often at most: those that take seconds are not waited for in every round.
    most: usize,
    start: Start<'a>,
}

/// Starts something whose workers write into this FIFO.
type Start<'a> = Box<dyn Fn(&Births) -> Result<Held, String> + 'a>;

/// What was started, until it is dropped.
#[expect(dead_code, reason = "held until all workers were seen")]
enum Held {
    Clustr(Primary),
    Loop(Started),
    Server(Option<peers::Server>),
}

impl<'a> Starter<'a> {
    fn new(name: &'static str, start: impl Fn(&Births) -> Result<Held, String> + 'a) -> Self {
        Self { name, millis: Series::default(), most: usize::MAX, start: Box::new(start) }
    }

    /// From the start command to the last worker's word.
    fn run(&mut self, workers: u32) -> Result<(), String> {
        if self.millis.numbers().len() >= self.most {
            return Ok(());
        }
        wait::observe_for(REST);
        let mut births = Births::new("startup")?.open()?;
        let began = monotonic_ns();
        let held = (self.start)(&births)?;
        let mut last = began;
        for _ in 0..workers {
            last = last.max(births.wait_next()?.at_ns);
        }
        self.millis.push((last - began) as f64 / 1e6);
        drop(held);
        Ok(())
    }
}

/// Starts of so many, one column for each size, all told by the workers themselves.
pub(super) fn many(setting: &Setting, sizes: &[(u32, Wanted)]) -> Result<Section, String> {
    const LABELS: [(u32, &str, &str); 2] =
        [(100, "100 workers, ms", "startup-100-bare"), (500, "500 workers, ms", "startup-500-bare")];
    let wanted = |size: u32| sizes.iter().find(|(asked, _)| *asked == size).map(|(_, wanted)| *wanted);
    let asked: Vec<_> = LABELS
        .into_iter()
        .filter_map(|(size, label, goal)| Some((size, label, goal, wanted(size)?)))
        .collect();
    let columns: Vec<_> = asked.iter().flat_map(|(_, label, ..)| [(*label, 0), ("× bare", 2)]).collect();
    let mut table = Table::new(&columns);
    let (mut found, mut cells) = (Vec::new(), [const { Vec::new() }; MANY.len()]);
    let mut rounds = Vec::new();
    for (size, _, goal, wanted) in asked {
        let (all, done) = start_many(setting, size, wanted)?;
        rounds.push(format!("{size}: {done}"));
        let millis = |name: &str| all.iter().find(|one| one.name == name).map(|one| &one.millis);
        let bare = millis(MANY[1]);
        for (name, cells) in MANY.iter().zip(&mut cells) {
            let mine = millis(name);
            cells.push(Cell::from(mine));
            cells
                .push(mine.zip(bare).filter(|_| *name != MANY[1]).map(|(mine, bare)| mine.over(bare)).into());
        }
        found.extend(millis(MANY[0]).zip(bare).map(|(ours, bare)| (goal, ours.over(bare))));
    }
    let known = |cells: &[Cell]| cells.iter().any(|cell| matches!(cell, Cell::Numbers(_)));
    for (name, cells) in MANY.iter().zip(cells).filter(|(_, cells)| known(cells)) {
        table.row(*name, cells);
    }
    table.drawn = Some(columns.len() - 2);
    let about = format!(
        "From the start command to the first line of the last worker, the trivial program; of {}. Those that take seconds \
         take part in the first few. node here is `child_process.spawn`.",
        rounds.join(", of ")
    );
    let mut section = Section::new("Start of many workers", about, table);
    section.found = found;
    Ok(section)
}

/// Who starts many.
const MANY: [&str; 6] = ["clustr", "bare spawn loop", SLOW[0].0, SLOW[1].0, SLOW[2].0, SLOW[3].0];
/// Those that need seconds for some hundred workers.
const SLOW: [(&str, Name); 4] = [
    ("node, spawn", Name::Node),
    ("PM2", Name::Pm2),
    ("circus", Name::Circus),
    ("supervisord", Name::Supervisord),
];
const SLOW_ROUNDS: usize = 3;

/// Everybody's time for so many.
fn start_many(setting: &Setting, workers: u32, wanted: Wanted) -> Result<(Vec<Starter<'_>>, Done), String> {
    let trivial = setting.places.trivial.to_string_lossy().into_owned();
    let fifo = |births: &Births| births.path().to_string_lossy().into_owned();
    let program = trivial.clone();
    let ours = move |births: &Births| {
        let count = workers.to_string();
        Primary::start(&setting.places.clustr, &["-n", &count], &[&program, &fifo(births)]).map(Held::Clustr)
    };
    let program = trivial.clone();
    let bare = move |births: &Births| {
        let mut command = Command::new(&setting.places.bare);
        command.args(["spawn", &workers.to_string(), &program]).arg(births.path()).stdin(Stdio::null());
        Started::new(&mut command).map(Held::Loop)
    };
    let mut all = vec![Starter::new(MANY[0], ours), Starter::new(MANY[1], bare)];
    // Of a quick run, they start the fewer only.
    let most = setting.pick(usize::from(workers <= 100), SLOW_ROUNDS);
    for (label, name) in SLOW.into_iter().filter(|(_, name)| most > 0 && setting.has(*name)) {
        let program = trivial.clone();
        let start = move |births: &Births| {
            peers::many(setting, name, workers, &[&program, &fifo(births)]).map(Held::Server)
        };
        all.push(Starter { most, ..Starter::new(label, start) });
    }
    let done = interleave(setting, wanted, &mut all, |one| one.name, |one| one.run(workers))?;
    Ok((all, done))
}

const OURS: &str = "clustr, shared";
const NODE: &str = "node:cluster, round robin";
const BARE: &str = "bare loop";

fn cold(setting: &Setting) -> Result<Section, String> {
    let mut all: Vec<Starter<'_>> = vec![
        Starter::new(OURS, |births| ours(setting, births, "shared")),
        Starter::new("clustr, per-worker", |births| ours(setting, births, "per-worker")),
        Starter::new("clustr, handoff", |births| ours(setting, births, "handoff")),
        Starter::new(BARE, |births| {
            let fifo = births.path().to_string_lossy().into_owned();
            let fleet = Fleet { env: &[("BIRTHS", &fifo)], ..Fleet::of(App::Announce, 2) };
            peers::bare(setting, "node-share", fleet).map(|server| Held::Server(Some(server)))
        }),
    ];
    let others = [
        (NODE, Name::Node, "rr"),
        ("PM2", Name::Pm2, ""),
        ("circus, node", Name::Circus, ""),
        ("supervisord, node", Name::Supervisord, ""),
    ];
    for (label, name, policy) in others.into_iter().filter(|(_, name, _)| setting.has(*name)) {
        all.push(Starter::new(label, move |births| {
            let fifo = births.path().to_string_lossy().into_owned();
            let fleet = Fleet { env: &[("BIRTHS", &fifo)], ..Fleet::of(App::Announce, 2) };
            peers::peer(setting, name, policy, fleet).map(Held::Server)
        }));
    }
    let done = interleave(setting, setting.rounds(3, 21), &mut all, |one| one.name, |one| one.run(2))?;
    Ok(cold_section(&all, done))
}

fn ours(setting: &Setting, births: &Births, share: &str) -> Result<Held, String> {
    let fifo = format!("BIRTHS={}", births.path().display());
    let options = ["-n", "2", "--share", share, "--env", &fifo];
    let app = clustr_benches::places::Places::peer("announce.js");
    Primary::start(&setting.places.clustr, &options, &["node", &app]).map(Held::Clustr)
}

fn cold_section(all: &[Starter<'_>], done: Done) -> Section {
    let named = |name: &str| all.iter().find(|one| one.name == name).map(|one| &one.millis);
    let mut table = Table::new(&[("ms", 1), ("× bare loop", 2), ("× node:cluster", 2)]);
    for one in all {
        let over = |other: Option<&Series>| other.map(|other| one.millis.over(other)).into();
        table.row(one.name, vec![(&one.millis).into(), over(named(BARE)), over(named(NODE))]);
    }
    let about = format!("From the start command until both workers, of node, listen; {done}.");
    let mut section = Section::new("Two node workers from cold", about, table);
    for (goal, other) in [("cold-bare", BARE), ("cold-node", NODE)] {
        if let (Some(ours), Some(other)) = (named(OURS), named(other)) {
            section.found(goal, ours.over(other));
        }
    }
    section
}
