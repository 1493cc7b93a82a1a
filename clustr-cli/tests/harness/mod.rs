//! clustr as a process: started with a control socket and a port of its own, and surely ended.
//!
//! Owns how tests run the real program and read its news. Never sleeps for an outcome: it waits for a fact, with a
//! deadline at least ten times as long as the fact usually takes.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod control;
pub(crate) mod node;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use clustr_benches::facts;
use clustr_benches::started::{Line, Started, Stream};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// What a case found: `Err` says what is wrong.
pub(crate) type Outcome = Result<(), String>;

/// Long enough for anything that takes a moment, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The program under test.
pub(crate) const CLUSTR: &str = env!("CARGO_BIN_EXE_clustr");

/// Fails a case with a reason.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err(format!($($reason)+));
        }
    };
}

pub(crate) use ensure;

/// What is run, and how.
#[derive(Debug)]
pub(crate) struct Run {
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    command: Vec<String>,
    env: Vec<(String, String)>,
    through: Vec<String>,
    news: &'static str,
}

impl Run {
    /// `clustr run … -- COMMAND`, with a control socket of its own and a free port in `PORT`.
    pub(crate) fn new(command: &[&str]) -> Self {
        let port = free_ports(6);
        Self {
            folder: tempfile::Builder::new().prefix("clustr-test-").tempdir().expect("a temporary folder"),
            port,
            options: Vec::new(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![("PORT".into(), port.to_string())],
            through: Vec::new(),
            news: "json",
        }
    }

    /// The app from `tests/apps`, with this node.
    pub(crate) fn app(node: &node::Node, file: &str) -> Self {
        let path = app(file);
        let run = Self::new(&[&node.program, &path]).options(&["--share", node.share]);
        match node::packages() {
            Some(packages) => run.env("NODE_PATH", &packages.to_string_lossy()),
            None => run,
        }
    }

    /// Another command, for one that has to know the port or the folder.
    pub(crate) fn command(mut self, command: &[String]) -> Self {
        self.command = command.to_vec();
        self
    }

    pub(crate) fn workers(self, count: u32) -> Self {
        self.options(&["-n", &count.to_string()])
    }

    pub(crate) fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|word| (*word).to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// News for people instead of JSON.
    pub(crate) fn text_news(mut self) -> Self {
        self.news = "text";
        self
    }

    /// Started by another program, which executes its last arguments: `sh -c 'exec "$@" 5<&0' sh`.
    pub(crate) fn through(mut self, words: &[&str]) -> Self {
        self.through = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// The first of six free ports in a row: `PORT`.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A folder of this run's own.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The command, ready to be started by hand.
    pub(crate) fn to_command(&self) -> Command {
        let mut words: Vec<&str> = self.through.iter().map(String::as_str).collect();
        words.extend([CLUSTR, "run", "--log-format", self.news]);
        words.extend(self.options.iter().map(String::as_str));
        words.push("--");
        words.extend(self.command.iter().map(String::as_str));
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env_remove("WEB_CONCURRENCY")
            .env_remove("NODE_CLUSTER_SCHED_POLICY")
            .env("CLUSTR_RUNTIME_DIR", self.runtime_dir());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn start(self) -> Result<Primary, String> {
        let mut command = self.to_command();
        self.start_as(&mut command)
    }

    /// Starts a command that was made from [`Run::to_command`].
    pub(crate) fn start_as(self, command: &mut Command) -> Result<Primary, String> {
        fs::create_dir_all(self.runtime_dir()).map_err(|error| error.to_string())?;
        let started = Started::new(command)?;
        Ok(Primary { started, run: self })
    }

    /// The same, with output that the caller has sent elsewhere.
    pub(crate) fn start_with_output(self, command: &mut Command) -> Result<Primary, String> {
        let started = Started::with_output(command)?;
        Ok(Primary { started, run: self })
    }

    fn runtime_dir(&self) -> PathBuf {
        self.folder.path().join("runtime")
    }
}

/// A primary that runs.
#[derive(Debug)]
pub(crate) struct Primary {
    pub(crate) started: Started,
    run: Run,
}

impl Primary {
    pub(crate) fn port(&self) -> u16 {
        self.run.port
    }

    pub(crate) fn folder(&self) -> &Path {
        self.run.folder.path()
    }

    /// Where the app listens, on IPv4.
    pub(crate) fn address(&self) -> SocketAddr {
        v4(self.run.port)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.started.pid()
    }

    /// All news so far.
    pub(crate) fn news(&self) -> Vec<Value> {
        news_of(&self.started.lines())
    }

    /// Waits until the news so far makes `look` see something.
    pub(crate) fn wait_news<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&[Value]) -> Option<T>,
    ) -> Result<T, String> {
        self.started.wait_for(what, within, |lines| look(&news_of(lines)))
    }

    /// Waits until there was so much news of a kind.
    pub(crate) fn wait_count(&self, kind: &str, count: usize) -> Outcome {
        let what = format!("news '{kind}', {count} times");
        self.wait_news(&what, SOON, |news| (of_kind(news, kind).count() >= count).then_some(()))
    }

    /// Waits until so many workers have become ready.
    pub(crate) fn wait_ready(&self, count: usize) -> Outcome {
        self.wait_count("ready", count)
    }

    /// Waits for a line of output that has these words.
    pub(crate) fn wait_said(&self, words: &str) -> Outcome {
        let has = |line: &Line| line.text().contains(words);
        self.started.wait_for(words, SOON, |lines| lines.iter().any(has).then_some(()))
    }

    /// `clustr … ` as another process, for the same runtime folder.
    pub(crate) fn clustr(&self, words: &[&str]) -> Result<String, String> {
        let said = self.try_clustr(words)?;
        let code = said.status.code();
        let error = String::from_utf8_lossy(&said.stderr);
        ensure!(code == Some(0), "clustr {words:?} ended with {code:?}: {error}");
        Ok(String::from_utf8_lossy(&said.stdout).into_owned())
    }

    /// The same, however it ends.
    pub(crate) fn try_clustr(&self, words: &[&str]) -> Result<std::process::Output, String> {
        clustr(&self.run.runtime_dir(), words)
    }

    pub(crate) fn status(&self) -> Result<Value, String> {
        let text = self.clustr(&["status", "--json"])?;
        serde_json::from_str(&text).map_err(|error| format!("'{text}': {error}"))
    }

    /// The pids of its workers, slot by slot.
    pub(crate) fn worker_pids(&self) -> Result<Vec<u32>, String> {
        let status = self.status()?;
        let workers = status["apps"][0]["workers"].as_array().ok_or("no workers in the status")?;
        Ok(workers.iter().filter_map(|worker| u32::try_from(worker["pid"].as_u64()?).ok()).collect())
    }

    pub(crate) fn control(&self) -> Result<control::Control, String> {
        control::Control::connect(&self.socket_path()?)
    }

    /// The control socket's path, from the news.
    pub(crate) fn socket_path(&self) -> Result<PathBuf, String> {
        self.wait_news("the control socket", SOON, |news| {
            let path = of_kind(news, "control").next()?["path"].as_str()?.to_owned();
            Some(PathBuf::from(path))
        })
    }

    pub(crate) fn interrupt(&mut self) -> Outcome {
        self.started.signal(Signal::INT)
    }

    /// Ctrl-C, then a clean end, and nothing left behind.
    pub(crate) fn stop(&mut self) -> Outcome {
        self.interrupt()?;
        self.started.expect_exit(0, SOON)?;
        self.nothing_left()
    }

    /// Nothing is left: no process, no file, no listener on `PORT`.
    pub(crate) fn nothing_left(&self) -> Outcome {
        let running = self.started.running();
        let named: Vec<_> = running.iter().map(|pid| facts::status(*pid, "Name:")).collect();
        ensure!(running.is_empty(), "still running: {running:?} {named:?}");
        let entries = fs::read_dir(self.run.runtime_dir()).map_err(|error| error.to_string())?;
        let files: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        ensure!(files.is_empty(), "files left in the runtime folder: {files:?}");
        ensure!(TcpListener::bind(v6(self.port())).is_ok(), "port {} is still taken", self.port());
        Ok(())
    }
}

/// Fails the test with its reason, line by line.
///
/// # Panics
///
/// The outcome is a failure.
pub(crate) fn hold(outcome: Outcome) {
    if let Err(why) = outcome {
        panic!("{why}");
    }
}

/// A number of the kernel's that was asked for, or the reason why there is none.
pub(crate) fn known<T>(what: &str, found: Option<T>) -> Result<T, String> {
    found.ok_or_else(|| format!("{what} cannot be read"))
}

/// Runs `clustr …` to its end.
pub(crate) fn clustr(runtime_dir: &Path, words: &[&str]) -> Result<std::process::Output, String> {
    let mut command = Command::new(CLUSTR);
    command.args(words).env("CLUSTR_RUNTIME_DIR", runtime_dir).stdin(std::process::Stdio::null());
    command.output().map_err(|error| error.to_string())
}

/// The pieces of news among what was said.
pub(crate) fn news_of(lines: &[Line]) -> Vec<Value> {
    let errors = lines.iter().filter(|line| line.stream == Stream::Err && line.bytes.first() == Some(&b'{'));
    let values = errors.filter_map(|line| serde_json::from_slice::<Value>(&line.bytes).ok());
    values.filter(|value| value["news"].is_string()).collect()
}

/// Those of one kind.
pub(crate) fn of_kind<'a>(news: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    news.iter().filter(move |piece| piece["news"] == kind)
}

/// A file of `tests/apps`.
pub(crate) fn app(file: &str) -> String {
    format!("{}/tests/apps/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// A file of `examples`.
pub(crate) fn example(file: &str) -> String {
    format!("{}/../examples/{file}", env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn v4(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

pub(crate) fn v6(port: u16) -> SocketAddr {
    (Ipv6Addr::LOCALHOST, port).into()
}

/// The first of so many ports in a row that nobody has, below those that clients get.
pub(crate) fn free_ports(count: u16) -> u16 {
    const FIRST: u16 = 10_000;
    const LAST: u16 = 32_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let offset = u16::try_from(std::process::id() * 97 % u32::from(LAST - FIRST)).unwrap_or(0);
    loop {
        let at = NEXT.fetch_add(count, Ordering::Relaxed);
        let first = FIRST + (offset.wrapping_add(at)) % (LAST - FIRST - count);
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}

fn is_free(port: u16) -> bool {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    TcpListener::bind(any).is_ok() && UdpSocket::bind(any).is_ok()
}
