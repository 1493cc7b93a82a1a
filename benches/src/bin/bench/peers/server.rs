//! A server that runs, whoever supervises it.
//!
//! Owns its end: politely, then by force, and nothing of it is left. Never knows how it was started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use clustr_benches::load::monotonic_ns;
use clustr_benches::primary::Primary;
use clustr_benches::started::{Started, signal_pid};
use clustr_benches::{facts, http, wait};
use rustix::process::{Pid, Signal, kill_process_group};

/// Starts and ends take so long at most.
pub(super) const SOON: Duration = Duration::from_secs(30);
/// A peer that was asked to end gets so long.
const POLITELY: Duration = Duration::from_secs(5);

/// A server that runs.
pub(crate) enum Server {
    Clustr(Primary),
    Other(Other),
}

/// Anybody else's.
pub(crate) struct Other {
    pub(super) alive: Started,
    pub(super) address: SocketAddr,
    /// Its settings and sockets.
    pub(super) folder: PathBuf,
    pub(super) reload: Reload,
    /// Whether it is asked to end before it is killed: it would leave workers behind that carry no mark.
    pub(super) asked_to_end: bool,
}

/// How a peer is told to replace its workers.
pub(crate) enum Reload {
    Never,
    ByHup,
    ByCommand(Box<Command>),
    /// By another time of this file.
    ByTouching(PathBuf),
}

impl Server {
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Clustr(primary) => primary.address(),
            Self::Other(other) => other.address,
        }
    }

    /// The process that supervises.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Clustr(primary) => primary.pid(),
            Self::Other(other) => other.alive.pid(),
        }
    }

    /// The same, ended by force at once: it has hundreds of workers that do nothing.
    pub(super) fn without_ceremony(mut self) -> Self {
        if let Self::Other(other) = &mut self {
            other.asked_to_end = false;
        }
        self
    }

    /// Its workers, as the kernel knows them.
    pub(crate) fn workers(&self) -> Vec<u32> {
        facts::children(self.pid())
    }

    /// Waits until it has answered, or has ended.
    pub(crate) fn wait_serving(&self) -> Result<(), String> {
        let look = || {
            let serves = http::get(self.address(), "/").is_ok();
            (serves || !facts::lives(self.pid())).then_some(serves)
        };
        match wait::until("an answer", SOON, look) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("it has ended: {}", self.said())),
            Err(why) => Err(format!("{why}\n{}", self.said())),
        }
    }

    /// Waits until it has so many workers.
    pub(crate) fn wait_workers(&self, count: usize) -> Result<(), String> {
        let there = || self.workers().len() == count;
        wait::until_true("workers", SOON, there).map_err(|why| format!("{why}\n{}", self.said()))
    }

    /// Replaces every worker; how long it took until all of them were new and the old ones were gone.
    pub(crate) fn reload(&mut self) -> Result<Duration, String> {
        let (before, said) = (self.workers(), self.said_to_be_done());
        let began = monotonic_ns();
        match self {
            Self::Clustr(primary) => drop(primary.clustr(&["reload"])?),
            Self::Other(other) => other.order_reload()?,
        }
        let replaced = || {
            let now = self.workers();
            let new = now.len() == before.len() && !now.iter().any(|pid| before.contains(pid));
            new && (!self.says_when_done() || self.said_to_be_done() > said)
        };
        wait::until_true("new workers", SOON, replaced).map_err(|why| format!("{why}\n{}", self.said()))?;
        Ok(Duration::from_nanos(monotonic_ns() - began))
    }

    /// uWSGI goes on waiting for its last new worker, and does not hear of another reload meanwhile.
    const fn says_when_done(&self) -> bool {
        matches!(self, Self::Other(Other { reload: Reload::ByTouching(_), .. }))
    }

    /// How often it has said that a reload is complete.
    fn said_to_be_done(&self) -> usize {
        if self.says_when_done() { self.said().matches("chain reloading complete").count() } else { 0 }
    }

    /// What it knows about itself, by its own command; a peer other than PM2 has none here.
    pub(crate) fn told(&self, pm2: &Path) -> Result<String, String> {
        match self {
            Self::Clustr(primary) => primary.clustr(&["status", "--json"]),
            Self::Other(other) => {
                let mut command = Command::new(pm2.with_file_name("pm2"));
                let output =
                    command.arg("jlist").env("PM2_HOME", &other.folder).stdin(Stdio::null()).output();
                let output = output.map_err(|error| format!("{command:?}: {error}"))?;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
            }
        }
    }

    fn said(&self) -> String {
        match self {
            Self::Clustr(primary) => primary.news(),
            Self::Other(other) => ["out", "err"].map(|file| other.said(file)).concat(),
        }
    }
}

impl Other {
    fn said(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }

    fn order_reload(&mut self) -> Result<(), String> {
        match &mut self.reload {
            Reload::Never => Err("it cannot reload".to_owned()),
            Reload::ByHup => signal_pid(self.alive.pid(), Signal::HUP),
            Reload::ByCommand(command) => {
                let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
                let said = String::from_utf8_lossy(&output.stderr);
                if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
            }
            Reload::ByTouching(file) => touch(file).map_err(|error| format!("{}: {error}", file.display())),
        }
    }
}

impl Drop for Other {
    /// nginx writes over its environment, by which `Started` finds descendants: it is asked first, and its group killed.
    fn drop(&mut self) {
        let group = i32::try_from(self.alive.pid()).ok().and_then(Pid::from_raw);
        if self.asked_to_end && self.alive.signal(Signal::TERM).is_ok() {
            let _ = self.alive.wait_exit(POLITELY);
        }
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Makes a file two seconds younger: uWSGI compares whole seconds, and would not see one that is touched in the second in
/// which it was made.
fn touch(file: &Path) -> std::io::Result<()> {
    let file = std::fs::File::options().write(true).open(file)?;
    let last = file.metadata()?.modified()?;
    file.set_modified(last.max(SystemTime::now()) + Duration::from_secs(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touched_file_is_younger_by_whole_seconds_each_time() {
        let path = std::env::temp_dir().join(format!("clustr-touched-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        let time = || path.metadata().unwrap().modified().unwrap();
        let mut last = time();
        for _ in 0..3 {
            touch(&path).unwrap();
            assert!(time() >= last + Duration::from_secs(2));
            last = time();
        }
        std::fs::remove_file(&path).unwrap();
    }
}
