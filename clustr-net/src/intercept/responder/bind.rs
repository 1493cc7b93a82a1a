//! Answers to bind(2).
//!
//! Owns the order of steps. What the call means is `ledger`'s to say, and which addresses are shared is `rules`'. Called by
//! `responder`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;

use super::super::Way;
use super::super::keeper::{Caller, Keeper};
use super::super::ledger::{Key, OnBind, Stage};
use super::super::name::{NAME_BYTES_MAX, Name};
use super::super::notifier::is_gone;
use super::super::rules::{Why, Wish};
use super::super::socket::{self, Blind, Socket};
use super::super::thread::{inode_of, is_open_below};
use super::{Binding, REMEMBERED_MAX, Reply, Responder, Stopped};
use crate::addr::Addr;
use crate::listener::Listener;

/// A bind, as far as it is understood.
struct Wanted {
    number: u32,
    name: Name,
    socket: Socket,
    key: Key,
}

impl Responder {
    pub(super) fn bind(&mut self, stopped: &Stopped, binding: Binding, keeper: &mut dyn Keeper) -> Reply {
        let wanted = match self.look(stopped, binding) {
            Ok(wanted) => wanted,
            Err(reply) => return reply,
        };
        match self.rules.wish(&wanted.key.addr, stopped.caller.slot) {
            Wish::Share => self.share(stopped, wanted, keeper),
            Wish::Zero => self.bind_any(stopped, wanted),
            Wish::Private(port) => self.bind_private(stopped, wanted, port),
            Wish::Beyond => Reply::Refuse(Errno::ADDRNOTAVAIL),
            // It is what most clients do, and no news.
            Wish::Leave(Why::AnyPort) => Reply::Proceed,
            Wish::Leave(why) => self.leave(Some(wanted.key.addr), why),
        }
    }

    /// Looks at the caller's memory and socket, and makes sure that they were its own.
    fn look(&mut self, stopped: &Stopped, binding: Binding) -> Result<Wanted, Reply> {
        let len = usize::try_from(binding.len).unwrap_or(usize::MAX).min(NAME_BYTES_MAX);
        let bytes = match stopped.thread.read(binding.at, len) {
            Ok(bytes) => bytes,
            Err(error) if is_forbidden(&error) => return Err(self.leave(None, Why::Protected)),
            Err(_) => return Err(Reply::Proceed),
        };
        let Some(name) = Name::parse(&bytes) else { return Err(Reply::Proceed) };
        let socket = match Socket::look(stopped.thread, binding.fd, self.way) {
            Ok(socket) => socket,
            Err(Blind::NoSocket) => return Err(Reply::Proceed),
            Err(Blind::Leave(why)) => return Err(self.leave(None, why)),
        };
        let folder = match name {
            Name::Path(_) => stopped.thread.folder().unwrap_or_default(),
            Name::Inet(_) | Name::Abstract(_) => PathBuf::new(),
        };
        if !stopped.is_there() {
            return Err(Reply::Nobody);
        }
        if !fits(&name, &socket) {
            return Err(Reply::Proceed);
        }
        let addr = name.addr(socket.shape.is_datagram(), &folder);
        let key = Key { addr, protocol: socket.shape.protocol, nth: 0 };
        Ok(Wanted { number: binding.fd, name, socket, key })
    }

    fn share(&mut self, stopped: &Stopped, wanted: Wanted, keeper: &mut dyn Keeper) -> Reply {
        let Wanted { key, socket, .. } = &wanted;
        self.sweep(stopped, key, keeper);
        let caller = stopped.caller;
        match self.ledger.on_bind(caller.worker, key, socket.inode, socket.reuse_port) {
            // Whether a path is bound the kernel knows best: this one may have failed before.
            OnBind::Repeated if socket.shape.is_unix() => Reply::Proceed,
            OnBind::Repeated => Reply::Done,
            OnBind::InUse => Reply::Refuse(Errno::ADDRINUSE),
            OnBind::New { others } => {
                self.restore(key);
                if let Some(left) = keeper.left(caller, key) {
                    return self.put_left(stopped, wanted.number, wanted.key, left, keeper);
                }
                if others && keeper.is_common(key) {
                    return Reply::Hold;
                }
                match wanted.name {
                    Name::Inet(addr) => self.claim(stopped, wanted, addr, !others, keeper),
                    Name::Path(_) | Name::Abstract(_) => self.let_bind(stopped, wanted),
                }
            }
        }
    }

