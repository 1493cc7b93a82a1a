//! The listeners that the workers of one app share.
//!
//! Owns the listeners, who holds which, and the rule of sharing. Never writes to a worker: it hands out an
//! [`Answer`], `endpoint` sends it. Called by the loop of a primary, for every [`Query`] and every close.
//!
//! Two queries get the same listener when their address, port, kind and descriptor are equal; for port 0, which is
//! a wish for a port of its own, the index must be equal too, so that the first `listen(0)` of every worker shares
//! one port and the second another. A listener outlives the workers that hold it unless they closed it themselves:
//! a successor finds the same port, and the connections that waited meanwhile.
//!
//! In a table that is [`queueing`](Table::queueing), what is held in common is the port: each worker is answered with a
//! queue of its own on it, which whoever calls chooses.

mod replace;
mod tickets;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::addr::{Addr, Host};
use crate::listener::{Kind, Listener, Options};
use crate::queue::{Plan, QueueError, QueueId, Queues};

use super::query::{self, AddressKind, Query};

/// Bound: listeners that the workers of one app can have at the same time.
const LISTENERS_MAX: usize = 1024;
/// Bound: the longest address that is looked at; no path can be longer.
const ADDRESS_BYTES_MAX: usize = 4096;
/// Bound: what one worker can make us keep for the others.
const DATA_BYTES_MAX: usize = 64 << 10;

/// The shared listeners of one app.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    inherited: BTreeMap<u32, OwnedFd>,
    last_number: u64,
    hands_over: bool,
    queueing: Option<Plan>,
    /// What cannot have queues is shared, rather than refused.
    shares_rest: bool,
    evicted: Option<Closed>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// The number, as text.
    key: String,
    /// Which queries it answers; `None` for one that was bound before anybody asked.
    identity: Option<Identity>,
    bound: Bound,
    holders: BTreeSet<u64>,
    /// Who held it last, if that one ended rather than closed it: from then on it waits for a successor.
    left_by: Option<u64>,
    /// Stays although no worker holds it: the primary was told to listen there.
    given: bool,
    data: String,
    ticket_keys: Option<String>,
}

/// What makes two queries ask for the same listener.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Identity {
    address: Option<String>,
    port: Option<i64>,
    kind: AddressKind,
    fd: Option<i64>,
    /// Only for port 0, which every ask gets anew. Elsewhere it tells nothing: node counts failed tries, too.
    index: Option<i64>,
}

/// What is bound for an address.
#[derive(Debug)]
pub enum Bound {
    /// One listener, for all workers.
    Listener(Listener),
    /// A queue for each worker.
    Queues(Box<Queues>),
}

/// A listener that has closed for the table: dropped, it closes for everybody.
#[derive(Debug)]
pub struct Closed {
    /// Its number in the table.
    pub number: u64,
    /// The socket, or the sockets.
    pub bound: Bound,
}

/// The answer to a query: words for the line, and the descriptor that goes with it.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The key by which the worker will name this server; unique among its open servers.
    pub key: Cow<'a, str>,
    /// 0, or a negative errno, as in -98 for `EADDRINUSE`.
    pub errno: i32,
    /// JSON text for the server: what all workers of the listener share.
    pub data: Cow<'a, str>,
    /// The listening or bound socket; none if `errno` is not 0, and none where connections are handed over.
    pub fd: Option<BorrowedFd<'a>>,
    /// Connections or datagrams.
    pub kind: Kind,
    /// Where a server listens that has no socket of its own: TCP, handed over.
    pub sockname: Option<SocketAddr>,
    /// The listener from which this worker is to be handed connections, by its number in the table.
    pub handed: Option<u64>,
}

/// What a worker that is gone leaves.
#[derive(Debug)]
pub struct Gone {
    /// What closed with it, for whoever watches it.
    pub closed: Vec<Closed>,
    /// Whether there are listeners now that nobody holds: see [`Table::release`].
    pub left: bool,
}

/// What becomes of the listeners that a worker leaves without a holder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// They stay: a successor will come, and nobody shall be refused meanwhile.
    Keep,
    /// They close: nobody will come.
    Release,
}

impl Table {
    /// A table without listeners. `inherited` are the descriptors that `listen({fd})` may name, by number.
    #[must_use]
    pub fn new(inherited: Vec<(u32, OwnedFd)>) -> Self {
        let inherited = inherited.into_iter().collect();
        Self {
            entries: Vec::new(),
            inherited,
            last_number: 0,
            hands_over: false,
            queueing: None,
            shares_rest: false,
            evicted: None,
        }
    }

