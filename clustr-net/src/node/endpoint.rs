//! Our end of one worker's channel.
//!
//! Owns the socket, what has arrived and what waits to leave, and the duties of the protocol: every handle is
//! acknowledged exactly once, every leave-taking is answered, nothing is answered that nobody waits for. Never
//! decides what a word means for the worker's life. Called by the loop of a primary: [`receive`](Endpoint::receive)
//! when the socket is readable, [`flush`](Endpoint::flush) when it is writable and
//! [`wants_write`](Endpoint::wants_write).

mod questions;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::accept::{Connection, PROBE};
use crate::listener::Kind;
use crate::progress::Progress;
use crate::scm::{self, Sender};

use super::encode::{self, HandleKind, Reply};
use super::message::{self, Decoder, Dialect, Message};
use super::outbox::{Outbox, SendError, SentHandle, SentReply};
use super::query::{self, AddressKind, Query};
use super::table::Answer;
use super::{LINE_BYTES_MAX, json};

/// Bytes per read.
const READ_BYTES: usize = 16 << 10;
/// Bound: descriptors that have arrived before the end of their line. A line can use one.
const FDS_WAITING_MAX: usize = 16;

/// Our end of one worker's channel.
#[derive(Debug)]
pub struct Endpoint {
    socket: OwnedFd,
    decoder: Decoder,
    fds: VecDeque<ArrivedFd>,
    sender: Option<Sender>,
    outbox: Outbox,
    /// Room for the line of a connection, used again for each.
    line: Vec<u8>,
    /// The number of our next message.
    seq: u64,
    online: bool,
    disconnecting: bool,
    half_initialised: bool,
    /// Our number of a question that is not answered yet.
    asked: Option<u64>,
    readable: bool,
    writable: bool,
}

/// A descriptor, and how much of the stream had been read when it came.
#[derive(Debug)]
struct ArrivedFd {
    /// `None` if the kernel had to drop it.
    fd: Option<OwnedFd>,
    read_until: u64,
}

/// What a worker said, in order.
#[derive(Debug)]
pub enum Said {
    /// It runs. A second time on the same channel: another process of the same worker has taken its place.
    Online {
        /// The process that speaks, from the kernel; not always the one that was started (`sh -c "node app.js"`).
        pid: Option<u32>,
    },
    /// It wants to listen, and waits for [`Endpoint::answer`].
    Query(Query),
    /// A server of it is up.
    Listening {
        /// Numeric address or path; `None` means all addresses.
        address: Option<String>,
        /// The real port; -1 for Unix paths.
        port: Option<i64>,
        /// The family.
        kind: AddressKind,
    },
    /// It closed the server with this key, or never got it. A worker says so of all its servers when it is told to
    /// leave, too: whoever knows that a successor comes keeps that from the table, and so the listener open.
    Closed {
        /// The key of the answer.
        key: String,
    },
    /// It leaves of its own will. Already acknowledged.
    Leaving,
    /// It asked for a listener without having said that it runs: node started without a script (`node -e`,
    /// `node < file`). It will never handle an answer. Said once; its queries are dropped.
    HalfInitialised,
    /// `process.send(value)`, as JSON text.
    User(String),
    /// `process.send(value, handle)`. Already acknowledged.
    UserHandle {
        /// The value, as JSON text.
        json: String,
        /// The handle.
        fd: OwnedFd,
        /// `net.Socket`, `net.Server`, `dgram.Socket`, ...
        kind: String,
    },
    /// The oldest listener or datagram socket that we sent has arrived.
    HandleAcked {
        /// Our number of the message.
        seq: u64,
    },
    /// The oldest listener or datagram socket that we sent has not arrived: the worker has no descriptor left. It was
    /// answered `EMFILE` instead, and a `Closed` for its key follows.
    HandleRefused {
        /// Our number of the message.
        seq: u64,
    },
    /// A connection that was handed over is served: our copy is closed.
    Accepted {
        /// Our number of the message.
        seq: u64,
    },
    /// A connection that was handed over is not served: here is our copy, of which no byte was read.
    Returned {
        /// For another worker.
        connection: Connection,
        /// Why.
        fault: Fault,
    },
    /// Its loop turns: the answer to [`Endpoint::ask`].
    Here,
    /// A line that is not JSON, or a handle that did not arrive (0 bytes). Dropped.
    Garbage {
        /// Its length.
        bytes: usize,
    },
}

/// Why a worker does not serve a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// It said so: `maxConnections` is reached, or the server was closed meanwhile.
    Refused,
    /// It did not arrive: the worker has no descriptor left.
    Lost,
}

