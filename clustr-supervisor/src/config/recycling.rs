//! When a worker has served long enough, besides its age.
//!
//! Owns the limits and how times of day are written. Never watches anybody. Called by whoever makes a [`Config`](super::Config).

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Limits beyond which a worker is replaced when its turn comes, replacement first; none by default.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recycling {
    /// Resident memory, in bytes, of the process that was started and of the one that listens.
    pub max_rss_bytes: Option<u64>,
    /// Connections that it was handed: in [`Share::Handoff`](super::Share::Handoff) alone, elsewhere nobody counts them.
    pub max_requests: Option<NonZeroU64>,
    /// Times of day, in local time.
    pub at: Vec<TimeOfDay>,
}

/// A minute of each day.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TimeOfDay {
    hour: u8,
    minute: u8,
}

/// A text that is no time of day.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is no time of day")]
pub struct TimeOfDayError;

impl TimeOfDay {
    /// 0 to 23.
    #[must_use]
    pub const fn hour(self) -> u8 {
        self.hour
    }

    /// 0 to 59.
    #[must_use]
    pub const fn minute(self) -> u8 {
        self.minute
    }
}

impl FromStr for TimeOfDay {
    type Err = TimeOfDayError;

    /// `04:30`, `4:30`.
    fn from_str(text: &str) -> Result<Self, TimeOfDayError> {
        let (hour, minute) = text.split_once(':').ok_or(TimeOfDayError)?;
        let number = |digits: &str, len: std::ops::RangeInclusive<usize>, below: u8| {
            let plain = len.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|number| plain && *number < below).ok_or(TimeOfDayError)
        };
        Ok(Self { hour: number(hour, 1..=2, 24)?, minute: number(minute, 2..=2, 60)? })
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_those_of_a_clock() {
        for (text, shown) in [("00:00", "00:00"), ("4:05", "04:05"), ("23:59", "23:59")] {
            assert_eq!(text.parse::<TimeOfDay>().unwrap().to_string(), shown);
        }
        for text in
            ["", "4", "24:00", "12:60", "12:5", "012:00", "-1:00", "+1:00", "4:30pm", "a:bc", "4:30:00"]
        {
            assert!(text.parse::<TimeOfDay>().is_err(), "{text}");
        }
    }
}
