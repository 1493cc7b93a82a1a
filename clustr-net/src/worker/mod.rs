//! What a server in Rust links to be a worker: its listeners, its connections, its word to the primary.
//!
//! Owns the channel that `CLUSTR_CHANNEL_FD` names and the listeners that `LISTEN_FDS` counts, and makes one sequence of
//! connections of both: the same program serves whether the primary hands connections over (`handoff`), shares its
//! listeners (`shared`, systemd), or does both (`per-worker`, where a worker is handed whoever waits for one that does not serve). Never starts a thread, never decides when to leave: it tells what it
//! heard. Called by servers.
//!
//! One connection after the other, or one thread each:
//!
//! ```no_run
//! use std::io::Write;
//!
//! let Some(mut worker) = clustr_net::Worker::from_env()? else { return Ok(()) };
//! worker.ready()?;
//! for connection in worker.connections() {
//!     let mut connection = connection?;
//!     std::thread::spawn(move || connection.write_all(b"hello\n"));
//! }
//! // Told to drain: nothing more comes, and the primary sees us drained when the last connection is dropped.
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A loop watches the worker ([`AsFd`], and mio's `Source` with feature `mio`) and calls [`Worker::try_next`] until it says
//! `None`; with edges, as with levels, the next arrival wakes it again. Three complete programs are in `examples/`: `worker_threads`, `worker_mio`,
//! `worker_tokio`.
//!
//! | variable | meaning |
//! |---|---|
//! | `CLUSTR_CHANNEL_FD` | the number of the channel |
//! | `LISTEN_FDS` | how many listeners there are, from descriptor 3 on |
//! | `LISTEN_PID` | whom they are for; not set: whoever has them |
//! | `LISTEN_FDNAMES` | their names, with `:` between them |

mod connection;

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::io::Errno;
use rustix::net::SocketFlags;

pub use connection::{Connection, OpenGuard, Stream};

use crate::activation::{self, Taken};
use crate::handoff::{self, CHANNEL_VARIABLE, Family, Receiver};
use crate::listener::{Kind, Listener};
use crate::{Addr, inherited};

/// How long a blocking wait leaves listeners alone when no descriptor is left for what they accept.
const REST: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What a worker was given: a channel, listeners, or both.
#[derive(Debug)]
pub struct Worker {
    receiver: Option<Receiver>,
    /// What the primary may let wait here once the sequence is asked for, if it was not told so at once.
    window: Option<u32>,
    listeners: Vec<Named>,
    /// Watches channel and listeners, if there is more than the channel.
    watch: Option<OwnedFd>,
    /// Whose turn it is.
    turn: usize,
    draining: bool,
    closed: bool,
}

#[derive(Debug)]
struct Named {
    name: Arc<str>,
    listener: Listener,
}

/// What a worker hears, in order.
#[derive(Debug)]
pub enum Heard {
    /// Somebody to serve.
    Connection(Connection),
    /// A message of the primary.
    Message(Vec<u8>),
    /// Finish what is open and end: no connection comes after this.
    Drain,
    /// The primary is gone. Said once; listeners that came through `LISTEN_FDS` go on.
    Closed,
}

impl Worker {
    /// Takes what the process was started with; `None` if nobody made it a worker. To be called once, before the program
    /// opens or starts anything, see [`inherited`]. The variables stay, the descriptors are not passed on.
    ///
    /// # Errors
    ///
    /// A variable names no inherited descriptor, or one that is no such socket; the primary is gone.
    pub fn from_env() -> io::Result<Option<Self>> {
        let channel = std::env::var_os(CHANNEL_VARIABLE).map(|number| claim(&number)).transpose()?;
        let adopt = |one: Taken| Ok((one.name, Listener::adopt(one.fd)?));
        let listeners: Vec<_> = activation::take()?.into_iter().map(adopt).collect::<io::Result<_>>()?;
        if channel.is_none() && listeners.is_empty() {
            return Ok(None);
        }
        Self::new(channel, listeners).map(Some)
    }

    /// Takes a channel, listeners with their names, or both.
    ///
    /// # Errors
    ///
    /// The channel is none, or the primary is gone; `EMFILE`.
    pub fn new(channel: Option<OwnedFd>, listeners: Vec<(String, Listener)>) -> io::Result<Self> {
        // One that has listeners may serve them in a way of its own, and never ask for the sequence.
        let receive = if listeners.is_empty() { Receiver::new } else { Receiver::reserved };
        let window = (!listeners.is_empty()).then_some(handoff::WINDOW);
        let receiver = channel.map(receive).transpose()?;
        let listeners: Vec<Named> =
            listeners.into_iter().map(|(name, listener)| Named { name: name.into(), listener }).collect();
        let channel_alone = receiver.is_some() && listeners.is_empty();
        let watch = if channel_alone { None } else { Some(watch(receiver.as_ref(), &listeners)?) };
        Ok(Self { receiver, window, listeners, watch, turn: 0, draining: false, closed: false })
    }

    /// Says that the worker can serve. Without a channel there is nobody to hear it.
    ///
    /// # Errors
    ///
    /// `BrokenPipe`: the primary is gone.
    pub fn ready(&self) -> io::Result<()> {
        self.receiver.as_ref().map_or(Ok(()), Receiver::ready)
    }

    /// Sends the primary a message. Waits if the primary has stood still for some hundred words.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for more than [`MESSAGE_BYTES_MAX`](handoff::MESSAGE_BYTES_MAX) bytes; `NotConnected` without a
    /// channel; `BrokenPipe`: the primary is gone.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        self.receiver.as_ref().ok_or(ErrorKind::NotConnected)?.send(message)
    }

    /// How many connections the primary may let wait here, [`WINDOW`](handoff::WINDOW) at first: they are served by others
    /// if this process ends, but not while it hangs.
    pub fn set_window(&mut self, window: u32) {
        match (&mut self.window, &mut self.receiver) {
            (Some(later), _) => *later = window,
            (None, Some(receiver)) => receiver.set_window(window),
            (None, None) => {}
        }
    }

    /// How many connections the primary may have open here at once; no bound at first.
    pub fn set_open_max(&mut self, open_max: u32) {
        if let Some(receiver) = &mut self.receiver {
            receiver.set_open_max(open_max);
        }
    }

    /// The listeners that came through `LISTEN_FDS`, with their names, in order.
    pub fn listeners(&self) -> impl Iterator<Item = (&str, &Listener)> {
        self.listeners.iter().map(|named| (&*named.name, &named.listener))
    }

    /// Takes a listener out of the sequence, for a program that accepts by itself, or that receives datagrams. One that
    /// accepts by itself is handed nothing in `per-worker` either: whoever waits for a worker that does not serve is
    /// left to others.
    pub fn take_listener(&mut self, name: &str) -> Option<Listener> {
        let place = self.listeners.iter().position(|named| &*named.name == name)?;
        let listener = self.listeners.remove(place).listener;
        self.unwatch(&listener);
        if listener.kind() == Kind::Stream {
            self.set_window(0);
        }
        Some(listener)
    }

    /// Everybody to serve, one after the other, blocking, until the primary says to drain, or is gone and there is no
    /// listener. Messages are dropped: to hear them, [`wait`](Self::wait).
    pub fn connections(&mut self) -> Connections<'_> {
        Connections { worker: self }
    }

    /// Waits for what comes next. A [`Connection`] is blocking. `None` when `timeout` has passed, a signal or another
    /// worker was faster, or no descriptor was left for a connection; and at once when nothing can come any more.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the primary speaks another protocol, else what poll(2) and accept(2) say.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Option<Heard>> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match self.try_next() {
            Ok(Some(heard)) => return heard.blocking().map(Some),
            Ok(None) if self.is_over() => return Ok(None),
            Ok(None) => self.poll(timeout.as_ref())?,
            Err(error) if is_exhausted(&error) => self.rest()?,
            Err(error) => return Err(error),
        }
        match self.try_next() {
            Err(error) if is_exhausted(&error) => Ok(None),
            other => other?.map(Heard::blocking).transpose(),
        }
    }

    /// What comes next, or `None`: nothing yet. A [`Connection`] is non-blocking.
    ///
    /// A connection of the channel is acknowledged before this returns. What has come and was not asked for yet is served
    /// by another worker if this process ends.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the primary speaks another protocol. `EMFILE` and its like from accept(2): call again when
    /// something was closed, or after a while.
    pub fn try_next(&mut self) -> io::Result<Option<Heard>> {
        if let (Some(window), Some(receiver)) = (self.window.take(), &mut self.receiver) {
            receiver.set_window(window);
        }
        if let Some(heard) = self.hear()? {
            return Ok(Some(heard));
        }
        if self.draining { Ok(None) } else { self.accept() }
    }

    fn hear(&mut self) -> io::Result<Option<Heard>> {
        let Some(receiver) = self.receiver.as_mut().filter(|_| !self.closed) else { return Ok(None) };
        Ok(match receiver.next()? {
            None => None,
            Some(handoff::Heard::Connection { fd, family, listener, guard }) => {
                Some(Heard::Connection(Connection::new(fd, family, listener, Some(guard))))
            }
            Some(handoff::Heard::Message(message)) => Some(Heard::Message(message)),
            Some(handoff::Heard::Drain) => {
                self.stop_accepting();
                Some(Heard::Drain)
            }
            Some(handoff::Heard::Closed) => {
                self.closed = true;
                self.unwatch_channel();
                Some(Heard::Closed)
            }
        })
    }

    /// The next connection of the listeners, each having its turn.
    fn accept(&mut self) -> io::Result<Option<Heard>> {
        let count = self.listeners.len();
        for _ in 0..count {
            self.turn = (self.turn + 1) % count;
            let Named { name, listener } = &self.listeners[self.turn];
            if listener.kind() == Kind::Datagram {
                continue;
            }
            if let Some(fd) = accept(listener)? {
                let connection = Connection::new(fd, family(listener), Arc::clone(name), None);
                return Ok(Some(Heard::Connection(connection)));
            }
        }
        Ok(None)
    }

    fn stop_accepting(&mut self) {
        self.draining = true;
        self.listeners.iter().for_each(|named| self.unwatch(&named.listener));
    }

    fn unwatch(&self, fd: impl AsFd) {
        if let Some(watch) = &self.watch {
            epoll::delete(watch, fd).ok();
        }
    }

    fn unwatch_channel(&self) {
        self.receiver.iter().for_each(|receiver| self.unwatch(receiver));
    }

    /// Nothing can come any more.
    fn is_over(&self) -> bool {
        let accepts =
            !self.draining && self.listeners.iter().any(|named| named.listener.kind() == Kind::Stream);
        (self.closed || self.receiver.is_none()) && !accepts
    }

    fn poll(&self, timeout: Option<&Timespec>) -> io::Result<()> {
        poll(&mut [PollFd::new(self, PollFlags::IN)], timeout)
    }

    /// Waits without looking at listeners, for a moment: whoever asks waits in the kernel's queue.
    fn rest(&self) -> io::Result<()> {
        let channel = self.receiver.as_ref().filter(|_| !self.closed);
        let mut fds: Vec<_> =
            channel.map(|channel| PollFd::new(channel, PollFlags::IN)).into_iter().collect();
        poll(&mut fds, Some(&REST))
    }
}

