//! When a time of day comes next, on a clock that people set.
//!
//! Owns the times and the next of them. Pure: both clocks and the zone are given. Called by `recycling`.
//!
//! The loop sleeps on the monotonic clock, and the wall clock may be set meanwhile, or stand still with the machine: so it is
//! looked at once an hour at least, and a time that has passed unseen counts then.

use std::time::Duration;

use clustr_core::Time;

use crate::config::TimeOfDay;

/// The longest sleep without a look at the wall clock.
const CHECK_EVERY: Duration = Duration::from_secs(60 * 60);
/// How many days are looked at: no zone leaves out a minute twice in a row.
const DAYS: i32 = 3;

/// Local time, both ways: localtime(3), mktime(3).
pub(crate) trait Zone {
    /// Year, month and day of a moment in seconds since 1970.
    fn date(&self, unix_s: i64) -> Option<(i32, i32, i32)>;
    /// The moment of a local time; a day may be beyond its month's end.
    fn moment(&self, date: (i32, i32, i32), time: TimeOfDay) -> Option<i64>;
}

#[derive(Debug)]
pub(super) struct Schedule {
    at: Vec<TimeOfDay>,
    /// In seconds since 1970; not known before the first look.
    next: Option<i64>,
    check_at: Time,
}

impl Schedule {
    pub(super) const fn new(at: Vec<TimeOfDay>, now: Time) -> Self {
        Self { at, next: None, check_at: now }
    }

    /// When to ask again.
    pub(super) const fn check_at(&self) -> Time {
        self.check_at
    }

    /// Whether one of the times has come since the last look.
    pub(super) fn is_due(&mut self, now: Time, unix_s: i64, zone: &impl Zone) -> bool {
        if now < self.check_at {
            return false;
        }
        let has_come = self.next.is_some_and(|next| next <= unix_s);
        self.next = self.at.iter().filter_map(|time| next_of(*time, unix_s, zone)).min();
        let left = self.next.map_or(0, |next| next.saturating_sub(unix_s));
        let sleep = u64::try_from(left).map_or(CHECK_EVERY, Duration::from_secs);
        self.check_at = now + sleep.clamp(Duration::from_secs(1), CHECK_EVERY);
        has_come
    }
}

/// The next moment after this one at which a local clock shows the time.
fn next_of(time: TimeOfDay, unix_s: i64, zone: &impl Zone) -> Option<i64> {
    let (year, month, day) = zone.date(unix_s)?;
    let moments = (0..DAYS).filter_map(|later| zone.moment((year, month, day + later), time));
    moments.filter(|moment| *moment > unix_s).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;
    use proptest::prelude::*;

    /// So many seconds east of UTC, in days since 1970 instead of dates.
    struct Offset(i64);

    impl Zone for Offset {
        fn date(&self, unix_s: i64) -> Option<(i32, i32, i32)> {
            Some((1970, 1, i32::try_from((unix_s + self.0).div_euclid(86_400)).ok()?))
        }

        fn moment(&self, (_, _, day): (i32, i32, i32), time: TimeOfDay) -> Option<i64> {
            let minutes = i64::from(time.hour()) * 60 + i64::from(time.minute());
            Some(i64::from(day) * 86_400 + minutes * 60 - self.0)
        }
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn schedule(times: &[&str]) -> Schedule {
        Schedule::new(times.iter().map(|time| time.parse().unwrap()).collect(), at(0))
    }

    #[test]
    fn each_time_comes_once_a_day() {
        let (mut schedule, mut fired) = (schedule(&["00:30", "12:00"]), Vec::new());
        while schedule.check_at() < at(2 * 86_400) {
            let now = schedule.check_at().since(Time::ZERO).as_secs();
            if schedule.is_due(at(now), i64::try_from(now).unwrap(), &Offset(0)) {
                fired.push(now);
            }
        }
        assert_eq!(fired, [1_800, 43_200, 86_400 + 1_800, 86_400 + 43_200]);
    }

    #[test]
    fn a_clock_that_is_set_forward_over_a_time_makes_it_come_late_but_come() {
        let mut schedule = schedule(&["03:00"]);
        assert!(!schedule.is_due(at(0), 0, &Offset(0)));
        assert_eq!(schedule.check_at(), at(3_600));
        assert!(schedule.is_due(at(3_600), 11_000, &Offset(0)));
        assert!(!schedule.is_due(schedule.check_at(), 14_600, &Offset(0)));
    }

    #[test]
    fn the_systems_zone_agrees_with_itself() {
        let zone = sys::zone();
        let now = 1_700_000_000;
        let next = next_of("04:30".parse().unwrap(), now, &zone).unwrap();
        assert!(next > now && next <= now + 2 * 86_400);
        assert_eq!(zone.moment(zone.date(next).unwrap(), "04:30".parse().unwrap()), Some(next));
    }

    proptest! {
        #[test]
        fn the_next_time_is_within_a_day_and_shows_that_time(
            hour in 0..24_u8,
            minute in 0..60_u8,
            offset in -43_200..50_400_i64,
            now in 0..4_000_000_000_i64,
        ) {
            let time: TimeOfDay = format!("{hour}:{minute:02}").parse().unwrap();
            let next = next_of(time, now, &Offset(offset)).unwrap();
            prop_assert!(next > now && next <= now + 86_400);
            prop_assert_eq!((next + offset).rem_euclid(86_400), i64::from(hour) * 3_600 + i64::from(minute) * 60);
        }
    }
}
