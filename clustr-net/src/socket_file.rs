//! The file of a Unix socket: a way to reach it, and its removal.
//!
//! Owns the file that a bind made, by device and inode. Never removes a file that somebody else has put in its place, nor a
//! socket file with a listener.
//! Called by `listener`.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The longest path that fits into `sun_path` with its final NUL byte (unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// A path to a socket that is short enough for the kernel.
#[derive(Debug)]
pub(crate) struct Route {
    path: PathBuf,
    /// Keeps `/proc/self/fd/N` meaning the folder.
    _folder: Option<OwnedFd>,
}

impl Route {
    /// The path itself, or a detour through an open descriptor of its folder if it is too long.
    pub(crate) fn to(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_bytes().len() <= PATH_BYTES_MAX {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let folder =
            rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A socket file that is removed when this is dropped, if it is still the same file.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Remembers the file that a bind has just made. The path is made absolute: the working directory may change.
    pub(crate) fn made_at(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let identity = identity(&path)?;
        Ok(Self { path, identity })
    }

    /// Whether something else is at the path by now. Nothing at all is nobody's.
    pub(crate) fn is_replaced(&self) -> bool {
        match identity(&self.path) {
            Ok(found) => found != self.identity,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Adds permission bits.
    pub(crate) fn add_mode(&self, bits: u32) -> io::Result<()> {
        if bits == 0 {
            return Ok(());
        }
        let mode = fs::symlink_metadata(&self.path)?.permissions().mode();
        fs::set_permissions(&self.path, fs::Permissions::from_mode((mode | bits) & 0o777))
    }

    /// Sets exactly these permission bits.
    pub(crate) fn set_mode(&self, bits: Option<u32>) -> io::Result<()> {
        let set = |bits: u32| fs::set_permissions(&self.path, fs::Permissions::from_mode(bits & 0o777));
        bits.map_or(Ok(()), set)
    }

    /// Gives it to a user, a group, or both.
    pub(crate) fn set_owner(&self, owner: Option<u32>, group: Option<u32>) -> io::Result<()> {
        if owner.is_none() && group.is_none() {
            return Ok(());
        }
        std::os::unix::fs::lchown(&self.path, owner, group)
    }
}

/// Removes a socket file that nobody listens on. `EADDRINUSE` for any other, which stays.
///
/// What was looked at is what is removed: the file is moved aside first, and moved back if it is another one by then.
pub(crate) fn remove_stale(path: &Path) -> io::Result<()> {
    let before = identity(path)?;
    if !fs::symlink_metadata(path)?.file_type().is_socket() || !is_stale(path)? {
        return Err(Errno::ADDRINUSE.into());
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".stale-{}", std::process::id()));
    let aside = PathBuf::from(aside);
    rename_to_nothing(path, &aside)?;
    if identity(&aside)? == before {
        return fs::remove_file(&aside);
    }
    rename_to_nothing(&aside, path)?;
    Err(Errno::ADDRINUSE.into())
}

/// Nobody listens: a connection is refused. Every other answer means somebody, or nothing that we may judge.
fn is_stale(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let route = Route::to(path)?;
    let name = SocketAddrUnix::new(route.path())?;
    Ok(net::connect(&socket, &name) == Err(Errno::CONNREFUSED))
}

/// Never over another file.
fn rename_to_nothing(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // A file that cannot be removed is no reason to fail what is being taken down.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}
