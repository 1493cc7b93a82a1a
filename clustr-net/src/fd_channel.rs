//! Whole messages with descriptors between two processes: nothing is cut, nothing is guessed, nothing leaks.
//!
//! Owns one end of a `SOCK_SEQPACKET` pair, and the rule that a message says how many descriptors it brings (its
//! *manifest*) and is refused, with all that came, if that is not so. Never interprets the bytes, never queues, never
//! waits: both directions answer `WouldBlock`. Called by `handoff`, and by whoever sends descriptors between processes.
//!
//! # A message on the wire
//!
//! | bytes | what |
//! |---|---|
//! | 0 | `0xc5`: this is a message of ours |
//! | 1 | [`VERSION`] of the layout, 1 |
//! | 2, 3 | how many descriptors it brings, 0 to [`FDS_MAX`], little-endian |
//! | 4 … | what the user sent, 0 to [`BYTES_MAX`] bytes |
//!
//! The descriptors travel in the same `sendmsg` (`SCM_RIGHTS`). Packets keep bytes and descriptors together, where a
//! stream lets them drift apart. The four bytes in front also mean that no message is ever empty: an empty packet cannot
//! be told from the end of the channel. Sources: unix(7), recvmsg(2), cmsg(3).
//!
//! ```
//! use std::os::fd::AsFd;
//!
//! use clustr_net::FdChannel;
//!
//! let (ours, theirs) = FdChannel::pair()?;
//! let theirs = FdChannel::new(theirs)?; // in the other process
//! let (near, far) = std::os::unix::net::UnixStream::pair()?;
//! ours.send(b"two ends", &[near.as_fd(), far.as_fd()])?;
//!
//! let (mut bytes, mut fds) = ([0; 64], Vec::new());
//! let count = theirs.recv(&mut bytes, &mut fds)?;
//! assert_eq!((&bytes[..count], fds.len()), (&b"two ends"[..], 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::scm::{self, FDS_MAX};

/// The layout's version: both ends must have the same.
pub const VERSION: u8 = 1;
/// Bound: bytes of one message, its four bytes in front not counted.
pub const BYTES_MAX: usize = 64 << 10;

const MAGIC: u8 = 0xc5;
const HEADER_BYTES: usize = 4;

/// One end of a channel.
#[derive(Debug)]
pub struct FdChannel {
    socket: OwnedFd,
}

/// Why a message did not arrive. Whatever descriptors it brought are closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The other end is closed, and all that it said before was read.
    #[error("the other end of the channel is closed")]
    Closed,
    /// It is longer than the buffer. The rest is gone.
    #[error("the message is longer than its reader allows")]
    TooLong,
    /// It does not begin as a message of this version does.
    #[error("the message is none of this version's")]
    Foreign,
    /// It says that it brings another number of descriptors than it does.
    #[error("the message brings {came} descriptors and says {said}")]
    Manifest {
        /// What it says.
        said: usize,
        /// What came.
        came: usize,
    },
    /// The kernel had to drop descriptors: our table is full. The bytes are good, and stand in the buffer.
    #[error("{came} of {said} descriptors arrived: no more can be open")]
    FdsLost {
        /// Bytes of the message in the buffer.
        bytes: usize,
        /// How many were sent.
        said: usize,
        /// How many came, and were closed.
        came: usize,
    },
    /// The kernel's word, `WouldBlock` included.
    #[error("the channel cannot be read")]
    Io(#[from] io::Error),
}

impl FdChannel {
    /// Makes a channel: our end, and the other process's, for it to take with [`new`](Self::new). Both are close-on-exec.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`: no descriptor left.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self::new(ours)?, theirs))
    }

    /// Takes an end that was made elsewhere; it becomes non-blocking.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is no packet socket; `ENOTSOCK`.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        if sockopt::socket_type(&socket)? != SocketType::SEQPACKET {
            return Err(ErrorKind::InvalidInput.into());
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket })
    }

    /// Sends one message, whole or not at all. Never raises SIGPIPE; the descriptors stay the caller's.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for more than [`BYTES_MAX`] bytes or [`FDS_MAX`] descriptors; `BrokenPipe` if
    /// the other end is closed; `WouldBlock` if it does not read; `ETOOMANYREFS` if more descriptors are under way than
    /// this user may have open; else what sendmsg(2) says.
    #[doc(alias = "SCM_RIGHTS")]
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let (true, Ok(count)) = (bytes.len() <= BYTES_MAX && fds.len() <= FDS_MAX, u16::try_from(fds.len()))
        else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let [low, high] = count.to_le_bytes();
        let header = [MAGIC, VERSION, low, high];
        let parts = [IoSlice::new(&header), IoSlice::new(bytes)];
        match scm::send_parts(self.as_fd(), &parts, fds) {
            Ok(_) => Ok(()),
            // The other end was closed with messages of ours unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(ErrorKind::BrokenPipe.into()),
            Err(error) => Err(error),
        }
    }

    /// Takes one message: its bytes to the front of `buf`, its descriptors, close-on-exec, to the end of `fds`. Returns
    /// how many bytes. Every descriptor is owned before anything else can fail.
    ///
    /// # Errors
    ///
    /// [`RecvError`]: nothing was added to `fds` then. The channel can be read on after all but [`RecvError::Closed`].
    #[doc(alias = "SCM_RIGHTS")]
    pub fn recv(&self, buf: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<usize, RecvError> {
        let before = fds.len();
        self.recv_checked(buf, fds).inspect_err(|_| fds.truncate(before))
    }

    fn recv_checked(&self, buf: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<usize, RecvError> {
        let (mut header, before) = ([0; HEADER_BYTES], fds.len());
        let received = self.recv_raw(&mut header, buf, fds)?;
        let came = fds.len() - before;
        if received.bytes == 0 {
            return Err(RecvError::Closed);
        }
        if received.bytes_cut {
            return Err(RecvError::TooLong);
        }
        let (Some(bytes), [MAGIC, VERSION, low, high]) = (received.bytes.checked_sub(HEADER_BYTES), header)
        else {
            return Err(RecvError::Foreign);
        };
        match usize::from(u16::from_le_bytes([low, high])) {
            said if said == came && !received.fds_lost => Ok(bytes),
            said if said > came && received.fds_lost => Err(RecvError::FdsLost { bytes, said, came }),
            said => Err(RecvError::Manifest { said, came }),
        }
    }

    /// The kernel tells once that the other end was closed with messages of ours unread, before it gives what that end
    /// had said: so asking again is right.
    fn recv_raw(
        &self,
        header: &mut [u8],
        buf: &mut [u8],
        fds: &mut Vec<OwnedFd>,
    ) -> io::Result<scm::Received> {
        let mut parts = [IoSliceMut::new(header), IoSliceMut::new(buf)];
        match scm::recv_parts(self.as_fd(), &mut parts, fds) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                scm::recv_parts(self.as_fd(), &mut parts, fds)
            }
            other => other,
        }
    }

    /// Takes nothing more: from now on the other end's `send` fails. What has arrived can still be read.
    ///
    /// # Errors
    ///
    /// What shutdown(2) says.
    pub fn shut_read(&self) -> io::Result<()> {
        Ok(net::shutdown(&self.socket, net::Shutdown::Read)?)
    }
}

impl AsFd for FdChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<FdChannel> for OwnedFd {
    fn from(channel: FdChannel) -> Self {
        channel.socket
    }
}
