//! A released clustr as a subject of measurement.
//!
//! Owns its start, with a runtime folder and a port of its own, and its end. Never reads its news: they go to a file
//! that nobody reads, so that the measuring does not disturb.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::facts;
use crate::started::Started;
use crate::wait;

/// Starts and ends take so long at most.
const SOON: Duration = Duration::from_secs(30);

/// A primary that runs.
#[derive(Debug)]
pub struct Primary {
    started: Started,
    clustr: PathBuf,
    folder: PathBuf,
    port: u16,
}

/// A worker of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Worker {
    /// Its process.
    pub pid: u32,
    /// Whether it serves.
    pub ready: bool,
    /// For how long it has lived.
    pub uptime_ms: u64,
    /// From which version it was started.
    pub generation: u64,
}

impl Primary {
    /// `clustr run OPTIONS -- COMMAND`, with a free port in `PORT` and a folder of its own in `FOLDER`. Where an option
    /// says `{port}`, that port is meant.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(clustr: &Path, options: &[&str], command: &[&str]) -> Result<Self, String> {
        Self::start_changed(clustr, options, command, |_| Ok(()))
    }

    /// The same, after a change of how it is started.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), or the change has failed.
    pub fn start_changed(
        clustr: &Path,
        options: &[&str],
        command: &[&str],
        change: impl FnOnce(&mut Command) -> Result<(), String>,
    ) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("clustr-bench-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let port = free_port();
        let news = File::create(folder.join("news")).map_err(|error| error.to_string())?;
        let mut starting = Command::new(clustr);
        starting
            .args(["run", "--name", "bench", "--log-format", "json"])
            .args(options.iter().map(|option| option.replace("{port}", &port.to_string())))
            .arg("--")
            .args(command);
        starting.env("CLUSTR_RUNTIME_DIR", folder.join("runtime")).env("PORT", port.to_string());
        starting.env("FOLDER", &folder);
        starting.env_remove("WEB_CONCURRENCY").stdin(Stdio::null()).stdout(Stdio::null()).stderr(news);
        change(&mut starting)?;
        let clustr = clustr.to_owned();
        Ok(Self { started: Started::with_output(&mut starting)?, clustr, folder, port })
    }

    /// A folder of its own, that is gone with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `clustr WORDS` to this primary.
    ///
    /// # Errors
    ///
    /// It ends with another exit code than 0; the text is what it said.
    pub fn clustr(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.clustr);
        command.args(words).env("CLUSTR_RUNTIME_DIR", self.folder.join("runtime")).stdin(Stdio::null());
        let said = command.output().map_err(|error| error.to_string())?;
        if said.status.success() {
            return Ok(String::from_utf8_lossy(&said.stdout).into_owned());
        }
        Err(format!("clustr {words:?}: {}: {}", said.status, String::from_utf8_lossy(&said.stderr)))
    }

    /// Its workers as the control socket tells them, those that have a process.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn workers(&self) -> Result<Vec<Worker>, String> {
        let status = self.status()?;
        let workers = status["apps"][0]["workers"].as_array().cloned().unwrap_or_default();
        let worker = |worker: &Value| {
            let pid = u32::try_from(worker["pid"].as_u64()?).ok()?;
            let uptime_ms = worker["uptime_ms"].as_u64().unwrap_or(0);
            let ready = worker["state"] == "ready";
            Some(Worker { pid, ready, uptime_ms, generation: worker["generation"].as_u64().unwrap_or(0) })
        };
        Ok(workers.iter().filter_map(worker).collect())
    }

    /// What it has said so far, for whoever wonders why something failed.
    #[must_use]
    pub fn news(&self) -> String {
        std::fs::read_to_string(self.folder.join("news")).unwrap_or_default()
    }

    /// Where its app listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.started.pid()
    }

    /// Waits until so many workers are ready.
    ///
    /// # Errors
    ///
    /// They are not after half a minute.
    pub fn wait_ready(&self, workers: u64) -> Result<(), String> {
        let ready = || self.status().is_ok_and(|status| status["apps"][0]["ready"] == workers);
        wait::until_true("ready workers", SOON, ready).map_err(|why| format!("{why}\n{}", self.news()))
    }

    /// What the control socket says of it.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn status(&self) -> Result<Value, String> {
        let path = self.folder.join("runtime/bench.sock");
        let text = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut stream = UnixStream::connect(&path).map_err(text)?;
        stream.set_read_timeout(Some(SOON)).map_err(text)?;
        stream.write_all(b"{\"id\":1,\"cmd\":\"status\"}\n").map_err(text)?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).map_err(text)?;
        let reply: Value = serde_json::from_str(&line).map_err(|error| format!("'{line}': {error}"))?;
        Ok(reply["status"].clone())
    }

    /// Ctrl-C, and a clean end.
    ///
    /// # Errors
    ///
    /// It does not end, or not with exit code 0.
    pub fn stop(mut self) -> Result<(), String> {
        self.started.signal(Signal::INT)?;
        self.started.expect_exit(0, SOON)
    }

    /// Waits until it has slept for a second.
    ///
    /// # Errors
    ///
    /// It is still awake after half a minute.
    pub fn settle(&self) -> Result<(), String> {
        let mut last = None;
        wait::until_true("a primary at rest", SOON, || {
            let now = facts::wake_ups(self.pid());
            let rests = now == last;
            last = now;
            wait::observe_for(Duration::from_secs(1));
            rests
        })
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port that nobody has, below those that clients get.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let offset = std::process::id() * 31;
    loop {
        let at = (offset.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))) % 10_000;
        let port = 20_000 + u16::try_from(at).unwrap_or(0);
        if TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}
