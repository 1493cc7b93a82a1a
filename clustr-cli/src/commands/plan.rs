//! From `run`'s options to a primary's configuration.
//!
//! Owns the defaults that depend on the machine and the environment: how many workers, which name, where the control
//! socket is. Never starts anything. Called by `run`, `check` and `apply`.

mod delivery;
mod file;
mod probes;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use clustr_core::{Backoff, Overdue, Policy, SLOTS_MAX};
use clustr_net::notify::{SOCKET_VARIABLE, watchdog};
use clustr_supervisor::config::{
    Above, Balance, Config, Delivery, FreshEnv, Program, ReadyWhen, Recycling, Share, Signals,
};
use clustr_supervisor::control::place;
use clustr_supervisor::{Signal, StartError};

use crate::args::RunOptions;
use crate::args::values::{self, HangTimeout, ValueError, Variable, Workers};
use crate::failure::{Failure, Report, Saying, Usage};
use crate::launch_form::{self, Form};
use crate::render::{self, Stream};
use crate::{dotenv, names};

pub(super) use file::{Origin, gather, of_file};

/// What `run` would do with one app.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    /// How many workers.
    pub(crate) workers: u32,
    /// What should be known about the command: what, and what to type instead.
    pub(crate) odd: Option<(String, String)>,
    /// Where its control socket was wished to be, if anybody has wished.
    pub(crate) control_asked: Option<PathBuf>,
}

impl Plan {
    /// What should be known before it is started, and what to type instead. Of these, news tells the second at the start.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = (String, String)> {
        let instead = self.config.instead_of_intercept();
        self.odd.clone().into_iter().chain(instead.map(|what| (what, Config::INSTEAD_HINT.to_owned())))
    }
}

/// The name of the primary that runs all of these.
pub(super) fn primary_name(plans: &[Plan], origin: Option<&Origin>) -> String {
    let of_several = origin.and_then(|origin| origin.name.as_ref()).filter(|_| plans.len() > 1);
    of_several.or(plans.first().map(|plan| &plan.config.name)).cloned().unwrap_or_default()
}

/// Makes the plan, or says what is wrong with the wishes.
///
/// # Errors
/// The first wish that cannot be met.
pub(crate) fn make(
    options: RunOptions,
    command: Vec<OsString>,
    inherited: Vec<(u32, OwnedFd)>,
) -> Result<Plan, Failure> {
    let workers = count_workers(options.workers)?;
    let cwd = working_folder(options.cwd.as_deref())?;
    let share = share(options.share);
    let delivery::Chosen { delivery, lack } = delivery::choose(&options, &command, share)?;
    let odd = match form(&command, delivery, workers, &cwd)? {
        Form::Fit => None,
        Form::Odd(what, instead) => Some((what, instead)),
    };
    let policy = policy(&options, workers)?;
    probes::check_ports(&options, workers)?;
    let ports = delivery::ports(&options);
    let env = variables(&options.env_file, &options.env)?;
    let fresh_env = fresh_env(&options);
    let live = probes::live(&options);
    let name = options.name.unwrap_or_else(|| names::of_command(&command, &cwd));
    let control_asked = options.control.clone();
    let control = control_path(options.control, &name)?;
    let mut config = Config {
        after: Vec::new(),
        name,
        program: Program { command, env, cwd: options.cwd },
        policy,
        listen: options.listen,
        share,
        delivery,
        balance: Balance::Auto,
        sees_hangs: options.hang_timeout != Some(HangTimeout::Off),
        ports,
        intercept_lack: lack,
        ready: options.ready.unwrap_or_default(),
        live,
        watchdog: options.watchdog,
        recycling: Recycling {
            max_rss_bytes: options.max_rss,
            max_requests: options.max_requests,
            at: options.recycle_at,
        },
        stop_signal: options.stop_signal.unwrap_or(Signal::SIGTERM),
        die_with_primary: options.die_with_primary,
        output: options.log.unwrap_or_default(),
        log_file: None,
        news: options.log_format.unwrap_or_default(),
        colour: render::is_coloured(Stream::Output) && render::is_coloured(Stream::Error),
        control: Some(control),
        above: above(),
        forgets_start: true,
        inherited,
        signals: Signals::All,
        fresh_env,
        subreaper: true,
        settings: BTreeMap::new(),
    };
    config.balance = balance(options.balance, config.chosen_share().map_err(StartError::from)?.share)?;
    Ok(Plan { config, workers, odd, control_asked })
}

