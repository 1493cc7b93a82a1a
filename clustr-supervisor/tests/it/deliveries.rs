//! Listeners and connections that reach programs which are no node: by `LISTEN_FDS` and by clustr's channel.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use clustr_core::Policy;
use clustr_net::worker::{Connection, Heard, Worker};
use clustr_supervisor::config::{Config, Delivery, Listen, Share};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};

use crate::fixture::{DEADLINE, Primary, WORKER, config};

/// Descriptors that a worker has room for where it shall run out of them.
const FEW: u64 = 16;

pub(crate) fn listening(share: Share, worker: &str) -> impl FnOnce(&mut Config) {
    move |config| {
        config.listen = vec![Listen::new("web", "127.0.0.1:0".parse().unwrap())];
        config.share = share;
        config.delivery =
            Delivery { fds: true, channel: true, node: false, messages: false, intercept: false };
        config.program.env = vec![(WORKER.into(), worker.into())];
    }
}

/// How long a slow worker serves one client.
pub(crate) const SERVICE: Duration = Duration::from_millis(100);

/// What a worker of these tests does; `kind` is the test's word for it.
pub(crate) fn serve(kind: &str) {
    if kind.starts_with("unix-") {
        return crate::shut::serve(kind);
    }
    if kind == "deaf" {
        let number = std::env::var(clustr_net::handoff::CHANNEL_VARIABLE).unwrap().parse().unwrap();
        drop(clustr_net::inherited::claim(number).unwrap());
        loop {
            std::thread::park();
        }
    }
    if kind == "watched" {
        return crate::notices::feed();
    }
    if kind == "http" {
        return crate::probes::serve();
    }
    if kind == "plain" {
        return accept_plainly();
    }
    if kind == "slow" {
        return accept_slowly();
    }
    if kind == "sits" {
        // Accepts nobody, and ends when it has counted as ready for a while.
        return std::thread::sleep(Duration::from_secs(3));
    }
    let mut worker = Worker::from_env().unwrap().unwrap();
    if kind == "exhausted" {
        setrlimit(Resource::Nofile, Rlimit { current: Some(FEW), maximum: Some(FEW) }).unwrap();
    }
    if kind == "channel" || kind == "exhausted" {
        worker.ready().unwrap();
        worker.send(format!("{{\"pid\":{}}}", std::process::id()).as_bytes()).unwrap();
    }
    let mut kept = Vec::new();
    loop {
        match worker.wait(None).unwrap() {
            Some(Heard::Connection(connection)) => kept.extend(answer(connection)),
            Some(Heard::Message(message)) => worker.send(&message).unwrap(),
            Some(Heard::Drain | Heard::Closed) => return,
            None => {}
        }
        kept.retain(is_open);
    }
}

/// A program that knows nothing but the descriptor, and waits in accept(2).
fn accept_plainly() {
    let listener = std::net::TcpListener::from(clustr_net::inherited::claim(3).unwrap());
    for stream in listener.incoming() {
        // Where it was shut down, until it listens again.
        let Ok(mut stream) = stream else { continue };
        let mut request = [0; 64];
        let count = stream.read(&mut request).unwrap_or(0);
        if request[..count] == *b"shut" {
            rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        }
        let _ = stream.write_all(std::process::id().to_string().as_bytes());
    }
}

/// A program that serves one after the other, and nobody fast: who asks for it blocks it for longer than any test takes.
fn accept_slowly() {
    let listener = std::net::TcpListener::from(clustr_net::inherited::claim(3).unwrap());
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut request = [0; 64];
        let count = stream.read(&mut request).unwrap_or(0);
        if request[..count] == *b"block" {
            std::thread::sleep(DEADLINE * 2);
        }
        std::thread::sleep(SERVICE);
        let _ = stream.write_all(std::process::id().to_string().as_bytes());
    }
}

/// Whether the client is still there.
fn is_open(connection: &Connection) -> bool {
    connection.set_nonblocking(true).unwrap();
    !matches!(rustix::net::recv(connection, &mut [0], rustix::net::RecvFlags::PEEK), Ok((_, 0)))
}

/// Answers; keeps the connection if it is asked to, and never comes back if it is asked to block.
fn answer(mut connection: Connection) -> Option<Connection> {
    let mut request = [0; 64];
    let count = connection.read(&mut request).ok()?;
    match &request[..count] {
        b"block" => {
            connection.write_all(b"over").ok()?;
            loop {
                std::thread::park();
            }
        }
        b"say ready" => {
            crate::notices::say_ready();
            None
        }
        b"keep" => {
            connection.write_all(b"kept").ok()?;
            Some(connection)
        }
        _ => {
            connection.write_all(std::process::id().to_string().as_bytes()).ok()?;
            None
        }
    }
}

