//! sd_notify, both sides: workers tell us, and we tell whoever supervises us.
//!
//! Owns the protocol (sd_notify(3)), the socket that hears workers ([`Inbox`]) and the one that tells systemd ([`Outbox`]).
//! Never decides whom to believe: a message says which process sent it, checked by the kernel, and whoever knows the workers
//! compares. Called by a primary.
//!
//! Whatever a worker sends is bounded and harmless: a datagram of at most [`DATAGRAM_BYTES_MAX`] bytes, descriptors that come
//! along are closed, unknown words are counted and ignored, a text is shown without control characters.
//!
//! | word | what becomes of it |
//! |---|---|
//! | `READY=1`, `STOPPING=1`, `RELOADING=1` (with `MONOTONIC_USEC`) | a [`Word`] |
//! | `STATUS=`, `ERRNO=`, `MAINPID=`, `EXTEND_TIMEOUT_USEC=` | a [`Word`] |
//! | `WATCHDOG=1`, `WATCHDOG=trigger`, `WATCHDOG_USEC=` | a [`Word`] |
//! | `FDSTORE=1`, `FDSTOREREMOVE=1`, `FDNAME=`, `FDPOLL=` | refused: [`Word::FdStore`], for nothing is stored here |
//! | `BARRIER=1` | its descriptor is closed, which is the answer that sd_notify_barrier(3) waits for |
//! | everything else | counted in [`Message::unknown`] |

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::net::{self, AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::scm::{self, Sender};
use crate::socket_file::{Route, SocketFile};

/// The variable that names the socket.
pub const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// Bound: bytes of a datagram, as in systemd.
pub const DATAGRAM_BYTES_MAX: usize = 4096;
/// Bound: words of one datagram that are looked at; the rest count as unknown.
pub const WORDS_MAX: usize = 64;
/// Bound: letters of a status text.
pub const STATUS_CHARS_MAX: usize = 512;

/// One thing that a process says.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Word {
    /// It can serve; or its reload is complete.
    Ready,
    /// It begins to reload.
    Reloading,
    /// When it began to, on the monotonic clock: comes with [`Word::Reloading`].
    Since(Duration),
    /// It begins to stop.
    Stopping,
    /// What it is about, for people: without control characters, cut at [`STATUS_CHARS_MAX`].
    Status(String),
    /// The errno of its failure.
    Errno(u32),
    /// The pid of its main process, in its own pid namespace.
    MainPid(u32),
    /// It is alive.
    Alive,
    /// Its watchdog found something wrong: act as if its time were over.
    WatchdogTrigger,
    /// It will say that it is alive at least this often; `None`: no more.
    WatchdogEvery(Option<Duration>),
    /// It needs this much longer for what it is about (start, reload, stop), from now on.
    ExtendTimeout(Duration),
    /// It wants descriptors to be kept or given up; nobody does.
    FdStore,
    /// It waits until this is read.
    Barrier,
}

/// What one datagram says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    /// In the order in which they stand.
    pub words: Vec<Word>,
    /// Lines that mean nothing here, or have no sense.
    pub unknown: u32,
}

/// Reads a datagram. Never fails: what has no sense is counted.
#[must_use]
pub fn parse(datagram: &[u8]) -> Message {
    let mut message = Message::default();
    let lines = datagram.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    for line in lines.take(DATAGRAM_BYTES_MAX) {
        match word(line).filter(|_| message.words.len() < WORDS_MAX) {
            Some(word) => message.words.push(word),
            None => message.unknown = message.unknown.saturating_add(1),
        }
    }
    message
}

fn word(line: &[u8]) -> Option<Word> {
    let at = line.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (&line[..at], &line[at + 1..]);
    match (name, value) {
        (b"READY", b"1") => Some(Word::Ready),
        (b"RELOADING", b"1") => Some(Word::Reloading),
        (b"STOPPING", b"1") => Some(Word::Stopping),
        (b"WATCHDOG", b"1") => Some(Word::Alive),
        (b"WATCHDOG", b"trigger") => Some(Word::WatchdogTrigger),
        (b"BARRIER", b"1") => Some(Word::Barrier),
        (b"FDSTORE" | b"FDSTOREREMOVE", b"1") | (b"FDNAME" | b"FDPOLL", _) => Some(Word::FdStore),
        (b"STATUS", text) => Some(Word::Status(readable(text))),
        (b"ERRNO", digits) => decimal(digits)?.try_into().ok().map(Word::Errno),
        (b"MAINPID", digits) => {
            decimal(digits)?.try_into().ok().filter(|&pid: &u32| pid > 0).map(Word::MainPid)
        }
        (b"MONOTONIC_USEC", digits) => Some(Word::Since(Duration::from_micros(decimal(digits)?))),
        (b"EXTEND_TIMEOUT_USEC", digits) => {
            Some(Word::ExtendTimeout(Duration::from_micros(decimal(digits)?)))
        }
        (b"WATCHDOG_USEC", digits) => {
            let every = decimal(digits)?;
            Some(Word::WatchdogEvery((every > 0).then(|| Duration::from_micros(every))))
        }
        _ => None,
    }
}

