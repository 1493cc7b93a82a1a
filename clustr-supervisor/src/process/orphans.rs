//! Workers of a primary that was killed, and commands that asked about them: known to the next one of its name, and ended by it.
//!
//! Owns the record beside the control socket, while the primary lives, and the end of those who are in it, before the next
//! one binds. A process is told apart by its number and its start (proc(5), `/proc/PID/stat`, field 22) within one boot and
//! one pid namespace, and signalled through a pidfd that was opened before the look: never by a number that somebody else has
//! by now. Never writes the record itself: the writer thread does.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use super::{Brood, Process, facts, raw, tree};
use crate::clock;
use crate::signals::Signals;

/// Bound: a record of some 4,000 processes.
const RECORD_BYTES_MAX: u64 = 128 * 1024;

/// Begins the line of a process that the worker of the line before had started.
const BELOW: &str = "below ";

/// How long the end of a killed process is waited for.
const FAREWELL: Duration = Duration::from_secs(1);

/// Who would be left if this process were killed.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    header: String,
    is_stale: bool,
}

impl Record {
    /// Beside this control socket; `None` where processes could not be told apart later.
    pub(crate) fn beside(socket: &Path) -> Option<Self> {
        Some(Self { path: path(socket), header: header()?, is_stale: false })
    }

    /// Somebody has come or gone.
    pub(crate) const fn touch(&mut self) {
        self.is_stale = true;
    }

    /// What is to be written where, if anybody has come or gone since the last time: who is there, and by which signal each is
    /// asked to stop.
    pub(crate) fn take<'a>(
        &mut self,
        processes: impl Iterator<Item = (&'a Process, Option<&'a Brood>, Signal)>,
    ) -> Option<(PathBuf, Vec<u8>)> {
        if !std::mem::take(&mut self.is_stale) {
            return None;
        }
        let mut text = self.header.clone();
        for (process, brood, signal) in processes {
            let signal = signal as i32;
            // A string takes everything.
            if let Some(born) = process.born {
                let _ = writeln!(text, "{} {born} {signal}", process.pid.as_raw_nonzero());
            }
            for (pid, born) in brood.into_iter().flat_map(Brood::known) {
                let _ = writeln!(text, "{BELOW}{} {born} {signal}", pid.as_raw_nonzero());
            }
        }
        Some((self.path.clone(), text.into_bytes()))
    }

    /// Nobody is left.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Everybody in a record whose owner is dead and who still lives.
#[derive(Debug)]
pub(crate) struct Orphans {
    record: PathBuf,
    left: Vec<Orphan>,
}

impl Orphans {
    /// Of the record beside this control socket, whose owner has to be dead. `None`: nobody is left.
    pub(crate) fn of(socket: &Path) -> Option<Self> {
        let record = path(socket);
        let text = read(&record).ok()?;
        let left: Vec<Orphan> =
            families(&text).flat_map(|(worker, brood)| Orphan::find_all(worker, brood)).collect();
        if left.is_empty() {
            let _ = fs::remove_file(record);
            return None;
        }
        Some(Self { record, left })
    }

    /// How many there are, without what they have started.
    pub(crate) const fn count(&self) -> usize {
        self.left.len()
    }

    /// Ends them: politely, by this signal where the record names none, then by SIGKILL, and that at once when somebody wants
    /// an end. Says whether somebody does.
    pub(crate) fn end(mut self, signal: Signal, patience: Duration, signals: Option<&Signals>) -> bool {
        let polite = |orphan: &Orphan| orphan.signal.unwrap_or(signal);
        for orphan in &self.left {
            let _ = pidfd_send_signal(&orphan.pidfd, raw(polite(orphan)));
        }
        let follow_up = |orphan: &Orphan| orphan.follow_up(polite(orphan));
        let is_stopped = await_all(&mut self.left, patience, signals, follow_up);
        self.left.iter().for_each(Orphan::kill);
        await_all(&mut self.left, FAREWELL, None, |_| ());
        let _ = fs::remove_file(&self.record);
        is_stopped
    }
}

