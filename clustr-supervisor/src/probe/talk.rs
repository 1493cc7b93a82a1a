//! A question over a socket, and its answer.
//!
//! Owns the socket and how far the conversation has come. Never waits: it does what the socket allows, and is called again.
//! Reads no more than the first line of an answer; the rest is thrown away, so that the worker can finish it in peace.
//! Called by `attempt`.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::course::Verdict;
use super::http::{self, Answer, Reader};

/// Bound: reads in one turn.
const READS_MAX: usize = 8;
const READ_BYTES: usize = 4096;
/// Bound: what is thrown away of an answer's rest.
const REST_BYTES_MAX: usize = 1 << 20;

/// One question.
#[derive(Debug)]
pub(super) struct Talk {
    socket: OwnedFd,
    request: Vec<u8>,
    sent: usize,
    reader: Reader,
    rest: usize,
}

impl Talk {
    pub(super) fn new(socket: OwnedFd, path: &str, host: &str) -> Self {
        let request = http::request(path, host);
        Self { socket, request, sent: 0, reader: Reader::default(), rest: 0 }
    }

    /// Says and hears what is possible now; returns the verdict once there is one.
    pub(super) fn go_on(&mut self) -> Option<Verdict> {
        match self.say().and_then(|()| self.hear()) {
            Ok(Answer::Unfinished) => None,
            Ok(answer) => Some(verdict(answer)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Some(Verdict::Bad("the connection was closed without an answer".into()))
            }
            Err(error) => Some(Verdict::Bad(error.to_string())),
        }
    }

    /// A connection that is not there yet takes nothing.
    fn say(&mut self) -> io::Result<()> {
        while self.sent < self.request.len() {
            self.sent += send(&self.socket, &self.request[self.sent..], SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    fn hear(&mut self) -> io::Result<Answer> {
        let mut buffer = [0; READ_BYTES];
        for _ in 0..READS_MAX {
            let (count, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let answer = self.reader.push(&buffer[..count]);
            if answer != Answer::Unfinished {
                return Ok(answer);
            }
        }
        // Whoever sends so much before a status has none.
        Ok(Answer::Garbage)
    }

    /// Throws away what follows; says whether the worker has closed the connection, or sends too much.
    pub(super) fn is_over(&mut self) -> bool {
        let mut buffer = [0; READ_BYTES];
        for _ in 0..READS_MAX {
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => return true,
                Ok((count, _)) => self.rest += count,
                Err(rustix::io::Errno::AGAIN) => return false,
                Err(_) => return true,
            }
        }
        self.rest > REST_BYTES_MAX
    }

    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

impl AsFd for Talk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn verdict(answer: Answer) -> Verdict {
    match answer {
        Answer::Status(200..=399) => Verdict::Good,
        Answer::Status(status) => Verdict::Bad(format!("it answers {status}")),
        Answer::Garbage | Answer::Unfinished => Verdict::Bad("what it answers is no HTTP".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair() -> (Talk, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Talk::new(ours.into(), "/", "localhost"), theirs)
    }

    #[test]
    fn a_worker_is_asked_once_and_its_first_line_decides() {
        for (answer, good) in
            [("HTTP/1.1 204 No Content\r\n", true), ("HTTP/1.1 302 \r\n", true), ("HTTP/1.1 500 \r\n", false)]
        {
            let (mut talk, mut theirs) = pair();
            assert_eq!(talk.go_on(), None);
            let mut request = [0; 4096];
            let count = theirs.read(&mut request).unwrap();
            assert!(request[..count].ends_with(b"\r\n\r\n"));
            theirs.write_all(answer.as_bytes()).unwrap();
            assert_eq!(talk.go_on() == Some(Verdict::Good), good, "{answer}");
            assert!(!talk.is_over(), "its rest may follow");
            drop(theirs);
            assert!(talk.is_over());
        }
    }

    #[test]
    fn silence_is_no_verdict_and_an_end_is_a_bad_one() {
        let (mut talk, theirs) = pair();
        assert_eq!((talk.go_on(), talk.go_on()), (None, None));
        drop(theirs);
        assert!(matches!(talk.go_on(), Some(Verdict::Bad(_))));
    }

    #[test]
    fn a_flood_before_or_after_the_status_ends() {
        let (mut talk, mut theirs) = pair();
        talk.go_on();
        theirs.write_all(&[b'x'; 9000]).unwrap();
        assert!(matches!(talk.go_on(), Some(Verdict::Bad(_))));
        let (mut talk, mut theirs) = pair();
        talk.go_on();
        theirs.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        assert_eq!(talk.go_on(), Some(Verdict::Good));
        let mut thrown_away = 0;
        while !talk.is_over() {
            theirs.write_all(&[b'x'; 32 * 1024]).unwrap();
            thrown_away += 32 * 1024;
            assert!(thrown_away < 2 * REST_BYTES_MAX);
        }
    }
}
