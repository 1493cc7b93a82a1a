//! An HTTP/1.1 answer, as far as it has come.
//!
//! Owns telling where an answer ends: by `Content-Length`, by chunks or by the end of the connection. Never keeps more
//! than the head and the first bytes of the body.

/// Bound: bytes of a head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bound: bytes of a body that are kept.
const BODY_BYTES_KEPT: usize = 120;
/// How a chunked body ends.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// An answer, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Answer {
    head: Vec<u8>,
    body: Option<Body>,
    kept: Vec<u8>,
    tail: Vec<u8>,
}

/// How much of the body is still to come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Body {
    Bytes(u64),
    Chunks,
    UntilEnd,
}

/// How an answer stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// There is more to come.
    Partial,
    /// It is complete.
    Complete,
    /// It is no answer: not HTTP, or a status of 400 and more.
    Wrong,
}

impl Answer {
    /// Forgets everything, for the next answer.
    pub(super) fn clear(&mut self) {
        self.head.clear();
        self.body = None;
        self.kept.clear();
        self.tail.clear();
    }

    /// Whether nothing has come yet.
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// Takes what has arrived.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Progress {
        if self.body.is_some() {
            return self.take_body(bytes);
        }
        let from = self.head.len().saturating_sub(3);
        self.head.extend_from_slice(bytes);
        let Some(end) = find(&self.head[from..], b"\r\n\r\n").map(|at| from + at + 4) else {
            return if self.head.len() > HEAD_BYTES_MAX { Progress::Wrong } else { Progress::Partial };
        };
        let rest = self.head.split_off(end);
        let Some(body) = body_of(&self.head) else { return Progress::Wrong };
        self.body = Some(body);
        self.take_body(&rest)
    }

    /// The connection has ended.
    pub(super) fn end(&self) -> Progress {
        if self.body == Some(Body::UntilEnd) { Progress::Complete } else { Progress::Partial }
    }

    /// The first bytes of the body.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).trim().to_owned()
    }

    /// A header by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        header(&self.head, name)
    }

    /// Whether the server will close the connection.
    pub(super) fn closes(&self) -> bool {
        self.body == Some(Body::UntilEnd) || self.header("connection").is_some_and(|word| word == "close")
    }

    fn take_body(&mut self, bytes: &[u8]) -> Progress {
        let room = BODY_BYTES_KEPT.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
        match &mut self.body {
            Some(Body::Bytes(left)) => {
                *left = left.saturating_sub(bytes.len() as u64);
                if *left == 0 { Progress::Complete } else { Progress::Partial }
            }
            Some(Body::Chunks) => {
                self.tail.extend_from_slice(bytes);
                let surplus = self.tail.len().saturating_sub(LAST_CHUNK.len());
                self.tail.drain(..surplus);
                if self.tail == LAST_CHUNK { Progress::Complete } else { Progress::Partial }
            }
            Some(Body::UntilEnd) | None => Progress::Partial,
        }
    }
}

/// What kind of body a head announces; `None` if it is no head of a good answer.
fn body_of(head: &[u8]) -> Option<Body> {
    let status: u32 = std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()?;
    if !head.starts_with(b"HTTP/1.") || status >= 400 {
        return None;
    }
    if let Some(length) = header(head, "content-length") {
        return length.parse().ok().map(Body::Bytes);
    }
    let chunked = header(head, "transfer-encoding").is_some_and(|coding| coding == "chunked");
    Some(if chunked { Body::Chunks } else { Body::UntilEnd })
}

fn header(head: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(head).ok()?;
    let line = |line: &str| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
    };
    text.split("\r\n").skip(1).find_map(line)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTED: &[u8] =
        b"HTTP/1.1 200 OK\r\nX-Pid: 42\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

    fn byte_by_byte(answer: &mut Answer, bytes: &[u8]) -> Vec<Progress> {
        bytes.iter().map(|byte| answer.take(&[*byte])).collect()
    }

    #[test]
    fn an_answer_is_complete_at_its_last_byte_however_it_arrives() {
        for whole in [COUNTED, CHUNKED] {
            let mut answer = Answer::default();
            let progress = byte_by_byte(&mut answer, whole);
            let (last, before) = progress.split_last().unwrap();
            assert_eq!(*last, Progress::Complete);
            assert!(before.iter().all(|progress| *progress == Progress::Partial));
            answer.clear();
            assert_eq!(answer.take(whole), Progress::Complete);
        }
    }

    #[test]
    fn headers_and_text_are_kept() {
        let mut answer = Answer::default();
        assert_eq!(answer.take(COUNTED), Progress::Complete);
        assert_eq!(answer.header("x-pid").as_deref(), Some("42"));
        assert_eq!(answer.text(), "hello");
        assert!(answer.closes());
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection() {
        let mut answer = Answer::default();
        assert_eq!(answer.take(b"HTTP/1.1 200 OK\r\n\r\nhel"), Progress::Partial);
        assert_eq!(answer.end(), Progress::Complete);
        answer.clear();
        assert_eq!(answer.take(&COUNTED[..40]), Progress::Partial);
        assert_eq!(answer.end(), Progress::Partial);
    }

    #[test]
    fn what_is_no_good_answer_is_wrong() {
        for bad in [&b"HTTP/1.1 503 Busy\r\n\r\n"[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"] {
            assert_eq!(Answer::default().take(bad), Progress::Wrong);
        }
    }
}
