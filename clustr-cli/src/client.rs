//! The client's side of a control socket.
//!
//! Owns one blocking connection: requests out, replies in, one JSON value a line, and how long to wait for them.
//! Never interprets an answer beyond "granted" and "refused". Called by every command that speaks to a primary.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clustr_supervisor::control::protocol::{Ask, Delivery, LINE_BYTES_MAX, Progress, Reply, Request, Status};
use clustr_supervisor::news::News;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::process::Pid;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::Deadline;

/// How long a primary may take to answer at all.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for the end of a primary that has said it is done.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a primary did not do what was asked.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// The runtime folder cannot be used.
    Folder(io::Error),
    /// No primary runs.
    NobodyHere,
    /// No primary answers at this socket.
    Nobody(PathBuf),
    /// More than one primary runs, and none was named.
    Several(Vec<String>),
    /// The socket exists and cannot be connected to.
    Connect(PathBuf, io::Error),
    /// Speaking or listening failed.
    Io(io::Error),
    /// The primary went away before it had answered.
    HungUp,
    /// What came is no reply.
    Garbled(String),
    /// It took longer than this.
    TimedOut(Duration),
    /// For so long, nothing at all came from the process of this number, if it could be told.
    Silent(Duration, Option<Pid>),
    /// It was not granted.
    Refused { refusal: String, detail: Option<String>, hint: Option<String> },
}

/// One connection to a primary.
pub(crate) struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
    last_id: u64,
    /// Of which app everything is asked; `None`: it is not said.
    app: Option<String>,
    /// Hears what happens while an answer is waited for.
    witness: Option<Witness>,
    /// News may come between replies.
    subscribed: bool,
    /// How long everything may take, if it may not take for ever; and until when that is.
    timeout: Option<Duration>,
    deadline: Deadline,
}

