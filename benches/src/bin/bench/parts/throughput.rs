//! Requests per second, on short connections and on kept ones.
//!
//! Owns who takes part, and what is compared with whom. Connections that are handed over are `handoff`'s.

use clustr_benches::load::Plan;
use clustr_benches::series::Series;

use super::interleave;
use super::lane::{CLIENTS, Lane, named};
use crate::peers::{self, App, Fleet, Name};
use crate::report::{Section, Table};
use crate::setting::{Rounds, Setting};

const SHARED: &str = "clustr, shared";
const QUEUES: &str = "clustr, per-worker";
const HANDOFF: &str = "clustr, handoff";
pub(super) const ROUND_ROBIN: &str = "node:cluster, round robin";
const NONE: &str = "node:cluster, SCHED_NONE";
const PM2: &str = "PM2";
const BARE: &str = "bare loop, one listener for node workers";
const LIMIT: &str = "bare server in Rust: the generator's limit";

/// From this part of the generator's limit on, a number says more of the generator than of the server.
const NEAR_LIMIT: f64 = 0.9;

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    let mut lanes = lanes(setting)?;
    let short =
        rounds(setting, &mut lanes, setting.pick(Rounds::new(3, 400), Rounds::new(15, 700)), Lane::short)?;
    let short = short_section(&lanes, short);
    // These close every connection, as the bare server does: nothing is kept.
    let mut kept: Vec<Lane> = lanes
        .into_iter()
        .filter(|lane| ![LIMIT, "gunicorn", "uWSGI"].contains(&lane.name))
        .map(fresh)
        .collect();
    let handoff = peers::clustr(setting, &["--share", "handoff"], Fleet::of(App::Hello, 2))?;
    kept.insert(2, Lane::new(HANDOFF, handoff)?);
    let rounds =
        rounds(setting, &mut kept, setting.pick(Rounds::new(3, 300), Rounds::new(15, 500)), Lane::kept)?;
    Ok(vec![short, kept_section(&kept, rounds)])
}

fn lanes(setting: &Setting) -> Result<Vec<Lane>, String> {
    let fleet = Fleet::of(App::Hello, 2);
    let peer = |label, name, policy| Lane::peer(setting, label, name, policy, fleet);
    let mut lanes = vec![
        Lane::new(SHARED, peers::clustr(setting, &["--share", "shared"], fleet)?)?,
        Lane::new(QUEUES, peers::clustr(setting, &["--share", "per-worker"], fleet)?)?,
    ];
    let others = [
        peer(ROUND_ROBIN, Name::Node, "rr")?,
        peer(NONE, Name::Node, "none")?,
        peer(PM2, Name::Pm2, "")?,
        peer("circus, node", Name::Circus, "")?,
        peer("supervisord, node", Name::Supervisord, "")?,
        peer("gunicorn", Name::Gunicorn, "")?,
        peer("uWSGI", Name::Uwsgi, "")?,
        peer("nginx", Name::Nginx, "")?,
    ];
    lanes.extend(others.into_iter().flatten());
    lanes.push(Lane::new(BARE, peers::bare(setting, "node-share", fleet)?)?);
    lanes.push(Lane::new(LIMIT, peers::bare(setting, "serve", fleet)?)?);
    Ok(lanes)
}

fn rounds(
    setting: &Setting,
    lanes: &mut Vec<Lane>,
    rounds: Rounds,
    plan: impl Fn(&Lane, std::time::Duration) -> Plan,
) -> Result<Rounds, String> {
    for lane in &mut *lanes {
        clustr_benches::load::run(&plan(lane, rounds.span)).map_err(|error| error.to_string())?;
    }
    interleave(setting, rounds.count, lanes, |lane| lane.name, |lane| lane.run(&plan(lane, rounds.span)))?;
    Ok(rounds)
}

/// The same server, with nothing noted yet.
fn fresh(lane: Lane) -> Lane {
    let empty = Series::default;
    let Lane { name, server, .. } = lane;
    Lane { name, server, per_second: empty(), p50_ms: empty(), p99_ms: empty(), cpu_ms: empty(), failed: 0 }
}

