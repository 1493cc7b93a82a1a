//! A stopped thread, as far as we may look at it: its memory, its descriptors, its sockets.
//!
//! Owns the questions to proc(5) and pidfd_getfd(2). Never writes anything of it. Called by `responder`, `socket` and
//! `replace`.
//!
//! A thread's number may become somebody else's, so whoever has opened something by it asks the notification whether the
//! call is still stopped before it believes what was opened. The thread may be any of its process, and the first one may be
//! gone: `/proc/<its own number>` is asked, and a pidfd of the thread itself is opened where the kernel has such (6.9).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// Bound: how many descriptors of one process are looked at for epoll instances.
const DESCRIPTORS_MAX: usize = 4096;
/// Bound: how many processes below a worker are looked at for a socket.
const PROCESSES_MAX: usize = 1024;

/// A thread that waits for our answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thread(Pid);

/// What a descriptor's number has beside its file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Flags {
    /// Status flags: open(2).
    pub(super) status: u32,
    pub(super) cloexec: bool,
}

/// An epoll instance in which a descriptor is registered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Watched {
    /// The instance's number.
    pub(super) epoll: u32,
    pub(super) events: u32,
    pub(super) data: u64,
}

impl Thread {
    /// `None`: it is in a pid namespace that we cannot see.
    pub(super) fn of(tid: u32) -> Option<Self> {
        i32::try_from(tid).ok().and_then(Pid::from_raw).map(Self)
    }

    fn path(self, rest: &str) -> String {
        format!("/proc/{}/{rest}", self.0.as_raw_nonzero())
    }

    /// Up to `len` bytes of its memory; fewer where it ends before.
    pub(super) fn read(self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let filled = File::open(self.path("mem"))?.read_at(&mut bytes, at)?;
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Five words of its memory; those that it does not have are 0, but for the first two.
    pub(super) fn words(self, at: u64) -> Option<[u32; 5]> {
        let bytes = self.read(at, 20).ok().filter(|bytes| bytes.len() >= 8)?;
        let mut words = [0; 5];
        let (whole, _) = bytes.as_chunks::<4>();
        words.iter_mut().zip(whole).for_each(|(word, bytes)| *word = u32::from_ne_bytes(*bytes));
        Some(words)
    }

    /// A duplicate of a descriptor of its: pidfd_getfd(2).
    pub(super) fn descriptor(self, number: u32) -> io::Result<OwnedFd> {
        let number = i32::try_from(number).map_err(|_| Errno::BADF)?;
        Ok(pidfd_getfd(self.pidfd()?, number, PidfdGetfdFlags::empty())?)
    }

    fn pidfd(self) -> io::Result<OwnedFd> {
        // `PIDFD_THREAD` has the value of `O_EXCL`: pidfd_open(2).
        let thread = PidfdFlags::from_bits_retain(rustix::fs::OFlags::EXCL.bits());
        match pidfd_open(self.0, thread) {
            Err(Errno::INVAL) => Ok(pidfd_open(self.leader()?, PidfdFlags::empty())?),
            other => Ok(other?),
        }
    }

    /// The first thread of its process.
    fn leader(self) -> io::Result<Pid> {
        let status = fs::read_to_string(self.path("status"))?;
        let number = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
        number.and_then(Pid::from_raw).ok_or_else(|| Errno::SRCH.into())
    }

    /// The number of its process.
    pub(super) fn process(self) -> io::Result<u32> {
        Ok(self.leader()?.as_raw_nonzero().get().unsigned_abs())
    }

    /// The socket behind a number, by its inode.
    pub(super) fn inode(self, number: u32) -> io::Result<u64> {
        let path = self.path(&format!("fd/{number}"));
        let link = fs::read_link(&path)?;
        let is_socket = link.as_os_str().as_encoded_bytes().starts_with(b"socket:[");
        if is_socket { Ok(fs::metadata(&path)?.ino()) } else { Err(Errno::NOTSOCK.into()) }
    }

    /// What kind of socket it is, in the kernel's words ("TCPv6", "UDP", "MPTCP", "UNIX-STREAM"): the attribute that
    /// getxattr(2) shows without any right over the process but to look at it.
    pub(super) fn protocol(self, number: u32) -> io::Result<String> {
        let mut name = [0u8; 64];
        let path = self.path(&format!("fd/{number}"));
        let len = rustix::fs::getxattr(path, "system.sockprotoname", &mut name[..])?;
        let name = name.get(..len).unwrap_or_default();
        Ok(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
    }

    /// The `flags:` line of proc_pid_fdinfo(5).
    pub(super) fn flags(self, number: u32) -> io::Result<Flags> {
        const CLOEXEC: u32 = rustix::fs::OFlags::CLOEXEC.bits();
        let text = fs::read_to_string(self.path(&format!("fdinfo/{number}")))?;
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).ok_or(Errno::IO)?;
        Ok(Flags { status: flags & !CLOEXEC, cloexec: flags & CLOEXEC != 0 })
    }

    /// Where a descriptor is registered already. Programs that register before they bind would hear nothing of a socket that
    /// takes the place of theirs.
    pub(super) fn registrations(self, number: u32) -> io::Result<Vec<Watched>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.path("fd"))?.flatten().take(DESCRIPTORS_MAX) {
            let link = fs::read_link(entry.path());
            if !link.is_ok_and(|link| link.as_os_str() == "anon_inode:[eventpoll]") {
                continue;
            }
            let Some(epoll) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let text = fs::read_to_string(self.path(&format!("fdinfo/{epoll}"))).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| watched(line, epoll, number)));
        }
        Ok(found)
    }

    /// Its working folder.
    pub(super) fn folder(self) -> io::Result<PathBuf> {
        fs::read_link(self.path("cwd"))
    }

    /// Whether its process has this socket open.
    pub(super) fn holds(self, inode: u64) -> bool {
        holds(self.0, inode)
    }
}

