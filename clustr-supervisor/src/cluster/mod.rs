//! One program that is primary and worker: node's `cluster.js`, in Rust.
//!
//! Owns the builder ([`Cluster`]), the part that a process plays ([`role`]), and the way in and out of a running cluster
//! for the program around it ([`Handle`], [`Event`]). Never decides over workers, and knows no wish that the control
//! socket does not: all of it is [`Config`], [`Supervisor`] and the control protocol's requests. Called by programs.
//!
//! ```no_run
//! use std::io::Write;
//!
//! use clustr_supervisor::{Role, role};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     match role()? {
//!         Role::Primary(cluster) => {
//!             cluster.listen("web", "127.0.0.1:3001").on(|event| eprintln!("{event}")).run()?;
//!         }
//!         Role::Worker(mut worker) => {
//!             worker.ready()?;
//!             for connection in worker.connections() {
//!                 connection?.write_all(b"hello\n")?;
//!             }
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The primary starts the same program again, with the same arguments, once for each CPU. [`role`] tells a process which
//! it is, so it belongs into the first lines of `main`; what stands before it happens in every worker.
//!
//! # What a program around a cluster has to know
//!
//! - **Signals.** TERM, INT, QUIT and HUP stop the cluster, where nobody else in the process hears or ignores them: their
//!   default is the end of the process, which would leave its workers behind. A handler of the program stays the
//!   program's, which then calls [`Handle::stop`]; at the end everything is as it was. Other signals are left alone, no
//!   thread's mask is changed. [`Cluster::signals`] says otherwise.
//! - **Children.** Workers are watched and reaped by pidfd; children of the program's own are not touched. A program that
//!   waits for *any* child (`waitpid(-1)`) takes exits away: workers are restarted all the same, but as if they had
//!   failed. Orphans of workers are not adopted unless [`Cluster::subreaper`] says so.
//! - **The end.** When `run` returns, or unwinds because a callback panicked, no worker is left. With `panic = "abort"`, or
//!   if the process is killed, nobody is there to stop them: a worker then hears
//!   [`Closed`](clustr_net::worker::Heard::Closed), and goes on with listeners that it shares until it chooses to leave.
//! - **Threads.** `run` blocks its thread, main or not; there may be several clusters in a process. Beside it there is one
//!   thread that writes. The soft limit of descriptors is raised to the hard one; workers have the old one.

mod desk;
mod event;
mod handle;
mod receiver;
mod role;

pub(crate) use desk::Desk;
pub use event::Event;
pub use handle::{EVENTS_MAX, Handle, HandleError, Pending};
pub use receiver::Events;
pub use role::{Role, RoleError, role};

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clustr_core::{Overdue, Policy, PolicyBuilder, SLOTS_MAX, Verdict};
use nix::sys::signal::Signal;

use crate::config::{
    Balance, Config, Delivery, Listen, Liveness, NewsFormat, Output, Program, ReadyWhen, Recycling, Share,
    Signals,
};
use crate::{ListenError, StartError, Supervisor};

/// A cluster of this very program, or of another: said in a few words, then [`run`](Self::run).
///
/// What is not said is as `clustr run` does it, but that a library is silent (no news on standard error, workers' output
/// inherited), has no control socket, and leaves to the program around it what is the program's.
///
/// A whole cluster, of a shell, that ends by itself:
///
/// ```
/// use clustr_supervisor::{Cluster, Event, RestartMode, Verdict};
///
/// let (events, seen) = std::sync::mpsc::channel();
/// let verdict = Cluster::new()
///     .command(["sh", "-c", "exit 3"])
///     .workers(2)
///     .policy(|policy| policy.restart(RestartMode::Temporary))
///     .on(move |event| events.send(event.clone()).unwrap())
///     .run()?;
/// assert_eq!(verdict, Verdict::Finished);
/// assert_eq!(seen.iter().filter(|event| matches!(event, Event::Exited { .. })).count(), 2);
/// # Ok::<(), clustr_supervisor::StartError>(())
/// ```
#[derive(Debug)]
#[must_use = "a cluster that is not run does nothing"]
pub struct Cluster {
    /// `None`: this program's own.
    name: Option<String>,
    /// `None`: this program, with the same arguments.
    command: Option<Vec<OsString>>,
    policy: PolicyBuilder,
    /// Names and addresses, as they were said.
    listen: Vec<(String, String)>,
    /// Everything else; name, program and policy are put in at the end.
    config: Config,
    desk: Desk,
    handle: Handle,
}

