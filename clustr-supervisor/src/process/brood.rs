//! What a worker has started, remembered as long as it can be told: by parentage.
//!
//! Owns numbers and starts of processes below a worker. When a worker ends, what it had started becomes the subreaper's child,
//! and whose it was shows no more, unless it has kept its environment (`tree`). So a worker's tree is looked at before: when
//! it is ready, and when it is asked to leave. Never signals a number alone: a process is held first, and has to be the one
//! that was seen, and an orphan of ours.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Process, facts, tree};

/// Bound: processes of one worker that are remembered.
const KNOWN_MAX: usize = 64;

/// What one worker has started.
#[derive(Debug, Default)]
pub(crate) struct Brood(Vec<(Pid, u64)>);

impl Brood {
    /// Looks at what is below the worker's process now, as far as its first threads have started it: a quick look.
    pub(crate) fn glance(&mut self, worker: &Process) {
        self.remember(tree::descendants(worker.pid, tree::children_of_first_thread));
    }

    /// Looks at all that is below the worker's process now.
    pub(crate) fn look(&mut self, worker: &Process) {
        self.remember(tree::descendants(worker.pid, tree::children));
    }

    /// Numbers and starts, as of the last look.
    pub(crate) fn known(&self) -> impl Iterator<Item = (Pid, u64)> {
        self.0.iter().copied()
    }

    fn remember(&mut self, found: Vec<Pid>) {
        let seen = found.into_iter().filter_map(|pid| Some((pid, facts::born(number(pid))?)));
        // Those of the last look that live still, wherever they have gone, and those that are there now.
        self.0.retain(|(pid, born)| facts::born(number(*pid)) == Some(*born));
        for one in seen {
            if self.0.len() < KNOWN_MAX && !self.0.contains(&one) {
                self.0.push(one);
            }
        }
    }

    /// The worker has ended: SIGKILL for what it has left to us.
    pub(crate) fn end(&self) {
        let me = rustix::process::getpid();
        for (pid, born) in &self.0 {
            let Ok(held) = pidfd_open(*pid, PidfdFlags::empty()) else { continue };
            if facts::born(number(*pid)) == Some(*born) && tree::parent_of(*pid) == Some(me) {
                tree::kill_descendants(*pid);
                let _ = pidfd_send_signal(&held, Signal::KILL);
            }
        }
    }
}

const fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}
