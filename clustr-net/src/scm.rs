//! Bytes and descriptors in one message: `SCM_RIGHTS` over a Unix socket.
//!
//! Owns the rule that a descriptor travels in the same `sendmsg` as the bytes that name it, and that every
//! descriptor that arrives is owned before anything else can fail. Never interprets the bytes. Called by whatever
//! speaks over a Unix socket: `FdChannel`, `node::Endpoint`, `node::Worker`.
//!
//! Sources: unix(7), cmsg(3), recvmsg(2).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{self, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::sys;

/// The most descriptors that the kernel takes in one message (`SCM_MAX_FD`).
pub const FDS_MAX: usize = 253;

/// What one [`recv`] brought beside its bytes and descriptors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// Bytes written to the buffer. 0 is the end of the stream.
    pub bytes: usize,
    /// The message was longer than the buffer and its rest is gone (message sockets only).
    pub bytes_cut: bool,
    /// The kernel dropped descriptors: our table is full, or a security module refused them.
    pub fds_lost: bool,
    /// Who sent the bytes, if `SO_PASSCRED` is on. One call never mixes two senders.
    pub sender: Option<Sender>,
}

/// The process that sent a message, as checked by the kernel (`SCM_CREDENTIALS`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sender {
    /// Its pid in our pid namespace, if it has one there.
    pub pid: Option<u32>,
    /// Its user.
    pub uid: u32,
}

/// Sends bytes, and the descriptors that they speak of, in one `sendmsg`. Never raises SIGPIPE.
///
/// Returns how many bytes went out. Once that is more than none, all descriptors went with the first of them.
///
/// # Errors
///
/// `InvalidInput` for descriptors without bytes (a stream would drop them silently) and for more than [`FDS_MAX`];
/// else what sendmsg(2) says, `WouldBlock` included.
#[doc(alias = "SCM_RIGHTS")]
pub fn send(fd: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.is_empty() {
        return Ok(rustix::io::retry_on_intr(|| net::send(&fd, bytes, SendFlags::NOSIGNAL))?);
    }
    if bytes.is_empty() || fds.len() > FDS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    send_parts(fd.as_fd(), &[IoSlice::new(bytes)], fds)
}

/// The same for bytes in several places, at least one and with at most [`FDS_MAX`] descriptors.
pub(crate) fn send_parts(
    fd: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let pushed = fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds));
    debug_assert!(pushed, "the buffer has room for the most that a message can carry");
    Ok(rustix::io::retry_on_intr(|| net::sendmsg(fd, parts, &mut control, SendFlags::NOSIGNAL))?)
}

/// Receives bytes into `buf` and appends the descriptors that came with them, close-on-exec, to `fds`.
///
/// There is room for all descriptors that a message can hold, so none is lost for want of a buffer. On a stream the
/// kernel ends a read with the piece of data that carried descriptors: they belong to the last bytes of `buf`.
///
/// # Errors
///
/// What recvmsg(2) says, `WouldBlock` included; no descriptor arrives then.
#[doc(alias = "SCM_RIGHTS")]
pub fn recv(fd: impl AsFd, buf: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<Received> {
    recv_parts(fd.as_fd(), &mut [IoSliceMut::new(buf)], fds)
}

/// The same into several places, one after the other.
pub(crate) fn recv_parts(
    fd: BorrowedFd<'_>,
    parts: &mut [IoSliceMut<'_>],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<Received> {
    let arrival = loop {
        match sys::receive(fd, parts, fds) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    Ok(Received {
        bytes: arrival.bytes,
        bytes_cut: arrival.bytes_cut,
        fds_lost: arrival.control_cut,
        sender: arrival.credentials.map(|[pid, uid, _gid]| Sender { pid: (pid != 0).then_some(pid), uid }),
    })
}
