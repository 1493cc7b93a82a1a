//! What clap finds wrong, in clustr's own words.
//!
//! Owns the translation of a parser's error into what, detail and hint. Never prints. Called by `args::parse`, and for values that
//! stand in a file by `config_file::keys`.

use std::error::Error;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::absent;
use super::values::ValueError;
use crate::failure::{Failure, Usage};
use crate::names::shell_line;

/// A parser's error as a failure. `words` is the command line that it was found in.
#[expect(clippy::wildcard_enum_match_arm, reason = "clap's kinds are not ours; new ones may come")]
pub(super) fn explain(error: clap::Error, words: &[OsString]) -> Failure {
    let usage = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return Failure::Help(error),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return Failure::NoCommand(error),
        ErrorKind::UnknownArgument => unknown(&error, words),
        ErrorKind::InvalidSubcommand => unknown_command(&error),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => invalid_value(&error),
        ErrorKind::MissingRequiredArgument => missing(&error, words),
        ErrorKind::ArgumentConflict => conflict(&error),
        _ => other(&error),
    };
    Failure::Usage(usage)
}

/// A value that makes no sense, without the option before it: why, and what to write instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ValueFault {
    pub(crate) why: String,
    pub(crate) instead: Option<String>,
}

/// The fault of a value by itself; `None`: that is not what is wrong.
#[expect(clippy::wildcard_enum_match_arm, reason = "clap's kinds are not ours; new ones may come")]
pub(crate) fn of_value(error: &clap::Error) -> Option<ValueFault> {
    match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {}
        _ => return None,
    }
    let value = said(error, ContextKind::InvalidValue).unwrap_or_default();
    Some(match error.source().and_then(|source| source.downcast_ref::<ValueError>()) {
        Some(ValueError::Invalid { why, instead }) => {
            ValueFault { why: why.clone(), instead: Some(instead.clone()) }
        }
        Some(ValueError::Absent { instead }) => {
            ValueFault { why: format!("'{value}' is not in this version"), instead: Some(instead.clone()) }
        }
        None if value.is_empty() => ValueFault { why: "it is empty".to_owned(), instead: None },
        None => ValueFault { why: other(error).what, instead: None },
    })
}

/// What is wrong with options that are each right: which one, and why.
#[expect(clippy::wildcard_enum_match_arm, reason = "clap's kinds are not ours; new ones may come")]
pub(crate) fn of_set(error: &clap::Error) -> Option<(String, String)> {
    let name =
        |text: &str| text.trim_start_matches('-').split([' ', '=']).next().unwrap_or_default().to_owned();
    match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            let missing = name(&argument(error));
            Some((missing.clone(), format!("'{missing}' is missing")))
        }
        _ => Some((name(&argument(error)), other(error).what)),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "clap's kinds are not ours; new ones may come")]
fn said(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        ContextValue::StyledStr(text) => Some(text.to_string()),
        _ => None,
    }
}

fn argument(error: &clap::Error) -> String {
    said(error, ContextKind::InvalidArg).unwrap_or_default()
}

fn unknown(error: &clap::Error, words: &[OsString]) -> Usage {
    let arg = argument(error);
    if !arg.starts_with('-') {
        return stray(&arg, words);
    }
    if arg[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return negative(&arg, words);
    }
    let nearest = said(error, ContextKind::SuggestedArg);
    let hint = match (nearest, words.iter().any(|word| word == "--")) {
        (Some(nearest), _) => nearest,
        (None, true) => help(words),
        (None, false) => format!("{}; what belongs to the program stands after `--`", help(words)),
    };
    Usage { what: format!("unknown option '{arg}'"), detail: None, hint: Some(hint) }
}

/// A number below zero, which clap takes for an option. `arg` is as much of it as clap has read.
fn negative(arg: &str, words: &[OsString]) -> Usage {
    let at = words.iter().position(|word| word.to_string_lossy().starts_with(arg));
    let typed = at.map_or_else(|| arg.into(), |at| words[at].to_string_lossy());
    let before = at.and_then(|at| words.get(at.checked_sub(1)?)).map(|word| word.to_string_lossy());
    let of = before.filter(|word| word.starts_with('-')).map(|word| format!(" for {word}"));
    Usage {
        what: format!("invalid value '{typed}'{}", of.unwrap_or_default()),
        detail: Some("it may not be below zero".to_owned()),
        hint: Some(help(words)),
    }
}

