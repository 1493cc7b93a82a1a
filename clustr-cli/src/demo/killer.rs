//! SIGKILL for one worker after another.
//!
//! Owns whose turn it is. Kills by pidfd: between looking and killing, a pid may become somebody else's.

use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::primary::Primary;
use crate::failure::Failure;

/// How often a worker is killed.
const PERIOD: Duration = Duration::from_secs(2);

/// Whose turn it is, and when.
#[derive(Debug, Default)]
pub(super) struct Killer {
    kills: u32,
    next_slot: u32,
}

impl Killer {
    /// Kills a ready worker if it is time; its slot and pid.
    ///
    /// # Errors
    /// The primary is gone.
    pub(super) fn kill_if_due(
        &mut self,
        elapsed: Duration,
        primary: &mut Primary,
    ) -> Result<Option<(u32, u32)>, Failure> {
        if elapsed < PERIOD * (self.kills + 1) {
            return Ok(None);
        }
        self.kills += 1;
        let Some((slot, pid)) = self.choose(primary)? else { return Ok(None) };
        let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let Ok(pidfd) = pidfd_open(target, PidfdFlags::empty()) else { return Ok(None) };
        // Only if it is still the same worker now is the pidfd the one of that worker.
        let still = primary.workers()?.iter().any(|worker| worker.slot == slot && worker.pid == Some(pid));
        let killed = still && pidfd_send_signal(&pidfd, Signal::KILL).is_ok();
        Ok(killed.then_some((slot, pid)))
    }

    fn choose(&mut self, primary: &mut Primary) -> Result<Option<(u32, u32)>, Failure> {
        let workers = primary.workers()?;
        let ready: Vec<(u32, u32)> = workers
            .iter()
            .filter(|worker| worker.state == "ready")
            .filter_map(|worker| Some((worker.slot, worker.pid?)))
            .collect();
        let chosen = ready.iter().find(|(slot, _)| *slot >= self.next_slot).or(ready.first()).copied();
        self.next_slot = chosen.map_or(0, |(slot, _)| slot + 1);
        Ok(chosen)
    }
}
