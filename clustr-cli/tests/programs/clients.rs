//! Clients that speak what a program speaks, one request a connection.
//!
//! Owns what is asked, when an answer is whole, and how a failure is called. Never asks again: a request that failed is
//! counted as what it was.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use clustr_benches::load::{FailureKind, Tally};
use clustr_benches::wait;

use crate::harness::{Outcome, SOON};

/// Between two requests of one client: a load, and still a machine for others.
const PACE: Duration = Duration::from_millis(5);

/// Whom clients ask.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Tcp(SocketAddr),
    Datagrams(SocketAddr),
    Path(PathBuf),
}

/// What they say, and what comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speech {
    /// HTTP, answered with 200 and an end of the connection.
    Http,
    /// A word, answered with something that begins so and is one line.
    Line { ask: &'static str, answer: &'static str },
}

/// One request: the text that came after the header.
pub(crate) fn ask(target: &Target, speech: Speech) -> Result<String, FailureKind> {
    let answer = match target {
        Target::Tcp(address) => {
            let mut stream = TcpStream::connect_timeout(address, SOON).map_err(|error| name(&error))?;
            stream.set_read_timeout(Some(SOON)).map_err(|error| name(&error))?;
            speak(&mut stream, speech)
        }
        Target::Path(path) => {
            let mut stream = UnixStream::connect(path).map_err(|error| name(&error))?;
            stream.set_read_timeout(Some(SOON)).map_err(|error| name(&error))?;
            speak(&mut stream, speech)
        }
        Target::Datagrams(address) => ask_by_datagram(*address),
    };
    let text = answer.map_err(|error| name(&error))?;
    text_of(speech, &text).ok_or(FailureKind::Truncated)
}

fn speak(stream: &mut (impl Read + Write), speech: Speech) -> io::Result<String> {
    let ask = match speech {
        Speech::Http => "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        Speech::Line { ask, .. } => ask,
    };
    stream.write_all(ask.as_bytes())?;
    let mut bytes = Vec::new();
    match speech {
        Speech::Http => drop(stream.read_to_end(&mut bytes)?),
        Speech::Line { .. } => {
            let mut byte = [0];
            while bytes.last() != Some(&b'\n') && stream.read(&mut byte)? > 0 {
                bytes.push(byte[0]);
            }
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn ask_by_datagram(address: SocketAddr) -> io::Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(SOON))?;
    socket.send(b"who?\n")?;
    let mut bytes = [0; 100];
    let count = socket.recv(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

/// What is the answer proper; `None` if it is none, or not whole.
fn text_of(speech: Speech, text: &str) -> Option<String> {
    match speech {
        Speech::Http => {
            let (head, body) = text.split_once("\r\n\r\n")?;
            let is_good = head.starts_with("HTTP/1.") && head.get(8..13) == Some(" 200 ");
            (is_good && !body.is_empty()).then(|| body.trim().to_owned())
        }
        Speech::Line { answer, .. } => text.starts_with(answer).then(|| text.trim().to_owned()),
    }
}

fn name(error: &io::Error) -> FailureKind {
    let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
    if is(&[ErrorKind::ConnectionRefused, ErrorKind::NotFound]) {
        FailureKind::Refused
    } else if is(&[ErrorKind::WouldBlock, ErrorKind::TimedOut]) {
        FailureKind::TimedOut
    } else {
        // Whatever else happens to a connection has ended it.
        FailureKind::Reset
    }
}

/// So many requests by so many clients at a time.
pub(crate) fn ask_all(target: &Target, speech: Speech, requests: u64, clients: u64) -> Tally {
    let one = || {
        let target = target.clone();
        spawn(move || {
            let mut tally = Tally::default();
            (0..requests / clients).for_each(|_| count(&mut tally, ask(&target, speech)));
            tally
        })
    };
    let all: Vec<JoinHandle<Tally>> = (0..clients).map(|_| one()).collect();
    sum(all)
}

fn count(tally: &mut Tally, answer: Result<String, FailureKind>) {
    tally.issued += 1;
    match answer {
        Ok(_) => tally.success += 1,
        Err(FailureKind::Refused) => tally.refused += 1,
        Err(FailureKind::Reset) => tally.reset += 1,
        Err(FailureKind::TimedOut) => tally.timed_out += 1,
        Err(FailureKind::Truncated) => tally.truncated += 1,
    }
}

/// # Panics
///
/// A client has panicked.
fn sum(all: Vec<JoinHandle<Tally>>) -> Tally {
    all.into_iter().fold(Tally::default(), |mut sum, client| {
        let tally = client.join().expect("a client counts, and does nothing else");
        sum.issued += tally.issued;
        sum.success += tally.success;
        sum.refused += tally.refused;
        sum.reset += tally.reset;
        sum.timed_out += tally.timed_out;
        sum.truncated += tally.truncated;
        sum
    })
}

/// Clients that ask until they are stopped.
pub(crate) struct Load {
    clients: Vec<(Sender<()>, JoinHandle<Tally>)>,
    succeeded: Arc<AtomicU64>,
}

impl Load {
    pub(crate) fn start(target: &Target, speech: Speech, clients: usize) -> Self {
        let succeeded = Arc::new(AtomicU64::new(0));
        let one = || {
            let (stop, stopped) = mpsc::channel();
            let (target, succeeded) = (target.clone(), Arc::clone(&succeeded));
            (stop, spawn(move || ask_until(&stopped, &target, speech, &succeeded)))
        };
        let clients = (0..clients).map(|_| one()).collect();
        Self { clients, succeeded }
    }

    /// Waits until so many more were answered.
    pub(crate) fn answers(&self, more: u64) -> Outcome {
        let wanted = self.succeeded.load(Ordering::Relaxed) + more;
        wait::until_true("answers", SOON, || self.succeeded.load(Ordering::Relaxed) >= wanted)
    }

    pub(crate) fn stop(self) -> Tally {
        // The senders go first, all of them: that is what stops.
        let (stops, clients): (Vec<_>, Vec<_>) = self.clients.into_iter().unzip();
        drop(stops);
        sum(clients)
    }
}

fn ask_until(stopped: &Receiver<()>, target: &Target, speech: Speech, succeeded: &AtomicU64) -> Tally {
    let mut tally = Tally::default();
    while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
        let answer = ask(target, speech);
        if answer.is_ok() {
            succeeded.fetch_add(1, Ordering::Relaxed);
        }
        count(&mut tally, answer);
    }
    tally
}
