//! The demo's primary: `clustr run`, started like anybody would start it.
//!
//! Owns the child, its folder and the connection to its control socket; all three are gone when it is dropped. Speaks
//! to it through the control socket only.

use std::collections::VecDeque;
use std::fs::DirBuilder;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use clustr_supervisor::control::protocol::{Ask, WorkerStatus};

use super::failed;
use crate::client::{Client, ClientError};
use crate::clock::Deadline;
use crate::failure::Failure;

/// How long all workers may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the primary may take to end: its own stop timeout, and something for the road.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How often something is looked at that says nothing by itself.
const GLANCE: Duration = Duration::from_millis(20);
/// Bound: lines of the primary's news that are kept.
const NEWS_LINES_MAX: usize = 12;

/// The running primary.
#[derive(Debug)]
pub(super) struct Primary {
    child: Child,
    folder: Folder,
    client: Option<Client>,
    /// Ends with the child, and gives its last lines.
    news: Option<JoinHandle<VecDeque<String>>>,
}

impl Primary {
    /// Starts it, and waits until all workers are ready.
    ///
    /// # Errors
    /// It could not be started, or its workers did not become ready.
    pub(super) fn start(workers: u32, port: u16) -> Result<Self, Failure> {
        let folder = Folder::make().map_err(|error| failed("could not make a folder for the demo", error))?;
        let mut child = command(&folder.socket(), workers, port)
            .and_then(|mut command| command.spawn())
            .map_err(|error| failed("could not start the demo's primary", error))?;
        let news = child.stderr.take().map(last_lines);
        let mut primary = Self { child, folder, client: None, news };
        primary.await_ready(workers)?;
        Ok(primary)
    }

    fn await_ready(&mut self, wanted: u32) -> Result<(), Failure> {
        let deadline = Deadline::after(Some(READY_TIMEOUT));
        while deadline.left().is_some_and(|left| !left.is_zero()) {
            if self.has_ended() {
                return Err(self.gone());
            }
            self.client = self.client.take().or_else(|| Client::connect(&self.folder.socket()).ok());
            let ready = |worker: &&WorkerStatus| worker.state == "ready";
            if self.client.is_some() && self.workers()?.iter().filter(ready).count() >= wanted as usize {
                return Ok(());
            }
            glance();
        }
        Err(Failure::Demo("the demo's workers did not become ready".to_owned(), None))
    }

    /// The workers as they are now.
    ///
    /// # Errors
    /// The primary is gone.
    pub(super) fn workers(&mut self) -> Result<Vec<WorkerStatus>, Failure> {
        let status = match &mut self.client {
            Some(client) => client.status(),
            None => Err(ClientError::NobodyHere),
        };
        match status {
            Ok(status) => Ok(status.apps.into_iter().flat_map(|app| app.workers).collect()),
            Err(ClientError::HungUp | ClientError::Io(_)) => Err(self.gone()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends it and everything that it started.
    ///
    /// # Errors
    /// It did not end.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.has_ended() {
            return Ok(());
        }
        let asked = match &mut self.client {
            Some(client) => {
                client.hurry(STOP_TIMEOUT);
                client.carry_out(Ask::Stop { now: false })
            }
            None => Err(ClientError::NobodyHere),
        };
        let deadline = Deadline::after(Some(STOP_TIMEOUT));
        while asked.is_ok() && !self.has_ended() && deadline.left().is_some_and(|left| !left.is_zero()) {
            glance();
        }
        if !self.has_ended() {
            // Without their primary, the workers' channels close, and they leave by themselves.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        asked?;
        Ok(())
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The primary ended by itself: with its last words.
    fn gone(&mut self) -> Failure {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let lines = self.news.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let detail = Vec::from(lines).join("\n");
        Failure::Demo("the demo's primary ended".to_owned(), Some(detail))
    }
}

impl Drop for Primary {
    /// On every way out: nothing is left running.
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The command line that anybody could type. A group of its own: Ctrl-C is the demo's to hear, and to pass on.
#[expect(clippy::disallowed_methods, reason = "the demo starts a primary, not a worker")]
fn command(socket: &Path, workers: u32, port: u16) -> std::io::Result<Command> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(&program);
    command.arg("run").args(["--name", "demo", "--log", "none", "--control"]).arg(socket);
    // Its worker is no node, and speaks node's channel all the same.
    command.args(["--delivery", "node"]);
    // Workers of a demo are killed far more often than those of an app: they come back at once, and always.
    command.args(["--intensity", "10000/10s", "--backoff-min", "20ms", "--backoff-max", "100ms"]);
    command.args(["--die-with-parent", &std::process::id().to_string()]);
    command.args(["--workers", &workers.to_string(), "--"]);
    command.arg(&program).args(["demo-worker", "--port", &port.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    Ok(command)
}

/// Reads the primary's news to its end, so that it never waits for us, and keeps the last of it.
#[expect(clippy::disallowed_methods, reason = "the demo reads its child's output; no primary is near")]
fn last_lines(stderr: ChildStderr) -> JoinHandle<VecDeque<String>> {
    std::thread::spawn(move || {
        let mut kept = VecDeque::new();
        let mut reader = BufReader::new(stderr);
        loop {
            let mut line = Vec::new();
            match (&mut reader).take(64 * 1024).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return kept,
                Ok(_) => kept.push_back(String::from_utf8_lossy(&line).trim_end().to_owned()),
            }
            if kept.len() > NEWS_LINES_MAX {
                kept.pop_front();
            }
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "the demo waits for a child that says nothing by itself")]
fn glance() {
    std::thread::sleep(GLANCE);
}

/// A private folder for the control socket.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn make() -> std::io::Result<Self> {
        let base = std::env::temp_dir();
        let id = std::process::id();
        let mut error = std::io::ErrorKind::AlreadyExists.into();
        for attempt in 0..100 {
            let path = base.join(format!("clustr-demo-{id}-{attempt}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(found) => error = found,
            }
        }
        Err(error)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("demo.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
