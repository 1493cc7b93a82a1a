//! The control socket, by the companions of `run` and by hand.

use std::time::Duration;

use clustr_benches::load::{self, Pace, Plan};
use clustr_benches::started::{Started, signal_pid};
use clustr_benches::wait;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::node::with_node;
use crate::harness::{CLUSTR, Primary, Run, SOON, ensure, example, hold, news_of, of_kind};

#[test]
fn status_has_the_promised_shape() {
    with_node(|node| {
        let mut primary = Run::new(&[&node.program, &example("app.js")]).workers(2).start()?;
        primary.wait_count("running", 1)?;
        let status = primary.status()?;
        ensure!(
            status["version"] == 1 && status["name"] == "app" && status["state"] == "running",
            "{status}"
        );
        ensure!(status["pid"] == primary.pid(), "{status}");
        let app = &status["apps"][0];
        ensure!(app["name"] == "app" && app["generation"] == 1, "{app}");
        ensure!(app["wanted"] == 2 && app["ready"] == 2, "{app}");
        ensure!(app["share"] == "shared" && app["delivery"][0] == "node", "{app}");
        ensure!(app["listeners"][0]["address"] == format!("[::]:{}", primary.port()), "{app}");
        for (slot, worker) in app["workers"].as_array().into_iter().flatten().enumerate() {
            ensure!(worker["slot"] == slot && worker["incarnation"] == 1, "{worker}");
            ensure!(worker["state"] == "ready" && worker["restarts"] == 0, "{worker}");
            ensure!(worker["last_exit"].is_null() && worker["generation"] == 1, "{worker}");
            for number in ["pid", "uptime_ms", "rss_bytes", "cpu_ms"] {
                ensure!(worker[number].is_u64(), "{number}: {worker}");
            }
        }
        primary.stop()
    });
}

#[test]
fn status_tells_of_an_exit_and_of_its_successor() {
    with_node(|node| {
        let mut primary = Run::new(&[&node.program, &example("app.js")]).workers(2).start()?;
        primary.wait_ready(2)?;
        signal_pid(primary.worker_pids()?[1], Signal::KILL)?;
        primary.wait_ready(3)?;
        let worker = primary.status()?["apps"][0]["workers"][1].clone();
        ensure!(worker["incarnation"] == 2 && worker["restarts"] == 1, "{worker}");
        ensure!(worker["last_exit"].as_str().is_some_and(|exit| exit.contains("SIGKILL")), "{worker}");
        primary.stop()
    });
}

/// A primary that is stopped says nothing, and nobody who asks it waits longer than was said.
#[test]
fn a_primary_that_is_silent_is_named_with_what_wakes_it() {
    let outcome = (|| {
        let run = Run::new(&["sleep", "1000"]).workers(1).options(&["--ready-timeout", "50ms"]);
        let mut primary = run.start()?;
        primary.wait_count("running", 1)?;
        let pid = primary.pid();
        signal_pid(pid, Signal::STOP)?;
        // The five seconds that an answer may take would say "within 5s".
        let said = primary.try_clustr(&["scale", "2", "--timeout", "300ms", "--json"]);
        let status = primary.try_clustr(&["status"]);
        signal_pid(pid, Signal::CONT)?;
        let said = said?;
        let reply: Value = serde_json::from_slice(&said.stdout).map_err(|error| error.to_string())?;
        ensure!(said.status.code() == Some(124) && reply["refusal"] == "timed-out", "{reply}");
        let detail = reply["detail"].as_str().unwrap_or_default();
        let wanted = format!("the primary (pid {pid}) has not answered within 300ms");
        ensure!(detail.starts_with(&wanted) && reply["hint"] == format!("kill -CONT {pid}"), "{reply}");
        let error = String::from_utf8_lossy(&status?.stderr).into_owned();
        ensure!(error.contains(&format!("hint: kill -CONT {pid}")), "{error}");
        primary.stop()
    })();
    hold(outcome);
}

#[test]
fn scaling_up_and_down_under_load_loses_no_request() {
    with_node(|node| {
        let mut primary = Run::new(&[&node.program, &example("app.js")]).workers(2).start()?;
        primary.wait_ready(2)?;
        let pace = Pace::PerSecond(300.0);
        let duration_max = Duration::from_secs(60);
        let plan = Plan { clients: 32, pace, duration_max, ..Plan::short(primary.address()) };
        let load = load::start(&plan).map_err(|error| error.to_string())?;
        for (word, wanted) in [("4", 4), ("-2", 2), ("+1", 3), ("1", 1), ("2", 2)] {
            primary.clustr(&["scale", word])?;
            let app = primary.status()?["apps"][0].clone();
            ensure!(app["wanted"] == wanted && app["ready"] == wanted, "after scale {word}: {app}");
            let answered = load.succeeded();
            wait::until_true("answers", SOON, || load.succeeded() > answered + 30)?;
        }
        let tally = load.stop().map_err(|error| error.to_string())?;
        ensure!(tally.failed() == 0, "{tally}");
        primary.stop()
    });
}

