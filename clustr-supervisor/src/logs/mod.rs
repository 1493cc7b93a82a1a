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
//! away, and counted, until the writer moves again. Each output by itself: whoever reads one and not the other still reads.

pub(crate) mod capture;
mod format;
mod outlet;
mod sink;
mod writer;

pub(crate) use format::{Format, Origin, Stream};

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::news::News;
use crate::reactor::{Reactor, Wake};
use capture::{Capture, Reading, Tail, pipe};
use clustr_core::Time;
pub(crate) use outlet::Outlet;
use outlet::{STALL, Target};

/// All output of one app, or what the primary itself has to say.
#[derive(Debug)]
pub(crate) struct Logs {
    format: Format,
    outlet: Outlet,
    captures: BTreeMap<u64, Capture>,
    next_capture: u64,
    /// By slot and incarnation.
    tails: BTreeMap<(u32, u64), Tail>,
    /// Of each output.
    stdout: Way,
    stderr: Way,
}

/// How it goes on one output.
#[derive(Debug)]
struct Way {
    target: Target,
    /// Pipes that found no room: they are read when there is some.
    waiting: BTreeSet<u64>,
    pressure: Pressure,
    lost_lines: u64,
}

impl Way {
    const fn to(target: Target) -> Self {
        Self { target, waiting: BTreeSet::new(), pressure: Pressure::Flowing, lost_lines: 0 }
    }

    fn take_up_waiting(&mut self, reactor: &mut Reactor) {
        for id in std::mem::take(&mut self.waiting) {
            reactor.again(Wake::Output(id));
        }
    }
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
    pub(crate) const fn new(format: Format, outlet: Outlet) -> Self {
        Self {
            format,
            outlet,
            captures: BTreeMap::new(),
            next_capture: 0,
            tails: BTreeMap::new(),
            stdout: Way::to(Target::Stdout),
            stderr: Way::to(Target::Stderr),
        }
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

    const fn way(&mut self, stream: Stream) -> &mut Way {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// A worker's pipe can be read.
    pub(crate) fn readable(&mut self, id: u64, reactor: &mut Reactor, now: Time) {
        let Some(stream) = self.captures.get(&id).map(|capture| capture.origin.stream) else { return };
        let target = self.way(stream).target;
        if self.way(stream).pressure == Pressure::Flowing && !self.outlet.has_room(target) {
            self.way(stream).pressure =
                Pressure::Stalled { since: now, written: self.outlet.progress(target) };
        }
        match self.way(stream).pressure {
            Pressure::Flowing => self.bring_out(id, reactor),
            Pressure::Stalled { .. } => {
                self.way(stream).waiting.insert(id);
            }
            Pressure::Losing => self.throw_away(id, reactor),
        }
    }

    fn bring_out(&mut self, id: u64, reactor: &mut Reactor) {
        let Some(capture) = self.captures.get_mut(&id) else { return };
        let origin = capture.origin;
        let tail = self.tails.entry((origin.slot, origin.incarnation)).or_default();
        let mut piece = Vec::new();
        let mut lines = 0;
        let reading = capture.read(collect(&self.format, origin, tail, &mut piece, &mut lines));
        let target = self.way(origin.stream).target;
        if !piece.is_empty() && !self.outlet.send(target, piece) {
            self.way(origin.stream).lost_lines += lines;
        }
        self.follow(id, reading, reactor);
    }

    fn throw_away(&mut self, id: u64, reactor: &mut Reactor) {
        let Some(capture) = self.captures.get_mut(&id) else { return };
        let (stream, (reading, lines)) = (capture.origin.stream, capture.discard());
        self.way(stream).lost_lines += lines;
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

    /// The last lines of a worker on both of its outputs.
    pub(crate) fn last_output(&self, slot: u32, incarnation: u64) -> Vec<String> {
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
            self.stderr.lost_lines += 1;
            // Asks to be woken when there is room, so that the loss is told.
            self.outlet.has_room(Target::Stderr);
        }
    }

    /// Another way out, for the output of an app.
    pub(crate) fn outlet(&self) -> Outlet {
        self.outlet.another()
    }

    /// Has a small file written, by the thread that may block; says whether that was taken.
    pub(crate) fn record(&self, path: PathBuf, content: Vec<u8>) -> bool {
        self.outlet.record(path, content)
    }

    /// Whether a record could not be written; told once.
    pub(crate) fn take_record_failed(&self) -> bool {
        self.outlet.take_record_failed()
    }

    /// When to call [`Logs::handle_timeout`].
    pub(crate) fn deadline(&self) -> Option<Time> {
        let due = |way: &Way| match way.pressure {
            Pressure::Stalled { since, .. } => Some(since + STALL),
            Pressure::Flowing | Pressure::Losing => None,
        };
        [due(&self.stdout), due(&self.stderr)].into_iter().flatten().min()
    }

    /// Tells a slow reader from one that has stopped.
    pub(crate) fn handle_timeout(&mut self, reactor: &mut Reactor, now: Time) {
        for way in [&mut self.stdout, &mut self.stderr] {
            let Pressure::Stalled { since, written } = way.pressure else { continue };
            if now < since + STALL {
                continue;
            }
            let progress = self.outlet.progress(way.target);
            if progress == written {
                way.pressure = Pressure::Losing;
                way.take_up_waiting(reactor);
            } else {
                way.pressure = Pressure::Stalled { since: now, written: progress };
            }
        }
    }

    /// The writer has room again: says how many lines were lost meanwhile.
    pub(crate) fn resume(&mut self, reactor: &mut Reactor) -> Option<u64> {
        let mut lost = 0;
        for way in [&mut self.stdout, &mut self.stderr] {
            let waits = way.pressure != Pressure::Flowing || way.lost_lines > 0;
            if waits && self.outlet.has_room(way.target) {
                way.pressure = Pressure::Flowing;
                way.take_up_waiting(reactor);
                lost += std::mem::take(&mut way.lost_lines);
            }
        }
        (lost > 0).then_some(lost)
    }

    /// The same for whoever has news alone to write.
    pub(crate) fn resume_news(&mut self) -> Option<u64> {
        let has_room = self.stderr.lost_lines > 0 && self.outlet.has_room(self.stderr.target);
        has_room.then(|| std::mem::take(&mut self.stderr.lost_lines))
    }

    /// Lets the writer finish, once nobody else writes.
    pub(crate) fn close(&mut self) {
        self.outlet.close();
    }
}

/// Formats each line into the piece, and keeps it in the tail.
fn collect<'a>(
    format: &'a Format,
    origin: Origin,
    tail: &'a mut Tail,
    piece: &'a mut Vec<u8>,
    lines: &'a mut u64,
) -> impl FnMut(&[u8]) + 'a {
    move |line| {
        tail.push(line);
        format.line(piece, origin, line);
        *lines += 1;
    }
}
