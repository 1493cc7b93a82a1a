//! A storm of kills: a worker of two every 200 ms, while short connections arrive.
//!
//! Owns the count of what was lost without need. A worker is stopped, asked (through `/proc`) what it has accepted, and
//! killed: those requests end with it. Every other failure is a loss.

use std::collections::BTreeSet;
use std::time::Duration;

use clustr_benches::load::{self, Pace, Plan, Running, Tally, TellApart};
use clustr_benches::series::Series;
use clustr_benches::started::signal_pid;
use clustr_benches::{facts, wait};
use rustix::process::Signal;

use crate::peers::{self, App, Fleet, Name, Server};
use crate::report::{Cell, Section, Table};
use crate::setting::Setting;

const PAUSE: Duration = Duration::from_millis(200);
const PER_SECOND: f64 = 500.0;
/// Who has heard nothing for so long has been lost.
const PATIENCE: Duration = Duration::from_secs(3);
/// A server's start, and its last requests.
const START_AND_END: Duration = Duration::from_secs(5);
/// Fewer would be no storm.
const LEAST_KILLS: u32 = 5;
/// clustr's own ways.
const SHARES: [(&str, &str); 3] =
    [("clustr, shared", "shared"), ("clustr, per-worker", "per-worker"), ("clustr, handoff", "handoff")];
const OTHERS: [(&str, Name, &str); 8] = [
    ("node:cluster, round robin", Name::Node, "rr"),
    ("node:cluster, SCHED_NONE", Name::Node, "none"),
    ("PM2", Name::Pm2, ""),
    ("circus, node", Name::Circus, ""),
    ("supervisord, node", Name::Supervisord, ""),
    ("gunicorn", Name::Gunicorn, ""),
    ("uWSGI", Name::Uwsgi, ""),
    ("nginx", Name::Nginx, ""),
];
/// clustr's intensity is raised, for by default a slot gives up after five exits in ten seconds.
const RAISED: [&str; 4] = ["--intensity", "100000/1s", "--backoff-min", "0ms"];

/// What became of one server in the storm.
struct Stormed {
    name: &'static str,
    tally: Tally,
    /// Failures that no killed worker had accepted.
    lost: u64,
    kills: u32,
    alive_after: usize,
}

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    let fleet = Fleet::of(App::Hello, 2);
    let others = OTHERS.into_iter().filter(|(_, peer, _)| setting.has(*peer));
    let servers = SHARES.len() + others.clone().count();
    let ticks = setting.fitting(
        u32::try_from(servers).unwrap_or(u32::MAX),
        START_AND_END,
        PAUSE + PAUSE / 10,
        [LEAST_KILLS, setting.pick(5, 50)],
    );
    let mut all = Vec::new();
    for (name, share) in SHARES {
        let options = [&["--share", share], &RAISED[..]].concat();
        all.push(storm(setting, name, peers::clustr(setting, &options, fleet)?, ticks)?);
    }
    for (name, peer, policy) in others.filter(|(name, ..)| setting.has_time_for(name)) {
        let server = setting.excuse(name, peers::peer(setting, peer, policy, fleet))?.flatten();
        let stormed = server.map(|server| storm(setting, name, server, ticks)).transpose();
        all.extend(setting.excuse(name, stormed)?.flatten());
    }
    Ok(vec![section(&all, ticks)])
}

fn storm(setting: &Setting, name: &'static str, server: Server, ticks: u32) -> Result<Stormed, String> {
    setting.progress.at(format!("a storm on {name}"));
    server.wait_serving()?;
    server.wait_workers(2)?;
    let plan = Plan {
        clients: 250,
        pace: Pace::PerSecond(PER_SECOND),
        duration_max: Duration::from_secs(600),
        request_timeout: PATIENCE,
        tell_apart: TellApart::Nothing,
        ..Plan::short(server.address())
    };
    let load = load::start(&plan).map_err(|error| error.to_string())?;
    let (kills, accepted) = kill(&server, &load, ticks)?;
    let tally = load.stop().map_err(|error| error.to_string())?;
    let lost = tally.failures.iter().filter(|failure| !accepted.contains(&failure.port)).count() as u64;
    let alive_after = server.workers().len();
    Ok(Stormed { name, tally, lost, kills, alive_after })
}

/// Kills a worker at each tick, the one that has lived longest; returns what they had accepted.
fn kill(server: &Server, load: &Running, ticks: u32) -> Result<(u32, BTreeSet<u16>), String> {
    let (mut kills, mut accepted) = (0, BTreeSet::new());
    wait::until_true("the first answers", Duration::from_secs(30), || load.succeeded() > 50)?;
    for _ in 0..ticks {
        let oldest = server.workers().into_iter().min_by_key(|pid| facts::began_at_ticks(*pid));
        if let Some(worker) = oldest
            && signal_pid(worker, Signal::STOP).is_ok()
        {
            let _ = wait::until_true("it stands still", Duration::from_secs(1), || {
                facts::state(worker) != Some('R') && facts::state(worker) != Some('S')
            });
            accepted.extend(facts::client_ports(worker));
            // Its supervisor may have been quicker.
            kills += u32::from(signal_pid(worker, Signal::KILL).is_ok());
        }
        wait::observe_for(PAUSE);
    }
    wait::observe_for(PAUSE);
    Ok((kills, accepted))
}

fn section(all: &[Stormed], ticks: u32) -> Section {
    let mut table = Table::new(&[
        ("lost", 0),
        ("with killed workers", 0),
        ("how they failed", 0),
        ("answered", 0),
        ("kills", 0),
        ("p99 ms", 1),
        ("workers after", 0),
    ]);
    table.drawn = None;
    for Stormed { name, tally, lost, kills, alive_after } in all {
        let number = |number: u64| Cell::from(Series::of(number as f64));
        let p99 = Series::of(tally.latency.percentile(99.0).as_secs_f64() * 1e3);
        let taken_along = number(tally.failed() - lost);
        let (answered, kills, after) =
            (number(tally.success), number(u64::from(*kills)), number(*alive_after as u64));
        table.row(
            *name,
            vec![
                number(*lost),
                taken_along,
                Cell::Text(tally.how_failed()),
                answered,
                kills,
                p99.into(),
                after,
            ],
        );
    }
    let about = format!(
        "One server after the other. A worker of two killed every {PAUSE:?}, {ticks} times, while {PER_SECOND} short connections arrive each second. \
         Everybody with his own rules for restarts, but clustr with a raised `--intensity`: by default its slots give up \
         after five exits in ten seconds."
    );
    let mut section = Section::new("A storm of kills", about, table);
    let ours = all.iter().filter(|one| one.name.starts_with("clustr"));
    section.found("storm-lost", Series::of(ours.map(|one| one.lost).sum::<u64>() as f64));
    section
}
