//! What a failure means: its words and its exit code, made here and nowhere else.
//!
//! Owns the one shape that errors have: what, detail, hint (something to type). Never prints: `render` does.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clustr_core::PolicyError;
use clustr_supervisor::StartError;
use rustix::process::Pid;
use serde_json::value::RawValue;

use crate::client::ClientError;
use crate::dotenv::EnvFileError;
use crate::exit_code;
use crate::launch_form::LaunchError;
use crate::names::shell_line;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Help or the version was asked for: no failure at all.
    Help(clap::Error),
    /// `clustr` alone.
    NoCommand(clap::Error),
    /// The command line makes no sense.
    Usage(Usage),
    /// Something that the command line promises is not in this version: what, and what to do instead.
    Absent(String, String),
    /// The command cannot be run in this form.
    Launch(LaunchError),
    /// The rules make no sense together.
    Policy(PolicyError),
    /// A configuration file cannot be used: what, all that is wrong with it, and something to type.
    ConfigFile { what: String, detail: Option<String>, hint: Option<String> },
    /// Something was not done: what, why, and something to type.
    NotDone { what: String, detail: Option<String>, hint: Option<String> },
    /// A file of variables cannot be used.
    EnvFile(EnvFileError),
    /// A folder to work in is none.
    Cwd(PathBuf),
    /// The folder of control sockets cannot be used.
    RuntimeFolder(io::Error),
    /// What is to run in the background does not.
    Background(Background),
    /// The descriptors that the process was started with cannot be seen.
    Inherited(io::Error),
    /// The process that this one was to live with cannot be watched, or is gone.
    Parent(io::Error),
    /// The primary cannot start, or failed.
    Start(StartError),
    /// A primary did not do it.
    Client(ClientError),
    /// A reload was not tried, and could not succeed: why, something to type, and what it would have changed, as the
    /// primary wrote it.
    WouldFail(String, Option<String>, Box<RawValue>),
    /// The demo failed: what, and why.
    Demo(String, Option<String>),
    /// Whoever read the output has gone.
    OutputClosed,
    /// The output cannot be written.
    Output(io::Error),
}

/// Why nothing runs in the background as it was asked for.
#[derive(Debug)]
pub(crate) enum Background {
    /// The folder of its output cannot be used.
    Folder(io::Error),
    /// The file of its output cannot be opened.
    File(PathBuf, io::Error),
    /// It cannot be started.
    Start(io::Error),
    /// It has ended, or is not ready: what, its last output, and something to type.
    NotReady(String, Option<String>, String),
}

/// A command line that makes no sense.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) what: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
}

/// A failure in words and number.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Report {
    pub(crate) what: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
    pub(crate) code: u8,
}

/// What kind of saying a failure asks for.
#[derive(Debug)]
pub(crate) enum Saying<'a> {
    /// Help, on standard output.
    Help(&'a clap::Error),
    /// Help, on standard error.
    ShortHelp(&'a clap::Error),
    /// An error.
    Error(Report),
    /// Nothing.
    Silence(u8),
}

impl Failure {
    /// How it is said.
    pub(crate) fn saying(&self) -> Saying<'_> {
        match self {
            Self::Help(help) => Saying::Help(help),
            Self::NoCommand(help) => Saying::ShortHelp(help),
            Self::OutputClosed => Saying::Silence(exit_code::DONE),
            Self::Usage(usage) => {
                let Usage { what, detail, hint } = usage;
                Saying::Error(
                    Report::new(exit_code::USAGE, what).detail(detail.as_deref()).hint(hint.as_deref()),
                )
            }
            Self::Absent(what, instead) => Saying::Error(
                Report::new(exit_code::USAGE, format!("{what} not in this version")).hint(Some(instead)),
            ),
            Self::Launch(error) => {
                let report = Report::new(exit_code::USAGE, error.what());
                Saying::Error(report.detail(Some(&error.detail())).hint(Some(&error.hint())))
            }
            Self::Policy(error) => Saying::Error(policy(*error)),
            Self::ConfigFile { what, detail, hint } => Saying::Error(
                Report::new(exit_code::CONFIG, what).detail(detail.as_deref()).hint(hint.as_deref()),
            ),
            Self::NotDone { what, detail, hint } => Saying::Error(
                Report::new(exit_code::FAILED, what).detail(detail.as_deref()).hint(hint.as_deref()),
            ),
            Self::EnvFile(error) => Saying::Error(env_file(error)),
            Self::Cwd(dir) => Saying::Error(Report::new(
                exit_code::USAGE,
                format!("--cwd '{}' is not a folder", dir.display()),
            )),
            Self::RuntimeFolder(error) => Saying::Error(runtime_folder(error)),
            Self::Background(error) => Saying::Error(background(error)),
            Self::Parent(error) => {
                let report =
                    Report::new(exit_code::FAILED, "could not watch the process that started this one");
                Saying::Error(report.detail(Some(&error.to_string())))
            }
            Self::Inherited(error) => {
                let report = Report::new(
                    exit_code::FAILED,
                    "could not see the descriptors that clustr was started with",
                );
                Saying::Error(report.detail(Some(&error.to_string())).hint(Some("mount -t proc proc /proc")))
            }
            Self::Start(error) => Saying::Error(start(error)),
            Self::Client(error) => Saying::Error(client(error)),
            Self::WouldFail(error, hint, _) => {
                let report = Report::new(exit_code::FAILED, "this version could not be started");
                Saying::Error(report.detail(Some(error)).hint(hint.as_deref()))
            }
            Self::Demo(what, detail) => {
                Saying::Error(Report::new(exit_code::FAILED, what).detail(detail.as_deref()))
            }
            Self::Output(error) => Saying::Error(
                Report::new(exit_code::FAILED, "could not write the output").detail(Some(&error.to_string())),
            ),
        }
    }
}

