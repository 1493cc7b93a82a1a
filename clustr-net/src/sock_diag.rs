//! Who listens on a port, and who is half-way to it: the kernel's own list of sockets.
//!
//! Owns one netlink question and the reading of its answer. Never touches a socket of anybody. Called by `queue` (to see
//! strangers), and by whoever closes a queue and must know that no handshake is under way to it.
//!
//! The kernel answers in the very call that asks, so nothing waits. A question about listeners walks the table of listeners
//! and costs microseconds; one about half-open handshakes walks the table of all connections, and costs up to
//! milliseconds where that is large: ask it when a queue goes, not every turn. How long one of *our* queues is needs no
//! netlink at all: see [`Queues::waiting`](crate::queue::Queues::waiting).
//!
//! Source: sock_diag(7). Only sockets of our network namespace are listed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::listener::Kind;

/// A socket that listens, or receives datagrams, on a port.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Listening {
    /// Where.
    pub addr: SocketAddr,
    /// The number that `/proc/PID/fd` shows, and fstat(2).
    pub inode: u64,
    /// Whose it is.
    pub uid: u32,
    /// It takes no IPv4 beside its IPv6.
    pub v6_only: bool,
    /// The one device that it is bound to, by its index; 0: all of them.
    pub device: u32,
    /// Streams: connections that wait to be accepted. Datagrams: bytes that wait to be read, the kernel's own included.
    pub waiting: u32,
}

/// A handshake under way (`SYN_RECV`). It stays with the queue that its SYN chose, and the kernel does not say which.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HalfOpen {
    /// Our end.
    pub local: SocketAddr,
    /// The client.
    pub remote: SocketAddr,
    /// Tells it from a later one between the same ends.
    pub cookie: [u32; 2],
}

/// A connection that a client has made, and that is open.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Connected {
    /// The number that `/proc/PID/fd` shows; 0: nobody has accepted it yet.
    pub inode: u64,
    /// Tells it from every other connection, accepted or not, for as long as the machine runs.
    pub cookie: [u32; 2],
    /// Bytes that wait to be read by the server.
    pub unread: u32,
    /// Bytes that the client has not acknowledged.
    pub unsent: u32,
    /// The client sends nothing more.
    pub half_closed: bool,
    /// The client has sent data, and was never sent any: its first request. The times in `quiet` do not show it where that came
    /// in the very moment in which the connection began.
    pub unanswered: bool,
    /// How long ago data came, and how long ago some was sent: both since the connection began, where there was none.
    pub quiet: Option<Quiet>,
}

/// Since when nothing has moved, in milliseconds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Quiet {
    /// Since data came from the client.
    pub received_ms: u32,
    /// Since data was sent to it.
    pub sent_ms: u32,
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const DUMP: u16 = 0x301;
const DONE: u16 = 3;
const ERROR: u16 = 2;
const CLOSED: u32 = 7;
const LISTEN: u32 = 10;
const ESTABLISHED: u32 = 1;
const CLOSE_WAIT: u32 = 8;
const SYN_RECV: u32 = 3;
const NEW_SYN_RECV: u32 = 12;
/// The attribute of listeners on IPv6 (`INET_DIAG_SKV6ONLY`).
const SKV6ONLY: u16 = 11;
/// `struct tcp_info` as an attribute, and as a wish (`INET_DIAG_INFO`).
const INFO: u16 = 2;
const WANTS_INFO: u8 = 1 << (INFO - 1);
/// `tcpi_last_data_sent` and `tcpi_last_data_recv` in it.
const LAST_DATA_SENT: usize = 44;
const LAST_DATA_RECEIVED: usize = 52;
/// `tcpi_data_segs_in` and `tcpi_data_segs_out` in it.
const DATA_SEGMENTS_IN: usize = 152;
const DATA_SEGMENTS_OUT: usize = 156;
/// As long as an answer may take to follow its request's last byte for a connection to count as idle meanwhile.
const IDLE_MS: u32 = 100;
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 72;
const ANSWER_BYTES: usize = 32 << 10;
/// Bound: what one question may bring.
const ENTRIES_MAX: usize = 1 << 20;

