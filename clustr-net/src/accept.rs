//! Connections out of a listener's queue, as many as somebody can take.
//!
//! Owns what is known of one listener's queue: whether it may hold clients, and whether there was a descriptor for
//! them. Never accepts a connection only to close it: while this process is short of descriptors the listener rests,
//! and clients wait in the kernel. Never decides who gets a connection. Called by the loop of a primary, which stops
//! asking when nobody has room.
//!
//! Sources: accept(2), tcp(7). A client that gave up while it waited (`ECONNABORTED`) is nobody's error.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, SocketFlags};

/// How long a listener rests when there is no descriptor left, unless one is freed before.
pub const REST: Duration = Duration::from_millis(100);

/// Bound: how many connections one listener brings in one turn of a loop.
pub const BURST_MAX: u32 = 64;

/// In the place of a listener's number: the primary's own, to ask a worker something. Nobody else is to be given it.
pub const PROBE: u64 = u64::MAX;

/// An accepted connection that nobody serves yet. Non-blocking and close-on-exec.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub fd: OwnedFd,
    /// The number of the listener from which it came, or [`PROBE`].
    pub listener: u64,
    /// The client's address, if it was asked for and has one.
    pub source: Option<IpAddr>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What is known of one listener's queue. Times are on any monotonic clock, from any beginning.
#[derive(Debug)]
pub struct Acceptor {
    listener: u64,
    wants_source: bool,
    /// The queue may hold clients: its readable edge came, and it has not been found empty since.
    may_hold: bool,
    rests_until: Option<Duration>,
    burst: u32,
}

impl Acceptor {
    /// For the listener of this number. Its queue may hold clients already. `wants_source`: each connection shall
    /// name its client's address.
    #[must_use]
    pub const fn new(listener: u64, wants_source: bool) -> Self {
        Self { listener, wants_source, may_hold: true, rests_until: None, burst: BURST_MAX }
    }

    /// The listener became readable.
    pub const fn notice(&mut self) {
        self.may_hold = true;
    }

    /// A descriptor was freed: whoever rests for want of one may try again.
    pub const fn wake(&mut self) {
        self.rests_until = None;
    }

    /// A turn of the loop begins: another burst may come.
    pub fn begin_turn(&mut self, now: Duration) {
        self.burst = BURST_MAX;
        self.rests_until = self.rests_until.filter(|&until| until > now);
    }

    /// The number of the listener.
    #[must_use]
    pub const fn listener(&self) -> u64 {
        self.listener
    }

    /// Whether clients may wait in the queue.
    #[must_use]
    pub const fn may_hold(&self) -> bool {
        self.may_hold
    }

    /// Whether it is worth asking for a connection in this turn.
    #[must_use]
    pub const fn is_promising(&self) -> bool {
        self.may_hold && self.rests_until.is_none() && self.burst > 0
    }

    /// Whether the burst has ended before the queue: the next turn shall not wait for an edge.
    #[must_use]
    pub const fn is_cut_short(&self) -> bool {
        self.may_hold && self.rests_until.is_none() && self.burst == 0
    }

    /// When a rest ends, if clients wait for that.
    #[must_use]
    pub const fn rests_until(&self) -> Option<Duration> {
        if self.may_hold { self.rests_until } else { None }
    }

    /// The next connection. `None`: the queue is empty, the burst is over, or the listener rests.
    pub fn accept(&mut self, listener: impl AsFd, now: Duration) -> Option<Connection> {
        while self.is_promising() {
            self.burst -= 1;
            match self.try_accept(listener.as_fd()) {
                Ok(connection) => return Some(connection),
                Err(errno) => self.settle(errno, now),
            }
        }
        None
    }

    fn try_accept(&self, listener: BorrowedFd<'_>) -> Result<Connection, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (fd, source) = if self.wants_source {
            let (fd, name) = net::acceptfrom_with(listener, flags)?;
            let source = name.and_then(|name| SocketAddr::try_from(name).ok());
            (fd, source.map(|source| source.ip().to_canonical()))
        } else {
            (net::accept_with(listener, flags)?, None)
        };
        Ok(Connection { fd, listener: self.listener, source })
    }

    fn settle(&mut self, errno: Errno, now: Duration) {
        match errno {
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => self.rests_until = Some(now + REST),
            // A client that is gone already, or a network error that belongs to one connection: the next, please.
            Errno::INTR
            | Errno::CONNABORTED
            | Errno::PROTO
            | Errno::PERM
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH => {}
            // Empty; or the socket listens no more, and whoever makes it listen again causes an edge.
            _ => self.may_hold = false,
        }
    }
}
