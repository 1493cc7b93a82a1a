//! Which sockets a process, and what it has started, has open; and whether it listens on a port.
//!
//! Owns the comparison of the kernel's list of listeners (sock_diag(7)) with a process's open files (proc(5)). Never touches a
//! process. Called by `probe`, for a port that one worker alone shall have, by `departures`, and before a worker counts as
//! one that hangs.

use std::collections::{BTreeSet, HashSet};
use std::fs;

use clustr_net::{Kind, sock_diag};
use rustix::process::Pid;

use super::facts::sockets;
use super::tree::children;

/// Bound: processes and open files that are looked at. A listener is among the first files of a server.
const PROCESSES_MAX: usize = 32;
const FILES_MAX: usize = 4096;
/// Bound: open files that are looked at where connections are meant.
const SOCKETS_MAX: usize = 1 << 17;

/// Whether one of these processes listens on `port`; `None` if that cannot be seen.
pub(crate) fn holds_listener(pid: u32, port: u16) -> Option<bool> {
    let listening = sock_diag::listening(Kind::Stream, port).ok()?;
    let wanted: Vec<String> = listening.iter().map(|socket| format!("socket:[{}]", socket.inode)).collect();
    if wanted.is_empty() {
        return Some(false);
    }
    let mut processes = vec![Pid::from_raw(i32::try_from(pid).ok()?)?];
    let mut seen_any = false;
    let mut next = 0;
    while let Some(&process) = processes.get(next) {
        next += 1;
        if let Some(holds) = holds(process, &wanted) {
            seen_any = true;
            if holds {
                return Some(true);
            }
        }
        let room = PROCESSES_MAX.saturating_sub(processes.len());
        processes.extend(children(process).into_iter().take(room));
    }
    seen_any.then_some(false)
}

/// The sockets of a process and of all below it, by inode; as far as permissions let us see.
pub(crate) fn socket_inodes(pid: u32) -> HashSet<u64> {
    let (mut found, mut left) = (HashSet::new(), SOCKETS_MAX);
    let mut processes: Vec<Pid> = i32::try_from(pid).ok().and_then(Pid::from_raw).into_iter().collect();
    let mut next = 0;
    while let Some(&process) = processes.get(next) {
        next += 1;
        let number = process.as_raw_nonzero().get().unsigned_abs();
        found.extend(sockets(number, &mut left).into_iter().flatten());
        let room = PROCESSES_MAX.saturating_sub(processes.len());
        processes.extend(children(process).into_iter().take(room));
    }
    found
}

/// The connections to `port` that a process and all below it have accepted, by inode; `None` if that cannot be seen.
pub(crate) fn accepted_by(pid: u32, port: u16) -> Option<BTreeSet<u64>> {
    let own = socket_inodes(pid);
    if own.is_empty() {
        return None;
    }
    let connections = sock_diag::connections(port).ok()?;
    Some(connections.iter().map(|one| one.inode).filter(|inode| own.contains(inode)).collect())
}

fn holds(process: Pid, wanted: &[String]) -> Option<bool> {
    let files = fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero())).ok()?;
    let mut links = files.flatten().take(FILES_MAX).filter_map(|file| fs::read_link(file.path()).ok());
    Some(links.any(|link| wanted.iter().any(|socket| link.as_os_str() == socket.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a process beside the holder, which has none of its descriptors"
    )]
    fn a_port_is_its_holders_and_nobody_elses() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(holds_listener(std::process::id(), port), Some(true));
        assert!(socket_inodes(std::process::id()).contains(&sock_diag::inode(&listener).unwrap()));
        let mut other =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert_eq!(holds_listener(other.id(), port), Some(false));
        drop(other.stdin.take());
        other.wait().unwrap();
        // Nobody has this one.
        assert_eq!(holds_listener(std::process::id(), 0), Some(false));
    }

    #[test]
    fn who_was_accepted_is_seen_and_who_waits_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = || accepted_by(std::process::id(), address.port()).unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        assert!(accepted().is_empty(), "it waits");
        let connection = listener.accept().unwrap().0;
        assert_eq!(accepted(), BTreeSet::from([sock_diag::inode(&connection).unwrap()]));
        drop(connection);
        assert!(accepted().is_empty());
    }
}
