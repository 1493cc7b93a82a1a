//! Where control sockets live, and who may have them.
//!
//! Owns the runtime folder's rules: `$CLUSTR_RUNTIME_DIR`, else `/run/clustr` for root, else
//! `$XDG_RUNTIME_DIR/clustr`, else `clustr-UID` under the temporary folder (0700, owner checked); and the lock that
//! makes a name belong to one primary. Never removes what is not its own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::clock::millis;

/// The folder of control sockets as it is, for whoever only looks: refused if it is somebody else's. `None` if it is
/// not there: then nobody is.
///
/// # Errors
/// It is not a folder, belongs to another user, or may be written by others.
pub fn existing_runtime_dir() -> io::Result<Option<PathBuf>> {
    let dir = runtime_dir_path();
    match fs::symlink_metadata(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(_) | Err(_) => check_owner(&dir).map(|()| Some(dir)),
    }
}

/// Where the folder of control sockets is, or would be: nothing is looked at.
#[must_use]
pub fn runtime_dir_path() -> PathBuf {
    let uid = rustix::process::geteuid();
    if let Some(dir) = set("CLUSTR_RUNTIME_DIR") {
        return dir;
    }
    if uid.is_root() {
        return PathBuf::from("/run/clustr");
    }
    set("XDG_RUNTIME_DIR")
        .map(|dir| dir.join("clustr"))
        .unwrap_or_else(|| std::env::temp_dir().join(format!("clustr-{}", uid.as_raw())))
}

/// The folder of control sockets, made if it is missing, refused if it is somebody else's.
///
/// # Errors
/// It cannot be made, is not a folder, belongs to another user, or may be written by others.
pub fn runtime_dir() -> io::Result<PathBuf> {
    let dir = runtime_dir_path();
    make(&dir)?;
    Ok(dir)
}

/// The folder of the output of what runs in the background, made if it is missing: `$CLUSTR_STATE_DIR`, else
/// `/var/log/clustr` for root, else `$XDG_STATE_HOME/clustr`, else `~/.local/state/clustr`, else the runtime folder.
///
/// # Errors
/// It cannot be made, is not a folder, belongs to another user, or may be written by others.
pub fn log_dir() -> io::Result<PathBuf> {
    let home = || set("HOME").map(|home| home.join(".local/state"));
    let dir = match set("CLUSTR_STATE_DIR") {
        Some(dir) => dir,
        None if rustix::process::geteuid().is_root() => PathBuf::from("/var/log/clustr"),
        None => match set("XDG_STATE_HOME").or_else(home) {
            Some(state) => state.join("clustr"),
            None => return runtime_dir(),
        },
    };
    make(&dir)?;
    Ok(dir)
}

/// What a variable says, if it says anything.
fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn make(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(named(&error, "could not make", dir)),
    }
    check_owner(dir)
}

/// Somebody who can write into the folder could put a socket of theirs in our place.
fn check_owner(dir: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(dir).map_err(|error| named(&error, "could not look at", dir))?;
    let found = if found.is_symlink() && std::env::var_os("CLUSTR_RUNTIME_DIR").is_some() {
        fs::metadata(dir).map_err(|error| named(&error, "could not follow", dir))?
    } else {
        found
    };
    let refuse = |why: &str| {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("'{}' {why}", dir.display())))
    };
    if !found.is_dir() {
        return refuse("is not a folder");
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return refuse("belongs to another user");
    }
    if found.mode() & 0o022 != 0 {
        return refuse("may be written by other users");
    }
    Ok(())
}

/// The control socket of the primary of this name.
#[must_use]
pub fn socket_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.sock"))
}

