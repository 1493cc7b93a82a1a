//! Stopping ends, whatever the workers do, and leaves nothing behind.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clustr_benches::load::{self, Plan, Running};
use clustr_benches::{facts, http, wait};
use rustix::process::Signal;

use crate::harness::node::with_node;
use crate::harness::{Outcome, Primary, Run, SOON, app, ensure, example, of_kind};

#[test]
fn ctrl_c_answers_what_is_open_and_leaves_nothing() {
    with_node(|node| {
        let mut primary = Run::app(node, "slow.js").workers(2).start()?;
        primary.wait_ready(2)?;
        let load = in_flight(&primary)?;
        primary.interrupt()?;
        primary.wait_count("stopping", 2)?;
        answered(&primary, load)?;
        primary.started.expect_exit(0, SOON)?;
        primary.nothing_left()
    });
}

#[test]
fn npm_doubles_ctrl_c_and_what_is_open_is_still_answered() {
    with_node(|node| {
        let mut primary = Run::app(node, "slow.js").workers(2).start()?;
        primary.wait_ready(2)?;
        let load = in_flight(&primary)?;
        primary.interrupt()?;
        primary.wait_count("ending", 1)?;
        primary.interrupt()?;
        answered(&primary, load)?;
        primary.started.expect_exit(0, SOON)?;
        primary.nothing_left()
    });
}

#[test]
fn a_second_ctrl_c_kills() {
    with_node(|node| {
        let mut primary = Run::app(node, "slow.js").workers(2).options(&["--stop-timeout", "5m"]).start()?;
        primary.wait_ready(2)?;
        let load = in_flight(&primary)?;
        primary.interrupt()?;
        primary.wait_count("ending", 1)?;
        wait::observe_for(Duration::from_millis(600));
        ensure!(!primary.started.running().is_empty(), "the first Ctrl-C has killed");
        primary.interrupt()?;
        primary.started.wait_exit(SOON)?;
        drop(load);
        primary.nothing_left()
    });
}

#[test]
fn sigquit_stops_at_once() {
    with_node(|node| {
        let mut primary = Run::app(node, "slow.js").workers(2).options(&["--stop-timeout", "5m"]).start()?;
        primary.wait_ready(2)?;
        let load = in_flight(&primary)?;
        primary.started.signal(Signal::QUIT)?;
        primary.started.wait_exit(SOON)?;
        drop(load);
        primary.nothing_left()
    });
}

#[test]
fn a_worker_in_an_endless_loop_ends_at_the_deadline() {
    with_node(|node| {
        let mut primary = Run::app(node, "loop.js").workers(2).options(&["--stop-timeout", "2s"]).start()?;
        primary.wait_ready(2)?;
        let path = "/loop".to_owned();
        let plan = Plan { clients: 1, requests_max: 1, path, ..Plan::short(primary.address()) };
        let load = load::start(&plan).map_err(|error| error.to_string())?;
        primary.wait_said("looping")?;
        ends_within(&mut primary, Duration::from_secs(2))?;
        ensure!(load.join().is_ok_and(|tally| tally.failed() == 1), "the looping worker has answered");
        let news = primary.news();
        ensure!(
            of_kind(&news, "exited").any(|exit| exit["signal"] == "SIGKILL" && exit["expected"] == true),
            "{news:?}"
        );
        Ok(())
    });
}

#[test]
fn a_shell_around_node_ends_with_it() {
    with_node(|node| {
        let line = format!("'{}' '{}'; true", node.program, app("address.js"));
        let mut primary =
            Run::new(&["sh", "-c", &line]).workers(2).options(&["--stop-timeout", "5s"]).start()?;
        http::get_from_all(primary.address(), "/", 2, SOON)?;
        ends_within(&mut primary, Duration::from_secs(5))
    });
}

