//! What two versions differ in, in the words of the control protocol.
//!
//! Owns the comparison that the request `difference` is answered with. Of variables it tells names, never values. Changes nothing.

use std::ffi::OsStr;
use std::path::Path;

use super::{Mark, Version};
use crate::control::protocol::{Change, Difference, FileChange, VariableChanges};
use crate::process::Launcher;

impl Version {
    /// What would be different if `to` served instead.
    pub(super) fn difference(&self, to: &Self) -> Difference {
        let mut difference = Difference {
            command: changed(self.command(), to.command()),
            files: self.files_since(),
            ..Difference::default()
        };
        match (&self.launcher, &to.launcher) {
            (Ok(old), Ok(new)) => {
                difference.program = changed(program(old), program(new));
                difference.folder = changed(folder(old), folder(new));
                difference.variables = variables(old, new);
            }
            // A version that cannot be started serves nobody, so `from` is never one.
            (Err(_), Ok(_)) => {}
            (_, Err(broken)) => {
                difference.error = Some(broken.error.clone());
                difference.hint.clone_from(&broken.hint);
            }
        }
        difference
    }

    fn command(&self) -> Vec<String> {
        self.program.command.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// The files of this generation that are not what they were when it began.
    fn files_since(&self) -> Vec<FileChange> {
        let marks = self.env_marks.iter().chain(&self.marks);
        let change = |mark: &Mark| {
            let change = match Mark::of(&mark.path) {
                Some(now) if now == *mark => return None,
                Some(_) => "replaced",
                None => "gone",
            };
            Some(FileChange { path: text(&mark.path), change: change.into() })
        };
        marks.filter_map(change).collect()
    }
}

fn changed<T: PartialEq>(from: T, to: T) -> Option<Change<T>> {
    (from != to).then_some(Change { from, to })
}

fn program(launcher: &Launcher) -> String {
    launcher.program_path().map(|path| text(&path)).unwrap_or_default()
}

/// As workers find it: the primary's own, where it is not said.
fn folder(launcher: &Launcher) -> String {
    let own = || std::env::current_dir().unwrap_or_default();
    text(&launcher.cwd().map_or_else(own, Path::to_path_buf))
}

fn variables(old: &Launcher, new: &Launcher) -> VariableChanges {
    let name = |(name, _): (&std::ffi::OsString, _)| name.to_string_lossy().into_owned();
    let (before, after) = (old.variables(), new.variables());
    let is_changed = |name: &OsStr| before.get(name).is_some_and(|was| after.get(name) != Some(was));
    VariableChanges {
        added: after.iter().filter(|(name, _)| !before.contains_key(*name)).map(name).collect(),
        changed: after.iter().filter(|(name, _)| is_changed(name)).map(name).collect(),
        removed: before.iter().filter(|(name, _)| !after.contains_key(*name)).map(name).collect(),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
