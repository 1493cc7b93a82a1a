//! Where a worker stands: what came, what its code took, what was closed, what may come.
//!
//! Owns the numbers behind a worker's reports. Pure. Called by `Receiver`, and by every `Guard` that is dropped.

use super::codec::Report;
use super::{WINDOW, WINDOW_MAX};

/// A worker's side of the ledger.
#[derive(Debug)]
pub(super) struct Tally {
    received: u64,
    acked: u64,
    /// Received, and not taken.
    waiting: u32,
    taken: u64,
    closed: u64,
    granted: u64,
    window: u32,
    open_max: u32,
    reported: Report,
    /// The worker waits for news, so nobody else will soon report what is closed.
    pub(super) idle: bool,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            received: 0,
            acked: 0,
            waiting: 0,
            taken: 0,
            closed: 0,
            granted: 0,
            window: WINDOW,
            open_max: u32::MAX,
            reported: Report::default(),
            idle: false,
        }
    }

    pub(super) fn limit_window(&mut self, window: u32) {
        self.window = window.min(WINDOW_MAX);
    }

    pub(super) fn limit_open(&mut self, open_max: u32) {
        self.open_max = open_max;
    }

    /// A batch came; whether it is the next one.
    pub(super) fn receive(&mut self, first: u64, count: u32) -> bool {
        let next = self.refuse(first, count);
        self.waiting += if next { count } else { 0 };
        next
    }

    /// A batch came and was lost; whether it is the next one.
    pub(super) fn refuse(&mut self, first: u64, count: u32) -> bool {
        let next = first == self.received + 1;
        self.received += if next { u64::from(count) } else { 0 };
        next
    }

    /// The worker's code gets connection `number`.
    pub(super) fn take(&mut self, number: u64) {
        self.acked = number;
        self.waiting -= 1;
        self.taken += 1;
    }

    /// One that was taken is closed.
    pub(super) fn close(&mut self) {
        self.closed += 1;
    }

    /// The report that is due, if anything has changed.
    pub(super) fn due(&mut self) -> Option<Report> {
        let open = u32::try_from(self.taken - self.closed).unwrap_or(u32::MAX);
        let room = self.window.min(self.open_max.saturating_sub(open)).saturating_sub(self.waiting);
        // What was granted stays granted: the primary may have used it already. While there is work, credits are given by
        // the half window, so that a busy primary sends batches.
        let grant = self.received + u64::from(room);
        if self.waiting == 0 || grant >= self.granted + u64::from(self.window / 2) {
            self.granted = self.granted.max(grant);
        }
        let report = Report { acked: self.acked, granted: self.granted, closed: self.closed };
        (report != self.reported).then_some(report)
    }

    pub(super) fn mark_reported(&mut self, report: Report) {
        self.reported = report;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(tally: &mut Tally) -> Option<[u64; 3]> {
        let report = tally.due()?;
        tally.mark_reported(report);
        Some([report.acked, report.granted, report.closed])
    }

    #[test]
    fn credits_follow_what_is_taken() {
        let mut tally = Tally::new();
        tally.limit_window(3);
        assert_eq!(due(&mut tally), Some([0, 3, 0]));
        assert!(tally.receive(1, 2));
        assert_eq!(due(&mut tally), None, "what waits uses what was granted");
        tally.take(1);
        assert_eq!(due(&mut tally), Some([1, 4, 0]));
        tally.take(2);
        tally.close();
        assert_eq!(due(&mut tally), Some([2, 5, 1]));
    }

    #[test]
    fn a_busy_worker_grants_by_the_half_window_and_an_idle_one_at_once() {
        let mut tally = Tally::new();
        tally.limit_window(8);
        assert_eq!(due(&mut tally), Some([0, 8, 0]));
        assert!(tally.receive(1, 8));
        let granted: Vec<_> = (1..=8)
            .map(|number| {
                tally.take(number);
                due(&mut tally).unwrap()[1]
            })
            .collect();
        assert_eq!(granted, [8, 8, 8, 12, 12, 12, 12, 16]);
        assert!(tally.receive(9, 1));
        tally.take(9);
        assert_eq!(due(&mut tally), Some([9, 17, 0]));
    }

    #[test]
    fn a_worker_that_is_full_grants_again_when_something_closes() {
        let mut tally = Tally::new();
        tally.limit_window(8);
        tally.limit_open(2);
        assert_eq!(due(&mut tally), Some([0, 2, 0]));
        assert!(tally.receive(1, 2));
        tally.take(1);
        tally.take(2);
        assert_eq!(due(&mut tally), Some([2, 2, 0]));
        tally.close();
        assert_eq!(due(&mut tally), Some([2, 3, 1]));
    }

    #[test]
    fn a_batch_that_was_lost_is_granted_anew_and_a_wrong_number_is_seen() {
        let mut tally = Tally::new();
        tally.limit_window(4);
        assert_eq!(due(&mut tally), Some([0, 4, 0]));
        assert!(tally.refuse(1, 4));
        assert_eq!(due(&mut tally), Some([0, 8, 0]));
        assert!(!tally.receive(4, 1) && !tally.receive(6, 1) && tally.receive(5, 1));
    }
}