fn short_section(lanes: &[Lane], rounds: Rounds) -> Section {
    let about = format!("{CLIENTS} clients at once, `Connection: close`, 2 workers, `hello`; {rounds}.");
    let mut section = Section::new("Short connections", about, table(lanes));
    section.notes.extend(near_limit(lanes));
    let goals = [
        ("short-shared-none", SHARED, NONE),
        ("short-shared-bare", SHARED, BARE),
        ("short-shared-pm2", SHARED, PM2),
        ("short-queues-none", QUEUES, NONE),
        ("short-queues-bare", QUEUES, BARE),
        ("short-queues-pm2", QUEUES, PM2),
    ];
    compare(&mut section, lanes, &goals);
    if let (Some(ours), Some(none)) = (named(lanes, SHARED), named(lanes, NONE)) {
        section.found("p99-shared-none", ours.p99_ms.over(&none.p99_ms));
    }
    for (goal, name) in [("cpu-shared", SHARED), ("cpu-queues", QUEUES)] {
        section.found.extend(named(lanes, name).map(|lane| (goal, lane.cpu_ms.clone())));
    }
    section
}

fn kept_section(lanes: &[Lane], rounds: Rounds) -> Section {
    let about =
        format!("{CLIENTS} connections that are kept, one request at a time on each, 2 workers; {rounds}.");
    let mut section = Section::new("Requests on kept connections", about, table(lanes));
    let goals = [
        ("kept-shared-node", SHARED, ROUND_ROBIN),
        ("kept-shared-bare", SHARED, BARE),
        ("kept-queues-node", QUEUES, ROUND_ROBIN),
        ("kept-queues-bare", QUEUES, BARE),
        ("kept-handoff-node", HANDOFF, ROUND_ROBIN),
        ("kept-handoff-bare", HANDOFF, BARE),
    ];
    compare(&mut section, lanes, &goals);
    section
}

fn compare(section: &mut Section, lanes: &[Lane], goals: &[(&'static str, &str, &str)]) {
    for (goal, ours, other) in goals {
        if let (Some(ours), Some(other)) = (named(lanes, ours), named(lanes, other)) {
            section.found(goal, ours.per_second.over(&other.per_second));
        }
    }
}

fn table(lanes: &[Lane]) -> Table {
    let mut table = Table::new(&[
        ("per second", 0),
        ("× node's round robin", 2),
        ("× bare loop", 2),
        ("p50 ms", 2),
        ("p99 ms", 2),
        ("primary's CPU, ms per 10,000", 1),
        ("failed", 0),
    ]);
    let (node, bare) = (named(lanes, ROUND_ROBIN), named(lanes, BARE));
    for lane in lanes {
        let over = |other: Option<&Lane>| other.map(|other| lane.per_second.over(&other.per_second)).into();
        let Lane { name, per_second, p50_ms, p99_ms, cpu_ms, failed, .. } = lane;
        let cpu = (*name != LIMIT).then_some(cpu_ms).into();
        let failed = Series::of(*failed as f64).into();
        table.row(
            *name,
            vec![per_second.into(), over(node), over(bare), p50_ms.into(), p99_ms.into(), cpu, failed],
        );
    }
    table
}

/// Who is so fast that the generator may be what was measured.
fn near_limit(lanes: &[Lane]) -> Option<String> {
    let limit = named(lanes, LIMIT)?;
    let near = |lane: &&Lane| lane.per_second.over(&limit.per_second).median() >= NEAR_LIMIT;
    let names: Vec<_> =
        lanes.iter().filter(near).map(|lane| lane.name).filter(|name| *name != LIMIT).collect();
    let limit = &limit.per_second;
    Some(match names.as_slice() {
        [] => format!("The generator's limit here is {limit:.0} per second; nobody is near it."),
        _ => format!("Near the generator's limit ({limit:.0} per second): {}.", names.join("; ")),
    })
}
