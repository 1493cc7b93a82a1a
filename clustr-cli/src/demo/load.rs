//! A small load: short connections, a few hundred a second.
//!
//! Owns its threads. Every request is one connection, so that each one has to be accepted by somebody.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use clustr_supervisor::control::protocol::WorkerStatus;

use super::tally::{Fault, Outcome, Tally};
use crate::clock;

const THREADS: usize = 4;
/// Each thread rests so long after each request: some hundred requests a second from all of them.
const PAUSE: Duration = Duration::from_millis(10);
/// After this, a request counts as timed out.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A load that goes on until it is stopped.
#[derive(Debug)]
pub(super) struct Load {
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    tally: Mutex<Tally>,
}

impl Load {
    /// Starts it.
    pub(super) fn start(target: SocketAddr) -> Self {
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), tally: Mutex::default() });
        let threads = (0..THREADS).map(|_| client(target, Arc::clone(&shared))).collect();
        Self { threads, shared }
    }

    /// What has become of the requests so far. Forgets workers that are not among these.
    pub(super) fn tally(&self, workers: &[WorkerStatus]) -> Tally {
        let mut tally = self.shared.tally();
        tally.forget_but(workers);
        tally.clone()
    }

    /// Ends it, with every request that is under way.
    pub(super) fn stop(self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
        self.shared.tally().clone()
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the demo's clients are threads of their own; no primary is near"
)]
fn client(target: SocketAddr, shared: Arc<Shared>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while !shared.stop.load(Ordering::Relaxed) {
            let outcome = request(target);
            shared.tally().record(outcome, clock::now());
            std::thread::sleep(PAUSE);
        }
    })
}

/// One request on a connection of its own.
fn request(target: SocketAddr) -> Outcome {
    let stream = match TcpStream::connect_timeout(&target, TIMEOUT) {
        Ok(stream) => stream,
        Err(error) => return unconnected(&error),
    };
    let port = stream.local_addr().ok().map(|addr| addr.port());
    match exchange(stream) {
        Ok(answer) => match answered_by(&answer) {
            Some(pid) => Outcome::Answered(pid),
            None => Outcome::Failed(Fault::Truncated, port),
        },
        Err(error) => Outcome::Failed(broken(&error), port),
    }
}

fn unconnected(error: &io::Error) -> Outcome {
    let known = [
        (ErrorKind::ConnectionRefused, Fault::Refused),
        (ErrorKind::TimedOut, Fault::TimedOut),
        (ErrorKind::ConnectionReset, Fault::Reset),
    ];
    let fault = known.into_iter().find(|(kind, _)| *kind == error.kind());
    fault.map_or(Outcome::NotTried, |(_, fault)| Outcome::Failed(fault, None))
}

fn broken(error: &io::Error) -> Fault {
    let late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    if late { Fault::TimedOut } else { Fault::Reset }
}

fn exchange(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The pid in a whole answer.
fn answered_by(answer: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let field =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok());
    let whole =
        head.starts_with("HTTP/1.1 200 ") && usize::try_from(field("Content-Length:")?).ok()? == body.len();
    if whole { field("X-Clustr-Pid:") } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_if_it_is_whole() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Clustr-Pid: 42\r\n\r\nabc";
        assert_eq!(answered_by(whole.as_bytes()), Some(42));
        for end in 0..whole.len() {
            assert_eq!(answered_by(&whole.as_bytes()[..end]), None, "{end} bytes");
        }
    }
}
