//! Where a command is: what a shell does with `PATH`, with better words when it fails.
//!
//! Owns nothing. Called before the first worker starts, so that a typing mistake is one clear error, and again at
//! each spawn, so that a program that was replaced or moved is found where it is then.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Why a command cannot be started.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum LookupError {
    /// A command without a slash is in no folder of `PATH`.
    #[error("command not found: '{0}' is in no folder of PATH")]
    NotInPath(String),
    /// A path at which there is nothing.
    #[error("command not found: there is no '{0}'")]
    Missing(String),
    /// It is there and may not be executed.
    #[error("'{0}' is not executable")]
    NotExecutable(String),
    /// It is there and is a folder.
    #[error("'{0}' is a folder, not a program")]
    Folder(String),
    /// A name with a zero byte.
    #[error("the command holds a zero byte")]
    ZeroByte,
}

impl LookupError {
    /// Something to type.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NotInPath(name) if Path::new(name).is_file() => {
                Some(format!("there is a file of that name here: ./{name}"))
            }
            Self::NotExecutable(path) => Some(format!("chmod +x {path}")),
            Self::NotInPath(_) | Self::Missing(_) | Self::Folder(_) | Self::ZeroByte => None,
        }
    }
}

/// Finds the program for `command`, as seen from `cwd`, in the folders of `path`.
pub(crate) fn lookup(
    command: &OsStr,
    cwd: Option<&Path>,
    path: Option<&OsStr>,
) -> Result<CString, LookupError> {
    if command.as_bytes().contains(&b'/') {
        let whole = cwd.map_or_else(|| PathBuf::from(command), |cwd| cwd.join(command));
        return examine(&whole);
    }
    let mut refused = None;
    for folder in std::env::split_paths(path.unwrap_or_else(|| OsStr::new("/usr/local/bin:/usr/bin:/bin"))) {
        match examine(&folder.join(command)) {
            Ok(found) => return Ok(found),
            // A folder of that name is no program, in a shell either.
            Err(LookupError::Missing(_) | LookupError::Folder(_)) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| LookupError::NotInPath(command.to_string_lossy().into_owned())))
}

/// Whether this very path can be executed.
pub(crate) fn examine(path: &Path) -> Result<CString, LookupError> {
    let shown = path.display().to_string();
    let Ok(found) = std::fs::metadata(path) else {
        return Err(LookupError::Missing(shown));
    };
    if found.is_dir() {
        return Err(LookupError::Folder(shown));
    }
    access(path, Access::EXEC_OK).map_err(|_| LookupError::NotExecutable(shown))?;
    CString::new(path.as_os_str().as_bytes()).map_err(|_| LookupError::ZeroByte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn find(command: &str, path: &Path) -> Result<CString, LookupError> {
        lookup(OsStr::new(command), None, Some(path.as_os_str()))
    }

    #[test]
    fn a_command_is_found_in_the_path_and_a_mistake_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("tool");
        std::fs::write(&tool, "#!/bin/sh\n").unwrap();
        assert!(matches!(find("tool", folder.path()), Err(LookupError::NotExecutable(_))));
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("tool", folder.path()).unwrap().as_bytes(), tool.as_os_str().as_bytes());
        assert!(matches!(find("tol", folder.path()), Err(LookupError::NotInPath(_))));
        assert!(matches!(find("/nowhere/tool", folder.path()), Err(LookupError::Missing(_))));
    }

    #[test]
    fn a_path_is_seen_from_the_workers_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let found = lookup(OsStr::new("./sub"), Some(folder.path()), None);
        assert!(matches!(found, Err(LookupError::Folder(_))));
    }
}