/// Whether the command's form speaks against node's channel, where that is all it gets.
fn form(command: &[OsString], delivery: Delivery, workers: u32, cwd: &Path) -> Result<Form, Failure> {
    if !delivery.node {
        return Ok(Form::Fit);
    }
    Ok(launch_form::examine(command, workers, |script| package_script(cwd, script))?)
}

/// `-n`, else `$WEB_CONCURRENCY`, else as many as there are CPUs for this process.
fn count_workers(asked: Option<Workers>) -> Result<u32, Failure> {
    let from_env = || std::env::var("WEB_CONCURRENCY").ok().filter(|text| !text.is_empty());
    let asked = match (asked, from_env()) {
        (Some(asked), _) => asked,
        (None, Some(text)) => values::workers(&text).map_err(|error| web_concurrency(&text, &error))?,
        (None, None) => Workers::Auto,
    };
    Ok(match asked {
        Workers::Count(count) => count,
        Workers::Auto => u32::try_from(num_cpus::get()).unwrap_or(SLOTS_MAX).min(SLOTS_MAX),
    })
}

/// `--share`, else what `$NODE_CLUSTER_SCHED_POLICY` means to node's own primary.
fn share(asked: Option<Share>) -> Share {
    let from_env = || match std::env::var("NODE_CLUSTER_SCHED_POLICY").as_deref() {
        Ok("rr") => Share::Handoff,
        Ok("none") => Share::Shared,
        _ => Share::Auto,
    };
    asked.unwrap_or_else(from_env)
}

/// A balance that nobody could keep is no wish to be ignored.
fn balance(asked: Option<Balance>, share: Share) -> Result<Balance, Failure> {
    let asked = asked.unwrap_or_default();
    let (is_kept, detail, instead) = match share {
        Share::Auto | Share::Shared => {
            let detail = "in `shared`, workers accept for themselves, the idle ones first";
            (asked == Balance::Auto, detail, if asked.handoff().is_some() { "handoff" } else { "per-worker" })
        }
        Share::PerWorker => {
            let detail = "in `per-worker` the kernel chooses, and knows nothing of turns or of who is busy";
            (asked.steer().is_some(), detail, "handoff")
        }
        Share::Handoff => {
            let detail = "in `handoff` the primary chooses: round-robin, least-busy or sticky";
            (asked.handoff().is_some(), detail, "per-worker")
        }
    };
    if is_kept {
        return Ok(asked);
    }
    let word = asked.name();
    Err(Failure::Usage(Usage {
        what: format!("--balance {word} needs --share {instead}"),
        detail: Some(detail.to_owned()),
        hint: Some(format!("clustr run --share {instead} --balance {word} -- COMMAND")),
    }))
}

fn web_concurrency(text: &str, error: &ValueError) -> Failure {
    Failure::Usage(Usage {
        what: format!("invalid value '{text}' in $WEB_CONCURRENCY"),
        detail: Some(error.to_string()),
        hint: Some("clustr run -n 4 -- COMMAND".to_owned()),
    })
}

fn working_folder(cwd: Option<&Path>) -> Result<PathBuf, Failure> {
    match cwd {
        Some(cwd) if cwd.is_dir() => Ok(cwd.canonicalize().unwrap_or_else(|_| cwd.to_owned())),
        Some(cwd) => Err(Failure::Cwd(cwd.to_owned())),
        // A folder that was removed under us has no name; nothing here needs more than a name.
        None => Ok(std::env::current_dir().unwrap_or_default()),
    }
}

