//! Another socket in the place of the caller's own, under the same number.
//!
//! Owns the order: status flags, epoll registrations, then the exchange, which closes what was there. Never chooses the
//! socket. Called by `responder`.
//!
//! Programs that register a socket with epoll before they bind it would hear nothing of the new one, for an entry belongs to
//! the old file. Entries are known by file *and* number, so one for the new file under the same number is what the program
//! finds when it changes or removes it later.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::fcntl_dupfd_cloexec;

use super::notifier::Notifier;
use super::sys;
use super::thread::{Thread, Watched};

/// What an epoll instance shall know of a socket.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) epoll: OwnedFd,
    pub(super) events: u32,
    pub(super) data: u64,
}

/// Where a socket is put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) notifier: &'a Notifier,
    pub(super) id: u64,
    pub(super) thread: Thread,
    /// The number of the caller's descriptor.
    pub(super) number: u32,
}

impl Place<'_> {
    /// Puts a socket there.
    ///
    /// # Errors
    ///
    /// See [`is_gone`](super::notifier::is_gone) for a caller that is not there any more; `EPERM`: it is registered with
    /// epoll, and we may not touch the instance. Nothing was put then.
    pub(super) fn put(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let flags = self.thread.flags(self.number)?;
        let watched = self.thread.registrations(self.number)?;
        let registrations = self.registrations(&watched)?;
        if !self.notifier.is_valid(self.id) {
            return Err(rustix::io::Errno::NOENT.into());
        }
        copy_status(socket, flags.status)?;
        if !registrations.is_empty() {
            let clear = fcntl_dupfd_cloexec(socket, self.above())?;
            sys::register_as(clear.as_fd(), self.number, &registrations)?;
        }
        self.notifier.put(self.id, socket, self.number, flags.cloexec)
    }

    fn registrations(self, watched: &[Watched]) -> io::Result<Vec<Registration>> {
        let open = |one: &Watched| {
            let epoll = self.thread.descriptor(one.epoll)?;
            let is_clear = epoll.as_raw_fd() >= self.above();
            let epoll = if is_clear { epoll } else { fcntl_dupfd_cloexec(epoll, self.above())? };
            Ok(Registration { epoll, events: one.events, data: one.data })
        };
        watched.iter().map(open).collect()
    }

    /// From here on no number of ours is the one that the helper uses.
    fn above(self) -> i32 {
        i32::try_from(self.number).map_or(i32::MAX, |number| number.saturating_add(1))
    }
}

/// Whether calls wait is a flag of the open file, which the program has set on its own one.
fn copy_status(socket: BorrowedFd<'_>, status: u32) -> io::Result<()> {
    let copied = OFlags::NONBLOCK | OFlags::ASYNC;
    let wanted = OFlags::from_bits_retain(status) & copied;
    let now = rustix::fs::fcntl_getfl(socket)?;
    Ok(rustix::fs::fcntl_setfl(socket, (now - copied) | wanted)?)
}