/// Every socket that listens on `port`, of both families.
///
/// # Errors
///
/// What socket(2) and the kernel say: `EPROTONOSUPPORT`, `ENOENT` without `inet_diag`; `EMFILE`.
pub fn listening(kind: Kind, port: u16) -> io::Result<Vec<Listening>> {
    let states = match kind {
        Kind::Stream => 1 << LISTEN,
        Kind::Datagram => 1 << CLOSED,
    };
    let entries = ask(kind, states, port, ENTRIES_MAX)?;
    let as_listening = |entry: Entry| Listening {
        addr: entry.local,
        inode: entry.inode.into(),
        uid: entry.uid,
        v6_only: entry.v6_only,
        device: entry.device,
        waiting: entry.waiting,
    };
    Ok(entries.into_iter().map(as_listening).collect())
}

/// Every handshake under way to `port`.
///
/// # Errors
///
/// As [`listening`].
pub fn half_open(port: u16) -> io::Result<BTreeSet<HalfOpen>> {
    let entries = ask(Kind::Stream, 1 << SYN_RECV | 1 << NEW_SYN_RECV, port, ENTRIES_MAX)?;
    let as_half = |entry: Entry| HalfOpen { local: entry.local, remote: entry.remote, cookie: entry.cookie };
    Ok(entries.into_iter().map(as_half).collect())
}

/// The inodes of every established connection to `port` that somebody has accepted. As dear as [`half_open`].
///
/// # Errors
///
/// As [`listening`].
pub fn established(port: u16) -> io::Result<Vec<u64>> {
    let entries = ask(Kind::Stream, 1 << ESTABLISHED, port, ENTRIES_MAX)?;
    // What waits to be accepted belongs to no descriptor yet.
    Ok(entries.into_iter().map(|entry| u64::from(entry.inode)).filter(|inode| *inode != 0).collect())
}

/// Every connection to `port` that somebody has accepted and not closed. As dear as [`half_open`].
///
/// # Errors
///
/// As [`listening`].
pub fn connections(port: u16) -> io::Result<Vec<Connected>> {
    some_connections(port, ENTRIES_MAX)
}

/// Every connection to `port` that is open, those that wait to be accepted included. As dear as [`half_open`].
///
/// # Errors
///
/// As [`listening`].
pub fn arrived(port: u16) -> io::Result<Vec<Connected>> {
    open(port, ENTRIES_MAX)
}

/// As [`connections`], and no more than about `count_max` of them, accepted or not: those that the kernel finds first.
///
/// # Errors
///
/// As [`listening`].
pub fn some_connections(port: u16, count_max: usize) -> io::Result<Vec<Connected>> {
    let mut found = open(port, count_max)?;
    found.retain(Connected::is_accepted);
    Ok(found)
}

fn open(port: u16, count_max: usize) -> io::Result<Vec<Connected>> {
    let entries = ask(Kind::Stream, 1 << ESTABLISHED | 1 << CLOSE_WAIT, port, count_max)?;
    let as_connected = |entry: Entry| Connected {
        inode: entry.inode.into(),
        cookie: entry.cookie,
        unread: entry.waiting,
        unsent: entry.unsent,
        half_closed: u32::from(entry.state) == CLOSE_WAIT,
        unanswered: entry.unanswered,
        quiet: entry.quiet,
    };
    Ok(entries.into_iter().map(as_connected).collect())
}

impl Connected {
    /// Whether somebody has it, or it still waits in a queue.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        self.inode != 0
    }

    /// Whether something is under way: bytes that were not read or not sent, a request (what came last came from the client), or
    /// an answer a moment ago, which more may follow. Else it is one that is kept open for another request. A client that
    /// sends nothing more waits for an answer.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let moves = self.unread > 0 || self.unsent > 0 || self.half_closed || self.unanswered;
        moves || self.quiet.is_some_and(|quiet| quiet.received_ms < quiet.sent_ms || quiet.sent_ms < IDLE_MS)
    }

    /// Whether what was under way so long ago is over, as far as this shows: the client was sent something since, and has then
    /// sent something itself, which is its next request.
    #[must_use]
    pub fn has_moved_on(&self, since: Duration) -> bool {
        let is_later = |ms: u32| Duration::from_millis(ms.into()) < since;
        self.quiet.is_some_and(|quiet| is_later(quiet.sent_ms) && quiet.received_ms < quiet.sent_ms)
    }
}

