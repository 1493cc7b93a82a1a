//! The control socket: everything the command line can do, a script can do over it.
//!
//! Owns the socket (0600, one primary per path), its clients and what they are owed. Never decides: requests go to
//! the supervisor, which answers by client or by ticket.

pub mod intake;
pub mod place;
pub mod protocol;
mod session;
mod setback;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clustr_core::{Answer, Ticket, Time};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::news::News;
use crate::reactor::{Reactor, Registration, Summons};
pub(crate) use place::OpenError;
use place::{Claim, Holder};
use protocol::{Reply, Request};
use session::Session;
pub(crate) use setback::{Outcome, Setback, Whose, rolled_back};

/// Bound: clients at the same time.
const CLIENTS_MAX: usize = 64;

/// How long the socket rests when there is no descriptor for a client.
const REST: Duration = Duration::from_millis(100);

/// How many clients may wait to be taken in.
const BACKLOG: i32 = 128;

/// Bound: answers that one client may be owed.
const OWED_MAX: u32 = 64;

/// The listening socket and everybody connected to it.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    registration: Registration,
    path: PathBuf,
    inode: u64,
    sessions: BTreeMap<u64, Session>,
    next_client: u64,
    tickets: BTreeMap<Ticket, Asker>,
    next_ticket: u64,
    resting_until: Option<Time>,
    _claim: Claim,
}

/// Who asked, and under which number.
#[derive(Clone, Copy, Debug)]
struct Asker {
    client: u64,
    request: u64,
}