impl Failure {
    /// Its stable name, for scripts: a refusal's own, else one for each exit code.
    pub(crate) fn name(&self, code: u8) -> &str {
        match (self, code) {
            (Self::Client(ClientError::Refused { refusal, .. }), _) => refusal,
            (_, exit_code::NO_PRIMARY) => "no-primary",
            (_, exit_code::USAGE) => "usage",
            (_, exit_code::TIMED_OUT) => "timed-out",
            (_, exit_code::CONFIG) => "configuration",
            _ => "failed",
        }
    }
}

impl Failure {
    /// What a script is told of it besides its name: what, and why. A refusal's name is not said again.
    pub(crate) fn detail(&self, what: &str, detail: Option<&str>) -> String {
        match (self, detail) {
            (Self::Client(ClientError::Refused { .. }), Some(detail)) => detail.to_owned(),
            (_, Some(detail)) => format!("{what}: {detail}"),
            (_, None) => what.to_owned(),
        }
    }

    /// What a reload would have changed, where that is what was asked.
    pub(crate) const fn difference(&self) -> Option<&RawValue> {
        if let Self::WouldFail(_, _, difference) = self { Some(difference) } else { None }
    }
}

impl Report {
    pub(crate) fn new(code: u8, what: impl Into<String>) -> Self {
        Self { what: what.into(), detail: None, hint: None, code }
    }

    pub(crate) fn detail(mut self, detail: Option<&str>) -> Self {
        self.detail = detail.map(str::to_owned);
        self
    }

    pub(crate) fn hint(mut self, hint: Option<&str>) -> Self {
        self.hint = hint.map(str::to_owned);
        self
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "another crate's errors; new ones may come")]
fn policy(error: PolicyError) -> Report {
    let hint = match error {
        PolicyError::NoSlots => "-n 1",
        PolicyError::TooManySlots(_) => "-n auto",
        PolicyError::NoPeriod => "--intensity 5/10s",
        PolicyError::CapBelowFirst => "--backoff-min 100ms --backoff-max 30s",
        _ => "clustr run --help",
    };
    Report::new(exit_code::USAGE, error.to_string()).hint(Some(hint))
}

fn env_file(error: &EnvFileError) -> Report {
    match error {
        EnvFileError::Unreadable(path, error) => {
            let report = Report::new(
                exit_code::CONFIG,
                format!("could not read the variables in '{}'", path.display()),
            );
            report.detail(Some(&error.to_string()))
        }
        EnvFileError::Syntax(path, line, fault) => {
            let report = Report::new(exit_code::CONFIG, format!("{}:{line}: not a variable", path.display()));
            report.detail(Some(fault.text())).hint(Some("NAME=value, NAME=\"two words\", # comment"))
        }
    }
}

fn background(error: &Background) -> Report {
    let elsewhere = "CLUSTR_STATE_DIR=/a/folder/of/yours clustr run -d …";
    let failed =
        |what: &str, error: &io::Error| Report::new(exit_code::FAILED, what).detail(Some(&error.to_string()));
    match error {
        Background::Folder(error) => {
            failed("the folder of output cannot be used", error).hint(Some(elsewhere))
        }
        Background::File(path, error) => {
            failed(&format!("could not open '{}'", path.display()), error).hint(Some(elsewhere))
        }
        Background::Start(error) => failed("could not start what is to run in the background", error),
        Background::NotReady(what, output, hint) => {
            Report::new(exit_code::FAILED, what).detail(output.as_deref()).hint(Some(hint))
        }
    }
}

