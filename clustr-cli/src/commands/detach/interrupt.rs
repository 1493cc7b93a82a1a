//! Ctrl-C, and SIGTERM, while a start in the background is waited for.
//!
//! Owns the two signals as something to look at. Never decides what they mean. Called by `detach`.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// The signals, blocked and readable.
pub(super) struct Interrupt(SignalFd);

impl Interrupt {
    /// Called before any other thread exists, so that all of them inherit it. A primary that is started inherits it too, and
    /// hears what came before it could listen (execve(2)).
    pub(super) fn listen() -> io::Result<Self> {
        let heard: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        heard.thread_block()?;
        Ok(Self(SignalFd::with_flags(&heard, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// Whether one has come since the last look.
    pub(super) fn has_come(&self) -> io::Result<bool> {
        match self.0.read_signal() {
            Ok(signal) => Ok(signal.is_some()),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Asks a primary to stop. It is a child that was not waited for, so that the number is still its own.
pub(super) fn stop(pid: u32) -> io::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?);
    Ok(kill(pid, Signal::SIGTERM)?)
}
