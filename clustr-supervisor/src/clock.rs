//! The only reader of clocks.
//!
//! Owns both: the monotonic one that decides, read once per turn of the loop, and the wall clock that only dates
//! news for people, and says what time of day it is.

use std::time::{Duration, UNIX_EPOCH};

use clustr_core::Time;
use rustix::time::{ClockId, clock_gettime};

/// Now, on `CLOCK_MONOTONIC`: clock_gettime(2).
pub(crate) fn now() -> Time {
    let spec = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(spec.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(spec.tv_nsec).unwrap_or(0);
    Time::ZERO + Duration::new(seconds, nanos)
}

/// Milliseconds since 1970, for people.
pub(crate) fn unix_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    let now = std::time::SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// Seconds since 1970, for times of day.
pub(crate) fn unix_s() -> i64 {
    i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX)
}

/// Whole milliseconds; more than 500 million years are as good as for ever.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