/// Who hears news.
pub(crate) type Witness = Box<dyn FnMut(&News)>;

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the primary at this control socket.
    ///
    /// # Errors
    /// Nobody is there, or it may not be spoken to.
    pub(crate) fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|error| {
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) {
                ClientError::Nobody(path.to_owned())
            } else {
                ClientError::Connect(path.to_owned(), error)
            }
        })?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(ClientError::Io)?;
        Ok(Self::over(stream))
    }

    fn over(stream: UnixStream) -> Self {
        let (app, witness, timeout) = (None, None, None);
        let deadline = Deadline::after(None);
        Self { stream, buffer: Vec::new(), last_id: 0, app, witness, subscribed: false, timeout, deadline }
    }

    /// From now on everything takes so long at most.
    pub(crate) fn hurry(&mut self, timeout: Duration) {
        (self.timeout, self.deadline) = (Some(timeout), Deadline::after(Some(timeout)));
    }

    /// From now on everything is asked of this app alone, if there is one.
    #[must_use]
    pub(crate) fn meaning(self, app: Option<String>) -> Self {
        Self { app, ..self }
    }

    /// A picture of the primary.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) fn status(&mut self) -> Result<Status, ClientError> {
        parse(&self.status_json(Ask::Status { slot: None, connections: false })?)
    }

    /// The same as the primary wrote it, for a wish of more or less: a newer one may say more than this clustr knows.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) fn status_json(&mut self, ask: Ask) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            status: &'a RawValue,
        }
        let line = self.set_off(ask)?;
        Ok(parse::<Answer<'_>>(&line)?.status.to_string())
    }

    /// Asks, and waits until it is done, as long as [`Client::hurry`] allows. The last reply, as the primary wrote it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) fn carry_out(&mut self, ask: Ask) -> Result<String, ClientError> {
        let mut line = self.set_off(ask)?;
        while parse::<Reply>(&line)?.state == Some(Progress::Accepted) {
            let (deadline, timeout) = (self.deadline, self.timeout);
            line = self.reply_line(deadline).map_err(|error| match (error, timeout) {
                (ClientError::TimedOut(_), Some(timeout)) => ClientError::TimedOut(timeout),
                (error, _) => error,
            })?;
        }
        Ok(line)
    }

    /// Asks, and waits no longer than until it is accepted. The reply, as the primary wrote it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) fn set_off(&mut self, ask: Ask) -> Result<String, ClientError> {
        let deadline = self.ask(ask)?;
        let answer = self.reply_line(deadline);
        if let Err(ClientError::TimedOut(_)) = answer {
            let patience = self.timeout.map_or(ANSWER_TIMEOUT, |timeout| timeout.min(ANSWER_TIMEOUT));
            return Err(ClientError::Silent(patience, self.peer()));
        }
        answer
    }

    /// Who listens at the socket: unix(7), `SO_PEERCRED`.
    fn peer(&self) -> Option<Pid> {
        let peer = getsockopt(&self.stream, PeerCredentials).ok()?;
        Pid::from_raw(peer.pid())
    }

    /// What a reload would change, as the primary wrote it; and the whole reply.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) fn difference(&mut self, ask: Ask) -> Result<(Box<RawValue>, String), ClientError> {
        #[derive(Deserialize)]
        struct Answer {
            difference: Box<RawValue>,
        }
        let line = self.set_off(ask)?;
        Ok((parse::<Answer>(&line)?.difference, line))
    }

    /// From now on, `witness` hears what happens while an answer is waited for.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) fn attend(&mut self, witness: Witness) -> Result<(), ClientError> {
        self.subscribe()?;
        self.witness = Some(witness);
        Ok(())
    }

    /// Asks for every piece of news from now on; they come out of [`Client::line`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) fn subscribe(&mut self) -> Result<(), ClientError> {
        self.set_off(Ask::Subscribe)?;
        self.subscribed = true;
        Ok(())
    }

    /// The next piece of news that this clustr has words for.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub(crate) fn news(&mut self, deadline: Deadline) -> Result<News, ClientError> {
        while let Some(line) = self.line(deadline)? {
            if let Ok(Delivery { news, .. }) = serde_json::from_str(&line) {
                self.witness.iter_mut().for_each(|witness| witness(&news));
                return Ok(news);
            }
        }
        Err(ClientError::HungUp)
    }

    /// Waits until the primary has closed the connection, which is the last thing that it does; not for ever.
    pub(crate) fn await_farewell(&mut self) {
        let deadline = Deadline::after(Some(FAREWELL_TIMEOUT));
        while let Ok(Some(_)) = self.line(deadline) {}
    }

    /// Sends a request; until when it has to be answered.
    fn ask(&mut self, ask: Ask) -> Result<Deadline, ClientError> {
        self.last_id += 1;
        let request = Request { id: self.last_id, app: self.app.clone(), ask };
        let mut line = serde_json::to_vec(&request).map_err(|error| ClientError::Io(error.into()))?;
        line.push(b'\n');
        match self.stream.write_all(&line) {
            // A primary that turned us away has said why before it hung up.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(ClientError::Io(error)),
            Ok(()) | Err(_) => Ok(self.deadline.or_after(ANSWER_TIMEOUT)),
        }
    }

    /// The line of a reply that grants.
    fn reply_line(&mut self, deadline: Deadline) -> Result<String, ClientError> {
        #[derive(Deserialize)]
        struct Answer {
            ok: bool,
            refusal: Option<String>,
            detail: Option<String>,
            hint: Option<String>,
        }
        let line = self.told_line(deadline)?;
        let Answer { ok, refusal, detail, hint } = parse(&line)?;
        if ok {
            return Ok(line);
        }
        Err(ClientError::Refused { refusal: refusal.unwrap_or_else(|| "refused".to_owned()), detail, hint })
    }

    /// The next line that is no news; news goes to the witness.
    fn told_line(&mut self, deadline: Deadline) -> Result<String, ClientError> {
        loop {
            let line = self.line(deadline)?.ok_or(ClientError::HungUp)?;
            // What is no reply (news, also of a kind that this clustr does not know) has no `ok`.
            if !self.subscribed || is_reply(&line) {
                return Ok(line);
            }
            if let (Some(witness), Ok(Delivery { news, .. })) =
                (&mut self.witness, serde_json::from_str(&line))
            {
                witness(&news);
            }
        }
    }

    /// The next line; `None` when the primary has closed the connection.
    ///
    /// # Errors
    /// It takes longer than the deadline, or is longer than a line may be.
    pub(crate) fn line(&mut self, deadline: Deadline) -> Result<Option<String>, ClientError> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(searched + end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return String::from_utf8(line)
                    .map(Some)
                    .map_err(|error| ClientError::Garbled(error.to_string()));
            }
            searched = self.buffer.len();
            if !self.read_more(deadline)? {
                return Ok(None);
            }
        }
    }

    fn read_more(&mut self, deadline: Deadline) -> Result<bool, ClientError> {
        // Bound: a status of 1,024 workers is some 300 kB; a line that never ends is not a reply.
        if self.buffer.len() > 64 * LINE_BYTES_MAX {
            return Err(ClientError::Garbled("a line without an end".to_owned()));
        }
        let left = deadline.left();
        if left.is_some_and(|left| left.is_zero()) {
            return Err(ClientError::TimedOut(ANSWER_TIMEOUT));
        }
        self.stream.set_read_timeout(left).map_err(ClientError::Io)?;
        let mut piece = [0; 8192];
        match self.stream.read(&mut piece) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(ClientError::TimedOut(ANSWER_TIMEOUT))
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(ClientError::Io(error)),
        }
    }
}

