//! The story: two well-known files, unchanged.

use std::collections::BTreeSet;
use std::time::Duration;

use clustr_benches::load::{self, Plan};
use clustr_benches::wait;

use crate::harness::node::with_node;
use crate::harness::{Outcome, Run, ensure, example, of_kind, v6};

#[test]
fn four_workers_answer_on_the_one_port_of_a_server_without_cluster_code() {
    let text = std::fs::read_to_string(example("app.js")).unwrap();
    assert!(text.lines().count() <= 4 && !text.contains("require('cluster')"), "{text}");
    every_worker_answers("app.js");
}

#[test]
fn four_workers_answer_on_the_one_port_of_the_well_known_cluster_file() {
    let text = std::fs::read_to_string(example("cluster.js")).unwrap();
    assert!(text.contains("cluster.isMaster") && text.contains("cluster.on('death'"), "{text}");
    every_worker_answers("cluster.js");
}

fn every_worker_answers(file: &str) {
    with_node(|node| {
        let mut primary = Run::new(&[&node.program, &example(file)]).workers(4).start()?;
        primary.wait_ready(4)?;
        answers_come_from(&primary, 4)?;
        let news = primary.news();
        let addresses: BTreeSet<_> =
            of_kind(&news, "listening").map(|piece| piece["address"].to_string()).collect();
        ensure!(addresses.len() == 1, "one port was wanted: {addresses:?}");
        // Nobody forks in a worker: four processes and the primary are all there is.
        let running = primary.started.running().len();
        ensure!(running == 5, "{running} processes");
        primary.stop()
    });
}

/// Answers come from exactly so many processes, which are the workers.
fn answers_come_from(primary: &crate::harness::Primary, count: usize) -> Outcome {
    let mut seen = BTreeSet::new();
    wait::until_true("an answer from every worker", Duration::from_secs(30), || {
        let plan = Plan { clients: 16, requests_max: 200, ..Plan::short(v6(primary.port())) };
        seen.extend(load::run(&plan).map(|tally| tally.answers.into_keys()).into_iter().flatten());
        seen.len() >= count
    })?;
    let pids: BTreeSet<String> =
        primary.worker_pids()?.iter().map(|pid| format!("hello from {pid}")).collect();
    ensure!(seen == pids, "answers: {seen:?}, workers: {pids:?}");
    Ok(())
}