    /// What the worker has closed is free for it again.
    fn sweep(&mut self, stopped: &Stopped, key: &Key, keeper: &mut dyn Keeper) {
        let Caller { worker, .. } = stopped.caller;
        let is_open = |inode| stopped.thread.holds(inode) || is_open_below(stopped.leader, inode);
        for inode in self.ledger.sweep(worker, key, is_open) {
            keeper.closed(stopped.caller, key, inode);
        }
    }

    /// Puts a kept socket in the place of the caller's, which listens as soon as it is there.
    pub(super) fn put_left(
        &mut self,
        stopped: &Stopped,
        number: u32,
        key: Key,
        left: OwnedFd,
        keeper: &mut dyn Keeper,
    ) -> Reply {
        let put = inode_of(&left).and_then(|inode| {
            stopped
                .place(number)
                .put(left.as_fd())
                .map(|()| inode)
                .inspect_err(|_| keeper.closed(stopped.caller, &key, inode))
        });
        match put {
            Ok(inode) => {
                let is_datagram = matches!(key.addr, Addr::Udp { .. });
                if is_datagram {
                    self.listens(stopped, Some(key.addr.clone()), true);
                }
                self.ledger.note(stopped.caller.worker, key, inode, Stage::Kept);
                Reply::Done
            }
            Err(error) => self.not_put(key, &error),
        }
    }

    fn not_put(&mut self, key: Key, error: &io::Error) -> Reply {
        if is_gone(error) {
            return Reply::Nobody;
        }
        let why = match self.way {
            Way::Replace { .. } if is_forbidden(error) => Why::Registered,
            Way::Adopt | Way::Replace { .. } => Why::Refused(error.raw_os_error().unwrap_or(0)),
        };
        self.leave(Some(key.addr), why)
    }

    /// Binds an internet address in the caller's stead, for us alone.
    fn claim(
        &mut self,
        stopped: &Stopped,
        wanted: Wanted,
        addr: SocketAddr,
        alone: bool,
        keeper: &mut dyn Keeper,
    ) -> Reply {
        let Wanted { number, socket, key, .. } = wanted;
        let first = alone && !keeper.has(&key);
        let joins = !keeper.is_common(&key);
        let fd = match self.bound_socket(stopped, &socket, |fd| socket::bind(fd, addr, first, joins)) {
            Ok(fd) => fd,
            Err(errno) => return Reply::Refuse(errno),
        };
        let (inode, fd) = match self.in_place(stopped, number, &socket, fd) {
            Ok(placed) => placed,
            Err(error) => return self.not_put(key, &error),
        };
        if !socket.shape.is_datagram() {
            self.remember(stopped.caller, key, inode, fd);
            return Reply::Done;
        }
        let mut fd = Some(fd);
        let mut keep = || {
            let fd = fd.take().ok_or(Errno::BADF)?;
            Listener::of_another(fd).map_err(|error| errno(&error))
        };
        match keeper.keep(stopped.caller, &key, &mut keep) {
            Ok(()) => {
                self.listens(stopped, Some(key.addr.clone()), true);
                self.ledger.note(stopped.caller.worker, key, inode, Stage::Kept);
                Reply::Done
            }
            Err(errno) => Reply::Refuse(errno),
        }
    }

