//! Bytes in any pieces, whole lines out.
//!
//! Owns the buffer of what has arrived and its bound. Never looks into a line. Called by `message::Decoder` and
//! `worker::Worker`.

use std::ops::Range;

/// The longest line that is read, in bytes: a `process.send` of 16 MiB. A worker that sends more is cut off.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// Above this, the room of a long line is given back once the line is gone.
const KEPT_BYTES: usize = 64 << 10;

/// The buffer between reads and lines.
///
/// Bound: the longest line and one push, as long as the caller takes all lines between pushes.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// Where the unread part of `buffer` starts.
    start: usize,
    /// How far `buffer` was searched for a line feed.
    searched: usize,
    /// How many bytes of the stream lie before `start`.
    taken: u64,
    line_max: usize,
}

/// One step of reading.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Line<'a> {
    /// A line without its line feed, and where in the stream it and its line feed lie.
    Whole(&'a [u8], Range<u64>),
    /// No whole line is there.
    None,
    /// The line is too long. It stays so.
    TooLong,
}

impl Lines {
    pub(crate) const fn new(line_max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, searched: 0, taken: 0, line_max }
    }

    /// Adds what has arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> Line<'_> {
        let fresh = &self.buffer[self.searched..];
        let Some(at) = fresh.iter().position(|&byte| byte == b'\n') else {
            self.searched = self.buffer.len();
            let too_long = self.buffer.len() - self.start > self.line_max;
            return if too_long { Line::TooLong } else { Line::None };
        };
        let (start, end) = (self.start, self.searched + at);
        if end - start > self.line_max {
            return Line::TooLong; // Not taken: the next call says the same.
        }
        let first = self.taken;
        self.start = end + 1;
        self.searched = self.start;
        self.taken += (self.start - start) as u64;
        Line::Whole(&self.buffer[start..end], first..self.taken)
    }

    /// How many bytes have arrived in all.
    pub(crate) fn received(&self) -> u64 {
        self.taken + self.waiting() as u64
    }

    /// How many bytes wait for the end of their line.
    pub(crate) fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_whatever_the_pieces_were() {
        let mut lines = Lines::new(10);
        lines.push(b"ab\nc");
        assert_eq!(lines.next(), Line::Whole(b"ab", 0..3));
        assert_eq!(lines.next(), Line::None);
        lines.push(b"d\n\n");
        assert_eq!(lines.next(), Line::Whole(b"cd", 3..6));
        assert_eq!(lines.next(), Line::Whole(b"", 6..7));
        assert_eq!(lines.next(), Line::None);
        assert_eq!((lines.received(), lines.waiting()), (7, 0));
    }

    #[test]
    fn a_line_of_the_limit_passes_and_a_longer_one_never_does() {
        let mut lines = Lines::new(3);
        lines.push(b"abc\nabcd");
        assert_eq!(lines.next(), Line::Whole(b"abc", 0..4));
        assert_eq!(lines.next(), Line::TooLong);
        lines.push(b"\nx\n");
        assert_eq!(lines.next(), Line::TooLong);
        assert_eq!(lines.next(), Line::TooLong);
    }

    #[test]
    fn a_long_line_does_not_keep_its_room() {
        let mut lines = Lines::new(LINE_BYTES_MAX);
        lines.push(&vec![b'x'; KEPT_BYTES * 4]);
        lines.push(b"\n");
        assert!(matches!(lines.next(), Line::Whole(..)));
        lines.push(b"y");
        assert!(lines.buffer.capacity() <= KEPT_BYTES);
    }
}
