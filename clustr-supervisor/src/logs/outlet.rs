//! The way out: a bounded queue to the one thread that may block.
//!
//! Owns the writer thread and the count of bytes on their way. Never blocks the loop. The two threads share three
//! numbers and a channel, no lock.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use mio::Waker;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

/// Bytes on their way to the writer: no more is read from workers from then on.
const QUEUE_BYTES_FULL: usize = 1024 * 1024;

/// Bound: bytes on their way to the writer, with what was read when there was room, and news.
const QUEUE_BYTES_MAX: usize = 2 * QUEUE_BYTES_FULL;

/// Bound: pieces on their way to the writer.
const QUEUE_PIECES_MAX: usize = 1024;

/// How long the writer may be stuck before output is thrown away rather than kept waiting.
pub(crate) const STALL: Duration = Duration::from_secs(1);

/// How long the end waits for a reader that has stopped.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where a piece goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    Stdout,
    Stderr,
}

/// The loop's side of the way out.
#[derive(Debug)]
pub(crate) struct Outlet {
    pieces: Option<Sender<(Target, Vec<u8>)>>,
    gone: Receiver<()>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    written_pieces: AtomicU64,
    /// The loop has found no room and wants to be woken.
    awaited: AtomicBool,
}

impl Outlet {
    /// Starts the writer; `waker` wakes the loop when there is room again.
    pub(crate) fn new(waker: Waker) -> io::Result<Self> {
        let (pieces, queue) = bounded(QUEUE_PIECES_MAX);
        let (leaving, gone) = bounded(0);
        let shared = Arc::new(Shared::default());
        let writer = Writer { queue, shared: Arc::clone(&shared), waker, _leaving: leaving };
        std::thread::Builder::new()
            .name("writer".into())
            .stack_size(128 * 1024)
            .spawn(move || writer.run())?;
        Ok(Self { pieces: Some(pieces), gone, shared })
    }

    /// Whether another turn's worth of output finds room. If not, the loop is woken when it does.
    pub(crate) fn has_room(&self) -> bool {
        if self.is_roomy() {
            return true;
        }
        self.shared.awaited.store(true, Ordering::SeqCst);
        // The writer may have finished between the two looks, before it could see that it is awaited.
        self.is_roomy()
    }

    fn is_roomy(&self) -> bool {
        let full = self.pieces.as_ref().is_none_or(Sender::is_full);
        !full && self.shared.queued_bytes.load(Ordering::SeqCst) < QUEUE_BYTES_FULL
    }

    /// How many pieces have been written so far: whether this moves tells a slow reader from one that has stopped.
    pub(crate) fn progress(&self) -> u64 {
        self.shared.written_pieces.load(Ordering::SeqCst)
    }

    /// Sends a piece; says whether it was taken.
    pub(crate) fn send(&self, target: Target, piece: Vec<u8>) -> bool {
        let Some(pieces) = &self.pieces else { return false };
        let bytes = piece.len();
        // Only this side adds: what is read here cannot grow before the addition.
        if self.shared.queued_bytes.load(Ordering::SeqCst) + bytes > QUEUE_BYTES_MAX {
            return false;
        }
        self.shared.queued_bytes.fetch_add(bytes, Ordering::SeqCst);
        match pieces.try_send((target, piece)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.queued_bytes.fetch_sub(bytes, Ordering::SeqCst);
                false
            }
        }
    }

    /// Lets the writer finish, but does not wait for ever for a reader that has stopped.
    pub(crate) fn close(&mut self) {
        self.pieces = None;
        // Nothing is ever sent: the receive ends when the writer's end is dropped, or after the farewell.
        let _ = self.gone.recv_timeout(FAREWELL);
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if self.pieces.is_some() {
            self.close();
        }
    }
}

/// The writer's side.
struct Writer {
    queue: Receiver<(Target, Vec<u8>)>,
    shared: Arc<Shared>,
    waker: Waker,
    _leaving: Sender<()>,
}

impl Writer {
    fn run(self) {
        while let Ok((target, piece)) = self.queue.recv() {
            match target {
                Target::Stdout => write_all(rustix::stdio::stdout(), &piece),
                Target::Stderr => write_all(rustix::stdio::stderr(), &piece),
            }
            let left = self.shared.queued_bytes.fetch_sub(piece.len(), Ordering::SeqCst) - piece.len();
            self.shared.written_pieces.fetch_add(1, Ordering::SeqCst);
            let roomy = left < QUEUE_BYTES_FULL / 2 && self.queue.len() < QUEUE_PIECES_MAX / 2;
            if roomy && self.shared.awaited.swap(false, Ordering::SeqCst) {
                // A loop that is gone needs no waking.
                let _ = self.waker.wake();
            }
        }
    }
}

/// Writes everything, or as much as whoever reads will take: a closed pipe swallows the rest.
fn write_all(target: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(target, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_writable(target),
            Err(_) => return,
        }
    }
}

/// Somebody else may have made the terminal that we share non-blocking.
fn wait_writable(target: BorrowedFd<'_>) {
    let mut fds = [PollFd::new(&target, PollFlags::OUT)];
    let _ = rustix::event::poll(&mut fds, None);
}
