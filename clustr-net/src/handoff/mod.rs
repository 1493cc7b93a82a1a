//! The native handoff: a primary accepts, and gives each connection to a worker that has said it will take it.
//!
//! Owns the protocol over an [`FdChannel`](crate::FdChannel): [`codec`] and [`Ledger`] are pure, [`Sender`] is the primary's end for its loop,
//! [`Receiver`] the worker's, which `clustr_net::worker` wraps for programs. Never accepts, never chooses a worker, never
//! waits for a slow one.
//!
//! ```text
//!   primary                                        worker
//!   ───────                                        ──────
//!   Sender::new ── Names ────────────────────────>
//!                <──────────────── Report (credits) ── Receiver::new
//!   offer, offer, flush ── Connections (a batch) ─>
//!                <────────────────── Report (acked) ── next: only then its code has it
//!                <───────────────── Report (closed) ── Guard dropped
//!   drain ── Drain ──────────────────────────────>
//!                <───────────────────────── Leave ── Receiver dropped
//! ```
//!
//! What holds:
//!
//! - **Credits.** Nothing is sent that the worker has not granted, so a worker that hangs holds back at most its window.
//!   A busy worker grants by the half window: a primary that has more for it sends batches.
//! - **A connection stays the primary's until it is acknowledged**, and the worker acknowledges it before its code can
//!   read a byte. A descriptor of each is kept until then; [`Sender::take_back`] returns those of a worker that is gone.
//! - **Batches.** What is offered in one turn leaves in one message.
//! - **Numbers.** Connections are numbered from 1 in the order of sending. A report holds totals, so one that is late, or
//!   stands for several, does no harm.
//! - **A sign of life costs no client.** `Ask` is answered by whoever takes connections, when it looks for the next one.
//! - **The worker is not trusted.** What contradicts the ledger ends the channel.
//!
//! A primary and a worker, here in one process:
//!
//! ```
//! # #[cfg(feature = "worker")] {
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//! use std::time::Duration;
//!
//! use clustr_net::handoff::{Family, Handover, Sender};
//! use clustr_net::{Acceptor, FdChannel, Listener, Options, Worker};
//!
//! let (ours, theirs) = FdChannel::pair()?;
//! let mut sender = Sender::new(ours, &[("http", Family::Tcp)])?;
//! // A spawner would place `theirs` in the new process and name it in `CLUSTR_CHANNEL_FD`: `Worker::from_env`.
//! let mut worker = Worker::new(Some(theirs), Vec::new())?;
//!
//! // The primary hears how many connections the worker takes, accepts one, and hands it over.
//! let listener = Listener::bind(&"127.0.0.1:0".parse()?, Options::default())?;
//! let mut client = TcpStream::connect(("127.0.0.1", listener.port().unwrap()))?;
//! let _ = sender.receive(64, &mut Vec::new())?;
//! assert!(sender.credits() > 0);
//! let now = Duration::ZERO; // a loop reads its clock once a turn
//! let connection = Acceptor::new(0, false).accept(&listener, now).expect("a client waits");
//! sender.offer(Handover { fd: connection.fd, listener: 0 }).expect("there is credit");
//! sender.flush()?;
//! assert_eq!(sender.unacked(), 1); // Were the worker killed now, `take_back` would return it.
//!
//! let mut connection = worker.connections().next().expect("one was sent")?;
//! assert_eq!(connection.listener(), "http");
//! connection.write_all(b"hello")?;
//! drop(connection);
//! let _ = sender.receive(64, &mut Vec::new())?;
//! assert_eq!((sender.unacked(), sender.taken()), (0, 1));
//!
//! let mut text = String::new();
//! client.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Connections travel non-blocking, without their peer's address: getpeername(2) knows it.

pub mod codec;
mod ledger;
mod receiver;
mod sender;
mod tally;

pub use ledger::{Ledger, Lie};
pub use receiver::{Guard, Heard, Receiver};
pub use sender::{Handover, Said, SendError, Sender};

pub use crate::progress::Progress;

/// The environment variable that holds the number of a worker's channel.
pub const CHANNEL_VARIABLE: &str = "CLUSTR_CHANNEL_FD";

/// Connections that wait in a worker for its code, unless it grants another number.
pub const WINDOW: u32 = 32;
/// Bound: connections that a worker was sent and has not acknowledged, whatever it grants.
pub const WINDOW_MAX: u32 = 1024;
/// Bound: bytes of one message of the app, either way.
pub const MESSAGE_BYTES_MAX: usize = 32 << 10;
/// Bound: bytes of the app's messages that wait for one worker.
pub const QUEUE_BYTES_MAX: usize = 1 << 20;
/// Bound: messages that wait for one worker, however short they are.
pub const QUEUE_MESSAGES_MAX: usize = 4096;
/// Bound: listeners that have a name on one channel.
pub const NAMES_MAX: usize = 64;
/// Bound: bytes of a listener's name.
pub const NAME_BYTES_MAX: usize = 255;

/// What a listener's connections are.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Family {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// Unix stream sockets.
    Unix,
}
