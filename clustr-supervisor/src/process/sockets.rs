//! Which sockets a process, and what it has started, has open; and whether it listens on a port.
//!
//! Owns the comparison of the kernel's list of listeners (sock_diag(7)) with a process's open files (proc(5)). Never touches a
//! process. Called by `probe`, for a port that one worker alone shall have, by `departures`, and before a worker counts as
//! one that hangs.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;

use clustr_net::{Kind, sock_diag};
use rustix::process::Pid;

use super::facts::{socket, sockets, table_size};
use super::tree::children;

/// Bound: processes and open files that are looked at. A listener is among the first files of a server.
const PROCESSES_MAX: usize = 32;
const FILES_MAX: usize = 4096;
/// Bound: open files that are looked at where connections are meant.
const SOCKETS_MAX: usize = 1 << 17;
/// Bound: open files and connections that are looked at in one turn, where a part tells enough.
const SAMPLE_FILES_MAX: usize = 1 << 11;
const SAMPLE_CONNECTIONS_MAX: usize = 1 << 12;

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
    let mut left = SOCKETS_MAX;
    family(pid).into_iter().filter_map(|number| sockets(number, &mut left)).flatten().collect()
}

/// What is open at some moment: as many sockets as can be looked at quickly, and which of them are connections to a port.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sample {
    /// By inode.
    pub(crate) sockets: BTreeSet<u64>,
    pub(crate) connections: BTreeSet<u64>,
}

/// Looks at processes, for one turn of the loop: never at more than what takes milliseconds, whatever they have open.
#[derive(Debug)]
pub(crate) struct Sampler {
    files_left: usize,
    /// The connections to a port, once however many workers share it; `None` if the kernel does not say.
    listed: BTreeMap<u16, Option<BTreeSet<u64>>>,
}

/// What came of a look at a process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Sight {
    Sample(Sample),
    /// It may not be looked at.
    Nothing,
    /// This turn has seen enough.
    Later,
}

impl Sampler {
    pub(crate) const fn new() -> Self {
        Self { files_left: SAMPLE_FILES_MAX, listed: BTreeMap::new() }
    }

    /// A process, all below it, and what it has accepted on `port`. Of one with more files than fit, the same part is seen each
    /// time: every second, fourth, eighth.
    pub(crate) fn look(&mut self, pid: u32, port: u16) -> Sight {
        if self.files_left < SAMPLE_FILES_MAX / 2 {
            return Sight::Later;
        }
        let sockets = self.sockets(pid);
        let Some(listed) = self.listed(port).filter(|_| !sockets.is_empty()) else { return Sight::Nothing };
        let connections = sockets.intersection(listed).copied().collect();
        Sight::Sample(Sample { sockets, connections })
    }

    fn listed(&mut self, port: u16) -> Option<&BTreeSet<u64>> {
        let list = || {
            let listed = sock_diag::some_connections(port, SAMPLE_CONNECTIONS_MAX).ok()?;
            Some(listed.iter().map(|one| one.inode).collect())
        };
        self.listed.entry(port).or_insert_with(list).as_ref()
    }

    fn sockets(&mut self, pid: u32) -> BTreeSet<u64> {
        let family = family(pid);
        let files_max = (SAMPLE_FILES_MAX / 2 / family.len().max(1)).next_power_of_two();
        let mut found = BTreeSet::new();
        for number in family {
            let files = part(table_size(number).unwrap_or_default(), files_max);
            self.files_left = self.files_left.saturating_sub(files.len());
            found.extend(files.filter_map(|file| socket(number, file)));
        }
        found
    }
}

/// Numbers of files, evenly spread, of a table of so many.
fn part(table_size: usize, files_max: usize) -> std::iter::StepBy<std::ops::Range<usize>> {
    let size = table_size.next_power_of_two();
    (0..size).step_by(size.div_ceil(files_max))
}

/// A process and those below it, by number.
fn family(pid: u32) -> Vec<u32> {
    let mut processes: Vec<Pid> = i32::try_from(pid).ok().and_then(Pid::from_raw).into_iter().collect();
    let mut next = 0;
    while let Some(&process) = processes.get(next) {
        next += 1;
        let room = PROCESSES_MAX.saturating_sub(processes.len());
        processes.extend(children(process).into_iter().take(room));
    }
    processes.into_iter().map(|process| process.as_raw_nonzero().get().unsigned_abs()).collect()
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
        let seen = || match Sampler::new().look(std::process::id(), address.port()) {
            Sight::Sample(sample) => sample,
            sight @ (Sight::Nothing | Sight::Later) => panic!("{sight:?}"),
        };
        let inode = |socket: &dyn std::os::fd::AsFd| sock_diag::inode(socket.as_fd()).unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        assert!(seen().connections.is_empty(), "it waits");
        assert!(seen().sockets.contains(&inode(&listener)));
        let connection = listener.accept().unwrap().0;
        assert_eq!(seen().connections, BTreeSet::from([inode(&connection)]));
        drop(connection);
        assert!(seen().connections.is_empty());
    }

    #[test]
    fn a_turn_looks_at_so_many_files_and_always_at_somebody() {
        let mut sampler = Sampler::new();
        let looks = (0..10_000).take_while(|_| sampler.look(std::process::id(), 1) != Sight::Later).count();
        assert!((1..10_000).contains(&looks), "{looks}");
        // Nobody has this number.
        assert_eq!(Sampler::new().look(u32::MAX, 1), Sight::Nothing);
    }

    #[test]
    fn of_a_process_with_many_files_the_same_part_is_seen_each_time() {
        assert_eq!(part(256, 1024).collect::<Vec<_>>(), (0..256).collect::<Vec<_>>());
        let now: Vec<usize> = part(8192, 1024).collect();
        assert_eq!((now.len(), now[1]), (1024, 8));
        // The table grows meanwhile: nothing is seen that could have been seen before.
        let later: Vec<usize> = part(16384, 1024).filter(|file| *file < 8192).collect();
        assert!(later.len() == 512 && later.iter().all(|file| now.contains(file)));
    }
}
