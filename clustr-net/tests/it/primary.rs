//! A primary in miniature: starts node processes, and does what the loop of a real one does with their words.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use clustr_net::node::{Endpoint, Fate, Progress, Said, Table};
use rustix::event::{PollFd, PollFlags, Timespec};
use tempfile::TempDir;

use crate::deadline::Deadline;

/// Whether node is there. If not, says so; where `CI` is set, that is a failure.
pub(crate) fn node_is_missing() -> bool {
    let missing = Command::new("node").arg("--version").stdout(Stdio::null()).status().is_err();
    assert!(!(missing && std::env::var_os("CI").is_some()), "node not found, and CI is set");
    if missing {
        eprintln!("skipped: node not found");
    }
    missing
}

/// A table and the workers that share it.
pub(crate) struct Primary {
    pub(crate) table: Table,
    pub(crate) workers: Vec<Started>,
    folder: TempDir,
}

/// One worker, and all that it ever said.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) endpoint: Endpoint,
    pub(crate) said: Vec<Said>,
    pub(crate) closed: bool,
}

impl Primary {
    pub(crate) fn new() -> Self {
        Self::with_inherited(Vec::new())
    }

    pub(crate) fn with_inherited(inherited: Vec<(u32, OwnedFd)>) -> Self {
        Self { table: Table::new(inherited), workers: Vec::new(), folder: tempfile::tempdir().unwrap() }
    }

    /// The working directory of the workers.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts `node app.js` and returns the worker's number.
    pub(crate) fn start(&mut self, script: &str) -> usize {
        std::fs::write(self.folder().join("app.js"), script).unwrap();
        self.start_command("node", &["app.js"])
    }

    /// Starts a program with the channel as descriptor 3. A shell puts it there.
    pub(crate) fn start_command(&mut self, program: impl AsRef<OsStr>, args: &[&str]) -> usize {
        let (endpoint, theirs) = Endpoint::pair().unwrap();
        let number = self.workers.len();
        let child = Command::new("sh")
            .args(["-c", "exec 3<&0 0</dev/null; exec \"$@\"", "sh"])
            .arg(program)
            .args(args)
            .envs(Endpoint::environment(3, number as u64 + 1))
            .current_dir(self.folder())
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        self.workers.push(Started { child, endpoint, said: Vec::new(), closed: false });
        number
    }

    /// Turns the loop until `done`, or panics with all that was said.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Deadline::new();
        while !done(self) {
            self.turn();
            deadline.check(|| format!("{what}\n{}", self.transcript()));
        }
    }

    /// Waits until this worker has sent `count` messages, and returns them.
    pub(crate) fn messages(&mut self, worker: usize, count: usize) -> Vec<String> {
        self.until("messages", |primary| primary.workers[worker].messages().len() >= count);
        self.workers[worker].messages()
    }

    /// Waits until this worker has sent `count` messages, and returns the last.
    pub(crate) fn message(&mut self, worker: usize, count: usize) -> String {
        self.messages(worker, count).remove(count - 1)
    }

    /// Waits until a worker has ended its channel and itself.
    pub(crate) fn wait_exit(&mut self, worker: usize) -> ExitStatus {
        let mut status = None;
        self.until("exit", |primary| {
            status = primary.workers[worker].child.try_wait().unwrap();
            status.is_some() && primary.workers[worker].closed
        });
        status.unwrap()
    }

    /// Kills a worker, and drains its channel.
    pub(crate) fn kill(&mut self, worker: usize, fate: Fate) {
        self.workers[worker].child.kill().unwrap();
        self.wait_exit(worker);
        self.table.gone(worker as u64, fate);
    }

    fn turn(&mut self) {
        let open: Vec<_> = (0..self.workers.len()).filter(|&number| !self.workers[number].closed).collect();
        let mut fds: Vec<_> = open.iter().map(|&number| self.workers[number].poll()).collect();
        let pause = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        rustix::event::poll(&mut fds, Some(&pause)).unwrap();
        for number in open {
            self.serve(number);
        }
    }

    fn serve(&mut self, number: usize) {
        let Self { table, workers, .. } = self;
        let Started { endpoint, said, closed, .. } = &mut workers[number];
        let (worker, mut fresh) = (number as u64, Vec::new());
        *closed = endpoint.receive(64, &mut fresh).unwrap() == Progress::Closed;
        for word in &fresh {
            match word {
                Said::Query(query) => endpoint.answer(query, table.answer(worker, query)).unwrap(),
                Said::Closed { key } if !endpoint.is_disconnecting() => drop(table.closed(worker, key)),
                _ => {}
            }
        }
        if endpoint.wants_write() {
            endpoint.flush().unwrap();
        }
        said.append(&mut fresh);
    }

    fn transcript(&self) -> String {
        let mut text = String::new();
        for (number, worker) in self.workers.iter().enumerate() {
            writeln!(text, "worker {number}, closed: {}", worker.closed).unwrap();
            worker.said.iter().for_each(|said| writeln!(text, "  {said:.300?}").unwrap());
        }
        text
    }
}

impl Started {
    pub(crate) fn messages(&self) -> Vec<String> {
        let user = |said: &Said| if let Said::User(json) = said { Some(json.clone()) } else { None };
        self.said.iter().filter_map(user).collect()
    }

    pub(crate) fn has_said(&self, test: impl FnMut(&Said) -> bool) -> bool {
        self.said.iter().any(test)
    }

    fn poll(&self) -> PollFd<'_> {
        let wanted = if self.endpoint.wants_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        PollFd::new(&self.endpoint, wanted)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
