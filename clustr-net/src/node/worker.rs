//! The other end: what a program in Rust needs to be a worker of a node cluster primary.
//!
//! Owns the worker's channel and the listeners that it was given. Blocks; uses nothing but a poll. Never decides when
//! to leave: it tells what it heard. Called by demo workers and tests; the same program works under node's own
//! primary, in its `SCHED_NONE` mode.
//!
//! ```no_run
//! use clustr_net::node::{Heard, Worker};
//!
//! let Some(mut worker) = Worker::from_env()? else { return Ok(()) };
//! let listener = worker.listen(&":3001".parse().unwrap())?;
//! loop {
//!     match worker.wait(Some(&listener), None)? {
//!         Some(Heard::Connection(mut stream)) => std::io::Write::write_all(&mut stream, b"hello\n")?,
//!         Some(Heard::Disconnect | Heard::Closed) => return worker.leave(),
//!         Some(Heard::User(_)) | None => {}
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::addr::{Addr, Host};
use crate::{inherited, scm};

use super::encode;
use super::json;
use super::lines::{LINE_BYTES_MAX, Line, Lines};

/// A worker's channel.
#[derive(Debug)]
pub struct Worker {
    socket: OwnedFd,
    lines: Lines,
    fds: VecDeque<OwnedFd>,
    heard: VecDeque<Heard>,
    keys: Vec<String>,
    seq: u64,
    queries: i64,
}

/// What a worker hears.
#[derive(Debug)]
pub enum Heard {
    /// A client, from a listener that was waited on, or handed over by the primary. Blocking.
    Connection(TcpStream),
    /// A message for the app, as JSON text.
    User(String),
    /// Take nothing new, finish what is open, [`leave`](Worker::leave).
    Disconnect,
    /// The primary is gone.
    Closed,
}

/// A reply to one of our requests.
struct Reply {
    ack: i64,
    key: String,
    errno: i32,
    fd: Option<OwnedFd>,
}

impl Worker {
    /// Takes the channel that `NODE_CHANNEL_FD` names, and says that the worker runs. `None` if the variable is not
    /// set: nobody made this process a worker. To be called before the program opens or starts anything, see
    /// [`inherited`]. The variable stays, the descriptor is not passed on.
    ///
    /// # Errors
    ///
    /// The variable names no inherited descriptor, or the primary is gone.
    pub fn from_env() -> io::Result<Option<Self>> {
        let Some(number) = std::env::var_os("NODE_CHANNEL_FD") else {
            return Ok(None);
        };
        let number = number.to_str().and_then(|text| text.parse().ok()).ok_or(ErrorKind::InvalidInput)?;
        Self::new(inherited::claim(number)?).map(Some)
    }

