//! A primary in a thread, and a worker that is this very test program, started again.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clustr_core::{Policy, Verdict};
use clustr_net::node::Worker;
use clustr_supervisor::config::{Config, NewsFormat, Output, Program};
use clustr_supervisor::{StartError, Supervisor};

/// At least ten times what anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const WORKER: &str = "CLUSTR_TEST_WORKER";

/// A running primary; stopped when it goes out of scope.
pub(crate) struct Primary {
    socket: PathBuf,
    thread: Option<JoinHandle<Result<Verdict, StartError>>>,
    _folder: tempfile::TempDir,
}

impl Primary {
    /// Starts a primary named `app` with so many workers, and waits until it runs.
    pub(crate) fn start(workers: u32) -> Self {
        Self::start_with(workers, |_| {})
    }

    /// The same, with other wishes.
    pub(crate) fn start_with(workers: u32, change: impl FnOnce(&mut Config)) -> Self {
        let primary = Self::begin_with(workers, change);
        primary.wait_until_running();
        primary
    }

    /// The same, and waits for nothing.
    pub(crate) fn begin_with(workers: u32, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("app.sock");
        let mut config = config(workers, socket.clone());
        change(&mut config);
        let thread = std::thread::spawn(move || Supervisor::new(config)?.run());
        Self { socket, thread: Some(thread), _folder: folder }
    }

    /// A new connection to the control socket.
    pub(crate) fn connect(&self) -> Client {
        connect_to(&self.socket)
    }

    pub(crate) fn wait_until_running(&self) {
        let mut client = self.connect();
        let started = Instant::now();
        loop {
            client.send(r#"{"id":0,"cmd":"status"}"#);
            if client.receive().contains(r#""state":"running""#) {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "the primary does not come up");
        }
    }

    /// What `status` says now.
    pub(crate) fn status(&self) -> serde_json::Value {
        let mut client = self.connect();
        client.send(r#"{"id":0,"cmd":"status"}"#);
        let reply: serde_json::Value = serde_json::from_str(&client.receive()).unwrap();
        reply["status"].clone()
    }

    /// The news from now on.
    pub(crate) fn news(&self) -> Client {
        let mut client = self.connect();
        client.send(r#"{"id":1,"cmd":"subscribe"}"#);
        client.receive();
        client
    }

    /// The first listener's address.
    pub(crate) fn address(&self) -> SocketAddr {
        let status = self.status();
        status["apps"][0]["listeners"][0]["address"].as_str().unwrap().parse().unwrap()
    }

    /// The workers' processes, by slot.
    pub(crate) fn pids(&self) -> Vec<u64> {
        let status = self.status();
        let workers = status["apps"][0]["workers"].as_array().unwrap();
        workers.iter().filter_map(|worker| worker["pid"].as_u64()).collect()
    }

    /// How the primary ended.
    pub(crate) fn wait(mut self) -> Verdict {
        self.thread.take().unwrap().join().unwrap().unwrap()
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if let Ok(mut stream) = UnixStream::connect(&self.socket) {
            let _ = stream.write_all(b"{\"id\":1,\"cmd\":\"stop\",\"now\":true}\n");
        }
        let _ = thread.join();
    }
}

/// A client of this control socket, once it is there.
pub(crate) fn connect_to(socket: &Path) -> Client {
    let started = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Client::new(stream),
            Err(error) => assert!(started.elapsed() < DEADLINE, "no control socket: {error}"),
        }
        std::thread::yield_now();
    }
}

pub(crate) fn config(workers: u32, socket: PathBuf) -> Config {
    let own = std::env::current_exe().unwrap();
    let command = [own.as_os_str(), "--exact".as_ref(), "fixture::worker".as_ref()].map(Into::into).to_vec();
    let program = Program { command, env: vec![(WORKER.into(), "node".into())], cwd: None };
    let mut config = Config::new("app", program, Policy::builder(workers).build().unwrap());
    config.control = Some(socket);
    config.output = Output::None;
    config.news = NewsFormat::Json;
    config.subreaper = false;
    config
}

/// A client of the control socket.
pub(crate) struct Client {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap());
        Self { stream, lines }
    }

    pub(crate) fn send(&mut self, line: &str) {
        self.stream.write_all(line.as_bytes()).unwrap();
        self.stream.write_all(b"\n").unwrap();
    }

    /// The next line that has these words.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        let started = Instant::now();
        loop {
            let line = self.receive();
            if line.contains(words) {
                return line;
            }
            assert!(started.elapsed() < DEADLINE, "no news of {words}");
        }
    }

    /// Says, or hears, nothing more.
    pub(crate) fn shut(&mut self, how: Shutdown) {
        self.stream.shutdown(how).unwrap();
    }

    pub(crate) fn receive(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a reply within the deadline");
        line.trim_end().to_owned()
    }
}

/// Not a test of anything: what a worker runs. Listens on a port that all share, and leaves when it is told.
#[test]
fn worker() {
    match std::env::var(WORKER).as_deref() {
        Ok("node") => {}
        Ok(other) => return crate::deliveries::serve(other),
        Err(_) => return,
    }
    let mut worker = Worker::from_env().unwrap().unwrap();
    let _listener = worker.listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
    worker.wait_disconnect().unwrap();
}
