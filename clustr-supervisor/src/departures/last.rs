//! Who was there when the whole app was told to stop: they are waited for, and nobody who comes later.
//!
//! Owns the list, which only ever gets shorter, so that the end comes under any load. Never looks itself. Called by
//! `departures`, with what the kernel lists.

use std::collections::{BTreeSet, HashSet};

use clustr_core::Time;
use clustr_net::sock_diag::Connected;

/// Connections that waited to be accepted, or on which something was under way.
#[derive(Debug)]
pub(super) struct Last {
    began: Time,
    awaited: BTreeSet<[u32; 2]>,
}

/// What is left of them.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Rest {
    /// Somebody has not been accepted yet.
    pub(super) waits: bool,
    /// The connections on which something is under way, by inode.
    pub(super) busy: HashSet<u64>,
}

impl Last {
    /// The stop comes, and these are there.
    pub(super) fn new(seen: &[Connected], now: Time) -> Self {
        Self { began: now, awaited: seen.iter().map(|one| one.cookie).collect() }
    }

    /// These are there now. Who was idle once, has sent another request, or has gone is not waited for any more.
    pub(super) fn still_there(&mut self, seen: &[Connected], now: Time) -> Rest {
        let elapsed = now.since(self.began);
        let stays = |one: &&Connected| {
            let is_under_way = !one.is_accepted() || (one.is_busy() && !one.has_moved_on(elapsed));
            is_under_way && self.awaited.contains(&one.cookie)
        };
        let left: Vec<&Connected> = seen.iter().filter(stays).collect();
        self.awaited = left.iter().map(|one| one.cookie).collect();
        Rest {
            waits: left.iter().any(|one| !one.is_accepted()),
            busy: left.iter().filter(|one| one.is_accepted()).map(|one| one.inode).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use clustr_net::sock_diag::Quiet;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// A connection of which data came, and was sent, so long ago.
    fn seen(number: u32, inode: u64, received_ms: u32, sent_ms: u32) -> Connected {
        Connected {
            inode,
            cookie: [number, 0],
            unread: 0,
            unsent: 0,
            half_closed: false,
            unanswered: false,
            quiet: Some(Quiet { received_ms, sent_ms }),
        }
    }

    fn busy(inodes: &[u64]) -> Rest {
        Rest { waits: false, busy: inodes.iter().copied().collect() }
    }

    #[test]
    fn an_idle_app_waits_for_nobody() {
        let kept_open = [seen(1, 11, 900, 800)];
        assert_eq!(Last::new(&kept_open, at(0)).still_there(&kept_open, at(0)), Rest::default());
        assert_eq!(Last::new(&[], at(0)).still_there(&[], at(0)), Rest::default());
    }

    #[test]
    fn who_came_before_the_stop_is_waited_for_and_who_comes_after_it_is_not() {
        let asking = seen(1, 11, 10, 500);
        let mut last = Last::new(&[asking], at(1000));
        assert_eq!(last.still_there(&[asking], at(1000)), busy(&[11]));
        let later = seen(2, 12, 5, 500);
        assert_eq!(last.still_there(&[asking, later], at(1020)), busy(&[11]));
        assert_eq!(last.still_there(&[later], at(1040)), Rest::default(), "it is gone");
    }

    #[test]
    fn who_waits_in_a_queue_is_waited_for_until_it_is_answered() {
        let waiting = seen(1, 0, 10, 10);
        let mut last = Last::new(&[waiting], at(1000));
        assert_eq!(last.still_there(&[waiting], at(1000)), Rest { waits: true, ..Rest::default() });
        assert_eq!(last.still_there(&[seen(1, 11, 30, 500)], at(1020)), busy(&[11]), "accepted");
        assert_eq!(last.still_there(&[seen(1, 11, 300, 150)], at(1400)), Rest::default(), "answered");
    }

    #[test]
    fn a_client_that_asks_again_and_again_is_waited_for_once() {
        let asking = seen(1, 11, 10, 500);
        let mut last = Last::new(&[asking], at(1000));
        assert_eq!(last.still_there(&[seen(1, 11, 50, 540)], at(1040)), busy(&[11]), "the same request");
        assert_eq!(
            last.still_there(&[seen(1, 11, 70, 1)], at(1060)),
            busy(&[11]),
            "there may be more of the answer"
        );
        assert_eq!(last.still_there(&[seen(1, 11, 2, 10)], at(1080)), Rest::default(), "the next request");
        assert_eq!(last.still_there(&[seen(1, 11, 20, 500)], at(1100)), Rest::default(), "it stays so");
    }
}