impl Cluster {
    /// A cluster of this program, with as many workers as it has CPUs (by the limits of its cgroup as well). The way to
    /// one that has workers of its own kind is [`role`].
    pub fn new() -> Self {
        let (desk, handle) = Desk::open();
        let workers = u32::try_from(num_cpus::get()).unwrap_or(SLOTS_MAX).min(SLOTS_MAX);
        let program = Program { command: Vec::new(), env: Vec::new(), cwd: None };
        // Replaced at the end: one slot makes a policy.
        let placeholder = Policy::builder(1).build().expect("one slot makes a policy");
        let config = Config {
            output: Output::Inherit,
            // The channel in any case, for messages; a program that is no worker of ours does not look at it.
            delivery: Delivery { messages: true, node: false, ..Delivery::default() },
            news: NewsFormat::None,
            signals: Signals::Unclaimed,
            subreaper: false,
            ..Config::new("", program, placeholder)
        };
        Self {
            name: None,
            command: None,
            listen: Vec::new(),
            policy: Policy::builder(workers),
            config,
            desk,
            handle,
        }
    }

    /// The app's name: prefix of its output, `CLUSTR_APP` in its workers. Default: the program's.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many workers. Default: as many as CPUs.
    pub fn workers(mut self, workers: u32) -> Self {
        self.policy = self.policy.slots(workers);
        self
    }

    /// The rules of the workers' lives: restart mode, intensity, backoff, timeouts.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use clustr_supervisor::{Cluster, Intensity, RestartMode};
    /// let cluster = Cluster::new().policy(|policy| {
    ///     policy
    ///         .restart(RestartMode::Transient)
    ///         .intensity(Intensity { restarts: 3, period: Duration::from_secs(60) })
    ///         .stop_timeout(Duration::from_secs(30))
    /// });
    /// ```
    pub fn policy(mut self, change: impl FnOnce(PolicyBuilder) -> PolicyBuilder) -> Self {
        self.policy = change(self.policy);
        self
    }

    /// What workers run instead of this program; looked up in `PATH` unless it has a slash.
    pub fn command<W: Into<OsString>>(mut self, command: impl IntoIterator<Item = W>) -> Self {
        self.command = Some(command.into_iter().map(Into::into).collect());
        self
    }

