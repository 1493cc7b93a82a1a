//! The examples of the embedding API, each as a process: two workers answer, one is killed and has a successor, there
//! are three, and at the end nothing is left.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use clustr_supervisor::control::protocol::{AppStatus, Progress, Reply};
use clustr_supervisor::{Cluster, Event, ListenError, StartError, Verdict};
use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::DEADLINE;

/// A running example; killed, and its workers with it, when it goes out of scope.
struct Example {
    process: Child,
    control: PathBuf,
    known: BTreeSet<u32>,
    _folder: tempfile::TempDir,
}

impl Example {
    fn start(name: &str) -> Self {
        Self::spawn(&mut Command::new(program(name)))
    }

    fn spawn(command: &mut Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = folder.path().join("app.sock");
        let process = command
            .env("CONTROL", &control)
            .env("ADDRESS", "127.0.0.1:0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; cargo build --examples"));
        Self { process, control, known: BTreeSet::new(), _folder: folder }
    }

    /// Asks over the control socket; the last answer.
    fn ask(&self, request: &str) -> Option<Reply> {
        let mut stream = UnixStream::connect(&self.control).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        writeln!(stream, "{request}").ok()?;
        let mut replies = BufReader::new(stream).lines().map_while(Result::ok);
        let reply: Reply = serde_json::from_str(&replies.next()?).unwrap();
        let is_final = reply.state != Some(Progress::Accepted);
        if is_final { Some(reply) } else { serde_json::from_str(&replies.next()?).ok() }
    }

    /// Waits until the picture is as wanted.
    fn wait_for(&mut self, wanted: impl Fn(&AppStatus) -> bool) -> AppStatus {
        let since = Instant::now();
        loop {
            let reply = self.ask(r#"{"id":1,"cmd":"status"}"#);
            let app = reply.and_then(|reply| reply.status).and_then(|mut status| status.apps.pop());
            if let Some(app) = &app {
                self.known.extend(app.workers.iter().filter_map(|worker| worker.pid));
            }
            if let Some(app) = app.filter(&wanted) {
                return app;
            }
            assert!(since.elapsed() < DEADLINE, "it does not come to that");
            std::thread::yield_now();
        }
    }

    fn signal(pid: u32, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// What must be so for each of them, up to the end.
    fn live(&mut self) -> String {
        let scaled = self.ask_until(r#"{"id":2,"cmd":"scale","to":2}"#);
        assert!(scaled.ok, "{scaled:?}");
        let app = self.wait_for(|app| app.ready == 2 && app.workers.len() == 2);
        let address = app.listeners[0].address.clone();
        assert_eq!(answered(&address, 2), pids(&app), "both of them answer");
        let victim = app.workers[0].pid.unwrap();
        Self::signal(victim, Signal::KILL);
        let app = self.wait_for(|app| app.ready == 2 && !pids(app).contains(&victim));
        assert_eq!(answered(&address, 2), pids(&app), "the successor as well");
        assert!(self.ask(r#"{"id":3,"cmd":"scale","to":3}"#).unwrap().ok);
        let app = self.wait_for(|app| app.ready == 3);
        assert_eq!(answered(&address, 3), pids(&app));
        address
    }

    /// Asks as soon as somebody listens.
    fn ask_until(&self, request: &str) -> Reply {
        let since = Instant::now();
        loop {
            if let Some(reply) = self.ask(request) {
                return reply;
            }
            assert!(since.elapsed() < DEADLINE, "no control socket");
            std::thread::yield_now();
        }
    }

    /// Waits for the end, which leaves nothing behind; what it has printed.
    fn end(mut self) -> String {
        let mut printed = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        assert!(self.process.wait().unwrap().success(), "{printed}");
        for pid in &self.known {
            assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "worker {pid} is left behind");
        }
        printed
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        drop(self.ask(r#"{"id":9,"cmd":"stop","now":true}"#));
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Where cargo has put an example.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().with_file_name("examples").join(name)
}

fn pids(app: &AppStatus) -> BTreeSet<u32> {
    app.workers.iter().filter_map(|worker| worker.pid).collect()
}

/// Asks until so many different workers have answered.
fn answered(address: &str, workers: usize) -> BTreeSet<u32> {
    let (mut seen, since) = (BTreeSet::new(), Instant::now());
    while seen.len() < workers {
        seen.insert(get(address).rsplit(' ').next().unwrap().trim().parse().unwrap());
        assert!(since.elapsed() < DEADLINE, "only {seen:?} answer");
    }
    seen
}

/// The body of an answer.
fn get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").expect("a whole answer").1.to_owned()
}

#[test]
fn the_example_cluster_lives_and_a_signal_stops_it() {
    let mut example = Example::start("cluster");
    example.live();
    Example::signal(example.process.id(), Signal::TERM);
    assert!(example.end().contains("death of "));
}

#[test]
fn the_example_control_lives_and_obeys_another_thread() {
    let mut example = Example::start("control");
    let address = example.live();
    let mut stdin = example.process.stdin.take().unwrap();
    writeln!(stdin, "status\nsay good day").unwrap();
    let since = Instant::now();
    while (0..8).any(|_| !get(&address).starts_with("good day from ")) {
        assert!(since.elapsed() < DEADLINE, "nobody says it");
    }
    writeln!(stdin, "scale 0\nscale 1").unwrap();
    example.wait_for(|app| app.ready == 1 && app.workers.len() == 1);
    writeln!(stdin, "stop").unwrap();
    let printed = example.end();
    assert!(printed.contains("status: 3 of 3 workers ready"), "{printed}");
    assert!(printed.contains("scale 0: an app needs at least one worker"), "{printed}");
    assert!(printed.contains(" says good day"), "{printed}");
    // The thread that was told to stop may still say that it is done.
    assert!(printed.contains("\nStopped\n"), "{printed}");
}

#[test]
fn the_example_least_busy_lives_and_spares_whoever_has_a_silent_client() {
    let mut example = Example::start("least_busy");
    let address = example.live();
    assert!(example.ask(r#"{"id":4,"cmd":"scale","to":2}"#).unwrap().ok);
    // It is with one of the two until it is dropped; each answer below is closed before the next is asked for.
    let silent = TcpStream::connect(&address).unwrap();
    let since = Instant::now();
    while (0..8).map(|_| get(&address)).collect::<BTreeSet<_>>().len() > 1 {
        assert!(since.elapsed() < DEADLINE, "connections go to the worker that has one open");
    }
    drop(silent);
    assert!(example.ask(r#"{"id":5,"cmd":"stop"}"#).unwrap().ok);
    assert!(example.end().ends_with("Stopped\n"));
}

#[test]
fn a_signal_that_the_program_ignores_stays_ignored() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT; exec \"$0\""]).arg(program("cluster"));
    let mut example = Example::spawn(&mut command);
    example.live();
    Example::signal(example.process.id(), Signal::INT);
    assert!(example.ask(r#"{"id":4,"cmd":"scale","to":2}"#).unwrap().ok, "it goes on");
    Example::signal(example.process.id(), Signal::TERM);
    example.end();
}

#[test]
fn a_process_that_a_worker_started_is_no_primary() {
    let process = Command::new(program("cluster"))
        .env("CLUSTR_SLOT", "0")
        .env("CLUSTR_CHANNEL_FD", "300")
        .env("ADDRESS", "127.0.0.1:0")
        .output()
        .unwrap();
    assert!(!process.status.success());
    let said = String::from_utf8_lossy(&process.stderr);
    assert!(said.contains("CLUSTR_SLOT is set"), "{said}");
}

#[test]
fn the_same_program_is_a_worker_of_another_primary_unchanged() {
    let cluster = Cluster::new().command([program("cluster")]).workers(2).listen("web", "127.0.0.1:0");
    let (handle, events) = (cluster.handle(), cluster.handle().events().unwrap());
    let running = std::thread::spawn(move || cluster.run());
    while !matches!(events.recv_timeout(DEADLINE).unwrap(), Event::Running { ready: 2 }) {}
    let app = handle.status().wait_timeout(DEADLINE).unwrap().apps.remove(0);
    assert_eq!(answered(&app.listeners[0].address, 2), pids(&app));
    handle.stop().wait_timeout(DEADLINE).unwrap();
    assert_eq!(running.join().unwrap().unwrap(), Verdict::Stopped);
}

#[test]
fn an_address_that_makes_no_sense_is_an_error_of_the_start() {
    let error = Cluster::new().command(["true"]).listen("web", "no address:").run().unwrap_err();
    let StartError::Listen(ListenError::Address { name, .. }) = error else { panic!("{error}") };
    assert_eq!(name, "web");
}
