//! Starting a worker: everything is prepared before the process exists.
//!
//! Owns the app's command, environment and limits in the form that the kernel wants. Never chooses when to start.
//! Called by `execute`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clustr_core::SpawnFault;
use clustr_net::activation::PidEntry;
use clustr_net::intercept::Installer;
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::Pid;

use super::{LookupError, Process, examine, facts, lookup};
use crate::config::Program;
use crate::generations::Broken;
use crate::sys::{self, Prepared, Step};

/// Variables of the primary that mean the primary, and would mislead a worker.
const OURS_ALONE: [&str; 11] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "CLUSTR_CHANNEL_FD",
];

/// What runs commands: sh(1), where POSIX systems have it.
const SHELL: &CStr = c"/bin/sh";

/// What makes one worker's process different from its siblings'.
#[derive(Debug, Default)]
pub(crate) struct Outfit<'a> {
    /// Variables of this worker.
    pub(crate) env: Vec<(&'static str, String)>,
    /// Whether it has listeners that `LISTEN_FDS` counts: they are for it alone, and `LISTEN_PID` says so.
    pub(crate) listens: bool,
    /// Whether it shall say that it is alive: `WATCHDOG_PID` says that it is meant.
    pub(crate) watched: bool,
    /// What it has as descriptor 0, 1, 2, …: exactly these.
    pub(crate) fds: &'a [BorrowedFd<'a>],
    /// What stands for `{slot}` and `{port}` in its arguments.
    pub(crate) places: Places,
    /// What has its calls watched.
    pub(crate) installer: Option<&'a Installer>,
    /// Whether the kernel kills it when the calling thread ends.
    pub(crate) dies_with_us: bool,
}

/// Words of the command that differ between workers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    pub(crate) slot: u32,
    /// `None`: there is none, and `{port}` means nothing.
    pub(crate) port: Option<u16>,
}

/// Starts the workers of one app.
#[derive(Debug)]
pub(crate) struct Launcher {
    argv: Vec<CString>,
    command: OsString,
    env: BTreeMap<OsString, CString>,
    path: Option<OsString>,
    /// Where the program is, if links led there: what they lead to later is another version.
    pinned: Option<PathBuf>,
    cwd: Option<PathBuf>,
    cwd_c: Option<CString>,
    nofile: (u64, u64),
}

/// Why a process could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("{}", .0.error)]
    Generation(Broken),
    #[error("could not make a process: {0}")]
    Clone(io::Error),
    #[error("could not prepare its descriptors: {0}")]
    Descriptors(io::Error),
    #[error("could not put it into a process group of its own: {0}")]
    ProcessGroup(io::Error),
    #[error("could not have its calls watched: {0}")]
    Watch(io::Error),
    #[error("could not go to its working directory: {0}")]
    WorkingDirectory(io::Error),
    #[error("could not execute it: {0}")]
    Exec(io::Error),
}

impl SpawnError {
    /// Whose fault it is: errors(3) of a host that is short, or of the program.
    pub(crate) fn fault(&self) -> SpawnFault {
        match self {
            Self::Clone(_) | Self::Descriptors(_) | Self::Watch(_) => SpawnFault::HostShort,
            Self::Exec(error) if is_shortage(error) => SpawnFault::HostShort,
            Self::Lookup(_)
            | Self::Generation(_)
            | Self::ProcessGroup(_)
            | Self::WorkingDirectory(_)
            | Self::Exec(_) => SpawnFault::Program,
        }
    }

    /// Something to type.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Lookup(error) => error.hint(),
            Self::Generation(broken) => broken.hint.clone(),
            Self::Exec(error) if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => {
                Some("a script needs a first line such as #!/bin/sh, or its interpreter before it".into())
            }
            Self::Clone(_) | Self::Descriptors(_) => Some("ulimit -u; ulimit -n; free -m".into()),
            Self::Watch(_) => Some("clustr run --no-intercept -- COMMAND".into()),
            Self::ProcessGroup(_) | Self::WorkingDirectory(_) | Self::Exec(_) => None,
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    error.raw_os_error().is_some_and(|code| short.iter().any(|errno| errno.raw_os_error() == code))
}

