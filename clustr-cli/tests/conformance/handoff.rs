//! Connections that the primary hands over: to whom, how many, and what becomes of those that nobody answered.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clustr_benches::facts::descriptors;
use clustr_benches::load::{self, Plan, Tally};
use clustr_benches::started::signal_pid;
use clustr_benches::{http, wait};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::control::Control;
use crate::harness::node::{Node, handed_over, handed_over_alone};
use crate::harness::{Outcome, Primary, Run, SOON, ensure, of_kind, v4};

/// How long a worker is blocked where a test waits for its end.
const BLOCKED: Duration = Duration::from_millis(1_500);
/// Slower than this: it waited for a blocked worker.
const SLOW: Duration = Duration::from_millis(1_000);
/// The most that a worker holds back which was idle when it became stuck.
const FIRST_WINDOW: usize = 2;
/// What counts as almost no time of a processor, of one second.
const NEAR_ZERO: Duration = Duration::from_millis(100);

#[test]
fn workers_are_scheduled_as_they_would_be_without_a_primary() {
    handed_over("scheduling policy", |node| {
        let mut primary = started(node, 2, &[])?;
        let pids = primary.worker_pids()?;
        let policies: Vec<u64> = pids.iter().chain([&primary.pid()]).map(|pid| policy(*pid)).collect();
        ensure!(policies == [0, 0, 3], "SCHED_OTHER for workers, SCHED_BATCH for the primary: {policies:?}");
        primary.stop()
    });
}

#[test]
fn what_a_killed_worker_had_not_answered_is_answered_by_others() {
    handed_over("unanswered at a kill", |node| {
        let mut primary = started(node, 2, &[])?;
        let pids = primary.worker_pids()?;
        let blocked = block_all(&primary, 60_000, 2)?;
        let clients = clients(primary.address(), "/", 12);
        for pid in pids {
            signal_pid(pid, Signal::KILL)?;
        }
        let answers = clients.into_iter().filter_map(|client| client.join().ok()?.answer.ok()).count();
        ensure!(answers == 12, "{answers} of 12 answered");
        let lost = blocked.into_iter().filter_map(|client| client.join().ok()?.answer.err()).count();
        ensure!(lost == 2, "{lost} of 2 that were accepted and killed");
        primary.stop()
    });
}

#[test]
fn four_thousand_connections_are_spread_evenly() {
    handed_over_alone("even spread", |node| {
        let mut primary = started(node, 4, &[])?;
        is_even(&spread(&primary, 1)?, 4, 1_000).map_err(|why| format!("one at a time: {why}"))?;
        // Where somebody waits all the time, a worker that the host let stand for long gets less: the best of three.
        let one = || is_even(&spread(&primary, 32)?, 4, 1_000);
        one().or_else(|_| one()).or_else(|_| one()).map_err(|why| format!("32 at once: {why}"))?;
        primary.stop()
    });
}

/// What came of 4,000 connections of so many clients at a time.
fn spread(primary: &Primary, clients: usize) -> Result<Tally, String> {
    let most =
        Plan { clients, requests_max: 4_000, duration_max: SOON * 3, ..Plan::short(primary.address()) };
    let tally = load::run(&most).map_err(|error| error.to_string())?;
    ensure!((tally.issued, tally.success) == (4_000, 4_000), "{clients} at once: {tally}");
    Ok(tally)
}

#[test]
fn a_blocked_worker_holds_back_no_more_than_its_window() {
    for balance in ["round-robin", "least-busy"] {
        handed_over(&format!("a blocked worker, {balance}"), |node| {
            let mut primary = started(node, 2, &["--balance", balance])?;
            let blocked = block_all(&primary, 1_500, 1)?;
            let began = Instant::now();
            let spans: Vec<Duration> = joined(clients(primary.address(), "/", 20))?;
            let slow = spans.iter().filter(|span| **span > SLOW).count();
            ensure!(began.elapsed() >= BLOCKED / 2 || slow == 0, "the worker was not blocked");
            ensure!(slow <= FIRST_WINDOW, "{slow} of 20 waited for the blocked worker: {spans:?}");
            joined(blocked)?;
            primary.stop()
        });
    }
}

#[test]
fn six_hundred_connections_at_once_are_all_served() {
    handed_over("600 connections", |node| {
        let mut primary = started(node, 2, &[])?;
        let plan = Plan { clients: 600, requests_max: 600, ..Plan::short(primary.address()) };
        let tally = load::run(&plan).map_err(|error| error.to_string())?;
        ensure!((tally.issued, tally.success) == (600, 600), "{tally}");
        ensure!(tally.answers.len() == 2, "one worker got all: {:?}", tally.answers);
        primary.stop()
    });
}

