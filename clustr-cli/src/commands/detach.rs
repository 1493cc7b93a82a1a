//! `clustr run --detach`: the primary in the background.
//!
//! Owns its start, up to the moment in which every worker is ready, and where its output goes: a file that is replaced when
//! it is full. Ctrl-C before that moment ends what was started. Never supervises: what runs in the background is `clustr run`, in a session of its own.

mod interrupt;
mod log;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use clustr_supervisor::StartError;
use clustr_supervisor::config::Output;
use clustr_supervisor::control::place;
use clustr_supervisor::control::protocol::Status;
use clustr_supervisor::news::Fact;
use serde::Serialize;

use interrupt::Interrupt;
use log::Log;

use super::plan::{self, Origin};
use crate::args::RunArgs;
use crate::client::{Client, ClientError};
use crate::clock::Deadline;
use crate::exit_code;
use crate::failure::{Background, Failure, Usage};
use crate::names::shell_line;
use crate::render::progress::{self, Work};
use crate::render::{self, units};

/// When the file of output is full. There are two such files at most.
pub(super) const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How often something is looked at that says nothing by itself.
const GLANCE: Duration = Duration::from_millis(20);

/// Starts it, and waits until it serves.
pub(super) fn run(args: RunArgs) -> Result<u8, Failure> {
    let json = args.json;
    let (plans, origin) = plan::gather(args.from, args.options, args.command, Vec::new())?;
    if plans.iter().any(|plan| plan.config.output == Output::Inherit) {
        return Err(Failure::Usage(Usage {
            what: "--detach and --log inherit cannot be given together".to_owned(),
            detail: Some("in the background the output goes to a file, which has to stay short".to_owned()),
            hint: Some("leave --log out".to_owned()),
        }));
    }
    // What cannot be started at all is said at once, and here.
    for plan in &plans {
        clustr_supervisor::find_program(&plan.config.program)?;
        for (what, instead) in plan.warnings() {
            render::warning(&what, &instead);
        }
    }
    let name = plan::primary_name(&plans, origin.as_ref());
    // All have the one control socket.
    let first = plans.into_iter().next();
    let (control, control_asked) =
        first.map(|plan| (plan.config.control, plan.control_asked)).unwrap_or_default();
    let control = control.unwrap_or_default();
    // Before the file of output is touched: it may be that of whoever has the name.
    if let Some(holder) = place::holder(&control) {
        return Err(StartError::name_taken(&name, control, holder).into());
    }
    let interrupt = Interrupt::listen().map_err(Background::Start)?;
    let log = Log::open(log::path(control_asked, &name)?)?;
    let child = start(&log, origin.as_ref())?;
    let mut start = Start { child, log, name, interrupt };
    let status = start.await_ready(&control, json)?;
    start.tell(&status, &control, json)
}

/// What runs in the background ends with nobody's terminal: setsid(2), which a process that leads a group is refused, and
/// then its caller has seen to that already.
pub(super) fn leave_terminal() {
    let _ = rustix::process::setsid();
}

/// The same command, told that it is what runs in the background; in the folder where it was typed.
fn start(log: &Log, origin: Option<&Origin>) -> Result<Child, Failure> {
    let mut words = std::env::args_os();
    let itself = words.next().unwrap_or_else(|| "clustr".into());
    #[expect(clippy::disallowed_methods, reason = "it is a primary that is started, and no worker")]
    let mut command = Command::new("/proc/self/exe");
    command.arg0(itself).args(["run", "--detached"]).arg(&log.path).args(words.skip(1));
    if let Some(Origin { typed_in, .. }) = origin {
        command.current_dir(typed_in);
    }
    let output = || log.file.try_clone().map(Stdio::from).map_err(Background::Start);
    command.stdin(Stdio::null()).stdout(output()?).stderr(output()?);
    Ok(command.spawn().map_err(Background::Start)?)
}

/// A primary that has been started.
struct Start {
    child: Child,
    log: Log,
    name: String,
    interrupt: Interrupt,
}

/// What has become of it, to a script.
#[derive(Serialize)]
struct Outcome<'a> {
    ok: bool,
    state: &'static str,
    name: &'a str,
    pid: u32,
    control: &'a Path,
    log: &'a Path,
    ready: u32,
    wanted: u32,
}

