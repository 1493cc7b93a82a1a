//! Programs that say nothing: when such a worker counts as ready.
//!
//! Owns the delay that stands for the word of a program that takes `LISTEN_FDS` and speaks no language of ours. Never
//! decides over a worker that has spoken: its own word is awaited then. Called by the loop of the supervisor.

use std::time::Duration;

use clustr_core::{Time, WorkerId};

/// How long it has to have lived.
const DELAY: Duration = Duration::from_secs(1);

/// Workers of which nothing has been heard, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Vec<(Time, WorkerId)>);

impl Readiness {
    /// A worker was started that may never say anything.
    pub(crate) fn started(&mut self, id: WorkerId, now: Time) {
        self.0.push((now + DELAY, id));
    }

    /// It has said something, or it is gone.
    pub(crate) fn forget(&mut self, id: WorkerId) {
        self.0.retain(|(_, silent)| *silent != id);
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.0.first().map(|(at, _)| *at)
    }

    /// A worker that has lived for long enough; each once.
    pub(crate) fn due(&mut self, now: Time) -> Option<WorkerId> {
        let (at, id) = *self.0.first()?;
        (at <= now).then(|| {
            self.0.remove(0);
            id
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clustr_core::SlotId;

    #[test]
    fn only_who_stays_silent_for_the_whole_delay_counts_as_ready_and_once() {
        let worker = |slot| WorkerId { slot: SlotId(slot), incarnation: 1 };
        let mut readiness = Readiness::default();
        (0..3).for_each(|slot| readiness.started(worker(slot), Time::ZERO));
        readiness.forget(worker(1));
        assert_eq!(readiness.due(Time::ZERO), None);
        let due: Vec<_> = std::iter::from_fn(|| readiness.due(Time::ZERO + DELAY)).collect();
        assert_eq!((due, readiness.deadline()), (vec![worker(0), worker(2)], None));
    }
}
