//! What interception costs a program, and how long its filter takes.
//!
//! Owns the two programs, node without IPC and a server in Rust, each beside itself alone: as many workers, each with a
//! queue of its own (`SO_REUSEPORT`) that a bare loop has bound, for which nobody intercepts anything.

use std::process::{Command, Stdio};
use std::time::Duration;

use clustr_benches::places::Places;
use clustr_benches::series::Series;

use super::lane::{self, CLIENTS, Lane, named};
use crate::peers::{self, App, Fleet};
use crate::report::{Section, Table};
use crate::setting::{Done, Setting};

const NODE: &str = "node, intercepted";
const NODE_ALONE: &str = "node, alone";
const RUST: &str = "Rust, intercepted";
const RUST_ALONE: &str = "Rust, alone";

/// Enough for a median, in a moment.
const FILTERS: usize = 51;

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    let span = setting.pick(Duration::from_millis(400), Duration::from_millis(700));
    let filter = filter(setting)?;
    let mut lanes = lanes(setting)?;
    lane::warm_up(setting, &mut lanes, |lane| lane.short(span))?;
    let done =
        lane::measure(setting, setting.rounds_within(0.5, 5, 15), &mut lanes, |lane| lane.short(span))?;
    let goals = [("short-intercept-node", NODE, NODE_ALONE), ("short-intercept-rust", RUST, RUST_ALONE)];
    let short = section("Short connections under interception", &lanes, &goals, done, span);
    let mut lanes: Vec<Lane> = lanes.into_iter().map(Lane::fresh).collect();
    lane::warm_up(setting, &mut lanes, |lane| lane.kept(span))?;
    let done = lane::measure(setting, setting.rounds(5, 15), &mut lanes, |lane| lane.kept(span))?;
    let goals = [("kept-intercept-node", NODE, NODE_ALONE), ("kept-intercept-rust", RUST, RUST_ALONE)];
    Ok(vec![short, section("Kept connections under interception", &lanes, &goals, done, span), filter])
}

fn lanes(setting: &Setting) -> Result<Vec<Lane>, String> {
    let fleet = Fleet::of(App::Hello, 2);
    let bare = setting.places.bare.to_string_lossy().into_owned();
    let (hello, listening) = (Places::peer("hello.js"), Places::peer("listening.js"));
    let intercepted = |command: &[&str]| peers::ours(setting, &["--delivery", "intercept"], fleet, command);
    let alone = |command: &[&str]| peers::bare_of(setting, "alone", fleet, command);
    Ok(vec![
        Lane::new(NODE, intercepted(&["node", &hello])?)?,
        Lane::new(NODE_ALONE, alone(&["node", &listening, &hello, "0"])?)?,
        Lane::new(RUST, intercepted(&[&bare, "plain"])?)?,
        Lane::new(RUST_ALONE, alone(&[&bare, "plain-on-input"])?)?,
    ])
}

fn section(
    title: &str,
    lanes: &[Lane],
    goals: &[(&'static str, &str, &str)],
    done: Done,
    span: Duration,
) -> Section {
    let columns = [
        ("per second", 0),
        ("× alone", 2),
        ("p50 ms", 2),
        ("p99 ms", 2),
        ("primary's CPU, ms per 10,000", 1),
        ("failed", 0),
    ];
    let mut table = Table::new(&columns);
    for lane in lanes {
        let alone = if lane.name.starts_with("node") { NODE_ALONE } else { RUST_ALONE };
        let over = named(lanes, alone).map(|alone| lane.per_second.over(&alone.per_second)).into();
        let Lane { per_second, p50_ms, p99_ms, cpu_ms, .. } = lane;
        let cells =
            vec![per_second.into(), over, p50_ms.into(), p99_ms.into(), cpu_ms.into(), lane.failures()];
        table.row(lane.name, cells);
    }
    let about = format!(
        "{CLIENTS} clients at once, 2 workers that bind the port themselves (`--delivery intercept`), and the same programs \
         given queues that nobody watches; {done} of {span:?}."
    );
    let mut section = Section::new(title, about, table);
    for (goal, ours, alone) in goals {
        if let (Some(ours), Some(alone)) = (named(lanes, ours), named(lanes, alone)) {
            section.found(goal, ours.per_second.over(&alone.per_second));
        }
    }
    section
}

/// A process each, by its own clock: a filter stays until its process ends.
fn filter(setting: &Setting) -> Result<Section, String> {
    let mut millis = Series::default();
    for _ in 0..FILTERS {
        let mut command = Command::new(&setting.places.bare);
        let output = command.arg("filter").stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("{command:?}: {error}"))?;
        let nanos = String::from_utf8_lossy(&output.stdout).trim().parse::<f64>();
        let said = String::from_utf8_lossy(&output.stderr);
        millis.push(nanos.map_err(|error| format!("{command:?}: {error}: {said}"))? / 1e6);
    }
    let mut table = Table::new(&[("ms", 3)]);
    table.row("filter, notification descriptor and its way to the primary", vec![(&millis).into()]);
    let about = format!("What a worker does before its `exec` so as to be watched; {FILTERS} processes.");
    let mut section = Section::new("A worker's filter", about, table);
    section.found("filter", millis);
    Ok(section)
}
