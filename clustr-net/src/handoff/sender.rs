//! The primary's end of one worker's channel.
//!
//! Owns the channel, the [`Ledger`] of what the worker was given, and the queue of other words. Never waits, never chooses,
//! never reads a clock. Called by the loop of a primary: [`offer`](Sender::offer) for each connection that a balancer gives
//! this worker, [`flush`](Sender::flush) once at the end of the turn and when the channel is writable,
//! [`receive`](Sender::receive) when it is readable.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::fd_channel::{FdChannel, RecvError};
use crate::progress::Progress;
use crate::scm::FDS_MAX;

use super::codec::{self, NAMES_BYTES_MAX, Report, Word};
use super::{Family, Ledger, MESSAGE_BYTES_MAX, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX};

/// Room for the longest word that a worker sends.
const READ_BYTES: usize = 1 + MESSAGE_BYTES_MAX;

/// An accepted connection on its way to a worker.
#[derive(Debug)]
pub struct Handover {
    /// The connection, non-blocking.
    pub fd: OwnedFd,
    /// The index of the listener that accepted it, as named in [`Sender::new`].
    pub listener: u16,
}

/// What is kept of one until it is acknowledged.
#[derive(Debug)]
struct Kept {
    handover: Handover,
    /// It is a connection of our own, and nobody else's business.
    probe: bool,
}

/// The primary's end of one worker's channel.
#[derive(Debug)]
pub struct Sender {
    channel: FdChannel,
    ledger: Ledger<Kept>,
    state: State,
    words: VecDeque<Vec<u8>>,
    words_bytes: usize,
    /// The batch that is being encoded, and what was read: kept so that nothing is allocated for a connection.
    batch: Vec<u8>,
    read: Vec<u8>,
    blocked: bool,
    asked: u64,
    answered: u64,
}

/// Whether a worker may be offered connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// As many as it has granted.
    Open,
    /// None: it has no descriptor left.
    Resting,
    /// One, to see whether it has.
    Probing,
    /// None, ever again: it was told to drain, said that it leaves, or is gone.
    Over,
}

/// What a worker said, in order.
#[derive(Debug)]
pub enum Said {
    /// It looks for its next connection: the answer to [`Sender::ask`].
    Here,
    /// It can serve.
    Ready,
    /// A message of its app.
    Message(Vec<u8>),
    /// A connection that it did not take: for another worker.
    Returned(Handover),
    /// It has no descriptor left, and rests until it has closed something, or until [`Sender::probe`]: in 100 ms, say.
    Exhausted,
    /// It takes nothing more; what it did not take was [`Returned`](Self::Returned). It may still have connections open.
    Leaving,
}

/// Why a worker was not sent a word.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The worker's end is closed.
    #[error("the worker closed its channel")]
    Closed,
    /// The worker does not read, and the queue is full.
    #[error("the worker does not read its channel")]
    Full,
    /// The message is longer than [`MESSAGE_BYTES_MAX`].
    #[error("the message is longer than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    /// The kernel's word.
    #[error("the channel cannot be written to")]
    Io(#[from] io::Error),
}

impl Sender {
    /// Takes our end of a new channel. `listeners` are the names that the worker shall see, by index.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for more than [`NAMES_MAX`](super::NAMES_MAX) listeners, or a name beyond
    /// [`NAME_BYTES_MAX`](super::NAME_BYTES_MAX); else what sendmsg(2) says.
    pub fn new(channel: FdChannel, listeners: &[(&str, Family)]) -> io::Result<Self> {
        let mut names = Vec::new();
        codec::encode_names(listeners, &mut names).ok_or(ErrorKind::InvalidInput)?;
        channel.send(&names, &[])?;
        Ok(Self {
            channel,
            ledger: Ledger::default(),
            state: State::Open,
            words: VecDeque::new(),
            words_bytes: 0,
            batch: Vec::with_capacity(NAMES_BYTES_MAX.min(1 + 8 + 2 * FDS_MAX)),
            read: vec![0; READ_BYTES],
            blocked: false,
            asked: 0,
            answered: 0,
        })
    }