#[test]
fn a_client_address_stays_with_its_worker_while_another_is_killed_and_replaced() {
    handed_over("sticky", |node| {
        let mut primary = started(node, 3, &["--balance", "sticky"])?;
        let homes = |primary: &Primary| -> Result<Vec<(u64, u64)>, String> {
            (1..=24).map(|last| from(Ipv4Addr::new(127, 0, 0, last), primary.port())).collect()
        };
        let before = homes(&primary)?;
        ensure!(before == homes(&primary)?, "clients move without a reason: {before:?}");
        let slots: std::collections::BTreeSet<u64> = before.iter().map(|(slot, _)| *slot).collect();
        ensure!(slots.len() == 3, "not every worker has a client: {before:?}");
        signal_pid(primary.worker_pids()?[1], Signal::KILL)?;
        let during = homes(&primary)?;
        primary.wait_ready(4)?;
        let after = homes(&primary)?;
        for (place, home) in before.iter().enumerate() {
            if home.0 == 1 {
                ensure!(after[place].0 == 1, "client {place} did not return: {home:?} {:?}", after[place]);
            } else {
                let stayed = during[place] == *home && after[place] == *home;
                ensure!(stayed, "client {place} moved: {home:?} {:?} {:?}", during[place], after[place]);
            }
        }
        primary.stop()
    });
}

#[test]
fn where_every_worker_is_full_clients_wait_without_costing_the_primary_anything() {
    handed_over("maxConnections everywhere", |node| {
        let mut primary = launched(Run::app(node, "handed.js").env("MAX", "1"), 2, &[])?;
        let mut held = Vec::new();
        wait::until_true("both workers' only place", SOON, || {
            held.extend(keep_alive(primary.address()).ok());
            held.len() == 2
        })?;
        let waiting = clients(primary.address(), "/", 3);
        let spent = spent_in_a_second(&primary);
        ensure!(spent < NEAR_ZERO, "the primary spent {spent:?} in a second");
        ensure!(waiting.iter().all(|client| !client.is_finished()), "nobody had room, and somebody answered");
        drop(held);
        joined(waiting)?;
        primary.stop()
    });
}

#[test]
fn what_a_worker_has_no_descriptor_for_is_served_by_others_or_later() {
    handed_over("worker out of descriptors", |node| {
        let command = format!("ulimit -n 34; exec '{}' '{}'", node.program, crate::harness::app("handed.js"));
        let run = Run::new(&["sh", "-c", &command]).options(&["--share", "handoff"]);
        let mut primary = launched(run, 2, &[])?;
        let before = descriptors(primary.pid());
        let plan = Plan {
            clients: 60,
            requests_max: 180,
            path: "/slow?300".into(),
            ..Plan::short(primary.address())
        };
        let load = load::start(&plan).map_err(|error| error.to_string())?;
        let spent = spent_in_a_second(&primary);
        let tally = load.join().map_err(|error| error.to_string())?;
        ensure!((tally.issued, tally.success) == (180, 180), "{tally}");
        ensure!(spent < NEAR_ZERO * 3, "the primary spent {spent:?} in a second");
        let news = primary.news();
        ensure!(of_kind(&news, "exited").next().is_none(), "a worker ended: {news:?}");
        left_as_before(&primary, &before)?;
        primary.stop()
    });
}

