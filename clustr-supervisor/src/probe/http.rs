//! One question over HTTP/1.1 and the first line of its answer: pure.
//!
//! Owns the request's bytes and the reading of a status. Never reads a socket, a header or a body; keeps no more than the
//! beginning of a line, whatever is sent. Called by `talk`.

/// Bound: bytes of interim answers (1xx) before the real one.
const INTERIM_BYTES_MAX: usize = 16 * 1024;

/// The bytes that decide: `HTTP/1.1 200`, and one that ends the number.
const DECISIVE: usize = 13;

/// The request: one question, and the connection is over.
pub(super) fn request(path: &str, host: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: clustr/{version} (probe)\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes()
}

/// How an answer begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// More bytes are needed.
    Unfinished,
    /// A status.
    Status(u16),
    /// No HTTP.
    Garbage,
}

/// Reads an answer piece by piece.
#[derive(Debug, Default)]
pub(super) struct Reader {
    line: [u8; DECISIVE],
    len: usize,
    /// Within the headers of an interim answer: how much of the empty line that ends them has been seen.
    skipping: Option<u8>,
    skipped: usize,
    verdict: Option<Answer>,
}

impl Reader {
    /// Takes in more. Once it is decided, nothing that follows changes the answer.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Answer {
        for &byte in bytes {
            if self.verdict.is_some() {
                break;
            }
            self.verdict = match self.skipping {
                None => self.read(byte),
                Some(seen) => self.skip(byte, seen),
            };
        }
        self.verdict.unwrap_or(Answer::Unfinished)
    }

    fn read(&mut self, byte: u8) -> Option<Answer> {
        self.line[self.len] = byte;
        self.len += 1;
        if self.len < DECISIVE {
            return (!is_beginning(&self.line[..self.len])).then_some(Answer::Garbage);
        }
        match status(&self.line) {
            None => Some(Answer::Garbage),
            Some(100..=199) => {
                self.skipping = Some(u8::from(byte == b'\n'));
                self.len = 0;
                None
            }
            Some(status) => Some(Answer::Status(status)),
        }
    }

    /// An interim answer ends with an empty line: `\n\n`, where any `\r` counts for nothing.
    fn skip(&mut self, byte: u8, seen: u8) -> Option<Answer> {
        self.skipped += 1;
        let seen = match byte {
            b'\n' => seen + 1,
            b'\r' => seen,
            _ => 0,
        };
        self.skipping = (seen < 2).then_some(seen);
        (self.skipped > INTERIM_BYTES_MAX).then_some(Answer::Garbage)
    }
}

/// Whether a status line may begin so.
fn is_beginning(bytes: &[u8]) -> bool {
    let fits = |(place, &byte): (usize, &u8)| match place {
        0..=6 => byte == b"HTTP/1."[place],
        7 | 9..=11 => byte.is_ascii_digit(),
        8 => byte == b' ',
        _ => matches!(byte, b' ' | b'\r' | b'\n'),
    };
    bytes.iter().enumerate().all(fits)
}

fn status(line: &[u8; DECISIVE]) -> Option<u16> {
    let digits = std::str::from_utf8(&line[9..12]).ok().filter(|_| is_beginning(line))?;
    digits.parse().ok().filter(|status| (100..=599).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(bytes: &[u8]) -> Answer {
        Reader::default().push(bytes)
    }

    #[test]
    fn a_status_is_known_as_soon_as_its_number_has_ended() {
        assert_eq!(answer(b"HTTP/1.1 200"), Answer::Unfinished);
        assert_eq!(answer(b"HTTP/1.1 200 OK"), Answer::Status(200));
        assert_eq!(answer(b"HTTP/1.0 503\r"), Answer::Status(503));
        assert_eq!(answer(b"HTTP/1.1 404\n"), Answer::Status(404));
    }

    #[test]
    fn what_is_no_http_is_known_by_its_first_wrong_byte() {
        for bytes in
            [&b"S"[..], b"HTTP/2", b"HTTP/1.1  200", b"HTTP/1.1 20x", b"HTTP/1.1 2000", b"\x15\x03\x01"]
        {
            assert_eq!(answer(bytes), Answer::Garbage, "{bytes:?}");
        }
        for status in ["000", "099", "600", "999"] {
            assert_eq!(answer(format!("HTTP/1.1 {status} ").as_bytes()), Answer::Garbage, "{status}");
        }
    }

    #[test]
    fn interim_answers_are_passed_over() {
        assert_eq!(answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \r\n"), Answer::Status(204));
        assert_eq!(answer(b"HTTP/1.1 103\nLink: </a>\n\nHTTP/1.1 500 x"), Answer::Status(500));
        assert_eq!(answer(b"HTTP/1.1 103\n\nHTTP/1.1 200 x"), Answer::Status(200));
        let endless = [b"HTTP/1.1 100 a\r\n".as_slice(), &vec![b'x'; INTERIM_BYTES_MAX]].concat();
        assert_eq!(answer(&endless), Answer::Garbage);
    }

    #[test]
    fn the_request_asks_for_one_answer() {
        let text = String::from_utf8(request("/health", "127.0.0.1:3001")).unwrap();
        assert!(text.starts_with("GET /health HTTP/1.1\r\nHost: 127.0.0.1:3001\r\n"), "{text}");
        assert!(text.ends_with("Connection: close\r\n\r\n"), "{text}");
    }

    /// Bytes that often begin as an answer does.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop_oneof![
            Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
            Just(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
            Just(b"HTTP/1.1 ".to_vec()),
            Just(b"\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..20),
        ];
        prop::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn an_answer_is_the_same_in_whatever_pieces_it_comes(bytes in bytes(), cuts in prop::collection::vec(1..40_usize, 1..20)) {
            let (mut reader, mut rest, mut cuts) = (Reader::default(), bytes.as_slice(), cuts.into_iter().cycle());
            let mut pieced = Answer::Unfinished;
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                let now = reader.push(piece);
                prop_assert!(pieced == Answer::Unfinished || pieced == now, "decided once");
                (pieced, rest) = (now, left);
            }
            prop_assert_eq!(pieced, answer(&bytes));
        }

        #[test]
        fn only_what_begins_as_http_has_a_status(bytes in bytes()) {
            if let Answer::Status(status) = answer(&bytes) {
                prop_assert!(bytes.starts_with(b"HTTP/1.") && (200..=599).contains(&status));
            }
        }
    }
}
