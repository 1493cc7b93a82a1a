//! Output: what workers print and what the primary says, brought out without ever blocking the loop.
//!
//! Owns the pipes' bytes from the read to the write. Never decides what is worth saying.
//!
//! ```text
//! worker's pipe ─ Capture ─ lines ─ Format ─ bytes ─ Outlet ═ bounded ═ writer thread ─ standard output, error
//! ```
//!
//! A slow reader slows the workers down, as a pipe does: while the writer moves, a pipe that finds no room is simply
//! not read. A reader that has *stopped* does not: after [`STALL`] without a byte written, output is read and thrown
//! away, and counted, until the writer moves again.

mod capture;
mod format;
mod outlet;

pub(crate) use format::{Format, Origin, Stream};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;

use clustr_core::Time;
use mio::Waker;

use crate::news::News;
use crate::reactor::{Reactor, Wake};
use capture::{Capture, Reading, Tail, pipe};
use outlet::{Outlet, STALL, Target};

/// All output of one app.
#[derive(Debug)]
pub(crate) struct Logs {
    format: Format,
    outlet: Outlet,
    captures: BTreeMap<u64, Capture>,
    next_capture: u64,
    /// By slot and incarnation.
    tails: BTreeMap<(u32, u64), Tail>,
    /// Pipes that found no room: they are read when there is some.
    waiting: BTreeSet<u64>,
    pressure: Pressure,
    lost_lines: u64,
}

/// How the writer keeps up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pressure {
    /// There is room.
    Flowing,
    /// There is none since a moment, and so much had been written then.
    Stalled { since: Time, written: u64 },
    /// The reader has stopped: output is thrown away.
    Losing,
}

impl Logs {
    pub(crate) fn new(format: Format, waker: Waker) -> io::Result<Self> {
        Ok(Self {
            format,
            outlet: Outlet::new(waker)?,
            captures: BTreeMap::new(),
            next_capture: 0,
            tails: BTreeMap::new(),
            waiting: BTreeSet::new(),
            pressure: Pressure::Flowing,
            lost_lines: 0,
        })
    }

    /// Makes a pipe for one of a worker's outputs, and returns the end that the worker writes to.
    pub(crate) fn open(&mut self, reactor: &mut Reactor, origin: Origin) -> io::Result<OwnedFd> {
        let (read, write) = pipe()?;
        let id = self.next_capture;
        let registration = reactor.register_readable(&read, Wake::Output(id))?;
        self.next_capture += 1;
        self.captures.insert(id, Capture::new(read, origin, registration));
        Ok(write)
    }

    /// A worker's pipe can be read.
    pub(crate) fn readable(&mut self, id: u64, reactor: &mut Reactor, now: Time) {
        if self.pressure == Pressure::Flowing && !self.outlet.has_room() {
            self.pressure = Pressure::Stalled { since: now, written: self.outlet.progress() };
        }
        match self.pressure {
            Pressure::Flowing => self.bring_out(id, reactor),
            Pressure::Stalled { .. } => {
                self.waiting.insert(id);
            }
            Pressure::Losing => self.throw_away(id, reactor),
        }
    }

    fn bring_out(&mut self, id: u64, reactor: &mut Reactor) {
        let Some(capture) = self.captures.get_mut(&id) else { return };
        let origin = capture.origin;
        let tail = (origin.stream == Stream::Stderr)
            .then(|| self.tails.entry((origin.slot, origin.incarnation)).or_default());
        let mut piece = Vec::new();
        let mut lines = 0;
        let reading = capture.read(collect(&self.format, origin, tail, &mut piece, &mut lines));
        let target = match origin.stream {
            Stream::Stdout => Target::Stdout,
            Stream::Stderr => Target::Stderr,
        };
        if !piece.is_empty() && !self.outlet.send(target, piece) {
            self.lost_lines += lines;
        }
        self.follow(id, reading, reactor);
    }

    fn throw_away(&mut self, id: u64, reactor: &mut Reactor) {
        let Some(capture) = self.captures.get_mut(&id) else { return };
        let (reading, lines) = capture.discard();
        self.lost_lines += lines;
        self.follow(id, reading, reactor);
    }

