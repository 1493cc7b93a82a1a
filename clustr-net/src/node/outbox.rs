//! What waits to be written to a worker.
//!
//! Owns the queue of lines with their descriptors, its bound, and the order of sending. Never reads. Called by
//! `endpoint`.
//!
//! A line with a descriptor leaves in a `sendmsg` of its own. Node takes at most one descriptor per read, so after a
//! line that left in pieces no descriptor is sent until all handles that are under way have been acknowledged. Our
//! own acknowledgements overtake everything but a line that is half out: while a worker waits for one it says
//! nothing else, and it might be its word that we wait for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::accept::Connection;
use crate::scm;

use super::ledger::Ledger;

/// Bound: bytes that wait for one worker. A single message may be that long; more is refused.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Bound: lines that wait for one worker, however short they are.
pub const QUEUE_LINES_MAX: usize = 16 << 10;
/// Bound: descriptors that wait for one worker.
const QUEUE_FDS_MAX: usize = 1024;
/// Bound: bytes of acknowledgements that wait for a worker that sends handles and never reads.
const URGENT_BYTES_MAX: usize = 64 << 10;

/// Why a worker was not sent something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The worker's end is closed.
    #[error("the worker closed its channel")]
    Closed,
    /// The worker does not read, and the queue is full.
    #[error("the worker does not read its channel")]
    Full,
    /// The message is no JSON value.
    #[error("the message is not JSON")]
    NotJson,
    /// The message is an object whose `cmd` starts with `NODE_`: the worker would take it for one of node's own.
    #[error("the message has a cmd that is reserved for node")]
    Reserved,
    /// The kernel refused, or we have no descriptor left.
    #[error("the channel cannot be written to")]
    Io(#[from] io::Error),
}

/// A handle that was sent and not acknowledged yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum SentHandle {
    /// A listener or a datagram socket.
    Reply(SentReply),
    /// A connection, by our number of the message.
    Connection(u64),
}

/// A reply that went with a handle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SentReply {
    /// Our number of the message.
    pub(crate) seq: u64,
    /// The number of the query that it answers.
    pub(crate) ack: i64,
    /// The key that it names.
    pub(crate) key: String,
    /// The reply's data, for a reply without the descriptor.
    pub(crate) data: String,
}

#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    written: usize,
    cargo: Option<Cargo>,
}

/// The descriptor of a line.
#[derive(Debug)]
enum Cargo {
    /// A duplicate that is ours.
    Reply(OwnedFd, SentReply),
    /// The connection of this number in the ledger.
    Connection(u64),
}

/// The queue of one channel.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    urgent: VecDeque<Frame>,
    frames: VecDeque<Frame>,
    urgent_bytes: usize,
    frame_bytes: usize,
    fds: usize,
    /// Handles under way, oldest first.
    sent: VecDeque<SentHandle>,
    /// A line with a descriptor left in pieces; no other may follow until `sent` is empty.
    split: bool,
    /// Connections that wait to be sent, and those that were sent and are not answered.
    pub(crate) ledger: Ledger,
}

impl Outbox {
    /// Queues a line.
    pub(crate) fn push(&mut self, bytes: Vec<u8>) -> Result<(), SendError> {
        self.push_frame(Frame { bytes, written: 0, cargo: None })
    }

    /// Queues a line with its descriptor.
    pub(crate) fn push_handle(
        &mut self,
        bytes: Vec<u8>,
        fd: OwnedFd,
        reply: SentReply,
    ) -> Result<(), SendError> {
        if self.fds >= QUEUE_FDS_MAX {
            return Err(SendError::Full);
        }
        self.push_frame(Frame { bytes, written: 0, cargo: Some(Cargo::Reply(fd, reply)) })?;
        self.fds += 1;
        Ok(())
    }

    /// Sends a line with its connection at once if nothing waits before it; else queues what has not left. If this
    /// fails, nothing was sent, and the connection is given back.
    pub(crate) fn hand_over(
        &mut self,
        socket: BorrowedFd<'_>,
        line: &[u8],
        seq: u64,
        connection: Connection,
    ) -> Result<(), (SendError, Connection)> {
        let waits = !self.frames.is_empty() || !self.urgent.is_empty() || self.split;
        let sent = if waits { Ok(0) } else { send_some(socket, line, connection.as_fd()) };
        let written = match sent {
            Ok(written) => written,
            Err(error) => return Err((SendError::from_write(error), connection)),
        };
        if written == line.len() {
            self.ledger.enter(seq, connection);
            self.sent.push_back(SentHandle::Connection(seq));
            return Ok(());
        }
        if written == 0 && (self.fds >= QUEUE_FDS_MAX || self.frame_bytes + line.len() > QUEUE_BYTES_MAX) {
            return Err((SendError::Full, connection));
        }
        self.ledger.enter(seq, connection);
        self.push_rest(line, written, seq);
        Ok(())
    }

