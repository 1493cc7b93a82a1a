//! The worker's end of its channel.
//!
//! Owns what has come and was not taken yet, and the acknowledgements: a connection is acknowledged right before it is
//! handed out, and each is counted until its [`Guard`] is dropped. Never accepts, never decides when to leave. Called by
//! `clustr_net::worker`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags};

use crate::fd_channel::{FdChannel, RecvError};
use crate::scm::FDS_MAX;

use super::codec::{self, Indices, Names, Word};
use super::tally::Tally;
use super::{Family, MESSAGE_BYTES_MAX, WINDOW, WINDOW_MAX};

/// Room for the longest word that a primary sends.
const READ_BYTES: usize =
    if MESSAGE_BYTES_MAX < codec::NAMES_BYTES_MAX { codec::NAMES_BYTES_MAX } else { 1 + MESSAGE_BYTES_MAX };

/// The worker's end of its channel.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
    waiting: VecDeque<Waiting>,
    names: Vec<(Arc<str>, Family)>,
    read: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// What a worker hears, in order.
#[derive(Debug)]
pub enum Heard {
    /// A connection, acknowledged.
    Connection {
        /// The connection, non-blocking.
        fd: OwnedFd,
        /// What it is.
        family: Family,
        /// The name of the listener that it came from.
        listener: Arc<str>,
        /// To be kept while it is open.
        guard: Guard,
    },
    /// A message for the app.
    Message(Vec<u8>),
    /// Nothing more will come: finish what is open.
    Drain,
    /// The primary is gone.
    Closed,
}

/// Counts one connection as open: to be dropped when it is closed. May go to another thread.
#[derive(Debug)]
#[must_use = "the connection counts as closed once this is dropped"]
pub struct Guard {
    shared: Arc<Shared>,
}

/// What the receiver and all guards share.
#[derive(Debug)]
struct Shared {
    channel: FdChannel,
    tally: Mutex<Tally>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    fd: OwnedFd,
    listener: u16,
}

impl Receiver {
    /// Takes the worker's end of a channel, and grants the primary the first connections.
    ///
    /// # Errors
    ///
    /// It is no channel, or the primary is gone.
    pub fn new(channel: OwnedFd) -> io::Result<Self> {
        let receiver = Self::reserved(channel)?;
        receiver.shared.tally().limit_window(WINDOW);
        receiver.shared.report_waiting()?;
        Ok(receiver)
    }

    /// The same, and grants nothing before [`set_window`](Self::set_window).
    ///
    /// # Errors
    ///
    /// It is no channel.
    pub fn reserved(channel: OwnedFd) -> io::Result<Self> {
        let shared = Arc::new(Shared { channel: FdChannel::new(channel)?, tally: Mutex::new(Tally::new()) });
        shared.tally().limit_window(0);
        Ok(Self {
            shared,
            waiting: VecDeque::with_capacity(WINDOW_MAX as usize),
            names: Vec::new(),
            read: vec![0; READ_BYTES],
            fds: Vec::with_capacity(FDS_MAX),
        })
    }

    /// What comes next, or nothing yet. A connection is acknowledged before this returns, so what has come and was not
    /// asked for is served by another worker if this one dies.
    ///
    /// Does not wait, with one exception: for room in the channel to say so, if the primary has stood still for some
    /// hundred words.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the primary speaks another protocol; else what recvmsg(2) says.
    #[allow(clippy::should_implement_trait, reason = "it can fail, and nothing yet is not the end")]
    pub fn next(&mut self) -> io::Result<Option<Heard>> {
        loop {
            if let Some(next) = self.waiting.pop_front() {
                return self.take(next).map(Some);
            }
            let bytes = match self.shared.channel.recv(&mut self.read, &mut self.fds) {
                Ok(bytes) => bytes,
                Err(RecvError::Closed) => return Ok(Some(Heard::Closed)),
                Err(RecvError::FdsLost { bytes, .. }) => {
                    self.refuse(bytes)?;
                    continue;
                }
                Err(RecvError::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    self.shared.rest();
                    return Ok(None);
                }
                Err(RecvError::Io(error)) => return Err(error),
                Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
            };
            if let Some(heard) = self.hear(bytes)? {
                return Ok(Some(heard));
            }
        }
    }

