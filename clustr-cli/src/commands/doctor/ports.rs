//! Whether an address can be had, and who has it.
//!
//! Owns the look at one address: the kernel's list of who listens there, and where nobody does a bind that is given up at once, without
//! listening, so that no client is accepted. Never ends anybody. Called by `facts`.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};

use clustr_net::sock_diag::{self, Listening};
use clustr_net::{Addr, Host, Kind};
use nix::errno::Errno;
use nix::sys::socket::sockopt::{PeerCredentials, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, getsockopt, setsockopt, socket,
};

/// A primary of this user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Primary {
    pub(super) name: String,
    /// Whether somebody listens at its control socket.
    pub(super) live: bool,
    /// `None`: it does not answer.
    pub(super) pid: Option<u32>,
}

/// An address, and what is so there.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Port {
    pub(super) addr: String,
    pub(super) state: State,
}

#[derive(Debug, Eq, PartialEq)]
pub(super) enum State {
    Free,
    /// A primary of ours listens there.
    Ours(String),
    Held(Holder),
    /// It is kept for whoever has `CAP_NET_BIND_SERVICE`: its number.
    Privileged(u16),
    /// It cannot be had for another reason.
    Unusable(String),
    /// It comes with the process, and cannot be seen from here.
    Given,
}

/// Who listens somewhere, as far as permissions let us see.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Holder {
    pub(super) pid: Option<u32>,
    pub(super) name: Option<String>,
    pub(super) uid: Option<u32>,
}

pub(super) fn look(addr: &Addr, primaries: &[Primary]) -> Port {
    let state = match addr {
        Addr::Tcp { host, port } => inet(Kind::Stream, host, *port, primaries),
        Addr::Udp { host, port } => inet(Kind::Datagram, host, *port, primaries),
        Addr::Unix(path) => unix(UnixAddr::from_pathname(path), primaries),
        Addr::Abstract(name) => unix(UnixAddr::from_abstract_name(name), primaries),
        Addr::Fd(_) => State::Given,
    };
    Port { addr: addr.to_string(), state }
}

fn inet(kind: Kind, host: &Host, port: u16, primaries: &[Primary]) -> State {
    let ips = match ips(host, port) {
        Ok(ips) => ips,
        Err(error) => return State::Unusable(error.to_string()),
    };
    let listening = if port == 0 { Ok(Vec::new()) } else { sock_diag::listening(kind, port) };
    // Where the kernel gives no list, the bind alone tells.
    let holder = listening.unwrap_or_default().into_iter().find(|one| ips.iter().any(|ip| meet(*ip, one)));
    if let Some(one) = holder {
        return held(&one, primaries);
    }
    // A machine without IPv6 has the IPv4 address of the two.
    let is_any = *host == Host::Any;
    let tried = ips.iter().map(|ip| try_bind(kind, SocketAddr::new(*ip, port)));
    let lacks_v6 = |tried: &Result<(), Errno>| {
        is_any && matches!(tried, Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
    };
    match tried.filter(|tried| !lacks_v6(tried)).find_map(Result::err) {
        None => State::Free,
        Some(Errno::EADDRINUSE) => State::Held(Holder::default()),
        Some(Errno::EACCES) => State::Privileged(port),
        Some(errno) => State::Unusable(io::Error::from(errno).to_string()),
    }
}

fn ips(host: &Host, port: u16) -> io::Result<Vec<IpAddr>> {
    Ok(match host {
        Host::Any => vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()],
        Host::Ip(ip) => vec![*ip],
        Host::Zoned(ip, _) => vec![(*ip).into()],
        Host::Name(name) => (name.as_str(), port).to_socket_addrs()?.map(|addr| addr.ip()).collect(),
    })
}

/// Whether a bind to `wanted` meets this one, neither of them with `SO_REUSEPORT`: the same address, or all of its family.
fn meet(wanted: IpAddr, one: &Listening) -> bool {
    let there = one.addr.ip();
    if wanted.is_ipv4() == there.is_ipv4() {
        return wanted == there || wanted.is_unspecified() || there.is_unspecified();
    }
    // `::` is IPv4 too, unless it was told otherwise.
    let takes_both = |ip: IpAddr| ip.is_ipv6() && ip.is_unspecified();
    (takes_both(there) && !one.v6_only) || takes_both(wanted)
}

