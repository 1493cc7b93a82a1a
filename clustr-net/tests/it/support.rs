//! What tests of descriptors need: a process of one's own, and a count.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::{Resource, Rlimit};

/// Runs a test in a process of its own, where no other test opens descriptors. In that process, returns true: the
/// test then runs its body; in the first process, returns false once the other has passed.
///
/// `test` is the test's path in this binary, as in `scm::nothing_leaks`.
pub(crate) fn alone(test: &str) -> bool {
    const MARK: &str = "CLUSTR_TEST_ALONE";
    if std::env::var_os(MARK).is_some_and(|name| name == test) {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(MARK, test)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} alone: {}\n{out}\n{err}", output.status);
    assert!(out.contains("1 passed"), "no test is called {test}:\n{out}");
    false
}

/// How many descriptors this process has open.
pub(crate) fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Lowers the limit, and takes all descriptors but a few.
pub(crate) fn leave_room_for(room: usize) -> Vec<OwnedFd> {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();
    let any = UnixStream::pair().unwrap().0;
    let mut filler: Vec<_> = std::iter::from_fn(|| any.as_fd().try_clone_to_owned().ok()).collect();
    filler.truncate(filler.len() - room);
    filler.push(any.into());
    filler
}