    /// A table whose streams stay with us: workers get connections instead, by
    /// [`Endpoint::hand_over`](super::Endpoint::hand_over). Datagrams are shared all the same.
    #[must_use]
    pub fn handing_over(inherited: Vec<(u32, OwnedFd)>) -> Self {
        Self { hands_over: true, ..Self::new(inherited) }
    }

    /// A table whose workers have a queue each: see [`answer_queued`](Self::answer_queued). It binds TCP and UDP alone.
    #[must_use]
    pub fn queueing(inherited: Vec<(u32, OwnedFd)>, plan: Plan) -> Self {
        Self { queueing: Some(plan), ..Self::new(inherited) }
    }

    /// One listener for all workers where there cannot be a queue for each: Unix sockets and inherited ones.
    #[must_use]
    pub fn sharing_the_rest(self) -> Self {
        Self { shares_rest: true, ..self }
    }

    /// Adds what was bound before any worker asked, and that no worker can close. A query for its address is answered
    /// with it. Returns its number.
    pub fn give(&mut self, bound: impl Into<Bound>) -> u64 {
        self.push(None, bound.into(), "null".to_owned());
        self.last_number
    }

    /// Finds or binds what `worker` asked for. On success it holds the listener from now on. `worker` is any number
    /// that no other worker of this table has, also not its predecessor while both are there.
    ///
    /// The errno of a refusal: what the bind said; `EADDRINUSE` if the worker has that very server open;
    /// `EINVAL` for what cannot be an address, and for a descriptor that is no socket of ours; `EMFILE` beyond 1,024
    /// listeners that are held (one that nobody holds makes room: see [`take_evicted`](Self::take_evicted)). Nothing is
    /// remembered of a refusal, so that a later try can succeed.
    pub fn answer(&mut self, worker: u64, query: &Query) -> Answer<'_> {
        self.answer_queued((worker, 0), query, |_, _| Err(QueueError::Unknown))
    }

    /// The same where workers have queues: `choose` says which one of those of this number in the table the worker gets,
    /// and makes it if it has to. `key` is what the first queue of a new port is for ([`Queues::open`]).
    ///
    /// Further errnos: what `choose` says ([`QueueError::errno`]); `EOPNOTSUPP` for what is neither TCP nor UDP.
    pub fn answer_queued(
        &mut self,
        (worker, key): (u64, u32),
        query: &Query,
        choose: impl FnOnce(u64, &mut Queues) -> Result<QueueId, QueueError>,
    ) -> Answer<'_> {
        let place = match self.place((worker, key), query) {
            Ok(place) => place,
            Err(errno) => return Answer::refused(errno, query),
        };
        let entry = &mut self.entries[place];
        let chosen = match &mut entry.bound {
            Bound::Listener(_) => Ok(None),
            Bound::Queues(queues) => choose(entry.number, queues).map(Some),
        };
        match chosen {
            Ok(queue) => entry.answer(query, self.hands_over, queue),
            Err(error) => {
                entry.let_go(worker);
                Answer::refused(errno(error.errno()), query)
            }
        }
    }

    /// A worker closed the server with this key. The listener closes with its last holder, and whoever waits in its
    /// queue is refused: not to be called for a worker that was told to leave and will have a successor. What closed
    /// is returned, for whoever watches it.
    pub fn closed(&mut self, worker: u64, key: &str) -> Option<Closed> {
        let place = self.entries.iter().position(|entry| entry.key == key)?; // A worker may say anything.
        let is_over = self.entries[place].let_go(worker) && self.entries[place].is_idle();
        is_over.then(|| self.entries.remove(place).into())
    }

    /// Whether the worker has this server open.
    #[must_use]
    pub fn holds(&self, worker: u64, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key && entry.holders.contains(&worker))
    }

    /// A worker is gone, or another process has taken its place on the channel (a second `Online`: `Fate::Keep`).
    pub fn gone(&mut self, worker: u64, fate: Fate) -> Gone {
        let mut left = false;
        let closed = self.entries.extract_if(.., |entry| {
            let idle = entry.let_go(worker) && entry.is_idle();
            if idle {
                entry.left_by = Some(worker);
            }
            left |= idle && fate == Fate::Keep;
            idle && fate == Fate::Release
        });
        Gone { closed: closed.map(Closed::from).collect(), left }
    }

    /// Closes what a worker that is gone was the last to hold, if nobody has asked for it since: a successor that has
    /// been up for a while does not want it, as with a path that has the process's number in it.
    pub fn release(&mut self, worker: u64) -> Vec<Closed> {
        let is_unwanted = |entry: &mut Entry| entry.left_by == Some(worker) && entry.is_idle();
        self.entries.extract_if(.., is_unwanted).map(Closed::from).collect()
    }

    /// What had to make room for what was asked for since the last look.
    pub fn take_evicted(&mut self) -> Option<Closed> {
        self.evicted.take()
    }

    /// Closes what no worker holds, and returns where that was. For the end of a reload: what the new version never
    /// asked for would else collect connections that nobody accepts.
    pub fn close_idle(&mut self) -> Vec<Addr> {
        let idle = self.entries.extract_if(.., |entry| entry.is_idle());
        idle.map(|entry| entry.bound.local_addr().clone()).collect()
    }

    /// The listeners that are open, oldest first; without those that are queues.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.entries.iter().filter_map(|entry| entry.bound.listener())
    }

    /// The same, with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, &Listener)> {
        self.entries.iter().filter_map(|entry| Some((entry.number, entry.bound.listener()?)))
    }

    /// Where something is bound, oldest first.
    pub fn addrs(&self) -> impl Iterator<Item = &Addr> {
        self.entries.iter().map(|entry| entry.bound.local_addr())
    }

    /// The ports that have a queue for each worker, by their numbers, oldest first.
    pub fn ports(&mut self) -> impl Iterator<Item = (u64, &mut Queues)> {
        self.entries.iter_mut().filter_map(|entry| match &mut entry.bound {
            Bound::Queues(queues) => Some((entry.number, &mut **queues)),
            Bound::Listener(_) => None,
        })
    }

    /// What was bound before any worker asked and is what somebody wants who names this address: its number.
    #[must_use]
    pub fn given_at(&self, wanted: &Addr) -> Option<u64> {
        let is_it = |entry: &&Entry| entry.given && matches(entry.bound.local_addr(), wanted);
        self.entries.iter().find(is_it).map(|entry| entry.number)
    }

    /// The queues of one port, by its number, to be changed.
    #[must_use]
    pub fn queues_mut(&mut self, number: u64) -> Option<&mut Queues> {
        let place = self.place_of(number)?;
        match &mut self.entries[place].bound {
            Bound::Queues(queues) => Some(queues),
            Bound::Listener(_) => None,
        }
    }

    /// The queues of one port, by its number.
    #[must_use]
    pub fn queues(&self, number: u64) -> Option<&Queues> {
        self.entries.get(self.place_of(number)?)?.bound.queues()
    }

    /// A listener by its number, and its key.
    #[must_use]
    pub fn listener(&self, number: u64) -> Option<(&Listener, &str)> {
        let entry = &self.entries[self.place_of(number)?];
        Some((entry.bound.listener()?, &entry.key))
    }

    /// The numbers of all that is bound, oldest first.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|entry| entry.number)
    }

    fn place_of(&self, number: u64) -> Option<usize> {
        // Numbers ascend, and there are few.
        self.entries.binary_search_by_key(&number, |entry| entry.number).ok()
    }

    /// The key that goes with a number.
    #[must_use]
    pub fn key_of(&self, number: u64) -> Option<&str> {
        Some(&self.entries[self.place_of(number)?].key)
    }

    /// The first listener for streams that a worker holds: its key, and where it is.
    #[must_use]
    pub fn first_stream_of(&self, worker: u64) -> Option<(&str, &Addr)> {
        let held = |entry: &&Entry| entry.holders.contains(&worker) && entry.bound.kind() == Kind::Stream;
        self.entries.iter().find(held).map(|entry| (entry.key.as_str(), entry.bound.local_addr()))
    }

    /// The number that goes with a key.
    #[must_use]
    pub fn number_of(&self, key: &str) -> Option<u64> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.number)
    }

    fn place(&mut self, (worker, key): (u64, u32), query: &Query) -> Result<usize, Errno> {
        let identity = Identity::of(query);
        let target = target(query)?;
        let place = match self.find(worker, &identity, &target) {
            Some(place) => place,
            None => self.open(identity, (&target, key), query)?,
        };
        if !self.entries[place].holders.insert(worker) {
            return Err(Errno::ADDRINUSE); // With SO_REUSEPORT a second bind would silently succeed.
        }
        self.entries[place].left_by = None;
        Ok(place)
    }

    fn find(&self, worker: u64, identity: &Identity, target: &Addr) -> Option<usize> {
        // A worker may bind one datagram port twice (`reuseAddr`): the kernel decides, on a socket of its own.
        let again = |entry: &Entry| identity.kind.is_datagram() && entry.holders.contains(&worker);
        let shared = |entry: &Entry| entry.identity.as_ref() == Some(identity) && !again(entry);
        let given = |entry: &Entry| entry.given && matches(entry.bound.local_addr(), target);
        self.entries.iter().position(shared).or_else(|| self.entries.iter().position(given))
    }

    fn open(&mut self, identity: Identity, target: (&Addr, u32), query: &Query) -> Result<usize, Errno> {
        if self.entries.len() >= LISTENERS_MAX {
            let oldest = self.entries.iter().position(Entry::is_idle).ok_or(Errno::MFILE)?;
            self.evicted = Some(self.entries.remove(oldest).into());
        }
        let bound = self.bind(target, query)?;
        let data = if query.data.len() <= DATA_BYTES_MAX { query.data.clone() } else { "null".to_owned() };
        self.push(Some(identity), bound, data);
        Ok(self.entries.len() - 1)
    }

    fn bind(&self, (target, key): (&Addr, u32), query: &Query) -> Result<Bound, Errno> {
        match (target, self.queueing) {
            (Addr::Tcp { .. } | Addr::Udp { .. }, Some(plan)) => {
                let opened = Queues::open(target, options(query), plan, key);
                opened.map(|(queues, _)| queues.into()).map_err(|error| errno(error.errno()))
            }
            (Addr::Fd(_) | Addr::Unix(_) | Addr::Abstract(_), Some(_)) if !self.shares_rest => {
                Err(Errno::OPNOTSUPP)
            }
            (Addr::Fd(number), _) => self.adopt(*number).map(Bound::Listener),
            (Addr::Tcp { .. } | Addr::Udp { .. } | Addr::Unix(_) | Addr::Abstract(_), _) => {
                let bound = Listener::bind(target, options(query));
                bound.map(Bound::Listener).map_err(|error| errno(error.errno()))
            }
        }
    }

    /// A second descriptor of an inherited socket: the first stays for a server that comes after this one closed.
    fn adopt(&self, number: u32) -> Result<Listener, Errno> {
        let inherited = self.inherited.get(&number).ok_or(Errno::INVAL)?;
        let own = inherited.try_clone().map_err(|error| errno(error.raw_os_error()))?;
        // Node says EINVAL for everything that cannot be listened on.
        Listener::adopt(own).map_err(|_| Errno::INVAL)
    }

    fn push(&mut self, identity: Option<Identity>, bound: Bound, data: String) {
        self.last_number += 1;
        self.entries.push(Entry {
            number: self.last_number,
            key: self.last_number.to_string(),
            given: identity.is_none(),
            identity,
            bound,
            holders: BTreeSet::new(),
            left_by: None,
            data,
            ticket_keys: None,
        });
    }
}

