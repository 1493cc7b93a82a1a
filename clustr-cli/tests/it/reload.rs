//! A reload loses nobody, and what else may be asked for meanwhile.

use std::time::Duration;

use clustr_benches::load::{self, Plan};
use clustr_benches::{http, wait};
use rustix::process::Signal;

use crate::harness::node::{Node, with_node};
use crate::harness::{Outcome, Primary, Run, SOON, ensure, of_kind};

#[test]
fn reloads_under_load_lose_nobody_in_shared() {
    with_node(loses_nobody);
}

#[test]
fn reloads_under_load_lose_nobody_in_handoff() {
    with_node(|node| loses_nobody(&Node { share: "handoff", ..node.clone() }));
}

fn loses_nobody(node: &Node) -> Outcome {
    let mut primary = started(node, &[])?;
    let plan = Plan { duration_max: Duration::from_secs(60), ..Plan::short(primary.address()) };
    let load = load::start(&plan).map_err(|error| error.to_string())?;
    for generation in 2..=4 {
        let answered = load.succeeded();
        wait::until_true("answers", SOON, || load.succeeded() > answered + 50)?;
        primary.clustr(&["reload", "--settle", "100ms"])?;
        ensure!(primary.status()?["apps"][0]["generation"] == generation, "{}", primary.status()?);
        let answer = http::get(primary.address(), "/")?;
        ensure!(answer.contains(&generation.to_string()), "generation {generation}: {answer}");
    }
    let tally = load.stop().map_err(|error| error.to_string())?;
    println!("{tally}");
    ensure!(tally.failed() == 0 && tally.success == tally.issued, "{tally}");
    ensure!(tally.answers.len() >= 3, "the generations did not answer: {:?}", tally.answers);
    primary.stop()
}

#[test]
fn during_a_reload_another_is_remembered_scaling_is_busy_and_a_stop_ends_it() {
    with_node(|node| {
        let mut primary = started(node, &[])?;
        primary.clustr(&["reload", "--no-wait", "--settle", "1h"])?;
        primary.wait_count("settling", 1)?;
        ensure!(primary.status()?["state"] == "reloading", "{}", primary.status()?);
        primary.clustr(&["reload", "--no-wait"])?;
        primary.wait_count("remembered", 1)?;
        for words in [&["scale", "+1"] as &[&str], &["restart"]] {
            let code = primary.try_clustr(words)?.status.code();
            ensure!(code == Some(75), "{words:?}: {code:?}");
        }
        primary.clustr(&["stop"])?;
        primary.started.expect_exit(0, SOON)?;
        ensure!(of_kind(&primary.news(), "reload-cancelled").count() == 1, "{:?}", primary.news());
        primary.nothing_left()
    });
}

#[test]
fn a_hang_up_by_a_person_reloads() {
    with_node(|node| {
        // These tests may run under nohup(1), and what was ignored at the start stays ignored.
        let run = Run::app(node, "version.js").workers(2).through(&["env", "--default-signal=HUP"]);
        let mut primary = run.start()?;
        primary.wait_ready(2)?;
        primary.started.signal(Signal::HUP)?;
        primary.wait_count("reloaded", 1)?;
        ensure!(primary.status()?["apps"][0]["generation"] == 2, "{}", primary.status()?);
        primary.clustr(&["restart", "1"])?;
        ensure!(primary.status()?["apps"][0]["generation"] == 2, "a restart is no new generation");
        let code = primary.try_clustr(&["restart", "9"])?.status.code();
        ensure!(code == Some(1), "{code:?}");
        primary.stop()
    });
}

fn started(node: &Node, options: &[&str]) -> Result<Primary, String> {
    let primary = Run::app(node, "version.js").workers(2).options(options).start()?;
    primary.wait_ready(2)?;
    Ok(primary)
}
