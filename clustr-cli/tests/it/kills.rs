//! Workers that are killed take along only what they had accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clustr_benches::load::{self, Failure, Pace, Plan, Tally, monotonic_ns};
use clustr_benches::started::signal_pid;
use clustr_benches::{facts, wait};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::control::Control;
use crate::harness::node::{Node, with_node};
use crate::harness::{Outcome, Primary, Run, SOON, ensure};

/// Restarts at once and for ever: a storm is not what backoff is for.
const TIRELESS: [&str; 4] = ["--backoff-min", "0ms", "--intensity", "100000/1s"];

/// A worker that was killed: which connections it held, and when it died.
#[derive(Debug)]
struct Killed {
    pid: u32,
    ports: BTreeSet<u16>,
    at_ns: u64,
}

#[test]
fn a_killed_worker_takes_along_only_the_connections_that_it_held() {
    with_node(only_what_was_held);
}

/// What had arrived there and was not answered for is another worker's: it is held, and yet does not fail.
#[test]
fn a_killed_worker_takes_along_none_that_was_handed_over_and_had_not_arrived() {
    with_node(|node| only_what_was_held(&handoff(node)));
}

#[test]
fn a_storm_of_kills_refuses_nobody_and_lets_nobody_wait() {
    with_node(refuses_nobody);
}

/// The log is written right after the word that a connection is served: whatever fails had been answered for.
#[test]
fn a_storm_of_kills_over_connections_that_are_handed_over_takes_along_only_what_was_answered_for() {
    with_node(|node| refuses_nobody(&handoff(node)));
}

fn handoff(node: &Node) -> Node {
    Node { share: "handoff", ..node.clone() }
}

fn only_what_was_held(node: &Node) -> Outcome {
    let mut primary = Run::app(node, "slow.js").workers(2).options(&TIRELESS).start()?;
    primary.wait_ready(2)?;
    let path = "/?20".to_owned();
    let load = begin(&Plan { clients: 24, path, ..Plan::short(primary.address()) })?;
    let mut killed = Vec::new();
    for kill in 0..6 {
        let answered = load.succeeded();
        wait::until_true("answers", SOON, || load.succeeded() > answered + 50)?;
        let pid = primary.worker_pids()?[kill % 2];
        killed.push(freeze_and_kill(pid)?);
        primary.wait_ready(3 + kill)?;
    }
    let tally = load.stop().map_err(|error| error.to_string())?;
    println!("{tally}, {} kills of workers with {:?}", killed.len(), killed);
    ensure!(tally.refused + tally.timed_out == 0, "{tally}");
    ensure!(tally.failed() > 0, "no worker was killed while it held a connection: {tally}");
    for failure in &tally.failures {
        let by =
            killed.iter().find(|killed| is_of(failure, killed.at_ns) && killed.ports.contains(&failure.port));
        ensure!(by.is_some(), "{failure:?} was not held by a killed worker: {killed:?}");
    }
    primary.stop()
}

fn refuses_nobody(node: &Node) -> Outcome {
    let run = Run::app(node, "logged.js").workers(2).options(&TIRELESS);
    let folder = run.folder().to_path_buf();
    let mut primary = run.env("FOLDER", &folder.to_string_lossy()).start()?;
    primary.wait_ready(2)?;
    let load = begin(&Plan {
        clients: 64,
        pace: Pace::PerSecond(500.0),
        duration_max: Duration::from_secs(60),
        ..Plan::short(primary.address())
    })?;
    let killed = storm(&primary, &load, 50, Duration::from_millis(200))?;
    let tally = load.stop().map_err(|error| error.to_string())?;
    println!("{tally}, {} kills", killed.len());
    ensure!(tally.refused == 0 && tally.timed_out == 0, "{tally}");
    ensure!(tally.success > 2_000, "{tally}");
    check_log(&folder, &tally, &killed)?;
    primary.stop()
}

fn begin(plan: &Plan) -> Result<load::Running, String> {
    let plan = Plan { duration_max: Duration::from_secs(60), ..plan.clone() };
    load::start(&plan).map_err(|error| error.to_string())
}

