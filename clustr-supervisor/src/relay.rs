//! Signals heard in whatever thread they arrive: for a primary inside of somebody else's program.
//!
//! Owns a few pipes and which of them are in use. Never takes a signal that somebody hears or ignores, and never keeps
//! one longer than a primary runs. Called by `signals`, and by the handler in `sys`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::sys::signal::Signal;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::sys;

/// Those that would end the process, and leave its workers behind: signal(7).
const RELAYED: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP];

/// Bound: primaries of one process that hear signals at the same time.
const LINES_MAX: usize = 16;

static LINES: [Line; LINES_MAX] = [const { Line::new() }; LINES_MAX];

/// How many lines are in use; whoever changes it installs or removes the handler.
static USERS: Mutex<usize> = Mutex::new(0);

/// From the handler to one primary. Its pipe stays open once it was made: a handler that is late in another thread may
/// still write, and must not meet a descriptor that has become somebody else's.
struct Line {
    used: AtomicBool,
    pipe: OnceLock<(OwnedFd, OwnedFd)>,
}

/// A line that is in use.
#[derive(Debug)]
pub(crate) struct Relay {
    line: usize,
    read: BorrowedFd<'static>,
}

impl Line {
    const fn new() -> Self {
        Self { used: AtomicBool::new(false), pipe: OnceLock::new() }
    }

    fn open(&self) -> io::Result<BorrowedFd<'_>> {
        if self.pipe.get().is_none() {
            let pipe = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            // Only the one who uses the line comes here.
            let _ = self.pipe.set(pipe);
        }
        let (read, _) = self.pipe.get().ok_or(io::ErrorKind::Other)?;
        // What nobody has read of the last time means nothing any more.
        while rustix::io::read(read, &mut [0; 64]).is_ok_and(|count| count > 0) {}
        Ok(read.as_fd())
    }
}

impl Relay {
    /// Hears from now on. `None`: so many primaries hear already that there is no line left.
    pub(crate) fn open() -> io::Result<Option<Self>> {
        let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
        let free = LINES.iter().position(|line| !line.used.load(Ordering::SeqCst));
        let Some((line, place)) = free.and_then(|line| Some((line, LINES.get(line)?))) else {
            return Ok(None);
        };
        let read = place.open()?;
        place.used.store(true, Ordering::SeqCst);
        if *users == 0 {
            RELAYED.iter().for_each(|signal| sys::relay(*signal as i32));
        }
        *users += 1;
        Ok(Some(Self { line, read }))
    }

    /// The next signal, if there is one.
    pub(crate) fn next(&self) -> Option<Signal> {
        let mut number = [0];
        let count = rustix::io::read(self.read, &mut number).unwrap_or(0);
        if count == 0 { None } else { Signal::try_from(i32::from(number[0])).ok() }
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
        *users -= 1;
        if *users == 0 {
            RELAYED.iter().for_each(|signal| sys::stop_relaying(*signal as i32));
        }
        LINES[self.line].used.store(false, Ordering::SeqCst);
    }
}

/// Inside of the handler: no lock, no allocation, and a full pipe has news enough.
pub(crate) fn pass_on(signal: i32) {
    let Ok(number) = u8::try_from(signal) else { return };
    for line in LINES.iter().filter(|line| line.used.load(Ordering::SeqCst)) {
        if let Some((_, write)) = line.pipe.get() {
            let _ = rustix::io::write(write, &[number]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_nobody_wants_reaches_every_line_and_no_longer_than_there_is_one() {
        // Under nohup(1) it is ignored, and then nobody takes it.
        sys::set_default(Signal::SIGHUP as i32);
        let (first, second) = (Relay::open().unwrap().unwrap(), Relay::open().unwrap().unwrap());
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::HUP).unwrap();
        for relay in [&first, &second] {
            let mut fds = [rustix::event::PollFd::new(relay, rustix::event::PollFlags::IN)];
            let deadline = rustix::time::Timespec { tv_sec: 20, tv_nsec: 0 };
            assert_eq!(rustix::event::poll(&mut fds, Some(&deadline)), Ok(1), "the signal has arrived");
            assert_eq!((relay.next(), relay.next()), (Some(Signal::SIGHUP), None));
        }
        drop(first);
        assert!(!sys::is_default(Signal::SIGHUP as i32));
        drop(second);
        assert!(sys::is_default(Signal::SIGHUP as i32), "what was there before is there again");
    }
}