impl Launcher {
    /// Prepares what all workers of an app have in common. `inherited` is the primary's own environment.
    pub(crate) fn new(
        program: &Program,
        inherited: impl Iterator<Item = (OsString, OsString)>,
        nofile: (u64, u64),
    ) -> Result<Self, LookupError> {
        let mut whole: BTreeMap<OsString, OsString> = inherited.collect();
        whole.retain(|name, _| !OURS_ALONE.iter().any(|ours| name == ours));
        whole.extend(program.env.iter().cloned());
        let path = whole.get(OsStr::new("PATH")).cloned();
        let env = whole.into_iter().map(|(name, value)| Ok((name.clone(), pair(&name, &value)?)));
        let cwd_c = program.cwd.as_ref().map(|cwd| c_string(cwd.as_os_str())).transpose()?;
        let mut launcher = Self {
            argv: program.command.iter().map(|word| c_string(word)).collect::<Result<_, _>>()?,
            command: program.command.first().cloned().unwrap_or_default(),
            env: env.collect::<Result<_, LookupError>>()?,
            path,
            pinned: None,
            cwd: program.cwd.clone(),
            cwd_c,
            nofile,
        };
        launcher.pinned = resolved(Path::new(OsStr::from_bytes(launcher.find()?.as_bytes())));
        Ok(launcher)
    }

    fn find(&self) -> Result<CString, LookupError> {
        match &self.pinned {
            Some(path) => examine(path),
            None => lookup(&self.command, self.cwd.as_deref(), self.path.as_deref()),
        }
    }

    /// Its working folder, if it is not the primary's.
    pub(crate) fn cwd(&self) -> Option<&Path> {
        self.cwd.as_deref()
    }

    /// The variables that all workers have, by name, each as `NAME=value`.
    pub(crate) const fn variables(&self) -> &BTreeMap<OsString, CString> {
        &self.env
    }

    /// Where the program is now, by the name under which it was found.
    pub(crate) fn named_path(&self) -> Result<PathBuf, LookupError> {
        let found = lookup(&self.command, self.cwd.as_deref(), self.path.as_deref())?;
        Ok(PathBuf::from(OsString::from_vec(found.into_bytes())))
    }

    /// Where the program is now.
    pub(crate) fn program_path(&self) -> Result<PathBuf, LookupError> {
        Ok(PathBuf::from(OsString::from_vec(self.find()?.into_bytes())))
    }

    /// Makes the process.
    pub(crate) fn spawn(&self, outfit: &Outfit<'_>) -> Result<Process, SpawnError> {
        self.make(&self.find()?, &self.argv, outfit)
    }

    /// Makes a process of a shell that runs `command`, in the app's surroundings.
    pub(crate) fn spawn_shell(&self, command: &str, outfit: &Outfit<'_>) -> Result<Process, SpawnError> {
        let command = c_string(OsStr::new(command))?;
        self.make(SHELL, &[c"sh".into(), c"-c".into(), command], outfit)
    }

    fn make(&self, path: &CStr, argv: &[CString], outfit: &Outfit<'_>) -> Result<Process, SpawnError> {
        let own: Vec<CString> = outfit
            .env
            .iter()
            .map(|(name, value)| pair(OsStr::new(name), OsStr::new(value)))
            .collect::<Result<_, _>>()?;
        let spared = clear_of_targets(outfit.fds).map_err(SpawnError::Descriptors)?;
        let fds: Vec<BorrowedFd<'_>> =
            outfit.fds.iter().zip(&spared).map(|(fd, copy)| copy.as_ref().map_or(*fd, AsFd::as_fd)).collect();
        let listens = outfit.listens.then(PidEntry::new);
        let mut pid_entries: Vec<PidEntry> =
            listens.into_iter().chain(outfit.watched.then(PidEntry::watchdog)).collect();
        let prepared = Prepared {
            path,
            argv: &outfit.places.fill(argv),
            envp: &self.envp(&outfit.env, &own),
            pid_entries: &mut pid_entries,
            cwd: self.cwd_c.as_deref(),
            fds: &fds,
            nofile: self.nofile,
            installer: outfit.installer,
            dies_with_us: outfit.dies_with_us,
        };
        let (pid, pidfd) = sys::spawn(prepared).map_err(explain)?;
        let born = facts::born(pid);
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the kernel gives positive pids");
        Ok(Process { pid, pidfd, born, reaped: false })
    }

