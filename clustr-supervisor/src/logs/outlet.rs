//! The way out: a bounded queue to the one thread that may block.
//!
//! Owns the loop's side, and the count of what is on its way to each of the two outputs. Never blocks the loop. The two
//! threads share a few numbers and a channel, no lock. What a stopped reader of one output holds up is that output alone.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mio::Waker;
use rustix::event::{EventfdFlags, eventfd};

use super::sink::Sink;
use super::writer::Writer;
use crate::config::LogFile;

/// Bytes on their way to an output: no more is read for it from workers from then on.
const QUEUE_BYTES_FULL: usize = 1024 * 1024;

/// Bound: bytes on their way to an output, with what was read when there was room, and news.
const QUEUE_BYTES_MAX: usize = 2 * QUEUE_BYTES_FULL;

/// Bound: pieces on their way to an output.
const QUEUE_PIECES_MAX: usize = 1024;

/// How long the writer may be stuck before output is thrown away rather than kept waiting.
pub(crate) const STALL: Duration = Duration::from_secs(1);

/// How long the end waits for a reader that has stopped.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// Where a piece goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    Stdout,
    Stderr,
}

/// Something for the writer to do.
#[derive(Debug)]
pub(super) enum Errand {
    /// A piece for an output.
    Piece(Target, Vec<u8>),
    /// A small file, to be there as a whole or as it was before.
    Record(PathBuf, Vec<u8>),
}

/// The loop's side of the way out. There may be several for the one writer: the first is closed last, and waits for it.
#[derive(Debug)]
pub(crate) struct Outlet {
    errands: Option<Sender<Errand>>,
    /// Of the first one: it ends when the writer does.
    gone: Option<Receiver<()>>,
    shared: Arc<Shared>,
}

/// What the two threads know in common.
#[derive(Debug)]
pub(super) struct Shared {
    stdout: Lane,
    stderr: Lane,
    /// The same file, pipe or terminal for both: one lane, and everything in order.
    pub(super) is_one: bool,
    /// Bound: records on their way; a newer one makes the one before it pointless.
    records: AtomicUsize,
    /// The writer waits for an output to take more, and hears of new errands by the bell alone.
    pub(super) is_waiting: AtomicBool,
    pub(super) bell: OwnedFd,
    /// The last record could not be written.
    pub(super) record_failed: AtomicBool,
}

/// What is on its way to one output.
#[derive(Debug, Default)]
struct Lane {
    bytes: AtomicUsize,
    pieces: AtomicUsize,
    written: AtomicU64,
    /// The loop has found no room and wants to be woken.
    awaited: AtomicBool,
}

/// Bound: records of workers that wait to be written. One is written in microseconds, unless the disk is stuck.
const RECORDS_MAX: usize = 64;

impl Outlet {
    /// Starts the writer; `waker` wakes the loop when there is room again.
    pub(crate) fn new(waker: Waker, file: Option<LogFile>) -> io::Result<Self> {
        // Bound: each lane's own, and the records'.
        let (errands, queue) = unbounded();
        let (leaving, gone) = bounded(0);
        let (stdout, stderr) = (Sink::stdout(file), Sink::stderr());
        let shared = Arc::new(Shared {
            stdout: Lane::default(),
            stderr: Lane::default(),
            is_one: stdout.is_same(&stderr),
            records: AtomicUsize::new(0),
            is_waiting: AtomicBool::new(false),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            record_failed: AtomicBool::new(false),
        });
        let writer = Writer::new(queue, [stdout, stderr], Arc::clone(&shared), waker, leaving);
        std::thread::Builder::new()
            .name("writer".into())
            .stack_size(128 * 1024)
            .spawn(move || writer.run())?;
        Ok(Self { errands: Some(errands), gone: Some(gone), shared })
    }

    /// Another way to the same writer.
    pub(crate) fn another(&self) -> Self {
        Self { errands: self.errands.clone(), gone: None, shared: Arc::clone(&self.shared) }
    }