    fn follow(&mut self, id: u64, reading: Reading, reactor: &mut Reactor) {
        match reading {
            Reading::Drained => {}
            Reading::More => reactor.again(Wake::Output(id)),
            Reading::Ended => {
                if let Some(capture) = self.captures.remove(&id) {
                    reactor.deregister(&capture, capture.registration);
                }
            }
        }
    }

    /// Reads what a worker that has ended left in its pipes, so that its last words are known.
    pub(crate) fn drain(&mut self, slot: u32, incarnation: u64, reactor: &mut Reactor, now: Time) {
        let theirs =
            |capture: &Capture| capture.origin.slot == slot && capture.origin.incarnation == incarnation;
        let ids: Vec<u64> = self.captures.iter().filter(|(_, one)| theirs(one)).map(|(id, _)| *id).collect();
        for id in ids {
            self.readable(id, reactor, now);
        }
    }

    /// The last lines of a worker's standard error.
    pub(crate) fn tail(&self, slot: u32, incarnation: u64) -> Vec<String> {
        self.tails.get(&(slot, incarnation)).map(Tail::lines).unwrap_or_default()
    }

    /// Those of the slot's last worker that said anything.
    pub(crate) fn last_tail(&self, slot: u32) -> Vec<String> {
        self.tails
            .range((slot, 0)..=(slot, u64::MAX))
            .next_back()
            .map(|(_, tail)| tail.lines())
            .unwrap_or_default()
    }

    /// Forgets what workers of a slot have said last, but for those that are there: a new worker begins.
    pub(crate) fn forget_tails(&mut self, slot: u32, is_there: impl Fn(u64) -> bool) {
        self.tails.retain(|(of, incarnation), _| *of != slot || is_there(*incarnation));
    }

    /// Writes a piece of news.
    pub(crate) fn news(&mut self, news: &News) {
        let piece = self.format.news(news);
        if !piece.is_empty() && !self.outlet.send(Target::Stderr, piece) {
            self.lost_lines += 1;
            // Asks to be woken when there is room, so that the loss is told.
            self.outlet.has_room();
        }
    }

    /// When to call [`Logs::handle_timeout`].
    pub(crate) fn deadline(&self) -> Option<Time> {
        match self.pressure {
            Pressure::Stalled { since, .. } => Some(since + STALL),
            Pressure::Flowing | Pressure::Losing => None,
        }
    }

    /// Tells a slow reader from one that has stopped.
    pub(crate) fn handle_timeout(&mut self, reactor: &mut Reactor, now: Time) {
        let Pressure::Stalled { since, written } = self.pressure else { return };
        if now < since + STALL {
            return;
        }
        let progress = self.outlet.progress();
        if progress != written {
            self.pressure = Pressure::Stalled { since: now, written: progress };
            return;
        }
        self.pressure = Pressure::Losing;
        self.take_up_waiting(reactor);
    }

    /// The writer has room again: says how many lines were lost meanwhile.
    pub(crate) fn resume(&mut self, reactor: &mut Reactor) -> Option<u64> {
        self.pressure = Pressure::Flowing;
        self.take_up_waiting(reactor);
        let lost = std::mem::take(&mut self.lost_lines);
        (lost > 0).then_some(lost)
    }

    fn take_up_waiting(&mut self, reactor: &mut Reactor) {
        for id in std::mem::take(&mut self.waiting) {
            reactor.again(Wake::Output(id));
        }
    }

    /// Lets the writer finish.
    pub(crate) fn close(&mut self) {
        self.outlet.close();
    }
}

/// Formats each line into the piece, and keeps it in the tail.
fn collect<'a>(
    format: &'a Format,
    origin: Origin,
    mut tail: Option<&'a mut Tail>,
    piece: &'a mut Vec<u8>,
    lines: &'a mut u64,
) -> impl FnMut(&[u8]) + 'a {
    move |line| {
        if let Some(tail) = &mut tail {
            tail.push(line);
        }
        format.line(piece, origin, line);
        *lines += 1;
    }
}
