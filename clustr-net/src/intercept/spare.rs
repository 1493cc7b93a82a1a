//! A second name for the file of a common Unix socket.
//!
//! Owns the hard link, and both names at the end. Never binds. Called by `responder`.
//!
//! Most programs remove the path before they bind it, and some when they end; either would leave the socket that all
//! workers have without a name, though it still listens. A link beside it brings the name back.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The path of a socket, and where it is kept.
#[derive(Debug)]
pub(super) struct Spare {
    path: PathBuf,
    aside: PathBuf,
    identity: (u64, u64),
}

impl Spare {
    /// Gives the socket at this path a second name.
    ///
    /// # Errors
    ///
    /// There is no socket, or link(2) refuses: another's file, or a file system without links.
    pub(super) fn beside(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        if !found.file_type().is_socket() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".clustr-{}", std::process::id()));
        let aside = PathBuf::from(aside);
        match fs::hard_link(path, &aside) {
            // One of ours from before: our number is nobody else's.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&aside)?;
                fs::hard_link(path, &aside)?;
            }
            other => other?,
        }
        Ok(Self { path: path.to_owned(), aside, identity: (found.dev(), found.ino()) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the name back if there is nothing by it.
    pub(super) fn restore(&self) {
        // Somebody else's file stays; without a link, whoever connects is refused, as without us.
        let _ = fs::hard_link(&self.aside, &self.path);
    }

    fn is_ours(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
    }
}

impl Drop for Spare {
    /// Nobody listens there any more.
    fn drop(&mut self) {
        for path in [&self.path, &self.aside] {
            if self.is_ours(path) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_name_that_was_removed_comes_back_and_goes_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let spare = Spare::beside(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(UnixStream::connect(&path).is_err());
        spare.restore();
        spare.restore();
        UnixStream::connect(&path).unwrap();
        drop(spare);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn anothers_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let spare = Spare::beside(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another").unwrap();
        spare.restore();
        drop(spare);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another");
        assert!(Spare::beside(&path).is_err());
    }
}