    /// Whether another turn's worth of output finds room. If not, the loop is woken when it does.
    pub(crate) fn has_room(&self, target: Target) -> bool {
        let lane = self.shared.lane(target);
        if lane.is_roomy() {
            return true;
        }
        lane.awaited.store(true, Ordering::SeqCst);
        // The writer may have finished between the two looks, before it could see that it is awaited.
        lane.is_roomy()
    }

    /// How many pieces have been written so far: whether this moves tells a slow reader from one that has stopped.
    pub(crate) fn progress(&self, target: Target) -> u64 {
        self.shared.lane(target).written.load(Ordering::SeqCst)
    }

    /// Sends a piece; says whether it was taken.
    pub(crate) fn send(&self, target: Target, piece: Vec<u8>) -> bool {
        let (lane, bytes) = (self.shared.lane(target), piece.len());
        // Only this side adds: what is read here cannot grow before the addition.
        let has_room = lane.bytes.load(Ordering::SeqCst) + bytes <= QUEUE_BYTES_MAX
            && lane.pieces.load(Ordering::SeqCst) < QUEUE_PIECES_MAX;
        if !has_room {
            return false;
        }
        lane.bytes.fetch_add(bytes, Ordering::SeqCst);
        lane.pieces.fetch_add(1, Ordering::SeqCst);
        self.dispatch(Errand::Piece(target, piece))
    }

    /// Has a small file written; says whether that was taken.
    pub(crate) fn record(&self, path: PathBuf, content: Vec<u8>) -> bool {
        if self.shared.records.load(Ordering::SeqCst) >= RECORDS_MAX {
            return false;
        }
        self.shared.records.fetch_add(1, Ordering::SeqCst);
        self.dispatch(Errand::Record(path, content))
    }

    /// Whether a record could not be written; told once.
    pub(crate) fn take_record_failed(&self) -> bool {
        self.shared.record_failed.swap(false, Ordering::SeqCst)
    }

    fn dispatch(&self, errand: Errand) -> bool {
        let sent = self.errands.as_ref().is_some_and(|errands| errands.send(errand).is_ok());
        self.shared.ring_if_waiting();
        sent
    }

    /// Once all are closed the writer finishes. That is waited for, but not for ever: a reader may have stopped.
    pub(crate) fn close(&mut self) {
        self.errands = None;
        if let Some(gone) = &self.gone {
            self.shared.ring();
            // Nothing is ever sent: the receive ends when the writer's end is dropped, or after the farewell.
            let _ = gone.recv_timeout(FAREWELL + FAREWELL / 2);
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if self.errands.is_some() {
            self.close();
        }
    }
}

impl Lane {
    fn is_roomy(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) < QUEUE_BYTES_FULL
            && self.pieces.load(Ordering::SeqCst) < QUEUE_PIECES_MAX
    }
}

impl Shared {
    fn lane(&self, target: Target) -> &Lane {
        match target {
            Target::Stdout => &self.stdout,
            Target::Stderr if self.is_one => &self.stdout,
            Target::Stderr => &self.stderr,
        }
    }

    /// A piece is gone; says whether the loop waits for the room that it leaves.
    pub(super) fn wrote(&self, target: Target, bytes: usize) -> bool {
        let lane = self.lane(target);
        let bytes_left = lane.bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        let pieces_left = lane.pieces.fetch_sub(1, Ordering::SeqCst) - 1;
        lane.written.fetch_add(1, Ordering::SeqCst);
        let roomy = bytes_left < QUEUE_BYTES_FULL / 2 && pieces_left < QUEUE_PIECES_MAX / 2;
        roomy && lane.awaited.swap(false, Ordering::SeqCst)
    }

    /// A record is written, or is not.
    pub(super) fn recorded(&self) {
        self.records.fetch_sub(1, Ordering::SeqCst);
    }

    fn ring_if_waiting(&self) {
        if self.is_waiting.load(Ordering::SeqCst) {
            self.ring();
        }
    }

    fn ring(&self) {
        // It fails only if it has been rung 2⁶⁴ times and was not heard.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }
}
