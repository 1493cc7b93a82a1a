//! One client: a connection, and the request that it carries.
//!
//! Owns the steps connect, send, read, wait for the end. Never counts. Called by `engine` with the poll's events.

use std::io::{self, Read, Write};

use mio::event::Event;
use mio::{Registry, Token};

use super::Target;
use super::answer::{Answer, Progress};
use super::stream::Stream;
use super::tally::FailureKind;

/// One client.
#[derive(Debug, Default)]
pub(super) struct Client {
    stream: Option<Stream>,
    phase: Phase,
    sent: usize,
    answer: Answer,
    /// Whether a connection carries one request, as the request has said, whatever the answer says.
    short: bool,
    /// When the request was issued.
    pub(super) issued_at_ns: u64,
    /// Our port, if it was asked for.
    pub(super) port: u16,
    /// How many answers this connection has carried.
    pub(super) served: u32,
    /// Whether the request was sent before, on a connection that the server closed meanwhile.
    pub(super) repeated: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Phase {
    /// Nothing is asked.
    #[default]
    Idle,
    Sending,
    Reading,
    /// Answered; the server is about to close.
    Ending,
}

/// What a step brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Nothing yet.
    Waiting,
    /// The whole answer; `free` if the client can ask again at once.
    Answered { free: bool },
    /// A connection that had brought its answer is closed: the client can ask again.
    Freed,
    /// The request failed; the client can ask again.
    Failed(FailureKind),
}

impl Client {
    /// A client whose connections carry one request each, or many.
    pub(super) fn new(short: bool) -> Self {
        Self { short, ..Self::default() }
    }

    /// Asks on a new connection, or on the kept one.
    ///
    /// # Errors
    ///
    /// No descriptor or no local port is left: faults of the one who measures.
    pub(super) fn ask(
        &mut self,
        target: &Target,
        registry: &Registry,
        token: Token,
        ports: bool,
    ) -> io::Result<()> {
        self.answer.clear();
        self.sent = 0;
        self.phase = Phase::Sending;
        if self.stream.is_none() {
            self.served = 0;
            let stream = Stream::connect(target, registry, token)?;
            self.port = if ports { stream.port() } else { 0 };
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Sends the request on a connection that is up already.
    pub(super) fn send_at_once(&mut self, request: &[u8]) -> Step {
        if self.served > 0 { self.send(request) } else { Step::Waiting }
    }

    /// Whether there is a request without its answer.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Sending | Phase::Reading)
    }

    /// Whether the client waits for the server to close.
    pub(super) fn is_ending(&self) -> bool {
        self.phase == Phase::Ending
    }

    /// Whether a request that has just failed may be sent again: its connection had carried an answer before, and has
    /// brought not one byte of this one.
    pub(super) fn may_repeat(&self, kind: FailureKind) -> bool {
        let closed = matches!(kind, FailureKind::Reset | FailureKind::Truncated);
        closed && self.served > 0 && !self.repeated && self.answer.is_empty()
    }

    pub(super) fn text(&self) -> String {
        self.answer.text()
    }

    pub(super) fn header(&self, name: &str) -> String {
        self.answer.header(name).unwrap_or_default()
    }

    /// Does what an event makes possible.
    pub(super) fn advance(&mut self, event: &Event, request: &[u8], buffer: &mut [u8]) -> Step {
        if self.phase == Phase::Sending && event.is_writable() {
            let step = self.send(request);
            if step != Step::Waiting {
                return step;
            }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            return self.read(event.is_read_closed(), buffer);
        }
        Step::Waiting
    }

    /// Gives the connection up.
    pub(super) fn close(&mut self) {
        self.stream = None;
        self.phase = Phase::Idle;
        self.served = 0;
    }

    fn send(&mut self, request: &[u8]) -> Step {
        while self.sent < request.len() {
            let Some(stream) = &mut self.stream else { return Step::Waiting };
            match stream.write(&request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) => return self.fault(&error),
            }
        }
        self.phase = Phase::Reading;
        Step::Waiting
    }

    fn read(&mut self, closed: bool, buffer: &mut [u8]) -> Step {
        loop {
            let Some(stream) = &mut self.stream else { return Step::Waiting };
            match stream.read(buffer) {
                Ok(0) => return self.ended(),
                Ok(count) => {
                    let step = self.took(&buffer[..count], closed);
                    // A short read has emptied the socket: what comes later is another edge.
                    if step != Step::Waiting || (count < buffer.len() && !closed) {
                        return step;
                    }
                }
                Err(error) => return self.fault(&error),
            }
        }
    }

    fn took(&mut self, bytes: &[u8], closed: bool) -> Step {
        if self.phase != Phase::Reading {
            return Step::Waiting;
        }
        match self.answer.take(bytes) {
            Progress::Partial => Step::Waiting,
            Progress::Wrong => self.fail(FailureKind::Truncated),
            Progress::Complete => self.answered(closed),
        }
    }

    /// The answer is whole. A server that said that it closes is waited for, so that it is the side that remembers
    /// the connection, and our ports do not run out.
    fn answered(&mut self, closed: bool) -> Step {
        self.served += 1;
        let closes = self.short || self.answer.closes();
        self.phase = if closes && !closed { Phase::Ending } else { Phase::Idle };
        if closes && closed {
            self.stream = None;
            self.served = 0;
        }
        Step::Answered { free: self.phase == Phase::Idle }
    }

    fn ended(&mut self) -> Step {
        match self.phase {
            Phase::Ending => {
                self.close();
                Step::Freed
            }
            Phase::Idle => {
                self.close();
                Step::Waiting
            }
            Phase::Reading if self.answer.end() == Progress::Complete => {
                self.stream = None;
                self.phase = Phase::Idle;
                Step::Answered { free: true }
            }
            Phase::Sending | Phase::Reading => self.fail(FailureKind::Truncated),
        }
    }

    fn fault(&mut self, error: &io::Error) -> Step {
        if error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::Interrupted {
            return Step::Waiting;
        }
        match self.phase {
            Phase::Idle => {
                self.close();
                Step::Waiting
            }
            Phase::Ending => {
                self.close();
                Step::Freed
            }
            Phase::Sending | Phase::Reading => self.fail(kind_of(error)),
        }
    }

    /// Keeps `port`, `served` and `issued_at_ns` for the record.
    fn fail(&mut self, kind: FailureKind) -> Step {
        self.stream = None;
        self.phase = Phase::Idle;
        Step::Failed(kind)
    }
}

fn kind_of(error: &io::Error) -> FailureKind {
    if error.kind() == io::ErrorKind::ConnectionRefused { FailureKind::Refused } else { FailureKind::Reset }
}
