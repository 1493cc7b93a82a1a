//! One queue a worker on one port: a SO_REUSEPORT group whose sockets belong to the primary.
//!
//! Owns the sockets, the [`Mirror`] of the kernel's array, and the program that is attached. Never accepts by itself, never
//! decides which worker is live or when a queue goes: it is told. Called by a primary that shares `per-worker`.
//!
//! # What it sees to
//!
//! - **The port is ours.** The first socket is bound without `SO_REUSEPORT`, which is set between bind and listen: whoever
//!   was there first makes us fail with `EADDRINUSE`, and yet later sockets of ours can join. It is set before the listen,
//!   because that is when the kernel makes a group, and so a program can be attached before a second socket comes.
//! - **Nobody is sent where nobody shall be sent.** A joining queue is withheld until it is admitted; with no live queue those
//!   that were live before stay filled; until the first is admitted, and when the last that was live is removed, all are.
//! - **A removal loses nobody of another queue.** The kernel puts the last socket into the place of the one that leaves. So
//!   first a program is attached that uses neither of the two, then the socket is closed, then the final one is attached. Where
//!   only the last queue is left to be filled, that cannot be done, and the removal waits, with an empty and withheld
//!   queue, until another one is admitted ([`Removal::Postponed`]).
//! - **Strangers are seen.** A process of our uid may join with `SO_REUSEPORT`; the kernel asks nobody. Before and after each
//!   change, and whenever [`Queues::look`] is called, the port's listeners are compared with the mirror; a stranger's index is
//!   never selected, nor one that became doubtful through it. Another address of the port, which the kernel may prefer to ours,
//!   is no part of the array: who listens there is named ([`Queues::neighbours`]), and cannot be kept away.
//!
//! How many wait in a queue is asked with `TCP_INFO` (`tcpi_unacked`) and not with sock_diag: it is one cheap call on the
//! very socket, while the list has to be walked and parsed for the port; so it can be asked every 20 ms.
//!
//! Datagrams: a group is made when the second socket joins, so a program is attached from then on; nothing is promised
//! for datagrams while the set changes. A socket that another process holds stays in the kernel's array when we
//! close ours; it then counts as a stranger. Streams are shut down first, which takes them out whoever holds them.
//!
//! ```
//! use clustr_net::queue::{Plan, Queues};
//! use clustr_net::{Options, steer::Steer};
//!
//! let plan = Plan { steer: Steer::Hash, seed: 0x5eed, probes: None };
//! let (mut queues, first) = Queues::open(&"127.0.0.1:0".parse()?, Options::default(), plan, 0)?;
//! let second = queues.join(1)?;
//! queues.admit(&[first, second])?;
//! let _client = std::net::TcpStream::connect(("127.0.0.1", queues.port()))?;
//! assert_eq!(queues.waiting(first)? + queues.waiting(second)?, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod another;
mod error;
mod mirror;
mod strangers;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::Shutdown;

use error::kernel;

pub use error::QueueError;
pub use mirror::{Member, Mirror};

use crate::accept::{Acceptor, Connection};
use crate::addr::Addr;
use crate::listener::{Kind, Listener, Options};
use crate::sock_diag::{self, HalfOpen};
use crate::steer::{self, ProbePorts, Program, Steer, SteerError, Target};
use crate::sys;

/// How often a join is tried again because a stranger came in the same moment.
const JOINS_MAX: u32 = 3;

/// How the kernel shall fill the queues.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The way.
    pub steer: Steer,
    /// Whatever strangers cannot know; kept for the group's life.
    pub seed: u32,
    /// Source ports for probes, if there shall be any.
    pub probes: Option<ProbePorts>,
}

/// Which queue; never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct QueueId(u64);

/// The queues of one port.
#[derive(Debug)]
pub struct Queues {
    addr: Addr,
    options: Options,
    plan: Plan,
    queues: Vec<Queue>,
    mirror: Mirror,
    /// The kernel has made a group, so that a program can be attached.
    grouped: bool,
    /// It takes none: sockets of this kind (MPTCP) are filled as the kernel likes.
    unsteered: bool,
    /// Which were filled when last any was live.
    filled: Vec<QueueId>,
    next: u64,
}