/// A worker without a primary, and what it had started when it was found.
#[derive(Debug)]
struct Orphan {
    pid: Pid,
    pidfd: OwnedFd,
    below: Vec<OwnedFd>,
    is_gone: bool,
    /// The polite one of its app, if the record names it.
    signal: Option<Signal>,
}

impl Orphan {
    /// A worker with what it had started; where it is gone itself, killed together with the primary, say, each of those.
    fn find_all(worker: Entry, brood: Vec<Entry>) -> Vec<Self> {
        let mut left: Vec<Self> = brood.into_iter().filter_map(Self::find).collect();
        if let Some(mut worker) = Self::find(worker) {
            worker.below.extend(left.drain(..).flat_map(|one| one.below.into_iter().chain([one.pidfd])));
            left.push(worker);
        }
        left
    }

    /// Held first and looked at then: a number that was given to somebody else before fails the look.
    fn find(Entry { pid, born, signal }: Entry) -> Option<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        if facts::born(pid.as_raw_nonzero().get().unsigned_abs())? != born || has_ended(&pidfd) {
            return None;
        }
        Some(Self { pid, pidfd, below: tree::hold_descendants(pid), is_gone: false, signal })
    }

    /// Looks whether it has gone; what it had started is asked then as well.
    fn look(&mut self) {
        self.is_gone = self.is_gone || has_ended(&self.pidfd);
        if self.is_gone {
            self.below.retain(|held| !has_ended(held));
        }
    }

    fn follow_up(&self, signal: Signal) {
        for held in &self.below {
            let _ = pidfd_send_signal(held, raw(signal));
        }
    }

    const fn is_over(&self) -> bool {
        self.is_gone && self.below.is_empty()
    }

    fn kill(&self) {
        if !self.is_gone {
            tree::kill_descendants(self.pid);
            let _ = pidfd_send_signal(&self.pidfd, raw(Signal::SIGKILL));
        }
        self.follow_up(Signal::SIGKILL);
    }
}

/// Waits until all are over, but not for longer than this, and not when somebody wants an end: says whether somebody does.
/// `left` is told each that has gone before those that it had started.
fn await_all(
    orphans: &mut Vec<Orphan>,
    patience: Duration,
    signals: Option<&Signals>,
    left: impl Fn(&Orphan),
) -> bool {
    let deadline = clock::now() + patience;
    loop {
        for orphan in &mut *orphans {
            let was_gone = orphan.is_gone;
            orphan.look();
            if orphan.is_gone && !was_gone {
                left(orphan);
            }
        }
        orphans.retain(|orphan| !orphan.is_over());
        let time_left = deadline.since(clock::now());
        if orphans.is_empty() || time_left.is_zero() {
            return false;
        }
        let waited: Vec<&OwnedFd> = orphans.iter().flat_map(Orphan::awaited).collect();
        let ends = waited.iter().map(|held| PollFd::new(*held, PollFlags::IN));
        let words = signals.map(|signals| PollFd::new(signals, PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> = ends.chain(words).collect();
        let _ = poll(&mut fds, Timespec::try_from(time_left).ok().as_ref());
        if signals.is_some_and(Signals::want_end) {
            return true;
        }
    }
}

impl Orphan {
    /// Whose end is waited for now.
    fn awaited(&self) -> impl Iterator<Item = &OwnedFd> {
        let itself = (!self.is_gone).then_some(&self.pidfd);
        let below = if self.is_gone { &self.below[..] } else { &[] };
        itself.into_iter().chain(below)
    }
}

/// Readable once the process has ended, whoever reaps it: pidfd_open(2).
fn has_ended(held: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(held, PollFlags::IN)], Some(&at_once)), Ok(1..))
}