fn is_reply(line: &str) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "ok")]
        _ok: bool,
    }
    serde_json::from_str::<Answer>(line).is_ok()
}

pub(crate) fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, ClientError> {
    serde_json::from_str(line).map_err(|error| ClientError::Garbled(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Client::over(ours), theirs)
    }

    #[test]
    fn a_long_command_is_done_with_its_second_answer() {
        let (mut client, mut primary) = pair();
        let first = "{\"id\":1,\"ok\":true,\"state\":\"accepted\"}\n";
        primary.write_all(first.as_bytes()).unwrap();
        primary.write_all(b"{\"id\":1,\"ok\":true,\"state\":\"done\"}\n").unwrap();
        client.carry_out(Ask::Stop { now: false }).unwrap();
        let mut asked = [0; 256];
        let count = primary.read(&mut asked).unwrap();
        assert_eq!(&asked[..count], b"{\"id\":1,\"cmd\":\"stop\",\"now\":false}\n");
    }

    #[test]
    fn what_happens_meanwhile_is_told_and_is_no_answer() {
        let (mut client, mut primary) = pair();
        let lines = [
            r#"{"id":1,"ok":true,"state":"done"}"#,
            r#"{"id":1,"news":{"at_unix_ms":0,"app":"app","news":"scaled","from":1,"to":2}}"#,
            r#"{"id":2,"ok":true,"state":"accepted"}"#,
            r#"{"id":1,"news":{"at_unix_ms":0,"app":"app","news":"of-a-later-version"}}"#,
            r#"{"id":2,"ok":true,"state":"done","more":1}"#,
        ];
        primary.write_all(lines.map(|line| format!("{line}\n")).concat().as_bytes()).unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        client.attend(Box::new(move |news| told.send(news.to_string()).unwrap())).unwrap();
        let last = client.carry_out(Ask::Scale { to: Some(2), by: None }).unwrap();
        assert_eq!(last, lines[4]);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["scaled from=1 to=2"]);
    }

    #[test]
    fn a_refusal_is_an_error_with_its_own_words() {
        let (mut client, mut primary) = pair();
        primary.write_all(b"{\"id\":1,\"ok\":false,\"refusal\":\"stopping\",\"detail\":\"d\"}\n").unwrap();
        let error = client.carry_out(Ask::Stop { now: true }).unwrap_err();
        assert!(matches!(error, ClientError::Refused { refusal, .. } if refusal == "stopping"));
    }

    #[test]
    fn a_primary_that_goes_away_or_dawdles_is_told_apart() {
        let (mut client, primary) = pair();
        drop(primary);
        assert!(matches!(client.line(Deadline::after(None)), Ok(None)));
        let (mut client, _primary) = pair();
        let soon = Deadline::after(Some(Duration::from_millis(10)));
        assert!(matches!(client.line(soon), Err(ClientError::TimedOut(_))));
    }

    #[test]
    fn a_primary_that_says_nothing_at_all_is_named_within_the_time_that_was_given() {
        let (mut client, _primary) = pair();
        let timeout = Duration::from_millis(10);
        client.hurry(timeout);
        let error = client.carry_out(Ask::Stop { now: false }).unwrap_err();
        let ourselves = Some(rustix::process::getpid());
        assert!(matches!(error, ClientError::Silent(span, pid) if span == timeout && pid == ourselves));
    }

    #[test]
    fn lines_come_out_one_by_one_however_they_arrived() {
        let (mut client, mut primary) = pair();
        primary.write_all(b"one\ntwo\nthr").unwrap();
        primary.write_all(b"ee\n").unwrap();
        drop(primary);
        for wanted in [Some("one"), Some("two"), Some("three"), None] {
            assert_eq!(client.line(Deadline::after(None)).unwrap().as_deref(), wanted);
        }
    }
}
