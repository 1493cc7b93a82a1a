//! Connections handed over: how many, and what each costs the primary.
//!
//! Owns the two families, node workers and workers in Rust, each with the bare loop that passes connections to the same
//! workers.

use std::time::Duration;

use super::lane::{self, CLIENTS, LIMIT, Lane, named};
use super::throughput::ROUND_ROBIN;
use crate::peers::{self, App, Fleet, Name};
use crate::report::{Section, Table};
use crate::setting::{Done, Setting};

const OURS: &str = "clustr, handoff to node";
const LEAST: &str = "clustr, handoff to node, least-busy";
const BARE: &str = "bare loop, connections for node workers";
const NATIVE: &str = "clustr, handoff to Rust";
const NATIVE_BARE: &str = "bare loop, connections for Rust workers";

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    let mut lanes = lanes(setting)?;
    let span = setting.pick(Duration::from_millis(400), Duration::from_millis(700));
    lane::warm_up(setting, &mut lanes, |lane| lane.short(span))?;
    let done = lane::measure(setting, setting.rounds(3, 15), &mut lanes, |lane| lane.short(span))?;
    Ok(vec![section(&lanes, done, span)])
}

fn lanes(setting: &Setting) -> Result<Vec<Lane>, String> {
    let fleet = Fleet::of(App::Hello, 2);
    let handoff = |balance| peers::clustr(setting, &["--share", "handoff", "--balance", balance], fleet);
    let bare = setting.places.bare.to_string_lossy().into_owned();
    let native = ["--share", "handoff", "--listen", "127.0.0.1:{port}"];
    let mut lanes = vec![
        Lane::new(OURS, handoff("round-robin")?)?,
        Lane::new(LEAST, handoff("least-busy")?)?,
        Lane::new(BARE, peers::bare(setting, "node-pass", fleet)?)?,
        Lane::new(NATIVE, peers::ours(setting, &native, fleet, &[&bare, "worker"])?)?,
        Lane::new(NATIVE_BARE, peers::bare(setting, "pass", fleet)?)?,
    ];
    lanes.extend(Lane::peer(setting, ROUND_ROBIN, Name::Node, "rr", fleet)?);
    lanes.extend(Lane::peer(setting, "PM2", Name::Pm2, "", fleet)?);
    lanes.push(Lane::new(LIMIT, peers::bare(setting, "serve", fleet)?)?);
    Ok(lanes)
}

fn section(lanes: &[Lane], done: Done, span: Duration) -> Section {
    let mut table = Table::new(&[
        ("per second", 0),
        ("× its bare loop", 2),
        ("× node's round robin", 2),
        ("p99 ms", 2),
        ("primary's CPU, ms per 10,000", 0),
        ("× its bare loop's CPU", 2),
        ("failed", 0),
    ]);
    for lane in lanes.iter().filter(|lane| lane.name != LIMIT) {
        let bare = named(lanes, if lane.name.contains("Rust") { NATIVE_BARE } else { BARE });
        let node = named(lanes, ROUND_ROBIN).filter(|_| !lane.name.contains("Rust"));
        let faster = |other: Option<&Lane>| other.map(|other| lane.per_second.over(&other.per_second)).into();
        let dearer = bare.map(|bare| lane.cpu_ms.over(&bare.cpu_ms)).into();
        let (speed, slow, cpu) = ((&lane.per_second).into(), (&lane.p99_ms).into(), (&lane.cpu_ms).into());
        table.row(lane.name, vec![speed, faster(bare), faster(node), slow, cpu, dearer, lane.failures()]);
    }
    let about = format!("{CLIENTS} clients at once, `Connection: close`, 2 workers; {done} of {span:?}.");
    let mut section = Section::new("Connections handed over", about, table);
    lane::mark_near_limit(&mut section, lanes);
    let speeds = [
        ("short-handoff-bare", OURS, BARE),
        ("short-handoff-rr", OURS, ROUND_ROBIN),
        ("short-native-bare", NATIVE, NATIVE_BARE),
    ];
    for (goal, ours, other) in speeds {
        if let (Some(ours), Some(other)) = (named(lanes, ours), named(lanes, other)) {
            section.found(goal, ours.per_second.over(&other.per_second));
        }
    }
    if let (Some(ours), Some(bare)) = (named(lanes, OURS), named(lanes, BARE)) {
        section.found("cpu-handoff-bare", ours.cpu_ms.over(&bare.cpu_ms));
    }
    section
}
