//! What a mio loop can watch.
//!
//! Owns the [`Source`] of every type here that has something to wait for: its descriptor, by epoll(7). Never waits itself.
//! Registering is edge-triggered, as everything in mio: read until [`Progress::Drained`](crate::node::Progress), accept
//! until `WouldBlock`.
//!
//! ```
//! use clustr_net::{Listener, Options};
//! use mio::{Events, Interest, Poll, Token};
//!
//! let mut listener = Listener::bind(&"127.0.0.1:0".parse()?, Options::default())?;
//! let mut poll = Poll::new()?;
//! poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
//!
//! let _client = std::net::TcpStream::connect(("127.0.0.1", listener.port().unwrap()))?;
//! let mut events = Events::with_capacity(8);
//! poll.poll(&mut events, None)?;
//! assert!(events.iter().any(|event| event.token() == Token(0)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

macro_rules! watch_by_descriptor {
    ($($type:ty),+) => {$(
        impl Source for $type {
            fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
                SourceFd(&self.as_fd().as_raw_fd()).register(registry, token, interests)
            }

            fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
                SourceFd(&self.as_fd().as_raw_fd()).reregister(registry, token, interests)
            }

            fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
                SourceFd(&self.as_fd().as_raw_fd()).deregister(registry)
            }
        }
    )+};
}

watch_by_descriptor!(crate::FdChannel, crate::Listener, crate::handoff::Sender, crate::notify::Inbox);
#[cfg(feature = "node")]
watch_by_descriptor!(crate::node::Endpoint);
#[cfg(feature = "worker")]
watch_by_descriptor!(crate::Worker);
