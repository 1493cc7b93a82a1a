//! The options of `run` and `check`.
//!
//! Owns their names, their defaults in words, and what their values mean. What they amount to is made in
//! `commands::run`.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clustr_core::{ExitCodes, Intensity, RestartMode, StopOrder};
use clustr_supervisor::Signal;
use clustr_supervisor::config::{Balance, Listen, NewsFormat, Output, Probe, ReadyWhen, Share, TimeOfDay};

use super::listen;
use super::values::{self, Choice, HangTimeout, Variable, Workers};

/// The options by themselves, for words that come from a file: the last of two wins.
pub(crate) fn definition() -> clap::Command {
    let bare = clap::Command::new("run").no_binary_name(true).disable_help_flag(true);
    RunOptions::augment_args(bare.args_override_self(true))
}

/// How a socket reaches a worker.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Delivery {
    /// What fits the program.
    #[default]
    Auto,
    /// Descriptors that `LISTEN_FDS` counts.
    Fds,
    /// clustr's own channel.
    Channel,
    /// Node's channel.
    Node,
    /// The program's own `bind` and `listen`.
    Intercept,
}

const SHARE: Choice<Share> = Choice {
    now: &[
        ("auto", Share::Auto),
        ("shared", Share::Shared),
        ("per-worker", Share::PerWorker),
        ("handoff", Share::Handoff),
    ],
    also: &[],
    later: &[],
};

const BALANCE: Choice<Balance> = Choice {
    now: &[
        ("round-robin", Balance::RoundRobin),
        ("least-busy", Balance::LeastBusy),
        ("hash", Balance::Hash),
        ("random", Balance::Random),
        ("cpu", Balance::Cpu),
        ("sticky", Balance::Sticky),
    ],
    also: &[],
    later: &[],
};

const DELIVERY: Choice<Delivery> = Choice {
    now: &[
        ("auto", Delivery::Auto),
        ("fds", Delivery::Fds),
        ("channel", Delivery::Channel),
        ("node", Delivery::Node),
        ("intercept", Delivery::Intercept),
    ],
    also: &[],
    later: &[],
};

const RESTART: Choice<RestartMode> = Choice {
    now: &[
        ("permanent", RestartMode::Permanent),
        ("transient", RestartMode::Transient),
        ("temporary", RestartMode::Temporary),
    ],
    also: &[
        ("always", RestartMode::Permanent),
        ("on-failure", RestartMode::Transient),
        ("never", RestartMode::Temporary),
    ],
    later: &[],
};

const STOP_ORDER: Choice<StopOrder> = Choice {
    now: &[("drain", StopOrder::DrainFirst), ("signal", StopOrder::SignalFirst)],
    also: &[],
    later: &[],
};

const LOG: Choice<Output> = Choice {
    now: &[
        ("prefix", Output::Prefix),
        ("json", Output::Json),
        ("inherit", Output::Inherit),
        ("none", Output::None),
    ],
    also: &[],
    later: &[
        ("journal", "--log inherit under systemd: the journal takes it from there"),
        ("file:", "--log inherit, and the shell's own: clustr run … >app.log 2>&1"),
    ],
};

const LOG_FORMAT: Choice<NewsFormat> =
    Choice { now: &[("text", NewsFormat::Text), ("json", NewsFormat::Json)], also: &[], later: &[] };