impl Entry {
    fn answer(&mut self, query: &Query, hands_over: bool, queue: Option<QueueId>) -> Answer<'_> {
        let handed = hands_over && self.bound.kind() == Kind::Stream;
        let data = if tickets::are_wanted(query) {
            // A TLS server cannot do without, and keys of ours survive the restart of all workers. Each listener
            // has its own: a session of one server must not be resumed at another that asks for more.
            self.ticket_keys.get_or_insert_with(|| tickets::fresh().unwrap_or_else(|| query.data.clone()))
        } else {
            &self.data
        };
        Answer {
            key: Cow::Borrowed(&self.key),
            errno: 0,
            data: Cow::Borrowed(data),
            fd: self.bound.fd(queue).filter(|_| !handed),
            kind: self.bound.kind(),
            sockname: self.bound.local_addr().socket_addr().filter(|_| handed),
            handed: handed.then_some(self.number),
        }
    }

    /// Returns whether the worker held it.
    fn let_go(&mut self, worker: u64) -> bool {
        self.holders.remove(&worker)
    }

    fn is_idle(&self) -> bool {
        self.holders.is_empty() && !self.given
    }
}

impl Answer<'_> {
    /// An error for the app's `'error'` event. `data` is the server's own: a TLS server dies of anything else.
    fn refused(errno: Errno, query: &Query) -> Self {
        Answer {
            key: Cow::Borrowed("refused"),
            errno: -errno.raw_os_error(),
            data: Cow::Owned(query.data.clone()),
            fd: None,
            kind: Kind::Stream,
            sockname: None,
            handed: None,
        }
    }
}

