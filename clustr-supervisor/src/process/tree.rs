//! What a worker started: found through procfs, ended by SIGKILL.
//!
//! Owns the questions to proc(5) about children, and the care for orphans that a subreaper adopts (prctl(2),
//! `PR_SET_CHILD_SUBREAPER`). Never touches a process that was a child of ours before we started any.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::fd::OwnedFd;

use clustr_core::WorkerId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};

use super::facts;

/// Bound: how deep a tree of processes is followed, and how often it is looked at again.
const DEPTH_MAX: usize = 64;
const ROUNDS_MAX: usize = 8;

/// How long the end waits for one killed orphan.
const FAREWELL: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// SIGKILL for all descendants of a process, deepest knowledge first; looks again until no new one appears, for
/// a dying tree may still fork.
pub(super) fn kill_descendants(root: Pid) {
    let mut killed = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        let before = killed.len();
        kill_below(root, &mut killed, 0);
        if killed.len() == before {
            return;
        }
    }
}

/// All descendants of a process, held by pidfds.
pub(super) fn hold_descendants(root: Pid) -> Vec<OwnedFd> {
    let (mut held, mut parents) = (Vec::new(), vec![(root, 0)]);
    while let Some((parent, depth)) = parents.pop() {
        for child in children(parent) {
            if let Some(one) = hold(child, parent).filter(|_| depth < DEPTH_MAX) {
                held.push(one);
                parents.push((child, depth + 1));
            }
        }
    }
    held
}

/// All descendants of a process, as they are listed now.
pub(super) fn descendants(root: Pid, children: fn(Pid) -> Vec<Pid>) -> Vec<Pid> {
    let (mut found, mut parents) = (Vec::new(), vec![(root, 0)]);
    while let Some((parent, depth)) = parents.pop() {
        if depth < DEPTH_MAX {
            let below = children(parent);
            parents.extend(below.iter().map(|child| (*child, depth + 1)));
            found.extend(below);
        }
    }
    found
}

/// Kills the children last: who has lost its parent is not found below it any more.
fn kill_below(parent: Pid, killed: &mut HashSet<Pid>, depth: usize) {
    if depth == DEPTH_MAX {
        return;
    }
    for child in children(parent) {
        if killed.contains(&child) {
            continue;
        }
        if let Some(held) = hold(child, parent) {
            kill_below(child, killed, depth + 1);
            let _ = pidfd_send_signal(held, Signal::KILL);
            killed.insert(child);
        }
    }
}

/// A child, held by a pidfd. Held first and looked at then: a number that was given to somebody else after it was
/// read fails the look, and after the look it cannot be given away unnoticed.
fn hold(child: Pid, parent: Pid) -> Option<OwnedFd> {
    let held = pidfd_open(child, PidfdFlags::empty()).ok()?;
    (parent_of(child)? == parent).then_some(held)
}

/// Whose child a process is: proc(5), `/proc/PID/stat`, field 4.
pub(super) fn parent_of(child: Pid) -> Option<Pid> {
    let stat = facts::stat(u32::try_from(child.as_raw_nonzero().get()).ok()?)?;
    let after_name = stat.rsplit_once(')')?.1;
    pids(after_name.split_ascii_whitespace().nth(1)?).pop()
}

/// Waits for a killed process, but not for one that hangs in the kernel.
fn reap_within(pid: Pid, span: Timespec) {
    if let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) {
        let _ = poll(&mut [PollFd::new(&held, PollFlags::IN)], Some(&span));
    }
    let _ = waitpid(Some(pid), WaitOptions::NOHANG);
}

/// Kills a child of ours. Its number is its own until we reap it.
fn kill(child: Pid) {
    if let Some(held) = hold(child, rustix::process::getpid()) {
        let _ = pidfd_send_signal(held, Signal::KILL);
    }
}

