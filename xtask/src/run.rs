//! Starting other programs, so that their output streams through.
//!
//! Owns how a chore runs a step: announced, from the workspace's root, with nothing on standard input. Never decides
//! what a failure means. Called by every chore.

use std::io::{self, BufRead, BufReader, IsTerminal, PipeReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::Outcome;

/// How long output may stay open after the program has ended, before we say that something was left running.
const STRAGGLER_PATIENCE: Duration = Duration::from_secs(10);

/// The workspace's root: the folder above this package.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or_else(|| here.clone(), Path::to_path_buf)
}

/// Where chores keep what they fetched.
pub(crate) fn cache() -> PathBuf {
    root().join("target/xtask")
}

/// Whether we run in CI, where a skip is a failure.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}

/// The cargo that runs us, from the workspace's root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    if io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command
}

/// Says what begins.
pub(crate) fn announce(what: &str) {
    println!("\n==> {what}");
}

/// Runs a program to its end, with its output as it comes.
pub(crate) fn run(command: &mut Command) -> Outcome {
    announce(&shown(command));
    let status = command.stdin(Stdio::null()).status().map_err(|error| not_started(command, &error))?;
    succeed(command, status)
}

/// Runs a program quietly and returns what it printed, trimmed.
pub(crate) fn ask(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| not_started(command, &error))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match succeed(command, output.status) {
        Ok(()) => Ok(text(&output.stdout)),
        Err(why) => Err(format!("{why}: {}", last_lines(&text(&output.stderr)))),
    }
}

/// Runs a program to its end with its output as it comes; `watch` sees each line first, and says whether to print it.
pub(crate) fn watch(command: &mut Command, mut watch: impl FnMut(&str) -> bool) -> Outcome {
    announce(&shown(command));
    let (reader, writer) = io::pipe().map_err(|error| format!("could not make a pipe: {error}"))?;
    let errors = writer.try_clone().map_err(|error| format!("could not copy a pipe: {error}"))?;
    command.stdin(Stdio::null()).stdout(writer).stderr(errors);
    let mut child = command.spawn().map_err(|error| not_started(command, &error))?;
    // The command still holds the pipe's write end: without this there would be no end of the output.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let lines = read_lines(reader);
    let (ended_at, ended) = mpsc::channel();
    std::thread::spawn(move || ended_at.send(child.wait()));
    let status = follow(&lines, &ended, &mut watch).map_err(|error| format!("could not wait: {error}"))?;
    drain(&lines, &mut watch)?;
    succeed(command, status)
}

/// Each line of `reader`, from a thread of its own.
fn read_lines(reader: PipeReader) -> Receiver<String> {
    let (lines, received) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    received
}

/// Shows lines until the program has ended.
fn follow(
    lines: &Receiver<String>,
    ended: &Receiver<io::Result<ExitStatus>>,
    watch: &mut impl FnMut(&str) -> bool,
) -> io::Result<ExitStatus> {
    loop {
        match lines.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => show(&line, watch),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return ended.recv().map_err(io::Error::other)?,
        }
        if let Ok(status) = ended.try_recv() {
            return status;
        }
    }
}

/// Shows what is left; an output that stays open was left to somebody who is still running.
fn drain(lines: &Receiver<String>, watch: &mut impl FnMut(&str) -> bool) -> Outcome {
    loop {
        match lines.recv_timeout(STRAGGLER_PATIENCE) {
            Ok(line) => show(&line, watch),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                return Err(
                    "a process was left behind: it still holds the output that it was given".to_owned()
                );
            }
        }
    }
}

fn show(line: &str, watch: &mut impl FnMut(&str) -> bool) {
    if watch(line.trim_end()) {
        print!("{line}");
        let _ = io::stdout().flush();
    }
}

fn succeed(command: &Command, status: ExitStatus) -> Outcome {
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", shown(command))) }
}

fn not_started(command: &Command, error: &io::Error) -> String {
    format!("`{}` could not be started: {error}", shown(command))
}

/// The command as it would be typed, its program by its name alone.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// The end of a long complaint.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_is_seen_line_by_line_from_both_streams() {
        let mut seen = Vec::new();
        let script = "echo out; echo err >&2; printf last";
        watch(&mut shell(script), |line| {
            seen.push(line.to_owned());
            true
        })
        .unwrap();
        assert_eq!(seen, ["out", "err", "last"]);
    }

    #[test]
    fn a_failure_is_reported_with_the_command() {
        let why = watch(&mut shell("exit 3"), |_| true).unwrap_err();
        assert!(why.contains("sh -c exit 3") && why.contains('3'), "{why}");
        assert!(run(&mut shell("exit 1")).is_err());
        assert!(run(&mut Command::new("no-such-program-here")).unwrap_err().contains("could not be started"));
    }

    #[test]
    fn what_a_program_said_is_returned_and_its_complaint_kept() {
        assert_eq!(ask(&mut shell("echo ' word '")).unwrap(), "word");
        assert!(ask(&mut shell("echo reason >&2; exit 1")).unwrap_err().contains("reason"));
    }

    #[test]
    fn the_root_is_the_workspace() {
        assert!(root().join("xtask/src/run.rs").is_file());
    }
}
