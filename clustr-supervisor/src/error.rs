//! Why a primary cannot start, or cannot go on.
//!
//! Owns the one error enum of this crate's boundary: lowercase fragments, sources kept, and something to type.

use std::io;
use std::path::{Path, PathBuf};

use clustr_net::activation::NameError;
use clustr_net::intercept::Lack;
use clustr_net::listener::OptionsError;
use clustr_net::queue::QueueError;
use clustr_net::{Addr, BindError};

use crate::clock;
use crate::config::{Probe, Share};
use crate::control::place::{Holder, errno};
use crate::news::span;
use crate::order::OrderError;
use crate::process::LookupError;

/// Why a primary cannot start, or cannot go on. `Display` says what; `hint()` what to type instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no command to run.
    #[error("there is no command to run")]
    NoCommand,
    /// The command cannot be found or executed.
    #[error("{detail}")]
    Command {
        /// What is wrong with it.
        detail: String,
        /// Something to type.
        hint: Option<String>,
    },
    /// Apps cannot be started in the order that was asked for.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// Something is wrong with one of several apps.
    #[error("app '{name}'")]
    App {
        /// Its name.
        name: String,
        /// What.
        source: Box<Self>,
    },
    /// The policy makes no sense.
    #[error("the policy makes no sense")]
    Policy(#[from] clustr_core::PolicyError),
    /// The working directory is not there, or is no folder.
    #[error("could not use '{}' as working directory", path.display())]
    WorkingDirectory {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What was to be listened on cannot be.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Another primary of this name is running.
    #[error("a primary named '{name}' is already running{}", holder_words(*pid, *running_ms))]
    NameTaken {
        /// The name.
        name: String,
        /// Its process, if it could be told.
        pid: Option<u32>,
        /// For how long, in milliseconds, if it could be told.
        running_ms: Option<u64>,
        /// Its control socket.
        path: PathBuf,
    },
    /// The control socket cannot be made.
    #[error("could not make the control socket '{}'", path.display())]
    Control {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody wanted an end while it still ended what a killed primary had left: nothing is left of either.
    #[error("was told to stop before it had started anything")]
    Stopped,
    /// The system refused something that a primary cannot do without.
    #[error("could not {what}")]
    System {
        /// What.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Why the primary cannot listen as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The kernel says no.
    #[error("could not listen")]
    Bind(#[source] BindError),
    /// There is no such descriptor.
    #[error("descriptor {0} was not given to clustr")]
    NoSuchFd(u32),
    /// A descriptor is no socket that can listen.
    #[error("could not listen on descriptor {number}")]
    Adopt {
        /// Its number.
        number: u32,
        /// Why not.
        source: io::Error,
    },
    /// What was said is no address.
    #[error("the address of '{name}' makes no sense")]
    Address {
        /// The listener's name.
        name: String,
        /// Why not.
        source: clustr_net::AddrError,
    },
    /// An option means nothing for its address.
    #[error(transparent)]
    Options(OptionsError),
    /// It has no name that `LISTEN_FDNAMES` could carry.
    #[error(transparent)]
    Name(NameError),
    /// Two have the same name.
    #[error("two listeners are named '{0}'")]
    SameName(String),
    /// Two are at the same address.
    #[error("{0} is to be listened on twice")]
    SameAddress(Addr),
    /// `LISTEN_FDS` gives a worker a listener, never a connection.
    #[error("connections cannot be handed over through LISTEN_FDS")]
    HandoffByFds,
    /// A program that accepts for itself gets no connections from anybody else.
    #[error("connections cannot be handed over to a program that binds for itself")]
    HandoffByIntercept,
    /// A program's own calls cannot be shared here.
    #[error("a program's own bind cannot be shared")]
    Intercept(#[source] Lack),
    /// Only a port that clustr binds itself can have several queues.
    #[error("{0} cannot have a queue for each worker: only TCP and UDP that clustr binds itself can")]
    NoQueues(Addr),
    /// The kernel makes no queues.
    #[error("could not make queues")]
    Queues(#[source] QueueError),
    /// A worker would get connections before it is ready, and this address allows of nothing else.
    #[error("{addr} cannot have a queue for each worker, which {wish} needs")]
    NoGate {
        /// The address.
        addr: Addr,
        /// What was wished.
        wish: String,
    },
    /// All workers accept from one queue.
    #[error("{0} cannot ask one worker where all accept from one queue: any of them might answer")]
    NoWayToProbe(Probe),
    /// Every port may be a client's.
    #[error("{0} needs source ports that no client has, and net.ipv4.ip_local_port_range leaves none")]
    NoProbePorts(Probe),
    /// Nobody knows how many connections a worker had.
    #[error("connections of workers are not counted in sharing `{}`: there they accept for themselves", .0.name())]
    Uncounted(Share),
    /// A way to choose workers that this sharing has not.
    #[error("connections cannot be balanced by '{0}' in this sharing")]
    Balance(&'static str),
}

impl From<QueueError> for ListenError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are the kernel's, and may become more")]
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Bind(error) => Self::Bind(error),
            QueueError::Family(addr) => Self::NoQueues(addr),
            other => Self::Queues(other),
        }
    }
}

impl ListenError {
    /// Something to type instead.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Bind(error) if matches!(error.addr(), Addr::Unix(_) | Addr::Abstract(_)) => unix_hint(error),
            Self::Bind(error) if error.errno() == Some(rustix::io::Errno::ADDRINUSE.raw_os_error()) => {
                Some("ss -ltnp shows who has the port; or choose another one: --listen :0".into())
            }
            Self::Bind(error) if error.errno() == Some(rustix::io::Errno::ACCESS.raw_os_error()) => {
                Some("ports below 1024 need a privilege: --listen :8080".into())
            }
            Self::Bind(_) | Self::Options(_) => None,
            Self::NoGate { .. } => Some(
                "--share handoff for programs that speak clustr's channel or node's; or --share shared, where a worker gets \
                 connections from its first accept on"
                    .into(),
            ),
            Self::Uncounted(_) => Some("--share handoff; or --max-age, or --max-rss".into()),
            Self::NoWayToProbe(_) => Some("--share per-worker; or exec:COMMAND, or tcp:PORT for a port of its own".into()),
            Self::NoProbePorts(_) => Some("sysctl -w net.ipv4.ip_local_port_range='32768 60999'".into()),
            Self::NoQueues(_) => Some("--share shared".into()),
            Self::HandoffByIntercept => Some("--share per-worker, or --no-intercept".into()),
            Self::Intercept(_) => {
                Some("--listen :3001, and a program that takes its listener from LISTEN_FDS".into())
            }
            Self::Queues(_) => None,
            Self::Balance(_) => Some(
                "--share handoff for round-robin and least-busy, --share per-worker for hash, random and cpu"
                    .into(),
            ),
            Self::Address { .. } | Self::NoSuchFd(_) | Self::Adopt { .. } => {
                Some("--listen :3001, and clustr binds it".into())
            }
            Self::Name(_) => Some("--listen web=:3001".into()),
            Self::SameAddress(_) => Some("leave one of them out".into()),
            Self::SameName(_) => Some("--listen web=:3001 --listen admin=:3002".into()),
            Self::HandoffByFds => {
                Some("--share shared, or a program that speaks clustr's channel or node's".into())
            }
        }
    }
}

/// A path has no port.
fn unix_hint(error: &BindError) -> Option<String> {
    let (addr, errno) = (error.addr(), error.errno().map(rustix::io::Errno::from_raw_os_error)?);
    match errno {
        rustix::io::Errno::ADDRINUSE => Some(
            "ss -lxp shows who listens there; a file that is no socket has to be moved away first".into(),
        ),
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => {
            let Addr::Unix(path) = addr else { return None };
            Some(format!("mkdir -p {}", path.parent()?.display()))
        }
        rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => {
            Some("a folder in which this user may make files: --listen unix:/tmp/app.sock".into())
        }
        _ => None,
    }
}

impl StartError {
    /// Another primary has this name.
    #[must_use]
    pub fn name_taken(name: &str, path: PathBuf, Holder { pid, since_unix_ms }: Holder) -> Self {
        let running_ms = since_unix_ms.map(|since| clock::unix_ms().saturating_sub(since));
        Self::NameTaken { name: name.to_owned(), pid, running_ms, path }
    }

    pub(crate) const fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// Something to type instead.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoCommand => Some("clustr run -- node app.js".into()),
            Self::Command { hint, .. } => hint.clone(),
            Self::Listen(error) => error.hint(),
            Self::NameTaken { name, .. } => Some(format!(
                "clustr stop --name {name}, or give this one another name: clustr run --name {name}2 …"
            )),
            Self::Control { path, source } => Some(control_hint(path, source)),
            Self::System { source, .. } if is_out_of_descriptors(source) => Some("ulimit -n 1024".into()),
            Self::App { source, .. } => source.hint(),
            Self::Order(_)
            | Self::Policy(_)
            | Self::WorkingDirectory { .. }
            | Self::Stopped
            | Self::System { .. } => None,
        }
    }
}

