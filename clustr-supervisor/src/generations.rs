//! What each generation is: which program, found where, with which variables, in which folder.
//!
//! Owns a launcher for each generation that a worker may still be started from, and what reloads carry that have not
//! begun yet. Never decides when one begins, or what is started from it. Called by `execute`, `start` and `requests`.
//!
//! A generation is pinned when it begins: its working folder and the program's folder are what symbolic links led to
//! then, so that a worker of it that is started later is of the same release. What an argument names is not: where
//! such a file, or the program, was replaced meanwhile, the core is told that the generation is lost.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clustr_core::{Generation, Ticket};

use crate::config::{FreshEnv, Program};
use crate::control::protocol::Difference;
use crate::error::StartError;
use crate::process::{Launcher, SpawnError};

type Variables = Vec<(OsString, OsString)>;

/// What a reload is to change; what it does not name stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// Variables, added or changed.
    pub(crate) env: Variables,
    /// The command and its arguments, if they are others.
    pub(crate) command: Vec<OsString>,
}

/// All that may still be started.
#[derive(Debug)]
pub(crate) struct Generations {
    known: BTreeMap<Generation, Version>,
    wishes: BTreeMap<Ticket, Wish>,
    /// The variables that the app was given at first.
    env: Variables,
    fresh_env: Option<FreshEnv>,
    /// The primary's own folder as a person wrote it, links and all.
    folder: Option<PathBuf>,
    nofile: (u64, u64),
}

/// One generation.
#[derive(Debug)]
struct Version {
    /// As it was asked for: what the next one is made from.
    program: Program,
    /// What reloads have changed in the variables since the beginning.
    changes: Variables,
    launcher: Result<Launcher, Broken>,
    marks: Vec<Mark>,
    /// Those of the files of variables: another one is no reason why this generation could not be started again.
    env_marks: Vec<Mark>,
}

/// A generation that cannot be started at all, because of this.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) error: String,
    pub(crate) hint: Option<String>,
}

/// A file by which it is seen that a generation was replaced in its place: stat(2).
#[derive(Debug, Eq, PartialEq)]
struct Mark {
    path: PathBuf,
    seen: (u64, u64, i64, i64, u64),
}

impl Generations {
    /// The first generation; its program is found, or that it is not is said.
    pub(crate) fn new(
        program: Program,
        fresh_env: Option<FreshEnv>,
        nofile: (u64, u64),
    ) -> Result<Self, StartError> {
        let launcher = launcher(&pinned(program.clone(), None), nofile)?;
        let marks = marks(&launcher, &program);
        let env = program.env.clone();
        let env_marks = env_marks(fresh_env.as_ref());
        let first = Version { program, changes: Vec::new(), launcher: Ok(launcher), marks, env_marks };
        let known = BTreeMap::from([(Generation(1), first)]);
        Ok(Self { known, wishes: BTreeMap::new(), env, fresh_env, folder: own_folder(), nofile })
    }

    /// A reload was asked for, and carries this until it begins.
    pub(crate) fn keep(&mut self, ticket: Ticket, wish: Wish) {
        self.wishes.insert(ticket, wish);
    }

    /// A command was answered for good: what it carried has begun, or never will.
    pub(crate) fn drop_wish(&mut self, ticket: Ticket) {
        self.wishes.remove(&ticket);
    }

    /// This number means from now on what the ticket carried, on top of what `from` is. Returns the file by which it is
    /// seen that `from` cannot be started again, if there is one.
    pub(crate) fn begin(&mut self, ticket: Ticket, to: Generation, from: Generation) -> Option<PathBuf> {
        let wish = self.wishes.remove(&ticket).unwrap_or_default();
        let version = self.make(wish, from);
        self.known.insert(to, version);
        let marks = self.known.get(&from).map_or(&[] as &[Mark], |version| &version.marks);
        marks.iter().find(|mark| Mark::of(&mark.path).as_ref() != Some(mark)).map(|mark| mark.path.clone())
    }

    /// What a reload that carries this would change, beside the generation `from`, which serves.
    pub(crate) fn difference(&self, wish: Wish, from: Generation) -> Difference {
        let to = self.make(wish, from);
        let since = self.known.get(&from).map(|version| version.difference(&to)).unwrap_or_default();
        Difference { generation: from.0, ..since }
    }

    /// Nobody will be started from it any more.
    pub(crate) fn forget(&mut self, generation: Generation) {
        self.known.remove(&generation);
    }

