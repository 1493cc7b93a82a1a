//! One output of this process, written to without waiting for its reader.
//!
//! Owns what kind of file it is, and how much such a one takes at once. Where it is a file of our own that is not to grow for
//! ever, owns its replacement. Used by the writer thread alone.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use crate::config::LogFile;

/// What a pipe that can be written to at all takes as a whole: pipe(7), `PIPE_BUF`.
const PIPE_BYTES: usize = 4096;

/// What a terminal that can be written to takes without making us wait for the rest of the line.
const TERMINAL_BYTES: usize = 256;

#[derive(Debug)]
pub(super) struct Sink {
    fd: BorrowedFd<'static>,
    kind: Kind,
    identity: Option<(u64, u64)>,
    log: Option<Log>,
}

/// How it takes bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// All of them, at the disk's pace.
    File,
    /// So many at a time, where poll(2) says that it can be written to.
    Stream(usize),
}

/// A file of our own.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    bytes_max: u64,
    bytes: u64,
}

/// How many bytes were taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    Some(usize),
    /// None until poll(2) says so.
    NotNow,
    /// None, and there never will be.
    Never,
}

impl Sink {
    /// Standard output; `log` is the file that it already is, if it is one of ours.
    pub(super) fn stdout(log: Option<LogFile>) -> Self {
        let mut sink = Self::of(rustix::stdio::stdout());
        let bytes = fstat(sink.fd).map_or(0, |found| u64::try_from(found.st_size).unwrap_or(0));
        sink.log = log.map(|LogFile { path, bytes_max }| Log { path, bytes_max, bytes });
        sink
    }

    pub(super) fn stderr() -> Self {
        Self::of(rustix::stdio::stderr())
    }

    fn of(fd: BorrowedFd<'static>) -> Self {
        let found = fstat(fd).ok();
        let kind = match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
            Some(FileType::Fifo | FileType::Socket) => Kind::Stream(PIPE_BYTES),
            _ if fd.is_terminal() => Kind::Stream(TERMINAL_BYTES),
            _ => Kind::File,
        };
        Self { fd, kind, identity: found.map(|found| (found.st_dev, found.st_ino)), log: None }
    }

    /// Whether both are the same file, pipe or terminal.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.identity.is_some() && self.identity == other.identity
    }

    /// Writes as much as is taken without waiting for a reader.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Taken {
        let at_once = match self.kind {
            Kind::File => bytes,
            Kind::Stream(_) if !is_writable(self.fd) => return Taken::NotNow,
            Kind::Stream(most) => &bytes[..bytes.len().min(most)],
        };
        loop {
            match rustix::io::write(self.fd, at_once) {
                Ok(count) => {
                    self.log.iter_mut().for_each(|log| log.bytes += count as u64);
                    return Taken::Some(count);
                }
                Err(Errno::INTR) => {}
                // Somebody else may have made the terminal that we share non-blocking.
                Err(Errno::AGAIN) => return Taken::NotNow,
                Err(_) => return Taken::Never,
            }
        }
    }

    /// Between two pieces a file that is full is replaced.
    pub(super) fn piece_ended(&mut self) {
        if self.log.as_ref().is_some_and(|log| log.bytes >= log.bytes_max)
            && let Some(log) = &mut self.log
        {
            // Where it cannot be replaced (a full disk, say), it is tried again after as many bytes.
            let _ = log.replace();
            log.bytes = 0;
        }
    }
}

impl Log {
    /// The full file gets another name, and a new one its place, as both outputs of this process.
    fn replace(&self) -> std::io::Result<()> {
        let mut before = self.path.as_os_str().to_owned();
        before.push(".1");
        std::fs::rename(&self.path, before)?;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        rustix::stdio::dup2_stdout(&file)?;
        rustix::stdio::dup2_stderr(&file)?;
        Ok(())
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}

/// Whether it takes anything now. One whose reader has gone says so when it is written to.
fn is_writable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&at_once)), Ok(1..))
}