#[test]
fn scaling_to_nothing_is_refused() {
    let outcome = (|| {
        let mut primary = sleepers("app")?;
        let said = primary.try_clustr(&["scale", "0"])?;
        let error = String::from_utf8_lossy(&said.stderr);
        ensure!(matches!(said.status.code(), Some(1 | 2)), "{:?}: {error}", said.status);
        ensure!(error.contains("clustr stop"), "the way out is not named: {error}");
        primary.stop()
    })();
    hold(outcome);
}

#[test]
fn stop_returns_when_nothing_runs_any_more() {
    with_node(|node| {
        let mut primary = Run::new(&[&node.program, &example("app.js")]).workers(2).start()?;
        primary.wait_ready(2)?;
        let workers = primary.worker_pids()?;
        primary.clustr(&["stop"])?;
        let alive: Vec<_> = workers.iter().filter(|pid| clustr_benches::facts::lives(**pid)).collect();
        ensure!(alive.is_empty(), "stop has returned, and {alive:?} run");
        primary.started.expect_exit(0, SOON)?;
        let code = primary.try_clustr(&["status"])?.status.code();
        ensure!(code == Some(3), "status without a primary: {code:?}");
        primary.nothing_left()
    });
}

#[test]
fn events_are_streamed_as_they_happen() {
    with_node(|node| {
        let mut primary = Run::new(&[&node.program, &example("app.js")]).workers(1).start()?;
        primary.wait_ready(1)?;
        let runtime = primary.folder().join("runtime");
        let mut command = std::process::Command::new(CLUSTR);
        let events = Started::new(command.args(["events", "--json"]).env("CLUSTR_RUNTIME_DIR", &runtime))?;
        let count = |kind: &'static str| {
            move |lines: &[clustr_benches::started::Line]| {
                let values: Vec<Value> =
                    lines.iter().filter_map(|line| serde_json::from_slice(&line.bytes).ok()).collect();
                let named = |value: &&Value| value["news"] == kind || value["news"]["news"] == kind;
                values.iter().any(|value| named(&value)).then_some(())
            }
        };
        // Whoever subscribes hears what comes after: a kill each round until it is heard.
        wait::until_true("an exit among the events", SOON, || {
            let killed =
                primary.worker_pids().ok().and_then(|pids| signal_pid(*pids.first()?, Signal::KILL).ok());
            killed.is_some() && events.wait_for("an exit", Duration::from_secs(2), count("exited")).is_ok()
        })?;
        events.wait_for("a start", SOON, count("started"))?;
        primary.stop()
    });
}

#[test]
fn primaries_are_listed_and_a_name_belongs_to_one() {
    let outcome = (|| {
        let mut primary = sleepers("first")?;
        let list = primary.clustr(&["list"])?;
        ensure!(list.contains("first"), "{list}");
        let second = primary.try_clustr(&["run", "-n", "1", "--name", "first", "--", "sleep", "1000"])?;
        let error = String::from_utf8_lossy(&second.stderr);
        ensure!(second.status.code() == Some(1), "{:?}: {error}", second.status);
        ensure!(error.contains("first"), "the name is not named: {error}");
        let status = primary.status()?;
        ensure!(status["state"] == "running", "the first primary has suffered: {status}");
        primary.stop()
    })();
    hold(outcome);
}

#[test]
fn a_primary_that_was_killed_does_not_keep_its_name() {
    let outcome = (|| {
        let mut primary = sleepers("app")?;
        primary.started.signal(Signal::KILL)?;
        primary.started.wait_exit(SOON)?;
        let runtime = primary.folder().join("runtime");
        let mut command = std::process::Command::new(CLUSTR);
        command.args(["run", "-n", "1", "--name", "app", "--log-format", "json", "--", "sleep", "1000"]);
        let mut next = Started::new(command.env("CLUSTR_RUNTIME_DIR", &runtime))?;
        let started =
            |lines: &[clustr_benches::started::Line]| of_kind(&news_of(lines), "started").next().map(drop);
        next.wait_for("its successor's first worker", SOON, started)?;
        next.signal(Signal::INT)?;
        next.expect_exit(0, SOON)
    })();
    hold(outcome);
}

fn sleepers(name: &str) -> Result<Primary, String> {
    let options = ["--name", name, "--ready-timeout", "50ms"];
    let primary = Run::new(&["sleep", "1000"]).workers(1).options(&options).start()?;
    primary.wait_count("running", 1)?;
    Ok(primary)
}