/// A process that has the socket open, by a look through `/proc/*/fd`: as good as permissions allow, and slow. For naming
/// a stranger, not for deciding.
#[must_use]
pub fn owner(inode: u64) -> Option<u32> {
    let pids = fs::read_dir("/proc").ok()?.flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|&pid| holds(pid, inode))
}

/// Whether a process has the socket open, as far as permissions let us see.
#[must_use]
pub fn holds(pid: u32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    folder
        .map(|entry| entry.path())
        .any(|path| fs::read_link(path).is_ok_and(|link| link.as_os_str() == &*wanted))
}

/// The inode of a socket of ours.
///
/// # Errors
///
/// What fstat(2) says.
pub fn inode(socket: impl AsFd) -> io::Result<u64> {
    Ok(fs::File::from(socket.as_fd().try_clone_to_owned()?).metadata()?.ino())
}

/// One `inet_diag_msg`.
struct Entry {
    local: SocketAddr,
    remote: SocketAddr,
    cookie: [u32; 2],
    waiting: u32,
    unsent: u32,
    state: u8,
    uid: u32,
    inode: u32,
    v6_only: bool,
    device: u32,
    unanswered: bool,
    quiet: Option<Quiet>,
}

fn ask(kind: Kind, states: u32, port: u16, count_max: usize) -> io::Result<Vec<Entry>> {
    let netlink = net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(net::netlink::SOCK_DIAG),
    )?;
    let mut entries = Vec::new();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        net::send(&netlink, &request(family, kind, states, port), SendFlags::empty())?;
        read_answer(&netlink, port, &mut entries, count_max)?;
        if entries.len() >= count_max {
            // What more there is the kernel has not listed yet: it does so as it is read.
            break;
        }
    }
    Ok(entries)
}

/// `nlmsghdr` and `inet_diag_req_v2`.
fn request(family: AddressFamily, kind: Kind, states: u32, port: u16) -> [u8; 72] {
    let mut bytes = [0; 72];
    let protocol = match kind {
        Kind::Stream => 6,
        Kind::Datagram => 17,
    };
    bytes[..4].copy_from_slice(&72_u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    bytes[16] = u8::try_from(family.as_raw()).unwrap_or_default();
    bytes[17] = protocol;
    bytes[18] = if states & 1 << ESTABLISHED == 0 { 0 } else { WANTS_INFO };
    bytes[20..24].copy_from_slice(&states.to_ne_bytes());
    bytes[24..26].copy_from_slice(&port.to_be_bytes());
    bytes
}

fn read_answer(netlink: &OwnedFd, port: u16, entries: &mut Vec<Entry>, count_max: usize) -> io::Result<()> {
    let mut buffer = vec![0; ANSWER_BYTES];
    while entries.len() < count_max {
        let (filled, len) = net::recv(netlink, buffer.as_mut_slice(), RecvFlags::TRUNC)?;
        if len > filled {
            return Err(ErrorKind::InvalidData.into());
        }
        for message in messages(&buffer[..filled]) {
            match message? {
                Message::Done => return Ok(()),
                Message::Socket(entry) if entry.local.port() == port && entries.len() < count_max => {
                    entries.push(entry);
                }
                Message::Socket(_) | Message::Other => {}
            }
        }
    }
    Ok(())
}

enum Message {
    Socket(Entry),
    Done,
    Other,
}

/// Walks netlink messages: `u32 len, u16 type, …`, padded to four bytes.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = io::Result<Message>> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let message = bytes.get(..len).filter(|message| message.len() >= HEADER_BYTES)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        let payload = &message[HEADER_BYTES..];
        Some(match u16::from_ne_bytes([message[4], message[5]]) {
            DONE => Ok(Message::Done),
            ERROR => Err(refusal(payload)),
            SOCK_DIAG_BY_FAMILY => Ok(entry(payload).map_or(Message::Other, Message::Socket)),
            _ => Ok(Message::Other),
        })
    })
}

fn refusal(payload: &[u8]) -> io::Error {
    let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
    io::Error::from_raw_os_error(code.saturating_neg())
}

