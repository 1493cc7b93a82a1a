//! Every command in every state: an answer in time, an exit code that is documented, and JSON for scripts.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clustr_benches::started::signal_pid;
use clustr_benches::wait;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::node::with_node;
use crate::harness::{CLUSTR, Outcome, Primary, Run, SOON, ensure, hold};

/// Every command that ends, as a script types it, with what it may come to. `--timeout` bounds those that wait for workers.
const COMMANDS: &[(&[&str], &[i32])] = &[
    (&["status", "--json"], &[0]),
    (&["status", "--json", "--slot", "0", "--connections"], &[0]),
    (&["list", "--json"], &[0]),
    (&["reload", "--dry-run", "--json"], &[0]),
    (&["signal", "WINCH", "--json"], &[0, 1]),
    (&["send", "hello", "--json"], &[1]),
    (&["scale", "0", "--json"], &[1, 75]),
    (&["scale", "5000", "--json"], &[1, 75]),
    (&["restart", "9", "--json"], &[1, 75]),
    (&["scale", "+1", "--json", "--timeout", "300ms"], &[0, 75, 124]),
    (&["scale", "-1", "--json", "--timeout", "300ms"], &[0, 1, 75, 124]),
    (&["restart", "0", "--json", "--timeout", "300ms"], &[0, 75, 124]),
    (&["reload", "--json", "--timeout", "300ms"], &[0, 75, 124]),
    (&["reload", "--json", "--canary", "1", "--timeout", "300ms"], &[0, 75, 124]),
    (&["reload", "--json", "--rolling", "1", "--no-wait"], &[0, 75]),
];

const STOP: (&[&str], &[i32]) = (&["stop", "--json", "--timeout", "300ms"], &[0, 75, 124]);
const STOP_NOW: (&[&str], &[i32]) = (&["stop", "--now", "--json", "--timeout", "20s"], &[0]);

/// No command takes longer than its own time-out, by much.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn while_it_starts() {
    let outcome = (|| {
        let options = ["--ready", "notify", "--ready-timeout", "1h"];
        let mut primary = started("exec sleep 1000", &options)?;
        primary.wait_count("started", 2)?;
        expect_state(&primary, "starting")?;
        try_all(&mut primary)
    })();
    hold(outcome);
}

#[test]
fn while_it_runs() {
    let outcome = (|| {
        let mut primary = started("exec sleep 1000", &[])?;
        primary.wait_count("running", 1)?;
        try_all(&mut primary)
    })();
    hold(outcome);
}

#[test]
fn while_it_reloads() {
    let outcome = (|| {
        let mut primary = started("exec sleep 1000", &[])?;
        primary.wait_count("running", 1)?;
        primary.clustr(&["reload", "--no-wait", "--settle", "1h"])?;
        primary.wait_count("settling", 1)?;
        expect_state(&primary, "reloading")?;
        try_all(&mut primary)
    })();
    hold(outcome);
}

/// One of the new workers has failed, and the other one does not leave.
#[test]
fn while_it_rolls_back() {
    let outcome = (|| {
        let mut primary = started("exec sleep 1000", &["--stop-timeout", "1h"])?;
        primary.wait_count("running", 1)?;
        // The one fails when the other is deaf.
        let deaf = primary.folder().join("deaf");
        let script = format!(
            "trap '' TERM; [ $CLUSTR_SLOT = 1 ] && touch '{0}'; until [ -e '{0}' ]; do sleep 0.01; done; \
             [ $CLUSTR_SLOT = 0 ] && exit 1; while :; do sleep 1; done",
            deaf.display()
        );
        let words = ["reload", "--json", "--timeout", "20s", "--", "sh", "-c", &script];
        let said = primary.try_clustr(&words)?;
        ensure!(said.status.code() == Some(4), "{:?}", said.status);
        let leaving = |worker: &Value| worker["state"] == "draining" || worker["state"] == "stopping";
        let status = primary.status()?;
        let workers = status["apps"][0]["workers"].as_array().cloned().unwrap_or_default();
        ensure!(workers.iter().any(leaving), "nobody is on the way out: {status}");
        try_all(&mut primary)
    })();
    hold(outcome);
}

#[test]
fn while_it_stops() {
    let outcome = (|| {
        let script = "trap '' TERM; echo up; while :; do sleep 1; done";
        let mut primary = started(script, &["--stop-timeout", "1h"])?;
        primary.wait_count("running", 1)?;
        // A shell that has not come to its `trap` yet would leave when it is asked to.
        primary.wait_said(".0 | up")?;
        primary.wait_said(".1 | up")?;
        let code = primary.try_clustr(&["stop", "--timeout", "100ms"])?.status.code();
        ensure!(code == Some(124), "{code:?}");
        expect_state(&primary, "stopping")?;
        try_all(&mut primary)
    })();
    hold(outcome);
}

#[test]
fn where_a_slot_has_given_up() {
    let outcome = (|| {
        let script = "[ $CLUSTR_SLOT = 0 ] && exec sleep 1000; sleep 0.3; exit 1";
        let mut primary = started(script, &["--intensity", "0/1h"])?;
        primary.wait_count("gave-up", 1)?;
        ensure!(primary.status()?["apps"][0]["workers"][1]["state"] == "gave-up", "{}", primary.status()?);
        try_all(&mut primary)
    })();
    hold(outcome);
}

#[test]
fn after_the_end() {
    let outcome = (|| {
        let mut primary = started("exec sleep 1000", &[])?;
        primary.wait_count("running", 1)?;
        primary.stop()?;
        for (words, _) in COMMANDS.iter().filter(|(words, _)| words[0] != "list").chain([&STOP, &STOP_NOW]) {
            let refusal = try_one(&primary, words, &[3])?;
            ensure!(refusal["refusal"] == "no-primary", "{words:?}: {refusal}");
        }
        let list = try_one(&primary, &["list", "--json"], &[0])?;
        ensure!(list == Value::Array(Vec::new()), "{list}");
        Ok(())
    })();
    hold(outcome);
}