/// The record, if it is one of ours, of this boot and of this pid namespace.
fn read(path: &Path) -> io::Result<String> {
    let mut options = OpenOptions::new();
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file: File = options.read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    let is_ours = found.is_file() && found.uid() == rustix::process::geteuid().as_raw();
    let mut text = String::new();
    if is_ours {
        file.take(RECORD_BYTES_MAX).read_to_string(&mut text)?;
    }
    let rest = header().and_then(|header| text.strip_prefix(&header).map(str::to_owned));
    rest.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A line of the record.
#[derive(Clone, Copy)]
struct Entry {
    pid: Pid,
    born: u64,
    signal: Option<Signal>,
}

/// Workers, each with what it had started. What makes no sense is nobody.
fn families(text: &str) -> impl Iterator<Item = (Entry, Vec<Entry>)> {
    let mut families: Vec<(Entry, Vec<Entry>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix(BELOW).map(entry), families.last_mut()) {
            (Some(below), Some((_, brood))) => brood.extend(below),
            (Some(_), None) => {}
            (None, _) => families.extend(entry(line).map(|worker| (worker, Vec::new()))),
        }
    }
    families.into_iter()
}

/// A number, a start, and perhaps a signal.
fn entry(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let pid = words.next()?.parse().ok().filter(|pid: &i32| *pid > 1)?;
    let born = words.next()?.parse().ok()?;
    let signal = words.next().and_then(|number| Signal::try_from(number.parse::<i32>().ok()?).ok());
    Some(Entry { pid: Pid::from_raw(pid)?, born, signal })
}

/// Within which a process's number and start mean something.
fn header() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("clustr workers 1 {} {}\n", boot.trim(), namespace.display()))
}

fn path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".workers");
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_makes_no_sense_is_nobody() {
        let numbers = |text: &str| -> Vec<(i32, u64, Option<Signal>)> {
            families(text).map(|(one, _)| (one.pid.as_raw_nonzero().get(), one.born, one.signal)).collect()
        };
        assert_eq!(numbers("12 34 15\n56 78\n"), [(12, 34, Some(Signal::SIGTERM)), (56, 78, None)]);
        assert_eq!(numbers("1 5\n0 5\n-4 5\nx 5\n5\n5 x\n99999999999 1\n\n7 8 x"), [(7, 8, None)]);
    }

    #[test]
    fn what_a_worker_had_started_is_its_own() {
        let found: Vec<_> =
            families("below 9 9\n12 34\nbelow 13 35\nbelow x\nbelow 14 36\n56 78\n").collect();
        let numbers = |one: &Entry| (one.pid.as_raw_nonzero().get(), one.born);
        let of = |at: usize| (numbers(&found[at].0), found[at].1.iter().map(numbers).collect::<Vec<_>>());
        assert_eq!(of(0), ((12, 34), vec![(13, 35), (14, 36)]));
        assert_eq!((of(1), found.len()), (((56, 78), vec![]), 2));
    }

    #[test]
    fn of_another_boot_or_namespace_nobody_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("app.sock");
        let me = format!("{} {}\n", std::process::id(), facts::born(std::process::id()).unwrap());
        fs::write(path(&socket), format!("clustr workers 1 another-boot pid:[1]\n{me}")).unwrap();
        assert!(Orphans::of(&socket).is_none(), "this very process would be dead");
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("b.sock.workers")).unwrap();
        assert!(Orphans::of(&folder.path().join("b.sock")).is_none());
    }

    #[test]
    fn a_number_that_somebody_else_has_by_now_is_nobody() {
        let me = std::process::id();
        let pid = Pid::from_raw(i32::try_from(me).unwrap()).unwrap();
        let entry = |born| Entry { pid, born, signal: None };
        assert!(Orphan::find(entry(facts::born(me).unwrap())).is_some());
        assert!(Orphan::find(entry(facts::born(me).unwrap() + 1)).is_none());
    }
}