/// One line of an epoll instance: `tfd:        5 events:       19 data:                5  pos:0 ino:… sdev:…`.
fn watched(line: &str, epoll: u32, number: u32) -> Option<Watched> {
    let words: Vec<&str> = line.strip_prefix("tfd:")?.split_whitespace().collect();
    let [target, "events:", events, "data:", data, ..] = words[..] else { return None };
    let events = u32::from_str_radix(events, 16).ok()?;
    let data = u64::from_str_radix(data, 16).ok()?;
    (target.parse() == Ok(number)).then_some(Watched { epoll, events, data })
}

/// Whether a process, or one below it, has this socket open: for the question whether a worker has closed it.
pub(super) fn is_open_below(leader: u32, inode: u64) -> bool {
    let mut left = vec![leader];
    let mut seen = 0;
    while let Some(pid) = left.pop() {
        seen += 1;
        if seen > PROCESSES_MAX {
            // Rather a port that is in use than one that two servers believe to be theirs.
            return true;
        }
        if i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(|pid| holds(pid, inode)) {
            return true;
        }
        left.extend(children(pid));
    }
    false
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn holds(pid: Pid, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let folder = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    folder.into_iter().any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == &*wanted))
}

/// The inode of a socket of ours.
pub(super) fn inode_of(fd: impl AsFd) -> io::Result<u64> {
    crate::sock_diag::inode(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn me() -> Thread {
        let own = fs::read_link("/proc/thread-self").unwrap();
        Thread::of(own.file_name().unwrap().to_str().unwrap().parse().unwrap()).unwrap()
    }

    #[test]
    fn lines_of_an_epoll_instance_are_understood() {
        let line = "tfd:        7 events: 40000019 data: deadbeef00000007  pos:0 ino:3a sdev:8";
        let expected = Watched { epoll: 3, events: 0x4000_0019, data: 0xdead_beef_0000_0007 };
        assert_eq!(watched(line, 3, 7), Some(expected));
        assert_eq!(watched(line, 3, 8), None);
        assert_eq!(watched("pos:\t0", 3, 7), None);
        assert_eq!(watched("tfd: 7 events: zz", 3, 7), None);
    }

    #[test]
    fn a_thread_is_looked_at_through_procfs() {
        let text = b"hello";
        assert_eq!(me().read(text.as_ptr().addr() as u64, 5).unwrap(), text);
        let listener = std::net::TcpListener::bind("[::1]:0").unwrap();
        let number = listener.as_raw_fd().cast_unsigned();
        let inode = me().inode(number).unwrap();
        assert_eq!(inode, inode_of(&listener).unwrap());
        assert_eq!(me().protocol(number).unwrap(), "TCPv6");
        assert!(me().flags(number).unwrap().cloexec);
        assert!(me().holds(inode) && is_open_below(std::process::id(), inode));
        drop(listener);
        assert!(!me().holds(inode));
    }

    #[test]
    fn what_is_no_socket_is_said_to_be_none() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = me().inode(file.as_raw_fd().cast_unsigned()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NOTSOCK.raw_os_error()));
    }
}