/// A script of the folder's `package.json`, if there is one that can be read.
fn package_script(cwd: &Path, script: &str) -> Option<String> {
    let text = std::fs::read_to_string(cwd.join("package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_str(&text).ok()?;
    package.get("scripts")?.get(script)?.as_str().map(str::to_owned)
}

fn policy(options: &RunOptions, workers: u32) -> Result<Policy, Failure> {
    let standard = Policy::builder(workers).build()?;
    let first = options.backoff_min.unwrap_or(BACKOFF.first);
    // Who asks for a long first rest alone does not mean the cap to be shorter.
    let cap = options.backoff_max.unwrap_or(BACKOFF.cap.max(first));
    let overdue = match options.ready {
        Some(ReadyWhen::Auto) | None => Overdue::CountsAsReady,
        Some(ReadyWhen::Listen | ReadyWhen::Message | ReadyWhen::Notify) => Overdue::Fails,
        Some(ReadyWhen::Delay(_) | ReadyWhen::Probe(_)) => Overdue::Fails,
    };
    let ready_timeout = options.ready_timeout.unwrap_or(standard.ready_timeout());
    probes::check_delay(options, ready_timeout)?;
    let builder = Policy::builder(workers)
        .restart(options.restart.unwrap_or_default())
        .backoff(Backoff { first, cap, ..BACKOFF })
        .ready_timeout(ready_timeout, overdue)
        .max_age(options.max_age)
        .stop_timeout(options.stop_timeout.unwrap_or(standard.stop_timeout()))
        .stop_order(options.stop_order.unwrap_or_default())
        .stop_exit_codes(options.stop_exit_codes.unwrap_or_default());
    let builder = match options.intensity {
        Some(intensity) => builder.intensity(intensity),
        None => builder,
    };
    let builder = match options.hang_timeout {
        Some(HangTimeout::After(span)) => builder.hang_timeout(span),
        Some(HangTimeout::Off) | None => builder,
    };
    Ok(builder.build()?)
}

/// The rests that the command line promises.
const BACKOFF: Backoff = Backoff {
    first: std::time::Duration::from_millis(100),
    factor: 2,
    cap: std::time::Duration::from_secs(30),
    jitter_percent: 20,
};

/// What the environment of a service says: sd_notify(3), sd_watchdog_enabled(3).
fn above() -> Above {
    let (usec, pid) = (std::env::var_os("WATCHDOG_USEC"), std::env::var_os("WATCHDOG_PID"));
    let is_read = |usec: &std::ffi::OsStr| usec.to_str().is_some_and(|usec| usec.parse::<u64>().is_ok());
    let fault = usec.as_deref().filter(|usec| !is_read(usec));
    Above {
        notify_socket: std::env::var_os(SOCKET_VARIABLE),
        watchdog: watchdog(usec.as_deref(), pid.as_deref(), std::process::id()),
        fault: fault.map(|usec| format!("WATCHDOG_USEC {usec:?} is no number of microseconds")),
    }
}

/// Files first, in their order; then what was named one by one, which is therefore what counts.
fn variables(files: &[PathBuf], named: &[Variable]) -> Result<Vec<(OsString, OsString)>, Failure> {
    let mut env = Vec::new();
    for file in files {
        env.extend(dotenv::read(file)?);
    }
    env.extend(named.iter().map(|Variable(name, value)| (name.clone(), value.clone())));
    Ok(env)
}

/// How they are read anew at a reload. What is no plain file (a pipe that the shell made) can be read only once.
fn fresh_env(options: &RunOptions) -> Option<FreshEnv> {
    let files = options.env_file.clone();
    if files.is_empty() || !files.iter().all(|file| file.is_file()) {
        return None;
    }
    let named = options.env.clone();
    let read = files.clone();
    let fresh = FreshEnv::new(move || variables(&read, &named).map_err(|failure| in_words(&failure)));
    Some(fresh.of_files(files))
}

fn in_words(failure: &Failure) -> String {
    match failure.saying() {
        Saying::Error(Report { what, detail, .. }) => {
            detail.map_or_else(|| what.clone(), |detail| format!("{what}: {detail}"))
        }
        Saying::Help(_) | Saying::ShortHelp(_) | Saying::Silence(_) => "its variables".to_owned(),
    }
}

fn control_path(asked: Option<PathBuf>, name: &str) -> Result<PathBuf, Failure> {
    match asked {
        Some(path) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            match folder.map(std::fs::metadata) {
                Some(Err(source)) => Err(StartError::Control { path, source }.into()),
                Some(Ok(_)) | None => Ok(path),
            }
        }
        None => {
            let dir = place::runtime_dir().map_err(Failure::RuntimeFolder)?;
            Ok(place::socket_path(&dir, name))
        }
    }
}
