//! What is so on this machine, for this user, now.
//!
//! Owns every look at the kernel, the disk and the environment that `doctor` takes. Never judges: `rules` does. What cannot be seen is
//! a fact too. Called by `doctor`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use clustr_net::intercept::{self, Lack, Way};
use clustr_net::{Addr, Host};
use clustr_supervisor::control::place;
use rustix::fs::{Access, access};
use rustix::process::{PidfdFlags, Resource, getpid, getrlimit, pidfd_open};

use super::ports::{self, Port, Primary};
use crate::args::{self, DoctorArgs};
use crate::client::Client;
use crate::config_file::{self, Wanted};
use crate::failure::{Failure, Report, Saying};
use crate::target;

/// All of it.
#[derive(Debug)]
pub(super) struct Facts {
    /// As uname(2) gives it.
    pub(super) kernel: String,
    pub(super) interception: Result<Way, Lack>,
    /// Whether a process can be held by a descriptor; else what the kernel says.
    pub(super) pidfd: Result<(), String>,
    pub(super) cgroup: Cgroup,
    pub(super) files: Limit,
    pub(super) processes: Limit,
    pub(super) is_root: bool,
    pub(super) accept_queue: Option<u64>,
    pub(super) syn_backlog: Option<u64>,
    pub(super) migrates: Option<u64>,
    pub(super) cpus: Cpus,
    pub(super) above: Above,
    pub(super) folder: Folder,
    pub(super) primaries: Vec<Primary>,
    /// The file whose addresses were looked at, or why it cannot be read.
    pub(super) file: Option<Result<PathBuf, Broken>>,
    pub(super) ports: Vec<Port>,
}

/// A limit of resources; `None`: there is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Limit {
    pub(super) soft: Option<u64>,
    pub(super) hard: Option<u64>,
}

/// Where this process is among cgroups.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Cgroup {
    /// No version 2 is mounted where it always is.
    Absent,
    /// It is somebody else's.
    Foreign(PathBuf),
    /// Workers may be put below it, with these controllers.
    Delegated(PathBuf, Vec<String>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Cpus {
    /// For this process: by quota and affinity.
    pub(super) usable: usize,
    pub(super) online: Option<usize>,
}

/// Who looks after us.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Above {
    /// systemd is process 1.
    pub(super) systemd: bool,
    /// We were started by a unit of it.
    pub(super) unit: bool,
    /// What kind of container this is.
    pub(super) container: Option<String>,
}

/// The folder of control sockets.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Folder {
    Ready(PathBuf),
    /// It is not there yet; whether it can be made.
    Missing {
        path: PathBuf,
        can_be_made: bool,
    },
    ReadOnly(PathBuf),
    /// Why it is refused.
    Refused(PathBuf, String),
}

/// A configuration file that says nothing: which, and why.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Broken {
    pub(super) file: PathBuf,
    pub(super) why: String,
}

impl Facts {
    pub(super) fn gather(args: DoctorArgs) -> Self {
        let primaries = primaries();
        let DoctorArgs { addresses, listen, file, profile, .. } = args;
        let mut wanted: Vec<Addr> = addresses.into_iter().chain(listen).map(|listen| listen.addr).collect();
        let file = read_file(file, profile.as_deref(), &mut wanted);
        Self {
            kernel: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            interception: intercept::probe(),
            pidfd: pidfd_open(getpid(), PidfdFlags::empty()).map(drop).map_err(|errno| errno.to_string()),
            cgroup: cgroup(),
            files: limit(Resource::Nofile),
            processes: limit(Resource::Nproc),
            is_root: rustix::process::geteuid().is_root(),
            accept_queue: number("/proc/sys/net/core/somaxconn"),
            syn_backlog: number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
            migrates: number("/proc/sys/net/ipv4/tcp_migrate_req"),
            cpus: Cpus {
                usable: num_cpus::get(),
                online: text("/sys/devices/system/cpu/online").and_then(|list| count(&list)),
            },
            above: above(),
            folder: folder(),
            ports: wanted.iter().map(|addr| ports::look(addr, &primaries)).collect(),
            primaries,
            file,
        }
    }
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    text(path)?.parse().ok()
}