fn entry(payload: &[u8]) -> Option<Entry> {
    let (payload, attributes) = payload.split_at_checked(ENTRY_BYTES)?;
    let word =
        |at: usize| u32::from_ne_bytes([payload[at], payload[at + 1], payload[at + 2], payload[at + 3]]);
    let port = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    let is_v6 = u16::from(payload[0]) == AddressFamily::INET6.as_raw();
    let end = |at: usize, port| SocketAddr::new(address(&payload[at..at + 16], is_v6), port);
    Some(Entry {
        local: end(8, port(4)),
        remote: end(24, port(6)),
        cookie: [word(44), word(48)],
        waiting: word(56),
        unsent: word(60),
        state: payload[1],
        uid: word(64),
        inode: word(68),
        v6_only: attribute(attributes, SKV6ONLY).is_some_and(|value| value.first() == Some(&1)),
        device: word(40),
        unanswered: attribute(attributes, INFO).and_then(unanswered).unwrap_or(false),
        quiet: attribute(attributes, INFO).and_then(quiet),
    })
}

fn quiet(info: &[u8]) -> Option<Quiet> {
    Some(Quiet { received_ms: word(info, LAST_DATA_RECEIVED)?, sent_ms: word(info, LAST_DATA_SENT)? })
}

/// Kernels before 4.6 do not count.
fn unanswered(info: &[u8]) -> Option<bool> {
    Some(word(info, DATA_SEGMENTS_IN)? > 0 && word(info, DATA_SEGMENTS_OUT)? == 0)
}

fn word(info: &[u8], at: usize) -> Option<u32> {
    info.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

/// The payload of an attribute: `u16 len, u16 type, payload`, padded to four bytes.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let whole = bytes.get(..len).filter(|whole| whole.len() >= 4)?;
        if u16::from_ne_bytes([whole[2], whole[3]]) == wanted {
            return Some(&whole[4..]);
        }
        bytes = bytes.get(len.next_multiple_of(4)..)?;
    }
}

fn address(bytes: &[u8], is_v6: bool) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(bytes);
    if is_v6 {
        return Ipv6Addr::from(octets).into();
    }
    Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT_REST: Connected = Connected {
        inode: 1,
        cookie: [1, 0],
        unread: 0,
        unsent: 0,
        half_closed: false,
        unanswered: false,
        quiet: None,
    };

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic_or_stand_still(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let count = messages(&bytes).count();
            prop_assert!(count <= bytes.len() / HEADER_BYTES);
        }
    }

    #[test]
    fn a_connection_is_idle_once_its_request_is_answered() {
        let quiet =
            |received_ms, sent_ms| Connected { quiet: Some(Quiet { received_ms, sent_ms }), ..AT_REST };
        assert!(!quiet(5_030, 5_000).is_busy(), "kept open");
        assert!(quiet(20, 5_000).is_busy(), "a request");
        assert!(quiet(9_000, 40).is_busy(), "an answer in pieces");
        for moves in [
            Connected { unread: 1, ..quiet(900, 500) },
            Connected { unsent: 1, ..quiet(900, 500) },
            Connected { half_closed: true, ..quiet(900, 500) },
            Connected { unanswered: true, ..quiet(900, 900) },
        ] {
            assert!(moves.is_busy(), "{moves:?}");
        }
    }

    #[test]
    fn a_connection_has_moved_on_when_its_client_was_answered_and_has_sent_again() {
        let moved_on = |received_ms, sent_ms| {
            let one = Connected { quiet: Some(Quiet { received_ms, sent_ms }), ..AT_REST };
            one.has_moved_on(Duration::from_millis(100))
        };
        assert!(moved_on(10, 20), "the next request");
        assert!(!moved_on(10, 500), "a long request: nothing was sent yet");
        assert!(!moved_on(50, 10), "an answer, and maybe more of it");
        assert!(!moved_on(150, 200), "nothing since");
    }

    #[test]
    fn an_error_of_the_kernel_is_an_error() {
        let mut bytes = 20_u32.to_ne_bytes().to_vec();
        bytes.extend(ERROR.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend((-2_i32).to_ne_bytes());
        let error = messages(&bytes).next().unwrap().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
