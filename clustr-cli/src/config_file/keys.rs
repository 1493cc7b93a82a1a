//! The keys of a configuration file: the options of `run`, and a few that no command line needs.
//!
//! Owns which keys there are, where they may stand, and what form their values have, all of it taken from the definition of
//! the command line, so that neither can have what the other lacks. Never reads a file. Called by `document`, `schema` and
//! `reference`.

use std::ffi::OsStr;

use clap::ArgAction;

use crate::args;
use crate::args::faults::ValueFault;

/// Where a key may stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    /// At the top alone: it is the primary's.
    Primary,
    /// At the top, for every app, or in one's own table.
    Any,
    /// With the one app of the file, or in an app's own table: two apps cannot have the same.
    App,
}

/// What form a value has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A number, or a word.
    Count,
    /// A port.
    Port,
    /// A time: a string with its unit.
    Time,
    /// A size: a string with its unit.
    Size,
    /// One of a few words.
    Choice,
    /// Exit codes.
    Codes,
    /// Any other text.
    Text,
    /// A command: a string, or its words.
    Command,
    /// Names of apps.
    Apps,
    /// Names and values of variables.
    Variables,
}

impl Kind {
    /// What is expected, in words.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Count => "a number or a word",
            Self::Port => "a port",
            Self::Time => "a time as a string",
            Self::Size => "a size as a string",
            Self::Choice => "one of a few words",
            Self::Codes => "a number, or an array of numbers",
            Self::Text => "a string",
            Self::Command => "a string, or an array of words",
            Self::Apps => "the name of an app, or an array of names",
            Self::Variables => "a table of variables",
        }
    }
}

/// One key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) scope: Scope,
    pub(crate) kind: Kind,
    /// Whether several values may stand in an array.
    pub(crate) repeats: bool,
    /// The value as the command line writes it: `TIME`, `auto|shared`.
    pub(crate) form: String,
    /// The words that are valid, where there are few: first those of the form.
    pub(crate) choices: Vec<String>,
    /// Under which heading the help has it.
    pub(crate) heading: String,
    /// What it means.
    pub(crate) meaning: String,
    /// What holds where it is not given.
    pub(crate) default: Option<String>,
}

/// Keys of which two apps cannot have the same value, or which make one of the other.
const OF_ONE_APP: [&str; 3] = ["listen", "port", "private-port"];

/// Keys of the primary, whatever it runs.
const OF_PRIMARY: [&str; 3] = ["name", "control", "log-format"];

/// The tables of a file, which are no keys of an app.
pub(crate) const APP: &str = "app";
pub(crate) const PROFILE: &str = "profile";
pub(crate) const COMMAND: &str = "command";
pub(crate) const AFTER: &str = "after";
pub(crate) const ENV: &str = "env";

/// All keys, and the definition that judges their values.
#[derive(Debug)]
pub(crate) struct Keys {
    all: Vec<Key>,
    definition: clap::Command,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let definition = args::run::definition();
        let options = definition.get_arguments().filter(|arg| !arg.is_hide_set());
        let all = own().into_iter().chain(options.filter_map(key)).collect();
        Self { all, definition }
    }

    pub(crate) fn all(&self) -> &[Key] {
        &self.all
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Key> {
        self.all.iter().find(|key| key.name == name)
    }

    /// What is wrong with a value by itself.
    pub(crate) fn fault(&self, word: &OsStr) -> Option<ValueFault> {
        args::faults::of_value(&self.definition.clone().try_get_matches_from([word]).err()?)
    }

    /// What is wrong with all words together: the option that is meant, and why.
    pub(crate) fn conflict<S: AsRef<OsStr>>(&self, words: &[S]) -> Option<(String, String)> {
        let words = words.iter().map(AsRef::as_ref);
        args::faults::of_set(&self.definition.clone().try_get_matches_from(words).err()?)
    }
}

/// What a command line says in another way.
fn own() -> [Key; 2] {
    let key = |name: &str, kind, form: &str, meaning: &str| Key {
        name: name.to_owned(),
        scope: Scope::App,
        kind,
        repeats: false,
        form: form.to_owned(),
        choices: Vec::new(),
        heading: "Program".to_owned(),
        meaning: meaning.to_owned(),
        default: None,
    };
    [
        key(
            COMMAND,
            Kind::Command,
            "COMMAND",
            "The program and its arguments: one string, whose words are split as a shell would, or an array of words. No \
             shell runs it: nothing is expanded",
        ),
        key(
            AFTER,
            Kind::Apps,
            "APP",
            "The apps that have to be ready before this one starts; they stop after it",
        ),
    ]
}

