//! The primary's end of one watched process and of all that it starts: stopped calls out, answers in.
//!
//! Owns the notification descriptor. Never looks at a call. Called by `responder`, and watched by a loop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::sys::{self, Notification};

/// Readable while a call is stopped; hung up once nobody is left who is watched.
#[derive(Debug)]
pub struct Notifier {
    fd: OwnedFd,
    /// How many words the kernel's notification and response have.
    words: (usize, usize),
}

/// Bound: words of a notification or response. The kernel's have ten and three; it may add to them.
const WORDS_MAX: usize = 64;

/// What a look brought.
#[derive(Debug)]
pub(super) enum Next {
    Call(Notification),
    /// There was one, whose caller is gone.
    Gone,
    Nothing,
    /// Nobody is left.
    HungUp,
}

impl Notifier {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let (notification, response) = sys::sizes()?;
        sys::wake_in_turn(fd.as_fd());
        let words = (notification.div_ceil(8), response.div_ceil(8));
        if words.0.max(words.1) > WORDS_MAX {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { fd, words })
    }

    /// A stopped call, if there is one. Never waits: the kernel's own call would, so it is polled first.
    pub(super) fn next(&self) -> io::Result<Next> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Next::Gone),
            Err(error) => return Err(error.into()),
        }
        let ready = fds[0].revents();
        if !ready.contains(PollFlags::IN) {
            let is_over = ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
            return Ok(if is_over { Next::HungUp } else { Next::Nothing });
        }
        match sys::receive(self.as_fd(), &mut [0; WORDS_MAX][..self.words.0]) {
            Ok(notification) => Ok(Next::Call(notification)),
            // It was killed meanwhile, or a signal came first: seccomp_unotify(2).
            Err(error) if is_gone(&error) => Ok(Next::Gone),
            Err(error) => Err(error),
        }
    }

    /// Whether the call is still stopped.
    pub(super) fn is_valid(&self, id: u64) -> bool {
        sys::is_valid(self.as_fd(), id)
    }

    /// Lets it go on with what it was about to do.
    pub(super) fn proceed(&self, id: u64) {
        self.respond(id, 0, true);
    }

    /// Ends it with 0.
    pub(super) fn done(&self, id: u64) {
        self.respond(id, 0, false);
    }

    /// Ends it with an errno.
    pub(super) fn refuse(&self, id: u64, errno: Errno) {
        self.respond(id, errno.raw_os_error(), false);
    }

    fn respond(&self, id: u64, errno: i32, proceed: bool) {
        // Whoever is gone needs no answer.
        let _ = sys::respond(self.as_fd(), &mut [0; WORDS_MAX][..self.words.1], id, errno, proceed);
    }

    /// Puts a descriptor in the place of another in the caller's table.
    pub(super) fn put(&self, id: u64, fd: BorrowedFd<'_>, number: u32, cloexec: bool) -> io::Result<()> {
        sys::put(self.as_fd(), id, fd, number, cloexec)
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The caller has been killed, or interrupted.
pub(super) fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::INTR, Errno::INPROGRESS];
    error.raw_os_error().is_some_and(|raw| gone.iter().any(|errno| errno.raw_os_error() == raw))
}
