//! What the kernel says of a process.
//!
//! Owns reading `/proc`: proc(5), `proc_pid_*(5)`. Never trusts a program's own word.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// Proportional set size in bytes: what the process costs, shared pages by its share of them.
#[must_use]
pub fn pss_bytes(pid: u32) -> Option<u64> {
    memory_bytes(pid, "Pss:")
}

/// What a process has written into its memory, in bytes: its own, whoever else runs the same program.
#[must_use]
pub fn written_bytes(pid: u32) -> Option<u64> {
    memory_bytes(pid, "Anonymous:")
}

fn memory_bytes(pid: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kilobytes: u64 = field(&text, name)?.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Voluntary context switches of all its threads: how often it went to sleep, and so how often it woke up.
#[must_use]
pub fn wake_ups(pid: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of_task = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("status")).ok()?;
        field(&text, "voluntary_ctxt_switches:")?.parse::<u64>().ok()
    };
    Some(tasks.flatten().filter_map(of_task).sum())
}

/// What its descriptors are, by number: `socket:[42]`, `/dev/null`.
#[must_use]
pub fn descriptors(pid: u32) -> Vec<(u32, String)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let of_entry = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        Some((number, target.to_string_lossy().into_owned()))
    };
    let mut found: Vec<_> = entries.flatten().filter_map(of_entry).collect();
    found.sort();
    found
}

/// How long it has run on a processor, all its threads together: proc_pid_schedstat in the kernel's `sched-stats`.
#[must_use]
pub fn processor_time(pid: u32) -> Option<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of_task = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Some(Duration::from_nanos(tasks.flatten().filter_map(of_task).sum()))
}

/// A line of `/proc/PID/status`, without its name: `status(42, "SigIgn:")`.
#[must_use]
pub fn status(pid: u32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&text, name).map(str::to_owned)
}

/// The state letter of a process: `S`, `T`, `Z`.
#[must_use]
pub fn state(pid: u32) -> Option<char> {
    status(pid, "State:")?.chars().next()
}

/// Whether a process is there and no zombie.
#[must_use]
pub fn lives(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// When it began, in clock ticks since the start of the machine: tells a process from a later one of the same pid.
#[must_use]
pub fn began_at_ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = text.rsplit_once(") ")?;
    after_name.split(' ').nth(19)?.parse().ok()
}

/// The soft and hard limit of open files, as the kernel writes them.
#[must_use]
pub fn descriptor_limit(pid: u32) -> Option<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let mut words = field(&text, "Max open files")?.split_whitespace().map(str::to_owned);
    Some((words.next()?, words.next()?))
}

/// The environment that it was started with.
#[must_use]
pub fn environment(pid: u32) -> Vec<(String, String)> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let pair = |entry: &[u8]| {
        let text = String::from_utf8_lossy(entry);
        text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    bytes.split(|byte| *byte == 0).filter_map(pair).collect()
}

/// Every living process that was started with `mark` (`NAME=value`) in its environment.
#[must_use]
pub fn marked(mark: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| carries(*pid, mark)).filter(|pid| lives(*pid)).collect()
}

fn carries(pid: u32, mark: &str) -> bool {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
}

/// The children of a process: all its threads', that are not zombies.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids = lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    pids.filter_map(|pid| pid.parse().ok()).filter(|pid| lives(*pid)).collect()
}

/// The client ports of the TCP connections that a process holds: accepted, as the kernel sees it.
///
/// A connection that waits in a listener's queue has no inode yet, and so belongs to nobody.
#[must_use]
pub fn client_ports(pid: u32) -> BTreeSet<u16> {
    let held: BTreeSet<String> = descriptors(pid)
        .into_iter()
        .filter_map(|(_, target)| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    // After a load there are thousands of rows in TIME_WAIT (06), which nobody holds: not worth taking apart.
    let rows = tables.iter().flat_map(|table| table.lines().skip(1)).filter(|row| !row.contains(" 06 "));
    rows.filter_map(|row| remote_port_of_held(row, &held)).collect()
}

fn remote_port_of_held(row: &str, held: &BTreeSet<String>) -> Option<u16> {
    let words: Vec<&str> = row.split_whitespace().collect();
    let (remote, inode) = (words.get(2)?, words.get(9)?);
    let port = u16::from_str_radix(remote.rsplit_once(':')?.1, 16).ok()?;
    (port != 0 && held.contains(*inode)).then_some(port)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_looked_at() {
        let pid = std::process::id();
        assert!(pss_bytes(pid).unwrap() > 100_000 && written_bytes(pid).unwrap() > 10_000);
        assert!(wake_ups(pid).is_some() && processor_time(pid).unwrap() > Duration::ZERO);
        assert!(descriptors(pid).len() >= 3);
        assert!(lives(pid) && began_at_ticks(pid).unwrap() > 0);
        assert!(descriptor_limit(pid).is_some());
        assert!(!lives(u32::MAX));
    }

    #[test]
    fn an_accepted_connection_is_seen_and_a_waiting_one_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ask = || std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (first, waiting) = (ask(), ask());
        let (_accepted, from) = listener.accept().unwrap();
        assert_eq!(from, first.local_addr().unwrap());
        let seen = client_ports(std::process::id());
        assert!(seen.contains(&from.port()));
        assert!(!seen.contains(&waiting.local_addr().unwrap().port()));
    }
}
