//! The answers to stopped calls: a bind or listen goes on, or is done in the caller's stead.
//!
//! Owns what was seen of each worker, and the calls that wait. Never owns what is listened on: that is the [`Keeper`]'s.
//! Called by the loop of a primary, whenever a [`Notifier`] can be read.
//!
//! It blocks on nothing that a worker does. Every call is looked at on a copy of its arguments and a duplicate of its
//! socket, and only those are acted on; where it goes on, the kernel may do whatever the program asks. So it does not matter
//! that a second thread may change the arguments meanwhile.

mod bind;
mod listen;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::Way;
use super::call::{Call, understand};
use super::keeper::{Caller, Keeper};
use super::ledger::{Key, Ledger};
use super::notifier::{Next, Notifier};
use super::replace::Place;
use super::rules::{Rules, Why};
use super::spare::Spare;
use super::sys::Notification;
use super::thread::Thread;
use crate::addr::Addr;
use crate::progress::Progress;

/// Bound: how many calls of one worker are answered in one go.
const CALLS_MAX: usize = 64;
/// How long a worker's bind waits for another's listen on an address that all have in common.
const HOLD: Duration = Duration::from_secs(1);
/// Bound: sockets of one worker that are remembered for an option or as made by us.
const REMEMBERED_MAX: usize = 256;

/// Answers for all workers of one app.
#[derive(Debug)]
pub struct Responder {
    way: Way,
    rules: Rules,
    workers: BTreeMap<u64, Watched>,
    ledger: Ledger,
    held: Vec<Held>,
    /// In [`Way::Replace`], by worker and inode: sockets that we made and that do not listen yet.
    made: BTreeMap<(u64, u64), OwnedFd>,
    /// In [`Way::Replace`], by worker and inode: what the program has set, which cannot be asked for later.
    v6_only: BTreeMap<(u64, u64), bool>,
    spares: Vec<Spare>,
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Watched {
    slot: u32,
    leader: u32,
    notifier: Arc<Notifier>,
}

/// What a call has shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// The worker listens, or receives datagrams: it can serve.
    Listening {
        /// Where; `None` where that cannot be seen.
        addr: Option<Addr>,
        /// Its socket is kept, and outlives it. Otherwise it is the worker's alone.
        kept: bool,
        /// The process that listens: the worker's first, or one that it has started.
        pid: u32,
    },
    /// A bind went on as it was.
    Unshared {
        /// What was to be bound, as far as is known.
        addr: Option<Addr>,
        /// Why.
        why: Why,
    },
}

/// A stopped call and its caller.
#[derive(Clone, Debug)]
struct Stopped {
    caller: Caller,
    leader: u32,
    notifier: Arc<Notifier>,
    id: u64,
    thread: Thread,
}

/// The arguments of a bind.
#[derive(Clone, Copy, Debug)]
struct Binding {
    fd: u32,
    at: u64,
    len: u32,
}

