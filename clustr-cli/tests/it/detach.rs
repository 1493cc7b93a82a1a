//! What runs in the background is ready when its command returns, or that command says why not.

use std::path::PathBuf;
use std::process::Output;

use clustr_benches::started::{Line, Started, signal_pid};
use clustr_benches::{facts, wait};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{CLUSTR, Outcome, SOON, clustr, ensure, hold};

/// A folder for sockets and output, and whatever runs there, which ends with it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("clustr-test-").tempdir();
        Ok(Self { folder: folder.map_err(|error| error.to_string())? })
    }

    fn run(&self, words: &[&str]) -> Result<Output, String> {
        let mut command = std::process::Command::new(CLUSTR);
        let words = ["run", "-d", "--name", "app"].iter().chain(words);
        command.args(words).env("CLUSTR_RUNTIME_DIR", self.folder.path());
        command.env("CLUSTR_STATE_DIR", self.folder.path()).env_remove("WEB_CONCURRENCY");
        command.output().map_err(|error| error.to_string())
    }

    fn clustr(&self, words: &[&str]) -> Result<Output, String> {
        clustr(self.folder.path(), words)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("app.log")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nothing may be left to stop.
        let _ = self.clustr(&["stop", "--now", "--timeout", "20s"]);
    }
}

#[test]
fn it_returns_when_every_worker_is_ready_and_says_where_the_output_is() {
    let outcome = (|| {
        let place = Place::new()?;
        let script = "echo here I am; exec sleep 1000";
        let said = place.run(&["-n", "2", "--ready-timeout", "50ms", "--json", "--", "sh", "-c", script])?;
        let (out, error) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        ensure!(said.status.code() == Some(0), "{:?}: {error}", said.status);
        let outcome: Value = serde_json::from_str(&out).map_err(|error| format!("'{out}': {error}"))?;
        ensure!(outcome["ready"] == 2 && outcome["log"] == *place.log().to_string_lossy(), "{outcome}");
        ensure!(error.is_empty(), "with --json there is no progress: {error}");
        let pid = outcome["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).ok_or("no pid")?;
        let session = facts::status(pid, "NSsid:");
        ensure!(session == Some(pid.to_string()), "it has no session of its own: {session:?}");
        let status = place.clustr(&["status"])?;
        let text = String::from_utf8_lossy(&status.stdout);
        ensure!(text.contains("2 of 2 workers ready") && text.contains("app.log"), "{text}");
        let stopped = place.clustr(&["stop"])?.status.code();
        ensure!(stopped == Some(0), "stop: {stopped:?}");
        let log = read(&place)?;
        ensure!(log.contains("app.0 | here I am") && log.contains("ended verdict=stopped"), "{log}");
        Ok(())
    })();
    hold(outcome);
}

#[test]
fn a_start_that_fails_is_exit_code_1_with_its_last_output() {
    let outcome = (|| {
        let place = Place::new()?;
        let script = "echo no database >&2; exit 1";
        let said = place.run(&["-n", "1", "--intensity", "1/10s", "--", "sh", "-c", script])?;
        let error = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.code() == Some(1), "{:?}: {error}", said.status);
        ensure!(error.contains("no database") && error.contains("app.log"), "{error}");
        let missing = place.run(&["--", "/nowhere/server"])?;
        ensure!(missing.status.code() == Some(1), "{:?}", missing.status);
        let after = place.clustr(&["status"])?.status.code();
        ensure!(after == Some(3), "something runs: {after:?}");
        Ok(())
    })();
    hold(outcome);
}

#[test]
fn workers_that_are_never_ready_in_time_are_a_start_that_fails_however_slowly() {
    let outcome = (|| {
        let place = Place::new()?;
        let rules = ["-n", "1", "--ready", "notify", "--ready-timeout", "400ms", "--intensity", "2/200ms"];
        let script = "echo still looking for a database >&2; exec sleep 1000";
        let said = place.run(&[&rules as &[&str], &["--", "sh", "-c", script]].concat())?;
        let error = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.code() == Some(1), "{:?}: {error}", said.status);
        ensure!(error.contains("still looking for a database"), "{error}");
        Ok(())
    })();
    hold(outcome);
}

#[test]
fn a_scaling_whose_new_worker_gives_up_is_exit_code_1_and_says_which() {
    let outcome = (|| {
        let place = Place::new()?;
        let script = "[ $CLUSTR_SLOT = 0 ] || exit 3; exec sleep 1000";
        let rules = ["-n", "1", "--ready", "delay:1s", "--intensity", "1/60s", "--backoff-min", "10ms"];
        let said = place.run(&[&rules as &[&str], &["--", "sh", "-c", script]].concat())?;
        ensure!(said.status.code() == Some(0), "{:?}", said.status);
        let said = place.clustr(&["scale", "2"])?;
        let error = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.code() == Some(1) && error.contains("slot=1"), "{:?}: {error}", said.status);
        Ok(())
    })();
    hold(outcome);
}