#[test]
fn children_that_a_worker_has_set_free_end_with_it() {
    with_node(|node| {
        let line = format!("setsid sleep 1000 & exec '{}' '{}'", node.program, example("app.js"));
        let mut primary = Run::new(&["sh", "-c", &line]).workers(2).start()?;
        primary.wait_ready(2)?;
        wait::until_true("both free children", SOON, || sleepers(&primary) == 2)?;
        ends_within(&mut primary, Duration::from_secs(10))
    });
}

/// In a session of its own, and without the variables by which it could be told whose it is: it does not outlive its worker,
/// though the app goes on, whether that worker is replaced or killed.
#[test]
fn a_daemon_without_its_workers_environment_ends_with_the_worker() {
    let script = "setsid env -i /bin/sleep 1000 & exec sleep 1000";
    let outcome = (|| {
        let options = ["--ready-timeout", "300ms", "--name", "app"];
        let mut primary = Run::new(&["sh", "-c", script]).workers(1).options(&options).start()?;
        primary.wait_count("running", 1)?;
        for end in ["restart", "kill"] {
            let worker = primary.worker_pids()?[0];
            let daemon = || facts::children(worker).first().copied();
            let daemon = wait::until("the daemon", SOON, daemon)?;
            let ready = || primary.status().is_ok_and(|status| status["apps"][0]["ready"] == 1);
            wait::until_true("a worker that is ready", SOON, ready)?;
            if end == "restart" {
                primary.clustr(&["restart"])?;
            } else {
                clustr_benches::started::signal_pid(worker, Signal::KILL)?;
            }
            wait::until_true("the end of the daemon", SOON, || !facts::lives(daemon))?;
            wait::until_true("another worker", SOON, || {
                primary.worker_pids().is_ok_and(|pids| pids.len() == 1 && pids[0] != worker)
            })?;
        }
        primary.stop()
    })();
    crate::harness::hold(outcome);
}

#[test]
fn a_worker_that_ignores_every_polite_signal_ends_at_the_deadline() {
    let run = Run::new(&["sh", "-c", "trap '' TERM INT HUP; echo up; while :; do sleep 1; done"]);
    let outcome = (|| {
        let mut primary = run.workers(2).options(&["--stop-timeout", "1s"]).start()?;
        primary.wait_said(".0 | up")?;
        primary.wait_said(".1 | up")?;
        ends_within(&mut primary, Duration::from_secs(1))
    })();
    crate::harness::hold(outcome);
}

/// Ctrl-C, and a clean end not much after the deadline, on a machine that may have much else to do.
fn ends_within(primary: &mut Primary, deadline: Duration) -> Outcome {
    let began = Instant::now();
    primary.interrupt()?;
    primary.started.expect_exit(0, SOON)?;
    let took = began.elapsed();
    ensure!(took < deadline + Duration::from_secs(8), "took {took:?}");
    primary.nothing_left()
}

/// Six requests that were accepted, and are not answered before [`answered`].
fn in_flight(primary: &Primary) -> Result<Running, String> {
    let path = format!("/?until={}", go_ahead(primary).display());
    let plan = Plan { clients: 6, requests_max: 6, path, ..Plan::short(primary.address()) };
    let load = load::start(&plan).map_err(|error| error.to_string())?;
    let pids = primary.worker_pids()?;
    let held = || pids.iter().map(|pid| facts::client_ports(*pid).len()).sum::<usize>();
    wait::until_true("six requests to be accepted", SOON, || held() == 6)?;
    Ok(load)
}

/// The file that lets the workers answer.
fn go_ahead(primary: &Primary) -> PathBuf {
    primary.folder().join("go-ahead")
}

fn answered(primary: &Primary, load: Running) -> Outcome {
    std::fs::write(go_ahead(primary), "").map_err(|error| error.to_string())?;
    let tally = load.join().map_err(|error| error.to_string())?;
    ensure!((tally.issued, tally.success) == (6, 6), "{tally}");
    Ok(())
}

fn sleepers(primary: &Primary) -> usize {
    let is_sleep = |pid: &u32| facts::status(*pid, "Name:").is_some_and(|name| name == "sleep");
    primary.started.running().iter().filter(|pid| is_sleep(pid)).count()
}