#[derive(Debug)]
struct Queue {
    id: QueueId,
    key: u32,
    inode: u64,
    listener: Listener,
    live: bool,
    leaving: bool,
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Removal {
    /// The queue is closed. So many clients waited in it, and were reset.
    Closed {
        /// Clients; 0 if it was emptied before, as it should be.
        lost: u32,
    },
    /// The last queue is the only one left to be filled: it closes by itself when another one is admitted.
    Postponed,
}

impl Queues {
    /// Binds `addr` for us alone, with a first queue for the worker of slot `key`.
    ///
    /// # Errors
    ///
    /// [`QueueError::Bind`]: `EADDRINUSE` whoever has the port, one with `SO_REUSEPORT` too. [`QueueError::Family`].
    pub fn open(addr: &Addr, options: Options, plan: Plan, key: u32) -> Result<(Self, QueueId), QueueError> {
        if !matches!(addr, Addr::Tcp { .. } | Addr::Udp { .. }) {
            return Err(QueueError::Family(addr.clone()));
        }
        // Two UDP sockets with SO_REUSEADDR would share a port unasked.
        let options = Options { reuse_addr: false, ..options };
        let first = Options { reuse_port: false, reuse_port_after: true, ..options };
        let listener = Listener::bind(addr, first)?;
        let options = Options { reuse_port: true, reuse_port_after: false, ..options };
        let mut queues = Self {
            addr: listener.local_addr().clone(),
            options,
            plan,
            queues: Vec::new(),
            mirror: Mirror::new(),
            grouped: listener.kind() == Kind::Stream,
            unsteered: false,
            filled: Vec::new(),
            next: 0,
        };
        let id = queues.adopt(listener, key)?;
        if queues.foreign().is_ok_and(|strangers| !strangers.is_empty()) {
            return Err(QueueError::Strangers(queues.port()));
        }
        queues.steer()?;
        Ok((queues, id))
    }

    /// Another queue, withheld until it is admitted.
    ///
    /// # Errors
    ///
    /// [`QueueError::Bind`]; [`QueueError::Strangers`] if strangers keep joining in the same moment.
    pub fn join(&mut self, key: u32) -> Result<QueueId, QueueError> {
        for _ in 0..JOINS_MAX {
            self.look_quietly();
            let listener = Listener::bind(&self.addr, self.options)?;
            let id = self.adopt(listener, key)?;
            let now = self.foreign_inodes();
            if same(&now, &self.mirror) {
                self.grouped = true;
                self.steer()?;
                return Ok(id);
            }
            // Whether it came before or after ours cannot be known. Without ours it need not be.
            self.close(id);
            self.mirror.leave(Member::Ours(id.0));
            self.mirror.observe(&now);
        }
        Err(QueueError::Strangers(self.port()))
    }

    fn adopt(&mut self, listener: Listener, key: u32) -> Result<QueueId, QueueError> {
        let inode = sock_diag::inode(&listener).map_err(|source| kernel("look at a queue", source))?;
        let id = QueueId(self.next);
        self.next += 1;
        self.mirror.join(Member::Ours(id.0));
        self.queues.push(Queue { id, key, inode, listener, live: false, leaving: false });
        Ok(id)
    }

    /// Says which queues are live: these and no others. None: the program before stays.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unknown`], then nothing has changed; [`QueueError::Steer`]; [`QueueError::Kernel`].
    pub fn admit(&mut self, live: &[QueueId]) -> Result<(), QueueError> {
        let known = |id: &QueueId| self.queues.iter().any(|queue| queue.id == *id && !queue.leaving);
        if !live.iter().all(known) {
            return Err(QueueError::Unknown);
        }
        self.queues.iter_mut().for_each(|queue| queue.live = live.contains(&queue.id));
        self.steer()?;
        let leaving: Vec<QueueId> =
            self.queues.iter().filter(|queue| queue.leaving).map(|queue| queue.id).collect();
        leaving.into_iter().try_for_each(|id| self.try_close(id).map(drop))
    }