    /// The app's variables, with the worker's own instead of those of the same name.
    fn envp<'a>(&'a self, names: &[(&'static str, String)], own: &'a [CString]) -> Vec<&'a CStr> {
        let shadowed = |name: &OsString| names.iter().any(|(own, _)| name == own);
        let common = self.env.iter().filter(|(name, _)| !shadowed(name)).map(|(_, pair)| pair.as_c_str());
        common.chain(own.iter().map(CString::as_c_str)).collect()
    }
}

/// The same file in the folder to which links lead now; `None` if none are on the way. The last name stays: a program
/// may go by it.
fn resolved(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    let real = folder.canonicalize().ok()?;
    let is_itself = std::path::absolute(folder).is_ok_and(|absolute| absolute == real);
    (!is_itself).then(|| real.join(path.file_name().unwrap_or_default()))
}

/// Copies of those descriptors whose numbers lie where others are going to be placed.
fn clear_of_targets(fds: &[BorrowedFd<'_>]) -> io::Result<Vec<Option<OwnedFd>>> {
    let first_free = i32::try_from(fds.len()).unwrap_or(i32::MAX);
    let copy = |fd: &BorrowedFd<'_>| {
        let in_the_way = fd.as_raw_fd() < first_free;
        in_the_way.then(|| fcntl_dupfd_cloexec(fd, first_free).map_err(io::Error::from)).transpose()
    };
    fds.iter().map(copy).collect()
}

/// Reaps the child that failed, and says which step it was.
fn explain(fault: sys::SpawnFault) -> SpawnError {
    let (pidfd, fault) = match fault {
        sys::SpawnFault::Clone(error) => return SpawnError::Clone(error),
        sys::SpawnFault::Child(pidfd, fault) => (pidfd, fault),
    };
    let _ = rustix::process::waitid(
        rustix::process::WaitId::PidFd(pidfd.as_fd()),
        rustix::process::WaitIdOptions::EXITED,
    );
    let error = io::Error::from_raw_os_error(fault.errno);
    match fault.step {
        Step::ProcessGroup => SpawnError::ProcessGroup(error),
        Step::Descriptors => SpawnError::Descriptors(error),
        Step::Watch => SpawnError::Watch(error),
        Step::WorkingDirectory => SpawnError::WorkingDirectory(error),
        Step::Exec => SpawnError::Exec(error),
    }
}

impl Places {
    /// A worker's own arguments.
    fn fill<'a>(self, argv: &'a [CString]) -> Cow<'a, [CString]> {
        let has_places = |word: &CString| word.as_bytes().contains(&b'{');
        if !argv.iter().any(has_places) {
            return Cow::Borrowed(argv);
        }
        argv.iter().map(|word| self.fill_word(word)).collect::<Vec<_>>().into()
    }

    fn fill_word(self, word: &CStr) -> CString {
        let slot = Some(("{slot}", self.slot.to_string()));
        let port = self.port.map(|port| ("{port}", port.to_string()));
        let filled = slot.into_iter().chain(port).fold(word.to_bytes().to_vec(), |bytes, (name, value)| {
            replaced(&bytes, name.as_bytes(), value.as_bytes())
        });
        CString::new(filled).expect("neither the word nor a number has a zero byte")
    }
}

fn replaced(bytes: &[u8], name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut done = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(name.len()).position(|window| window == name) {
        done.extend_from_slice(&rest[..at]);
        done.extend_from_slice(value);
        rest = &rest[at + name.len()..];
    }
    done.extend_from_slice(rest);
    done
}

fn pair(name: &OsStr, value: &OsStr) -> Result<CString, LookupError> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(b'=');
    bytes.extend_from_slice(value.as_bytes());
    CString::new(bytes).map_err(|_| LookupError::ZeroByte)
}

