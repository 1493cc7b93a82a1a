//! HTTP/1.1 load on one address, from a few threads with one loop each.
//!
//! Owns the plan of a load and its result. Bound in time, in requests and in connections; made for loopback. Never
//! repeats a request that failed: every one of them is counted, under one of five names. The one exception has to be
//! asked for, and is counted too: what RFC 9112, section 9.3.1 lets every client repeat.

mod answer;
mod client;
mod engine;
mod histogram;
mod stream;
mod tally;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub use histogram::Histogram;
pub use tally::{Failure, FailureKind, Tally};

use engine::Engine;

/// What is asked, by how many, how fast and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whom.
    pub target: Target,
    /// For what: a path, `/` by default.
    pub path: String,
    /// So many bytes are sent along, with `PUT`; without any it is `GET`. Both may be repeated.
    pub body_bytes: usize,
    /// How many requests are open at once, at most.
    pub clients: usize,
    /// Whether a connection carries one request or many.
    pub connections: Connections,
    /// When the next request leaves.
    pub pace: Pace,
    /// So many requests, at most.
    pub requests_max: u64,
    /// For so long, at most; requests that are open then are still waited for.
    pub duration_max: Duration,
    /// An answer that is not complete after this time has failed.
    pub request_timeout: Duration,
    /// How many threads share the clients.
    pub threads: usize,
    /// What the answers are told apart by.
    pub tell_apart: TellApart,
    /// Whether failures are recorded with their port, which costs a system call for every connection.
    pub ports: bool,
    /// Whether a request on a reused connection that ends before the first byte of its answer is sent once more, on a
    /// new one: RFC 9112, section 9.3.1. Counted as [`Tally::closed_idle`], and not as a failure.
    pub repeats_closed_idle: bool,
}

/// Whom a load asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for Target {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(_) => f.write_str("localhost"),
        }
    }
}

/// Whether a connection carries one request or many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Connections {
    /// One: `Connection: close`, and the server closes.
    Short,
    /// Many, until the server closes.
    KeepAlive,
}

/// When the next request leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// When a client has its answer.
    ClosedLoop,
    /// So many times a second, if a client is free.
    PerSecond(f64),
}

/// What the answers are told apart by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TellApart {
    /// Nothing: they are only counted.
    Nothing,
    /// Their text, the first 120 bytes of it.
    Body,
    /// A header of this name, in lower case.
    Header(String),
}

impl Plan {
    /// Short connections, eight at once, for ten seconds at most.
    #[must_use]
    pub fn short(target: impl Into<Target>) -> Self {
        Self {
            target: target.into(),
            path: "/".to_owned(),
            body_bytes: 0,
            clients: 8,
            connections: Connections::Short,
            pace: Pace::ClosedLoop,
            requests_max: u64::MAX,
            duration_max: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            threads: 1,
            tell_apart: TellApart::Body,
            ports: true,
            repeats_closed_idle: false,
        }
    }

    /// The same on connections that are kept.
    #[must_use]
    pub fn keep_alive(target: impl Into<Target>) -> Self {
        Self { connections: Connections::KeepAlive, ..Self::short(target) }
    }
}

/// What the threads of one load share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    stop: AtomicBool,
    issued: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// A load that is under way in threads of its own.
#[derive(Debug)]
#[must_use]
pub struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<Tally>>>,
}

impl Running {
    /// How many requests were answered so far.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.shared.succeeded.load(Ordering::Relaxed)
    }

    /// How many requests failed so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Issues nothing more, waits for what is open, and counts.
    ///
    /// # Errors
    ///
    /// No descriptor, thread or local port was left.
    pub fn stop(self) -> io::Result<Tally> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Waits until the plan is fulfilled.
    ///
    /// # Errors
    ///
    /// No descriptor, thread or local port was left.
    pub fn join(mut self) -> io::Result<Tally> {
        let mut whole = Tally::default();
        for thread in std::mem::take(&mut self.threads) {
            whole.add(thread.join().map_err(|_| io::Error::other("a load thread panicked"))??);
        }
        Ok(whole)
    }
}

impl Drop for Running {
    /// A load that nobody waits for any more, after an error, does not go on.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// Begins a load.
///
/// # Errors
///
/// No thread or descriptor is left.
pub fn start(plan: &Plan) -> io::Result<Running> {
    let shared = Arc::new(Shared::default());
    let threads = plan.threads.clamp(1, plan.clients.max(1));
    let spawn = |number| {
        let mut engine = Engine::new(plan, share(plan.clients, threads, number), Arc::clone(&shared))?;
        std::thread::Builder::new().name(format!("load {number}")).spawn(move || engine.run())
    };
    let threads = (0..threads).map(spawn).collect::<io::Result<_>>()?;
    Ok(Running { shared, threads })
}

/// Carries out a load and counts.
///
/// # Errors
///
/// No descriptor, thread or local port was left.
pub fn run(plan: &Plan) -> io::Result<Tally> {
    start(plan)?.join()
}

/// The part of `whole` that falls to one of `parts`.
const fn share(whole: usize, parts: usize, number: usize) -> usize {
    whole / parts + if number < whole % parts { 1 } else { 0 }
}

/// Now, in nanoseconds of `CLOCK_MONOTONIC`: the clock of node's `process.hrtime`, so that moments can be compared.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)).unwrap_or(0)
}