    fn take(&self, next: Waiting) -> io::Result<Heard> {
        let unknown = || io::Error::from(ErrorKind::InvalidData);
        let (listener, family) = self.names.get(usize::from(next.listener)).cloned().ok_or_else(unknown)?;
        self.shared.tally().take(next.number);
        match self.shared.report_waiting() {
            // The primary is gone and nobody else has this connection: it is served all the same.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        let guard = Guard { shared: Arc::clone(&self.shared) };
        Ok(Heard::Connection { fd: next.fd, family, listener, guard })
    }

    fn hear(&mut self, bytes: usize) -> io::Result<Option<Heard>> {
        match codec::decode(&self.read[..bytes]).map_err(invalid)? {
            Word::Connections { first, listeners } => {
                hear_connections(&self.shared, first, listeners, &mut self.fds, &mut self.waiting)?;
            }
            Word::Names(names) => self.names = named(&names),
            Word::Message(bytes) => return Ok(Some(Heard::Message(bytes.to_vec()))),
            Word::Drain => return Ok(Some(Heard::Drain)),
            Word::Ask(number) => self.shared.say(&Word::Here(number))?,
            Word::Report(_) | Word::Refused { .. } | Word::Ready | Word::Leave | Word::Here(_) => {
                return Err(invalid("a word of a worker"));
            }
        }
        self.fds.clear();
        Ok(None)
    }

    /// A batch that found no room in our table goes back.
    fn refuse(&self, bytes: usize) -> io::Result<()> {
        let Word::Connections { first, listeners } = codec::decode(&self.read[..bytes]).map_err(invalid)?
        else {
            return Ok(());
        };
        let count = u16::try_from(listeners.count()).map_err(invalid)?;
        if !self.shared.tally().refuse(first, u32::from(count)) {
            return Err(ErrorKind::InvalidData.into());
        }
        self.shared.say(&Word::Refused { first, count })?;
        self.shared.report_waiting()
    }

    /// Says that the worker can serve.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the primary is gone. Waits if it has stood still for some hundred words.
    pub fn ready(&self) -> io::Result<()> {
        self.shared.say(&Word::Ready)
    }

    /// Sends the primary a message.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for more than [`MESSAGE_BYTES_MAX`]; `BrokenPipe` if the primary is gone. Waits if it does not read.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.shared.say(&Word::Message(message))
    }

    /// How many connections may wait here before they are taken: [`WINDOW`](super::WINDOW) at first, at most
    /// [`WINDOW_MAX`]. What was granted before stays granted. 0: none.
    pub fn set_window(&mut self, window: u32) {
        self.shared.tally().limit_window(window);
        self.shared.rest();
    }

    /// How many connections may be open at once, those that wait here included; no bound at first.
    pub fn set_open_max(&mut self, open_max: u32) {
        self.shared.tally().limit_open(open_max);
        self.shared.rest();
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.channel.as_fd()
    }
}

impl Drop for Receiver {
    /// Gives back what was not taken. Guards keep the channel open, so that its end means that the worker is drained.
    fn drop(&mut self) {
        let channel = &self.shared.channel;
        // What is still under way is closed here, or it would keep its connections open while others serve them.
        let shut = channel.shut_read();
        self.fds.clear();
        while shut.is_ok()
            && matches!(channel.recv(&mut self.read, &mut self.fds), Ok(_) | Err(RecvError::FdsLost { .. }))
        {
            self.fds.clear();
        }
        self.waiting.clear();
        // A primary that is gone, or reads nothing, learns it from the channel's end.
        drop(self.shared.try_say(&Word::Leave));
        self.shared.rest();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut tally = self.shared.tally();
        tally.close();
        if tally.idle {
            self.shared.report(&mut tally).ok();
        }
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where we stand, if that is news. Under the lock, so that reports leave in order.
    fn report(&self, tally: &mut Tally) -> io::Result<()> {
        let Some(report) = tally.due() else { return Ok(()) };
        self.channel.send(&report.to_bytes(), &[])?;
        tally.mark_reported(report);
        Ok(())
    }

    /// The same for what must be said before we go on. We are busy from now on: what is closed meanwhile goes with the
    /// next report.
    fn report_waiting(&self) -> io::Result<()> {
        self.retry(|| {
            let mut tally = self.tally();
            tally.idle = false;
            self.report(&mut tally)
        })
    }

    /// Nothing is to be done: from now on whoever closes a connection says so.
    fn rest(&self) {
        let mut tally = self.tally();
        tally.idle = true;
        // If there is no room the primary stands still, and hears it with the next report.
        self.report(&mut tally).ok();
    }

    fn say(&self, word: &Word<'_>) -> io::Result<()> {
        self.retry(|| self.try_say(word))
    }

    fn try_say(&self, word: &Word<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        codec::encode(word, &mut bytes);
        self.channel.send(&bytes, &[])
    }

    fn retry(&self, send: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match send() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_writable()?,
                other => return other,
            }
        }
    }

    fn wait_writable(&self) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.channel, PollFlags::OUT)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn hear_connections(
    shared: &Shared,
    first: u64,
    listeners: Indices<'_>,
    fds: &mut Vec<OwnedFd>,
    waiting: &mut VecDeque<Waiting>,
) -> io::Result<()> {
    let count = u32::try_from(listeners.count()).map_err(invalid)?;
    if fds.len() != listeners.count() || !shared.tally().receive(first, count) {
        return Err(ErrorKind::InvalidData.into());
    }
    let batch = (first..).zip(fds.drain(..)).zip(listeners.iter());
    waiting.extend(batch.map(|((number, fd), listener)| Waiting { number, fd, listener }));
    Ok(())
}

fn named(names: &Names<'_>) -> Vec<(Arc<str>, Family)> {
    names.iter().map(|(name, family)| (Arc::from(name), family)).collect()
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
