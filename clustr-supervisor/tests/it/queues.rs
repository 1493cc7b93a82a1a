//! A queue for each worker: kept by the primary, filled where somebody serves.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use clustr_core::{Backoff, Intensity, Policy};
use clustr_supervisor::Supervisor;
use clustr_supervisor::config::{Balance, Config, Listen, Share};
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::Signal;

use crate::deliveries::{
    SERVICE, ask, heard, kill, listening, opened, signal, wait_for_all, wait_for_successors,
};
use crate::fixture::{DEADLINE, Primary, WORKER, config};

pub(crate) fn queued(config: &mut Config) {
    listening(Share::PerWorker, "channel")(config);
}

#[test]
fn status_says_per_worker() {
    let primary = Primary::start_with(2, queued);
    assert_eq!(primary.status()["apps"][0]["share"], "per-worker");
}

/// A signal is under way for a moment, in which a worker may still accept somebody.
pub(crate) fn wait_until_stopped(pid: u64) {
    let began = std::time::Instant::now();
    while !is_stopped(pid) {
        assert!(began.elapsed() < DEADLINE, "{pid} does not stop");
        std::thread::yield_now();
    }
}

/// Whether none of its threads runs any more: each stops for itself, and one that has not yet may still accept.
fn is_stopped(pid: u64) -> bool {
    let state =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
    let Ok(mut tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.all(|task| task.is_ok_and(|task| state(task).contains(") T ")))
}

#[test]
fn a_killed_workers_waiting_clients_are_its_successors() {
    let primary = Primary::start_with(2, queued);
    let (address, pids) = (primary.address(), primary.pids());
    wait_for_all(address, &pids);
    // Stopped, they accept nothing: whoever comes waits in one of the queues.
    pids.iter().for_each(|pid| signal(*pid, Signal::STOP));
    pids.iter().for_each(|pid| wait_until_stopped(*pid));
    let waiting: Vec<_> = (0..12).map(|_| opened(address, "hello")).collect();
    pids.iter().for_each(|pid| kill(*pid));
    assert!(waiting.into_iter().map(heard).all(|answer| !answer.is_empty()));
    wait_for_all(address, &wait_for_successors(&primary, &pids));
}

/// Clients in a row, each with a port of its own; says whether all were answered soon.
fn all_are_answered(address: SocketAddr, clients: u32) -> bool {
    (0..clients).all(|_| {
        let mut stream = opened(address, "hello");
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        matches!(stream.read(&mut [0; 64]), Ok(count) if count > 0)
    })
}

/// One of two workers is made to serve one client for ever.
fn block_one(address: SocketAddr) -> TcpStream {
    let mut blocked = opened(address, "block");
    blocked.read_exact(&mut [0; 4]).unwrap();
    blocked
}

#[test]
fn who_comes_is_steered_around_a_worker_that_stands_still() {
    let primary = Primary::start_with(2, |config| {
        listening(Share::PerWorker, "silent")(config);
        config.delivery.channel = false;
    });
    let address = primary.address();
    wait_for_all(address, &primary.pids());
    let _blocked = block_one(address);
    // By chance, one in 2^40 times all go to the other one.
    let began = Instant::now();
    while !all_are_answered(address, 40) {
        assert!(began.elapsed() < DEADLINE, "clients are still sent to a worker that stands still");
    }
}

#[test]
fn without_health_clients_go_to_a_worker_that_stands_still() {
    let primary = Primary::start_with(2, |config| {
        queued(config);
        config.sees_hangs = false;
    });
    let address = primary.address();
    wait_for_all(address, &primary.pids());
    let _blocked = block_one(address);
    assert!((0..3).all(|_| !all_are_answered(address, 40)));
}

#[test]
fn a_balance_that_the_kernel_cannot_keep_is_refused() {
    for (share, balance) in [
        (Share::PerWorker, Balance::RoundRobin),
        (Share::PerWorker, Balance::LeastBusy),
        (Share::Handoff, Balance::Hash),
        (Share::Shared, Balance::Sticky),
    ] {
        let policy = clustr_core::Policy::builder(1).build().unwrap();
        let command = vec!["true".into()];
        let program = clustr_supervisor::config::Program { command, env: Vec::new(), cwd: None };
        let mut config = Config::new("app", program, policy);
        config.signals = clustr_supervisor::config::Signals::None;
        config.subreaper = false;
        (config.share, config.balance) = (share, balance);
        let error = Supervisor::new(config).unwrap_err();
        assert!(error.to_string().contains(balance.name()), "{error}");
    }
}

#[test]
fn who_waits_for_a_worker_that_stands_still_is_answered_by_another_and_it_comes_back() {
    let primary = Primary::start_with(2, queued);
    let (address, pids) = (primary.address(), primary.pids());
    wait_for_all(address, &pids);
    signal(pids[0], Signal::STOP);
    wait_until_stopped(pids[0]);
    // Half of them are sent to the one that is stopped.
    let clients: Vec<_> = (0..40).map(|_| opened(address, "hello")).collect();
    let answers: Vec<_> = clients.into_iter().map(heard).collect();
    assert!(answers.iter().all(|answer| *answer == pids[1].to_string()), "{answers:?}");
    // It has accepted nobody, but answers when it is asked.
    signal(pids[0], Signal::CONT);
    wait_for_all(address, &pids);
}

#[test]
fn a_worker_that_stands_still_for_too_long_is_replaced_and_who_waits_for_it_is_answered() {
    for kind in ["plain", "channel"] {
        let primary = Primary::start_with(2, |config| {
            listening(Share::PerWorker, kind)(config);
            config.delivery.channel = kind == "channel";
            // The other one, too, may get no turn for a while on a busy machine.
            let soon = Duration::from_secs(2);
            config.policy = Policy::builder(2).hang_timeout(soon).stop_timeout(soon).build().unwrap();
        });
        let (address, pids) = (primary.address(), primary.pids());
        wait_for_all(address, &pids);
        signal(pids[0], Signal::STOP);
        wait_until_stopped(pids[0]);
        let clients: Vec<_> = (0..20).map(|_| opened(address, "hello")).collect();
        assert!(clients.into_iter().map(heard).all(|answer| !answer.is_empty()), "{kind}");
        wait_until_gone(&primary, pids[0]);
        wait_for_all(address, &primary.pids());
        assert!(primary.pids().contains(&pids[1]), "{kind}: the other one stays");
    }
}

#[test]
fn a_worker_that_serves_without_pause_is_not_replaced_and_one_that_is_blocked_then_is() {
    // Long enough that a machine that stands still for a moment is not taken for the worker.
    let hang_timeout = SERVICE * 20;
    let primary = Primary::start_with(1, |config| {
        listening(Share::PerWorker, "slow")(config);
        config.delivery.channel = false;
        config.policy =
            Policy::builder(1).hang_timeout(hang_timeout).stop_timeout(SERVICE * 4).build().unwrap();
    });
    let (address, pids) = (primary.address(), primary.pids());
    let until = Instant::now() + hang_timeout * 3;
    // Whoever is answered comes again: its queue is at each look as long as it was.
    let client = || {
        let mut answers = std::collections::BTreeSet::new();
        while Instant::now() < until {
            answers.insert(ask(address, "hello"));
        }
        answers
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == pids[0].to_string()), "{pids:?}: {answers:?}");
    assert_eq!(primary.pids(), pids);
    let _blocks = opened(address, "block");
    let waiting: Vec<_> = (0..8).map(|_| opened(address, "hello")).collect();
    assert!(waiting.into_iter().map(heard).all(|answer| !answer.is_empty() && answer != pids[0].to_string()));
    wait_until_gone(&primary, pids[0]);
}

