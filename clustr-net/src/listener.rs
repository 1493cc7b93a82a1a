//! A socket that is bound and, for streams, listening.
//!
//! Owns the descriptor, and the socket file if it made one. Never accepts. Called by `node::Table` and by whoever
//! shares a listener with other processes.
//!
//! Everything that is bound here is non-blocking and close-on-exec. A stream listens at once: connections then queue
//! in the kernel while nobody accepts, instead of being refused.

pub mod options;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, sockopt};

pub use options::{Options, OptionsError};

use crate::addr::{Addr, Host};
use crate::socket_file::{self, Route, SocketFile};
use crate::sys;

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    kind: Kind,
    addr: Addr,
    options: Options,
    /// Dropped after the descriptor was closed: the file is gone for newcomers only once nobody listens here.
    file: Option<SocketFile>,
}

/// How a socket carries data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Connections: TCP and Unix streams.
    Stream,
    /// Datagrams: UDP.
    Datagram,
}

/// Why an address could not be bound. The errno is kept: `errno()`.
#[derive(Debug, thiserror::Error)]
#[error("{step} {addr}")]
pub struct BindError {
    addr: Addr,
    step: &'static str,
    source: io::Error,
}

impl Listener {
    /// Binds `addr`, and listens if it is a stream.
    ///
    /// [`Host::Any`] takes IPv6 and IPv4 on one socket, or IPv4 alone where the machine has no IPv6. [`Host::Name`]
    /// asks the resolver, which may block, and takes its first address. `SO_REUSEADDR` is set on TCP, so that a
    /// restart need not wait for old connections; a port where somebody listens is still refused.
    ///
    /// # Errors
    ///
    /// [`BindError`] with the kernel's word: `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`, ... [`Addr::Fd`] is
    /// `EINVAL`: take it with [`inherited::claim`](crate::inherited::claim) and [`adopt`](Self::adopt) it.
    pub fn bind(addr: &Addr, options: Options) -> Result<Self, BindError> {
        match addr {
            Addr::Tcp { host, port } => bind_inet(addr, Kind::Stream, host, *port, options),
            Addr::Udp { host, port } => bind_inet(addr, Kind::Datagram, host, *port, options),
            Addr::Unix(path) => bind_path(addr, path, options),
            Addr::Abstract(name) => bind_abstract(addr, name, options),
            Addr::Fd(_) => Err(BindError::new(addr, "bind", Errno::INVAL)),
        }
    }