    /// The caller's own socket, or one that is made like it, bound.
    fn bound_socket(
        &self,
        stopped: &Stopped,
        socket: &Socket,
        bind: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<OwnedFd, Errno> {
        let fd = match &socket.own {
            Some(own) => own.try_clone(),
            None => {
                let v6_only = self.v6_only.get(&(stopped.caller.worker, socket.inode)).copied();
                socket.shape.make(v6_only)
            }
        };
        let fd = fd.map_err(|error| errno(&error))?;
        bind(fd.as_fd())?;
        Ok(fd)
    }

    /// Sees to it that the caller has this socket; its own it has already.
    fn in_place(
        &self,
        stopped: &Stopped,
        number: u32,
        socket: &Socket,
        fd: OwnedFd,
    ) -> io::Result<(u64, OwnedFd)> {
        if socket.own.is_none() {
            stopped.place(number).put(fd.as_fd())?;
        }
        Ok((inode_of(&fd)?, fd))
    }

    /// It is bound, and is no listener before it listens. A duplicate of what may be a client is not kept; what was made
    /// here has to be, for it cannot be had again.
    fn remember(&mut self, caller: Caller, key: Key, inode: u64, fd: OwnedFd) {
        self.ledger.note(caller.worker, key, inode, Stage::Bound);
        if matches!(self.way, Way::Replace { .. }) {
            let own = |((worker, _), _): &(&(u64, u64), &OwnedFd)| *worker == caller.worker;
            if self.made.iter().filter(own).count() < REMEMBERED_MAX {
                self.made.insert((caller.worker, inode), fd);
            }
        }
    }

    /// A path is bound by the caller itself: in its folder, with its umask and as its own.
    fn let_bind(&mut self, stopped: &Stopped, wanted: Wanted) -> Reply {
        let Wanted { number, socket, key, .. } = wanted;
        let made = self.bound_socket(stopped, &socket, |_| Ok(()));
        let placed = made.map_err(io::Error::from).and_then(|fd| self.in_place(stopped, number, &socket, fd));
        match placed {
            Ok((inode, fd)) => {
                self.remember(stopped.caller, key, inode, fd);
                Reply::Proceed
            }
            Err(error) => self.not_put(key, &error),
        }
    }

    /// Any port will do: which one becomes everybody's is known when somebody listens.
    fn bind_any(&mut self, stopped: &Stopped, wanted: Wanted) -> Reply {
        let Wanted { number, name, socket, key } = wanted;
        let Name::Inet(addr) = name else { return Reply::Proceed };
        if socket.shape.is_datagram() {
            return Reply::Proceed;
        }
        if self.ledger.of(stopped.caller.worker, socket.inode).is_some() {
            return Reply::Done;
        }
        let key = Key { nth: self.ledger.count_any(stopped.caller.worker), ..key };
        let fd = match self.bound_socket(stopped, &socket, |fd| socket::bind(fd, addr, true, false)) {
            Ok(fd) => fd,
            Err(errno) => return Reply::Refuse(errno),
        };
        match self.in_place(stopped, number, &socket, fd) {
            Ok((inode, fd)) => {
                self.remember(stopped.caller, key, inode, fd);
                Reply::Done
            }
            Err(error) => self.not_put(key, &error),
        }
    }

    /// Each worker has a port of its own.
    fn bind_private(&mut self, stopped: &Stopped, wanted: Wanted, port: u16) -> Reply {
        let Wanted { number, name, socket, key } = wanted;
        let Name::Inet(mut addr) = name else { return Reply::Proceed };
        addr.set_port(port);
        if socket.own.as_ref().is_some_and(|own| socket::bound_at(own.as_fd()) == Some(addr)) {
            return Reply::Done;
        }
        if port < self.rules.unprivileged_from {
            return self.leave(Some(key.addr), Why::Privileged(port));
        }
        let bind = |fd: std::os::fd::BorrowedFd<'_>| {
            if !socket.shape.is_datagram() {
                rustix::net::sockopt::set_socket_reuseaddr(fd, true)?;
            }
            rustix::net::bind(fd, &addr)
        };
        let fd = match self.bound_socket(stopped, &socket, bind) {
            Ok(fd) => fd,
            Err(errno) => return Reply::Refuse(errno),
        };
        match self.in_place(stopped, number, &socket, fd) {
            Ok(_) => Reply::Done,
            Err(error) => self.not_put(key, &error),
        }
    }
}

/// An address of another family is the kernel's to refuse.
fn fits(name: &Name, socket: &Socket) -> bool {
    use rustix::net::AddressFamily;
    match name {
        Name::Inet(SocketAddr::V4(_)) => socket.shape.family == AddressFamily::INET,
        Name::Inet(SocketAddr::V6(_)) => socket.shape.family == AddressFamily::INET6,
        Name::Path(_) | Name::Abstract(_) => socket.shape.is_unix(),
    }
}

fn is_forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

pub(super) fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::INVAL, Errno::from_raw_os_error)
}
