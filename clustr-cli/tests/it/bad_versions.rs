//! Seven kinds of bad version: the old one answers throughout, and goes on as if nothing had happened.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clustr_benches::load::{self, Pace, Plan, Tally};
use clustr_benches::wait;
use serde_json::Value;

use crate::harness::node::{Node, missing, with_node};
use crate::harness::{Outcome, Primary, Run, SOON, app, ensure, hold};

/// After this, nobody new reaches a generation that failed.
const RECOVERED: Duration = Duration::from_secs(1);

/// One way of being bad: what is reloaded, and what has to be said about it.
struct Bad<'a> {
    words: Vec<&'a str>,
    why: &'static str,
    /// It serves before it fails: what it has accepted then goes down with it.
    serves: bool,
}

#[test]
fn seven_kinds_of_bad_version_never_replace_a_good_one_in_shared() {
    with_node(|node| seven_kinds(node, "shared", &[]));
}

#[test]
fn seven_kinds_of_bad_version_never_replace_a_good_one_in_per_worker() {
    with_node(|node| seven_kinds(node, "per-worker", &[]));
}

#[test]
fn seven_kinds_of_bad_version_never_replace_a_good_one_in_handoff() {
    with_node(|node| seven_kinds(node, "handoff", &[]));
}

#[test]
fn seven_kinds_of_bad_version_never_replace_a_good_one_while_rolling() {
    with_node(|node| seven_kinds(node, "shared", &["--rolling"]));
}

fn seven_kinds(node: &Node, share: &'static str, plan: &[&str]) -> Outcome {
    let mut primary = started(node, share)?;
    let before = primary.worker_pids()?;
    let script = primary.folder().join("script");
    std::fs::write(&script, "#!/bin/sh\n").map_err(|error| error.to_string())?;
    let script = script.to_string_lossy().into_owned();
    for bad in kinds(&script) {
        let tally = under_load(&primary, || fails(&primary, plan, &bad).map(drop))?;
        println!("{share} {plan:?} {:?}: {tally}", bad.words);
        nobody_is_lost(primary.folder(), &tally, &bad)?;
        wait::observe_for(RECOVERED);
        the_old_ones_serve(&primary, &before)?;
    }
    primary.stop()
}

fn kinds(script: &str) -> [Bad<'_>; 7] {
    let version = |version, why| Bad { words: vec!["--env", version], why, serves: false };
    let command = |command, why| Bad { words: vec!["--", command], why, serves: false };
    [
        version("VERSION=exits", "ended with code 3 before it was ready"),
        version("VERSION=lingers", "ended with code 6 before it was ready"),
        version("VERSION=hangs", "was not ready in time"),
        version("VERSION=silent", "was not ready in time"),
        Bad {
            words: vec!["--env", "VERSION=crashes", "--settle", "20s"],
            why: "was ready and ended with code 5 while it was watched",
            serves: true,
        },
        command("/nowhere/server", "command not found"),
        command(script, "not executable"),
    ]
}

/// The reload fails, and says why: at once, in words that are returned, and afterwards.
fn fails(primary: &Primary, plan: &[&str], bad: &Bad<'_>) -> Result<String, String> {
    let words: Vec<&str> = ["reload"].iter().chain(plan).chain(&bad.words).copied().collect();
    let said = primary.try_clustr(&words)?;
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.status.code() == Some(4), "{words:?}: {:?}: {error}", said.status);
    ensure!(error.contains(bad.why), "{words:?} does not say '{}': {error}", bad.why);
    let app = &primary.status()?["apps"][0];
    let why = app["rolled_back"]["why"].as_str().unwrap_or_default();
    ensure!(why.contains(bad.why) && app["generation"] == 1, "{words:?}: {app}");
    let text = primary.clustr(&["status"])?;
    ensure!(text.contains(bad.why), "{words:?}: the status does not say '{}': {text}", bad.why);
    Ok(error)
}

fn under_load(primary: &Primary, body: impl FnOnce() -> Outcome) -> Result<Tally, String> {
    let plan = Plan {
        clients: 32,
        pace: Pace::PerSecond(300.0),
        duration_max: Duration::from_secs(60),
        ..Plan::short(primary.address())
    };
    let load = load::start(&plan).map_err(|error| error.to_string())?;
    let outcome = answered(&load, 50).and_then(|()| body()).and_then(|()| answered(&load, 50));
    let tally = load.stop().map_err(|error| error.to_string())?;
    outcome.map(|()| tally)
}

/// Waits for so many more answers.
fn answered(load: &load::Running, more: u64) -> Outcome {
    let before = load.succeeded();
    wait::until_true("answers", SOON, || load.succeeded() >= before + more)
}

/// Nobody fails but those that a worker had accepted which then crashed.
fn nobody_is_lost(folder: &Path, tally: &Tally, bad: &Bad<'_>) -> Outcome {
    ensure!(tally.success > 0 && tally.refused + tally.timed_out == 0, "{tally}");
    if !bad.serves {
        ensure!(tally.failed() == 0, "{:?}: {tally}", bad.words);
    }
    let log = std::fs::read_to_string(folder.join("crashed.log")).unwrap_or_default();
    let held: BTreeSet<u16> = log.lines().filter_map(|line| line.parse().ok()).collect();
    let strange: Vec<_> = tally.failures.iter().filter(|failure| !held.contains(&failure.port)).collect();
    ensure!(strange.is_empty(), "{tally}: no crashed worker had accepted {strange:?}");
    ensure!(!bad.serves || !held.is_empty(), "the bad version has served nobody before it crashed");
    Ok(())
}