    /// Gives the worker a connection, which leaves with the next [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// Gives it back if there is no credit: ask [`credits`](Self::credits) before.
    pub fn offer(&mut self, handover: Handover) -> Result<(), Handover> {
        self.keep(handover, false)
    }

    /// Gives the worker a connection of our own, to see whether it serves: it never comes back.
    ///
    /// # Errors
    ///
    /// Gives it back if there is no credit.
    pub fn offer_probe(&mut self, handover: Handover) -> Result<(), Handover> {
        self.keep(handover, true)
    }

    fn keep(&mut self, handover: Handover, probe: bool) -> Result<(), Handover> {
        if self.credits() == 0 {
            return Err(handover);
        }
        self.ledger.push(Kept { handover, probe }).map_err(|kept| kept.handover)
    }

    /// Sends what waits, as much as the worker's channel takes: all connections of a turn in one message.
    ///
    /// # Errors
    ///
    /// `ETOOMANYREFS`, `ENOBUFS` and the like: what waits still waits, and goes with a later flush. A worker that is
    /// gone is no error here: [`receive`](Self::receive) tells, after all that it said before.
    pub fn flush(&mut self) -> io::Result<()> {
        self.blocked = false;
        match self.flush_words().and_then(|()| self.flush_connections()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.blocked = true;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.close();
                Ok(())
            }
            other => other,
        }
    }

    fn flush_words(&mut self) -> io::Result<()> {
        while let Some(word) = self.words.front() {
            self.channel.send(word, &[])?;
            self.words_bytes -= word.len();
            self.words.pop_front();
        }
        Ok(())
    }

    fn flush_connections(&mut self) -> io::Result<()> {
        loop {
            let (first, unsent) = self.ledger.unsent();
            let count = unsent.len().min(FDS_MAX);
            if count == 0 {
                return Ok(());
            }
            let mut fds = [self.channel.as_fd(); FDS_MAX];
            self.batch.clear();
            let batch = unsent.zip(&mut fds).map(|(kept, fd)| {
                *fd = kept.handover.fd.as_fd();
                kept.handover.listener
            });
            codec::encode_connections(first, batch, &mut self.batch);
            self.channel.send(&self.batch, &fds[..count])?;
            self.ledger.mark_sent(count);
        }
    }

    /// Reads what has arrived, up to `budget` words, and appends what the worker said to `said`. Connections that it
    /// acknowledged are closed here on the way.
    ///
    /// # Errors
    ///
    /// `InvalidData` for a word that cannot be read, or that contradicts the ledger; else what recvmsg(2) says. The
    /// channel is of no use after any of them: [`take_back`](Self::take_back), and end the worker.
    pub fn receive(&mut self, budget: usize, said: &mut Vec<Said>) -> io::Result<Progress> {
        for _ in 0..budget {
            // A worker has no descriptors for us: what it sends nevertheless is closed here.
            let bytes = match self.channel.recv(&mut self.read, &mut Vec::new()) {
                Ok(bytes) => bytes,
                Err(RecvError::Closed) => {
                    self.close();
                    return Ok(Progress::Closed);
                }
                Err(RecvError::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Drained);
                }
                Err(RecvError::Io(error)) => return Err(error),
                Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
            };
            let read = std::mem::take(&mut self.read);
            let heard = self.hear(&read[..bytes], said);
            self.read = read;
            heard?;
        }
        Ok(Progress::More)
    }

    fn hear(&mut self, bytes: &[u8], said: &mut Vec<Said>) -> io::Result<()> {
        match codec::decode(bytes).map_err(invalid)? {
            Word::Report(report) => self.hear_report(report)?,
            Word::Refused { first, count } => {
                let returned = |back: Kept| said.extend(back.returnable().map(Said::Returned));
                self.ledger.refuse(first, count, returned).map_err(invalid)?;
                self.rest(said);
            }
            Word::Here(number) if number == self.asked && self.answered < number => {
                self.answered = number;
                said.push(Said::Here);
            }
            Word::Here(_) => return Err(invalid("an answer to what was not asked")),
            Word::Ready => said.push(Said::Ready),
            Word::Message(bytes) => said.push(Said::Message(bytes.to_vec())),
            Word::Leave => {
                said.extend(self.take_back().map(Said::Returned));
                said.push(Said::Leaving);
            }
            Word::Names(_) | Word::Connections { .. } | Word::Drain | Word::Ask(_) => {
                return Err(invalid("a word of the primary"));
            }
        }
        Ok(())
    }

    fn hear_report(&mut self, report: Report) -> io::Result<()> {
        let (taken, open) = (self.ledger.taken(), self.ledger.open());
        self.ledger.report(report).map_err(invalid)?;
        let took = self.ledger.taken() > taken;
        let closed = self.ledger.open() < open;
        if took && self.state == State::Probing {
            self.state = State::Open;
        }
        if closed {
            self.probe();
        }
        Ok(())
    }

    /// What is queued behind the batch that was refused would be refused, too.
    fn rest(&mut self, said: &mut Vec<Said>) {
        if self.state != State::Over {
            self.state = State::Resting;
        }
        said.extend(self.ledger.take_unsent().filter_map(Kept::returnable).map(Said::Returned));
        said.push(Said::Exhausted);
    }

    /// Offers a worker that has no descriptor left one connection, to see whether it has. It is asked by itself when it
    /// closes something.
    pub fn probe(&mut self) {
        if self.state == State::Resting {
            self.state = State::Probing;
        }
    }

    /// Tells the worker to finish what is open: it is given nothing more. Returns what it was not sent yet.
    pub fn drain(&mut self) -> impl Iterator<Item = Handover> {
        if self.state != State::Over {
            self.state = State::Over;
            self.push_word(&Word::Drain);
        }
        self.ledger.take_unsent().filter_map(Kept::returnable)
    }

    /// Asks whether the worker still looks for connections, unless it was asked and has not answered. It says
    /// [`Said::Here`], and its code notices nothing.
    pub fn ask(&mut self) {
        if self.asked == self.answered && self.state != State::Over {
            self.asked += 1;
            self.push_word(&Word::Ask(self.asked));
        }
    }

    /// Queues a message for the worker's app.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLong`], [`SendError::Full`].
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(SendError::TooLong);
        }
        let has_room =
            self.words.len() < QUEUE_MESSAGES_MAX && self.words_bytes + message.len() <= QUEUE_BYTES_MAX;
        if !has_room {
            return Err(SendError::Full);
        }
        self.push_word(&Word::Message(message));
        Ok(())
    }

    fn push_word(&mut self, word: &Word<'_>) {
        let mut bytes = Vec::new();
        codec::encode(word, &mut bytes);
        self.words_bytes += bytes.len();
        self.words.push_back(bytes);
    }

    /// All connections that the worker has not acknowledged, in order, for other workers; it gets nothing more. For a
    /// worker that is gone, once [`receive`](Self::receive) has said [`Progress::Closed`] or failed: before, it might
    /// still acknowledge some.
    pub fn take_back(&mut self) -> impl Iterator<Item = Handover> {
        self.state = State::Over;
        self.ledger.take_back().filter_map(Kept::returnable)
    }

    fn close(&mut self) {
        self.state = State::Over;
        self.words.clear();
        self.words_bytes = 0;
    }

    /// How many connections may be offered now.
    #[must_use]
    pub fn credits(&self) -> usize {
        match self.state {
            State::Open => self.ledger.credits(),
            State::Probing => self.ledger.credits().min(1_usize.saturating_sub(self.ledger.unacked())),
            State::Resting | State::Over => 0,
        }
    }

    /// How many connections the worker was given and has not acknowledged.
    #[must_use]
    pub fn unacked(&self) -> usize {
        self.ledger.unacked()
    }

    /// How many connections the worker has taken and not closed.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.ledger.open()
    }

    /// How many connections the worker has taken, in all.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.ledger.taken()
    }

    /// Whether something waits for the channel to become writable.
    #[must_use]
    pub const fn wants_write(&self) -> bool {
        self.blocked
    }
}

impl Kept {
    /// What another worker may be given instead.
    fn returnable(self) -> Option<Handover> {
        (!self.probe).then_some(self.handover)
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