/// `0-3,8`: how many that are.
fn count(list: &str) -> Option<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let [first, last]: [usize; 2] = [first.parse().ok()?, last.parse().ok()?];
        last.checked_sub(first).map(|more| more + 1)
    };
    list.split(',').map(range).sum()
}

fn limit(resource: Resource) -> Limit {
    let found = getrlimit(resource);
    Limit { soft: found.current, hard: found.maximum }
}

fn cgroup() -> Cgroup {
    let root = Path::new("/sys/fs/cgroup");
    let own = text("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) else { return Cgroup::Absent };
    if !root.join("cgroup.controllers").exists() {
        return Cgroup::Absent;
    }
    let path = root.join(path);
    let is_ours = [path.clone(), path.join("cgroup.procs"), path.join("cgroup.subtree_control")]
        .iter()
        .all(|path| access(path, Access::WRITE_OK).is_ok());
    if !is_ours {
        return Cgroup::Foreign(path);
    }
    let controllers = fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
    Cgroup::Delegated(path, controllers.split_whitespace().map(str::to_owned).collect())
}

fn above() -> Above {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let known = [
        (is_set("KUBERNETES_SERVICE_HOST"), "kubernetes"),
        (Path::new("/.dockerenv").exists(), "docker"),
        (Path::new("/run/.containerenv").exists(), "podman"),
    ];
    let kind = known.iter().find(|(is, _)| *is).map(|(_, kind)| (*kind).to_owned());
    Above {
        systemd: Path::new("/run/systemd/system").is_dir(),
        unit: is_set("INVOCATION_ID"),
        container: kind.or_else(|| text("/run/systemd/container")).or_else(|| env::var("container").ok()),
    }
}

fn folder() -> Folder {
    let path = place::runtime_dir_path();
    match place::existing_runtime_dir() {
        Err(error) => Folder::Refused(path, error.to_string()),
        Ok(Some(dir)) if access(&dir, Access::WRITE_OK).is_err() => Folder::ReadOnly(dir),
        Ok(Some(dir)) => Folder::Ready(dir),
        Ok(None) => {
            let parent = path.ancestors().skip(1).find(|above| above.exists());
            let can_be_made = parent.is_some_and(|parent| access(parent, Access::WRITE_OK).is_ok());
            Folder::Missing { path, can_be_made }
        }
    }
}

/// Those of this user that answer, and what is left of others.
fn primaries() -> Vec<Primary> {
    let dir = place::existing_runtime_dir().ok().flatten();
    let found = dir.and_then(|dir| target::all(&dir).ok()).unwrap_or_default();
    let ask = |found: target::Found| {
        let status = found.live.then(|| Client::connect(&found.path).and_then(|mut client| client.status()));
        Primary { name: found.name, live: found.live, pid: status.and_then(Result::ok).map(|s| s.pid) }
    };
    found.into_iter().map(ask).collect()
}

/// Adds the addresses of the file that was named, or that is there where no address was.
fn read_file(
    named: Option<PathBuf>,
    profile: Option<&str>,
    wanted: &mut Vec<Addr>,
) -> Option<Result<PathBuf, Broken>> {
    if named.is_none() && !wanted.is_empty() {
        return None;
    }
    let is_named = named.is_some();
    let file = config_file::find(named).ok().filter(|file| is_named || file.exists())?;
    Some(match addresses(&file, profile) {
        Ok(found) => {
            wanted.extend(found);
            Ok(file)
        }
        Err(failure) => Err(Broken { why: words(&failure), file }),
    })
}

fn addresses(file: &Path, profile: Option<&str>) -> Result<Vec<Addr>, Failure> {
    let mut found = Vec::new();
    for app in &Wanted::read(file, file, profile)?.apps {
        let options = args::beside(&app.words)?;
        found.extend(options.listen.into_iter().map(|listen| listen.addr));
        found.extend(options.port.into_iter().map(|port| Addr::Tcp { host: Host::Any, port }));
    }
    Ok(found)
}

fn words(failure: &Failure) -> String {
    match failure.saying() {
        Saying::Error(Report { what, .. }) => what,
        Saying::Help(_) | Saying::ShortHelp(_) | Saying::Silence(_) => "it cannot be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cpus_is_counted() {
        assert_eq!(count("0-3,8"), Some(5));
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("3-1"), None);
        assert_eq!(count(""), None);
    }
}