#[test]
fn a_primary_without_descriptors_lets_clients_wait_loses_none_and_resumes_by_itself() {
    handed_over("primary out of descriptors", |node| {
        let run = Run::app(node, "handed.js").through(&["sh", "-c", r#"ulimit -n 64; exec "$@""#, "sh"]);
        let mut primary = launched(run, 2, &[])?;
        let before = descriptors(primary.pid());
        let path = primary.socket_path()?;
        let plan = Plan {
            clients: 16,
            duration_max: SOON * 2,
            request_timeout: SOON,
            ..Plan::short(primary.address())
        };
        let load = load::start(&plan).map_err(|error| error.to_string())?;
        wait::until_true("answers", SOON, || load.succeeded() > 100)?;
        // Clients of the control socket take what there is, while connections are on their way.
        let crowd: Vec<Control> = (0..60).filter_map(|_| Control::connect(&path).ok()).collect();
        wait::until_true("the last descriptor to be taken", SOON, || descriptors(primary.pid()).len() >= 63)?;
        let mut answered = 0;
        wait::until_true("nobody to be answered any more", SOON, || {
            wait::observe_for(Duration::from_millis(300));
            std::mem::replace(&mut answered, load.succeeded()) == load.succeeded()
        })?;
        let spent = spent_in_a_second(&primary);
        ensure!(spent < NEAR_ZERO, "the primary spent {spent:?} in a second");
        ensure!(load.succeeded() == answered, "there was a descriptor all the same");
        drop(crowd);
        wait::until_true("answers again", SOON, || load.succeeded() > answered + 100)?;
        let tally = load.stop().map_err(|error| error.to_string())?;
        ensure!(tally.success == tally.issued, "{tally}");
        left_as_before(&primary, &before)?;
        primary.stop()
    });
}

#[test]
fn clients_who_wait_at_the_stop_are_answered() {
    handed_over("a stop with clients waiting", |node| {
        let mut primary = started(node, 2, &[])?;
        let blocked = block_all(&primary, 1_000, 2)?;
        let mut clients: Vec<TcpStream> =
            (0..30).map(|_| asked(primary.address())).collect::<Result<_, _>>()?;
        primary.interrupt()?;
        let answers = clients.iter_mut().map(answered).filter(|answered| *answered).count();
        ensure!(answers == 30, "{answers} of 30 answered");
        joined(blocked)?;
        primary.started.expect_exit(0, SOON)?;
        primary.nothing_left()
    });
}

/// What one client had, and how long it took.
struct Client {
    answer: Result<String, String>,
    took: Duration,
}

/// So many clients at once, each in a thread of its own.
fn clients(target: SocketAddr, path: &str, count: usize) -> Vec<JoinHandle<Client>> {
    let ask = |_| {
        let path = path.to_owned();
        std::thread::spawn(move || {
            let began = Instant::now();
            let answer = http::get(target, &path);
            Client { answer, took: began.elapsed() }
        })
    };
    (0..count).map(ask).collect()
}

/// How long each took; an error if one was not answered.
fn joined(clients: Vec<JoinHandle<Client>>) -> Result<Vec<Duration>, String> {
    let one = |client: JoinHandle<Client>| {
        let Client { answer, took } = client.join().map_err(|_| "a client panicked")?;
        answer.map(|_| took)
    };
    clients.into_iter().map(one).collect()
}

fn started(node: &Node, workers: u32, options: &[&str]) -> Result<Primary, String> {
    launched(Run::app(node, "handed.js"), workers, options)
}

/// The primary has no more descriptors than before; where it has, they are named.
fn left_as_before(primary: &Primary, before: &[(u32, String)]) -> Outcome {
    let left = || descriptors(primary.pid());
    wait::until_true("the primary's descriptors to be as before", SOON, || left().len() <= before.len())
        .map_err(|error| format!("{error}: {before:?}, then {:?}", left()))
}

fn launched(run: Run, workers: u32, options: &[&str]) -> Result<Primary, String> {
    let primary = run.workers(workers).options(options).start()?;
    primary.wait_ready(workers as usize)?;
    let status = primary.status()?;
    ensure!(status["apps"][0]["share"] == "handoff", "{status}");
    Ok(primary)
}

/// Keeps so many workers busy, each with a request of its own.
fn block_all(primary: &Primary, ms: u32, count: usize) -> Result<Vec<JoinHandle<Client>>, String> {
    let mut blocked = Vec::new();
    for number in 1..=count {
        blocked.extend(clients(primary.address(), &format!("/block?{ms}"), 1));
        let said = |lines: &[clustr_benches::started::Line]| {
            let count = lines.iter().filter(|line| line.text().ends_with("blocked")).count();
            (count >= number).then_some(())
        };
        primary.started.wait_for("a blocked worker", SOON, said)?;
    }
    Ok(blocked)
}

fn is_even(tally: &Tally, workers: usize, share: u64) -> Outcome {
    let counts: Vec<u64> = tally.answers.values().copied().collect();
    let even = counts.len() == workers && counts.iter().all(|count| count.abs_diff(share) * 10 <= share);
    ensure!(even, "not within 10 % of {share}: {counts:?}");
    Ok(())
}

/// A connection that stays open, if it was answered.
fn keep_alive(target: SocketAddr) -> Result<TcpStream, String> {
    let mut stream = asked(target)?;
    ensure!(answered(&mut stream), "no answer");
    Ok(stream)
}

/// A connection with a request on it.
fn asked(target: SocketAddr) -> Result<TcpStream, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(target).map_err(text)?;
    stream.set_read_timeout(Some(SOON)).map_err(text)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").map_err(text)?;
    Ok(stream)
}

fn answered(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 1_000];
    stream.read(&mut answer).is_ok_and(|count| answer[..count].starts_with(b"HTTP/1.1 200"))
}

/// Asks from this address: who answered, by slot and pid.
fn from(source: Ipv4Addr, port: u16) -> Result<(u64, u64), String> {
    let text = |error: rustix::io::Errno| error.to_string();
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).map_err(text)?;
    rustix::net::bind(&socket, &SocketAddr::from((source, 0))).map_err(text)?;
    rustix::net::connect(&socket, &v4(port)).map_err(text)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON)).map_err(|error| error.to_string())?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    let body = answer.rsplit("\r\n").next().unwrap_or_default();
    let value: Value = serde_json::from_str(body).map_err(|error| format!("'{answer}': {error}"))?;
    value["slot"].as_u64().zip(value["pid"].as_u64()).ok_or_else(|| format!("no slot: {value}"))
}

/// How much time of a processor the primary spends while one second passes.
fn spent_in_a_second(primary: &Primary) -> Duration {
    let before = ticks(primary.pid());
    wait::observe_for(Duration::from_secs(1));
    Duration::from_millis((ticks(primary.pid()) - before) * 10)
}

/// User and system time in ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    stat(pid, 11) + stat(pid, 12)
}

/// The scheduling policy: sched(7).
fn policy(pid: u32) -> u64 {
    stat(pid, 38)
}

/// A number of proc_pid_stat(5), counted from the one after the name.
fn stat(pid: u32, place: usize) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    after_name.split(' ').nth(place).and_then(|number| number.parse().ok()).unwrap_or(0)
}