/// A word that is no option: most often a command without its `--`.
fn stray(arg: &str, words: &[OsString]) -> Usage {
    let what = format!("unexpected word '{arg}'");
    let takes_command = words.get(1).is_some_and(|word| word == "run" || word == "check");
    let at = words.iter().position(|word| word == arg);
    let Some(at) = at.filter(|at| takes_command && *at > 1) else {
        return Usage { what, detail: None, hint: Some(help(words)) };
    };
    let separator = OsString::from("--");
    let mut typed: Vec<&OsString> = words[..at].iter().skip(1).collect();
    typed.push(&separator);
    typed.extend(words[at..].iter().filter(|word| *word != "--"));
    Usage {
        what,
        detail: Some("the command to run stands after `--`".to_owned()),
        hint: Some(format!("clustr {}", shell_line(typed))),
    }
}

/// A command that nobody knows, with the nearest one named.
fn unknown_command(error: &clap::Error) -> Usage {
    let given = said(error, ContextKind::InvalidSubcommand).unwrap_or_default();
    let hint =
        nearest_command(error).map_or_else(|| "clustr --help".to_owned(), |name| format!("clustr {name}"));
    Usage { what: format!("unknown command '{given}'"), detail: None, hint: Some(hint) }
}

/// The nearest command that this version has: clap names the nearest one last.
fn nearest_command(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::Strings(names)) = error.get(ContextKind::SuggestedSubcommand) else { return None };
    let is_here = |name: &&String| !absent::COMMANDS.iter().any(|(absent, _)| name == absent);
    names.iter().rev().find(is_here).cloned()
}

fn invalid_value(error: &clap::Error) -> Usage {
    let arg = argument(error);
    let option = arg.split_whitespace().next().unwrap_or_default();
    let value = said(error, ContextKind::InvalidValue).unwrap_or_default();
    if value.is_empty() && error.source().is_none() {
        return Usage { what: format!("'{option}' needs a value"), detail: None, hint: Some(arg) };
    }
    let what = format!("invalid value '{value}' for {arg}");
    let typed = |instead: &str| {
        if option.starts_with('-') { format!("{option} {instead}") } else { instead.to_owned() }
    };
    match error.source().and_then(|source| source.downcast_ref::<ValueError>()) {
        Some(ValueError::Invalid { why, instead }) => {
            Usage { what, detail: Some(why.clone()), hint: Some(typed(instead)) }
        }
        Some(ValueError::Absent { instead }) => Usage {
            what: format!("`{option} {value}` is not in this version"),
            detail: None,
            hint: Some(instead.clone()),
        },
        None => {
            let valid = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(valid)) => Some(valid.join(", ")),
                Some(_) | None => None,
            };
            Usage {
                what,
                detail: error.source().map(ToString::to_string),
                hint: valid.map(|valid| typed(&valid)),
            }
        }
    }
}

fn missing(error: &clap::Error, words: &[OsString]) -> Usage {
    Usage { what: format!("{} is missing", argument(error)), detail: None, hint: Some(help(words)) }
}

fn conflict(error: &clap::Error) -> Usage {
    let prior = said(error, ContextKind::PriorArg).unwrap_or_default();
    let arg = argument(error);
    let what = if prior == arg || prior.is_empty() {
        format!("'{arg}' is given more than once")
    } else {
        format!("'{arg}' and '{prior}' cannot be given together")
    };
    Usage { what, detail: None, hint: Some("leave one of them out".to_owned()) }
}

/// Whatever else clap may find: its own first line, without its own prefix.
fn other(error: &clap::Error) -> Usage {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    Usage {
        what: line.trim_start_matches("error: ").to_owned(),
        detail: None,
        hint: Some("clustr --help".to_owned()),
    }
}

fn help(words: &[OsString]) -> String {
    let command = words.get(1).map(|word| word.to_string_lossy()).filter(|word| !word.starts_with('-'));
    command.map_or_else(|| "clustr --help".to_owned(), |command| format!("clustr {command} --help"))
}