    /// Takes a queue out of the group and closes it. Whoever waits in it is reset: empty it before ([`waiting`](Self::waiting),
    /// [`take`](Self::take)), and see that no handshake is under way ([`half_open`](Self::half_open)).
    ///
    /// # Errors
    ///
    /// [`QueueError::Unknown`]; [`QueueError::Kernel`]: it is then still there, withheld, and leaving.
    pub fn remove(&mut self, id: QueueId) -> Result<Removal, QueueError> {
        let lost = match self.waiting(id) {
            Err(QueueError::Deaf) => return Ok(self.forget(id)),
            waiting => waiting?,
        };
        let queue = self.queues.iter_mut().find(|queue| queue.id == id).ok_or(QueueError::Unknown)?;
        (queue.live, queue.leaving) = (false, true);
        self.steer()?;
        Ok(if self.try_close(id)? { Removal::Closed { lost } } else { Removal::Postponed })
    }

    /// Somebody has shut it down: it has left already. Others that have left as well join again; one that cannot is not its
    /// fault, and is told of at the next [`revive`](Self::revive).
    fn forget(&mut self, id: QueueId) -> Removal {
        self.revive_but(Some(id)).ok();
        self.queues.retain(|queue| queue.id != id);
        Removal::Closed { lost: 0 }
    }

    fn try_close(&mut self, id: QueueId) -> Result<bool, QueueError> {
        self.look_quietly();
        let count = self.mirror.count();
        // None has a place where those that were shut down cannot listen again.
        let last = u16::try_from(count.saturating_sub(1)).unwrap_or(u16::MAX);
        let mut fill = self.fill();
        fill.retain(|target| {
            target.index != last && self.mirror.index(Member::Ours(id.0)) != Some(target.index)
        });
        // Where an index is out of range the kernel fills all that are there: nobody but those who shall be filled.
        let others_are_live = self.mirror.strangers().next().is_none()
            && self.queues.iter().all(|queue| queue.live || queue.id == id);
        // Where nothing is certain, waiting makes nothing certain either; with fewer that leave more is.
        let has_doubts = self.mirror.doubtful().next().is_some();
        if fill.is_empty() && count > 2 && !others_are_live && !has_doubts {
            return Ok(false);
        }
        if !fill.is_empty() {
            self.attach(&fill, None)?;
        }
        // With two, the one that stays is what the kernel falls back to while its index is still the old one.
        let place = self.mirror.place(Member::Ours(id.0));
        let inode = self.close(id);
        self.note_closed(id, inode, place);
        if !self.queues.is_empty() {
            self.steer()?;
        }
        Ok(true)
    }

    fn close(&mut self, id: QueueId) -> Option<u64> {
        let place = self.queues.iter().position(|queue| queue.id == id)?;
        let queue = self.queues.remove(place);
        if queue.listener.kind() == Kind::Stream {
            // Out of the array, whoever holds it. It was listening, so this cannot fail.
            rustix::net::shutdown(&queue.listener, Shutdown::Read).ok();
        }
        Some(queue.inode)
    }

    fn note_closed(&mut self, id: QueueId, inode: Option<u64>, place: Option<usize>) {
        let now = self.foreign_inodes();
        if inode.is_some_and(|inode| now.contains(&inode)) {
            let inode = inode.unwrap_or_default();
            self.mirror.replace(Member::Ours(id.0), Member::Stranger(inode));
            self.mirror.observe(&now);
            return;
        }
        self.mirror.leave(Member::Ours(id.0));
        if self.mirror.observe(&now) {
            // Before or after ours has left? The last place and this one may hold either.
            self.mirror.doubt_from(place.unwrap_or(0));
        }
    }

