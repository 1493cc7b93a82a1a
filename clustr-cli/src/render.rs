//! Everything that is said: on standard output what was asked for, on standard error what went wrong.
//!
//! Owns both streams, colours (only on a terminal, never with NO_COLOR) and the shape of errors; no control character of
//! others reaches a person's terminal through it. Never decides what is said. The primary's own news is written by clustr-supervisor.

pub(crate) mod plain;
pub(crate) mod progress;
pub(crate) mod screen;
pub(crate) mod secrets;
pub(crate) mod table;
pub(crate) mod units;

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};

use crate::exit_code;
use crate::failure::{Failure, Report, Saying};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();

/// Which of the two streams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stream {
    Output,
    Error,
}

/// Whether this stream shows colours.
pub(crate) fn is_coloured(stream: Stream) -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let terminal = match stream {
        Stream::Output => io::stdout().is_terminal(),
        Stream::Error => io::stderr().is_terminal(),
    };
    terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// How many columns there are: those of the terminal, else `$COLUMNS`, which watch(1) sets; `None`: as many as it takes.
pub(crate) fn output_width() -> Option<usize> {
    let stdout = io::stdout();
    let size = rustix::termios::tcgetwinsize(&stdout).ok().filter(|_| stdout.is_terminal());
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    size.map(|size| usize::from(size.ws_col)).or_else(told).filter(|columns| *columns > 0)
}

/// Writes text for people to standard output, with a line's end, and without any control character.
///
/// # Errors
/// Nobody reads it any more, or it cannot be written.
pub(crate) fn output(text: &str) -> Result<(), Failure> {
    output_drawn(&plain::lines(text))
}

/// Writes JSON to standard output as it is, with a line's end.
///
/// # Errors
/// As [`output`].
pub(crate) fn json(text: &str) -> Result<(), Failure> {
    output_drawn(text)
}

/// Writes text that has colours of ours, and in which everything else is [`plain`] already.
///
/// # Errors
/// As [`output`].
pub(crate) fn output_drawn(text: &str) -> Result<(), Failure> {
    output_bytes(format!("{}\n", text.trim_end_matches('\n')).as_bytes())
}

/// Writes bytes to standard output as they are.
///
/// # Errors
/// As [`output`].
pub(crate) fn output_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe { Failure::OutputClosed } else { Failure::Output(error) }
    })
}

/// Text in a style, where this stream shows styles.
pub(crate) fn painted(stream: Stream, style: Style, text: &str) -> String {
    if is_coloured(stream) { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// Says a failure, and gives its exit code.
pub(crate) fn failure(failure: &Failure) -> u8 {
    match failure.saying() {
        Saying::Help(help) => match output_drawn(&styled(help, Stream::Output)) {
            Ok(()) | Err(Failure::OutputClosed) => exit_code::DONE,
            Err(_) => exit_code::FAILED,
        },
        Saying::ShortHelp(help) => {
            complain(&styled(help, Stream::Error));
            exit_code::USAGE
        }
        Saying::Error(report) => {
            complain(&shape("error", ERROR, &report));
            report.code
        }
        Saying::Silence(code) => code,
    }
}

/// Says a failure to a script, on standard output, in the shape of the control protocol's refusals.
///
/// # Errors
/// As [`output`].
pub(crate) fn failure_json(failure: &Failure) -> Result<(), Failure> {
    #[derive(serde::Serialize)]
    struct Refused<'a> {
        ok: bool,
        refusal: &'a str,
        detail: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
        exit_code: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        difference: Option<&'a serde_json::value::RawValue>,
    }
    let Saying::Error(Report { what, detail, hint, code }) = failure.saying() else { return Ok(()) };
    let detail = failure.detail(&what, detail.as_deref());
    let (refusal, difference) = (failure.name(code), failure.difference());
    let refused = Refused { ok: false, refusal, detail, hint, exit_code: code, difference };
    json(&serde_json::to_string(&refused).map_err(|error| Failure::Output(error.into()))?)
}

/// Says something odd that does not end the command.
pub(crate) fn warning(what: &str, hint: &str) {
    complain(&shape("warning", WARNING, &Report::new(exit_code::DONE, what).hint(Some(hint))));
}

/// Says that clustr itself is wrong, and gives the exit code for it.
pub(crate) fn bug(panic: &str) -> u8 {
    let report = Report::new(exit_code::BUG, "a bug in clustr").detail(Some(panic));
    complain(&shape("error", ERROR, &report.hint(Some("clustr version, and tell its authors"))));
    exit_code::BUG
}

fn styled(help: &clap::Error, stream: Stream) -> String {
    let text = help.render();
    if is_coloured(stream) { text.ansi().to_string() } else { text.to_string() }
}

fn shape(label: &str, style: Style, report: &Report) -> String {
    let mut lines = vec![format!("{}: {}", painted(Stream::Error, style, label), plain::line(&report.what))];
    if let Some(detail) = &report.detail {
        lines.extend(detail.lines().map(|line| format!("  {}", plain::line(line))));
    }
    if let Some(hint) = &report.hint {
        lines.push(format!("{}: {}", painted(Stream::Error, HINT, "hint"), plain::line(hint)));
    }
    lines.join("\n")
}

/// Standard error has nobody to complain to when it fails itself.
fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'));
}
