//! What a process uses: for `status`.
//!
//! Owns the reading of `/proc/PID/stat` and `/proc/PID/fd` (proc(5)). A process that cannot be looked at has no figures, and no error.

use std::fs::{self, File};
use std::io::Read;
use std::time::Duration;

/// Bound: 52 numbers of at most 20 digits, and a name of at most 64 bytes.
const STAT_BYTES_MAX: usize = 2_048;

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
    parse(&stat(pid)?)
}

/// When the process of this number was started, in clock ticks since the boot: field 22. Two processes of one number never
/// have the same.
pub(crate) fn born(pid: u32) -> Option<u64> {
    field(&stat(pid)?, 22)
}

/// The line `/proc/PID/stat`, in one read: this is asked for each worker of a status, and at each start.
pub(super) fn stat(pid: u32) -> Option<String> {
    let mut line = [0; STAT_BYTES_MAX];
    let length = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut line)).ok()?;
    // A process names itself, in any bytes.
    Some(String::from_utf8_lossy(&line[..length]).into_owned())
}

/// A field of `/proc/PID/stat` behind the name, which may hold anything.
fn field(stat: &str, number: usize) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

/// The inodes of its sockets; `None` if it cannot be looked at, or has more descriptors than are `left`, from which those
/// that were looked at are taken.
pub(crate) fn sockets(pid: u32, left: &mut usize) -> Option<Vec<u64>> {
    let mut inodes = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()? {
        *left = left.checked_sub(1)?;
        // What was closed since is no socket any more.
        let Ok(target) = fs::read_link(entry.ok()?.path()) else { continue };
        inodes.extend(target.to_str().and_then(socket_inode));
    }
    Some(inodes)
}

/// The inode of one descriptor, if it is a socket.
pub(super) fn socket(pid: u32, file: usize) -> Option<u64> {
    let target = fs::read_link(format!("/proc/{pid}/fd/{file}")).ok()?;
    socket_inode(target.to_str()?)
}

/// Above all numbers of its descriptors: FDSize in proc_pid_status(5), a power of two as a rule.
pub(super) fn table_size(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("FDSize:"))?.trim().parse().ok()
}

/// `socket:[4026531]`.
fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Fields 14, 15 (utime, stime, in ticks) and 24 (rss, in pages).
fn parse(stat: &str) -> Option<Usage> {
    let ticks = field(stat, 14)?.checked_add(field(stat, 15)?)?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Usage {
        rss_bytes: field(stat, 24)?.saturating_mul(page),
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
    fn sockets_are_found_among_the_descriptors_within_the_bound() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = clustr_net::sock_diag::inode(&socket).unwrap();
        let mut left = 100_000;
        assert!(sockets(std::process::id(), &mut left).unwrap().contains(&inode));
        assert!(left < 100_000);
        assert_eq!(sockets(std::process::id(), &mut 1), None, "it has more than one descriptor");
        assert_eq!(socket_inode("socket:[12]"), Some(12));
        assert_eq!(socket_inode("pipe:[12]"), None);
    }

    #[test]
    fn this_very_process_can_be_looked_at() {
        assert!(usage(std::process::id()).unwrap().rss_bytes > 0);
    }
}