/// Digits only, and no more than fit.
fn decimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn readable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().filter(|letter| !letter.is_control()).take(STATUS_CHARS_MAX).collect()
}

/// The socket that hears workers.
#[derive(Debug)]
pub struct Inbox {
    socket: OwnedFd,
    variable: Vec<u8>,
    _file: Option<SocketFile>,
}

/// A message, and who sent it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heard {
    /// The process that sent it, which may be a child of the worker; no pid if it lives where we cannot see it.
    pub sender: Sender,
    /// What it says. Empty, with one unknown, for a datagram that was too long.
    pub message: Message,
}

impl Inbox {
    /// Makes a socket with a file, for this user only; it goes with the inbox. The path is to be absolute, for it is what
    /// [`value`](Self::value) says to processes in any folder.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a path that is relative or longer than 107 bytes; what bind(2) says: `AddrInUse` if anything is there.
    pub fn at_path(path: &Path) -> io::Result<Self> {
        let name = SocketAddrUnix::new(path).map_err(|_| ErrorKind::InvalidInput)?;
        if !path.is_absolute() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let socket = open()?;
        net::bind(&socket, &name)?;
        let file = SocketFile::made_at(path)?;
        file.set_mode(Some(0o600))?;
        Ok(Self { socket, variable: path.as_os_str().as_bytes().to_vec(), _file: Some(file) })
    }

    /// Makes a socket with a name in the abstract namespace: any process of this network namespace can send to it, so look at
    /// senders.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a name with a NUL byte or more than 107 bytes; `AddrInUse`.
    pub fn at_abstract(name: &[u8]) -> io::Result<Self> {
        if name.contains(&0) || name.is_empty() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let socket = open()?;
        let address = SocketAddrUnix::new_abstract_name(name).map_err(|_| ErrorKind::InvalidInput)?;
        net::bind(&socket, &address)?;
        Ok(Self { socket, variable: [b"@", name].concat(), _file: None })
    }

    /// What `NOTIFY_SOCKET` shall be for workers.
    #[must_use]
    pub fn value(&self) -> &OsStr {
        OsStr::from_bytes(&self.variable)
    }

    /// The next message; `None`: no more for now. What no process can be named for is dropped.
    ///
    /// # Errors
    ///
    /// What recvmsg(2) says.
    pub fn recv(&self) -> io::Result<Option<Heard>> {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        loop {
            let mut fds = Vec::new();
            let received = match scm::recv(&self.socket, &mut buffer, &mut fds) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                other => other?,
            };
            // Whatever came along is closed; for a barrier that is the answer.
            drop(fds);
            let Some(sender) = received.sender else { continue };
            let cut = Message { words: Vec::new(), unknown: 1 };
            let message = if received.bytes_cut { cut } else { parse(&buffer[..received.bytes]) };
            return Ok(Some(Heard { sender, message }));
        }
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_passcred(&socket, true)?;
    Ok(socket)
}

/// The way to whoever supervises us.
#[derive(Debug)]
pub struct Outbox {
    socket: OwnedFd,
    to: Route,
    name: SocketAddrUnix,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// `vsock:`, which a virtual machine's manager uses.
    #[error("NOTIFY_SOCKET {0:?} is a vsock address, and only Unix sockets are supported")]
    Vsock(String),
    /// Neither an absolute path nor a name with `@`.
    #[error("NOTIFY_SOCKET {0:?} is neither an absolute path nor an abstract name")]
    Address(String),
    /// There is no socket to send from.
    #[error("could not open a socket for NOTIFY_SOCKET")]
    Io(#[from] io::Error),
}

impl Outbox {
    /// For the value of `NOTIFY_SOCKET`. Nothing is sent yet; that nobody is there shows when it is.
    ///
    /// # Errors
    ///
    /// [`OutboxError`]. A primary can go on without.
    pub fn new(value: &OsStr) -> Result<Self, OutboxError> {
        let bad = || OutboxError::Address(value.to_string_lossy().into_owned());
        let (to, name) = match value.as_bytes() {
            [b'@', name @ ..] if !name.is_empty() => {
                (Route::to(Path::new("/")), SocketAddrUnix::new_abstract_name(name).map_err(|_| bad())?)
            }
            [b'/', _, ..] => {
                let route = Route::to(Path::new(value))?;
                let name = SocketAddrUnix::new(route.path()).map_err(|_| bad())?;
                (Ok(route), name)
            }
            bytes if bytes.starts_with(b"vsock") => {
                return Err(OutboxError::Vsock(value.to_string_lossy().into_owned()));
            }
            _ => return Err(bad()),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).map_err(io::Error::from)?;
        Ok(Self { socket, to: to?, name })
    }

    /// We can serve, or the reload is complete; with a word for people.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), like all of these.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send(&format!("READY=1\n{}", status_line(status)))
    }

