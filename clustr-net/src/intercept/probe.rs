//! What works here, found by doing it.
//!
//! Owns one short-lived process that binds and listens on a loopback port, and is answered. Never guesses from versions.
//! Called once by whoever shares by interception, and by whoever tells a person why not.

use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind};

use super::call::{Call, understand};
use super::install::Installer;
use super::notifier::{Next, Notifier};
use super::replace::Place;
use super::socket::{Shape, Socket};
use super::sys::{self, Notification};
use super::thread::Thread;
use super::{Watch, Way};

/// How long one step may take. It takes less than a millisecond where nothing is wrong.
const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Why nothing can be intercepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Lack {
    /// Not x86-64, and not 64-bit Arm.
    #[error("clustr does not know the system calls of this machine")]
    Machine,
    /// The kernel has no seccomp notification, or a sandbox hides it.
    #[error("the kernel has no seccomp notification, or a sandbox forbids it (errno {0})")]
    Kernel(i32),
    /// Another process watches us already: a chain of filters has one listener.
    #[error("this process is watched already, by another clustr or a container's own tool (EBUSY)")]
    Watched,
    /// A stopped process may not be looked at.
    #[error("a process may not be looked at here, by ptrace's rules (errno {0})")]
    Protected(i32),
    /// A socket could not be put in the place of another: kernels before 5.9.
    #[error("the kernel cannot exchange a socket of another process (errno {0})")]
    Exchange(i32),
    /// The machine is short of something.
    #[error("the trial could not be made (errno {0})")]
    Trial(i32),
}

/// What [`probe()`] says, asked once in a process's life.
///
/// # Errors
///
/// [`Lack`].
pub fn found() -> Result<Way, Lack> {
    static FOUND: OnceLock<Result<Way, Lack>> = OnceLock::new();
    *FOUND.get_or_init(probe)
}

/// Tries it: a process is started, stopped at `bind` and `listen`, looked at, given another socket, and answered.
///
/// # Errors
///
/// [`Lack`].
pub fn probe() -> Result<Way, Lack> {
    let lack = |error: io::Error| {
        let is_unknown = error.kind() == io::ErrorKind::Unsupported;
        if is_unknown { Lack::Machine } else { Lack::Trial(raw(&error)) }
    };
    let installer = Installer::new(Watch { v6_only: true }).map_err(lack)?;
    let child = sys::Trial::start(&installer).map_err(|error| Lack::Trial(raw(&error)))?;
    let notifier = match installer.take_within(&PATIENCE) {
        Ok(notifier) => notifier,
        Err(error) => return Err(child.errno().map_or_else(|| Lack::Trial(raw(&error)), not_installed)),
    };
    let way = answer(&notifier)?;
    drop(notifier);
    match child.errno() {
        None => Ok(way),
        Some(errno) => Err(Lack::Exchange(errno)),
    }
}

const fn not_installed(errno: i32) -> Lack {
    if errno == Errno::BUSY.raw_os_error() { Lack::Watched } else { Lack::Kernel(errno) }
}

/// Answers the trial's two calls.
fn answer(notifier: &Notifier) -> Result<Way, Lack> {
    let (call, thread) = next(notifier)?;
    let words = |at| thread.words(at);
    let Some(Call::Bind { fd, at, len }) = understand(call.arch, call.number, call.args, words) else {
        return Err(Lack::Kernel(Errno::NOSYS.raw_os_error()));
    };
    let bytes =
        thread.read(at, usize::try_from(len).unwrap_or(0)).map_err(|error| Lack::Protected(raw(&error)))?;
    let Some(super::name::Name::Inet(addr)) = super::name::Name::parse(&bytes) else {
        return Err(Lack::Protected(Errno::FAULT.raw_os_error()));
    };
    let way = match thread.descriptor(fd) {
        Ok(_) => Way::Adopt,
        Err(error) => Way::Replace { errno: raw(&error) },
    };
    if Socket::look(thread, fd, way).is_err() {
        return Err(Lack::Protected(Errno::PERM.raw_os_error()));
    }
    let shape = Shape { family: AddressFamily::INET, kind: SocketType::STREAM, protocol: 0 };
    let socket = shape.make(None).map_err(|error| Lack::Trial(raw(&error)))?;
    bind(&socket, &addr).map_err(|errno| Lack::Trial(errno.raw_os_error()))?;
    let place = Place { notifier, id: call.id, thread, number: fd };
    place.put(socket.as_fd()).map_err(|error| Lack::Exchange(raw(&error)))?;
    notifier.done(call.id);
    let (call, _) = next(notifier)?;
    notifier.proceed(call.id);
    Ok(way)
}

fn next(notifier: &Notifier) -> Result<(Notification, Thread), Lack> {
    let failed = |error: io::Error| Lack::Kernel(raw(&error));
    loop {
        let mut fds = [PollFd::new(notifier, PollFlags::IN)];
        if poll(&mut fds, Some(&PATIENCE)).map_err(|errno| failed(errno.into()))? == 0 {
            return Err(Lack::Kernel(Errno::TIMEDOUT.raw_os_error()));
        }
        match notifier.next().map_err(failed)? {
            Next::Call(call) => {
                let thread = Thread::of(call.tid).ok_or(Lack::Protected(Errno::SRCH.raw_os_error()))?;
                return Ok((call, thread));
            }
            Next::Gone | Next::Nothing => {}
            Next::HungUp => return Err(Lack::Kernel(Errno::NOENT.raw_os_error())),
        }
    }
}

fn raw(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}
