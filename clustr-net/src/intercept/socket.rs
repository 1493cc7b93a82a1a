//! The socket of a stopped call: what kind it is, and what is done to it in the caller's stead.
//!
//! Owns the two ways to it. In [`Way::Adopt`] a duplicate of the very socket is taken, so that all its options are what the
//! program made them; in [`Way::Replace`], where that is forbidden, a socket of the same kind is made. Never decides what
//! becomes of it. Called by `responder`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, Protocol, SocketFlags, SocketType, sockopt};

use super::Way;
use super::rules::Why;
use super::sys;
use super::thread::{Thread, inode_of};

/// `IPPROTO_TCP` and `IPPROTO_UDP` are what 0 means for their kinds.
const USUAL: [u32; 3] = [0, 6, 17];
const MPTCP: u32 = 262;

/// A socket of the caller.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) inode: u64,
    pub(super) shape: Shape,
    /// A duplicate of it; `None` where we may not have one.
    pub(super) own: Option<OwnedFd>,
    /// The program has set `SO_REUSEPORT`: it may bind an address twice.
    pub(super) reuse_port: bool,
}

/// What a socket is made from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shape {
    pub(super) family: AddressFamily,
    pub(super) kind: SocketType,
    pub(super) protocol: u32,
}

/// What a look came to, if not to a socket that can be shared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Blind {
    /// The kernel will say what is wrong: it is no open socket.
    NoSocket,
    /// It goes on as it is.
    Leave(Why),
}

impl Socket {
    pub(super) fn look(thread: Thread, number: u32, way: Way) -> Result<Self, Blind> {
        let socket = match way {
            Way::Adopt => Self::taken(thread, number),
            Way::Replace { .. } => Self::seen(thread, number),
        };
        let socket = socket.map_err(|error| blind(&error))?;
        let is_here = socket.own.as_ref().is_none_or(|own| is_in_our_namespace(own.as_fd()));
        if !is_here {
            return Err(Blind::Leave(Why::Namespace));
        }
        if socket.shape.is_shared() { Ok(socket) } else { Err(Blind::Leave(Why::Kind)) }
    }

    fn taken(thread: Thread, number: u32) -> io::Result<Self> {
        let own = thread.descriptor(number)?;
        let family = sockopt::socket_domain(&own)?;
        let kind = sockopt::socket_type(&own)?;
        let protocol = sockopt::socket_protocol(&own)?.map_or(0, |protocol| protocol.as_raw().get());
        let protocol = if USUAL.contains(&protocol) { 0 } else { protocol };
        let reuse_port = is_inet(family) && sockopt::socket_reuseport(&own)?;
        let inode = inode_of(&own)?;
        Ok(Self { inode, shape: Shape { family, kind, protocol }, own: Some(own), reuse_port })
    }

    fn seen(thread: Thread, number: u32) -> io::Result<Self> {
        let inode = thread.inode(number)?;
        let shape = Shape::named(&thread.protocol(number)?).ok_or(Errno::PROTONOSUPPORT)?;
        Ok(Self { inode, shape, own: None, reuse_port: false })
    }
}

impl Shape {
    /// By the kernel's word for it.
    fn named(protocol: &str) -> Option<Self> {
        let (family, kind, protocol) = match protocol {
            "TCP" => (AddressFamily::INET, SocketType::STREAM, 0),
            "TCPv6" => (AddressFamily::INET6, SocketType::STREAM, 0),
            "UDP" => (AddressFamily::INET, SocketType::DGRAM, 0),
            "UDPv6" => (AddressFamily::INET6, SocketType::DGRAM, 0),
            "MPTCP" => (AddressFamily::INET, SocketType::STREAM, MPTCP),
            "MPTCPv6" => (AddressFamily::INET6, SocketType::STREAM, MPTCP),
            "UNIX-STREAM" => (AddressFamily::UNIX, SocketType::STREAM, 0),
            _ => return None,
        };
        Some(Self { family, kind, protocol })
    }

    pub(super) fn is_datagram(self) -> bool {
        self.kind == SocketType::DGRAM
    }

    pub(super) fn is_unix(self) -> bool {
        self.family == AddressFamily::UNIX
    }

    fn is_shared(self) -> bool {
        let has_queue = self.kind == SocketType::STREAM || (self.is_datagram() && !self.is_unix());
        has_queue && (is_inet(self.family) || self.is_unix()) && matches!(self.protocol, 0 | MPTCP)
    }

