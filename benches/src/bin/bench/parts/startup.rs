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
use crate::setting::Setting;

/// Everything is at rest again.
const REST: Duration = Duration::from_millis(100);

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    Ok(vec![many(setting)?, cold(setting)?])
}

/// Who starts, and how long it took.
struct Starter<'a> {
    name: &'static str,
    millis: Series,
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
        Self { name, millis: Series::default(), start: Box::new(start) }
    }

    /// From the start command to the last worker's word.
    fn run(&mut self, workers: u32) -> Result<(), String> {
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

fn many(setting: &Setting) -> Result<Section, String> {
    let rounds = setting.pick(2, 11);
    let mut table =
        Table::new(&[("100 workers, ms", 0), ("× bare", 2), ("500 workers, ms", 0), ("× bare", 2)]);
    let few = start_many(setting, 100, rounds)?;
    let lots = start_many(setting, 500, rounds)?;
    let ratio = |[ours, bare]: &[Series; 2]| ours.over(bare);
    let (few_ratio, lots_ratio) = (ratio(&few), ratio(&lots));
    table.row("clustr", vec![(&few[0]).into(), (&few_ratio).into(), (&lots[0]).into(), (&lots_ratio).into()]);
    table.row("bare spawn loop", vec![(&few[1]).into(), Cell::Nothing, (&lots[1]).into(), Cell::Nothing]);
    table.drawn = Some(2);
    let about = format!(
        "From the start command to the first line of the last worker, the trivial program; {rounds} interleaved rounds."
    );
    let mut section = Section::new("Start of many workers", about, table);
    section.found("startup-100-bare", few_ratio);
    section.found("startup-500-bare", lots_ratio);
    Ok(section)
}

/// clustr's and the bare loop's time for so many.
fn start_many(setting: &Setting, workers: u32, rounds: u32) -> Result<[Series; 2], String> {
    let count = workers.to_string();
    let trivial = setting.places.trivial.to_string_lossy().into_owned();
    let ours = |births: &Births| {
        let fifo = births.path().to_string_lossy().into_owned();
        Primary::start(&setting.places.clustr, &["-n", &count], &[&trivial, &fifo]).map(Held::Clustr)
    };
    let bare = |births: &Births| {
        let mut command = Command::new(&setting.places.bare);
        command.args(["spawn", &count, &trivial]).arg(births.path()).stdin(Stdio::null());
        Started::new(&mut command).map(Held::Loop)
    };
    let mut both = vec![Starter::new("clustr", ours), Starter::new("bare", bare)];
    interleave(setting, rounds, &mut both, |one| one.name, |one| one.run(workers))?;
    Ok([both.remove(0).millis, both.remove(0).millis])
}

const OURS: &str = "clustr, shared";
const NODE: &str = "node:cluster, round robin";
const BARE: &str = "bare loop";

fn cold(setting: &Setting) -> Result<Section, String> {
    let rounds = setting.pick(3, 21);
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
    interleave(setting, rounds, &mut all, |one| one.name, |one| one.run(2))?;
    Ok(cold_section(&all, rounds))
}

fn ours(setting: &Setting, births: &Births, share: &str) -> Result<Held, String> {
    let fifo = format!("BIRTHS={}", births.path().display());
    let options = ["-n", "2", "--share", share, "--env", &fifo];
    let app = clustr_benches::places::Places::peer("announce.js");
    Primary::start(&setting.places.clustr, &options, &["node", &app]).map(Held::Clustr)
}

fn cold_section(all: &[Starter<'_>], rounds: u32) -> Section {
    let named = |name: &str| all.iter().find(|one| one.name == name).map(|one| &one.millis);
    let mut table = Table::new(&[("ms", 1), ("× bare loop", 2), ("× node:cluster", 2)]);
    for one in all {
        let over = |other: Option<&Series>| other.map(|other| one.millis.over(other)).into();
        table.row(one.name, vec![(&one.millis).into(), over(named(BARE)), over(named(NODE))]);
    }
    let about =
        format!("From the start command until both workers, of node, listen; {rounds} interleaved rounds.");
    let mut section = Section::new("Two node workers from cold", about, table);
    for (goal, other) in [("cold-bare", BARE), ("cold-node", NODE)] {
        if let (Some(ours), Some(other)) = (named(OURS), named(other)) {
            section.found(goal, ours.over(other));
        }
    }
    section
}