impl Start {
    /// Waits until every worker is ready, or it has become clear that they never all will be.
    fn await_ready(&mut self, control: &Path, json: bool) -> Result<Status, Failure> {
        let mut client = loop {
            self.fail_if_ended()?;
            match self.connect(control) {
                Some(client) => break client,
                None => glance(),
            }
        };
        if json {
            client.subscribe()?;
        } else {
            client.attend(progress::witness(Work::Start))?;
        }
        loop {
            let status = self.hear(client.status())?;
            if status.state != "starting" {
                return Ok(status);
            }
            // Between two pictures, whatever changes one is told.
            loop {
                self.fail_if_ended()?;
                match client.news(Deadline::after(Some(GLANCE * 10))) {
                    Ok(news) if matches!(news.fact, Fact::Running { .. } | Fact::Ending { .. }) => break,
                    Ok(_) | Err(ClientError::TimedOut(_)) => {}
                    Err(gone) => self.hear(Err(gone))?,
                }
            }
        }
    }

    /// At this path another primary of the same name may answer, which is why ours is about to end.
    fn connect(&self, control: &Path) -> Option<Client> {
        let mut client = Client::connect(control).ok()?;
        client.status().ok().filter(|status| status.pid == self.child.id())?;
        Some(client)
    }

    /// A primary that does not answer any more is about to end.
    fn hear<T>(&mut self, said: Result<T, ClientError>) -> Result<T, Failure> {
        match said {
            Ok(said) => Ok(said),
            Err(ClientError::HungUp | ClientError::Io(_)) => {
                let ended = self.child.wait().map_err(ClientError::Io)?;
                Err(self.ended(ended))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// It has ended, or nobody waits for it any more.
    fn fail_if_ended(&mut self) -> Result<(), Failure> {
        if self.interrupt.has_come().map_err(Background::Start)? {
            return Err(self.end());
        }
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(ended)) => Err(self.ended(ended)),
            Err(error) => Err(ClientError::Io(error).into()),
        }
    }

    /// It was not up yet, so that whoever breaks the wait off does not mean it to go on. It stops as ever; a second Ctrl-C is
    /// a second word to stop, which kills.
    fn end(&mut self) -> Failure {
        let pid = self.child.id();
        let stopped = loop {
            if let Err(error) = interrupt::stop(pid) {
                break Err(error);
            }
            match self.await_end_or_word() {
                Ok(true) => break Ok(()),
                Ok(false) => {}
                Err(error) => break Err(error),
            }
        };
        let (what, hint) = match stopped {
            Ok(()) => (format!("the start of '{}' was broken off, and it has ended", self.name), self.hint()),
            Err(error) => (format!("'{}' could not be ended: {error}", self.name), format!("kill {pid}")),
        };
        Background::NotReady(what, None, hint).into()
    }

    /// Whether it has ended; `false`: somebody has said again that it shall.
    fn await_end_or_word(&mut self) -> std::io::Result<bool> {
        loop {
            if self.child.try_wait()?.is_some() {
                return Ok(true);
            }
            if self.interrupt.has_come()? {
                return Ok(false);
            }
            glance();
        }
    }

    fn ended(&self, ended: ExitStatus) -> Failure {
        let what = format!("'{}' has ended before it was ready: {ended}", self.name);
        Background::NotReady(what, self.log.last_lines(), self.hint()).into()
    }

    fn hint(&self) -> String {
        format!("less {}", shell_line([&self.log.path]))
    }

    fn tell(&self, status: &Status, control: &Path, json: bool) -> Result<u8, Failure> {
        let ready: u32 = status.apps.iter().map(|app| app.ready).sum();
        let wanted: u32 = status.apps.iter().map(|app| app.wanted).sum();
        if ready < wanted {
            let all = units::plural(wanted.into(), "worker");
            let what =
                format!("only {ready} of {all} are ready; '{}' runs on, pid {}", self.name, status.pid);
            return Err(Background::NotReady(what, self.log.last_lines(), self.hint()).into());
        }
        let (name, pid, log) = (&*self.name, status.pid, &*self.log.path);
        if json {
            let outcome = Outcome { ok: true, state: "done", name, pid, control, log, ready, wanted };
            render::json(&serde_json::to_string(&outcome).map_err(|error| Failure::Output(error.into()))?)?;
        } else {
            let all = units::plural(wanted.into(), "worker");
            render::output(&format!("{name}: {all} ready, primary pid {pid}\noutput in {}", log.display()))?;
        }
        Ok(exit_code::DONE)
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing tells of a socket that is not there yet")]
fn glance() {
    std::thread::sleep(GLANCE);
}