/// Every new connection reaches one of the very same old workers, and each of them answers.
fn the_old_ones_serve(primary: &Primary, before: &[u32]) -> Outcome {
    let expected: BTreeSet<String> = before.iter().map(|pid| format!("1 {pid}")).collect();
    let answered = two_hundred(primary)?;
    ensure!(answered == expected, "{answered:?} answer, not {expected:?}");
    wait::until_true("the old workers alone", SOON, || primary.worker_pids().is_ok_and(|pids| pids == before))
}

/// Who answers 200 new connections.
fn two_hundred(primary: &Primary) -> Result<BTreeSet<String>, String> {
    let plan = Plan { clients: 16, requests_max: 200, ..Plan::short(primary.address()) };
    let tally = load::run(&plan).map_err(|error| error.to_string())?;
    ensure!(tally.success == 200, "{tally}");
    Ok(tally.answers.into_keys().collect())
}

#[test]
fn what_a_rolling_reload_had_replaced_is_put_back_when_a_later_batch_fails() {
    with_node(|node| {
        let mut primary = started(node, "shared")?;
        let before = primary.worker_pids()?;
        let bad = Bad {
            words: vec!["--env", "VERSION=exits", "--env", "ONLY_SLOT=1", "--settle", "100ms"],
            why: "ended with code 3 before it was ready",
            serves: false,
        };
        let tally = under_load(&primary, || fails(&primary, &["--rolling"], &bad).map(drop))?;
        ensure!(tally.failed() == 0, "{tally}");
        let workers = wait::until("the old generation everywhere", SOON, || old_generation(&primary))?;
        let pids: Vec<u64> = workers.iter().filter_map(|worker| worker["pid"].as_u64()).collect();
        ensure!(pids[1] == u64::from(before[1]), "slot 1 was never replaced: {pids:?}, {before:?}");
        ensure!(pids[0] != u64::from(before[0]), "slot 0 had been replaced: {pids:?}, {before:?}");
        primary.stop()
    });
}

/// Both workers, once both are of the first generation and ready.
fn old_generation(primary: &Primary) -> Option<Vec<Value>> {
    let status = primary.status().ok()?;
    let workers = status["apps"][0]["workers"].as_array()?;
    let all = workers.iter().all(|worker| worker["generation"] == 1 && worker["state"] == "ready");
    (all && workers.len() == 2).then(|| workers.clone())
}

#[test]
fn where_the_old_version_was_overwritten_a_rolling_reload_that_fails_leaves_what_it_had_not_replaced() {
    with_node(|node| {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let file = folder.path().join("app.js");
        std::fs::copy(app("bad.js"), &file).map_err(|error| error.to_string())?;
        let path = file.to_string_lossy().into_owned();
        let run = Run::new(&[&node.program, &path]).options(&["--share", "shared"]).workers(2);
        let mut primary = run.start()?;
        primary.wait_ready(2)?;
        let before = primary.worker_pids()?;
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        std::fs::write(&file, format!("process.env.CLUSTR_SLOT === '1' && process.exit(9);\n{text}"))
            .map_err(|error| error.to_string())?;
        let bad = Bad {
            words: vec!["--rolling", "--settle", "100ms"],
            why: "ended with code 9 before it was ready",
            serves: false,
        };
        let tally = under_load(&primary, || {
            let error = fails(&primary, &[], &bad)?;
            ensure!(error.contains(&path), "the message does not name {path}: {error}");
            let warned = primary.started.lines().iter().any(|line| line.text().contains(&path));
            ensure!(warned, "nothing was said of {path} before it began");
            let status = primary.clustr(&["status"])?;
            ensure!(status.contains(&path), "the status does not name {path}: {status}");
            Ok(())
        })?;
        ensure!(tally.failed() == 0, "{tally}");
        wait::until_true("the slot that was not replaced", SOON, || {
            primary.worker_pids().is_ok_and(|pids| pids == before[1..])
        })?;
        primary.stop()
    });
}

/// Programs that clustr cannot give one connection to: whoever waits in the queue of one that crashed is answered all the
/// same, by a worker of the old version that is started on that queue and takes the place of another.
#[test]
fn a_bad_version_of_a_program_that_knows_listen_fds_never_replaces_a_good_one_in_per_worker() {
    if Command::new("python3").arg("--version").output().is_err() {
        return missing("python3");
    }
    hold((|| {
        let run = Run::new(&["python3", &app("inherited.py")]).workers(2).options(&["--share", "per-worker"]);
        let folder = run.folder().to_string_lossy().into_owned();
        let listen = format!("127.0.0.1:{}", run.port());
        let run = run.options(&["--delivery", "fds", "--listen", &listen]).env("FOLDER", &folder);
        let mut primary = run.start()?;
        primary.wait_ready(2)?;
        let bad = Bad {
            // It counts as ready after a second, and serves for two more.
            words: vec!["--env", "CRASHES=3", "--settle", "20s"],
            why: "was ready and ended with code 5 while it was watched",
            serves: true,
        };
        let tally = under_load(&primary, || fails(&primary, &[], &bad).map(drop))?;
        println!("{tally}");
        nobody_is_lost(primary.folder(), &tally, &bad)?;
        wait::observe_for(RECOVERED);
        let answers = two_hundred(&primary)?;
        ensure!(
            answers.iter().all(|answer| answer.starts_with("1 ")),
            "the bad version answers: {answers:?}"
        );
        wait::until("the old generation alone", SOON, || old_generation(&primary))?;
        primary.stop()
    })());
}

fn started(node: &Node, share: &'static str) -> Result<Primary, String> {
    let node = Node { share, ..node.clone() };
    let run = Run::app(&node, "bad.js").workers(2).options(&["--ready-timeout", "5s"]);
    let folder = run.folder().to_string_lossy().into_owned();
    let primary = run.env("FOLDER", &folder).start()?;
    primary.wait_ready(2)?;
    Ok(primary)
}
