//! The descriptors that the process was started with.
//!
//! Owns the moment of taking them over: found in `/proc/self/fd`, owned, and closed on the next `exec` unless
//! somebody passes them on. Never looks inside them. Called once by a program's first lines, before it opens or
//! starts anything.
//!
//! What came through `exec` is recognised by a mark that cannot lie: `exec` closes everything that has the
//! close-on-exec flag, so what survived it has none, and all of Rust's standard library, mio and rustix set it on
//! everything that they open. Taking sets the flag too: a second call finds nothing. Code in another language that
//! opens descriptors without the flag must therefore not run before.

use std::fs;
use std::io;
use std::ops::RangeBounds;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::FdFlags;

use crate::sys;

/// The first descriptor number that is not standard input, output or error.
pub const FIRST: u32 = 3;

/// Takes the inherited descriptors whose numbers are in `range`, in order of number.
///
/// ```
/// // Whatever a supervisor or a shell left open for us, beyond the standard three:
/// for (number, fd) in clustr_net::inherited::take(clustr_net::inherited::FIRST..)? {
///     println!("fd {number}: {fd:?}");
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// `/proc` is not mounted or cannot be read.
#[doc(alias = "LISTEN_FDS")]
pub fn take(range: impl RangeBounds<u32>) -> io::Result<Vec<(u32, OwnedFd)>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    numbers.retain(|number| range.contains(number));
    numbers.sort_unstable();
    let owned = numbers.into_iter().filter_map(|number| Some((number, claim(number).ok()?)));
    Ok(owned.collect())
}

/// Takes one inherited descriptor.
///
/// # Errors
///
/// `NotFound` if the number is not open, or is no inherited descriptor (it has the close-on-exec flag).
pub fn claim(number: u32) -> io::Result<OwnedFd> {
    let fd = sys::adopt_inherited(number)?;
    rustix::io::fcntl_setfd(fd.as_fd(), FdFlags::CLOEXEC)?;
    Ok(fd)
}