    /// A variable in the workers' environment, besides those of this process.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.config.program.env.push((name.into(), value.into()));
        self
    }

    /// The workers' working directory, if not this process's.
    pub fn cwd(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config.program.cwd = Some(folder.into());
        self
    }

    /// Binds an address, whose connections workers get under this name: `3001`, `127.0.0.1:3001`, `[::1]:0`,
    /// `unix:/path`, … ([`clustr_net::Addr`]). To be said once for each address, each with a name of its own.
    ///
    /// By default every worker accepts from the one queue; with [`Share::Handoff`] the primary accepts and hands over. A
    /// worker need not know which: it serves [`Worker::connections`](clustr_net::Worker::connections).
    pub fn listen(mut self, name: impl Into<String>, addr: impl Into<String>) -> Self {
        self.listen.push((name.into(), addr.into()));
        self
    }

    /// How workers get connections.
    pub fn share(mut self, share: Share) -> Self {
        self.config.share = share;
        self
    }

    /// Which worker gets a connection; of meaning in [`Share::Handoff`] only.
    pub fn balance(mut self, balance: Balance) -> Self {
        self.config.balance = balance;
        self
    }

    /// What stands for a worker's word that it can serve. A worker of which it does not come in time has failed to start,
    /// unless it is [`ReadyWhen::Auto`].
    pub fn ready(mut self, ready: ReadyWhen) -> Self {
        let overdue = if ready == ReadyWhen::Auto { Overdue::CountsAsReady } else { Overdue::Fails };
        self.policy = self.policy.overdue(overdue);
        self.config.ready = ready;
        self
    }

    /// Asks each worker again and again whether it still serves; one that fails is replaced, replacement first.
    pub fn live(mut self, live: Liveness) -> Self {
        self.config.live = Some(live);
        self
    }

    /// Wants each ready worker to say at least this often that it is alive (`WATCHDOG=1` by sd_notify); one that does not is
    /// replaced, replacement first.
    pub fn watchdog(mut self, every: Duration) -> Self {
        self.config.watchdog = Some(every);
        self
    }

    /// When workers have served long enough, besides [`PolicyBuilder::max_age`]; they are replaced one after the other,
    /// replacement first.
    pub fn recycling(mut self, recycling: Recycling) -> Self {
        self.config.recycling = recycling;
        self
    }

    /// The polite stop signal. Default: SIGTERM.
    pub fn stop_signal(mut self, signal: Signal) -> Self {
        self.config.stop_signal = signal;
        self
    }

    /// Whether a worker's first process is killed by the kernel when the thread that runs the cluster ends, however it
    /// does (`PR_SET_PDEATHSIG`). Default: no; workers of a primary that was killed go on serving.
    pub fn die_with_primary(mut self, dies: bool) -> Self {
        self.config.die_with_primary = dies;
        self
    }

    /// What becomes of the workers' output. Default: it is this process's own.
    pub fn output(mut self, output: Output) -> Self {
        self.config.output = output;
        self
    }

    /// How news is written to standard error. Default: not at all; for that there is [`on`](Self::on).
    pub fn news(mut self, news: NewsFormat) -> Self {
        self.config.news = news;
        self
    }

    /// Hears the `clustr` program as well: `clustr status --control PATH`. Default: not.
    pub fn control(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.control = Some(path.into());
        self
    }

    /// Which signals to this process are heard. Default: those that nobody else here wants, and that would leave workers
    /// behind ([`Signals::Unclaimed`]).
    pub fn signals(mut self, signals: Signals) -> Self {
        self.config.signals = signals;
        self
    }

    /// Whether orphans of workers become this process's children, and end with the cluster (`PR_SET_CHILD_SUBREAPER`).
    /// Every orphan below this process is taken for one: not for programs that start other children. Default: no.
    pub fn subreaper(mut self, adopt: bool) -> Self {
        self.config.subreaper = adopt;
        self
    }

    /// Has something called at every event, in the loop's thread, in order: to be quick, for everything waits meanwhile;
    /// for what takes its time there is [`Handle::events`]. It may make requests of a [`Handle`], but not wait for them.
    ///
    /// A panic ends the cluster: every worker is killed, and [`run`](Self::run) unwinds.
    pub fn on(mut self, callback: impl FnMut(&Event) + Send + 'static) -> Self {
        self.desk.call_back(Box::new(callback));
        self
    }

    /// A way in for other threads; as many as wanted.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs the cluster in this thread until it has ended: because somebody stopped it, every slot is done, or it gave up.
    ///
    /// # Errors
    /// What was said makes no cluster, or the system refuses something: see [`StartError`].
    ///
    /// # Panics
    /// If a callback does.
    pub fn run(self) -> Result<Verdict, StartError> {
        let Self { name, command, listen, policy, mut config, desk, handle } = self;
        drop(handle);
        let itself = std::env::current_exe().map_err(StartError::system("find this program's own file"))?;
        config.name = name.unwrap_or_else(|| {
            let stem = itself.file_stem().unwrap_or(itself.as_os_str());
            stem.to_string_lossy().into_owned()
        });
        config.program.command = command.unwrap_or_else(|| {
            [itself.into_os_string()].into_iter().chain(std::env::args_os().skip(1)).collect()
        });
        config.policy = policy.build()?;
        for (name, addr) in listen {
            let addr = addr.parse().map_err(|source| ListenError::Address { name: name.clone(), source })?;
            config.listen.push(Listen::new(&name, addr));
        }
        let mut supervisor = match Supervisor::new(config) {
            Err(StartError::Stopped) => return Ok(Verdict::Stopped),
            made => made?,
        };
        supervisor.open_desk(desk).map_err(StartError::system("let handles in"))?;
        supervisor.run()
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}