/// The children of every thread of a process: proc(5), `/proc/PID/task/TID/children`.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero())) else {
        return Vec::new();
    };
    let lists =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| pids(&list)).collect()
}

/// Those that its first thread has started: most programs have no others.
pub(super) fn children_of_first_thread(parent: Pid) -> Vec<Pid> {
    let number = parent.as_raw_nonzero();
    let list = fs::read_to_string(format!("/proc/{number}/task/{number}/children"));
    list.map(|list| pids(&list)).unwrap_or_default()
}

fn pids(list: &str) -> Vec<Pid> {
    let number = |word: &str| word.parse().ok().filter(|number| *number > 0);
    list.split_ascii_whitespace().filter_map(|word| Pid::from_raw(number(word)?)).collect()
}

/// Children of ours that are no workers: orphans that a worker left and the kernel gave to us.
#[derive(Debug)]
pub(crate) struct Strangers {
    /// Children from before: of whoever became this program by exec.
    spared: HashSet<Pid>,
}

impl Strangers {
    /// Adopts orphans from now on.
    pub(crate) fn adopt() -> std::io::Result<Self> {
        let me = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(me))?;
        Ok(Self { spared: children(me).into_iter().collect() })
    }

    /// Reaps those that have ended. `workers` are the pids that are not strangers.
    pub(crate) fn reap(&self, workers: &BTreeSet<u32>) {
        for pid in self.find(workers).chain(self.spared.iter().copied()) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }

    /// SIGKILL for what this worker left behind, in whatever session or group it has hidden.
    pub(crate) fn kill_left_by(&self, app: &str, worker: WorkerId, workers: &BTreeSet<u32>) {
        for pid in self.find(workers).filter(|pid| belongs(*pid, app, worker)) {
            kill_descendants(pid);
            kill(pid);
        }
    }

    /// SIGKILL for everything that was left behind, whatever it still starts meanwhile, and waits for it.
    pub(crate) fn end_all(&self) {
        for _ in 0..ROUNDS_MAX {
            let left: Vec<Pid> = self.find(&BTreeSet::new()).collect();
            if left.is_empty() {
                return;
            }
            for pid in left {
                kill_descendants(pid);
                kill(pid);
                reap_within(pid, FAREWELL);
            }
        }
    }

    fn find(&self, workers: &BTreeSet<u32>) -> impl Iterator<Item = Pid> {
        let known = |pid: &Pid| workers.contains(&pid.as_raw_nonzero().get().unsigned_abs());
        let all = children(rustix::process::getpid());
        all.into_iter()
            .filter(|pid| !known(pid) && !self.spared.contains(pid))
            .collect::<Vec<_>>()
            .into_iter()
    }
}

/// Whether a process was born with this worker's environment: proc(5), `/proc/PID/environ`.
fn belongs(pid: Pid, app: &str, worker: WorkerId) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())) else {
        return false;
    };
    let has = |pair: String| environment.split(|byte| *byte == 0).any(|entry| entry == pair.as_bytes());
    has(format!("CLUSTR_APP={app}"))
        && has(format!("CLUSTR_SLOT={}", worker.slot))
        && has(format!("CLUSTR_INCARNATION={}", worker.incarnation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_children_is_read_leniently() {
        let found = pids("12 0 -3 x 99 ");
        let numbers: Vec<i32> = found.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
        assert_eq!(numbers, [12, 99]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a child to look at")]
    fn a_child_whose_name_is_no_text_is_found_and_killed() {
        use std::os::unix::ffi::OsStrExt;

        let folder = tempfile::tempdir().unwrap();
        let strange = folder.path().join(std::ffi::OsStr::from_bytes(b"\xff) S 1"));
        fs::copy("/bin/sleep", &strange).unwrap();
        let mut child = std::process::Command::new(&strange).arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert_eq!(parent_of(pid), Some(rustix::process::getpid()));
        kill(pid);
        assert!(!child.wait().unwrap().success());
    }
}