    /// What is left of a connection's line. Its descriptor is under way once the first byte is.
    fn push_rest(&mut self, line: &[u8], written: usize, seq: u64) {
        self.frame_bytes += line.len();
        let cargo = (written == 0).then_some(Cargo::Connection(seq));
        self.fds += usize::from(cargo.is_some());
        self.frames.push_back(Frame { bytes: line.to_vec(), written, cargo });
        if written > 0 {
            self.sent.push_back(SentHandle::Connection(seq));
            self.split = true;
        }
    }

    fn push_frame(&mut self, frame: Frame) -> Result<(), SendError> {
        let has_room =
            self.frames.len() < QUEUE_LINES_MAX && self.frame_bytes + frame.bytes.len() <= QUEUE_BYTES_MAX;
        if !has_room {
            return Err(SendError::Full);
        }
        self.frame_bytes += frame.bytes.len();
        self.frames.push_back(frame);
        Ok(())
    }

    /// Queues an acknowledgement, before all that has not begun to leave.
    pub(crate) fn push_urgent(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        if self.urgent_bytes + bytes.len() > URGENT_BYTES_MAX {
            return Err(SendError::Full);
        }
        self.urgent_bytes += bytes.len();
        self.urgent.push_back(Frame { bytes: bytes.to_vec(), written: 0, cargo: None });
        Ok(())
    }

    /// The worker has answered its oldest handle. `None` if nothing was under way: a stray word.
    pub(crate) fn settle(&mut self) -> Option<SentHandle> {
        let handle = self.sent.pop_front();
        self.split &= !self.sent.is_empty();
        handle
    }

    /// Whether something waits for room in the socket, rather than for a word of the worker.
    pub(crate) fn wants_write(&self) -> bool {
        !self.urgent.is_empty() || self.frames.front().is_some_and(|frame| !self.is_held(frame))
    }

    /// Drops everything but the connections: there is nobody to read it.
    pub(crate) fn clear(&mut self) {
        *self = Self { ledger: std::mem::take(&mut self.ledger), ..Self::default() };
    }

    /// Writes as much as the socket takes.
    pub(crate) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while let Some(urgent) = self.next_is_urgent() {
            match self.write_front(urgent, socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock || is_passing(&error) => break,
                other => other?,
            }
        }
        Ok(())
    }

    fn next_is_urgent(&self) -> Option<bool> {
        match self.frames.front() {
            Some(frame) if frame.written > 0 => Some(false),
            _ if !self.urgent.is_empty() => Some(true),
            Some(frame) if !self.is_held(frame) => Some(false),
            _ => None,
        }
    }

    fn is_held(&self, frame: &Frame) -> bool {
        self.split && frame.cargo.is_some() && !self.sent.is_empty()
    }

    fn write_front(&mut self, urgent: bool, socket: BorrowedFd<'_>) -> io::Result<()> {
        let queue = if urgent { &mut self.urgent } else { &mut self.frames };
        let Some(frame) = queue.front_mut() else {
            return Ok(());
        };
        let rest = &frame.bytes[frame.written..];
        let fds = match &frame.cargo {
            Some(Cargo::Reply(fd, _)) => Some(fd.as_fd()),
            Some(Cargo::Connection(seq)) => self.ledger.fd(*seq),
            None => None,
        };
        let count = scm::send(socket, rest, fds.as_slice())?;
        frame.written += count;
        let done = frame.written == frame.bytes.len();
        if let Some(cargo) = frame.cargo.take_if(|_| count > 0) {
            self.sent.push_back(SentHandle::of(cargo));
            self.fds -= 1;
            self.split |= !done;
        }
        if done {
            self.drop_front(urgent);
        }
        Ok(())
    }

    fn drop_front(&mut self, urgent: bool) {
        let (queue, bytes) = match urgent {
            true => (&mut self.urgent, &mut self.urgent_bytes),
            false => (&mut self.frames, &mut self.frame_bytes),
        };
        *bytes -= queue.pop_front().map_or(0, |frame| frame.bytes.len());
    }
}

impl SentHandle {
    fn of(cargo: Cargo) -> Self {
        match cargo {
            Cargo::Reply(_fd, reply) => Self::Reply(reply),
            Cargo::Connection(seq) => Self::Connection(seq),
        }
    }
}

/// A full socket takes nothing, which is no error.
fn send_some(socket: BorrowedFd<'_>, line: &[u8], fd: BorrowedFd<'_>) -> io::Result<usize> {
    match scm::send(socket, line, &[fd]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// Whether the kernel is short of something now and will not be later: memory, or the number of descriptors that one
/// user may have under way (`ETOOMANYREFS`, unix(7)).
fn is_passing(error: &io::Error) -> bool {
    let short = [Errno::TOOMANYREFS, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| short.iter().any(|errno| errno.raw_os_error() == code))
}
