//! Workers with a queue each, one of which does not serve: who waits there, and how it comes back.

use std::time::{Duration, Instant};

use clustr_benches::started::signal_pid;
use clustr_benches::{http, wait};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::node::{Node, queued};
use crate::harness::{Outcome, Primary, Run, SOON, ensure};

/// How long a worker is busy with something else.
const BLOCKED: Duration = Duration::from_millis(1_500);

#[test]
fn who_waits_for_a_busy_worker_is_served_by_another_until_it_shows_that_it_goes_on() {
    queued("a busy worker is steered around", |node| {
        let mut primary = started(node)?;
        let address = primary.address();
        let blocked =
            std::thread::spawn(move || http::get(address, &format!("/block?{}", BLOCKED.as_millis())));
        let said = |lines: &[clustr_benches::started::Line]| {
            lines.iter().any(|line| line.text().ends_with("blocked")).then_some(())
        };
        primary.started.wait_for("a blocked worker", SOON, said)?;
        let began = Instant::now();
        // Half of them are sent to the one that is busy, or all but a few of those that come first.
        let clients: Vec<_> =
            (0..40).map(|_| std::thread::spawn(move || http::get_json(address, "/"))).collect();
        let answers = clients.into_iter().map(|client| client.join().map_err(|_| "panicked")?);
        let pids: Vec<Value> =
            answers.map(|answer| Ok(answer?["pid"].clone())).collect::<Result<_, String>>()?;
        ensure!(began.elapsed() < BLOCKED, "clients waited for the busy worker: {:?}", began.elapsed());
        ensure!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
        blocked.join().map_err(|_| "panicked")??;
        http::get_from_all(address, "/", 2, SOON)?;
        primary.stop()
    });
}

#[test]
fn who_waits_for_a_worker_that_is_gone_is_served_by_another_before_the_next_is_there() {
    queued("a queue without a worker is emptied", |node| {
        let mut primary = started(node)?;
        let address = primary.address();
        let pids = primary.worker_pids()?;
        signal_pid(pids[0], Signal::STOP)?;
        wait::until_true("a stopped worker", SOON, || is_stopped(pids[0]))?;
        let clients: Vec<_> =
            (0..20).map(|_| std::thread::spawn(move || http::get_json(address, "/"))).collect();
        signal_pid(pids[0], Signal::KILL)?;
        for client in clients {
            client.join().map_err(|_| "panicked")??;
        }
        http::get_from_all(address, "/", 2, SOON)?;
        primary.stop()
    });
}

fn started(node: &Node) -> Result<Primary, String> {
    let primary = Run::app(node, "handed.js").workers(2).start()?;
    primary.wait_ready(2)?;
    expect_queues(&primary)?;
    Ok(primary)
}

fn expect_queues(primary: &Primary) -> Outcome {
    let status = primary.status()?;
    ensure!(status["apps"][0]["share"] == "per-worker", "{status}");
    Ok(())
}

fn is_stopped(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
}