impl From<Entry> for Closed {
    fn from(entry: Entry) -> Self {
        Self { number: entry.number, bound: entry.bound }
    }
}

impl Bound {
    /// Where.
    #[must_use]
    pub const fn local_addr(&self) -> &Addr {
        match self {
            Self::Listener(listener) => listener.local_addr(),
            Self::Queues(queues) => queues.addr(),
        }
    }

    /// Connections or datagrams.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Listener(listener) => listener.kind(),
            Self::Queues(queues) => queues.kind(),
        }
    }

    /// The one listener.
    #[must_use]
    pub const fn listener(&self) -> Option<&Listener> {
        match self {
            Self::Listener(listener) => Some(listener),
            Self::Queues(_) => None,
        }
    }

    /// The queues of the port.
    #[must_use]
    pub fn queues(&self) -> Option<&Queues> {
        match self {
            Self::Listener(_) => None,
            Self::Queues(queues) => Some(queues),
        }
    }

    fn fd(&self, queue: Option<QueueId>) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Listener(listener) => Some(listener.as_fd()),
            Self::Queues(queues) => queues.listener(queue?).map(AsFd::as_fd),
        }
    }
}

impl From<Listener> for Bound {
    fn from(listener: Listener) -> Self {
        Self::Listener(listener)
    }
}