    /// Queues that somebody who has them has shut down listen again, and stand where the kernel puts them: at the end.
    /// Returns them. Whoever waited there when it happened is gone.
    ///
    /// # Errors
    ///
    /// [`QueueError::Kernel`]: one of them cannot; it stays out of the group, and the others are in it.
    pub fn revive(&mut self) -> Result<Vec<QueueId>, QueueError> {
        self.revive_but(None)
    }

    fn revive_but(&mut self, gone: Option<QueueId>) -> Result<Vec<QueueId>, QueueError> {
        let is_deaf = |queue: &&Queue| queue.listener.is_listening().is_ok_and(|listens| !listens);
        let deaf: Vec<QueueId> = self.queues.iter().filter(is_deaf).map(|queue| queue.id).collect();
        if deaf.is_empty() {
            return Ok(deaf);
        }
        self.mirror.leave_all(&deaf.iter().map(|id| Member::Ours(id.0)).collect::<Vec<_>>());
        self.look_quietly();
        let (mut revived, mut fault) = (Vec::new(), None);
        for id in deaf.into_iter().filter(|id| Some(*id) != gone) {
            match self.listener(id).map(Listener::listen_again) {
                Some(Ok(())) => {
                    self.mirror.join(Member::Ours(id.0));
                    revived.push(id);
                }
                Some(Err(source)) => fault = Some(kernel("listen again", source)),
                None => {}
            }
        }
        self.steer()?;
        fault.map_or(Ok(revived), Err)
    }

    /// Hands a queue to the worker of another slot: clients stick to `key` from the next [`admit`](Self::admit) on.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unknown`].
    pub fn rekey(&mut self, id: QueueId, key: u32) -> Result<(), QueueError> {
        let queue = self.queues.iter_mut().find(|queue| queue.id == id && !queue.leaving);
        queue.ok_or(QueueError::Unknown)?.key = key;
        Ok(())
    }

    /// The worker's end of a queue: a descriptor to lend.
    #[must_use]
    pub fn listener(&self, id: QueueId) -> Option<&Listener> {
        self.find(id).map(|queue| &queue.listener)
    }

    fn find(&self, id: QueueId) -> Option<&Queue> {
        self.queues.iter().find(|queue| queue.id == id)
    }

    /// How many clients wait in a queue; of datagrams, 1 if there is any.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unknown`], [`QueueError::Deaf`]; what getsockopt(2) says.
    pub fn waiting(&self, id: QueueId) -> Result<u32, QueueError> {
        let listener = self.listener(id).ok_or(QueueError::Unknown)?;
        let waiting = match listener.kind() {
            Kind::Stream => sys::accept_queue_len(listener.as_fd()),
            Kind::Datagram => is_readable(listener).map(u32::from).map(Some),
        };
        waiting.map_err(|source| kernel("ask how many wait", source))?.ok_or(QueueError::Deaf)
    }

    /// Somebody who waits in a queue, for another worker to serve. `acceptor` bounds the burst; it is one for this queue alone
    /// ([`acceptor`](Self::acceptor)), or is [noticed](Acceptor::notice) whenever it goes on to another. The socket becomes non-blocking for all who hold it, so
    /// that a worker who is faster does not make us wait; only for queues whose workers can live with that. Probes are nobody
    /// else's: they are closed.
    pub fn take(&self, id: QueueId, acceptor: &mut Acceptor, now: Duration) -> Option<Connection> {
        let listener = self.listener(id).filter(|listener| listener.kind() == Kind::Stream)?;
        rustix::io::ioctl_fionbio(listener, true).ok()?;
        loop {
            let connection = acceptor.accept(listener, now)?;
            if !self.is_probe(&connection) {
                return Some(connection);
            }
        }
    }

    /// Whether a connection is a question to the worker of this queue: nobody else is to answer it.
    fn is_probe(&self, connection: &Connection) -> bool {
        let Some(ports) = self.plan.probes else { return false };
        let peer = rustix::net::getpeername(connection).ok().flatten();
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback() && ports.has(peer.port()))
    }