    /// What starts its workers.
    pub(crate) fn launcher(&self, generation: Generation) -> Result<&Launcher, SpawnError> {
        let version = self.known.get(&generation).expect("a generation begins before it is started from");
        version.launcher.as_ref().map_err(|broken| SpawnError::Generation(broken.clone()))
    }

    /// The command of a generation, as it was given.
    pub(crate) fn command(&self, generation: Generation) -> Vec<String> {
        let words = self.known.get(&generation).map_or(&[] as &[OsString], |one| &one.program.command);
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    fn make(&self, wish: Wish, from: Generation) -> Version {
        let base = self.known.get(&from);
        let mut changes = base.map(|base| base.changes.clone()).unwrap_or_default();
        changes.retain(|(name, _)| !wish.env.iter().any(|(changed, _)| name == changed));
        changes.extend(wish.env);
        let mut program = base.map_or_else(
            || Program { command: Vec::new(), env: Vec::new(), cwd: None },
            |base| base.program.clone(),
        );
        if !wish.command.is_empty() {
            program.command = wish.command;
        }
        let env_marks = env_marks(self.fresh_env.as_ref());
        let fresh = self.fresh_env.as_ref().map_or_else(|| Ok(self.env.clone()), FreshEnv::read);
        let launcher = fresh.map_err(|error| Broken { error, hint: None }).and_then(|env| {
            program.env = env.into_iter().chain(changes.iter().cloned()).collect();
            let pinned = pinned(program.clone(), self.folder.as_deref());
            launcher(&pinned, self.nofile).map_err(|error| Broken::of(&error))
        });
        let marks = launcher.as_ref().map(|launcher| marks(launcher, &program)).unwrap_or_default();
        Version { program, changes, launcher, marks, env_marks }
    }
}

impl Broken {
    fn of(error: &StartError) -> Self {
        let source = std::error::Error::source(error).map(|source| format!(": {source}"));
        Self { error: format!("{error}{}", source.unwrap_or_default()), hint: error.hint() }
    }
}

impl Mark {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok().filter(Metadata::is_file)?;
        let seen = (found.dev(), found.ino(), found.mtime(), found.mtime_nsec(), found.size());
        Some(Self { path: path.to_owned(), seen })
    }
}

/// The program and the files that its arguments name.
fn marks(launcher: &Launcher, program: &Program) -> Vec<Mark> {
    let from = |word: &OsString| launcher.cwd().map_or_else(|| PathBuf::from(word), |cwd| cwd.join(word));
    let named = program.command.iter().skip(1).map(from);
    launcher.program_path().ok().into_iter().chain(named).filter_map(|path| Mark::of(&path)).collect()
}

fn env_marks(fresh_env: Option<&FreshEnv>) -> Vec<Mark> {
    fresh_env.map(FreshEnv::files).unwrap_or_default().iter().filter_map(|path| Mark::of(path)).collect()
}

/// The same program in the folder to which links lead now. A folder that is not there is told of when it is started.
fn pinned(mut program: Program, folder: Option<&Path>) -> Program {
    let wanted = match (&program.cwd, folder) {
        (Some(cwd), Some(folder)) => Some(folder.join(cwd)),
        (Some(cwd), None) => Some(cwd.clone()),
        (None, folder) => folder.filter(|folder| folder.is_dir()).map(Path::to_owned),
    };
    program.cwd = wanted.map(|path| path.canonicalize().unwrap_or(path));
    program
}

/// This process's folder by the name that a shell keeps for it, if it still is that folder. A process that was started
/// in a link would else stay where the link led then.
fn own_folder() -> Option<PathBuf> {
    let named = PathBuf::from(std::env::var_os("PWD")?);
    let same = |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    let (there, here) = (std::fs::metadata(&named).ok()?, std::fs::metadata(".").ok()?);
    (named.is_absolute() && same(&there, &here)).then_some(named)
}

/// Where a worker's start would find the program now.
pub(crate) fn find_program(program: &Program) -> Result<PathBuf, StartError> {
    Ok(launcher(program, (0, 0))?.named_path()?)
}

fn launcher(program: &Program, nofile: (u64, u64)) -> Result<Launcher, StartError> {
    if program.command.is_empty() {
        return Err(StartError::NoCommand);
    }
    if let Some(path) = &program.cwd {
        let source = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => None,
            Ok(_) => Some(std::io::Error::from(std::io::ErrorKind::NotADirectory)),
            Err(error) => Some(error),
        };
        if let Some(source) = source {
            return Err(StartError::WorkingDirectory { path: path.clone(), source });
        }
    }
    Ok(Launcher::new(program, std::env::vars_os(), nofile)?)
}

mod difference;
#[cfg(test)]
mod tests;
