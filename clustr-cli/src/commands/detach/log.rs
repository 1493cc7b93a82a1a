//! The file of output of what runs in the background.
//!
//! Owns where it is, and its last lines since the start, also where the primary has replaced the file meanwhile. Never writes
//! to it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clustr_supervisor::control::place;

use crate::failure::{Background, Failure};

/// How much of the output is shown of a start that failed.
const LAST_LINES_MAX: usize = 24;
const LAST_BYTES_MAX: u64 = 32 * 1024;

/// The file of output, and where this start's begins.
pub(super) struct Log {
    pub(super) path: PathBuf,
    pub(super) file: File,
    begins: u64,
}

/// Beside a control socket that has a place of its own; else by the primary's name.
pub(super) fn path(control: Option<PathBuf>, name: &str) -> Result<PathBuf, Failure> {
    if let Some(mut path) = control {
        path.as_mut_os_string().push(".log");
        return Ok(std::path::absolute(path).map_err(Background::Folder)?);
    }
    Ok(place::log_dir().map_err(Background::Folder)?.join(format!("{name}.log")))
}

impl Log {
    pub(super) fn open(path: PathBuf) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        let opened = options.read(true).append(true).create(true).mode(0o600).open(&path);
        let file = opened.map_err(|error| Background::File(path.clone(), error))?;
        let begins = file.metadata().map_or(0, |found| found.len());
        Ok(Self { path, file, begins })
    }

    /// The last lines since the start. A full file has another name by now, and what came after it stands in a new one.
    pub(super) fn last_lines(&self) -> Option<String> {
        let mut before = self.path.clone();
        before.as_mut_os_string().push(".1");
        // Between its two steps (rename, open) the replacement leaves nobody in the place.
        let is_replaced = std::fs::metadata(&self.path).map_or(true, |found| !self.is_ours(&found));
        let mut bytes = if is_replaced { self.tail(&before).unwrap_or_default() } else { Vec::new() };
        bytes.extend(self.tail(&self.path).unwrap_or_default());
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LAST_LINES_MAX)..];
        (!shown.is_empty()).then(|| shown.join("\n"))
    }

    /// The end of a file, without what stood in it before this start.
    fn tail(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let found = file.metadata()?;
        let begins = if self.is_ours(&found) { self.begins } else { 0 };
        file.seek(SeekFrom::Start(begins.max(found.len().saturating_sub(LAST_BYTES_MAX))))?;
        let mut bytes = Vec::new();
        file.take(LAST_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn is_ours(&self, found: &std::fs::Metadata) -> bool {
        let ours = self.file.metadata();
        ours.is_ok_and(|ours| (ours.dev(), ours.ino()) == (found.dev(), found.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        (folder, path)
    }

    #[test]
    fn what_stood_there_before_the_start_is_not_its_output() {
        let (_folder, path) = place();
        std::fs::write(&path, "an older start\n").unwrap();
        let mut log = Log::open(path).unwrap();
        assert_eq!(log.last_lines(), None);
        log.file.write_all(b"one\ntwo\n").unwrap();
        assert_eq!(log.last_lines().as_deref(), Some("one\ntwo"));
    }

    #[test]
    fn a_file_that_was_replaced_during_the_start_is_read_on_both_sides() {
        let (folder, path) = place();
        std::fs::write(&path, "an older start\n".repeat(1000)).unwrap();
        let mut log = Log::open(path.clone()).unwrap();
        log.file.write_all(b"one\n").unwrap();
        let full = folder.path().join("app.log.1");
        std::fs::rename(&path, &full).unwrap();
        assert_eq!(log.last_lines().as_deref(), Some("one"));
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(log.last_lines().as_deref(), Some("one\ntwo"));
        // And once more: nothing of the file that was opened is left.
        std::fs::rename(&path, &full).unwrap();
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(log.last_lines().as_deref(), Some("two\nthree"));
    }
}