fn c_string(word: &OsStr) -> Result<CString, LookupError> {
    CString::new(word.as_bytes()).map_err(|_| LookupError::ZeroByte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clustr_core::Exit;
    use std::io::Read;

    const NOFILE: (u64, u64) = (256, 1024);

    fn launcher(script: &str, cwd: Option<&str>) -> Launcher {
        let command = ["/bin/sh", "-c", script].map(OsString::from).to_vec();
        let env = vec![("SHARED".into(), "app".into()), ("OWN".into(), "app".into())];
        let inherited = [("LISTEN_FDS", "3"), ("KEPT", "1"), ("PATH", "/usr/bin:/bin")];
        let inherited = inherited.into_iter().map(|(name, value)| (name.into(), value.into()));
        let program = Program { command, env, cwd: cwd.map(PathBuf::from) };
        Launcher::new(&program, inherited, NOFILE).unwrap()
    }

    /// Runs a script with a pipe as its standard output, and returns what it printed.
    fn printed(script: &str) -> String {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let fds = [null.as_fd(), write.as_fd(), write.as_fd()];
        let env = vec![("OWN", "worker".into())];
        let outfit = Outfit { env, listens: true, fds: &fds, ..Outfit::default() };
        let mut process = launcher(script, None).spawn(&outfit).unwrap();
        drop(write);
        let mut text = String::new();
        std::fs::File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(wait(&mut process), Exit::Code(0));
        text
    }

    fn wait(process: &mut Process) -> Exit {
        let mut fds = [rustix::event::PollFd::new(&*process, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        process.reap().unwrap().unwrap()
    }

    #[test]
    fn a_workers_own_variables_win_and_ours_are_gone() {
        let text = printed("echo $SHARED $OWN $KEPT [$LISTEN_FDS]");
        assert_eq!(text, "app worker 1 []\n");
    }

    #[test]
    fn words_of_the_command_may_differ_by_slot() {
        let argv = ["--id={slot}", "{port}:{slot}:{slot}", "plain", "{other}"]
            .map(|word| CString::new(word).unwrap());
        let places = Places { slot: 3, port: Some(9093) };
        let filled =
            places.fill(&argv).iter().map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(filled, ["--id=3", "9093:3:3", "plain", "{other}"]);
        let places = Places { slot: 3, port: None };
        assert_eq!(places.fill(&argv)[1].to_str(), Ok("{port}:3:3"));
        assert!(matches!(places.fill(&argv[2..3]), Cow::Borrowed(_)));
    }

    #[test]
    fn listeners_are_for_the_worker_and_not_for_what_it_starts() {
        let text = printed("[ $LISTEN_PID = $$ ] && sh -c '[ $LISTEN_PID != $$ ]' && echo good");
        assert_eq!(text, "good\n");
    }

    #[test]
    fn exactly_the_given_descriptors_are_open_and_the_old_limit_is_back() {
        let text = printed("ls /proc/$$/fd; ulimit -n");
        assert_eq!(text, "0\n1\n2\n256\n");
    }

    #[test]
    fn a_worker_leads_its_own_group_with_no_signal_blocked_or_ignored() {
        let text = printed("exec grep -E 'Sig(Blk|Ign)' /proc/self/status");
        assert_eq!(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
        let group = printed("echo $$; cut -d ' ' -f 5 /proc/$$/stat");
        let (pid, pgid) = group.trim().split_once('\n').unwrap();
        assert_eq!(pid, pgid);
    }

    #[test]
    fn a_script_without_an_interpreter_is_the_programs_fault() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "echo hello\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let program = Program { command: vec![script.into()], env: vec![], cwd: None };
        let launcher = Launcher::new(&program, std::iter::empty(), NOFILE).unwrap();
        let error = launcher.spawn(&Outfit::default()).unwrap_err();
        assert!(matches!(error, SpawnError::Exec(_)), "{error}");
        assert_eq!(error.fault(), SpawnFault::Program);
        assert!(error.hint().unwrap().contains("#!"));
    }

    #[test]
    fn a_working_directory_that_is_gone_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let launcher = launcher("true", folder.path().to_str());
        drop(folder);
        let error = launcher.spawn(&Outfit::default()).unwrap_err();
        assert!(matches!(error, SpawnError::WorkingDirectory(_)), "{error}");
    }
}
