//! A question that is a command: its process, and its last words.
//!
//! Owns the process and the pipe that is its standard error. Never waits for its end: whoever calls has it watched. What
//! it says is read and thrown away but for the end, so that it neither blocks nor fills anything. Called by `attempt`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use clustr_core::Exit;

use super::course::Verdict;
use crate::process::Process;
use crate::signals;

/// Bound: what is kept of its last words, and reads in one turn.
const WORDS_BYTES_MAX: usize = 256;
const READS_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Command {
    process: Process,
    stderr: OwnedFd,
    words: Vec<u8>,
}

impl Command {
    pub(super) const fn new(process: Process, stderr: OwnedFd) -> Self {
        Self { process, stderr, words: Vec::new() }
    }

    pub(super) const fn process(&self) -> &Process {
        &self.process
    }

    pub(super) fn stderr(&self) -> BorrowedFd<'_> {
        self.stderr.as_fd()
    }

    /// Reads what it says; says whether there may be more.
    pub(super) fn hear(&mut self) -> bool {
        let mut buffer = [0; 4096];
        for _ in 0..READS_MAX {
            match rustix::io::read(&self.stderr, &mut buffer) {
                Ok(count) if count > 0 => self.keep(&buffer[..count]),
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.words.extend_from_slice(bytes);
        let surplus = self.words.len().saturating_sub(WORDS_BYTES_MAX);
        self.words.drain(..surplus);
    }

    /// What it came to, once it has ended. Everything that it started ends with it.
    pub(super) fn verdict(&mut self) -> Option<Verdict> {
        let exit = match self.process.reap() {
            Ok(None) => return None,
            Ok(Some(exit)) => exit,
            Err(error) => {
                return Some(Verdict::Unasked(format!("nobody knows how the command ended: {error}")));
            }
        };
        self.hear();
        let how = match exit {
            Exit::Code(0) => return Some(Verdict::Good),
            Exit::Code(code) => format!("exit code {code}"),
            Exit::Signal { number, .. } => signals::name(number),
        };
        Some(Verdict::Bad(self.last_line().map_or_else(|| how.clone(), |line| format!("{how}: {line}"))))
    }

    fn last_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.words);
        let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
        Some(line.chars().filter(|letter| !letter.is_control()).collect())
    }

    /// Takes it down with all that it started.
    pub(super) fn kill(&self) {
        self.process.kill_tree();
    }

    /// The same for one that nobody can watch; waits for its end.
    pub(super) fn destroy(&self) {
        self.process.destroy();
    }

    /// Waits for the end of a killed one, but not for one that hangs in the kernel.
    pub(super) fn bury(&mut self) {
        self.process.bury();
    }
}
