//! Faults of the host on purpose: for a while, one process is refused what it asks the kernel for.
//!
//! Owns a thread that answers for the kernel (seccomp_unotify(2)): every watched call of every process below goes on as
//! it would, but those of one process while a fault is wished for. Called by trials.

#[expect(unsafe_code, reason = "seccomp's filter and its notifications")]
mod sys;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// What is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// To make a process or a thread: clone(2), clone3(2), fork(2), vfork(2).
    Starts,
    /// To accept a connection: accept4(2).
    Accepts,
}

#[cfg(target_arch = "x86_64")]
const STARTS: &[i64] = &[libc::SYS_clone, libc::SYS_clone3, libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const STARTS: &[i64] = &[libc::SYS_clone, libc::SYS_clone3];
const ACCEPTS: &[i64] = &[libc::SYS_accept4];

/// Between two looks whether the thread should end.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A command whose process can be made to fail, once it was started.
#[derive(Debug)]
#[must_use]
pub struct Prepared(UnixStream);

/// The faults of one process.
#[derive(Debug)]
pub struct Faults {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    wish: Mutex<Wish>,
}

#[derive(Debug, Default)]
struct Wish {
    pid: u32,
    fault: Option<(Refused, Errno)>,
    refused: u64,
}

/// Prepares a command.
///
/// # Errors
///
/// No descriptor is left.
pub fn prepare(command: &mut Command) -> io::Result<Prepared> {
    let (ours, theirs) = UnixStream::pair()?;
    let calls: Vec<i64> = STARTS.iter().chain(ACCEPTS).copied().collect();
    sys::watch(command, &calls, theirs.into());
    Ok(Prepared(ours))
}

impl Prepared {
    /// Begins to answer for the kernel, after the command was started as this process.
    ///
    /// # Errors
    ///
    /// The kernel has sent no descriptor.
    pub fn attach(self, pid: u32) -> io::Result<Faults> {
        let notify = receive(&self.0)?;
        let shared =
            Arc::new(Shared { wish: Mutex::new(Wish { pid, ..Wish::default() }), ..Shared::default() });
        let theirs = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("faults".into()).spawn(move || theirs.answer(&notify))?;
        Ok(Faults { shared, thread: Some(thread) })
    }
}

impl Faults {
    /// From now on the process is refused this, with this error.
    pub fn refuse(&self, what: Refused, errno: Errno) {
        self.shared.wish().fault = Some((what, errno));
    }

    /// From now on everything is granted; returns how much was refused so far.
    pub fn relent(&self) -> u64 {
        let mut wish = self.shared.wish();
        wish.fault = None;
        wish.refused
    }

    /// How much was refused so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.wish().refused
    }
}

impl Drop for Faults {
    /// Whoever still waits for an answer is told ENOSYS by the kernel: the processes end before this, or with it.
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers until everybody has ended, or nobody wants to know.
    fn answer(&self, notify: &OwnedFd) {
        while !self.over.load(Ordering::Relaxed) {
            let mut polled = [PollFd::new(notify, PollFlags::IN)];
            let _ = poll(&mut polled, Some(&TICK));
            let events = polled[0].revents();
            if events.contains(PollFlags::HUP) {
                return;
            }
            if !events.contains(PollFlags::IN) {
                continue;
            }
            // A call that was there may be gone: its thread was killed.
            if let Ok(call) = sys::receive(notify.as_fd()) {
                sys::answer(notify.as_fd(), call.id, self.verdict(call));
            }
        }
    }

    fn verdict(&self, call: sys::Call) -> Option<i32> {
        let mut wish = self.wish();
        let (what, errno) = wish.fault.filter(|_| call.tid == wish.pid)?;
        let refused = match what {
            Refused::Starts => STARTS,
            Refused::Accepts => ACCEPTS,
        };
        if !refused.contains(&call.number) {
            return None;
        }
        wish.refused += 1;
        Some(errno.raw_os_error())
    }
}

fn receive(channel: &UnixStream) -> io::Result<OwnedFd> {
    channel.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(channel, &mut [io::IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let found = control.drain().find_map(|message| {
        let RecvAncillaryMessage::ScmRights(mut fds) = message else { return None };
        fds.next()
    });
    found.ok_or_else(|| io::Error::other("no descriptor came"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_refused_what_was_wished_for_and_nothing_else() {
        // A shell that cannot fork gives up.
        let script = "while read line; do (exit 0) && echo ok; done";
        let mut command = Command::new("sh");
        let piped = std::process::Stdio::piped;
        command.args(["-c", script]).stdin(piped()).stdout(piped()).stderr(std::process::Stdio::null());
        let prepared = prepare(&mut command).unwrap();
        let mut child = command.spawn().unwrap();
        let faults = prepared.attach(child.id()).unwrap();
        let mut asked = child.stdin.take().unwrap();
        let mut heard = io::BufReader::new(child.stdout.take().unwrap());
        let mut ask = || {
            let mut line = String::new();
            io::Write::write_all(&mut asked, b"x\n").unwrap();
            io::BufRead::read_line(&mut heard, &mut line).unwrap();
            line
        };
        assert_eq!(ask(), "ok\n");
        faults.refuse(Refused::Accepts, Errno::MFILE);
        assert_eq!((ask().as_str(), faults.refused()), ("ok\n", 0), "it accepts nothing");
        faults.refuse(Refused::Starts, Errno::NOMEM);
        assert_eq!(ask(), "");
        assert_eq!(faults.relent(), 1);
        assert!(!child.wait().unwrap().success());
    }
}
