//! Connections of our own to a worker, over loopback: to ask it something.
//!
//! Owns how they are made without waiting: from a certain source port, which is how a queue is chosen
//! ([`Queues::probe_port`](crate::queue::Queues::probe_port)); or as a [`Pair`], of which one end is given to the worker as if a
//! client had come. Never reads or writes. Called by a primary that probes its workers.
//!
//! Source: connect(2), socket(7). A socket that is closed before its peer has closed is reset (`SO_LINGER` with 0), so that no
//! `TIME_WAIT` keeps a source port from being used again; one whose peer has closed before leaves none anyway.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// Bound: strangers that came to a pair's listener before our own end did.
const STRANGERS_MAX: usize = 16;

/// Both ends of a connection over TCP, in the making.
#[derive(Debug)]
pub struct Pair {
    listener: OwnedFd,
    client: OwnedFd,
    client_addr: SocketAddr,
}

impl Pair {
    /// Begins one. As a rule the kernel has made it when this returns; where it is busy, it takes a moment.
    ///
    /// # Errors
    ///
    /// What socket(2), bind(2) and connect(2) say: `EMFILE`, `EADDRNOTAVAIL` without a loopback device.
    pub fn begin() -> io::Result<Self> {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = socket(here)?;
        net::bind(&listener, &here)?;
        net::listen(&listener, 1)?;
        let client = connect(local_addr(&listener)?, None)?;
        let client_addr = local_addr(&client)?;
        Ok(Self { listener, client, client_addr })
    }

    /// The end to be given away, non-blocking; `None` if it is not there yet. Nobody else's connection is taken for it.
    ///
    /// # Errors
    ///
    /// What accept(2) says.
    pub fn accept(&self) -> io::Result<Option<OwnedFd>> {
        for _ in 0..STRANGERS_MAX {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match net::acceptfrom_with(&self.listener, flags) {
                Ok((fd, from)) => {
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                    if from == Some(self.client_addr) {
                        return Ok(Some(fd));
                    }
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Our own end.
    #[must_use]
    pub fn into_client(self) -> OwnedFd {
        self.client
    }
}

impl AsFd for Pair {
    /// Readable once [`accept`](Self::accept) may have something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Both ends of a Unix connection, non-blocking: for a worker that listens on a path.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`.
pub fn unix_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Begins a connection from the loopback address, and from `port` if one is given, without waiting for it: it is there when
/// the socket is writable and [`failure`] says nothing. To an address that means all addresses, it goes to the loopback one.
///
/// # Errors
///
/// What bind(2) and connect(2) say: `EADDRINUSE` where somebody listens on the source port.
pub fn connect(to: SocketAddr, port: Option<u16>) -> io::Result<OwnedFd> {
    let to = reachable(to);
    let socket = socket(to)?;
    if let Some(port) = port {
        // Two primaries may use one source port at a time, to different ends.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        net::bind(&socket, &SocketAddr::new(loopback(to), port))?;
    }
    match net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Why a connection that was begun is not there, if it never will be.
#[must_use]
pub fn failure(socket: impl AsFd) -> Option<io::Error> {
    match sockopt::socket_error(socket) {
        Ok(Ok(())) => None,
        Ok(Err(error)) | Err(error) => Some(error.into()),
    }
}

/// Whether a connection that was begun is there, and still is.
#[must_use]
pub fn is_connected(socket: impl AsFd) -> bool {
    net::getpeername(socket).is_ok()
}

/// Closes a connection whose peer has not closed it, and leaves nothing of it.
pub fn reset(socket: OwnedFd) {
    // Without it the kernel ends the connection in its own time, and only the source port stays taken for that long.
    let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    drop(socket);
}

fn socket(of_kind: SocketAddr) -> io::Result<OwnedFd> {
    let family = if of_kind.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?)
}

fn local_addr(socket: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(net::getsockname(socket)?).map_err(|_| Errno::AFNOSUPPORT)?)
}

/// Whoever listens on all addresses is reached on the loopback one of the same family.
fn reachable(to: SocketAddr) -> SocketAddr {
    if to.ip().is_unspecified() { SocketAddr::new(loopback(to), to.port()) } else { to }
}

const fn loopback(of_kind: SocketAddr) -> IpAddr {
    match of_kind {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}