/// ` (pid 42, for 3m20s)`, as far as it is known.
fn holder_words(pid: Option<u32>, running_ms: Option<u64>) -> String {
    let pid = pid.map(|pid| format!("pid {pid}"));
    let since = running_ms.map(|ms| format!("for {}", span(ms)));
    let words: Vec<String> = pid.into_iter().chain(since).collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

/// A control socket can be in want of a descriptor, of room, of a permission, or of a path that is short enough.
#[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's kinds; new ones may come")]
fn control_hint(path: &Path, source: &io::Error) -> String {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem, StorageFull};
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if is_out_of_descriptors(source) {
        return "ulimit -n 1024, or stop what has so many files open".into();
    }
    match source.kind() {
        NotFound => format!("mkdir -p {}; or another folder: clustr run --control PATH …", folder.display()),
        StorageFull => format!("df {}; or another folder: clustr run --control PATH …", folder.display()),
        PermissionDenied | ReadOnlyFilesystem => {
            format!("ls -ld {}; or a folder of yours: clustr run --control PATH …", folder.display())
        }
        _ => "clustr run --control PATH …, a short path in a folder that you may write".into(),
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let limits = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    errno(error).is_some_and(|code| limits.iter().any(|limit| limit.raw_os_error() == code))
}

impl From<LookupError> for StartError {
    fn from(error: LookupError) -> Self {
        Self::Command { detail: error.to_string(), hint: error.hint() }
    }
}

#[cfg(test)]
mod tests {
    use clustr_net::{Listener, Options};

    use super::*;

    #[test]
    fn the_hint_for_a_path_speaks_of_no_port() {
        let folder = tempfile::tempdir().unwrap();
        let hint = |path: PathBuf| {
            let error = Listener::bind(&Addr::Unix(path), Options::default()).unwrap_err();
            ListenError::Bind(error).hint().unwrap()
        };
        let missing = folder.path().join("missing");
        assert_eq!(hint(missing.join("app.sock")), format!("mkdir -p {}", missing.display()));
        std::fs::write(&missing, "").unwrap();
        assert!(hint(missing).contains("ss -lxp"));
    }
}
