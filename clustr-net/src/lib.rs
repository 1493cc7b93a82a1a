//! Sockets between processes.
//!
//! What it does: binds listeners and lends them to other processes, sends bytes and descriptors in one message, takes
//! over the descriptors that a process was started with, and speaks node's cluster protocol, so that an unmodified
//! `server.listen(3001)` in many node processes shares one port.
//!
//! What it never does: start a process, decide when one lives or dies, read a configuration, write a log, block a
//! loop (the two exceptions, a host name's lookup in [`Listener::bind`] and all of `node::Worker`, say so). It
//! trusts no byte that a worker sent. Descriptors go in as `OwnedFd` and come out as `BorrowedFd`.
//!
//! ```text
//!   app's bind or listen          clustr-net                    the kernel
//!   ────────────────────   ─────────────────────────────   ───────────────────
//!   queryServer ──line───> node::Endpoint ──Query──┐
//!                                                  v
//!                          node::Table ── bind ──> Listener ── queue of clients
//!                                │
//!   accepts by itself <──line── Answer, with a descriptor (scm)
//! ```
//!
//! A listener, lent over a socket pair:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//! use std::os::fd::AsFd;
//! use std::os::unix::net::UnixStream;
//!
//! use clustr_net::{Listener, Options, scm};
//!
//! let listener = Listener::bind(&"127.0.0.1:0".parse()?, Options::default())?;
//! let (ours, theirs) = UnixStream::pair()?;
//! scm::send(&ours, b"http", &[listener.as_fd()])?;
//!
//! // A client may come before anybody accepts: it waits in the kernel's queue.
//! let mut client = TcpStream::connect(("127.0.0.1", listener.port().unwrap()))?;
//!
//! // The other process takes name and socket out of one message, and serves.
//! let (mut name, mut fds) = ([0; 16], Vec::new());
//! let received = scm::recv(&theirs, &mut name, &mut fds)?;
//! assert_eq!(&name[..received.bytes], b"http");
//! let (mut connection, _) = TcpListener::from(fds.remove(0)).accept()?;
//! connection.write_all(b"hello")?;
//! drop(connection);
//!
//! let mut text = String::new();
//! client.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | one idea |
//! |---|---|
//! | [`addr`] | addresses as people write them |
//! | [`accept`] | connections out of a queue, as many as somebody can take |
//! | [`balance`] | which of several workers gets the next one |
//! | [`listener`] | a bound socket: bind, adopt, lend |
//! | [`scm`] | bytes and descriptors in one message |
//! | [`fd_channel`] | whole messages with descriptors, their number checked |
//! | [`handoff`] | accepted connections given to workers, acknowledged, and taken back |
//! | `worker` | what a server in Rust links to be a worker (feature `worker`, on by default) |
//! | [`inherited`] | the descriptors that the process was started with |
//! | `node` | node's cluster protocol (feature `node`, on by default) |
//! | `source` | what a mio loop can watch (feature `mio`, on by default) |
//! | `progress` | how far a bounded reading came: [`Progress`] |
//! | `socket_file` | the file of a Unix socket and its removal |
//! | `sys` | all of the crate's `unsafe` |

pub mod accept;
pub mod addr;
pub mod balance;
pub mod fd_channel;
pub mod handoff;
pub mod inherited;
pub mod listener;
#[cfg(feature = "node")]
pub mod node;
mod progress;
pub mod scm;
mod socket_file;
#[cfg(feature = "mio")]
pub mod source;
#[allow(unsafe_code)]
mod sys;
#[cfg(feature = "worker")]
pub mod worker;

pub use accept::{Acceptor, Connection};
pub use addr::{Addr, AddrError, Host};
pub use balance::{Balance, Balancer, Candidate};
pub use fd_channel::FdChannel;
pub use listener::{BindError, Kind, Listener, Options};
pub use progress::Progress;
#[cfg(feature = "worker")]
pub use worker::Worker;