#[derive(Args, Debug)]
pub(crate) struct RunOptions {
    /// How many workers [default: $WEB_CONCURRENCY, else as many as CPUs]
    #[arg(short = 'n', long, value_name = "N|auto", value_parser = values::workers, help_heading = "Workers")]
    pub(crate) workers: Option<Workers>,
    /// Bind ADDR and give it to the workers: by LISTEN_FDS, and by clustr's and node's channels; may be repeated.
    /// OPTIONS: backlog=N, v6only, reuse-addr (UDP), reuse-port, defer-accept=TIME, fast-open=N, mode=OCTAL,
    /// owner=USER or USER:GROUP, group=GROUP, nonblocking
    #[arg(short = 'l', long, value_name = "[NAME=]ADDR[,OPTIONS]", value_parser = listen::listen, help_heading = "Workers")]
    pub(crate) listen: Vec<Listen>,
    /// How workers get connections [default: auto]
    #[arg(long, value_name = "auto|shared|per-worker|handoff", value_parser = SHARE, hide_possible_values = true,
        help_heading = "Workers")]
    pub(crate) share: Option<Share>,
    /// Which worker gets a connection: with --share handoff round-robin (default), least-busy or sticky; with per-worker
    /// hash (default), random, cpu or sticky
    #[arg(long, value_name = "WAY", value_parser = BALANCE,
        hide_possible_values = true, help_heading = "Workers")]
    pub(crate) balance: Option<Balance>,
    /// How sockets reach a worker; may be repeated [default: auto]
    #[arg(long, value_name = "auto|fds|channel|node|intercept", value_parser = DELIVERY, hide_possible_values = true,
        help_heading = "Workers")]
    pub(crate) delivery: Vec<Delivery>,
    /// Share this port of a program that binds for itself, and no other; may be repeated [default: all but privileged ones]
    #[arg(long, value_name = "P", value_parser = values::port, help_heading = "Workers")]
    pub(crate) port: Vec<u16>,
    /// Give each worker a port of its own instead of P: P + its slot; may be repeated
    #[arg(long, value_name = "P", value_parser = values::port, help_heading = "Workers")]
    pub(crate) private_port: Vec<u16>,
    /// Let port 0 be the same one for all workers
    #[arg(long, help_heading = "Workers")]
    pub(crate) share_zero: bool,
    /// Leave the program's own bind alone
    #[arg(long, help_heading = "Workers")]
    pub(crate) no_intercept: bool,
    /// The name of the app and its primary [default: from the script, app.js: app]
    #[arg(long, value_parser = values::name, help_heading = "Workers")]
    pub(crate) name: Option<String>,
    /// End, as by SIGTERM, when the process of this number ends: it started this one.
    #[arg(long, value_name = "PID", hide = true)]
    pub(crate) die_with_parent: Option<i32>,
    /// Where the control socket is put [default: NAME.sock in the runtime folder]
    #[arg(long, value_name = "PATH", help_heading = "Workers")]
    pub(crate) control: Option<PathBuf>,

    /// When an ended worker gets a successor: always, after a failure, never [default: permanent]
    #[arg(long, value_name = "permanent|transient|temporary", value_parser = RESTART,
        hide_possible_values = true, help_heading = "Restarts")]
    pub(crate) restart: Option<RestartMode>,
    /// A slot gives up after more restarts than this, or as many failed starts before any worker was ready [default: 5/10s]
    #[arg(long, value_name = "RESTARTS/PERIOD", value_parser = values::intensity, help_heading = "Restarts")]
    pub(crate) intensity: Option<Intensity>,
    /// The first rest before a restart; each further one is twice as long [default: 100ms]
    #[arg(long, value_name = "TIME", value_parser = values::span, help_heading = "Restarts")]
    pub(crate) backoff_min: Option<Duration>,
    /// The longest rest before a restart [default: 30s, or --backoff-min if that is longer]
    #[arg(long, value_name = "TIME", value_parser = values::span, help_heading = "Restarts")]
    pub(crate) backoff_max: Option<Duration>,
    /// Exit codes that end a slot for good, whatever --restart says
    #[arg(long, value_name = "CODE,...", value_parser = values::exit_codes, help_heading = "Restarts")]
    pub(crate) stop_exit_codes: Option<ExitCodes>,

    /// What stands for "ready": the first listen, process.send('ready'), READY=1 by sd_notify, any of these; a good answer
    /// to http:PATH, tcp:PORT[+slot] or exec:COMMAND; having lived for so long (delay:1s) [default: auto]
    #[arg(long, value_name = "auto|listen|message|notify|PROBE|delay:TIME", value_parser = values::ready,
        help_heading = "Ready and stop")]
    pub(crate) ready: Option<ReadyWhen>,
    /// How long a worker may take to be ready [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = values::some_span, help_heading = "Ready and stop")]
    pub(crate) ready_timeout: Option<Duration>,
    /// Ask each worker again and again whether it still serves: http:PATH (2xx and 3xx are good), tcp:PORT[+slot] (it
    /// listens there), exec:COMMAND (exit code 0). One that fails is replaced, replacement first
    #[arg(long, value_name = "PROBE", value_parser = values::probe, help_heading = "Health")]
    pub(crate) live: Option<Probe>,
    /// From one question to the next [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::some_span, requires = "live", help_heading = "Health")]
    pub(crate) live_every: Option<Duration>,
    /// How long an answer may take [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = values::some_span, requires = "live", help_heading = "Health")]
    pub(crate) live_timeout: Option<Duration>,
    /// So many bad answers in a row, and the worker is failing [default: 3]
    #[arg(long, value_name = "COUNT", value_parser = values::count, requires = "live", help_heading = "Health")]
    pub(crate) live_failures: Option<NonZeroU32>,
    /// Workers say at least this often that they are alive (WATCHDOG=1 by sd_notify), or are failing; they find it as
    /// WATCHDOG_USEC
    #[arg(long, value_name = "TIME", value_parser = values::watchdog, help_heading = "Health")]
    pub(crate) watchdog: Option<Duration>,
    /// Replace a worker, replacement first, when it holds more resident memory than this; looked at every 10 s
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Recycling")]
    pub(crate) max_rss: Option<u64>,
    /// The same when it has been ready for so long, ±10 %
    #[arg(long, value_name = "TIME", value_parser = values::age, help_heading = "Recycling")]
    pub(crate) max_age: Option<Duration>,
    /// The same when it has taken so many of the connections that it was handed, or up to a tenth fewer; needs --share
    /// handoff
    #[arg(long, value_name = "COUNT", value_parser = values::requests, help_heading = "Recycling")]
    pub(crate) max_requests: Option<NonZeroU64>,
    /// The same for all workers, one after the other, at this time of each day; may be repeated
    #[arg(long, value_name = "HH:MM", value_parser = values::time_of_day, help_heading = "Recycling")]
    pub(crate) recycle_at: Vec<TimeOfDay>,
    /// How long a worker may take to stop; then it is killed [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::span, help_heading = "Ready and stop")]
    pub(crate) stop_timeout: Option<Duration>,
    /// How long a worker may stand still while clients wait, before it is replaced: --share per-worker, handoff; off: nobody
    /// looks, and nobody is steered around it either [default: 30s]
    #[arg(long, value_name = "TIME|off", value_parser = values::hang_timeout, help_heading = "Ready and stop")]
    pub(crate) hang_timeout: Option<HangTimeout>,
    /// The polite stop signal [default: TERM]
    #[arg(long, value_name = "SIGNAL", value_parser = values::stop_signal, help_heading = "Ready and stop")]
    pub(crate) stop_signal: Option<Signal>,
    /// Kill each worker's first process (SIGKILL) when the primary is killed [default: it goes on serving, until the next
    /// `clustr run` of that name ends it]
    #[arg(long, help_heading = "Ready and stop")]
    pub(crate) die_with_primary: bool,
    /// What a stopping worker is asked first: to drain, or by the signal [default: drain]
    #[arg(long, value_name = "drain|signal", value_parser = STOP_ORDER, hide_possible_values = true,
        help_heading = "Ready and stop")]
    pub(crate) stop_order: Option<StopOrder>,

    /// A variable for the workers; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::variable, help_heading = "Environment")]
    pub(crate) env: Vec<Variable>,
    /// A file of such variables; may be repeated; --env wins over it
    #[arg(long, value_name = "FILE", help_heading = "Environment")]
    pub(crate) env_file: Vec<PathBuf>,
    /// The workers' working directory
    #[arg(long, value_name = "DIR", help_heading = "Environment")]
    pub(crate) cwd: Option<PathBuf>,

    /// What becomes of the workers' output [default: prefix]
    #[arg(long, value_name = "prefix|json|inherit|none", value_parser = LOG, hide_possible_values = true,
        help_heading = "Output")]
    pub(crate) log: Option<Output>,
    /// How clustr's own news is written [default: text]
    #[arg(long, value_name = "text|json", value_parser = LOG_FORMAT, hide_possible_values = true,
        help_heading = "Output")]
    pub(crate) log_format: Option<NewsFormat>,
}