fn poll(fds: &mut [PollFd<'_>], timeout: Option<&Timespec>) -> io::Result<()> {
    match rustix::event::poll(fds, timeout) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl AsFd for Worker {
    /// Readable when [`try_next`](Worker::try_next) may have something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match (&self.watch, &self.receiver) {
            (Some(watch), _) => watch.as_fd(),
            (None, Some(receiver)) => receiver.as_fd(),
            (None, None) => unreachable!("a worker without a channel has a watch"),
        }
    }
}

/// Everybody to serve: see [`Worker::connections`].
#[derive(Debug)]
pub struct Connections<'a> {
    worker: &'a mut Worker,
}

impl Iterator for Connections<'_> {
    type Item = io::Result<Connection>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.worker.draining {
            match self.worker.wait(None) {
                Ok(Some(Heard::Connection(connection))) => return Some(Ok(connection)),
                Ok(Some(Heard::Drain)) => return None,
                Ok(_) if self.worker.is_over() => return None,
                Ok(Some(Heard::Message(_) | Heard::Closed) | None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

impl Heard {
    fn blocking(self) -> io::Result<Self> {
        if let Self::Connection(connection) = &self {
            connection.set_nonblocking(false)?;
        }
        Ok(self)
    }
}

fn claim(number: &OsStr) -> io::Result<OwnedFd> {
    let parsed = number.to_str().and_then(|text| text.parse().ok());
    let claimed = parsed.ok_or(ErrorKind::InvalidInput.into()).and_then(inherited::claim);
    claimed.map_err(|error| {
        let what =
            format!("{CHANNEL_VARIABLE} is {}, which is no inherited descriptor: {error}", number.display());
        io::Error::new(error.kind(), what)
    })
}

/// One descriptor for channel and listeners. Of workers that share a listener only some are woken for a connection.
fn watch(receiver: Option<&Receiver>, listeners: &[Named]) -> io::Result<OwnedFd> {
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64(0);
    if let Some(receiver) = receiver {
        epoll::add(&watch, receiver, data, epoll::EventFlags::IN)?;
    }
    for Named { listener, .. } in listeners.iter().filter(|named| named.listener.kind() == Kind::Stream) {
        epoll::add(&watch, listener, data, epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE)?;
    }
    Ok(watch)
}

fn accept(listener: &Listener) -> io::Result<Option<OwnedFd>> {
    loop {
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(fd) => return Ok(Some(fd)),
            Err(Errno::AGAIN) => return Ok(None),
            // The client has left, or the network has said something about it (accept(2)).
            Err(
                Errno::INTR
                | Errno::CONNABORTED
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::NONET
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::PERM,
            ) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

const fn family(listener: &Listener) -> Family {
    match listener.local_addr() {
        Addr::Unix(_) | Addr::Abstract(_) => Family::Unix,
        Addr::Tcp { .. } | Addr::Udp { .. } | Addr::Fd(_) => Family::Tcp,
    }
}