fn held(one: &Listening, primaries: &[Primary]) -> State {
    let holds = |primary: &&Primary| primary.pid.is_some_and(|pid| sock_diag::holds(pid, one.inode));
    if let Some(primary) = primaries.iter().find(holds) {
        return State::Ours(primary.name.clone());
    }
    let pid = sock_diag::owner(one.inode);
    State::Held(Holder { pid, name: pid.and_then(name), uid: Some(one.uid) })
}

fn name(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned())
}

fn try_bind(kind: Kind, addr: SocketAddr) -> Result<(), Errno> {
    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = match kind {
        Kind::Stream => SockType::Stream,
        Kind::Datagram => SockType::Datagram,
    };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if kind == SockType::Stream {
        // As every server does: connections that are only ending do not count.
        setsockopt(&socket, ReuseAddr, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(addr))
}

/// A file that nobody listens at is bound anew; one that answers has an owner, whom the kernel names.
fn unix(addr: io::Result<UnixAddr>, primaries: &[Primary]) -> State {
    let stream = match addr.and_then(|addr| UnixStream::connect_addr(&addr)) {
        Ok(stream) => stream,
        Err(error) => {
            let is_nobody =
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
            return if is_nobody { State::Free } else { State::Unusable(error.to_string()) };
        }
    };
    let peer = getsockopt(&stream, PeerCredentials).ok();
    let pid = peer.and_then(|peer| u32::try_from(peer.pid()).ok()).filter(|pid| *pid != 0);
    match primaries.iter().find(|primary| primary.pid.is_some() && primary.pid == pid) {
        Some(primary) => State::Ours(primary.name.clone()),
        None => State::Held(Holder { pid, name: pid.and_then(name), uid: peer.map(|peer| peer.uid()) }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn state(addr: &str) -> State {
        look(&addr.parse().unwrap(), &[]).state
    }

    fn holder() -> State {
        let pid = std::process::id();
        let uid = rustix::process::geteuid().as_raw();
        State::Held(Holder { pid: Some(pid), name: name(pid), uid: Some(uid) })
    }

    #[test]
    fn an_address_that_somebody_listens_at_has_an_owner() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        for addr in [format!(":{port}"), format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}")] {
            assert_eq!(state(&addr), holder(), "{addr}");
        }
        assert_eq!(state(&format!("127.0.0.2:{port}")), State::Free, "another address of this machine");
    }

    #[test]
    fn datagrams_and_unix_sockets_have_owners_too() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(state(&format!("udp:127.0.0.1:{}", taken.local_addr().unwrap().port())), holder());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let addr = format!("unix:{}", path.display());
        assert_eq!(state(&addr), State::Free);
        let taken = UnixListener::bind(&path).unwrap();
        assert_eq!(state(&addr), holder());
        drop(taken);
        assert_eq!(state(&addr), State::Free, "a file that nobody listens at is bound anew");
    }

    #[test]
    fn an_address_of_another_machine_cannot_be_had() {
        assert!(matches!(state("192.0.2.1:0"), State::Unusable(_)));
    }

    #[test]
    fn who_holds_it_for_us_is_named_as_a_primary() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = format!(":{}", taken.local_addr().unwrap().port()).parse().unwrap();
        let us = Primary { name: "shop".to_owned(), live: true, pid: Some(std::process::id()) };
        assert_eq!(look(&addr, &[us]).state, State::Ours("shop".to_owned()));
    }

    #[test]
    fn two_families_meet_only_where_one_of_them_is_all_addresses() {
        let there = |addr: &str, v6_only| Listening {
            addr: addr.parse().unwrap(),
            inode: 1,
            uid: 0,
            v6_only,
            device: 0,
            waiting: 0,
        };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(meet(ip("127.0.0.1"), &there("[::]:1", false)));
        assert!(!meet(ip("127.0.0.1"), &there("[::]:1", true)));
        assert!(meet(ip("::"), &there("127.0.0.1:1", false)));
        assert!(!meet(ip("::1"), &there("127.0.0.1:1", false)));
        assert!(!meet(ip("127.0.0.1"), &there("127.0.0.2:1", false)));
    }
}
