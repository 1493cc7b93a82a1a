//! An idle primary sleeps, and a busy one does not grow.

use std::net::TcpStream;
use std::time::Duration;

use clustr_benches::load::{self, Plan};
use clustr_benches::started::signal_pid;
use clustr_benches::{facts, http, wait};
use rustix::process::Signal;

use crate::harness::node::with_node;
use crate::harness::{Primary, Run, SOON, ensure, example, hold, known, v4};

#[test]
fn an_idle_primary_does_not_wake_up_in_ten_seconds_in_any_sharing() {
    with_node(|node| {
        let start = |share| {
            let run = Run::new(&[&node.program, &example("app.js")]).workers(2).options(&["--share", share]);
            let primary = run.start()?;
            primary.wait_ready(2)?;
            primary.wait_count("running", 1)?;
            // Who was looked for while somebody came is looked for no longer.
            http::get(primary.address(), "/")?;
            Ok::<Primary, String>(primary)
        };
        let mut primaries: Vec<Primary> =
            ["shared", "per-worker", "handoff"].into_iter().map(start).collect::<Result<_, _>>()?;
        primaries.iter().try_for_each(settle)?;
        let count = |primary: &Primary| known("wake-ups", facts::wake_ups(primary.pid()));
        let before: Vec<u64> = primaries.iter().map(count).collect::<Result<_, _>>()?;
        wait::observe_for(Duration::from_secs(10));
        let after: Vec<u64> = primaries.iter().map(count).collect::<Result<_, _>>()?;
        println!("idle PSS {} kB", known("PSS", facts::pss_bytes(primaries[0].pid()))? / 1024);
        ensure!(before == after, "woke up in 10 s: {before:?} {after:?}");
        primaries.iter_mut().try_for_each(Primary::stop)
    });
}

#[test]
fn one_whom_nobody_accepts_keeps_no_primary_awake_whether_workers_may_hang_or_not() {
    let start = |hang_timeout| {
        let run = Run::new(&["sleep", "1000"]).workers(2);
        let address = v4(run.port());
        let listen = address.to_string();
        let options = [
            "--listen",
            &listen,
            "--delivery",
            "fds",
            "--share",
            "per-worker",
            "--hang-timeout",
            hang_timeout,
        ];
        let primary = run.options(&options).start()?;
        primary.wait_count("running", 1)?;
        let client = TcpStream::connect(address).map_err(|error| error.to_string())?;
        Ok::<_, String>((primary, client))
    };
    let outcome = (|| {
        let mut started: Vec<_> = ["10m", "off"].into_iter().map(start).collect::<Result<_, _>>()?;
        for (primary, _client) in &mut started {
            // It was woken, and looks closely first: fifty times a second. Then once a second.
            wait::until_true("rare looks", SOON, || {
                let before = facts::wake_ups(primary.pid());
                wait::observe_for(Duration::from_secs(4));
                before.zip(facts::wake_ups(primary.pid())).is_some_and(|(before, after)| after < before + 40)
            })?;
            primary.stop()?;
        }
        Ok(())
    })();
    hold(outcome);
}

#[test]
fn ten_thousand_connections_leave_nothing_in_the_primary() {
    with_node(|node| {
        let mut primary = Run::new(&[&node.program, &example("app.js")]).workers(2).start()?;
        primary.wait_ready(2)?;
        settle(&primary)?;
        let before = Weight::of(&primary)?;
        let plan = Plan {
            clients: 32,
            requests_max: 10_000,
            duration_max: Duration::from_secs(50),
            ports: false,
            ..Plan::short(primary.address())
        };
        let tally = load::run(&plan).map_err(|error| error.to_string())?;
        ensure!(tally.success == 10_000, "{tally}");
        let after = Weight::of(&primary)?;
        println!("before {before:?}, after {after:?}");
        ensure!(after.descriptors == before.descriptors, "{before:?} {after:?}");
        ensure!(after.wake_ups == before.wake_ups, "it took part in connections: {before:?} {after:?}");
        primary.stop()
    });
}

#[test]
fn three_hundred_restarts_leave_nothing_in_the_primary() {
    let outcome = (|| {
        let options = ["--backoff-min", "0ms", "--intensity", "1000000/1s", "--ready-timeout", "1ms"];
        let mut primary = Run::new(&["sleep", "1000"]).workers(2).options(&options).start()?;
        restart(&primary, 50)?;
        settle(&primary)?;
        let before = Weight::of(&primary)?;
        restart(&primary, 300)?;
        settle(&primary)?;
        let after = Weight::of(&primary)?;
        println!("before {before:?}, after {after:?}");
        ensure!(after.descriptors == before.descriptors, "{before:?} {after:?}");
        ensure!(after.written_bytes < before.written_bytes + 400_000, "{before:?} {after:?}");
        primary.stop()
    })();
    hold(outcome);
}

/// What a primary weighs.
#[derive(Debug)]
struct Weight {
    /// Others that run the same program, in tests beside this one, share its code and come and go: not counted here.
    written_bytes: u64,
    descriptors: usize,
    wake_ups: u64,
}

impl Weight {
    fn of(primary: &Primary) -> Result<Self, String> {
        let pid = primary.pid();
        let wake_ups = known("wake-ups", facts::wake_ups(pid))?;
        let written_bytes = known("its memory", facts::written_bytes(pid))?;
        Ok(Self { written_bytes, descriptors: facts::descriptors(pid).len(), wake_ups })
    }
}

/// Waits until the primary has slept for a whole second: the last of its start-up is over.
fn settle(primary: &Primary) -> Result<(), String> {
    let mut last = None;
    wait::until_true("a primary at rest", SOON, || {
        let now = facts::wake_ups(primary.pid());
        let rests = now == last;
        last = now;
        wait::observe_for(Duration::from_secs(1));
        rests
    })
}

/// Kills so many workers, each after its predecessor has a successor.
fn restart(primary: &Primary, times: usize) -> Result<(), String> {
    let mut control = primary.control()?;
    let mut last = 0;
    for _ in 0..times {
        last = wait::until("a successor", SOON, || {
            let reply = control.ask(r#"{"id":1,"cmd":"status"}"#).ok()?;
            let worker = &reply["status"]["apps"][0]["workers"][0];
            let pid = u32::try_from(worker["pid"].as_u64()?).ok()?;
            (pid != last).then_some(pid)
        })?;
        signal_pid(last, Signal::KILL)?;
    }
    wait::until_true("both workers", SOON, || primary.worker_pids().is_ok_and(|pids| pids.len() == 2))
}
