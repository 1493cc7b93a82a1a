//! Signals and messages to workers, and what a reload would change.

use serde_json::{Value, json};

use crate::harness::node::with_node;
use crate::harness::{Outcome, Primary, Run, SOON, app, ensure, hold};

#[test]
fn a_signal_reaches_the_process_that_listens_even_below_a_shell() {
    with_node(|node| {
        let line = format!("'{}' '{}'; true", node.program, app("hears.js"));
        let mut primary = Run::new(&["sh", "-c", &line]).workers(2).options(&["--name", "app"]).start()?;
        primary.wait_ready(2)?;
        primary.clustr(&["signal", "USR2", "1"])?;
        primary.wait_said("app.1 | usr2")?;
        primary.clustr(&["signal", "12"])?;
        primary.wait_said("app.0 | usr2")?;
        let said = |slot: u32| {
            let wanted = format!("app.{slot} | usr2");
            primary.started.lines().iter().filter(|line| line.text() == wanted).count()
        };
        ensure!(said(0) == 1, "slot 0 has heard {}", said(0));
        refused(&primary, &["signal", "USR2", "7"], 1, "no-such-slot")?;
        primary.stop()
    });
}

#[test]
fn a_message_is_heard_as_the_value_that_it_is() {
    with_node(|node| {
        let run = Run::app(node, "hears.js").workers(2).options(&["--name", "app"]);
        let mut primary = run.start()?;
        primary.wait_ready(2)?;
        primary.clustr(&["send", r#"{"level":"debug"}"#])?;
        primary.wait_said(r#"app.0 | message {"level":"debug"}"#)?;
        primary.wait_said(r#"app.1 | message {"level":"debug"}"#)?;
        primary.clustr(&["send", "--slot", "1", "good day"])?;
        primary.wait_said(r#"app.1 | message "good day""#)?;
        refused(&primary, &["send", r#"{"cmd":"NODE_CLUSTER"}"#], 1, "reserved-message")?;
        refused(&primary, &["send", "x", "--slot", "9"], 1, "no-such-slot")?;
        primary.stop()
    });
}

#[test]
fn a_program_without_a_channel_cannot_be_sent_anything() {
    let outcome = (|| {
        let mut primary = sleepers(&[])?;
        refused(&primary, &["send", "hello"], 1, "no-channel")?;
        primary.stop()
    })();
    hold(outcome);
}

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let outcome = (|| {
        let run = Run::new(&["sleep", "1000"]);
        let variables = run.folder().join("variables");
        let write = |text: &str| std::fs::write(&variables, text).map_err(|error| error.to_string());
        write("KEPT=1\nOTHER=secret\n")?;
        let options =
            ["--name", "app", "--ready-timeout", "50ms", "--env-file", &*variables.to_string_lossy()];
        let mut primary = run.workers(1).options(&options).start()?;
        primary.wait_count("running", 1)?;
        write("KEPT=1\nOTHER=another secret\nNEW=1\n")?;
        let before = primary.worker_pids()?;
        let said = primary.clustr(&["reload", "--dry-run", "--", "sleep", "2000"])?;
        for wanted in ["- sleep 1000", "+ sleep 2000", "+ NEW", "~ OTHER", "variables (replaced)"] {
            ensure!(said.contains(wanted), "'{wanted}' is missing: {said}");
        }
        ensure!(!said.contains("secret") && !said.contains("KEPT"), "{said}");
        let said = primary.clustr(&["reload", "--dry-run", "--json"])?;
        let reply: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let variables = &reply["difference"]["variables"];
        ensure!(*variables == json!({"added": ["NEW"], "changed": ["OTHER"], "removed": []}), "{reply}");
        let nowhere = primary.try_clustr(&["reload", "--dry-run", "--", "/nowhere/server"])?;
        let error = String::from_utf8_lossy(&nowhere.stderr);
        ensure!(nowhere.status.code() == Some(1) && error.contains("/nowhere/server"), "{error}");
        let nowhere = primary.try_clustr(&["reload", "--dry-run", "--json", "--", "/nowhere/server"])?;
        let text = String::from_utf8_lossy(&nowhere.stdout);
        // One document: a second one would be no JSON any more.
        let reply: Value = serde_json::from_str(&text).map_err(|error| format!("'{text}': {error}"))?;
        ensure!(nowhere.status.code() == Some(1) && reply["ok"] == false, "{reply}");
        ensure!(reply["difference"]["command"]["to"] == json!(["/nowhere/server"]), "{reply}");
        ensure!(primary.worker_pids()? == before, "the workers are others");
        primary.stop()
    })();
    hold(outcome);
}

#[test]
fn certain_exit_codes_end_a_slot_for_good() {
    let outcome = (|| {
        let script = "[ $CLUSTR_SLOT = 1 ] && exit 78; exec sleep 1000";
        let options = ["--name", "app", "--stop-exit-codes", "0,78", "--ready-timeout", "50ms"];
        let mut primary = Run::new(&["sh", "-c", script]).workers(2).options(&options).start()?;
        primary.wait_count("done", 1)?;
        primary.wait_count("running", 1)?;
        let workers = primary.status()?["apps"][0]["workers"].clone();
        ensure!(workers[1]["state"] == "done" && workers[1]["last_exit"] == "code 78", "{workers}");
        primary.stop()
    })();
    hold(outcome);
}

#[test]
fn a_status_of_one_slot_shows_what_it_has_printed_and_counts_its_clients() {
    with_node(|node| {
        let mut primary = Run::app(node, "hears.js").workers(1).options(&["--name", "app"]).start()?;
        primary.wait_ready(1)?;
        primary.clustr(&["send", "7"])?;
        primary.wait_said("message 7")?;
        let _client = std::net::TcpStream::connect(primary.address()).map_err(|error| error.to_string())?;
        let connections = || {
            let said = primary.clustr(&["status", "--json", "--slot", "0", "--connections"]).ok()?;
            let status: Value = serde_json::from_str(&said).ok()?;
            let worker = &status["apps"][0]["workers"][0];
            (worker["connections"] == 1).then(|| worker["last_output"].clone())
        };
        let said = clustr_benches::wait::until("the client to be counted", SOON, connections)?;
        ensure!(said == json!(["message 7"]), "{said}");
        let text = primary.clustr(&["status", "--slot", "0", "--connections"])?;
        ensure!(text.contains("conns") && text.contains("  message 7"), "{text}");
        primary.stop()
    });
}

fn sleepers(options: &[&str]) -> Result<Primary, String> {
    let run = Run::new(&["sleep", "1000"]).workers(1).options(&["--name", "app", "--ready-timeout", "50ms"]);
    let primary = run.options(options).start()?;
    primary.wait_count("running", 1)?;
    Ok(primary)
}

/// Whether a command is refused with this code, and by this name, to people and to scripts.
fn refused(primary: &Primary, words: &[&str], code: i32, refusal: &str) -> Outcome {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    let said = primary.try_clustr(&words)?;
    let (out, error) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    ensure!(
        said.status.code() == Some(code) && error.contains(refusal),
        "{words:?}: {:?} {error}",
        said.status
    );
    let reply: Value = serde_json::from_str(&out).map_err(|error| format!("{words:?}: '{out}': {error}"))?;
    ensure!(reply["ok"] == false && reply["refusal"] == refusal && reply["exit_code"] == code, "{reply}");
    Ok(())
}