/// Every control socket in the folder, by name, live or stale.
///
/// # Errors
/// The folder cannot be read.
pub fn sockets(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_socket = path.extension().is_some_and(|extension| extension == "sock");
        if let Some(name) = path.file_stem().filter(|_| is_socket) {
            found.push((name.to_string_lossy().into_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}

/// The right to a control socket's path, held as long as the primary lives: flock(2) on a file beside it.
#[derive(Debug)]
pub(crate) struct Claim {
    file: File,
    path: PathBuf,
}

/// Who has a path, as far as it could be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holder {
    /// Its process.
    pub pid: Option<u32>,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: Option<u64>,
}

/// Who listens at this control socket; `None`: nobody does. Nothing is locked, so that no primary that starts meanwhile finds
/// its own name held.
#[must_use]
pub fn holder(socket: &Path) -> Option<Holder> {
    UnixStream::connect(socket).ok()?;
    let lock = File::open(lock_path(socket)).ok();
    Some(lock.as_ref().map(Holder::of).unwrap_or_default())
}

/// Why the path cannot be had, or commands cannot be heard there.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Another primary has it.
    Held(Holder),
    /// Something that is no socket is in the way.
    InTheWay,
    Io(io::Error),
}

impl Claim {
    /// Takes the lock beside `socket`: `app.sock.lock`. A primary that was killed left the file, but no lock. A file
    /// that no primary can have written is left alone.
    pub(crate) fn take(socket: &Path) -> Result<Self, OpenError> {
        let path = lock_path(socket);
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            let file =
                options.open(&path).map_err(|error| OpenError::Io(named(&error, "could not open", &path)))?;
            if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
                return Err(if error == rustix::io::Errno::WOULDBLOCK {
                    OpenError::Held(Holder::of(&file))
                } else {
                    OpenError::Io(named(&error.into(), "could not lock", &path))
                });
            }
            // The holder before us may have removed the file between our open and our lock: then we hold nothing.
            if is_still_at(&file, &path) {
                refuse_foreign(&file, &path).map_err(OpenError::Io)?;
                let claim = Self { file, path };
                // Where it cannot be written (a full folder), the file goes with the claim.
                let written = write_pid(&claim.file);
                written.map_err(|error| OpenError::Io(named(&error, "could not write", &claim.path)))?;
                return Ok(claim);
            }
        }
    }
}

impl Holder {
    /// A lock is written once, when it is taken.
    fn of(file: &File) -> Self {
        let written = file.metadata().and_then(|found| found.modified()).ok();
        let since = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(millis);
        Self { pid: read_pid(file), since_unix_ms: since }
    }
}

impl Drop for Claim {
    /// Removes the file while the lock is still held.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

/// A lock holds a pid, or nothing if its primary was killed before it wrote one.
fn refuse_foreign(file: &File, path: &Path) -> io::Result<()> {
    if file.metadata()?.len() == 0 || read_pid(file).is_some() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("'{}' is not a lock of clustr", path.display())))
}

fn is_still_at(file: &File, path: &Path) -> bool {
    let here = file.metadata().map(|found| (found.dev(), found.ino()));
    let there = fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((here, there), (Ok(here), Ok(there)) if here == there)
}

fn write_pid(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn named(error: &io::Error, what: &str, path: &Path) -> io::Error {
    let text = format!("{what} '{}': {error}", path.display());
    io::Error::new(error.kind(), Named { text, errno: error.raw_os_error() })
}

/// An error that names its file, and has not forgotten which one it was.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Named {
    text: String,
    errno: Option<i32>,
}

/// The errno behind an error, whether it names its file or not.
pub(crate) fn errno(error: &io::Error) -> Option<i32> {
    let named = error.get_ref().and_then(|inner| inner.downcast_ref::<Named>());
    error.raw_os_error().or_else(|| named.and_then(|named| named.errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_one_primary_and_is_free_again_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let socket = socket_path(dir.path(), "app");
        let claim = Claim::take(&socket).unwrap();
        assert!(holder(&socket).is_none(), "a lock alone is nobody who listens");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(holder(&socket).and_then(|holder| holder.pid), Some(std::process::id()));
        fs::remove_file(&socket).unwrap();
        let second = Claim::take(&socket);
        assert!(matches!(second, Err(OpenError::Held(holder)) if holder.pid == Some(std::process::id())));
        drop(claim);
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing is left behind");
        drop(Claim::take(&socket).unwrap());
    }

    #[test]
    fn a_lock_file_of_a_killed_primary_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let socket = socket_path(dir.path(), "app");
        fs::write(lock_path(&socket), "999999\n").unwrap();
        drop(Claim::take(&socket).unwrap());
    }

    #[test]
    fn a_file_that_is_no_lock_of_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let socket = socket_path(dir.path(), "app");
        fs::write(lock_path(&socket), "precious = 1\n").unwrap();
        assert!(matches!(Claim::take(&socket), Err(OpenError::Io(_))));
        assert_eq!(fs::read_to_string(lock_path(&socket)).unwrap(), "precious = 1\n");
        fs::remove_file(lock_path(&socket)).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), lock_path(&socket)).unwrap();
        assert!(Claim::take(&socket).is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn sockets_are_listed_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["b.sock", "a.sock", "a.lock"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let names: Vec<String> = sockets(dir.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
