//! A worker's output, cut into lines.
//!
//! Owns one pipe's read end and the line that is not finished yet. Bound: a line of [`LINE_BYTES_MAX`]; a longer one
//! is given out in pieces.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::Origin;
use crate::reactor::Registration;

/// The longest line that is kept whole, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// How much one source may bring in one turn of the loop.
const TURN_BYTES_MAX: usize = 64 * 1024;

/// How many lines a tail keeps, and how long each may be.
const TAIL_LINES_MAX: usize = 24;
const TAIL_LINE_BYTES_MAX: usize = 400;

/// The read end of a worker's pipe.
#[derive(Debug)]
pub(crate) struct Capture {
    pipe: OwnedFd,
    pub(crate) origin: Origin,
    pub(crate) registration: Registration,
    unfinished: Vec<u8>,
}

/// How far one turn of reading came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reading {
    /// Nothing more is there now.
    Drained,
    /// The turn's budget is used up; there may be more.
    More,
    /// Everybody who could write has closed.
    Ended,
}

impl Capture {
    pub(crate) fn new(pipe: OwnedFd, origin: Origin, registration: Registration) -> Self {
        Self { pipe, origin, registration, unfinished: Vec::new() }
    }

    /// Reads what is there, within the turn's budget, and gives out whole lines without their newline.
    pub(crate) fn read(&mut self, mut line: impl FnMut(&[u8])) -> Reading {
        let mut buffer = [0; 8 * 1024];
        let mut budget = TURN_BYTES_MAX;
        while budget > 0 {
            match rustix::io::read(&self.pipe, &mut buffer) {
                Ok(0) => return self.end(line),
                Ok(count) => {
                    cut(&mut self.unfinished, &buffer[..count], &mut line);
                    budget = budget.saturating_sub(count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Reading::Drained,
                Err(_) => return self.end(line),
            }
        }
        Reading::More
    }

    /// Reads and throws away; says how many lines that were.
    pub(crate) fn discard(&mut self) -> (Reading, u64) {
        let mut lines = 0;
        let reading = self.read(|_| lines += 1);
        (reading, lines)
    }

    fn end(&mut self, mut line: impl FnMut(&[u8])) -> Reading {
        if !self.unfinished.is_empty() {
            line(&self.unfinished);
            self.unfinished = Vec::new();
        }
        Reading::Ended
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Cuts `bytes` into lines, the first of which may have begun earlier.
fn cut(unfinished: &mut Vec<u8>, mut bytes: &[u8], line: &mut impl FnMut(&[u8])) {
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let (head, rest) = bytes.split_at(end);
        if unfinished.is_empty() {
            line(head);
        } else {
            unfinished.extend_from_slice(head);
            line(unfinished);
            unfinished.clear();
        }
        bytes = &rest[1..];
    }
    unfinished.extend_from_slice(bytes);
    if unfinished.len() >= LINE_BYTES_MAX {
        line(unfinished);
        unfinished.clear();
    } else if unfinished.is_empty() && unfinished.capacity() > 1024 {
        *unfinished = Vec::new();
    }
}

/// Makes a pipe whose read end does not block. Its write end does, as programs expect of their output.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// The last lines of a worker on both of its outputs, as they came: many programs say on standard output why they fail.
/// Once it is full, it needs no memory any more for further ones.
#[derive(Debug, Default)]
pub(crate) struct Tail(VecDeque<Vec<u8>>);

impl Tail {
    pub(crate) fn push(&mut self, line: &[u8]) {
        let oldest = if self.0.len() == TAIL_LINES_MAX { self.0.pop_front() } else { None };
        let mut kept = oldest.unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(&line[..line.len().min(TAIL_LINE_BYTES_MAX)]);
        self.0.push_back(kept);
    }

    /// The lines, oldest first, without the empty ones.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.0.iter().map(|line| String::from_utf8_lossy(line).into_owned());
        lines.filter(|line| !line.trim().is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut unfinished = Vec::new();
        let mut lines = Vec::new();
        for chunk in chunks {
            cut(&mut unfinished, chunk, &mut |line: &[u8]| lines.push(line.to_vec()));
        }
        (lines, unfinished)
    }

    #[test]
    fn lines_are_whole_however_the_bytes_arrive() {
        let (lines, rest) = lines_of(&[b"one\ntw", b"o\n", b"\nthree"]);
        assert_eq!(lines, [b"one".to_vec(), b"two".to_vec(), b"".to_vec()]);
        assert_eq!(rest, b"three");
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let endless = vec![b'x'; LINE_BYTES_MAX * 3];
        let (lines, rest) = lines_of(&[&endless[..8_000], &endless[8_000..16_500], &endless[16_500..17_000]]);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].len(), 16_500);
        assert_eq!(rest.len(), 500);
    }

    #[test]
    fn a_tail_is_bounded() {
        let mut tail = Tail::default();
        for number in 0..100 {
            tail.push(format!("{number}{}", "y".repeat(9_000)).as_bytes());
        }
        let lines = tail.lines();
        assert_eq!(lines.len(), TAIL_LINES_MAX);
        assert!(lines[0].starts_with("76") && lines[0].len() == TAIL_LINE_BYTES_MAX);
    }
}
