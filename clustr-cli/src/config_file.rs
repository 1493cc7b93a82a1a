//! Files that say what to run: `clustr.toml`, a Procfile, PM2's `ecosystem.config.json`.
//!
//! Owns which file is read, and what comes of it whatever its form: apps, each as words of the command line, so that a file can
//! say what options can, and nothing else. Never starts anything. Called by `run`, `check` and `apply`.

#[cfg(test)]
mod agreement;
mod command_line;
mod document;
pub(crate) mod keys;
mod layer;
mod order;
#[cfg(test)]
mod reference;
pub(crate) mod schema;
pub(crate) mod source;

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

/// What a file wants to run.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) source: Source,
    /// The primary's name, where it has several apps.
    pub(crate) name: Option<String>,
    /// In the order of their start.
    pub(crate) apps: Vec<App>,
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
        match document::read(&source.text, &keys, profile) {
            Ok(document::Document { name, apps }) => Ok(Self { source, name, apps }),
            Err(faults) => Err(source.refuse(faults)),
        }
    }
}

impl App {
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

/// The file that is meant: the one that was named, else the one that is there.
///
/// # Errors
/// There is none.
pub(crate) fn find(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path);
    }
    let standard = PathBuf::from(STANDARD);
    if standard.exists() {
        return Ok(standard);
    }
    Err(Failure::Usage(Usage {
        what: format!("no command is given, and there is no {STANDARD} here"),
        detail: None,
        hint: Some("clustr run -- node app.js, or clustr init".to_owned()),
    }))
}