    /// A new socket of this kind. `v6_only` as the program has set it, if it has.
    pub(super) fn make(self, v6_only: Option<bool>) -> io::Result<OwnedFd> {
        let protocol = std::num::NonZeroU32::new(self.protocol).map(Protocol::from_raw);
        let fd = net::socket_with(self.family, self.kind, SocketFlags::CLOEXEC, protocol)?;
        if let Some(v6_only) = v6_only.filter(|_| self.family == AddressFamily::INET6) {
            sockopt::set_ipv6_v6only(&fd, v6_only)?;
        }
        Ok(fd)
    }
}

/// Binds a socket, so that only workers of ours can have the address. `first`: no other has it yet.
///
/// The first is bound alone, and joins others only afterwards: whoever was there before us makes it fail. With
/// `SO_REUSEADDR`, connections that were closed a moment ago (`TIME_WAIT`) do not.
pub(super) fn bind(fd: BorrowedFd<'_>, addr: SocketAddr, first: bool, joins: bool) -> Result<(), Errno> {
    if sockopt::socket_type(fd)? == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(fd, true)?;
    }
    let before = sockopt::socket_reuseport(fd)?;
    sockopt::set_socket_reuseport(fd, !first)?;
    let bound = net::bind(fd, &addr);
    if bound.is_err() {
        // The program may try elsewhere, and finds its socket as it was.
        sockopt::set_socket_reuseport(fd, before)?;
    } else if first && joins {
        sockopt::set_socket_reuseport(fd, true)?;
    }
    bound
}

/// Where an internet socket is bound.
pub(super) fn bound_at(fd: BorrowedFd<'_>) -> Option<SocketAddr> {
    SocketAddr::try_from(net::getsockname(fd).ok()?).ok().filter(|addr| addr.port() != 0)
}

fn is_inet(family: AddressFamily) -> bool {
    family == AddressFamily::INET || family == AddressFamily::INET6
}

/// Where the kernel does not say (before 5.14), there is no telling.
fn is_in_our_namespace(fd: BorrowedFd<'_>) -> bool {
    let Ok(theirs) = sys::netns_cookie(fd) else { return true };
    let ours = net::socket(AddressFamily::UNIX, SocketType::STREAM, None);
    ours.is_ok_and(|ours| sys::netns_cookie(ours.as_fd()).is_ok_and(|ours| ours == theirs))
}

fn blind(error: &io::Error) -> Blind {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::BADF | Errno::NOTSOCK | Errno::NOENT | Errno::SRCH) => Blind::NoSocket,
        Some(Errno::PERM | Errno::ACCESS) => Blind::Leave(Why::Protected),
        Some(Errno::PROTONOSUPPORT) => Blind::Leave(Why::Kind),
        Some(errno) => Blind::Leave(Why::Refused(errno.raw_os_error())),
        None => Blind::Leave(Why::Refused(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_for_sockets_are_those_that_it_takes_to_make_them() {
        for word in ["TCP", "TCPv6", "UDP", "UDPv6", "MPTCP", "UNIX-STREAM"] {
            let shape = Shape::named(word).unwrap();
            let Ok(fd) = shape.make(None) else { continue };
            let mut name = [0u8; 64];
            let len = rustix::fs::fgetxattr(&fd, "system.sockprotoname", &mut name[..]).unwrap();
            assert_eq!(std::str::from_utf8(&name[..len]).unwrap().trim_end_matches('\0'), word);
            assert!(shape.is_shared());
        }
        assert_eq!(Shape::named("NETLINK"), None);
    }

    #[test]
    fn a_refused_bind_leaves_the_socket_as_it_was() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let shape = Shape { family: AddressFamily::INET, kind: SocketType::STREAM, protocol: 0 };
        let fd = shape.make(None).unwrap();
        sockopt::set_socket_reuseport(&fd, true).unwrap();
        let refused = bind(fd.as_fd(), taken.local_addr().unwrap(), true, true);
        assert_eq!(refused, Err(Errno::ADDRINUSE));
        assert!(sockopt::socket_reuseport(&fd).unwrap());
        assert_eq!(bound_at(fd.as_fd()), None);
        bind(fd.as_fd(), "127.0.0.1:0".parse().unwrap(), true, true).unwrap();
        assert!(bound_at(fd.as_fd()).is_some());
    }
}