impl Endpoint {
    /// Makes a channel: our end, and the worker's, to be placed as a descriptor of the new process.
    ///
    /// Both are close-on-exec. Ours is non-blocking and learns the sender of every message.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`: no descriptor left.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok((Self::new(ours)?, theirs))
    }

    /// Takes our end of a channel that was made elsewhere, before anything was read from it.
    ///
    /// # Errors
    ///
    /// It is no socket.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        sockopt::set_socket_passcred(&socket, true)?;
        Ok(Self {
            socket,
            decoder: Decoder::default(),
            fds: VecDeque::new(),
            sender: None,
            outbox: Outbox::default(),
            line: Vec::new(),
            seq: 0,
            online: false,
            disconnecting: false,
            half_initialised: false,
            asked: None,
            readable: true,
            writable: true,
        })
    }

    /// What a worker must find in its environment: the number of its descriptor, the form of messages, and an id
    /// that no other worker of this primary had (`cluster.worker.id`). Node removes all three before the app starts.
    #[must_use]
    pub fn environment(child_fd: u32, unique_id: u64) -> [(&'static str, String); 3] {
        [
            ("NODE_CHANNEL_FD", child_fd.to_string()),
            ("NODE_CHANNEL_SERIALIZATION_MODE", "json".to_owned()),
            ("NODE_UNIQUE_ID", unique_id.to_string()),
        ]
    }

    /// Reads what has arrived, up to `budget` messages and as many reads, and appends what the worker said to `said`.
    /// What the protocol demands is answered on the way.
    ///
    /// # Errors
    ///
    /// `InvalidData` for a line beyond 16 MiB; `QuotaExceeded` if the worker wants acknowledgements and does not
    /// read them; else what recvmsg(2) says. The channel is of no use after any of them.
    pub fn receive(&mut self, budget: usize, said: &mut Vec<Said>) -> io::Result<Progress> {
        let (mut messages, mut reads) = (0, 0);
        while messages < budget {
            if let Some(message) = self.decoder.decode() {
                messages += 1;
                self.handle(message, said).inspect_err(|_| self.readable = false)?;
                continue;
            }
            if reads == budget {
                break;
            }
            reads += 1;
            if let Some(end) = self.read()? {
                return Ok(end);
            }
        }
        Ok(Progress::More)
    }

    /// Answers a query; the descriptor goes with the line. Nothing is sent after [`disconnect`](Self::disconnect):
    /// a worker that is told to leave gets no new server, and node's own primary is silent then, too.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`], [`SendError::Full`], or no descriptor is left for the queue.
    pub fn answer(&mut self, query: &Query, answer: Answer<'_>) -> Result<(), SendError> {
        if self.disconnecting {
            return Ok(());
        }
        let Answer { key, errno, data, fd, kind, sockname, .. } = answer;
        let seq = self.next_seq();
        let words = Reply { key: &key, errno, data: &data, sockname };
        let handle = fd.map(|_| HandleKind::of(kind));
        let line = encode::reply(self.dialect(), handle, seq, query.seq, words);
        let sent = || SentReply {
            seq,
            ack: query.seq,
            key: key.clone().into_owned(),
            data: data.clone().into_owned(),
        };
        match fd {
            Some(fd) => self.post_handle(line, fd, sent()),
            None => self.post(line),
        }
    }

    /// Hands over a connection for the server with this key, and keeps our copy until the worker has answered:
    /// [`Said::Accepted`], [`Said::Returned`], or nothing until its channel ends, and then [`reclaim`](Self::reclaim).
    /// Any number may be under way. Returns our number of the message.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`], also after [`disconnect`](Self::disconnect); [`SendError::Full`]; what sendmsg(2) says.
    /// Nothing was sent then, and the connection comes back.
    pub fn hand_over(&mut self, key: &str, connection: Connection) -> Result<u64, (SendError, Connection)> {
        if self.disconnecting || !self.writable {
            return Err((SendError::Closed, connection));
        }
        let seq = self.next_seq();
        encode::newconn(self.decoder.dialect(), seq, key, &mut self.line);
        self.outbox.hand_over(self.socket.as_fd(), &self.line, seq, connection).map(|()| seq)
    }

    /// How many connections the worker has not answered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.outbox.ledger.len()
    }

    /// Takes back every connection that was not answered, oldest first. To be called when the channel has ended and
    /// everything was read from it: the app has seen none of them.
    pub fn reclaim(&mut self) -> impl DoubleEndedIterator<Item = Connection> + use<> {
        self.take_asked(self.asked);
        self.outbox.ledger.take_all().filter(|connection| connection.listener != PROBE)
    }

    /// Tells the worker to close its servers, finish what is open, and close the channel. Said once.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`], [`SendError::Full`].
    pub fn disconnect(&mut self) -> Result<(), SendError> {
        if self.disconnecting {
            return Ok(());
        }
        self.disconnecting = true;
        let seq = self.next_seq();
        self.post(encode::disconnect(self.dialect(), seq))
    }

    /// Sends the app a message: one JSON value. It hears it as `process.on('message')`.
    ///
    /// # Errors
    ///
    /// [`SendError::NotJson`], [`SendError::Reserved`], [`SendError::Closed`], [`SendError::Full`].
    pub fn send_user(&mut self, json: &str) -> Result<(), SendError> {
        if !json::is_valid(json) {
            return Err(SendError::NotJson);
        }
        if message::is_reserved(json) {
            return Err(SendError::Reserved);
        }
        self.post(encode::user(json))
    }

    /// Writes what waits, as much as the socket takes.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` if the worker closed its end: what waited is dropped, and what it said before can still be read.
    pub fn flush(&mut self) -> io::Result<()> {
        self.outbox.flush(self.socket.as_fd()).inspect_err(|_| {
            self.writable = false;
            self.outbox.clear();
        })
    }

    /// Whether something waits for the socket to become writable.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.writable && self.outbox.wants_write()
    }

    /// Whether the worker can still say something.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.readable
    }

    /// Whether [`disconnect`](Self::disconnect) was said.
    #[must_use]
    pub const fn is_disconnecting(&self) -> bool {
        self.disconnecting
    }

    /// How the worker's runtime writes; known once it has spoken.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.decoder.dialect()
    }

    fn read(&mut self) -> io::Result<Option<Progress>> {
        let (mut buf, mut fds) = ([0; READ_BYTES], Vec::new());
        let received = match scm::recv(&self.socket, &mut buf, &mut fds) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(Progress::Drained)),
            // The worker died with messages of ours unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Some(self.end())),
            Err(error) => {
                self.readable = false;
                return Err(error);
            }
        };
        if received.bytes == 0 {
            return Ok(Some(self.end()));
        }
        self.sender = received.sender;
        self.decoder.push(&buf[..received.bytes]);
        let arrived = fds.into_iter().map(Some).chain(received.fds_lost.then_some(None));
        let read_until = self.decoder.received();
        let room = FDS_WAITING_MAX.saturating_sub(self.fds.len());
        self.fds.extend(arrived.take(room).map(|fd| ArrivedFd { fd, read_until }));
        Ok(None)
    }

    fn end(&mut self) -> Progress {
        self.readable = false;
        self.writable = false;
        self.outbox.clear();
        self.fds.clear();
        Progress::Closed
    }

    fn handle(&mut self, message: Message, said: &mut Vec<Said>) -> io::Result<()> {
        // A descriptor that came before this line began belonged to a line that did not want it.
        let line = self.decoder.span();
        while self.fds.front().is_some_and(|arrived| arrived.read_until <= line.start) {
            self.fds.pop_front();
        }
        match message {
            Message::Online => {
                self.online = true;
                said.push(Said::Online { pid: self.sender.and_then(|sender| sender.pid) });
            }
            Message::QueryServer(query) => self.handle_query(query, said),
            Message::Listening(Query { address, port, address_kind: kind, .. }) => {
                said.push(Said::Listening { address, port, kind });
            }
            Message::Close { key } => said.push(Said::Closed { key }),
            Message::ExitedAfterDisconnect { seq } => {
                let ours = self.next_seq();
                self.reply(encode::acknowledge(self.dialect(), ours, seq))?;
                said.push(Said::Leaving);
            }
            Message::Accepted { ack, accepted } => self.handle_answer(ack, accepted, said),
            Message::Handle { kind, inner } => self.handle_handle(kind, inner, said)?,
            Message::HandleAck => self.handle_ack(said),
            Message::HandleNack => self.handle_nack(said)?,
            Message::User(json) => said.push(Said::User(json)),
            Message::Garbage { bytes } => said.push(Said::Garbage { bytes }),
            Message::UnknownInternal => {}
            Message::Overlong => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a worker's line is longer than {LINE_BYTES_MAX} bytes"),
                ));
            }
        }
        Ok(())
    }

    fn handle_query(&mut self, query: Query, said: &mut Vec<Said>) {
        if self.online && !self.disconnecting {
            said.push(Said::Query(query));
        } else if !self.online && !self.half_initialised {
            self.half_initialised = true;
            said.push(Said::HalfInitialised);
        }
    }

    fn handle_handle(&mut self, kind: String, json: String, said: &mut Vec<Said>) -> io::Result<()> {
        match self.fds.pop_front().and_then(|arrived| arrived.fd) {
            Some(fd) => {
                self.acknowledge(encode::HANDLE_ACK)?;
                said.push(Said::UserHandle { json, fd, kind });
            }
            None => {
                // The worker sends it again: node tries three times.
                self.acknowledge(encode::HANDLE_NACK)?;
                said.push(Said::Garbage { bytes: 0 });
            }
        }
        Ok(())
    }

    /// An answer to what nobody asked means nothing.
    fn handle_answer(&mut self, ack: i64, accepted: bool, said: &mut Vec<Said>) {
        let Some(seq) = u64::try_from(ack).ok() else { return };
        if self.take_asked(Some(seq)) {
            return said.push(Said::Here);
        }
        let Some(connection) = self.outbox.ledger.take(seq) else { return };
        if connection.listener == PROBE {
            return;
        }
        if accepted {
            drop(connection);
            said.push(Said::Accepted { seq });
        } else {
            said.push(Said::Returned { connection, fault: Fault::Refused });
        }
    }

    fn handle_ack(&mut self, said: &mut Vec<Said>) {
        match self.outbox.settle() {
            Some(SentHandle::Reply(sent)) => said.push(Said::HandleAcked { seq: sent.seq }),
            Some(SentHandle::Connection(seq)) if self.take_asked(Some(seq)) => said.push(Said::Here),
            // Its answer follows.
            Some(SentHandle::Connection(_)) => {}
            None => return,
        }
        self.try_flush();
    }

    /// The message that came with the handle was not delivered, so a query would wait for ever: it gets an error.
    fn handle_nack(&mut self, said: &mut Vec<Said>) -> io::Result<()> {
        match self.outbox.settle() {
            Some(SentHandle::Reply(sent)) => self.refuse(sent, said)?,
            Some(SentHandle::Connection(seq)) if self.take_asked(Some(seq)) => said.push(Said::Here),
            Some(SentHandle::Connection(seq)) => {
                let connection = self.outbox.ledger.take(seq);
                let connection = connection.filter(|connection| connection.listener != PROBE);
                let returned = connection.map(|connection| Said::Returned { connection, fault: Fault::Lost });
                said.extend(returned);
                self.try_flush();
            }
            None => {}
        }
        Ok(())
    }

    fn refuse(&mut self, sent: SentReply, said: &mut Vec<Said>) -> io::Result<()> {
        let SentReply { seq, ack, key, data } = sent;
        said.push(Said::HandleRefused { seq });
        let errno = -rustix::io::Errno::MFILE.raw_os_error();
        let ours = self.next_seq();
        let words = Reply { key: &key, errno, data: &data, sockname: None };
        self.reply(encode::reply(self.dialect(), None, ours, ack, words))?;
        said.push(Said::Closed { key });
        Ok(())
    }

    /// Queues a line and tries to write it.
    fn post(&mut self, line: Vec<u8>) -> Result<(), SendError> {
        if !self.writable {
            return Err(SendError::Closed);
        }
        self.outbox.push(line)?;
        self.flush().map_err(SendError::from_write)
    }

    fn post_handle(&mut self, line: Vec<u8>, fd: BorrowedFd<'_>, sent: SentReply) -> Result<(), SendError> {
        if !self.writable {
            return Err(SendError::Closed);
        }
        self.outbox.push_handle(line, fd.try_clone_to_owned()?, sent)?;
        self.flush().map_err(SendError::from_write)
    }

    /// A line that the protocol demands. That the worker can no longer read it is no error: what it said counts.
    fn reply(&mut self, line: Vec<u8>) -> io::Result<()> {
        match self.post(line) {
            Err(SendError::Full) => Err(io::ErrorKind::QuotaExceeded.into()),
            Ok(()) | Err(SendError::Closed | SendError::Io(_) | SendError::NotJson | SendError::Reserved) => {
                Ok(())
            }
        }
    }

    fn acknowledge(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.writable {
            return Ok(());
        }
        self.outbox.push_urgent(line).map_err(|_| io::ErrorKind::QuotaExceeded)?;
        self.try_flush();
        Ok(())
    }

    /// Writes what waits; that there is nobody to read is left to the next read to say.
    fn try_flush(&mut self) {
        let _ = self.flush();
    }

    const fn next_seq(&mut self) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        seq
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Said {
    /// Where a `Listening` is, as a person would write it: `[::]:3001`, `unix:/run/x.sock`.
    #[must_use]
    pub fn listening_at(&self) -> Option<String> {
        let Self::Listening { address, port, kind } = self else {
            return None;
        };
        Some(query::describe(address.as_deref(), *port, *kind, None))
    }
}

impl SendError {
    pub(super) fn from_write(error: io::Error) -> Self {
        let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        if gone.contains(&error.kind()) { Self::Closed } else { Self::Io(error) }
    }
}

impl HandleKind {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Stream => Self::Net,
            Kind::Datagram => Self::Dgram,
        }
    }
}