fn runtime_folder(error: &io::Error) -> Report {
    let report = Report::new(exit_code::FAILED, "the folder of control sockets cannot be used");
    report.detail(Some(&error.to_string())).hint(Some("CLUSTR_RUNTIME_DIR=/a/folder/of/yours clustr …"))
}

fn start(error: &StartError) -> Report {
    let mut sources = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        sources.push(cause.to_string());
        source = cause.source();
    }
    let detail = (!sources.is_empty()).then(|| sources.join(": "));
    Report::new(exit_code::FAILED, error.to_string()).detail(detail.as_deref()).hint(error.hint().as_deref())
}

/// Refusals that another try may not meet.
const BUSY: [&str; 4] = ["busy", "stopping", "reload-in-progress", "scale-in-progress"];

fn client(error: &ClientError) -> Report {
    match error {
        ClientError::Folder(error) => runtime_folder(error),
        ClientError::NobodyHere => Report::new(exit_code::NO_PRIMARY, "no primary is running")
            .hint(Some("clustr run -- node app.js")),
        ClientError::Nobody(path) => {
            let report =
                Report::new(exit_code::NO_PRIMARY, format!("no primary answers at {}", path.display()));
            report.hint(Some("clustr list"))
        }
        ClientError::Several(names) => {
            let report = Report::new(exit_code::USAGE, "several primaries are running, and none is named");
            let hint = format!("--name {}", names.first().map_or("NAME", String::as_str));
            report.detail(Some(&names.join(", "))).hint(Some(&hint))
        }
        ClientError::Connect(path, error) => connect(path, error),
        ClientError::Io(error) => {
            Report::new(exit_code::FAILED, "could not speak to the primary").detail(Some(&error.to_string()))
        }
        ClientError::HungUp => {
            let report = Report::new(exit_code::FAILED, "the primary ended before it had answered");
            report.hint(Some("clustr list"))
        }
        ClientError::Garbled(why) => {
            let report = Report::new(exit_code::FAILED, "the primary's answer makes no sense to this clustr");
            report.detail(Some(why)).hint(Some("clustr version"))
        }
        ClientError::TimedOut(span) => {
            let what = format!("not done within {}", humantime::format_duration(*span));
            Report::new(exit_code::TIMED_OUT, what).hint(Some("clustr status"))
        }
        ClientError::Silent(span, pid) => silent(*span, *pid),
        ClientError::Refused { refusal, detail, hint } => {
            let code = match refusal.as_str() {
                "rolled-back" => exit_code::ROLLED_BACK,
                busy if BUSY.contains(&busy) => exit_code::BUSY,
                _ => exit_code::FAILED,
            };
            Report::new(code, format!("refused: {refusal}")).detail(detail.as_deref()).hint(hint.as_deref())
        }
    }
}

/// A primary that answers nobody is stopped (SIGSTOP, a debugger), or beyond help; in another pid namespace it has no number.
fn silent(span: Duration, pid: Option<Pid>) -> Report {
    let span = humantime::format_duration(span);
    let Some(pid) = pid.map(Pid::as_raw_nonzero) else {
        return Report::new(exit_code::TIMED_OUT, format!("the primary has not answered within {span}"));
    };
    let (why, hint) = if is_stopped(pid.get()) {
        ("its process is stopped, as by SIGSTOP", format!("kill -CONT {pid}"))
    } else {
        let detail = "it is there and says nothing; its workers end when the next one of its name starts";
        (detail, format!("kill -9 {pid}"))
    };
    let what = format!("the primary (pid {pid}) has not answered within {span}");
    Report::new(exit_code::TIMED_OUT, what).detail(Some(why)).hint(Some(&hint))
}

/// Its state: proc(5), the letter behind the name in parentheses.
fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}

fn connect(path: &Path, error: &io::Error) -> Report {
    let report = Report::new(exit_code::FAILED, format!("could not connect to {}", path.display()));
    let hint = format!("ls -l {}", shell_line([path]));
    report.detail(Some(&error.to_string())).hint(Some(&hint))
}

impl From<Background> for Failure {
    fn from(error: Background) -> Self {
        Self::Background(error)
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        Self::Launch(error)
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        Self::Policy(error)
    }
}

impl From<EnvFileError> for Failure {
    fn from(error: EnvFileError) -> Self {
        Self::EnvFile(error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}