    /// A queue goes to a new worker: whether accept(2) waits there is again what was asked for.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unknown`]; what ioctl(2) says.
    pub fn restore(&self, id: QueueId) -> Result<(), QueueError> {
        let listener = self.listener(id).ok_or(QueueError::Unknown)?;
        rustix::io::ioctl_fionbio(listener, !self.options.blocking)
            .map_err(|error| kernel("set up a queue", error.into()))
    }

    /// What [`take`](Self::take) needs; its connections name the queue by [`QueueId::number`].
    #[must_use]
    pub const fn acceptor(id: QueueId, wants_source: bool) -> Acceptor {
        Acceptor::new(id.0, wants_source)
    }

    /// The handshakes under way to this address: a queue that was withheld may be closed when all that were listed *after* it
    /// was withheld are gone. Costs some 10 ms where 60,000 connections are open or in `TIME_WAIT`: see [`sock_diag`].
    ///
    /// # Errors
    ///
    /// [`QueueError::Kernel`]: the kernel does not say.
    pub fn half_open(&self) -> Result<BTreeSet<HalfOpen>, QueueError> {
        if self.kind() == Kind::Datagram {
            return Ok(BTreeSet::new());
        }
        let listed =
            sock_diag::half_open(self.port()).map_err(|source| kernel("ask for handshakes", source))?;
        let Some(here) = self.addr.socket_addr().map(|addr| addr.ip()) else { return Ok(listed) };
        Ok(listed.into_iter().filter(|one| here.is_unspecified() || one.local.ip() == here).collect())
    }

    /// The source port from which a loopback client reaches this very queue, live or withheld.
    #[must_use]
    pub fn probe_port(&self, id: QueueId) -> Option<u16> {
        self.probes()?.port(self.mirror.index(Member::Ours(id.0))?)
    }

    /// Where the group is bound.
    #[must_use]
    pub const fn addr(&self) -> &Addr {
        &self.addr
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        match self.addr {
            Addr::Tcp { port, .. } | Addr::Udp { port, .. } => port,
            Addr::Unix(_) | Addr::Abstract(_) | Addr::Fd(_) => 0,
        }
    }

    /// The mirror, for tests and views.
    #[must_use]
    pub const fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Whether the kernel fills them as it likes: it takes no program for sockets of this kind (MPTCP), and hashes over all.
    #[must_use]
    pub const fn is_unsteered(&self) -> bool {
        self.unsteered
    }

    /// The queues that are not leaving, with the keys of their workers and whether they are live.
    pub fn queues(&self) -> impl Iterator<Item = (QueueId, u32, bool)> {
        self.queues.iter().filter(|queue| !queue.leaving).map(|queue| (queue.id, queue.key, queue.live))
    }

