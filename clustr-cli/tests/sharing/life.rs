//! One cell of the matrix: a program that lives through a kill and through scaling, or that is refused.
//!
//! Owns what is asked of every program: each worker gets connections, a killed one's successor too, nobody is refused or
//! waits in vain, and who leaves finishes what it has.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use clustr_benches::load::{self, Pace, Plan, Running, Tally, Target};
use clustr_benches::started::signal_pid;
use clustr_benches::{facts, wait};
use rustix::process::Signal;

use crate::harness::{Outcome, Primary, Run, SOON, ensure};
use crate::programs::{Place, Program};

/// Bound: so many connections are held, until each worker has one.
const HELD_MAX: usize = 256;

/// Starts it with two workers, kills one, scales down and up, stops.
pub(crate) fn lives(program: &Program, share: &str) -> Result<String, String> {
    let run = prepared(program, share);
    let target = target(program, &run);
    let mut primary = run.start()?;
    primary.wait_count("running", 1)?;
    let app = primary.status()?["apps"][0].clone();
    ensure!(app["share"] == share, "it is not shared like that: {app}");
    let delivers =
        app["delivery"].as_array().is_some_and(|all| all.iter().any(|one| one == program.delivery));
    ensure!(delivers, "it is not delivered like that: {app}");
    each_gets_connections(&primary, &target)?;
    let killed = killed_under_load(&primary, &target)?;
    ensure!(killed.refused + killed.timed_out == 0, "kill -9: {killed}");
    each_gets_connections(&primary, &target)?;
    let scaled = scaled_under_load(&primary, &target)?;
    let lost = if program.finishes { scaled.failed() } else { scaled.refused + scaled.timed_out };
    ensure!(lost == 0, "scaling: {scaled}");
    each_gets_connections(&primary, &target)?;
    primary.stop()?;
    Ok(format!(
        "ok ({} answers, {} lost with a killed worker)",
        killed.success + scaled.success,
        killed.failed()
    ))
}

/// It does not even begin, and says why and what to do.
pub(crate) fn is_refused(program: &Program, share: &str) -> Result<String, String> {
    let mut primary = prepared(program, share).text_news().start()?;
    primary.started.expect_exit(1, SOON)?;
    let said: Vec<String> = primary.started.lines().iter().map(clustr_benches::started::Line::text).collect();
    let said = said.join("\n");
    ensure!(said.contains("error: ") && said.contains("hint: "), "no reason or no hint: {said}");
    let reasons = [
        "connections cannot be handed over through LISTEN_FDS",
        "connections cannot be handed over to a program that binds for itself",
        "cannot have a queue for each worker",
    ];
    ensure!(reasons.iter().any(|reason| said.contains(reason)), "another reason: {said}");
    Ok("refused".to_owned())
}

fn prepared(program: &Program, share: &str) -> Run {
    let run = Run::new(&program.words()).workers(2).options(&["--share", share]).options(program.options);
    let listen = match program.place {
        Place::OwnPort => return run,
        Place::Port => format!("127.0.0.1:{}", run.port()),
        Place::Path => format!("unix:{}", socket_path(&run).display()),
    };
    run.options(&["--listen", &listen])
}

fn socket_path(run: &Run) -> PathBuf {
    run.folder().join("app.socket")
}

fn target(program: &Program, run: &Run) -> Target {
    match program.place {
        Place::OwnPort | Place::Port => crate::harness::v4(run.port()).into(),
        Place::Path => socket_path(run).into(),
    }
}

/// Holds connections until each worker has accepted one: the kernel tells whose they are. Where it cannot, answers are
/// enough.
fn each_gets_connections(primary: &Primary, target: &Target) -> Outcome {
    let Target::Tcp(address) = target else {
        let tally = load::run(&Plan { requests_max: 50, ..Plan::short(target.clone()) });
        let tally = tally.map_err(|error| error.to_string())?;
        ensure!(tally.success == 50, "{tally}");
        return Ok(());
    };
    let mut held = Vec::new();
    wait::until_true("a connection of each worker", SOON, || {
        if held.len() < HELD_MAX {
            held.extend(TcpStream::connect_timeout(address, SOON));
        }
        let Ok(pids) = primary.worker_pids() else { return false };
        let has_one = |pid: &u32| !accepted(*pid, &held).is_empty();
        pids.len() == 2 && pids.iter().all(has_one)
    })
}

/// Which of our connections a worker, or what it has started, has accepted.
fn accepted(pid: u32, held: &[TcpStream]) -> BTreeSet<u16> {
    let family: Vec<u32> = std::iter::once(pid).chain(facts::children(pid)).collect();
    let theirs: BTreeSet<u16> = family.into_iter().flat_map(facts::client_ports).collect();
    held.iter()
        .filter_map(|stream| Some(stream.local_addr().ok()?.port()))
        .filter(|port| theirs.contains(port))
        .collect()
}

fn killed_under_load(primary: &Primary, target: &Target) -> Result<Tally, String> {
    let load = begin(target)?;
    let before = primary.worker_pids()?;
    answers(&load, 20)?;
    signal_pid(before[0], Signal::KILL)?;
    wait::until_true("a successor that is ready", SOON, || {
        let Ok(status) = primary.status() else { return false };
        let workers = &status["apps"][0]["workers"];
        workers[0]["pid"] != before[0] && status["apps"][0]["ready"] == 2
    })?;
    answers(&load, 20)?;
    load.stop().map_err(|error| error.to_string())
}

fn scaled_under_load(primary: &Primary, target: &Target) -> Result<Tally, String> {
    let load = begin(target)?;
    for wanted in ["1", "2"] {
        answers(&load, 20)?;
        primary.clustr(&["scale", wanted])?;
    }
    answers(&load, 20)?;
    load.stop().map_err(|error| error.to_string())
}

fn begin(target: &Target) -> Result<Running, String> {
    let pace = Pace::PerSecond(100.0);
    let plan =
        Plan { clients: 64, pace, duration_max: Duration::from_secs(60), ..Plan::short(target.clone()) };
    load::start(&plan).map_err(|error| error.to_string())
}

fn answers(load: &Running, more: u64) -> Outcome {
    let before = load.succeeded();
    wait::until_true("answers", SOON, || load.succeeded() >= before + more)
}
