//! Files that say what to run: `clustr.toml`, a Procfile, PM2's `ecosystem.config.json`.
//!
//! Owns which file is read, and what comes of it whatever its form: apps, each as words of the command line, so that a file can
//! say what options can, and nothing else. Never starts anything. Called by `run`, `check` and `apply`.

#[cfg(test)]
mod agreement;
mod command_line;
mod document;
mod ecosystem;
pub(crate) mod keys;
mod layer;
mod order;
mod procfile;
#[cfg(test)]
mod reference;
pub(crate) mod schema;
pub(crate) mod source;
pub(crate) mod starting;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clustr_core::PolicyError;
use clustr_supervisor::StartError;

use crate::failure::{Failure, Report, Saying, Usage};
use keys::Keys;
use source::{Fault, Source};

/// The file that is read where none is named.
pub(crate) const STANDARD: &str = "clustr.toml";

/// Files of others, which are read where that one is not there: foreman's, and PM2's.
const PROCFILE: &str = "Procfile";
const ECOSYSTEM: &str = "ecosystem.config.json";

/// What a file wants to run.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) source: Source,
    /// The primary's name, where it has several apps.
    pub(crate) name: Option<String>,
    /// In the order of their start.
    pub(crate) apps: Vec<App>,
    /// What a file of others says that has no counterpart here.
    pub(crate) notes: Vec<String>,
}

/// One app of it.
#[derive(Debug)]
pub(crate) struct App {
    /// Its name, if the file gives it one.
    pub(crate) name: Option<String>,
    pub(crate) command: Vec<OsString>,
    /// Its options, as words of a command line.
    pub(crate) words: Vec<OsString>,
    /// The apps that have to be ready before it starts.
    pub(crate) after: Vec<String>,
    /// Where each key stands, for whoever finds something wrong with it later; under "" the app itself.
    places: BTreeMap<String, Range<usize>>,
}

impl Wanted {
    /// Reads a file, which is called in words as it was `typed`.
    ///
    /// # Errors
    /// It cannot be read, or says what makes no sense: all of it at once.
    pub(crate) fn read(path: &Path, typed: &Path, profile: Option<&str>) -> Result<Self, Failure> {
        let source = Source::read(path, typed)?;
        let keys = Keys::new();
        let document = match Form::of(path, typed)? {
            Form::Toml => document::read(&source.text, &keys, profile),
            Form::Ecosystem => ecosystem::read(&source, &keys, profile),
            Form::Procfile => match profile {
                Some(_) => Err(vec![Fault::of_all("a Procfile has no profiles")]),
                None => procfile::read(&source.text, path.with_file_name(".env").is_file()),
            },
        };
        match document {
            Ok(document::Document { name, apps, notes }) => Ok(Self { source, name, apps, notes }),
            Err(faults) => Err(source.refuse(faults)),
        }
    }
}

/// In which form a file is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Toml,
    Procfile,
    Ecosystem,
}

impl Form {
    /// By its name.
    fn of(path: &Path, typed: &Path) -> Result<Self, Failure> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match &*ending {
            "toml" => return Ok(Self::Toml),
            "json" => return Ok(Self::Ecosystem),
            _ if name.starts_with(PROCFILE) => return Ok(Self::Procfile),
            _ => {}
        }
        let (detail, hint) = match &*ending {
            "js" | "cjs" | "mjs" => (
                "it is a program, which clustr does not run",
                format!("node -p 'JSON.stringify(require(\"./{name}\"))' > {ECOSYSTEM}",),
            ),
            "yml" | "yaml" => ("YAML is not read", "clustr init".to_owned()),
            _ => (
                "its name ends neither in .toml nor in .json, and it is no Procfile",
                "clustr init".to_owned(),
            ),
        };
        let what = format!("it is not known how to read '{}'", typed.display());
        Err(Failure::ConfigFile { what, detail: Some(detail.to_owned()), hint: Some(hint) })
    }
}

/// Keys that are told in other ways, or are nobody's to be told: variables may be secrets.
const NO_SETTINGS: [&str; 5] = ["env", "env-file", "workers", "name", "control"];

impl App {
    /// What it is configured with, besides its command, its variables and the number of its workers.
    pub(crate) fn settings(&self) -> BTreeMap<String, String> {
        let mut settings: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in options(&self.words).filter(|(key, _)| !NO_SETTINGS.contains(&key.as_str())) {
            let known = settings.entry(key).or_default();
            let comma = if known.is_empty() { "" } else { ", " };
            *known = format!("{known}{comma}{value}");
        }
        if !self.after.is_empty() {
            settings.insert("after".to_owned(), self.after.join(", "));
        }
        settings
    }

    /// What is wrong with one of its keys beside those of others.
    pub(crate) fn fault(&self, key: &str, what: String) -> Fault {
        let place = self.places.get(key).or_else(|| self.places.get(""));
        Fault { span: place.cloned(), ..Fault::of_all(what) }
    }

    /// What was found wrong with it later, at the place that it is about.
    ///
    /// # Errors
    /// It is not about the file, and stays what it is.
    pub(crate) fn blame(&self, failure: Failure) -> Result<Fault, Failure> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else fails is not about the file")]
        let key = match &failure {
            Failure::EnvFile(_) => Some("env-file"),
            Failure::Cwd(_) => Some("cwd"),
            Failure::Launch(_) => Some("command"),
            Failure::Policy(PolicyError::CapBelowFirst) => Some("backoff-max"),
            Failure::Start(StartError::Control { .. }) => Some("control"),
            Failure::Usage(_) | Failure::Policy(_) | Failure::Start(_) => None,
            _ => return Err(failure),
        };
        let Saying::Error(Report { what, detail, hint, .. }) = failure.saying() else { return Err(failure) };
        let text = detail.map_or_else(|| what.clone(), |detail| format!("{what}: {detail}"));
        let key = key.map(str::to_owned).or_else(|| self.mentioned(&text));
        let place = key.and_then(|key| self.places.get(&key)).or_else(|| self.places.get(""));
        let hint = hint.filter(|hint| hint.starts_with("--")).map(|hint| hint.replace("--", ""));
        Ok(Fault { span: place.cloned(), what: text.replace("--", ""), instead: hint })
    }

    /// The first option of these words that is a key of this app.
    fn mentioned(&self, what: &str) -> Option<String> {
        let options =
            what.split("--").skip(1).map(|rest| rest.split([' ', ',', '=']).next().unwrap_or_default());
        options.map(str::to_owned).find(|option| self.places.contains_key(option))
    }
}

/// `--key=value`, taken apart; of an option without a value, `true`.
fn options(words: &[OsString]) -> impl Iterator<Item = (String, String)> + '_ {
    words.iter().map(|word| {
        let word = word.to_string_lossy().into_owned();
        let (key, value) = word.split_once('=').unwrap_or((&word, "true"));
        (key.trim_start_matches('-').to_owned(), value.to_owned())
    })
}

/// The file that is meant: the one that was named, else the one that is there.
///
/// # Errors
/// There is none.
pub(crate) fn find(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path);
    }
    if let Some(found) = [STANDARD, PROCFILE, ECOSYSTEM].into_iter().find(|name| Path::new(name).exists()) {
        return Ok(found.into());
    }
    Err(Failure::Usage(Usage {
        what: format!("no command is given, and there is no {STANDARD} here"),
        detail: None,
        hint: Some("clustr run -- node app.js, or clustr init".to_owned()),
    }))
}