    /// Takes a channel, and says that the worker runs.
    ///
    /// # Errors
    ///
    /// The primary is gone.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, false)?;
        let mut worker = Self {
            socket,
            lines: Lines::new(LINE_BYTES_MAX),
            fds: VecDeque::new(),
            heard: VecDeque::new(),
            keys: Vec::new(),
            seq: 0,
            queries: 0,
        };
        worker.request("\"act\":\"online\"")?;
        Ok(worker)
    }

    /// Asks the primary for a listener, and says that it is up. The listener is non-blocking, for it is shared:
    /// [`wait`](Self::wait) on it.
    ///
    /// # Errors
    ///
    /// The primary's errno, as in `AddrInUse`; `InvalidInput` for an address that is not TCP or is a name;
    /// `UnexpectedEof` if the primary is gone or told us to leave meanwhile.
    pub fn listen(&mut self, addr: &Addr) -> io::Result<TcpListener> {
        let Addr::Tcp { host, port } = addr else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let fields = query_fields(host)?;
        // Equal addresses are counted by node; here every query has its own number, which asks for the same.
        let index = self.queries;
        self.queries += 1;
        let query =
            format!("{fields},\"index\":{index},\"data\":null,\"fd\":null,\"flags\":0,\"backlog\":false");
        let seq = self.request(&format!("\"act\":\"queryServer\",{query},\"port\":{port}"))?;
        let reply = self.wait_reply(seq)?;
        if reply.errno != 0 {
            return Err(io::Error::from_raw_os_error(reply.errno.saturating_neg()));
        }
        let listener = TcpListener::from(reply.fd.ok_or(ErrorKind::InvalidData)?);
        let port = listener.local_addr()?.port();
        self.keys.push(reply.key);
        self.request(&format!("\"act\":\"listening\",{query},\"port\":{port}"))?;
        Ok(listener)
    }

    /// Sends the primary a message: one JSON value.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is not JSON; `BrokenPipe` if the primary is gone.
    pub fn send(&mut self, json: &str) -> io::Result<()> {
        if !json::is_valid(json) {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.write(&encode::user(json))
    }

    /// Waits for the next word of the primary.
    ///
    /// # Errors
    ///
    /// What recvmsg(2) says.
    pub fn recv(&mut self) -> io::Result<Heard> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            self.read()?;
        }
    }

    /// Waits until the primary says to leave, or is gone. Messages for the app are dropped.
    ///
    /// # Errors
    ///
    /// What recvmsg(2) says.
    pub fn wait_disconnect(&mut self) -> io::Result<()> {
        loop {
            match self.recv()? {
                Heard::Disconnect | Heard::Closed => return Ok(()),
                Heard::User(_) | Heard::Connection(_) => {}
            }
        }
    }

    /// Waits for the next word of the primary or the next client; `None` when `timeout` has passed, or when another
    /// worker was faster.
    ///
    /// # Errors
    ///
    /// What poll(2), accept(2) and recvmsg(2) say.
    pub fn wait(
        &mut self,
        listener: Option<&TcpListener>,
        timeout: Option<Duration>,
    ) -> io::Result<Option<Heard>> {
        if let Some(heard) = self.heard.pop_front() {
            return Ok(Some(heard));
        }
        let (told, client) = self.poll(listener, timeout)?;
        if told {
            self.read()?;
            return Ok(self.heard.pop_front());
        }
        match listener.filter(|_| client).map(TcpListener::accept) {
            None => Ok(None),
            Some(Ok((stream, _))) => stream.set_nonblocking(false).map(|()| Some(Heard::Connection(stream))),
            Some(Err(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) =>
            {
                Ok(None)
            }
            Some(Err(error)) => Err(error),
        }
    }

    /// Says that all servers are closed, and closes the channel: the primary takes its end for "drained". To be
    /// called when what was open is finished.
    ///
    /// # Errors
    ///
    /// None if the primary is gone; else what sendmsg(2) says.
    pub fn leave(mut self) -> io::Result<()> {
        for key in std::mem::take(&mut self.keys) {
            match self.request(&format!("\"act\":\"close\",\"key\":{}", json::quoted(&key))) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                other => other?,
            };
        }
        Ok(())
    }

    fn wait_reply(&mut self, seq: u64) -> io::Result<Reply> {
        let mut replies = Vec::new();
        loop {
            let ours = |reply: &Reply| u64::try_from(reply.ack).is_ok_and(|ack| ack == seq);
            if let Some(place) = replies.iter().position(ours) {
                return Ok(replies.swap_remove(place));
            }
            // A primary does not answer a worker that it told to leave.
            let leaving = self.heard.iter().any(|heard| matches!(heard, Heard::Disconnect));
            if leaving || !self.read_into(&mut replies)? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        self.read_into(&mut Vec::new()).map(drop)
    }

    /// One read, and all lines that are whole then. `false` at the end of the channel.
    fn read_into(&mut self, replies: &mut Vec<Reply>) -> io::Result<bool> {
        let (mut buf, mut fds) = ([0; 16 << 10], Vec::new());
        let bytes = match scm::recv(&self.socket, &mut buf, &mut fds) {
            Ok(received) => received.bytes,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error),
        };
        self.fds.extend(fds);
        self.lines.push(&buf[..bytes]);
        loop {
            let line = match self.lines.next() {
                Line::Whole(line, _) => String::from_utf8_lossy(line).into_owned(),
                Line::None => break,
                Line::TooLong => return Err(ErrorKind::InvalidData.into()),
            };
            self.hear(&line, replies)?;
        }
        if bytes == 0 {
            self.heard.push_back(Heard::Closed);
        }
        Ok(bytes > 0)
    }

    fn hear(&mut self, line: &str, replies: &mut Vec<Reply>) -> io::Result<()> {
        let [cmd, msg] = json::pick(line, ["cmd", "msg"]).unwrap_or_default();
        match json::string(cmd).as_deref() {
            Some("NODE_CLUSTER") => self.hear_cluster(line, None, replies)?,
            Some("NODE_HANDLE") => {
                let fd = self.fds.pop_front();
                self.write(if fd.is_some() { encode::HANDLE_ACK } else { encode::HANDLE_NACK })?;
                if fd.is_some() {
                    self.hear_cluster(&json::raw(msg), fd, replies)?;
                }
            }
            Some("NODE_HANDLE_ACK" | "NODE_HANDLE_NACK") => {}
            _ => self.heard.push_back(Heard::User(line.to_owned())),
        }
        Ok(())
    }

    fn hear_cluster(
        &mut self,
        object: &str,
        fd: Option<OwnedFd>,
        replies: &mut Vec<Reply>,
    ) -> io::Result<()> {
        let [act, ack, key, errno, seq] =
            json::pick(object, ["act", "ack", "key", "errno", "seq"]).unwrap_or_default();
        match (json::string(act).as_deref(), fd) {
            (Some("disconnect"), _) => self.heard.push_back(Heard::Disconnect),
            (Some("newconn"), Some(fd)) => {
                return self.hear_connection(json::string(key).as_deref(), json::integer(seq), fd);
            }
            (_, fd) => {
                if let Some(ack) = json::integer(ack) {
                    let errno = json::integer(errno).and_then(|errno| i32::try_from(errno).ok()).unwrap_or(0);
                    replies.push(Reply { ack, key: json::string(key).unwrap_or_default(), errno, fd });
                }
            }
        }
        Ok(())
    }
    /// As node does: it says whether it has that server, and then serves.
    fn hear_connection(&mut self, key: Option<&str>, seq: Option<i64>, fd: OwnedFd) -> io::Result<()> {
        let accepted = key.is_some_and(|key| self.keys.iter().any(|known| known == key));
        let seq = seq.unwrap_or_default();
        self.request(&format!("\"ack\":{seq},\"accepted\":{accepted}"))?;
        if accepted {
            let stream = TcpStream::from(fd);
            stream.set_nonblocking(false)?;
            self.heard.push_back(Heard::Connection(stream));
        }
        Ok(())
    }

    fn poll(&self, listener: Option<&TcpListener>, timeout: Option<Duration>) -> io::Result<(bool, bool)> {
        let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN)];
        fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok((false, false)),
            other => other?,
        };
        let ready = |place: usize| fds.get(place).is_some_and(|fd| !fd.revents().is_empty());
        Ok((ready(0), ready(1)))
    }

    /// Sends one of our messages and returns its number.
    fn request(&mut self, fields: &str) -> io::Result<u64> {
        let seq = self.seq;
        self.seq += 1;
        self.write(format!("{{\"cmd\":\"NODE_CLUSTER\",{fields},\"seq\":{seq}}}\n").as_bytes())?;
        Ok(seq)
    }

    fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            bytes = &bytes[scm::send(&self.socket, bytes, &[])?..];
        }
        Ok(())
    }
}

impl AsFd for Worker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn query_fields(host: &Host) -> io::Result<String> {
    let (address, kind) = match host {
        Host::Any => ("null".to_owned(), 4),
        Host::Ip(ip) => (json::quoted(&ip.to_string()), if ip.is_ipv6() { 6 } else { 4 }),
        Host::Zoned(ip, zone) => (json::quoted(&format!("{ip}%{zone}")), 6),
        Host::Name(_) => return Err(ErrorKind::InvalidInput.into()),
    };
    Ok(format!("\"address\":{address},\"addressType\":{kind}"))
}