impl From<Queues> for Bound {
    fn from(queues: Queues) -> Self {
        Self::Queues(Box::new(queues))
    }
}

impl Identity {
    fn of(query: &Query) -> Self {
        let port = query.port.filter(|&port| port != 0);
        let fd = query.fd.filter(|&fd| fd >= 0);
        Self {
            address: query.address.clone(),
            port,
            kind: query.address_kind,
            fd,
            index: (port.is_none() && fd.is_none()).then_some(query.index),
        }
    }
}

/// What is to be bound. Numbers and paths only: a name from a worker could make the loop wait for a name server.
fn target(query: &Query) -> Result<Addr, Errno> {
    if query.address.as_ref().is_some_and(|address| address.len() > ADDRESS_BYTES_MAX) {
        return Err(Errno::NAMETOOLONG);
    }
    if let Some(fd) = query.fd.filter(|&fd| fd >= 0) {
        return u32::try_from(fd).map(Addr::Fd).map_err(|_| Errno::INVAL);
    }
    let host = |any| query.address.as_deref().map_or(Some(any), Host::from_numbers).ok_or(Errno::INVAL);
    let port = |port: Option<i64>| port.and_then(|port| u16::try_from(port).ok()).ok_or(Errno::INVAL);
    match query.address_kind {
        AddressKind::Tcp4 | AddressKind::Tcp6 => {
            Ok(Addr::Tcp { host: host(Host::Any)?, port: port(query.port)? })
        }
        AddressKind::Udp4 => Ok(Addr::Udp { host: host(v4_any())?, port: port(query.port.or(Some(0)))? }),
        AddressKind::Udp6 => Ok(Addr::Udp { host: host(v6_any())?, port: port(query.port.or(Some(0)))? }),
        // Node up to 18 sends a path's port without a path when an app listens on a received handle.
        AddressKind::Unix => query.address.as_deref().map(query::unix).ok_or(Errno::INVAL),
        AddressKind::Fd | AddressKind::Unknown => Err(Errno::INVAL),
    }
}

const fn v4_any() -> Host {
    Host::Ip(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

const fn v6_any() -> Host {
    Host::Ip(std::net::IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED))
}

fn options(query: &Query) -> Options {
    let datagram = query.address_kind.is_datagram();
    let bit = |bit: i64| query.flags & bit != 0;
    let readable = if query.readable_all { 0o444 } else { 0 };
    let writable = if query.writable_all { 0o222 } else { 0 };
    Options {
        backlog: query.backlog,
        v6_only: bit(1),
        reuse_addr: datagram && bit(4),
        reuse_port: datagram && bit(64),
        mode_added: readable | writable,
        ..Options::default()
    }
}

/// Whether a listener that is there already is what a query asks for.
fn matches(bound: &Addr, wanted: &Addr) -> bool {
    match (bound, wanted) {
        (Addr::Tcp { host, port }, Addr::Tcp { host: other, port: wanted })
        | (Addr::Udp { host, port }, Addr::Udp { host: other, port: wanted }) => {
            port == wanted && host.covers(other)
        }
        (Addr::Unix(_) | Addr::Abstract(_), _) => bound == wanted,
        (Addr::Tcp { .. } | Addr::Udp { .. } | Addr::Fd(_), _) => false,
    }
}

fn errno(raw: Option<i32>) -> Errno {
    raw.map_or(Errno::INVAL, Errno::from_raw_os_error)
}
