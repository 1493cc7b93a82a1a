//! How a new process comes to be watched: between its fork and its exec.
//!
//! Owns what is prepared for it: the filter, and the channel over which its notification descriptor comes back. Never starts
//! a process. Called by whoever does, on both sides of the fork.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::filter::{Arch, Filter, Watch};
use super::notifier::Notifier;
use super::sys;
use crate::scm;

/// What one new process needs, made before it exists.
///
/// In the new process call [`install`](Self::install), before it gives up a uid (with `CAP_SYS_ADMIN` no vow is needed, and
/// set-user-ID programs keep working) and before its descriptors are closed; in the old one call [`take`](Self::take) once it
/// is known that the other has got so far. The new process, and all that it starts, is then stopped at `bind` and `listen`
/// until the notifier answers; once the notifier is closed, these calls fail with `ENOSYS`.
#[derive(Debug)]
pub struct Installer {
    program: sys::Program,
    ours: OwnedFd,
    theirs: OwnedFd,
}

/// Why a process could not be watched.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("could not {}", .step)]
pub struct InstallError {
    step: &'static str,
    errno: i32,
}

impl Installer {
    /// Prepares it.
    ///
    /// # Errors
    ///
    /// `Unsupported` where clustr does not know the machine's system calls; what socketpair(2) says.
    pub fn new(watch: Watch) -> io::Result<Self> {
        let archs = Arch::here().ok_or(io::ErrorKind::Unsupported)?;
        let filter = Filter::new(archs, watch);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok(Self { program: sys::Program::new(filter.insns()), ours, theirs })
    }

    /// Has the calling thread watched, and all that it starts from now on. It neither allocates nor locks: it may be called
    /// between clone and exec.
    ///
    /// # Errors
    ///
    /// [`InstallError`]: the kernel's word, `EBUSY` where another process watches this one already.
    pub fn install(&self) -> Result<(), InstallError> {
        sys::install(&self.program, self.theirs.as_fd()).map_err(|(step, errno)| {
            let step = match step {
                sys::Step::Privileges => "vow to gain no privileges",
                sys::Step::Filter => "install a filter",
                sys::Step::Send => "send the notification descriptor",
            };
            InstallError { step, errno }
        })
    }

    /// The other end of a process that has installed its filter.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it has not; `EMFILE`: there was no room for the descriptor.
    pub fn take(self) -> io::Result<Notifier> {
        self.take_within(&Timespec::default())
    }

    /// The same for a process that is still on its way.
    pub(super) fn take_within(self, span: &Timespec) -> io::Result<Notifier> {
        drop(self.theirs);
        poll(&mut [PollFd::new(&self.ours, PollFlags::IN)], Some(span))?;
        let (mut byte, mut fds) = ([0; 1], Vec::new());
        let received = scm::recv(&self.ours, &mut byte, &mut fds)?;
        match fds.pop() {
            Some(fd) => Notifier::new(fd),
            None if received.fds_lost => Err(rustix::io::Errno::MFILE.into()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl InstallError {
    /// The kernel's number.
    #[must_use]
    pub const fn errno(&self) -> i32 {
        self.errno
    }
}
