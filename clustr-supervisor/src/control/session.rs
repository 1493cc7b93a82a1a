//! One client of the control socket.
//!
//! Owns its connection and both its buffers. Never waits for it: what finds no room is dropped (news, counted) or
//! ends the session (replies). Bounds: a request of [`LINE_BYTES_MAX`](super::protocol::LINE_BYTES_MAX), unsent bytes of [`UNSENT_BYTES_MAX`].

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Serialize;

use super::intake::{Intake, Line, PIECE_BYTES_MAX};
use super::protocol::{Delivery, Reply, Request};
use crate::news::News;
use crate::reactor::Registration;

/// The most that a client may leave unread.
const UNSENT_BYTES_MAX: usize = 1024 * 1024;

/// How many requests one client brings in one turn, and how many lines and reads it may take to find them.
const TURN_REQUESTS_MAX: usize = 8;
const TURN_LINES_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Session {
    stream: UnixStream,
    pub(super) registration: Registration,
    input: Intake,
    output: VecDeque<u8>,
    subscribed: Option<Subscription>,
    missed: u64,
    pending: u32,
    state: State,
}

/// What news a client wants.
#[derive(Debug)]
struct Subscription {
    request: u64,
    /// Of this app alone; `None`: all.
    app: Option<String>,
}

/// Whether the client still speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    /// It has said all it wants to say, and may still listen.
    Listening,
    /// It is gone, or has to go.
    Gone,
}

/// What one turn of reading brought.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) requests: Vec<Request>,
    /// There may be more to read.
    pub(crate) more: bool,
}

impl Session {
    pub(super) fn new(stream: UnixStream, registration: Registration) -> Self {
        Self {
            stream,
            registration,
            input: Intake::default(),
            output: VecDeque::new(),
            subscribed: None,
            missed: 0,
            pending: 0,
            state: State::Open,
        }
    }

    /// Reads what has arrived, within the turn's budget. Lines that are no requests are answered here.
    pub(super) fn hear(&mut self) -> Heard {
        let mut heard = Heard::default();
        for _ in 0..TURN_LINES_MAX {
            if heard.requests.len() == TURN_REQUESTS_MAX {
                break;
            }
            match self.input.next_line() {
                Some(Line::Request(request)) => heard.requests.push(request),
                Some(Line::Nonsense(reply)) => self.reply(&reply),
                Some(Line::TooLong(reply)) => {
                    self.reply(&reply);
                    self.flush();
                    self.state = State::Gone;
                    return heard;
                }
                None if self.fill() => {}
                None => return heard,
            }
        }
        heard.more = true;
        heard
    }

    /// Reads once; says whether anything came.
    fn fill(&mut self) -> bool {
        if self.state == State::Listening {
            self.look();
        }
        if self.state != State::Open {
            return false;
        }
        let mut buffer = [0; PIECE_BYTES_MAX];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.state = if self.is_hung_up() { State::Gone } else { State::Listening },
            Ok(count) => {
                self.input.push(&buffer[..count]);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.state = State::Gone,
        }
        false
    }

    /// Looks whether the client is still there.
    pub(super) fn look(&mut self) {
        if self.is_hung_up() {
            self.state = State::Gone;
        }
    }

    /// Whether the client has closed, and not merely said its last word: poll(2), POLLHUP.
    fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.stream, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = rustix::event::poll(&mut fds, Some(&at_once));
        fds[0].revents().contains(PollFlags::HUP)
    }

    /// One more answer is owed.
    pub(super) fn owe(&mut self) {
        self.pending += 1;
    }

    /// An answer that was owed has been given.
    pub(super) fn settle(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    pub(super) fn owes(&self) -> u32 {
        self.pending
    }

    pub(super) fn subscribe(&mut self, request: u64, app: Option<String>) {
        self.subscribed = Some(Subscription { request, app });
    }

    /// Queues a reply. A client that leaves too many unread has to go.
    pub(super) fn reply(&mut self, reply: &Reply) {
        if !self.queue(reply) {
            self.state = State::Gone;
        }
    }

    /// Queues a piece of news, if the client wants news and has room for it.
    pub(super) fn publish(&mut self, news: &News) {
        let wanted = |one: &&Subscription| one.app.as_ref().is_none_or(|app| *app == news.app);
        let Some(id) = self.subscribed.as_ref().filter(wanted).map(|one| one.request) else { return };
        let delivery = Delivery { id, news: news.clone(), missed: self.missed };
        if self.queue(&delivery) {
            self.missed = 0;
        } else {
            self.missed += 1;
        }
    }

    fn queue(&mut self, value: &impl Serialize) -> bool {
        let Ok(mut line) = serde_json::to_vec(value) else { return false };
        line.push(b'\n');
        if self.output.len() + line.len() > UNSENT_BYTES_MAX {
            return false;
        }
        self.output.extend(line);
        true
    }

    /// Writes what the client will take now.
    pub(super) fn flush(&mut self) {
        while !self.output.is_empty() && self.state != State::Gone {
            match self.stream.write(self.output.as_slices().0) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.state = State::Gone,
            }
        }
        if self.output.is_empty() && self.output.capacity() > 64 * 1024 {
            self.output = VecDeque::new();
        }
    }

    /// Whether nothing more will come of this session.
    pub(super) fn is_over(&self) -> bool {
        let satisfied = self.output.is_empty() && self.pending == 0 && self.subscribed.is_none();
        self.state == State::Gone || (self.state == State::Listening && satisfied)
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