#[test]
fn a_name_that_is_taken_is_not_taken_over() {
    let outcome = (|| {
        let place = Place::new()?;
        let words = ["-n", "1", "--ready-timeout", "50ms", "--", "sleep", "1000"];
        ensure!(place.run(&words)?.status.code() == Some(0), "the first does not start");
        let before = read(&place)?;
        let second = place.run(&words)?;
        let error = String::from_utf8_lossy(&second.stderr);
        ensure!(second.status.code() == Some(1), "{:?}: {error}", second.status);
        ensure!(error.contains("already running (pid ") && error.contains(", for "), "{error}");
        let script = place.run(&[&["--json"], &words[..]].concat())?;
        let reply: Value = serde_json::from_slice(&script.stdout).map_err(|error| error.to_string())?;
        let detail = reply["detail"].as_str().unwrap_or_default();
        ensure!(detail.starts_with("a primary named 'app' is already running (pid "), "{reply}");
        ensure!(reply["hint"].as_str().is_some_and(|hint| hint.contains("clustr stop")), "{reply}");
        ensure!(read(&place)? == before, "it has written into the log of the first: {}", read(&place)?);
        ensure!(place.clustr(&["status"])?.status.code() == Some(0), "the first has suffered");
        Ok(())
    })();
    hold(outcome);
}

/// The primary is killed, and not told: nobody but the kernel closes its end of the log.
#[test]
fn the_file_of_output_stays_short() {
    let outcome = (|| {
        let place = Place::new()?;
        let line = "x".repeat(1000);
        let script = format!("while :; do echo {line}; done");
        let said = place.run(&["-n", "1", "--ready-timeout", "50ms", "--", "sh", "-c", &script])?;
        ensure!(said.status.code() == Some(0), "{}", String::from_utf8_lossy(&said.stderr));
        let before = place.folder.path().join("app.log.1");
        let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |found| found.len());
        let replaced = || std::fs::metadata(&before).ok().and_then(|found| found.modified().ok());
        let first = wait::until("the first full file", SOON * 3, replaced)?;
        wait::until_true("the second full file", SOON * 3, || replaced().is_some_and(|at| at != first))?;
        let most = 9 * 1024 * 1024;
        ensure!(
            length(&before) <= most && length(&place.log()) <= most,
            "{} {}",
            length(&before),
            length(&place.log())
        );
        // Between the renaming of a full file and its successor there is one name for a moment.
        let names = || std::fs::read_dir(place.folder.path()).into_iter().flatten().flatten();
        let logs = || names().filter(|entry| entry.file_name().to_string_lossy().contains(".log")).count();
        wait::until_true("two files of output and no more", SOON, || logs() == 2)?;
        Ok(())
    })();
    hold(outcome);
}

#[test]
fn a_start_that_is_broken_off_is_ended() {
    let outcome: Outcome = (|| {
        let place = Place::new()?;
        let mut command = std::process::Command::new(CLUSTR);
        command.args(["run", "-d", "--name", "app", "-n", "1", "--ready", "notify", "--", "sleep", "1000"]);
        command.env("CLUSTR_RUNTIME_DIR", place.folder.path()).env("CLUSTR_STATE_DIR", place.folder.path());
        let mut started = Started::new(&mut command)?;
        let is_there = || place.clustr(&["status"]).is_ok_and(|said| said.status.code() == Some(0));
        wait::until_true("the primary", SOON, is_there)?;
        started.signal(Signal::INT)?;
        started.expect_exit(1, SOON)?;
        ensure!(!is_there(), "it goes on: {}", read(&place)?);
        let said: Vec<String> = started.lines().iter().map(Line::text).collect();
        ensure!(said.iter().any(|line| line.contains("was broken off, and it has ended")), "{said:?}");
        ensure!(read(&place)?.contains("ended verdict=stopped"), "{}", read(&place)?);
        Ok(())
    })();
    hold(outcome);
}

/// A script's error in its log is no JSON in which JSON stands.
#[test]
fn a_failure_that_the_background_found_is_told_as_json_once() {
    let outcome: Outcome = (|| {
        let place = Place::new()?;
        let taken = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let addr = taken.local_addr().map_err(|error| error.to_string())?.to_string();
        let said = place.run(&["--json", "-n", "1", "-l", &addr, "--", "sleep", "1000"])?;
        let reply: Value = serde_json::from_slice(&said.stdout).map_err(|error| error.to_string())?;
        let detail = reply["detail"].as_str().unwrap_or_default();
        ensure!(detail.contains("could not listen") && !detail.contains("{\"ok\""), "{reply}");
        Ok(())
    })();
    hold(outcome);
}

/// As a script would: the outcome of the command is the outcome of the start, even where its reader has gone.
#[test]
fn it_goes_on_when_whoever_started_it_is_killed() {
    let outcome: Outcome = (|| {
        let place = Place::new()?;
        let mut command = std::process::Command::new(CLUSTR);
        command.args(["run", "-d", "--name", "app", "-n", "1", "--ready", "notify", "--", "sleep", "1000"]);
        command.env("CLUSTR_RUNTIME_DIR", place.folder.path()).env("CLUSTR_STATE_DIR", place.folder.path());
        let mut started = Started::new(&mut command)?;
        let is_there = || place.clustr(&["status"]).is_ok_and(|said| said.status.code() == Some(0));
        wait::until_true("the primary", SOON, is_there)?;
        signal_pid(started.pid(), Signal::KILL)?;
        started.wait_exit(SOON)?;
        ensure!(is_there(), "it has ended with its command: {}", read(&place)?);
        let stopped = place.clustr(&["stop", "--now"])?.status.code();
        ensure!(stopped == Some(0), "{stopped:?}");
        Ok(())
    })();
    hold(outcome);
}

fn read(place: &Place) -> Result<String, String> {
    std::fs::read_to_string(place.log()).map_err(|error| error.to_string())
}
