//! What to run and how, checked: an invalid [`Config`] is refused by [`Supervisor::new`](crate::Supervisor::new).
//!
//! Owns the shape of a primary's wishes. Never reads files, arguments or the environment: callers do.

mod probe;
mod recycling;
mod share;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use clustr_core::Policy;
use clustr_net::balance;
use clustr_net::intercept::Lack;
use clustr_net::steer::Steer;
pub use clustr_net::{Addr, Options};
use nix::sys::signal::Signal;

pub use self::probe::{Liveness, Port, Probe, ProbeError};
pub use self::recycling::{Recycling, TimeOfDay, TimeOfDayError};
pub use self::share::Chosen;

/// Whether this may be a variable's name wherever clustr is given one: letters, digits, `_`, `.` and `-`, not beginning with a
/// digit. The kernel takes more, and no program expects it.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(is_legal)
}

/// Everything a primary needs to know.
#[derive(Debug)]
pub struct Config {
    /// The app's name: prefixes its output, names its control socket.
    pub name: String,
    /// The names of the apps of the same primary that it starts after: once they run, or have finished what they had to do.
    pub after: Vec<String>,
    /// What a worker runs.
    pub program: Program,
    /// The rules of its workers' lives.
    pub policy: Policy,
    /// What the primary binds, and gives to its workers.
    pub listen: Vec<Listen>,
    /// How workers get connections.
    pub share: Share,
    /// How sockets reach them.
    pub delivery: Delivery,
    /// Which worker gets a connection; of meaning in [`Share::Handoff`] and [`Share::PerWorker`].
    pub balance: Balance,
    /// Whether workers are watched from outside, where that can be done: what waits for one that stands still is
    /// steered around it, and beyond the policy's hang timeout it is replaced. [`Share::PerWorker`], [`Share::Handoff`].
    pub sees_hangs: bool,
    /// Which ports of programs that bind for themselves are shared: of meaning with [`Delivery::intercept`].
    pub ports: Ports,
    /// Why programs' own binds are left alone, where they would be shared if that worked here: told at the start and in
    /// `status`, with what is done instead.
    pub intercept_lack: Option<Lack>,
    /// What stands for "ready".
    pub ready: ReadyWhen,
    /// How it is known that a worker still serves; `None`: nobody asks.
    pub live: Option<Liveness>,
    /// How often workers shall say that they are alive, once they are ready: `WATCHDOG_USEC`, sd_watchdog_enabled(3). One
    /// that lets this time pass is failing. `None`: they need not.
    pub watchdog: Option<Duration>,
    /// When workers have served long enough, besides the policy's largest age.
    pub recycling: Recycling,
    /// The polite stop signal; SIGTERM by default.
    pub stop_signal: Signal,
    /// Whether the kernel kills a worker's first process when the primary's thread ends, however it does:
    /// prctl(2), `PR_SET_PDEATHSIG`. A program that changes its user or gains privileges is not killed any more.
    pub die_with_primary: bool,
    /// What becomes of the workers' output.
    pub output: Output,
    /// The file that this process's standard output and error already are, where nobody else reads them: kept short, by the
    /// thread that writes.
    pub log_file: Option<LogFile>,
    /// How news is written to standard error.
    pub news: NewsFormat,
    /// Whether prefixes are coloured.
    pub colour: bool,
    /// Where commands are heard; `None`: nowhere.
    pub control: Option<PathBuf>,
    /// Descriptors that the primary itself was started with, for workers that `listen({fd})`.
    pub inherited: Vec<(u32, OwnedFd)>,
    /// Which signals to this process the primary hears.
    pub signals: Signals,
    /// Who supervises the primary itself; nobody by default.
    pub above: Above,
    /// How the program's variables are read anew at each reload; `None`: they stay what they are.
    pub fresh_env: Option<FreshEnv>,
    /// Whether code that is needed rarely is let go once it has done its work (the start; an answer to the last control client), as in
    /// a program that does nothing else: it leaves this process's memory, and is mapped again from the executable where it is
    /// needed after all.
    pub forgets_start: bool,
    /// What whoever made this has made it from, by name: told in `status`, and of no other meaning here.
    pub settings: BTreeMap<String, String>,
    /// Whether the primary adopts orphans of its workers, and kills all of them at the end (`PR_SET_CHILD_SUBREAPER`).
    pub subreaper: bool,
}

impl Config {
    /// The documented defaults: output with prefixes, no control socket, orphans adopted.
    #[must_use]
    pub fn new(name: &str, program: Program, policy: Policy) -> Self {
        Self {
            name: name.to_owned(),
            after: Vec::new(),
            program,
            policy,
            listen: Vec::new(),
            share: Share::Auto,
            delivery: Delivery::default(),
            balance: Balance::Auto,
            sees_hangs: true,
            ports: Ports::default(),
            intercept_lack: None,
            ready: ReadyWhen::Auto,
            live: None,
            watchdog: None,
            recycling: Recycling::default(),
            stop_signal: Signal::SIGTERM,
            die_with_primary: false,
            output: Output::Prefix,
            log_file: None,
            news: NewsFormat::Text,
            colour: false,
            control: None,
            inherited: Vec::new(),
            above: Above::default(),
            forgets_start: false,
            signals: Signals::All,
            fresh_env: None,
            settings: BTreeMap::new(),
            subreaper: true,
        }
    }
}

