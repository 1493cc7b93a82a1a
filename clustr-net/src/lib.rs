//! Sockets between processes.
//!
//! # What it does
//!
//! It owns every way in which a socket reaches a process. A *primary* binds a [`Listener`], and either lends it, so that each
//! worker accepts for itself, or accepts and hands each connection to one worker:
//!
//! - between programs in Rust over an [`FdChannel`]: [`handoff`] at the primary, [`Worker`] in the worker;
//! - to unmodified node programs over node's own cluster protocol, so that `server.listen(3001)` in many processes shares
//!   one port: `node::Endpoint` and `node::Table`;
//! - to whoever takes descriptors in messages: [`scm`], [`FdChannel`].
//!
//! Who gets a connection is [`balance`]'s to say, how many are accepted is [`accept`]'s.
//!
//! # What it never does
//!
//! It never starts a process, decides when one lives or dies, reads a configuration, writes a log, or blocks a loop (the
//! exceptions say so: a host name's lookup in [`Listener::bind`], `node::Worker`, the waiting half of [`Worker`]). It
//! trusts no byte of the other process. It keeps a connection until a worker has acknowledged it, so none is lost with a
//! worker. Descriptors go in as `OwnedFd` and come out as `BorrowedFd`.
//!
//! ```text
//!   worker                        primary                                        the kernel
//!   ──────                ──────────────────────────                     ───────────────────
//!   node: listen ──line─> node::Endpoint ──> node::Table ──── bind ────> Listener
//!   accepts by itself <── Answer, with a descriptor                         │ queue of clients
//!                                                                           v
//!   node: connection <─── node::Endpoint::hand_over <─┐                  Acceptor
//!   rust: Worker <─────── handoff::Sender::offer <────┴── Balancer <── Connection
//! ```
//!
//! # A listener, lent over a socket pair
//!
//! (A connection handed over, as completely, is on the page of [`handoff`].)
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
//! # The map
//!
//! | module | one idea |
//! |---|---|
//! | [`addr`] | addresses as people write them |
//! | [`accept`] | connections out of a queue, as many as somebody can take |
//! | [`balance`] | which of several workers gets the next one |
//! | [`listener`] | a bound socket: bind, adopt, lend |
//! | [`loopback`] | connections of our own to a worker, to ask it something |
//! | [`scm`] | bytes and descriptors in one message |
//! | [`fd_channel`] | whole messages with descriptors, their number checked |
//! | [`handoff`] | accepted connections given to workers, acknowledged, and taken back |
//! | `worker` | what a server in Rust links to be a worker (feature `worker`, on by default) |
//! | [`queue`] | one queue a worker on one port, and the mirror of the kernel's array |
//! | [`steer`] | programs that choose which queues the kernel fills |
//! | [`sock_diag`] | who listens on a port, and who is half-way to it |
//! | [`activation`] | `LISTEN_FDS`, given and taken |
//! | [`intercept`] | a program's own `bind` and `listen`, shared without its knowledge |
//! | [`notify`] | sd_notify, told and heard |
//! | [`inherited`] | the descriptors that the process was started with |
//! | `node` | node's cluster protocol (feature `node`, on by default) |
//! | `source` | what a mio loop can watch (feature `mio`, on by default) |
//! | `progress` | how far a bounded reading came: [`Progress`] |
//! | `socket_file` | the file of a Unix socket and its removal |
//! | `sys` | all of the crate's `unsafe` |

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

pub mod accept;
pub mod activation;
pub mod addr;
pub mod balance;
pub mod fd_channel;
pub mod handoff;
pub mod inherited;
pub mod intercept;
pub mod listener;
pub mod loopback;
#[cfg(feature = "node")]
pub mod node;
pub mod notify;
mod progress;
pub mod queue;
pub mod scm;
pub mod sock_diag;
mod socket_file;
#[cfg(feature = "mio")]
pub mod source;
pub mod steer;
#[allow(unsafe_code)]
mod sys;
#[cfg(feature = "worker")]
pub mod worker;

pub use accept::{Acceptor, Connection};
pub use addr::{Addr, AddrError, Host};
pub use balance::{Balance, Balancer, Candidate};
pub use fd_channel::FdChannel;
pub use listener::{BindError, Kind, Listener, Options, OptionsError};
pub use progress::Progress;
#[cfg(feature = "worker")]
pub use worker::Worker;