#[test]
fn ten_reloads_at_once_come_to_an_end_each() {
    with_node(|node| {
        let mut primary = Run::app(node, "version.js").workers(2).options(&["--name", "app"]).start()?;
        primary.wait_ready(2)?;
        let runtime = primary.folder().join("runtime");
        let asked: Vec<_> = (0..10)
            .map(|_| {
                let mut command = Command::new(CLUSTR);
                command.args(["reload", "--json", "--settle", "10ms", "--timeout", "60s"]);
                command.env("CLUSTR_RUNTIME_DIR", &runtime).stdin(Stdio::null());
                command
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .map_err(|error| error.to_string())
            })
            .collect::<Result<_, _>>()?;
        let mut ends: BTreeMap<(Option<i32>, String), usize> = BTreeMap::new();
        for one in asked {
            let said = one.wait_with_output().map_err(|error| error.to_string())?;
            let reply: Value = json(&said.stdout)?;
            let what = reply["refusal"].as_str().or(reply["state"].as_str()).unwrap_or_default().to_owned();
            *ends.entry((said.status.code(), what)).or_default() += 1;
        }
        let known = |(code, what): &(Option<i32>, String)| {
            matches!((code, &**what), (Some(0), "done") | (Some(1), "superseded"))
        };
        ensure!(ends.keys().all(known) && ends.contains_key(&(Some(0), "done".into())), "{ends:?}");
        let status = primary.status()?;
        let generation = status["apps"][0]["generation"].as_u64().unwrap_or(0);
        let done = ends[&(Some(0), "done".into())] as u64;
        ensure!(status["state"] == "running" && generation == 1 + done, "{done} were done: {status}");
        primary.stop()
    });
}

#[test]
fn a_kill_during_a_reload_rolls_back_or_is_made_good() {
    with_node(|node| {
        let mut primary = Run::app(node, "version.js").workers(2).options(&["--name", "app"]).start()?;
        primary.wait_ready(2)?;
        let old = primary.worker_pids()?;
        primary.clustr(&["reload", "--no-wait", "--settle", "1h"])?;
        primary.wait_count("settling", 1)?;
        // Of the generation that serves in case of need: it is started again, from its own generation.
        signal_pid(old[0], Signal::KILL)?;
        primary.wait_ready(5)?;
        let new: Vec<u32> = workers(&primary, 2)?;
        ensure!(new.len() == 2, "{}", primary.status()?);
        // Of the generation that is tried: that is its failure.
        signal_pid(new[1], Signal::KILL)?;
        primary.wait_count("rolled-back", 1)?;
        let alone = || {
            workers(&primary, 1).is_ok_and(|old| old.len() == 2)
                && workers(&primary, 2).is_ok_and(|new| new.is_empty())
        };
        wait::until_true("the old generation alone", SOON, alone)?;
        ensure!(primary.status()?["state"] == "running", "{}", primary.status()?);
        primary.stop()
    });
}

/// The processes of a generation.
fn workers(primary: &Primary, generation: u64) -> Result<Vec<u32>, String> {
    let status = primary.status()?;
    let workers = status["apps"][0]["workers"].as_array().cloned().unwrap_or_default();
    let of_it = workers.iter().filter(|worker| worker["generation"] == generation);
    Ok(of_it.filter_map(|worker| u32::try_from(worker["pid"].as_u64()?).ok()).collect())
}

fn started(script: &str, options: &[&str]) -> Result<Primary, String> {
    let usual = ["--name", "app", "--ready-timeout", "50ms", "--stop-timeout", "2s"];
    let given = |name: &str| options.contains(&name);
    let usual: Vec<&str> = usual.chunks(2).filter(|pair| !given(pair[0])).flatten().copied().collect();
    Run::new(&["sh", "-c", script]).workers(2).options(&usual).options(options).start()
}

fn expect_state(primary: &Primary, state: &str) -> Outcome {
    let status = primary.status()?;
    ensure!(status["state"] == state, "not {state}: {status}");
    Ok(())
}

/// Every command, then the stops; and nothing is left.
fn try_all(primary: &mut Primary) -> Outcome {
    for (words, codes) in COMMANDS {
        try_one(primary, words, codes)?;
        let status = try_one(primary, &["status", "--json"], &[0])?;
        ensure!(status["version"] == 1, "after {words:?}: {status}");
    }
    try_one(primary, STOP.0, STOP.1)?;
    if primary.try_clustr(&["status"])?.status.code() != Some(3) {
        try_one(primary, STOP_NOW.0, STOP_NOW.1)?;
    }
    primary.started.expect_exit(0, SOON)?;
    primary.nothing_left()
}

/// One command, in time, with one of these exit codes, and JSON on its standard output.
fn try_one(primary: &Primary, words: &[&str], codes: &[i32]) -> Result<Value, String> {
    let began = Instant::now();
    let said = primary.try_clustr(words)?;
    let took = began.elapsed();
    let error = String::from_utf8_lossy(&said.stderr);
    ensure!(
        said.status.code().is_some_and(|code| codes.contains(&code)),
        "{words:?}: {:?} {error}",
        said.status
    );
    ensure!(took < PATIENCE, "{words:?} took {took:?}");
    let value = json(&said.stdout).map_err(|why| format!("{words:?}: {why}"))?;
    let failed = said.status.code() != Some(0);
    ensure!(!failed || (value["ok"] == false && value["refusal"].is_string()), "{words:?}: {value}");
    Ok(value)
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("'{}': {error}", String::from_utf8_lossy(bytes)))
}
