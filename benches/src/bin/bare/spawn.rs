//! Primaries of programs that share nothing: fork, exec, and nothing else.
//!
//! Owns two loops: many at once, and one again and again.

use std::ffi::CString;
use std::os::fd::AsFd;

use clustr_benches::sys;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::text;

/// Starts so many, then waits for the end of the first.
pub(crate) fn all(count: usize, program: &str, argument: &str) -> Result<(), String> {
    let (program, argument) = (c_text(program)?, c_text(argument)?);
    let mut started = Vec::with_capacity(count);
    for _ in 0..count {
        started.push(sys::spawn(&program, &argument).map_err(text)?);
    }
    if let Some((_, first)) = started.first() {
        waitid(WaitId::PidFd(first.as_fd()), WaitIdOptions::EXITED).map_err(text)?;
    }
    Ok(())
}

/// Starts a program again whenever it ends.
pub(crate) fn again_and_again(program: &str, argument: &str) -> Result<(), String> {
    let (program, argument) = (c_text(program)?, c_text(argument)?);
    loop {
        let (_pid, pidfd) = sys::spawn(&program, &argument).map_err(text)?;
        waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).map_err(text)?;
    }
}

fn c_text(word: &str) -> Result<CString, String> {
    CString::new(word).map_err(text)
}