    /// Connections or datagrams.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.addr {
            Addr::Udp { .. } => Kind::Datagram,
            Addr::Tcp { .. } | Addr::Unix(_) | Addr::Abstract(_) | Addr::Fd(_) => Kind::Stream,
        }
    }

    /// Ports of indexes that the kernel has.
    fn probes(&self) -> Option<ProbePorts> {
        let count = u16::try_from(self.mirror.count()).unwrap_or(u16::MAX);
        self.plan.probes.map(|ports| ProbePorts { count: ports.count.min(count), ..ports })
    }

    /// The program that is, or would be, attached.
    ///
    /// # Errors
    ///
    /// [`QueueError::Steer`]: too many live queues; or none of which it is certain where it stands.
    pub fn program(&self) -> Result<Program, QueueError> {
        self.compile(&self.fill(), self.probes())
    }

    fn steer(&mut self) -> Result<(), QueueError> {
        let fill = self.fill();
        if self.queues.iter().any(|queue| queue.live) {
            self.filled = self.queues.iter().filter(|queue| queue.live).map(|queue| queue.id).collect();
        }
        match self.attach(&fill, self.probes()) {
            // Nothing is certain: what is attached stays.
            Err(QueueError::Steer(SteerError::NoneLive)) => Ok(()),
            other => other,
        }
    }

    /// The queues to be filled: the live ones; if there are none those that were; if there were none all.
    fn fill(&self) -> Vec<Target> {
        let choose = |wanted: &dyn Fn(&Queue) -> bool| -> Vec<Target> {
            let certain = self.queues.iter().filter(|queue| wanted(queue));
            let mut fill: Vec<Target> = certain.filter_map(|queue| self.target(queue)).collect();
            fill.extend(self.doubtful(wanted).into_iter().flatten());
            fill
        };
        let live = choose(&|queue| queue.live);
        let before = || choose(&|queue| !queue.leaving && self.filled.contains(&queue.id));
        let any = || choose(&|queue| !queue.leaving);
        let fallbacks: [&dyn Fn() -> Vec<Target>; 3] = [&|| live.clone(), &before, &any];
        fallbacks.iter().map(|choose| choose()).find(|fill| !fill.is_empty()).unwrap_or_default()
    }

    /// The places at which nobody knows who stands, where it does not matter: all who may be there are to be filled. Clients
    /// that stick to a worker stick to the place.
    fn doubtful(&self, wanted: &dyn Fn(&Queue) -> bool) -> Option<Vec<Target>> {
        let target = |(index, member)| {
            let is_it = |queue: &&Queue| Member::Ours(queue.id.0) == member && wanted(queue);
            Some(Target { index, key: self.queues.iter().find(is_it)?.key })
        };
        self.mirror.doubtful().map(target).collect()
    }

    fn target(&self, queue: &Queue) -> Option<Target> {
        Some(Target { index: self.mirror.index(Member::Ours(queue.id.0))?, key: queue.key })
    }

    fn compile(&self, fill: &[Target], probes: Option<ProbePorts>) -> Result<Program, QueueError> {
        let plan = steer::Plan { steer: self.plan.steer, live: fill, seed: self.plan.seed, probes };
        Ok(Program::compile(&plan)?)
    }

    fn attach(&mut self, fill: &[Target], probes: Option<ProbePorts>) -> Result<(), QueueError> {
        let program = self.compile(fill, probes)?;
        let is_steered = self.grouped && !self.unsteered;
        // One that was shut down would be given a group of its own, and could never listen again: through one of a
        // worker that serves, who has no reason to, if there is one.
        let (live, rest): (Vec<_>, Vec<_>) = self.queues.iter().partition(|queue| queue.live);
        let listens = |queue: &&&Queue| queue.listener.is_listening().is_ok_and(|listens| listens);
        let through = live.iter().chain(&rest).find(listens);
        let Some(queue) = through.filter(|_| is_steered) else { return Ok(()) };
        match sys::attach_steering(queue.listener.as_fd(), program.insns()) {
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
                self.unsteered = true;
                Ok(())
            }
            other => other.map_err(|source| kernel("steer", source)),
        }
    }
}

impl QueueId {
    /// The number by which an [`Acceptor`] and its connections know it.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

fn same(now: &[u64], mirror: &Mirror) -> bool {
    now.len() == mirror.strangers().count() && mirror.strangers().all(|inode| now.contains(&inode))
}

pub(crate) fn is_readable(listener: &Listener) -> io::Result<bool> {
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    match rustix::event::poll(&mut fds, Some(&Timespec::default())) {
        Ok(ready) => Ok(ready > 0),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaving_queue_without_a_place_in_the_array_closes_all_the_same() {
        let plan = Plan { steer: Steer::Hash, seed: 1, probes: None };
        let addr = "127.0.0.1:0".parse().unwrap();
        let (mut queues, id) = Queues::open(&addr, Options::default(), plan, 0).unwrap();
        queues.queues[0].leaving = true;
        // What is left of it where it was shut down, and could not listen again.
        rustix::net::shutdown(&queues.queues[0].listener, Shutdown::Both).unwrap();
        queues.mirror.leave(Member::Ours(id.0));
        queues.admit(&[]).unwrap();
        assert_eq!((queues.queues.len(), queues.mirror.count()), (0, 0));
    }
}
