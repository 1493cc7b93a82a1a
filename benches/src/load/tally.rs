//! What became of the requests.
//!
//! Owns the five counters. Invariant: their sum is the number of requests issued.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Histogram;

/// Bound: failures that are recorded one by one; all are counted.
const FAILURES_MAX: usize = 20_000;
/// Bound: different answers that are told apart.
const ANSWERS_MAX: usize = 1_024;

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Begun.
    pub issued: u64,
    /// Answered, completely.
    pub success: u64,
    /// Nobody listened.
    pub refused: u64,
    /// The connection was reset.
    pub reset: u64,
    /// Not answered in time.
    pub timed_out: u64,
    /// Closed before the answer was complete, or no answer to what was asked.
    pub truncated: u64,
    /// Sent once more, because the server had closed a kept connection before it could have seen them: no failures.
    pub closed_idle: u64,
    /// Due by the pace, and left out because every client was busy: no requests, and so not among those issued.
    pub unasked: u64,
    /// From the start of the connection (or of the request, on a kept one) to the end of the answer; in a paced load
    /// from the moment when the request was due.
    pub latency: Histogram,
    /// The failed ones, one by one.
    pub failures: Vec<Failure>,
    /// How often which answer came.
    pub answers: BTreeMap<String, u64>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

/// A request that failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Failure {
    /// How.
    pub kind: FailureKind,
    /// The client's port; 0 if it is not known.
    pub port: u16,
    /// When it was issued, by [`monotonic_ns`](super::monotonic_ns).
    pub issued_at_ns: u64,
    /// When it failed.
    pub failed_at_ns: u64,
    /// Whether its connection had carried an answer before.
    pub reused: bool,
}

/// How a request failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureKind {
    /// Nobody listened.
    Refused,
    /// The connection was reset.
    Reset,
    /// Not answered in time.
    TimedOut,
    /// Closed before the answer was complete, or no answer to what was asked.
    Truncated,
}

impl Tally {
    /// Requests that were not answered.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.refused + self.reset + self.timed_out + self.truncated
    }

    /// Answers per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.success as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub(super) fn succeed(&mut self, span_ns: u64, answer: Option<String>) {
        self.success += 1;
        self.latency.record(span_ns);
        if let Some(answer) = answer {
            self.count_answer(answer, 1);
        }
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        match failure.kind {
            FailureKind::Refused => self.refused += 1,
            FailureKind::Reset => self.reset += 1,
            FailureKind::TimedOut => self.timed_out += 1,
            FailureKind::Truncated => self.truncated += 1,
        }
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(failure);
        }
    }

    /// How requests failed, by their kinds; nothing if none did.
    #[must_use]
    pub fn how_failed(&self) -> String {
        let kinds = [
            (self.refused, "refused"),
            (self.reset, "reset"),
            (self.timed_out, "timed out"),
            (self.truncated, "truncated"),
            (self.unasked, "not asked: every client waited"),
        ];
        let some = kinds.iter().filter(|(count, _)| *count > 0);
        some.map(|(count, kind)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
    }

    /// Counts everything that another one counted.
    pub fn add(&mut self, other: Self) {
        self.issued += other.issued;
        self.success += other.success;
        self.refused += other.refused;
        self.reset += other.reset;
        self.timed_out += other.timed_out;
        self.truncated += other.truncated;
        self.closed_idle += other.closed_idle;
        self.unasked += other.unasked;
        self.latency.add(&other.latency);
        let room = FAILURES_MAX.saturating_sub(self.failures.len());
        self.failures.extend(other.failures.into_iter().take(room));
        self.elapsed = self.elapsed.max(other.elapsed);
        other.answers.into_iter().for_each(|(answer, count)| self.count_answer(answer, count));
    }

    fn count_answer(&mut self, answer: String, count: u64) {
        if self.answers.len() < ANSWERS_MAX || self.answers.contains_key(&answer) {
            *self.answers.entry(answer).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issued, success, refused, reset, timed_out, truncated, .. } = self;
        write!(f, "issued={issued} success={success} refused={refused} reset={reset} ")?;
        write!(f, "timed_out={timed_out} truncated={truncated} ")?;
        if self.closed_idle > 0 {
            write!(f, "closed_idle={} ", self.closed_idle)?;
        }
        if self.unasked > 0 {
            write!(f, "unasked={} ", self.unasked)?;
        }
        write!(f, "p50={:.1?} ", self.latency.percentile(50.0))?;
        write!(f, "p99={:.1?} longest={:.1?}", self.latency.percentile(99.0), self.latency.longest())
    }
}