fn wait_until_gone(primary: &Primary, pid: u64) {
    let began = Instant::now();
    while primary.pids().contains(&pid) {
        assert!(began.elapsed() < DEADLINE, "{pid} is still there: {}", primary.status());
        std::thread::yield_now();
    }
}

#[test]
fn a_slot_that_rests_does_not_while_somebody_waits_for_it() {
    let primary = Primary::start_with(1, |config| {
        listening(Share::PerWorker, "plain")(config);
        config.delivery.channel = false;
        let hour = Duration::from_secs(3_600);
        let rests = Backoff { first: hour, factor: 1, cap: hour, jitter_percent: 0 };
        config.policy = Policy::builder(1).backoff(rests).build().unwrap();
    });
    let address = primary.address();
    // The first exit is forgiven; after the second its slot rests for an hour.
    for _ in 0..2 {
        let pid = ask(address, "hello").parse().unwrap();
        kill(pid);
        wait_until_gone(&primary, pid);
    }
    assert!(!ask(address, "hello").is_empty());
}

#[test]
fn a_client_that_was_half_way_to_a_queue_that_goes_is_answered_when_it_speaks() {
    let primary = Primary::start_with(2, |config| {
        queued(config);
        config.listen[0].options.defer_accept = Some(30);
    });
    let (address, pids) = (primary.address(), primary.pids());
    wait_for_all(address, &pids);
    // Connected for the client, and for the kernel half-way: it waits for the first word.
    let silent: Vec<_> = (0..12).map(|_| opened(address, "")).collect();
    let mut control = primary.connect();
    control.send(r#"{"id":1,"cmd":"scale","to":1}"#);
    assert!(control.receive().contains(r#""ok":true"#));
    // From now on nobody is sent to the queue of the one that shall leave, but those who are on the way.
    assert!((0..20).all(|_| ask(address, "hello") == pids[0].to_string()));
    let answers: Vec<String> = silent
        .into_iter()
        .map(|mut stream| {
            stream.write_all(b"hello").unwrap();
            heard(stream)
        })
        .collect();
    for pid in &pids {
        let theirs = answers.iter().filter(|answer| **answer == pid.to_string()).count();
        assert!(theirs > 0, "one in 2^11 times by chance: {answers:?}");
    }
    wait_until_gone(&primary, pids[1]);
}

#[test]
fn who_waits_in_a_queue_that_goes_does_not_wait_for_others_who_are_half_way() {
    let primary = Primary::start_with(2, |config| {
        listening(Share::PerWorker, "plain")(config);
        config.delivery.channel = false;
        // For longer than anybody here waits.
        config.listen[0].options.defer_accept = Some(120);
        let soon = Duration::from_millis(600);
        config.policy = Policy::builder(2).stop_timeout(soon).build().unwrap();
    });
    let (address, pids) = (primary.address(), primary.pids());
    wait_for_all(address, &pids);
    let _silent: Vec<_> = (0..8).map(|_| opened(address, "")).collect();
    let mut clients: Vec<_> = (0..16).map(|_| opened(address, "")).collect();
    let mut control = primary.connect();
    control.send(r#"{"id":1,"cmd":"scale","to":1}"#);
    assert!(control.receive().contains(r#""ok":true"#));
    wait_until_gone(&primary, pids[1]);
    // By chance, one in 2^8 times no silent one, and one in 2^16 times none of them, was sent to the queue that nobody has now.
    clients.iter_mut().for_each(|client| client.write_all(b"hello").unwrap());
    assert!(clients.into_iter().map(heard).all(|answer| !answer.is_empty()));
}

/// A socket of this process that joins a port by itself.
fn stranger(address: SocketAddr) -> TcpListener {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_reuseport(&socket, true).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 64).unwrap();
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true).unwrap();
    listener
}

#[test]
fn a_stranger_that_joins_the_port_is_named_within_a_second_of_traffic_and_gets_nobody() {
    let primary = Primary::start_with(2, queued);
    let (address, pids) = (primary.address(), primary.pids());
    wait_for_all(address, &pids);
    let mut news = primary.news();
    let stranger = stranger(address);
    let began = Instant::now();
    let warned = std::thread::spawn(move || (news.wait_for("listens on"), began.elapsed()));
    while !warned.is_finished() {
        assert!(pids.contains(&ask(address, "hello").parse().unwrap()));
    }
    let (warning, took) = warned.join().unwrap();
    assert!(warning.contains(&format!("process {} ", std::process::id())), "{warning}");
    // The promise is a second; a machine that is busy with other tests gets more.
    assert!(took < Duration::from_secs(10), "{took:?}");
    println!("named after {took:?}");
    assert!((0..100).all(|_| pids.contains(&ask(address, "hello").parse().unwrap())));
    assert_eq!(stranger.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_stranger_on_an_idle_port_is_named_when_somebody_asks_for_the_status() {
    let primary = Primary::start_with(2, queued);
    let mut news = primary.news();
    let _stranger = stranger(primary.address());
    primary.status();
    news.wait_for("listens on");
}

#[test]
fn a_stranger_on_a_port_of_datagrams_is_named_at_a_change_of_ours_and_in_the_status() {
    let primary = Primary::start_with(2, |config| {
        queued(config);
        config.listen.push(Listen::new("datagrams", "udp:127.0.0.1:0".parse().unwrap()));
    });
    let status = primary.status();
    let address = status["apps"][0]["listeners"][1]["address"].as_str().unwrap().to_owned();
    let theirs: SocketAddr = address.strip_prefix("udp:").unwrap().parse().unwrap();
    let mut news = primary.news();
    let join = || {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
        sockopt::set_socket_reuseport(&socket, true).unwrap();
        rustix::net::bind(&socket, &theirs).unwrap();
        socket
    };
    let first = join();
    primary.connect().send(r#"{"id":9,"cmd":"scale","to":3}"#);
    let warning = news.wait_for("listens on");
    assert!(warning.contains(&format!("process {} listens on {address} as well", std::process::id())));
    let shown = &primary.status()["apps"][0]["listeners"][1]["strangers"];
    assert_eq!(shown[0]["takes_clients"], false, "{shown}");
    drop(first);
    assert!(primary.status()["apps"][0]["listeners"][1]["strangers"].is_null());
}

#[test]
fn a_stranger_beside_the_port_that_takes_clients_is_named_in_the_news_and_in_the_status() {
    let primary = Primary::start_with(2, |config| {
        queued(config);
        config.listen = vec![Listen::new("web", "[::]:0".parse().unwrap())];
    });
    let mut news = primary.news();
    let theirs = SocketAddr::from(([127, 0, 0, 1], primary.address().port()));
    let _strangers = [stranger(theirs), stranger(theirs)];
    let status = primary.status();
    let wanted = format!(r#"[{{"pid":{},"address":"{theirs}","takes_clients":true}}]"#, std::process::id());
    let wanted: serde_json::Value = serde_json::from_str(&wanted).unwrap();
    assert_eq!(status["apps"][0]["listeners"][0]["strangers"], wanted, "{status}");
    let warning = news.wait_for("listens on");
    assert!(
        warning.contains(&format!("process {} listens on {theirs} too", std::process::id())),
        "{warning}"
    );
    // One process is named once, however many sockets it has.
    primary.status();
    let mut control = primary.connect();
    control.send(r#"{"id":9,"cmd":"scale","to":3}"#);
    loop {
        let line = news.receive();
        assert!(!line.contains("listens on"), "{line}");
        if line.contains(r#""news":"ready""#) {
            break;
        }
    }
}

#[test]
fn a_stranger_that_was_first_is_no_neighbour() {
    let theirs = stranger("127.0.0.1:0".parse().unwrap());
    let mut wishes = config(1, "nowhere".into());
    queued(&mut wishes);
    wishes.listen = vec![Listen::new("web", theirs.local_addr().unwrap().to_string().parse().unwrap())];
    let error = Supervisor::new(wishes).unwrap_err();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let said: Vec<String> = causes.map(ToString::to_string).collect();
    assert!(said.join(": ").contains("in use"), "{said:?}");
}

#[test]
fn who_waits_in_a_queue_of_a_version_that_failed_is_answered_by_a_worker_of_the_old_one() {
    let primary = Primary::start_with(2, |config| {
        listening(Share::PerWorker, "plain")(config);
        config.delivery.channel = false;
    });
    let address = primary.address();
    wait_for_all(address, &primary.pids());
    let mut news = primary.news();
    let mut control = primary.connect();
    // Watched for as long as a busy machine may need to see the end of it.
    let env = format!(r#"{{"{WORKER}":"sits"}}"#);
    control.send(&format!(r#"{{"id":1,"cmd":"reload","settle_ms":15000,"env":{env}}}"#));
    (0..2).for_each(|_| drop(news.wait_for(r#""news":"ready""#)));
    // Sent to the new version, which accepts nobody and ends.
    let clients: Vec<_> = (0..20).map(|_| opened(address, "hello")).collect();
    news.wait_for(r#""news":"rolled-back""#);
    let answers: Vec<String> = clients.into_iter().map(heard).collect();
    assert!(answers.iter().all(|answer| !answer.is_empty()), "{answers:?}");
    let status = primary.status();
    let workers = status["apps"][0]["workers"].as_array().unwrap();
    assert!(workers.iter().all(|worker| worker["generation"] == 1), "{status}");
}

#[test]
fn who_waits_for_a_slot_that_gave_up_is_answered_by_a_worker_of_another() {
    for kind in ["channel", "plain"] {
        let primary = Primary::start_with(2, |config| {
            listening(Share::PerWorker, kind)(config);
            config.delivery.channel = kind == "channel";
            let none = Intensity { restarts: 0, period: Duration::from_secs(600) };
            config.policy = Policy::builder(2).intensity(none).build().unwrap();
        });
        let (address, pids) = (primary.address(), primary.pids());
        wait_for_all(address, &pids);
        signal(pids[0], Signal::STOP);
        wait_until_stopped(pids[0]);
        let clients: Vec<_> = (0..20).map(|_| opened(address, "hello")).collect();
        kill(pids[0]);
        let answers: Vec<String> = clients.into_iter().map(heard).collect();
        assert!(answers.iter().all(|answer| !answer.is_empty()), "{kind}: {answers:?}");
        let status = primary.status();
        assert_eq!(status["apps"][0]["workers"][0]["state"], "gave-up", "{kind}: {status}");
    }
}