    /// Takes over a bound socket. A stream that does not listen yet listens from now on; the socket becomes
    /// non-blocking and close-on-exec. A socket file that belongs to it is left to whoever made it.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` for what is no socket, `EINVAL` for a socket that cannot listen.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let kind = Kind::of(&fd)?;
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        let unbound = is_unbound(&fd)?;
        if kind == Kind::Stream && !sockopt::socket_acceptconn(&fd)? {
            // An unbound socket would listen on a port that nobody chose.
            (!unbound).then_some(()).ok_or(Errno::INVAL)?;
            net::listen(&fd, backlog(None))?;
        }
        let addr = local_addr(&fd, kind)?;
        Ok(Self { fd, kind, addr, options: Options::default(), file: None })
    }

    /// Whether it still listens, if it is a stream: shutdown(2) by anybody who has it ends that for all.
    ///
    /// # Errors
    ///
    /// What getsockopt(2) or poll(2) says.
    pub fn is_listening(&self) -> io::Result<bool> {
        match (self.kind, &self.addr) {
            (Kind::Datagram, _) => Ok(true),
            (Kind::Stream, Addr::Unix(_) | Addr::Abstract(_)) => self.is_unix_open(),
            (Kind::Stream, Addr::Tcp { .. } | Addr::Udp { .. } | Addr::Fd(_)) => {
                Ok(sockopt::socket_acceptconn(&self.fd)?)
            }
        }
    }

    /// A Unix socket that was shut down for reading refuses everybody, and says to `SO_ACCEPTCONN` that it listens.
    fn is_unix_open(&self) -> io::Result<bool> {
        let mut asked = [PollFd::new(&self.fd, PollFlags::RDHUP)];
        rustix::event::poll(&mut asked, Some(&Timespec::default()))?;
        Ok(!asked[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP))
    }

    /// A new socket in the place of one at a path that cannot listen again: bound and listening like the first. Whoever has the
    /// old one has to be given the new one.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE`: another's file is at the path, or somebody listens there; `EOPNOTSUPP`: whoever has made the socket is
    /// somebody else, or it has no file: an abstract name is taken for as long as anybody has the socket.
    pub fn bound_anew(&self) -> Result<Self, BindError> {
        let refused = |errno| BindError::new(&self.addr, "bind anew", errno);
        let (Addr::Unix(path), Some(file)) = (&self.addr, &self.file) else {
            return Err(refused(Errno::OPNOTSUPP));
        };
        if file.is_replaced() {
            return Err(refused(Errno::ADDRINUSE));
        }
        bind_path(&self.addr, path, Options { replace_stale: true, ..self.options })
    }

    /// Listens again, after somebody has shut it down. Whoever waited in the queue then is gone.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE`: somebody else has the port meanwhile; `EOPNOTSUPP`: a Unix socket cannot: [`Listener::bound_anew`].
    pub fn listen_again(&self) -> io::Result<()> {
        if matches!(self.addr, Addr::Unix(_) | Addr::Abstract(_)) {
            return Err(Errno::OPNOTSUPP.into()); // listen(2) would say that it does.
        }
        if let Some(addr) = self.addr.socket_addr() {
            // A port that the kernel chose goes with the shutdown, unseen by getsockname(2). One that was asked for stays, and
            // binding is EINVAL.
            match net::bind(&self.fd, &addr) {
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(net::listen(&self.fd, backlog(self.options.backlog))?)
    }

    /// A descriptor of a socket that another process has made and uses: whether calls wait is a flag of the socket, and stays
    /// as it is.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` for what is no socket; `EINVAL`, `EAFNOSUPPORT` for kinds that are not kept.
    pub fn of_another(fd: OwnedFd) -> io::Result<Self> {
        let kind = Kind::of(&fd)?;
        let addr = local_addr(&fd, kind)?;
        Ok(Self { fd, kind, addr, options: Options::default(), file: None })
    }

    /// Another descriptor of the same socket, close-on-exec, for a process that shall share it.
    ///
    /// # Errors
    ///
    /// `EMFILE`: this process has no descriptor left.
    pub fn lend(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Where it is bound, with the port that the kernel chose if it was asked to.
    #[must_use]
    pub const fn local_addr(&self) -> &Addr {
        &self.addr
    }

    /// The port, for TCP and UDP.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self.addr {
            Addr::Tcp { port, .. } | Addr::Udp { port, .. } => Some(port),
            Addr::Unix(_) | Addr::Abstract(_) | Addr::Fd(_) => None,
        }
    }

    /// Connections or datagrams.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn bind_inet(
    addr: &Addr,
    kind: Kind,
    host: &Host,
    port: u16,
    options: Options,
) -> Result<Listener, BindError> {
    let bound = match host {
        Host::Any => bind_any(kind, port, options),
        Host::Ip(ip) => bind_socket(kind, SocketAddr::new(*ip, port), options),
        Host::Zoned(ip, zone) => {
            let scope =
                zone_number(zone).map_err(|errno| BindError::new(addr, "find the interface of", errno))?;
            bind_socket(kind, SocketAddrV6::new(*ip, port, 0, scope).into(), options)
        }
        Host::Name(name) => bind_socket(kind, resolve(addr, name, port)?, options),
    };
    let fd = bound.map_err(|(step, errno)| BindError::new(addr, step, errno))?;
    let addr =
        local_addr(&fd, kind).map_err(|errno| BindError::new(addr, "ask for the address of", errno))?;
    Ok(Listener { fd, kind, addr, options, file: None })
}

