//! Whether the kernel killed a worker because there was no memory left.
//!
//! Owns the kernel's counters of such kills, as they were at the last look: of our cgroup and what is below it, else of the
//! whole host. The kernel does not say whom it killed: a counter that has moved when a worker ends by SIGKILL that nobody here
//! sent is as good as it gets, and of the host's counter only "probably". Called by `hear`, when a worker has ended.
//!
//! Source: cgroups(7); the kernel's cgroup-v2.rst (`memory.events`), memory.rst (`memory.oom_control`); proc(5) (`vmstat`).

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clustr_core::Time;

/// How long after a kill was seen the end of a worker may be it: several are killed in one moment, and reaped one by one.
const FRESH: Duration = Duration::from_secs(1);

/// What these files hold, or somewhat more.
const FILE_BYTES: usize = 8 << 10;

/// Who was out of memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shortage {
    /// The cgroup.
    Cgroup,
    /// Probably the host.
    Host,
}

impl Shortage {
    /// The stable name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Host => "host",
        }
    }
}

/// The kernel's counters, for all apps of a primary: a kill that one of them has been told of was no other's.
#[derive(Clone, Debug)]
pub(crate) struct OomKills(Arc<Mutex<Counters>>);

/// The counters, and what they were.
#[derive(Debug)]
struct Counters {
    cgroup: Counter,
    host: Counter,
    looked_at: Option<Time>,
}

#[derive(Debug)]
struct Counter {
    path: Option<PathBuf>,
    last: Option<u64>,
    /// Kills that no exit has been blamed on, and when they were seen.
    unclaimed: u64,
    seen_at: Time,
}

impl OomKills {
    /// Those of this process, which its workers share.
    pub(crate) fn here(now: Time) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::at(cgroup_file(&own, Path::new("/sys/fs/cgroup")), Some("/proc/vmstat".into()), now)
    }

    fn at(cgroup: Option<PathBuf>, host: Option<PathBuf>, now: Time) -> Self {
        let counters = Counters { cgroup: Counter::new(cgroup), host: Counter::new(host), looked_at: None };
        let kills = Self(Arc::new(Mutex::new(counters)));
        kills.look(now);
        kills
    }

    /// Nobody ever waits here: all apps live in the one loop.
    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was killed until now: it was nobody who starts only now. Of hundreds that start in one turn, the first
    /// looks for all: the files are long, and their numbers made anew for each reader.
    pub(crate) fn look(&self, now: Time) {
        let mut counters = self.counters();
        if counters.looked_at.replace(now) != Some(now) {
            counters.cgroup.look(now);
            counters.host.look(now);
        }
    }

    /// Whether a worker that has just ended by SIGKILL may be one of those that the kernel killed.
    pub(crate) fn claim(&self, now: Time) -> Option<Shortage> {
        let mut counters = self.counters();
        let (cgroup, host) = (counters.cgroup.claim(now), counters.host.claim(now));
        if cgroup { Some(Shortage::Cgroup) } else { host.then_some(Shortage::Host) }
    }
}

impl Counter {
    const fn new(path: Option<PathBuf>) -> Self {
        Self { path, last: None, unclaimed: 0, seen_at: Time::ZERO }
    }

    fn look(&mut self, now: Time) {
        if now.since(self.seen_at) > FRESH {
            self.unclaimed = 0;
        }
        let count = self.path.as_ref().and_then(|path| count(&read(path).ok()?));
        let before = std::mem::replace(&mut self.last, count);
        let more = before.zip(count).map_or(0, |(before, count)| count.saturating_sub(before));
        if more > 0 {
            self.unclaimed += more;
            self.seen_at = now;
        }
    }

    fn claim(&mut self, now: Time) -> bool {
        self.look(now);
        let is_one = self.unclaimed > 0;
        self.unclaimed = self.unclaimed.saturating_sub(1);
        is_one
    }
}

/// Most of these files in one read: the kernel tells no size for which room could be made.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::with_capacity(FILE_BYTES);
    fs::File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// The line `oom_kill N`, which all three files have.
fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Where the kills of a cgroup are counted: version 2 where memory is one of its controllers, else version 1. A path that
/// is not below this mount (in a container) means its root.
fn cgroup_file(own: &str, mount: &Path) -> Option<PathBuf> {
    let path_of = |wanted: &dyn Fn(&str, &str) -> bool| {
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            wanted(hierarchy, controllers).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let two = path_of(&|hierarchy, controllers| hierarchy == "0" && controllers.is_empty());
    let one = path_of(&|_, controllers| controllers.split(',').any(|controller| controller == "memory"));
    let candidates = [
        two.as_ref().map(|path| mount.join(path).join("memory.events")),
        two.as_ref().map(|_| mount.join("memory.events")),
        one.as_ref().map(|path| mount.join("memory").join(path).join("memory.oom_control")),
        one.as_ref().map(|_| mount.join("memory/memory.oom_control")),
    ];
    candidates
        .into_iter()
        .flatten()
        .find(|file| fs::read_to_string(file).is_ok_and(|text| count(&text).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, kills: u64) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("low 0\noom 7\noom_kill {kills}\n")).unwrap();
    }

    #[test]
    fn a_counter_that_moves_is_the_cgroups_before_it_is_the_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let [cgroup, host] = ["memory.events", "vmstat"].map(|name| folder.path().join(name));
        write(&cgroup, 3);
        write(&host, 9);
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let kills = OomKills::at(Some(cgroup.clone()), Some(host.clone()), at(0));
        assert_eq!(kills.claim(at(1)), None);
        write(&host, 10);
        assert_eq!((kills.claim(at(2)), kills.claim(at(2))), (Some(Shortage::Host), None));
        // Two in one moment; the first one's successor starts before the second is reaped.
        write(&cgroup, 5);
        write(&host, 12);
        assert_eq!(kills.claim(at(3)), Some(Shortage::Cgroup));
        kills.look(at(3));
        assert_eq!((kills.claim(at(3)), kills.claim(at(3))), (Some(Shortage::Cgroup), None));
        write(&cgroup, 6);
        kills.look(at(4));
        assert_eq!(kills.claim(at(9)), None, "it was somebody else");
        fs::remove_file(&cgroup).unwrap();
        assert_eq!(kills.claim(at(10)), None, "a counter that is gone has not moved");
    }

    #[test]
    fn of_many_that_start_in_one_turn_the_first_looks_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("vmstat");
        write(&host, 0);
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let kills = OomKills::at(None, Some(host.clone()), at(0));
        kills.look(at(1));
        write(&host, 1);
        kills.look(at(1));
        assert_eq!(kills.counters().host.last, Some(0), "the same turn");
        assert_eq!(kills.claim(at(1)), Some(Shortage::Host), "an end is always looked into");
        write(&host, 2);
        kills.look(at(2));
        assert_eq!(kills.counters().host.last, Some(2), "the next turn");
    }

    #[test]
    fn the_file_is_that_of_our_cgroup_in_either_version_or_of_its_root() {
        let folder = tempfile::tempdir().unwrap();
        let mount = folder.path();
        assert_eq!(cgroup_file("0::/a/b\n", mount), None);
        write(&mount.join("memory.events"), 0);
        assert_eq!(cgroup_file("0::/a/b\n", mount), Some(mount.join("memory.events")));
        write(&mount.join("a/b/memory.events"), 0);
        assert_eq!(cgroup_file("0::/a/b\n", mount), Some(mount.join("a/b/memory.events")));
        let old = "7:cpu,cpuacct:/x\n5:memory:/y:z\n1:name=systemd:/\n";
        write(&mount.join("memory/y:z/memory.oom_control"), 0);
        assert_eq!(cgroup_file(old, mount), Some(mount.join("memory/y:z/memory.oom_control")));
        for text in ["", ":", "0", "0:", "a:b:c:d", "0::"] {
            cgroup_file(text, mount);
        }
    }
}
