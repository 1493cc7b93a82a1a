//! Processes: how a worker's is made, told apart, asked to end, and taken down with all that it started.
//!
//! Owns pids and pidfds; outside of here a worker is a `WorkerId`. Never decides when anything starts or ends.

mod brood;
mod courtesy;
mod facts;
mod lookup;
mod orphans;
mod sockets;
mod spawn;
mod tree;

pub(crate) use brood::Brood;
pub(crate) use courtesy::Courtesy;
pub(crate) use facts::{sockets, usage};
pub(crate) use lookup::{LookupError, examine, lookup};
pub(crate) use orphans::{Orphans, Record};
pub(crate) use sockets::{Sample, Sampler, Sight, holds_listener, socket_inodes};
pub(crate) use spawn::{Launcher, Outfit, Places, SpawnError};
pub(crate) use tree::Strangers;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use clustr_core::Exit;
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, getpgid, pidfd_open, pidfd_send_signal, waitid,
};

/// How long the end waits for one killed worker.
const FAREWELL: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A process that we started: the leader of its own group.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    /// When it was started, in the kernel's own count; `None` without procfs.
    born: Option<u64>,
    /// From then on the number may be somebody else's, and is not used any more.
    reaped: bool,
}

impl Process {
    /// Its number: for people, and for questions to procfs while the process has not been reaped.
    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal to this process and no other. One that has ended already has got what it was sent for.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, raw(signal));
    }

    /// SIGKILL for every descendant, then for the group, which its unreaped leader keeps from being anyone else's.
    pub(crate) fn kill_tree(&self) {
        if !self.reaped {
            tree::kill_descendants(self.pid);
            self.kill_group();
        }
    }

    /// Kills a process that nobody can watch, and waits for its end.
    pub(crate) fn destroy(&self) {
        self.kill_tree();
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }

    /// Waits for the end of a killed process, but not for one that hangs in the kernel.
    pub(crate) fn bury(&mut self) {
        if !self.reaped {
            let _ = poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&FAREWELL));
            let _ = self.reap();
        }
    }

    fn kill_group(&self) {
        let _ = rustix::process::kill_process_group(self.pid, rustix::process::Signal::KILL);
    }

    /// How the process ended, if it has; what is left of its group ends with it. Answers once.
    pub(crate) fn reap(&mut self) -> io::Result<Option<Exit>> {
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::PidFd(self.pidfd.as_fd()), peek)?.is_none() {
            return Ok(None);
        }
        self.kill_group();
        let status =
            waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
        self.reaped = true;
        Ok(status.map(|status| match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(number)) => Exit::Signal { number, core_dumped: status.dumped() },
            (None, None) => Exit::Code(0),
        }))
    }
}

impl AsFd for Process {
    /// Readable once the process has ended: pidfd_open(2).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// A process that a worker started and that speaks for it: the node below a shell, say.
#[derive(Debug)]
pub(crate) struct Speaker {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Speaker {
    /// The process of this number, if it belongs to the worker's group. It is held first and checked then: a number
    /// that was given to somebody else in between fails the check.
    pub(crate) fn of_group(pid: u32, leader: &Process) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let held = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let ours = pid != leader.pid && getpgid(Some(pid)).ok()? == leader.pid;
        ours.then_some(Self { pid, pidfd: held })
    }

    /// Sends a signal; says whether the process was still there.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.pidfd, raw(signal)).is_ok()
    }

    /// Its number: for questions to procfs alone, for it may have ended.
    pub(crate) const fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }
}

fn raw(signal: Signal) -> rustix::process::Signal {
    rustix::process::Signal::from_named_raw(signal as i32).unwrap_or(rustix::process::Signal::TERM)
}
