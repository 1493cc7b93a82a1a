//! Workers that are killed take along only what they had accepted.

use std::collections::BTreeSet;
use std::time::Duration;

use clustr_benches::load::{self, Failure, Plan, monotonic_ns};
use clustr_benches::started::signal_pid;
use clustr_benches::{facts, wait};
use rustix::process::Signal;

use crate::harness::node::{Node, with_node};
use crate::harness::{Outcome, Run, SOON, ensure};

/// Restarts at once and for ever: a storm is not what backoff is for.
const TIRELESS: [&str; 4] = ["--backoff-min", "0ms", "--intensity", "100000/1s"];

/// A worker that was killed: which connections it held, and when.
#[derive(Debug)]
struct Killed {
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
fn a_killed_worker_takes_along_none_that_waited_in_its_own_queue() {
    with_node(|node| only_what_was_held(&Node { share: "per-worker", ..node.clone() }));
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
    Ok(Killed { ports, at_ns })
}

/// Whether something happened while the request was open.
fn is_of(failure: &Failure, at_ns: u64) -> bool {
    failure.issued_at_ns <= at_ns && at_ns <= failure.failed_at_ns
}
