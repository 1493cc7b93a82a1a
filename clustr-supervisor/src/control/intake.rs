//! A client's bytes, made into requests.
//!
//! Owns the line that is not finished yet, within [`LINE_BYTES_MAX`], and the words for what is no request. Pure: no I/O.
//! Called by a session, and by whoever throws arbitrary bytes at it.

use super::protocol::{LINE_BYTES_MAX, Reply, Request};

/// How much is read at once.
pub const PIECE_BYTES_MAX: usize = 4096;

/// What has arrived and is not understood yet.
#[derive(Debug, Default)]
pub struct Intake {
    bytes: Vec<u8>,
    /// Up to here there is no end of a line.
    searched: usize,
}

/// What a line is.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A request.
    Request(Request),
    /// Nothing that could be asked: the answer to it.
    Nonsense(Box<Reply>),
    /// Longer than a line may be: the answer to it. Nothing after it can be understood.
    TooLong(Box<Reply>),
}

impl Intake {
    /// Adds a piece of what has arrived, of at most [`PIECE_BYTES_MAX`] bytes, once there is no whole line left: with that,
    /// memory is bounded.
    pub fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// The next line, if a whole one is there. Empty lines are nothing, but for those that are too long: whether somebody has
    /// seen their end must not matter.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            let Some(end) = self.end_of_line() else {
                let is_too_long = self.bytes.len() >= LINE_BYTES_MAX;
                return is_too_long.then(|| Line::TooLong(Box::new(too_long())));
            };
            let line: Vec<u8> = self.bytes.drain(..=end).take(end).collect();
            self.searched = 0;
            if self.bytes.is_empty() && self.bytes.capacity() > PIECE_BYTES_MAX {
                self.bytes = Vec::new();
            }
            if line.len() >= LINE_BYTES_MAX || !line.iter().all(u8::is_ascii_whitespace) {
                return Some(understand(&line));
            }
        }
    }

    /// How many bytes wait for the end of their line.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.bytes.len()
    }

    fn end_of_line(&mut self) -> Option<usize> {
        let found = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = found.map(|at| self.searched + at);
        self.searched = self.bytes.len();
        end
    }
}

fn understand(line: &[u8]) -> Line {
    if line.len() >= LINE_BYTES_MAX {
        return Line::TooLong(Box::new(too_long()));
    }
    match serde_json::from_slice(line) {
        Ok(request) => Line::Request(request),
        Err(error) => {
            let hint = Some("{\"id\":1,\"cmd\":\"status\"}");
            let reply = Reply::refused(id_of(line), "bad-request", error.to_string(), hint);
            Line::Nonsense(Box::new(reply))
        }
    }
}

fn too_long() -> Reply {
    Reply::refused(0, "line-too-long", format!("a request has at most {LINE_BYTES_MAX} bytes"), None)
}

/// The number of a request that could not be understood, if at least that can be read.
fn id_of(line: &[u8]) -> u64 {
    #[derive(serde::Deserialize)]
    struct Numbered {
        id: u64,
    }
    serde_json::from_slice(line).map_or(0, |numbered: Numbered| numbered.id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything in `bytes`, as it comes in pieces of this length; the most that has waited.
    fn read(bytes: &[u8], piece: usize) -> (Vec<Line>, usize) {
        let (mut intake, mut lines, mut most) = (Intake::default(), Vec::new(), 0);
        for part in bytes.chunks(piece) {
            intake.push(part);
            most = most.max(intake.waiting());
            while let Some(line) = intake.next_line() {
                let is_end = matches!(line, Line::TooLong(_));
                lines.push(line);
                if is_end {
                    return (lines, most);
                }
            }
        }
        (lines, most)
    }

    /// Arbitrary bytes, and what is nearly a request.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let nearly = prop::sample::select(vec![
            &b"{\"id\":1,\"cmd\":\"status\"}\n"[..],
            b"{\"id\":18446744073709551616,\"cmd\":\"stop\"}\n",
            b"{\"id\":2,\"cmd\":\"scale\",\"by\":-9999999999}\n",
            b"{\"id\":3,\"cmd\":\"reload\",\"env\":{\"A\":null}}\n",
            b"{\"id\":4,\"cmd\":\"send\",\"message\":\"\\ud800\"}\n",
            b"{\"id\":5,\"cmd\":\"signal\",\"signal\":[[[[[[",
            b"{\"id\":6,\"cmd\":",
            b"\n\r\n \n",
            b"\x00\xff\xfe\n",
        ]);
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            nearly.prop_map(<[u8]>::to_vec),
            (any::<u8>(), 0..LINE_BYTES_MAX * 2).prop_map(|(byte, count)| vec![byte; count]),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_or_grow_memory_and_pieces_do_not_matter(
            bytes in bytes(),
            piece in 1..=PIECE_BYTES_MAX,
        ) {
            let (lines, most) = read(&bytes, piece);
            prop_assert!(most < LINE_BYTES_MAX + PIECE_BYTES_MAX, "{}", most);
            prop_assert_eq!(lines, read(&bytes, PIECE_BYTES_MAX).0);
        }
    }

    #[test]
    fn a_request_that_is_too_long_is_the_last_one() {
        let mut long = vec![b'['; LINE_BYTES_MAX];
        long.extend(b"]\n{\"id\":1,\"cmd\":\"status\"}\n");
        let (lines, _) = read(&long, 100);
        assert!(
            matches!(&lines[..], [Line::TooLong(reply)] if reply.refusal.as_deref() == Some("line-too-long"))
        );
    }

    #[test]
    fn a_line_of_nothing_but_space_is_too_long_too_however_it_comes() {
        let mut space = vec![b' '; LINE_BYTES_MAX];
        space.push(b'\n');
        for piece in [1, PIECE_BYTES_MAX] {
            assert!(matches!(&read(&space, piece).0[..], [Line::TooLong(_)]), "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_request_is_answered_with_its_number() {
        let (lines, _) = read(b"\n{\"id\":7,\"cmd\":\"dance\"}\nhello\n", 7);
        let ids: Vec<u64> = lines
            .iter()
            .map(|line| match line {
                Line::Nonsense(reply) => reply.id,
                Line::Request(_) | Line::TooLong(_) => unreachable!("neither is a request"),
            })
            .collect();
        assert_eq!(ids, [7, 0]);
    }
}