    /// What we are about.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn status(&self, status: &str) -> io::Result<()> {
        self.send(&status_line(status))
    }

    /// A reload begins, at this time on the kernel's monotonic clock (`Type=notify-reload` needs that).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn reloading(&self, now: Duration) -> io::Result<()> {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()))
    }

    /// A stop begins.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }

    /// We are alive: see [`watchdog`].
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn alive(&self) -> io::Result<()> {
        self.send("WATCHDOG=1")
    }

    /// Sends a datagram, whole or not at all. Never waits.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused`, `NotFound`: nobody is there; `WouldBlock`: it does not read.
    pub fn send(&self, text: &str) -> io::Result<()> {
        debug_assert!(self.to.path().is_absolute());
        rustix::io::retry_on_intr(|| {
            net::sendto(&self.socket, text.as_bytes(), SendFlags::NOSIGNAL, &self.name)
        })?;
        Ok(())
    }
}

/// One line, whatever is in the text.
fn status_line(status: &str) -> String {
    format!("STATUS={}", readable(status.as_bytes()))
}

/// How often our supervisor wants to hear that we are alive (sd_watchdog_enabled(3)): from `WATCHDOG_USEC` and `WATCHDOG_PID`,
/// for the process of this pid. Say so twice as often.
#[must_use]
pub fn watchdog(usec: Option<&OsStr>, wanted_pid: Option<&OsStr>, pid: u32) -> Option<Duration> {
    let for_us = wanted_pid.is_none_or(|wanted| wanted.as_bytes() == pid.to_string().as_bytes());
    let every = decimal(usec?.as_bytes()).filter(|&every| for_us && every > 0)?;
    Some(Duration::from_micros(every))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<Word> {
        parse(text.as_bytes()).words
    }

    #[test]
    fn what_a_worker_says_is_understood() {
        assert_eq!(
            words("READY=1\nSTATUS=serving 3 clients\nMAINPID=42\n"),
            [Word::Ready, Word::Status("serving 3 clients".into()), Word::MainPid(42)]
        );
        let second = Duration::from_secs(1);
        assert_eq!(
            words("RELOADING=1\nMONOTONIC_USEC=1000000\nSTOPPING=1\nERRNO=2\nEXTEND_TIMEOUT_USEC=1000000"),
            [
                Word::Reloading,
                Word::Since(second),
                Word::Stopping,
                Word::Errno(2),
                Word::ExtendTimeout(second)
            ]
        );
        assert_eq!(
            words("WATCHDOG=1\nWATCHDOG=trigger\nWATCHDOG_USEC=1000000\nWATCHDOG_USEC=0\nBARRIER=1"),
            [
                Word::Alive,
                Word::WatchdogTrigger,
                Word::WatchdogEvery(Some(second)),
                Word::WatchdogEvery(None),
                Word::Barrier
            ]
        );
        assert_eq!(words("FDSTORE=1\nFDNAME=x"), [Word::FdStore, Word::FdStore]);
    }

    #[test]
    fn what_has_no_sense_is_counted() {
        for line in [
            "READY=0",
            "READY",
            "X_APP=1",
            "MAINPID=0",
            "MAINPID=-1",
            "ERRNO=+2",
            "WATCHDOG_USEC=1s",
            "=",
            "MAINPID=99999999999",
        ] {
            assert_eq!(parse(line.as_bytes()), Message { words: vec![], unknown: 1 }, "{line}");
        }
        assert_eq!(parse(b""), Message::default());
        let many = parse("READY=1\n".repeat(500).as_bytes());
        assert_eq!((many.words.len(), many.unknown), (WORDS_MAX, 500 - 64));
    }

    #[test]
    fn a_status_plays_no_tricks_on_a_terminal() {
        assert_eq!(words("STATUS=a\x1b[31mb\tc"), [Word::Status("a[31mbc".into())]);
        assert_eq!(parse(b"STATUS=\xff").words, [Word::Status("\u{fffd}".into())]);
    }

    #[test]
    fn a_watchdog_is_for_the_process_that_it_names() {
        let of = |usec: &str, pid: Option<&str>| watchdog(Some(usec.as_ref()), pid.map(OsStr::new), 42);
        assert_eq!(of("2000000", Some("42")), Some(Duration::from_secs(2)));
        assert_eq!(of("2000000", None), Some(Duration::from_secs(2)));
        assert_eq!(
            [of("2000000", Some("1")), of("0", None), of("x", None), watchdog(None, None, 42)],
            [None; 4]
        );
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_reader_panic_or_grow(bytes in proptest::collection::vec(any::<u8>(), 0..DATAGRAM_BYTES_MAX)) {
            let message = parse(&bytes);
            prop_assert!(message.words.len() <= WORDS_MAX);
            let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
            prop_assert_eq!(message.words.len() + message.unknown as usize, lines);
        }

        #[test]
        fn known_words_among_others_are_found(noise in proptest::collection::vec("[^\n]{0,20}", 0..10)) {
            let text = format!("{}\nSTOPPING=1\n{}", noise.join("\n"), noise.join("\n"));
            prop_assert!(words(&text).contains(&Word::Stopping));
        }
    }
}
