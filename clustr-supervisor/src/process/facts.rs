//! What a process uses: for `status`.
//!
//! Owns the reading of `/proc/PID/stat` (proc(5)). A process that cannot be looked at has no figures, and no error.

use std::fs;
use std::time::Duration;

/// What a process uses now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Usage {
    /// Resident memory.
    pub(crate) rss_bytes: u64,
    /// CPU time, user and system.
    pub(crate) cpu: Duration,
}

/// What the process of this number uses.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 14, 15 (utime, stime, in ticks) and 24 (rss, in pages), counted after the name, which may hold anything.
fn parse(stat: &str) -> Option<Usage> {
    let after_name = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)?.checked_add(field(15)?)?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Usage {
        rss_bytes: field(24)?.saturating_mul(page),
        cpu: Duration::from_millis(ticks.saturating_mul(1_000) / per_second),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4 1 0 0 0 50 25 0 0 20 0 1 0 100 1000000 3 184";
        let usage = parse(stat).unwrap();
        assert_eq!(usage.rss_bytes, 3 * rustix::param::page_size() as u64);
        assert_eq!(usage.cpu, Duration::from_millis(75 * 1_000 / rustix::param::clock_ticks_per_second()));
        assert_eq!(parse("7 (short) S 1"), None);
    }

    #[test]
    fn this_very_process_can_be_looked_at() {
        assert!(usage(std::process::id()).unwrap().rss_bytes > 0);
    }
}