/// Stops a worker, looks at what it holds, and kills it: between the look and the kill nothing can change.
fn freeze_and_kill(pid: u32) -> Result<Killed, String> {
    signal_pid(pid, Signal::STOP)?;
    wait::until_true("a stopped worker", SOON, || facts::state(pid) == Some('T'))?;
    let ports = facts::client_ports(pid);
    let at_ns = monotonic_ns();
    signal_pid(pid, Signal::KILL)?;
    Ok(Killed { pid, ports, at_ns })
}

/// Kills the longest-lived worker, again and again; as soon as somebody was answered since, for on a busy machine workers
/// may take longer to start than the storm lets them live, and then nobody could be.
fn storm(
    primary: &Primary,
    load: &load::Running,
    kills: usize,
    rest: Duration,
) -> Result<Vec<Killed>, String> {
    let mut control = primary.control()?;
    let mut killed = Vec::new();
    for _ in 0..kills {
        if let Some(pid) = oldest(&mut control)? {
            killed.push(Killed { pid, ports: BTreeSet::new(), at_ns: monotonic_ns() });
            signal_pid(pid, Signal::KILL)?;
        }
        let answered = load.succeeded();
        wait::observe_for(rest);
        wait::until_true("an answer between two kills", SOON, || load.succeeded() > answered)?;
    }
    ensure!(killed.len() * 10 >= kills * 9, "only {} of {kills} kills found a worker", killed.len());
    Ok(killed)
}

fn oldest(control: &mut Control) -> Result<Option<u32>, String> {
    let reply = control.ask(r#"{"id":1,"cmd":"status"}"#)?;
    let workers = reply["status"]["apps"][0]["workers"].as_array().cloned().unwrap_or_default();
    let alive = workers.iter().filter(|worker| worker["pid"].is_u64());
    let oldest = alive.max_by_key(|worker| worker["uptime_ms"].as_u64());
    Ok(oldest.and_then(|worker: &Value| u32::try_from(worker["pid"].as_u64()?).ok()))
}

/// Every failure is of a connection that a killed worker had written into its log.
///
/// A worker takes one connection at a time and writes it down at once after accept(2), and is killed in between now and
/// then, the more so on a busy machine: one connection of each kill may be missing in its log, never two.
fn check_log(folder: &std::path::Path, tally: &Tally, killed: &[Killed]) -> Outcome {
    let logs: BTreeMap<u32, Vec<(u64, u16)>> =
        killed.iter().map(|dead| (dead.pid, log_of(folder, dead.pid))).collect();
    let is_logged = |failure: &Failure| {
        let of_its_time = killed.iter().filter(|dead| is_of(failure, dead.at_ns));
        of_its_time
            .flat_map(|dead| &logs[&dead.pid])
            .any(|(at, port)| *port == failure.port && is_of(failure, *at))
    };
    let strange: Vec<&Failure> = tally.failures.iter().filter(|failure| !is_logged(failure)).collect();
    println!("{} of {} failures are in no log", strange.len(), tally.failures.len());
    let mut unexplained: BTreeSet<u64> = killed.iter().map(|dead| dead.at_ns).collect();
    for failure in strange {
        let kill = unexplained.iter().copied().find(|at_ns| is_of(failure, *at_ns));
        ensure!(kill.is_some_and(|kill| unexplained.remove(&kill)), "no worker was killed for {failure:?}");
    }
    Ok(())
}

fn log_of(folder: &std::path::Path, pid: u32) -> Vec<(u64, u16)> {
    let text = std::fs::read_to_string(folder.join(format!("{pid}.log"))).unwrap_or_default();
    let entry = |line: &str| {
        let (at, port) = line.split_once(' ')?;
        Some((at.parse().ok()?, port.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

/// Whether something happened while the request was open.
fn is_of(failure: &Failure, at_ns: u64) -> bool {
    failure.issued_at_ns <= at_ns && at_ns <= failure.failed_at_ns
}