fn key(arg: &clap::Arg) -> Option<Key> {
    let name = arg.get_long()?.to_owned();
    let form: String =
        arg.get_value_names().unwrap_or_default().iter().map(clap::builder::Str::as_str).collect();
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let kind = match (name.as_str(), is_flag, arg.get_possible_values().is_empty()) {
        (ENV, ..) => Kind::Variables,
        (_, true, _) => Kind::Flag,
        (_, _, false) => Kind::Choice,
        (_, _, true) => kind(&form),
    };
    let choices = if kind == Kind::Choice { choices(arg) } else { Vec::new() };
    let heading = arg.get_help_heading().unwrap_or_default().to_owned();
    let (meaning, default) = split_default(&arg.get_help().map(ToString::to_string).unwrap_or_default());
    let default = if is_flag { Some("false".to_owned()) } else { default };
    let scope = match name.as_str() {
        name if OF_PRIMARY.contains(&name) => Scope::Primary,
        name if OF_ONE_APP.contains(&name) => Scope::App,
        _ => Scope::Any,
    };
    let repeats = matches!(arg.get_action(), ArgAction::Append);
    let form = if is_flag { "true|false".to_owned() } else { form };
    Some(Key { name, scope, kind, repeats, form, choices, heading, meaning, default })
}

/// Its words, and then other names for the same.
fn choices(arg: &clap::Arg) -> Vec<String> {
    let values = arg.get_possible_values();
    let names = values.iter().map(clap::builder::PossibleValue::get_name);
    let aliases = values.iter().flat_map(|value| value.get_name_and_aliases().skip(1));
    names.chain(aliases).map(str::to_owned).collect()
}

/// What the name of an option's value says of its form.
fn kind(form: &str) -> Kind {
    match form {
        "P" => Kind::Port,
        "TIME" | "TIME|off" => Kind::Time,
        "SIZE" => Kind::Size,
        "COUNT" | "N|auto" => Kind::Count,
        "CODE,..." => Kind::Codes,
        _ => Kind::Text,
    }
}

/// A help's text ends with `[default: …]`, where there is one. What only a command line has to be told goes.
fn split_default(help: &str) -> (String, Option<String>) {
    let (meaning, default) = match help.split_once(" [default: ") {
        Some((meaning, default)) => (meaning, Some(default.trim_end_matches(']').replace("--", ""))),
        None => (help, None),
    };
    let meaning = meaning.replace("; may be repeated", "").replace("--", "");
    (
        meaning
            .replace("A variable for", "Variables of")
            .replace("A file of such variables", "Files of such variables"),
        default,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_run_is_a_key_and_every_key_but_two_is_an_option() {
        let keys = Keys::new();
        let definition = args::definition();
        let run = definition.find_subcommand("run").unwrap();
        let only_words = ["detach", "json", "file", "profile", "help"];
        for arg in run.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let Some(long) = arg.get_long() else { continue };
            assert_ne!(keys.find(long).is_some(), only_words.contains(&long), "{long}");
        }
        for key in keys.all() {
            let is_option = run.get_arguments().any(|arg| arg.get_long() == Some(&key.name));
            assert_ne!(is_option, [COMMAND, AFTER].contains(&key.name.as_str()), "{}", key.name);
        }
    }

    #[test]
    fn the_name_of_a_value_says_its_form() {
        for key in Keys::new().all().iter().filter(|key| key.kind == Kind::Text) {
            let free = [
                "name",
                "control",
                "listen",
                "intensity",
                "ready",
                "live",
                "recycle-at",
                "stop-signal",
                "env-file",
                "cwd",
            ];
            assert!(free.contains(&key.name.as_str()), "{} is of the form {}", key.name, key.form);
        }
    }

    #[test]
    fn every_key_says_what_it_means_and_none_speaks_of_repeating_options() {
        for key in Keys::new().all() {
            assert!(key.meaning.len() > 10, "{}", key.name);
            assert!(!key.meaning.contains("repeated") && !key.meaning.contains("--"), "{}", key.meaning);
            assert!(!key.form.is_empty() || key.kind == Kind::Flag, "{}", key.name);
        }
    }

    #[test]
    fn the_words_of_a_choice_are_valid_and_no_others() {
        let keys = Keys::new();
        for key in keys.all().iter().filter(|key| key.kind == Kind::Choice) {
            assert!(!key.form.contains('|') || key.choices.join("|").starts_with(&key.form), "{}", key.name);
            for word in &key.choices {
                assert!(keys.fault(format!("--{}={word}", key.name).as_ref()).is_none(), "{word}");
            }
            assert!(keys.fault(format!("--{}=xyzzy", key.name).as_ref()).is_some(), "{}", key.name);
        }
    }
}