type Bound = Result<OwnedFd, (&'static str, Errno)>;

fn bind_any(kind: Kind, port: u16, options: Options) -> Bound {
    match bind_socket(kind, (Ipv6Addr::UNSPECIFIED, port).into(), options) {
        // No IPv6 in the kernel, or switched off. Every other refusal is the truth about the port.
        Err((_, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)) if !options.v6_only => {
            bind_socket(kind, (Ipv4Addr::UNSPECIFIED, port).into(), options)
        }
        other => other,
    }
}

fn bind_socket(kind: Kind, addr: SocketAddr, options: Options) -> Bound {
    let family = if addr.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let fd = open(family, kind).map_err(|errno| ("open a socket for", errno))?;
    configure(&fd, kind, family, options).map_err(|errno| ("set up", errno))?;
    net::bind(&fd, &addr).map_err(|errno| ("bind", errno))?;
    if options.reuse_port_after {
        // Before it listens, for that is when the kernel makes the group.
        sockopt::set_socket_reuseport(&fd, true).map_err(|errno| ("share", errno))?;
    }
    listen(&fd, kind, options)?;
    Ok(fd)
}

fn open(family: AddressFamily, kind: Kind) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    net::socket_with(family, kind.socket_type(), flags, None)
}

fn configure(fd: &OwnedFd, kind: Kind, family: AddressFamily, options: Options) -> Result<(), Errno> {
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(fd, options.v6_only)?;
    }
    if kind == Kind::Stream || options.reuse_addr {
        sockopt::set_socket_reuseaddr(fd, true)?;
    }
    if options.reuse_port {
        sockopt::set_socket_reuseport(fd, true)?;
    }
    if kind == Kind::Stream {
        let set = |value: Option<u32>, set: fn(BorrowedFd<'_>, u32) -> io::Result<()>| {
            value.map_or(Ok(()), |value| set(fd.as_fd(), value)).map_err(|error| errno_of(&error))
        };
        set(options.defer_accept, sys::set_defer_accept)?;
        set(options.fastopen, sys::set_fastopen)?;
    }
    Ok(())
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::INVAL, Errno::from_raw_os_error)
}

fn listen(fd: &OwnedFd, kind: Kind, options: Options) -> Result<(), (&'static str, Errno)> {
    if options.blocking {
        rustix::io::ioctl_fionbio(fd, false).map_err(|errno| ("set up", errno))?;
    }
    match kind {
        Kind::Stream => net::listen(fd, backlog(options.backlog)).map_err(|errno| ("listen on", errno)),
        Kind::Datagram => Ok(()),
    }
}

/// The kernel cuts the number down to `net.core.somaxconn`, so the largest means that limit (listen(2)).
fn backlog(wanted: Option<u32>) -> i32 {
    wanted.and_then(|count| i32::try_from(count).ok()).unwrap_or(i32::MAX)
}

fn bind_path(addr: &Addr, path: &Path, options: Options) -> Result<Listener, BindError> {
    let failed = |step, errno: io::Error| BindError { addr: addr.clone(), step, source: errno };
    let fd =
        open(AddressFamily::UNIX, Kind::Stream).map_err(|errno| failed("open a socket for", errno.into()))?;
    let route = Route::to(path).map_err(|error| failed("find the folder of", error))?;
    let name = SocketAddrUnix::new(route.path()).map_err(|errno| failed("bind", errno.into()))?;
    match net::bind(&fd, &name) {
        Err(Errno::ADDRINUSE) if options.replace_stale => {
            socket_file::remove_stale(path).map_err(|error| failed("replace", error))?;
            net::bind(&fd, &name)
        }
        other => other,
    }
    .map_err(|errno| failed("bind", errno.into()))?;
    let file = SocketFile::made_at(path).map_err(|error| failed("look at", error))?;
    file.add_mode(options.mode_added).map_err(|error| failed("set the permissions of", error))?;
    file.set_mode(options.mode).map_err(|error| failed("set the permissions of", error))?;
    file.set_owner(options.owner, options.group).map_err(|error| failed("set the owner of", error))?;
    listen(&fd, Kind::Stream, options).map_err(|(step, errno)| failed(step, errno.into()))?;
    Ok(Listener { fd, kind: Kind::Stream, addr: addr.clone(), options, file: Some(file) })
}