/// A bind that waits for another worker's listen.
#[derive(Debug)]
struct Held {
    stopped: Stopped,
    binding: Binding,
    until: Duration,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reply {
    /// By doing what it was about to do.
    Proceed,
    /// With 0: it is done.
    Done,
    Refuse(Errno),
    /// Not now.
    Hold,
    /// There is nobody to hear it.
    Nobody,
}

impl Responder {
    /// Nobody is watched yet. `way` is what [`probe`](super::probe()) has found.
    #[must_use]
    pub fn new(way: Way, rules: Rules) -> Self {
        Self {
            way,
            rules,
            workers: BTreeMap::new(),
            ledger: Ledger::default(),
            held: Vec::new(),
            made: BTreeMap::new(),
            v6_only: BTreeMap::new(),
            spares: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// From now on the calls of this worker are answered. `leader` is its first process.
    pub fn watch(&mut self, caller: Caller, leader: u32, notifier: Notifier) {
        let watched = Watched { slot: caller.slot, leader, notifier: Arc::new(notifier) };
        self.workers.insert(caller.worker, watched);
    }

    /// The descriptor to be watched for this worker.
    #[must_use]
    pub fn notifier(&self, worker: u64) -> Option<&Notifier> {
        self.workers.get(&worker).map(|watched| &*watched.notifier)
    }

    /// A worker has ended, with all that it started: what it had bound is nobody's, and names that it removed come back.
    /// Its queues are the keeper's to free.
    pub fn forget(&mut self, worker: u64, keeper: &mut dyn Keeper) -> Vec<(u64, Seen)> {
        self.workers.remove(&worker);
        self.ledger.forget(worker);
        self.held.retain(|held| held.stopped.caller.worker != worker);
        self.made.retain(|(of, _), _| *of != worker);
        self.v6_only.retain(|(of, _), _| *of != worker);
        self.spares.iter().for_each(Spare::restore);
        self.try_held(keeper)
    }

    /// What is kept at this address is dead: no name of it comes back, and the next bind there is a first one.
    pub fn abandon(&mut self, addr: &Addr) {
        self.spares.retain(|spare| *addr != Addr::Unix(spare.path().into()));
    }

    /// Answers the calls of a worker that are stopped now, in their order; `seen` is what they have shown.
    ///
    /// # Errors
    ///
    /// The kernel does not give a call. Whoever watches the notifier stops.
    pub fn hear(
        &mut self,
        worker: u64,
        keeper: &mut dyn Keeper,
        now: Duration,
        seen: &mut Vec<(u64, Seen)>,
    ) -> std::io::Result<Progress> {
        let Some(watched) = self.workers.get(&worker) else { return Ok(Progress::Closed) };
        let (notifier, leader) = (watched.notifier.clone(), watched.leader);
        let caller = Caller { worker, slot: watched.slot };
        for _ in 0..CALLS_MAX {
            match notifier.next()? {
                Next::Call(call) => self.answer((caller, leader), &notifier, &call, keeper, now),
                Next::Gone => continue,
                Next::Nothing => return Ok(Progress::Drained),
                Next::HungUp => return Ok(Progress::Closed),
            }
            seen.extend(self.seen.drain(..).map(|one| (worker, one)));
            for (worker, one) in self.try_held(keeper) {
                seen.push((worker, one));
            }
        }
        Ok(Progress::More)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.held.iter().map(|held| held.until).min()
    }

    /// Lets calls go on that have waited for too long.
    pub fn handle_timeout(&mut self, keeper: &mut dyn Keeper, now: Duration) -> Vec<(u64, Seen)> {
        let over: Vec<Held> = self.held.extract_if(.., |held| held.until <= now).collect();
        over.iter().for_each(|held| held.stopped.notifier.proceed(held.stopped.id));
        self.try_held(keeper)
    }

    fn answer(
        &mut self,
        (caller, leader): (Caller, u32),
        notifier: &Arc<Notifier>,
        call: &Notification,
        keeper: &mut dyn Keeper,
        now: Duration,
    ) {
        let Some(thread) = Thread::of(call.tid) else {
            self.leave(None, Why::Unseen);
            return notifier.proceed(call.id);
        };
        let understood = understand(call.arch, call.number, call.args, |at| thread.words(at));
        let stopped = Stopped { caller, leader, notifier: notifier.clone(), id: call.id, thread };
        let reply = match understood {
            None => Reply::Proceed,
            Some(Call::Bind { fd, at, len }) => {
                let binding = Binding { fd, at, len };
                let reply = self.bind(&stopped, binding, keeper);
                if reply == Reply::Hold {
                    self.held.push(Held { stopped: stopped.clone(), binding, until: now + HOLD });
                }
                reply
            }
            Some(Call::Listen { fd, backlog }) => self.listen(&stopped, fd, backlog, keeper),
            Some(Call::V6Only { fd, at }) => {
                self.note_option(&stopped, fd, at);
                Reply::Proceed
            }
        };
        stopped.end(reply);
    }

    /// Looks at calls that wait: what they wait for may have come, or may never come.
    fn try_held(&mut self, keeper: &mut dyn Keeper) -> Vec<(u64, Seen)> {
        let mut seen = Vec::new();
        for held in std::mem::take(&mut self.held) {
            let reply = self.bind(&held.stopped, held.binding, keeper);
            let worker = held.stopped.caller.worker;
            seen.extend(self.seen.drain(..).map(|one| (worker, one)));
            held.stopped.end(reply);
            if reply == Reply::Hold {
                self.held.push(held);
            }
        }
        seen
    }

    fn note_option(&mut self, stopped: &Stopped, fd: u32, at: u64) {
        let bytes = stopped.thread.read(at, 4).ok().and_then(|bytes| bytes.first_chunk::<4>().copied());
        let (Some(bytes), Ok(inode)) = (bytes, stopped.thread.inode(fd)) else { return };
        if stopped.is_there() && self.v6_only.len() < REMEMBERED_MAX * self.workers.len() {
            self.v6_only.insert((stopped.caller.worker, inode), i32::from_ne_bytes(bytes) != 0);
        }
    }

    fn listens(&mut self, stopped: &Stopped, addr: Option<Addr>, kept: bool) {
        let pid = stopped.thread.process().unwrap_or(stopped.leader);
        self.seen.push(Seen::Listening { addr, kept, pid });
    }

    fn leave(&mut self, addr: Option<Addr>, why: Why) -> Reply {
        self.seen.push(Seen::Unshared { addr, why });
        Reply::Proceed
    }

    /// Whoever binds a path may have removed it before.
    fn restore(&self, key: &Key) {
        let is_meant = |spare: &&Spare| key.addr == Addr::Unix(spare.path().into());
        self.spares.iter().filter(is_meant).for_each(Spare::restore);
    }

    /// The name by which a common Unix socket comes back.
    fn spare(&mut self, key: &Key) {
        if let Addr::Unix(path) = &key.addr {
            self.spares.retain(|spare| spare.path() != path);
            // Without a link the socket is shared all the same, until somebody removes its name.
            self.spares.extend(Spare::beside(path).ok());
        }
    }
}

impl Stopped {
    /// What was opened by the thread's number was its own.
    fn is_there(&self) -> bool {
        self.notifier.is_valid(self.id)
    }

    fn place(&self, number: u32) -> Place<'_> {
        Place { notifier: &self.notifier, id: self.id, thread: self.thread, number }
    }

    fn end(&self, reply: Reply) {
        match reply {
            Reply::Proceed => self.notifier.proceed(self.id),
            Reply::Done => self.notifier.done(self.id),
            Reply::Refuse(errno) => self.notifier.refuse(self.id, errno),
            Reply::Hold | Reply::Nobody => {}
        }
    }
}
