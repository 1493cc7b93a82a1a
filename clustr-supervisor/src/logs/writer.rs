//! The one thread that may block: it carries out errands, in order for each output.
//!
//! Owns what has left the loop and is not written yet. While one output takes nothing, the other is served: it never writes
//! to one that would make it wait. Started and ended by `Outlet`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use mio::Waker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::outlet::{Errand, FAREWELL, Shared, Target};
use super::sink::{Sink, Taken};

pub(super) struct Writer {
    queue: Receiver<Errand>,
    shared: Arc<Shared>,
    waker: Waker,
    /// For standard output and for standard error; where they are one, the second is unused.
    lanes: [Lane; 2],
    /// The loop has said its last word.
    is_last: bool,
    _leaving: Sender<()>,
}

/// One output, and what waits for it.
struct Lane {
    sink: Sink,
    pieces: VecDeque<(Target, Vec<u8>)>,
    /// Bytes of the first piece that are written.
    written: usize,
    /// It takes nothing now.
    is_blocked: bool,
}

impl Writer {
    pub(super) fn new(
        queue: Receiver<Errand>,
        sinks: [Sink; 2],
        shared: Arc<Shared>,
        waker: Waker,
        leaving: Sender<()>,
    ) -> Self {
        let lane = |sink| Lane { sink, pieces: VecDeque::new(), written: 0, is_blocked: false };
        Self { queue, shared, waker, lanes: sinks.map(lane), is_last: false, _leaving: leaving }
    }

    pub(super) fn run(mut self) {
        loop {
            self.take_errands();
            let has_written = self.write_some();
            let is_idle = self.lanes.iter().all(|lane| lane.pieces.is_empty());
            if is_idle && self.is_last {
                return;
            }
            if !is_idle && !has_written && !self.wait_for_room() {
                return;
            }
        }
    }

    /// Takes what there is; waits for it if there is nothing else to do.
    fn take_errands(&mut self) {
        if !self.is_last && self.lanes.iter().all(|lane| lane.pieces.is_empty()) {
            match self.queue.recv() {
                Ok(errand) => self.take(errand),
                Err(_) => self.is_last = true,
            }
        }
        loop {
            match self.queue.try_recv() {
                Ok(errand) => self.take(errand),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => return self.is_last = true,
            }
        }
    }

    fn take(&mut self, errand: Errand) {
        match errand {
            Errand::Piece(target, piece) => {
                let lane = match target {
                    Target::Stdout => 0,
                    Target::Stderr if self.shared.is_one => 0,
                    Target::Stderr => 1,
                };
                self.lanes[lane].pieces.push_back((target, piece));
            }
            Errand::Record(path, content) => {
                let written = write_record(&path, &content);
                self.shared.recorded();
                if written.is_err() && !self.shared.record_failed.swap(true, Ordering::SeqCst) {
                    // A loop that is gone needs no waking.
                    let _ = self.waker.wake();
                }
            }
        }
    }

    /// Writes the first piece of each output, as far as that takes it without waiting; says whether any has.
    fn write_some(&mut self) -> bool {
        let mut has_written = false;
        for lane in &mut self.lanes {
            let Some((target, bytes)) = lane.write_first() else { continue };
            has_written = true;
            if bytes > 0 && self.shared.wrote(target, bytes) {
                let _ = self.waker.wake();
            }
        }
        has_written
    }

    /// Waits until an output takes more, or there are new errands; at the end, not for ever. Says whether to go on.
    fn wait_for_room(&mut self) -> bool {
        self.shared.is_waiting.store(true, Ordering::SeqCst);
        // An errand that came before the loop could see that we wait has rung no bell.
        let has_errands = !self.queue.is_empty();
        let farewell = Timespec { tv_sec: FAREWELL.as_secs().cast_signed(), tv_nsec: 0 };
        let limit = match (has_errands, self.is_last) {
            (true, _) => Some(Timespec { tv_sec: 0, tv_nsec: 0 }),
            (false, true) => Some(farewell),
            (false, false) => None,
        };
        let blocked: Vec<usize> = (0..2).filter(|at| self.lanes[*at].is_blocked).collect();
        let mut fds = vec![PollFd::new(&self.shared.bell, PollFlags::IN)];
        fds.extend(
            blocked.iter().map(|at| PollFd::from_borrowed_fd(self.lanes[*at].sink.as_fd(), PollFlags::OUT)),
        );
        let found = poll(&mut fds, limit.as_ref());
        let is_ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        self.shared.is_waiting.store(false, Ordering::SeqCst);
        let _ = rustix::io::read(&self.shared.bell, &mut [0; 8]);
        for (at, is_ready) in blocked.into_iter().zip(&is_ready[1..]) {
            self.lanes[at].is_blocked &= !is_ready;
        }
        !(self.is_last && matches!(found, Ok(0)))
    }
}

impl Lane {
    /// Writes some of the first piece. The piece's target, and its length once all of it is gone; `None` if nothing
    /// waits, or nothing is taken.
    fn write_first(&mut self) -> Option<(Target, usize)> {
        if self.is_blocked {
            return None;
        }
        let (target, piece) = self.pieces.front()?;
        let (target, length) = (*target, piece.len());
        match self.sink.write(&piece[self.written..]) {
            Taken::Some(count) => self.written += count,
            // A closed pipe swallows the rest.
            Taken::Never => self.written = length,
            Taken::NotNow => {
                self.is_blocked = true;
                return None;
            }
        }
        if self.written < length {
            return Some((target, 0));
        }
        self.written = 0;
        self.pieces.pop_front();
        self.sink.piece_ended();
        Some((target, length))
    }
}

/// Whoever reads it finds the whole file, or the one before: rename(2).
fn write_record(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let written =
        opened.and_then(|mut file| file.write_all(content)).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // What is half written is of no use to anybody.
        let _ = std::fs::remove_file(&beside);
    }
    written
}