fn bind_abstract(addr: &Addr, name: &[u8], options: Options) -> Result<Listener, BindError> {
    let failed = |step, errno| BindError::new(addr, step, errno);
    let fd = open(AddressFamily::UNIX, Kind::Stream).map_err(|errno| failed("open a socket for", errno))?;
    let name = SocketAddrUnix::new_abstract_name(name).map_err(|errno| failed("bind", errno))?;
    net::bind(&fd, &name).map_err(|errno| failed("bind", errno))?;
    listen(&fd, Kind::Stream, options).map_err(|(step, errno)| failed(step, errno))?;
    Ok(Listener { fd, kind: Kind::Stream, addr: addr.clone(), options, file: None })
}

fn resolve(addr: &Addr, name: &str, port: u16) -> Result<SocketAddr, BindError> {
    let failed = |source| BindError { addr: addr.clone(), step: "resolve", source };
    let mut found = (name, port).to_socket_addrs().map_err(failed)?;
    found.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

fn zone_number(zone: &str) -> Result<u32, Errno> {
    let by_name =
        |_| nix::net::if_::if_nametoindex(zone).map_err(|errno| Errno::from_raw_os_error(errno as i32));
    zone.parse().or_else(by_name)
}

/// Where a socket is bound, as text that can be shown.
fn local_addr(fd: &OwnedFd, kind: Kind) -> Result<Addr, Errno> {
    let name = net::getsockname(fd)?;
    match name.address_family() {
        AddressFamily::UNIX => unix_addr(SocketAddrUnix::try_from(name)?),
        AddressFamily::INET | AddressFamily::INET6 => Ok(inet_addr(SocketAddr::try_from(name)?, kind)),
        _ => Err(Errno::AFNOSUPPORT),
    }
}

fn unix_addr(name: SocketAddrUnix) -> Result<Addr, Errno> {
    if let Some(path) = name.path() {
        use std::os::unix::ffi::OsStrExt;
        return Ok(Addr::Unix(std::ffi::OsStr::from_bytes(path.to_bytes()).into()));
    }
    Ok(Addr::Abstract(name.abstract_name().unwrap_or_default().to_vec()))
}

fn inet_addr(name: SocketAddr, kind: Kind) -> Addr {
    let host = match name {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => Host::Zoned(*v6.ip(), v6.scope_id().to_string()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => Host::Ip(name.ip()),
    };
    match kind {
        Kind::Stream => Addr::Tcp { host, port: name.port() },
        Kind::Datagram => Addr::Udp { host, port: name.port() },
    }
}

fn is_unbound(fd: &OwnedFd) -> Result<bool, Errno> {
    let name: SocketAddrAny = net::getsockname(fd)?;
    Ok(match name.address_family() {
        AddressFamily::UNIX => SocketAddrUnix::try_from(name)?.is_unnamed(),
        AddressFamily::INET | AddressFamily::INET6 => SocketAddr::try_from(name)?.port() == 0,
        _ => false,
    })
}

impl Kind {
    fn of(fd: &OwnedFd) -> Result<Self, Errno> {
        match sockopt::socket_type(fd)? {
            SocketType::STREAM => Ok(Self::Stream),
            SocketType::DGRAM => Ok(Self::Datagram),
            _ => Err(Errno::INVAL),
        }
    }

    const fn socket_type(self) -> SocketType {
        match self {
            Self::Stream => SocketType::STREAM,
            Self::Datagram => SocketType::DGRAM,
        }
    }
}

impl BindError {
    fn new(addr: &Addr, step: &'static str, errno: Errno) -> Self {
        Self { addr: addr.clone(), step, source: errno.into() }
    }

    /// The kernel's number, as in `EADDRINUSE`; `None` if a name could not be resolved.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// What was to be bound.
    #[must_use]
    pub const fn addr(&self) -> &Addr {
        &self.addr
    }
}

impl Host {
    /// Whether both mean all addresses, or the same one: `:80` is what `[::]:80` and `0.0.0.0:80` bind.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self == other || (self.is_any() && other.is_any())
    }

    fn is_any(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Ip(IpAddr::V6(ip)) => ip.is_unspecified(),
            Self::Ip(IpAddr::V4(ip)) => ip.is_unspecified(),
            Self::Zoned(..) | Self::Name(_) => false,
        }
    }
}