impl Control {
    /// Listens at a path that is claimed. A socket that a killed primary left is replaced.
    pub(crate) fn open(path: &Path, claim: Claim, reactor: &mut Reactor<Summons>) -> Result<Self, OpenError> {
        remove_stale(path)?;
        let (listener, inode) = bind_private(path).map_err(OpenError::Io)?;
        let registration = reactor.register_readable(&listener, Summons::Control).map_err(OpenError::Io)?;
        Ok(Self {
            listener,
            registration,
            path: path.to_owned(),
            inode,
            sessions: BTreeMap::new(),
            next_client: 0,
            tickets: BTreeMap::new(),
            next_ticket: 0,
            resting_until: None,
            _claim: claim,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes in whoever is waiting, if it is the same user or root.
    pub(crate) fn accept(&mut self, reactor: &mut Reactor<Summons>, now: Time) {
        self.resting_until = None;
        loop {
            match self.listener.accept() {
                // A client that cannot be watched sees its connection closed; there is nobody else to tell.
                Ok((stream, _)) => drop(self.admit(stream, reactor)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // No descriptor is left (EMFILE): clients wait in the kernel's queue, and no edge will tell of them.
                Err(_) => return self.resting_until = Some(now + REST),
            }
        }
    }

    /// When to call [`Control::handle_timeout`].
    pub(crate) const fn deadline(&self) -> Option<Time> {
        self.resting_until
    }

    /// Looks again for clients that could not be taken in.
    pub(crate) fn handle_timeout(&mut self, reactor: &mut Reactor<Summons>, now: Time) {
        if self.resting_until.is_some_and(|until| until <= now) {
            self.accept(reactor, now);
        }
    }

    fn admit(&mut self, stream: UnixStream, reactor: &mut Reactor<Summons>) -> io::Result<()> {
        // The pid of a peer in another pid namespace is 0, which rustix's type for it cannot hold: nix's can.
        let peer = getsockopt(&stream, PeerCredentials)?.uid();
        if peer != 0 && peer != rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        stream.set_nonblocking(true)?;
        if self.sessions.len() >= CLIENTS_MAX {
            self.sweep(reactor);
        }
        if self.sessions.len() >= CLIENTS_MAX {
            return turn_away(&stream);
        }
        let client = self.next_client;
        let registration = reactor.register(&stream, Summons::Client(client))?;
        self.next_client += 1;
        self.sessions.insert(client, Session::new(stream, registration));
        reactor.again(Summons::Client(client));
        Ok(())
    }

    /// Lets those go who have hung up, although this turn has not come to hear it yet.
    fn sweep(&mut self, reactor: &mut Reactor<Summons>) {
        self.sessions.values_mut().for_each(Session::look);
        self.flush(reactor);
    }

    /// A client can be read or written: its requests.
    pub(crate) fn hear(&mut self, client: u64, reactor: &mut Reactor<Summons>) -> Vec<Request> {
        let Some(session) = self.sessions.get_mut(&client) else { return Vec::new() };
        let heard = session.hear();
        if heard.more {
            reactor.again(Summons::Client(client));
        }
        heard.requests
    }

    /// Answers a request at once.
    pub(crate) fn reply(&mut self, client: u64, reply: &Reply) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.reply(reply);
        }
    }

    /// A ticket for a request whose answers come later, unless the client is owed too many already.
    pub(crate) fn ticket(&mut self, client: u64, request: u64) -> Option<Ticket> {
        let session = self.sessions.get_mut(&client)?;
        if session.owes() >= OWED_MAX {
            return None;
        }
        session.owe();
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, Asker { client, request });
        Some(ticket)
    }

    /// Passes on what a command came to.
    pub(crate) fn answer(&mut self, ticket: Ticket, outcome: &Outcome) {
        let Some(asker) = self.tickets.get(&ticket).copied() else { return };
        if outcome.answer != Answer::Accepted {
            self.tickets.remove(&ticket);
        }
        let Some(session) = self.sessions.get_mut(&asker.client) else { return };
        if outcome.answer != Answer::Accepted {
            session.settle();
        }
        session.reply(&outcome.reply(asker.request));
    }

    /// From now on the client gets news: of this app alone, or all.
    pub(crate) fn subscribe(&mut self, client: u64, request: u64, app: Option<String>) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.subscribe(request, app);
        }
    }

    /// Tells every subscriber.
    pub(crate) fn publish(&mut self, news: &News) {
        for session in self.sessions.values_mut() {
            session.publish(news);
        }
    }

    /// Writes what clients will take, and lets those go who are done. Says whether the last one has gone with that.
    pub(crate) fn flush(&mut self, reactor: &mut Reactor<Summons>) -> bool {
        let had_clients = !self.sessions.is_empty();
        for session in self.sessions.values_mut() {
            session.flush();
        }
        self.sessions.retain(|_, session| {
            if session.is_over() {
                reactor.deregister(&*session, session.registration);
            }
            !session.is_over()
        });
        had_clients && self.sessions.is_empty()
    }

    /// Stops listening; removes the socket file if it is still ours.
    pub(crate) fn close(mut self, reactor: &mut Reactor<Summons>) {
        self.flush(reactor);
        reactor.deregister(&self.listener, self.registration);
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// One line for a client for whom there is no room.
fn turn_away(mut stream: &UnixStream) -> io::Result<()> {
    let detail = format!("{CLIENTS_MAX} clients are connected already");
    let mut line = serde_json::to_vec(&Reply::refused(0, "busy", detail, None))?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// With the claim in hand, a socket at the path is a dead primary's; anything else is not ours to remove.
fn remove_stale(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::Io(error)),
        Ok(found) if !found.file_type().is_socket() => Err(OpenError::InTheWay),
        // A primary without our lock (of another version, say) may still be there.
        Ok(_) if UnixStream::connect(path).is_ok() => Err(OpenError::Held(Holder::default())),
        Ok(_) => fs::remove_file(path).map_err(OpenError::Io),
    }
}

/// Binds so that nobody else can connect even for a moment: a socket's own mode, set before it is bound, is what its
/// file gets, less the umask (unix(7)).
fn bind_private(path: &Path) -> io::Result<(UnixListener, u64)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((UnixListener::from(socket), fs::symlink_metadata(path)?.ino()))
}
