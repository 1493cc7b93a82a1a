//! Workers that become ready by living: those that say nothing, and those of which no more is asked.
//!
//! Owns the delay: a second for a program that takes `LISTEN_FDS` and speaks no language of ours, which stands for its word as
//! long as it has not spoken; or the one that was asked for, which is what counts whatever a worker says. Called by the loop of
//! the supervisor.

use std::time::Duration;

use clustr_core::{Event, Time, WorkerId};

use crate::config::ReadyWhen;

/// How long a silent program has to have lived.
const SILENT: Duration = Duration::from_secs(1);

/// Workers that wait for their time, oldest first.
#[derive(Debug)]
pub(crate) struct Readiness {
    waiting: Vec<(Time, WorkerId)>,
    delay: Duration,
    /// It is what was asked for, rather than what is assumed.
    counts: bool,
}

impl Readiness {
    pub(crate) const fn new(ready: &ReadyWhen) -> Self {
        let (delay, counts) = match ready {
            ReadyWhen::Delay(delay) => (*delay, true),
            ReadyWhen::Auto | ReadyWhen::Listen | ReadyWhen::Message => (SILENT, false),
            ReadyWhen::Notify | ReadyWhen::Probe(_) => (SILENT, false),
        };
        Self { waiting: Vec::new(), delay, counts }
    }

    /// Whether a delay was asked for.
    pub(crate) const fn counts(&self) -> bool {
        self.counts
    }

    /// A worker was started that will be ready, or may never say anything.
    pub(crate) fn started(&mut self, id: WorkerId, now: Time) {
        self.waiting.push((now + self.delay, id));
    }

    /// It has said something: then its own word is awaited.
    pub(crate) fn spoke(&mut self, id: WorkerId) {
        if !self.counts {
            self.forget(id);
        }
    }

    /// It is gone.
    pub(crate) fn forget(&mut self, id: WorkerId) {
        self.waiting.retain(|(_, waiting)| *waiting != id);
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// What follows for a worker that has lived for long enough; each once.
    pub(crate) fn due(&mut self, now: Time) -> Option<Event> {
        let (at, id) = *self.waiting.first()?;
        (at <= now).then(|| {
            self.waiting.remove(0);
            if self.counts { Event::Ready(id) } else { Event::AssumedReady(id) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clustr_core::SlotId;

    const A: WorkerId = WorkerId { slot: SlotId(0), incarnation: 1 };
    const B: WorkerId = WorkerId { slot: SlotId(1), incarnation: 1 };

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_worker_that_says_nothing_is_due_once_and_one_that_spoke_never() {
        let mut readiness = Readiness::new(&ReadyWhen::Auto);
        readiness.started(A, at(0));
        readiness.started(B, at(10));
        readiness.spoke(A);
        assert_eq!((readiness.due(at(1_009)), readiness.deadline()), (None, Some(at(1_010))));
        assert_eq!(readiness.due(at(1_010)), Some(Event::AssumedReady(B)));
        assert_eq!((readiness.due(at(9_999)), readiness.deadline()), (None, None));
    }

    #[test]
    fn a_delay_that_was_asked_for_counts_whatever_a_worker_says() {
        let mut readiness = Readiness::new(&ReadyWhen::Delay(Duration::from_millis(300)));
        readiness.started(A, at(0));
        readiness.started(B, at(0));
        readiness.spoke(A);
        readiness.forget(B);
        assert_eq!((readiness.due(at(299)), readiness.due(at(300))), (None, Some(Event::Ready(A))));
        assert_eq!(readiness.due(at(9_999)), None, "who is gone is never ready");
    }
}