pub(crate) fn ask(address: SocketAddr, word: &str) -> String {
    heard(opened(address, word))
}

/// A connection with a word on it.
pub(crate) fn opened(address: SocketAddr, word: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(word.as_bytes()).unwrap();
    stream
}

/// All that comes, until the worker closes.
pub(crate) fn heard(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub(crate) fn kill(pid: u64) {
    signal(pid, Signal::KILL);
}

pub(crate) fn signal(pid: u64, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Asks until each of so many processes has answered.
pub(crate) fn wait_for_all(address: SocketAddr, pids: &[u64]) {
    let (began, mut seen) = (Instant::now(), std::collections::BTreeSet::<u64>::new());
    while !pids.iter().all(|pid| seen.contains(pid)) {
        assert!(began.elapsed() < DEADLINE, "not all of {pids:?} answer: {seen:?}");
        seen.insert(ask(address, "hello").parse().unwrap());
    }
}

/// Waits until the workers are others than these, and as many.
pub(crate) fn wait_for_successors(primary: &Primary, before: &[u64]) -> Vec<u64> {
    let began = Instant::now();
    loop {
        let pids = primary.pids();
        let ready = primary.status()["apps"][0]["ready"].as_u64();
        if pids.len() == before.len() && ready == Some(before.len() as u64) && pids != before {
            return pids;
        }
        assert!(began.elapsed() < DEADLINE, "no successors: {pids:?}");
        std::thread::yield_now();
    }
}

#[test]
fn every_worker_serves_and_so_does_a_killed_ones_successor_in_each_sharing() {
    for share in [Share::Shared, Share::PerWorker, Share::Handoff] {
        let primary = Primary::start_with(2, listening(share, "channel"));
        let (address, pids) = (primary.address(), primary.pids());
        wait_for_all(address, &pids);
        kill(pids[0]);
        wait_for_all(address, &wait_for_successors(&primary, &pids));
    }
}

#[test]
fn what_killed_workers_had_not_taken_is_answered_by_their_successors() {
    let primary = Primary::start_with(2, listening(Share::Handoff, "channel"));
    let (address, pids) = (primary.address(), primary.pids());
    // In turn: one for each, and before all others.
    let mut blocked: Vec<_> = pids.iter().map(|_| opened(address, "block")).collect();
    blocked.iter_mut().for_each(|stream| stream.read_exact(&mut [0; 4]).unwrap());
    let clients: Vec<_> = (0..12).map(|_| opened(address, "hello")).collect();
    pids.iter().for_each(|pid| kill(*pid));
    assert_eq!(clients.into_iter().map(heard).filter(|answer| !answer.is_empty()).count(), 12);
}

#[test]
fn a_worker_that_takes_nothing_of_what_it_was_handed_is_replaced_in_time() {
    let primary = Primary::start_with(2, |config| {
        listening(Share::Handoff, "channel")(config);
        let soon = Duration::from_millis(300);
        config.policy = Policy::builder(2).hang_timeout(soon).stop_timeout(soon).build().unwrap();
    });
    let (address, pids) = (primary.address(), primary.pids());
    let mut blocked = opened(address, "block");
    blocked.read_exact(&mut [0; 4]).unwrap();
    let mut control = primary.connect();
    control.send(r#"{"id":1,"cmd":"subscribe"}"#);
    control.receive();
    // Who was handed to the one that stands still is answered by whoever follows.
    let clients: Vec<_> = (0..6).map(|_| opened(address, "hello")).collect();
    let began = Instant::now();
    let renewing = loop {
        let news = control.receive();
        if news.contains(r#""news":"renewing""#) {
            break news;
        }
        assert!(began.elapsed() < DEADLINE);
    };
    assert!(renewing.contains(r#""why":"stuck""#), "{renewing}");
    assert!(clients.into_iter().map(heard).all(|answer| !answer.is_empty()));
    let after = primary.pids();
    assert!(after != pids, "{after:?}");
}

#[test]
fn what_a_worker_has_no_descriptor_for_waits_until_it_has_one() {
    let primary = Primary::start_with(1, listening(Share::Handoff, "exhausted"));
    let address = primary.address();
    // More than it has room for, so that some of them wait.
    let mut kept: Vec<_> = (0..FEW).map(|_| opened(address, "keep")).collect();
    let mut first = [0; 4];
    kept[0].read_exact(&mut first).unwrap();
    let waiting = opened(address, "hello");
    // Whoever leaves makes room.
    kept.clear();
    assert_eq!(heard(waiting), primary.pids()[0].to_string());
}

#[test]
fn a_worker_that_drains_has_its_open_connection_answered() {
    for share in [Share::Shared, Share::PerWorker, Share::Handoff] {
        let primary = Primary::start_with(1, listening(share, "channel"));
        let mut stream = TcpStream::connect(primary.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut control = primary.connect();
        control.send(r#"{"id":1,"cmd":"subscribe"}"#);
        control.receive();
        stream.write_all(b"keep").unwrap();
        let mut text = [0; 4];
        stream.read_exact(&mut text).unwrap();
        control.send(r#"{"id":2,"cmd":"stop"}"#);
        assert_eq!((&text, primary.wait()), (b"kept", clustr_core::Verdict::Stopped));
    }
}

#[test]
fn a_workers_message_is_news() {
    let primary = Primary::start_with(1, listening(Share::Handoff, "channel"));
    let mut control = primary.connect();
    control.send(r#"{"id":1,"cmd":"subscribe"}"#);
    control.receive();
    kill(primary.pids()[0]);
    let began = Instant::now();
    while !control.receive().contains(r#""news":"message""#) {
        assert!(began.elapsed() < DEADLINE);
    }
}

#[test]
fn a_program_that_says_nothing_counts_as_ready_and_serves() {
    let primary = Primary::start_with(1, |config| {
        listening(Share::Shared, "silent")(config);
        config.delivery =
            Delivery { fds: true, channel: false, node: false, messages: false, intercept: false };
    });
    wait_for_all(primary.address(), &primary.pids());
}

#[test]
fn options_of_a_listener_are_those_of_its_socket_file_and_its_descriptor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let addr = format!("unix:{}", path.display()).parse().unwrap();
    // Somebody has left it behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let primary = Primary::start_with(1, |config| {
        listening(Share::Shared, "channel")(config);
        config.listen = vec![Listen::new("web", addr)];
        config.listen[0].options = config.listen[0].options.and("mode=640,backlog=7").unwrap();
    });
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o640);
    let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    client.write_all(b"hello").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, primary.pids()[0].to_string());
    drop(primary);
    assert!(!path.exists());
}

#[test]
fn an_option_that_means_nothing_for_its_address_is_refused() {
    let mut config = config(1, "nowhere".into());
    config.listen = vec![Listen::new("web", "127.0.0.1:0".parse().unwrap())];
    config.listen[0].options.mode = Some(0o600);
    let error = clustr_supervisor::Supervisor::new(config).unwrap_err();
    assert!(error.to_string().contains("\"mode\""), "{error}");
}

#[test]
fn a_plain_accept_waits_as_it_would_under_systemd() {
    let primary = Primary::start_with(2, |config| {
        listening(Share::Shared, "plain")(config);
        config.delivery =
            Delivery { fds: true, channel: false, node: false, messages: false, intercept: false };
    });
    wait_for_all(primary.address(), &primary.pids());
}

#[test]
fn a_listener_that_a_worker_shuts_down_for_all_listens_again() {
    for share in [Share::Shared, Share::PerWorker] {
        let primary = Primary::start_with(2, |config| {
            listening(share, "plain")(config);
            config.delivery.channel = false;
        });
        let (address, pids) = (primary.address(), primary.pids());
        wait_for_all(address, &pids);
        let mut news = primary.news();
        for _ in 0..3 {
            assert!(!ask(address, "shut").is_empty());
            let warning = news.wait_for("has shut down");
            assert!(warning.contains(&address.to_string()), "{warning}");
            wait_for_all(address, &pids);
        }
        assert_eq!(primary.pids(), pids);
    }
}

#[test]
fn a_worker_that_closes_its_channel_and_lives_on_is_not_taken_for_one_that_serves() {
    let primary = Primary::begin_with(1, listening(Share::Handoff, "deaf"));
    let mut control = primary.connect();
    control.send(r#"{"id":1,"cmd":"subscribe"}"#);
    let began = Instant::now();
    while !control.receive().contains(r#""news":"left""#) {
        assert!(began.elapsed() < DEADLINE);
    }
}