/// What a worker runs.
#[derive(Clone, Debug)]
pub struct Program {
    /// The command and its arguments; the command is looked up in `PATH` unless it has a slash.
    pub command: Vec<OsString>,
    /// Variables added to, or changed in, the primary's own environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, if not the primary's.
    pub cwd: Option<PathBuf>,
}

/// Reads a program's variables anew, where they come from files: at each reload. Called in the loop: to be quick.
pub struct FreshEnv {
    files: Vec<PathBuf>,
    read: ReadEnv,
}

type ReadEnv = Box<dyn Fn() -> Result<Vec<(OsString, OsString)>, String> + Send>;

impl FreshEnv {
    /// What reads them, in the place of [`Program::env`]; or says in words why it cannot.
    pub fn new(read: impl Fn() -> Result<Vec<(OsString, OsString)>, String> + Send + 'static) -> Self {
        Self { files: Vec::new(), read: Box::new(read) }
    }

    /// Which files they come from, for whoever wants to know what a reload would change.
    #[must_use]
    pub fn of_files(mut self, files: Vec<PathBuf>) -> Self {
        self.files = files;
        self
    }

    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    pub(crate) fn read(&self) -> Result<Vec<(OsString, OsString)>, String> {
        (self.read)()
    }
}

impl fmt::Debug for FreshEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreshEnv")
    }
}

/// A listener that the primary binds.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Its name in `LISTEN_FDNAMES` and on clustr's channel: printable ASCII without a colon, at most 255 bytes.
    pub name: String,
    /// Where. [`Addr::Fd`] is one of [`Config::inherited`].
    pub addr: Addr,
    /// How. Where workers accept for themselves the socket blocks unless it shall not, as that of systemd does: whether
    /// accept(2) waits is a flag of the socket, not of the descriptor, and a plain program expects that it does.
    pub options: Options,
}

impl Listen {
    /// With the options that suit a server: it may wait in accept(2), and replaces a socket file that nobody listens on.
    #[must_use]
    pub fn new(name: &str, addr: Addr) -> Self {
        let options = Options { blocking: true, replace_stale: true, ..Options::default() };
        Self { name: name.to_owned(), addr, options }
    }
}

/// How sockets reach a worker: these add up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// The listeners of [`Config::listen`] as descriptors that `LISTEN_FDS` counts: sd_listen_fds(3).
    pub fds: bool,
    /// Where there are such listeners, clustr's own channel beside them: `clustr_net::worker`. Brings `fds` along, for a
    /// worker that accepts for itself finds its listeners there.
    pub channel: bool,
    /// clustr's own channel where there are none as well: for its messages.
    pub messages: bool,
    /// Node's channel. To be left out for programs that are no node: what they start might take it for theirs.
    pub node: bool,
    /// The program's own `bind` and `listen`: `clustr_net::intercept`. For programs of any kind that know nothing.
    pub intercept: bool,
}

impl Default for Delivery {
    /// Those for programs that get connections and know how.
    fn default() -> Self {
        Self { fds: true, channel: true, messages: false, node: true, intercept: false }
    }
}

/// Which ports of programs that bind for themselves are shared.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ports {
    /// These; none: every one, but for privileged ones.
    pub shared: Vec<u16>,
    /// Of these each worker has its own: the number, and its slot's on top of it.
    pub private: Vec<u16>,
    /// Port 0 is the same one for all.
    pub share_zero: bool,
}

impl Ports {
    /// What stands for `{port}` in a worker's arguments: its own, else the shared one.
    pub(crate) fn of_slot(&self, slot: u32) -> Option<u16> {
        let own = |first: &u16| first.checked_add(u16::try_from(slot).ok()?);
        self.private.first().map_or_else(|| self.shared.first().copied(), own)
    }
}

/// How workers get connections.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Share {
    /// What fits: [`Share::PerWorker`] for a program that binds for itself, else [`Share::Shared`], unless [`Config::ready`] or
    /// [`Config::live`] need another: [`Config::chosen_share`].
    #[default]
    Auto,
    /// Every worker accepts from the one queue in the kernel.
    Shared,
    /// Each worker has a queue of its own, which the kernel fills and the primary keeps; TCP and UDP alone.
    PerWorker,
    /// The primary accepts, and hands each connection to one worker; datagrams are shared.
    Handoff,
}

impl Share {
    /// The word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Shared => "shared",
            Self::PerWorker => "per-worker",
            Self::Handoff => "handoff",
        }
    }
}

/// Which worker gets a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Balance {
    /// What fits: in turn in [`Share::Handoff`], by hash in [`Share::PerWorker`].
    #[default]
    Auto,
    /// In `handoff`: to each in turn.
    RoundRobin,
    /// In `handoff`: to the one with the least load.
    LeastBusy,
    /// In `per-worker`: by a hash of the client's address and port.
    Hash,
    /// In `per-worker`: by chance.
    Random,
    /// In `per-worker`: by the CPU on which it arrives.
    Cpu,
    /// In both: all of one client address to one slot.
    Sticky,
}

