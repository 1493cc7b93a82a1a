//! What much work leaves behind in a primary.
//!
//! Owns the two long runs: many connections, many restarts. Called by `bench memory` and by `soak`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::load::{self, Plan};
use crate::primary::Primary;
use crate::started::signal_pid;
use crate::{facts, wait};

/// Restarts without a rest, so that many fit into a minute.
pub const TIRELESS: [&str; 6] =
    ["--backoff-min", "0ms", "--intensity", "100000000/1s", "--ready-timeout", "5ms"];

/// Restarts before the first weighing: after these, the allocator has what it needs.
const WARM_UP: u32 = 200;

/// What a primary weighs.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// Proportional set size.
    pub pss_bytes: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// A weight before and after.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// At rest, before.
    pub before: Weight,
    /// At rest, afterwards.
    pub after: Weight,
}

impl Growth {
    /// How many bytes more.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.after.pss_bytes.saturating_sub(self.before.pss_bytes)
    }
}

/// Weighs a primary.
///
/// # Errors
///
/// It has ended.
pub fn weigh(primary: &Primary) -> Result<Weight, String> {
    let pid = primary.pid();
    let pss_bytes = facts::pss_bytes(pid).ok_or("the primary has ended")?;
    Ok(Weight { pss_bytes, descriptors: facts::descriptors(pid).len() })
}

/// So many short connections to an app of two workers.
///
/// # Errors
///
/// A request failed, or the primary did.
pub fn connections(primary: &Primary, count: u64) -> Result<Growth, String> {
    let before = weigh(primary)?;
    let plan = Plan {
        clients: 64,
        requests_max: count,
        duration_max: Duration::from_secs(600),
        tell_apart: load::TellApart::Nothing,
        ports: false,
        ..Plan::short(primary.address())
    };
    let tally = load::run(&plan).map_err(|error| error.to_string())?;
    if tally.success != count {
        return Err(format!("not every request was answered: {tally}"));
    }
    primary.settle()?;
    Ok(Growth { before, after: weigh(primary)? })
}

/// So many restarts of one trivial worker, each killed as soon as it says that it runs.
///
/// # Errors
///
/// A successor did not come.
pub fn restarts(clustr: &Path, trivial: &Path, count: u32) -> Result<Growth, String> {
    let births = Births::new("soak")?;
    let command = [&*trivial.to_string_lossy(), &*births.path().to_string_lossy()].map(str::to_owned);
    let primary =
        Primary::start(clustr, &[&["-n", "1"][..], &TIRELESS].concat(), &[&command[0], &command[1]])?;
    let mut births = births.open()?;
    for _ in 0..WARM_UP {
        signal_pid(births.wait_next()?.pid, Signal::KILL)?;
    }
    let resting = births.wait_next()?;
    primary.settle()?;
    let before = weigh(&primary)?;
    signal_pid(resting.pid, Signal::KILL)?;
    for _ in 1..count {
        signal_pid(births.wait_next()?.pid, Signal::KILL)?;
    }
    births.wait_next()?;
    primary.settle()?;
    let after = weigh(&primary)?;
    primary.stop()?;
    Ok(Growth { before, after })
}

/// A trivial worker's first word.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// Its process.
    pub pid: u32,
    /// The moment of its first line, by [`monotonic_ns`](crate::load::monotonic_ns).
    pub at_ns: u64,
}

/// The FIFO into which trivial workers write their first words.
#[derive(Debug)]
pub struct Births {
    path: PathBuf,
    reader: Option<BufReader<File>>,
}

impl Births {
    /// Makes the FIFO.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn new(name: &str) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("clustr-births-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let made = Command::new("mkfifo").arg(&path).status().map_err(|error| format!("mkfifo: {error}"))?;
        if made.success() { Ok(Self { path, reader: None }) } else { Err("mkfifo failed".into()) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it for reading; holding the other end too, it never ends.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub fn open(mut self) -> Result<Self, String> {
        let file = File::options().read(true).write(true).open(&self.path);
        self.reader = Some(BufReader::new(file.map_err(|error| error.to_string())?));
        Ok(self)
    }

    /// Waits for the next first word.
    ///
    /// # Errors
    ///
    /// None has come for half a minute.
    pub fn wait_next(&mut self) -> Result<Birth, String> {
        let reader = self.reader.as_mut().ok_or("not opened")?;
        if reader.buffer().is_empty() {
            readable_within(reader.get_ref(), Duration::from_secs(30))?;
        }
        let mut line = String::new();
        reader.read_line(&mut line).map_err(|error| error.to_string())?;
        let (pid, at) = line.trim().split_once(' ').ok_or_else(|| format!("'{line}'"))?;
        let strange = || format!("'{line}'");
        let pid = pid.parse().map_err(|_| strange())?;
        Ok(Birth { pid, at_ns: at.parse().map_err(|_| strange())? })
    }
}

impl Drop for Births {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn readable_within(file: &File, within: Duration) -> Result<(), String> {
    let mut polled = [rustix::event::PollFd::new(file, rustix::event::PollFlags::IN)];
    let timeout =
        rustix::event::Timespec { tv_sec: i64::try_from(within.as_secs()).unwrap_or(30), tv_nsec: 0 };
    match rustix::event::poll(&mut polled, Some(&timeout)) {
        Ok(0) => Err(format!("no worker has come for {within:?}")),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Ten seconds at rest: how often the primary woke up.
///
/// # Errors
///
/// It has ended.
pub fn wake_ups_in_ten_seconds(primary: &Primary) -> Result<u64, String> {
    let count = || facts::wake_ups(primary.pid()).ok_or("the primary has ended");
    let before = count()?;
    wait::observe_for(Duration::from_secs(10));
    Ok(count()? - before)
}