impl Balance {
    /// The word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::RoundRobin => "round-robin",
            Self::LeastBusy => "least-busy",
            Self::Hash => "hash",
            Self::Random => "random",
            Self::Cpu => "cpu",
            Self::Sticky => "sticky",
        }
    }

    /// What it means where the primary hands over; `None`: nothing.
    #[must_use]
    pub const fn handoff(self) -> Option<balance::Balance> {
        match self {
            Self::Auto | Self::RoundRobin => Some(balance::Balance::RoundRobin),
            Self::LeastBusy => Some(balance::Balance::LeastBusy),
            Self::Sticky => Some(balance::Balance::Sticky),
            Self::Hash | Self::Random | Self::Cpu => None,
        }
    }

    /// What it means where the kernel fills queues; `None`: nothing.
    #[must_use]
    pub const fn steer(self) -> Option<Steer> {
        match self {
            Self::Auto | Self::Hash => Some(Steer::Hash),
            Self::Random => Some(Steer::Random),
            Self::Cpu => Some(Steer::Cpu),
            Self::Sticky => Some(Steer::Sticky),
            Self::RoundRobin | Self::LeastBusy => None,
        }
    }
}

/// What stands for a worker's word that it can serve: that alone, whatever else it says.
///
/// Of all but [`ReadyWhen::Auto`]: a worker of which it has not come at the deadline has failed to start, if
/// [`Policy`] says so (`Overdue::Fails`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ReadyWhen {
    /// The worker's own word, or node's `listening`, whichever comes first; at the deadline it counts as ready. A program
    /// that takes `LISTEN_FDS` and says nothing counts as ready when it has lived for a second.
    #[default]
    Auto,
    /// Node's `listening`.
    Listen,
    /// `process.send('ready')`, or `ready()` on clustr's channel.
    Message,
    /// `READY=1` on `NOTIFY_SOCKET`, sd_notify(3).
    Notify,
    /// That it has lived for so long.
    Delay(Duration),
    /// A good answer, which it is asked for again and again from its start on.
    Probe(Probe),
}

/// In which way a worker says that it can serve.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ReadyWord {
    Listening,
    Message,
    Notice,
}

impl ReadyWhen {
    /// Whether such a word of a worker counts.
    pub(crate) const fn believes(&self, word: ReadyWord) -> bool {
        match self {
            Self::Auto => true,
            Self::Listen => matches!(word, ReadyWord::Listening),
            Self::Message => matches!(word, ReadyWord::Message),
            Self::Notify => matches!(word, ReadyWord::Notice),
            Self::Delay(_) | Self::Probe(_) => false,
        }
    }

    /// Whether `NOTIFY_SOCKET` is given to workers: where another of their words is awaited they are not told of it.
    pub(crate) const fn hears_notices(&self) -> bool {
        match self {
            Self::Auto | Self::Notify | Self::Delay(_) | Self::Probe(_) => true,
            Self::Listen | Self::Message => false,
        }
    }

    /// What workers are asked until they are ready.
    pub(crate) const fn probe(&self) -> Option<&Probe> {
        match self {
            Self::Probe(probe) => Some(probe),
            Self::Auto | Self::Listen | Self::Message | Self::Notify | Self::Delay(_) => None,
        }
    }
}

/// Who supervises the primary itself, as the environment of a service says: sd_notify(3), sd_watchdog_enabled(3).
#[derive(Clone, Debug, Default)]
pub struct Above {
    /// `NOTIFY_SOCKET`: it is told when the app runs and when it ends.
    pub notify_socket: Option<OsString>,
    /// How often it wants to hear that the primary is alive.
    pub watchdog: Option<Duration>,
    /// What of its wishes could not be read, in words: it is said, and nothing else follows.
    pub fault: Option<String>,
}

/// What becomes of the workers' output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Output {
    /// Line by line with a prefix `app.0 |`.
    #[default]
    Prefix,
    /// Line by line as JSON: `{"app":"app","slot":0,"stream":"stdout","line":"…"}`.
    Json,
    /// The primary's own standard output and error, untouched.
    Inherit,
    /// Thrown away.
    None,
}

/// A file of output that is not to grow for ever.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogFile {
    /// Where. Once it is full it is renamed, with `.1` behind its name, in the place of the one before.
    pub path: PathBuf,
    /// When it is full. Two such files at most are there.
    pub bytes_max: u64,
}

/// How news is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NewsFormat {
    /// For people.
    #[default]
    Text,
    /// JSON, one value a line.
    Json,
    /// Not at all.
    None,
}

/// Which signals to this process the primary hears.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Signals {
    /// All that mean something to a primary: they are blocked in this thread, so that no other may have been started
    /// before. For a program that is a primary and nothing else.
    #[default]
    All,
    /// TERM, INT, QUIT and HUP, where nobody else in this process hears or ignores them, in whatever thread they
    /// arrive: they would end the process, and leave its workers behind. What was there before is put back at the end.
    Unclaimed,
    /// None.
    None,
}
