//! Programs that bind for themselves: their `bind` and `listen` are answered, and what they listen on is kept.
//!
//! Owns which address is kept under which number of the table, and what was told. The answers are
//! `clustr_net::intercept`'s; who has which queue is the seats', as for everybody else. Never decides over a worker: that it
//! listens becomes an event. Called by the loop for every call that is stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use clustr_core::{Event, Time, WorkerId};
use clustr_net::intercept::{
    Caller, Installer, Keeper, Key, Notifier, Responder, Rules, Seen, Way, Why, found,
};
use clustr_net::node::Table;
use clustr_net::queue::{Plan, QueueError, Queues};
use clustr_net::{Addr, Listener, Progress};
use rustix::io::Errno;

use super::given::Given;
use super::listened::{Listened, Verdict};
use super::queues::Seats;
use super::unclaimed::Unclaimed;
use super::{Heard, Moment, Sharing};
use crate::config::{Config, ReadyWhen};
use crate::error::{ListenError, StartError};
use crate::news::Fact;
use crate::process::Speaker;
use crate::reactor::Reactor;
use crate::worker::Worker;

/// Bound: addresses that the workers of one app may have.
const PORTS_MAX: usize = 1024;
/// Bound: different things that are told once.
const TOLD_MAX: usize = 256;

/// What interception has open.
#[derive(Debug)]
pub(super) struct Intercept {
    way: Way,
    responder: Responder,
    pub(super) kept: Kept,
    pub(super) unclaimed: Unclaimed,
    listened: Listened,
    told: BTreeSet<String>,
}

/// What is kept for whom.
#[derive(Debug)]
pub(super) struct Kept {
    /// How queues are filled; `None`: all workers have one.
    plan: Option<Plan>,
    /// Its number in the table.
    pub(super) numbers: Vec<(Key, u64)>,
    /// By number in the table: who has a socket that workers have in common.
    pub(super) holders: BTreeSet<(u64, WorkerId)>,
    workers: BTreeMap<u64, WorkerId>,
}

impl Intercept {
    /// Finds out how it can be done here.
    pub(super) fn new(config: &Config, plan: Option<Plan>) -> Result<Self, StartError> {
        let way = found().map_err(|lack| StartError::Listen(ListenError::Intercept(lack)))?;
        let ports = &config.ports;
        let rules = Rules {
            ports: ports.shared.clone(),
            private: ports.private.clone(),
            share_zero: ports.share_zero,
            ..Rules::every_port()
        };
        Ok(Self {
            way,
            responder: Responder::new(way, rules),
            kept: Kept { plan, numbers: Vec::new(), holders: BTreeSet::new(), workers: BTreeMap::new() },
            unclaimed: Unclaimed::default(),
            listened: Listened::new(ports.shared.clone()),
            told: BTreeSet::new(),
        })
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let calls = self.responder.deadline().map(|at| Time::ZERO + at);
        calls.into_iter().chain(self.unclaimed.deadline()).min()
    }

    /// A worker counts as ready.
    pub(super) fn ready(&mut self, id: WorkerId) {
        self.listened.ready(id);
    }

    /// What workers have bound under this number is dead, or nobody's: whoever binds there from now on is the first. Says whether it was
    /// theirs.
    pub(super) fn abandon(&mut self, number: u64, addr: &Addr) -> bool {
        let before = self.kept.numbers.len();
        self.kept.numbers.retain(|(_, kept)| *kept != number);
        self.kept.holders.retain(|(held, _)| *held != number);
        let is_theirs = self.kept.numbers.len() < before;
        if is_theirs {
            self.responder.abandon(addr);
        }
        is_theirs
    }

    fn tell_once(&mut self, detail: String, hint: Option<String>) -> Option<Fact> {
        let is_news = self.told.len() < TOLD_MAX && self.told.insert(detail.clone());
        is_news.then_some(Fact::Warning { detail, hint })
    }
}

impl Sharing {
    /// How programs' own binds are shared, in the words of `clustr status`, and why it is not in the best way. `None`: they
    /// are not, and nobody wants it.
    pub(crate) fn interception(&self) -> Option<(&'static str, Option<String>)> {
        match &self.intercept {
            Some(Intercept { way, .. }) => Some((way.name(), way.why())),
            None => self.instead.as_ref().map(|why| ("none", Some(why.clone()))),
        }
    }

    /// The same, as news for the start; `None`: there is nothing odd about it.
    pub(crate) fn interception_news(&self) -> Option<Fact> {
        let Some(Intercept { way, .. }) = &self.intercept else {
            let hint = Some(Config::INSTEAD_HINT.to_owned());
            return self.instead.clone().map(|detail| Fact::Warning { detail, hint });
        };
        let why = way.why()?;
        let detail = format!("sockets of the same kind are put in the place of the program's own: {why}");
        Some(Fact::Warning { detail, hint: None })
    }

    /// What a new worker needs to be watched; `None`: workers are not.
    pub(crate) fn installer(&self) -> io::Result<Option<Installer>> {
        self.intercept.as_ref().map(|intercept| Installer::new(intercept.way.watch())).transpose()
    }

    /// From now on a worker's calls are answered. `unique_id` is a number that no other has, `pid` its process.
    pub(crate) fn intercept(&mut self, id: WorkerId, unique_id: u64, pid: u32, notifier: Notifier) {
        let Some(intercept) = &mut self.intercept else { return };
        intercept.kept.workers.insert(unique_id, id);
        intercept.responder.watch(Caller { worker: unique_id, slot: id.slot.0 }, pid, notifier);
    }

    /// What is to be watched for a worker.
    pub(crate) fn notifier(&self, unique_id: u64) -> Option<&Notifier> {
        self.intercept.as_ref()?.responder.notifier(unique_id)
    }

    /// Answers the calls of a worker that are stopped.
    pub(crate) fn hear_calls(
        &mut self,
        id: WorkerId,
        worker: &mut Worker,
        reactor: &mut Reactor,
        at: Moment,
    ) -> Heard {
        self.make_room();
        let mut heard = Heard { at, ..Heard::default() };
        let mut seen = Vec::new();
        let progress = self.with_responder(|responder, keeper| {
            responder.hear(worker.unique_id, keeper, span(at.now), &mut seen)
        });
        match progress {
            Some(Ok(Progress::Drained)) | None => {}
            Some(Ok(Progress::More)) => heard.more = true,
            Some(Ok(Progress::Closed)) => self.stop_hearing(worker, reactor),
            Some(Err(error)) => {
                heard.facts.push(unheard(id, &error));
                self.stop_hearing(worker, reactor);
            }
        }
        self.understand_calls(seen, Some((id, worker)), &mut heard);
        heard
    }

    /// Lets calls go on that have waited for another worker's for too long.
    pub(super) fn release_calls(&mut self, now: Time) -> Heard {
        let mut heard = Heard::default();
        let is_due = |intercept: &Intercept| intercept.responder.deadline().is_some_and(|at| at <= span(now));
        if self.intercept.as_ref().is_some_and(is_due) {
            let seen = self.with_responder(|responder, keeper| responder.handle_timeout(keeper, span(now)));
            self.understand_calls(seen.unwrap_or_default(), None, &mut heard);
        }
        heard
    }

    /// A worker has ended; somebody may have waited for its listen.
    pub(super) fn forget_calls(&mut self, id: WorkerId, unique_id: u64) -> Heard {
        let mut heard = Heard::default();
        let seen = self.with_responder(|responder, keeper| responder.forget(unique_id, keeper));
        if let Some(intercept) = &mut self.intercept {
            intercept.kept.workers.remove(&unique_id);
            intercept.kept.holders.retain(|(_, holder)| *holder != id);
            intercept.unclaimed.doubt();
            intercept.listened.forget(id);
        }
        self.understand_calls(seen.unwrap_or_default(), None, &mut heard);
        heard
    }

    /// Before the notifier of a worker closes.
    pub(super) fn stop_hearing(&self, worker: &mut Worker, reactor: &mut Reactor) {
        if let (Some(notifier), Some(watch)) = (self.notifier(worker.unique_id), worker.calls.take()) {
            reactor.deregister(notifier, watch);
        }
    }

    fn with_responder<T>(&mut self, act: impl FnOnce(&mut Responder, &mut dyn Keeper) -> T) -> Option<T> {
        let Intercept { responder, kept, unclaimed, .. } = self.intercept.as_mut()?;
        let (table, given, seats) = (&mut self.table, &self.given, self.seats.as_mut());
        Some(act(responder, &mut Ground { kept, unclaimed, table, given, seats }))
    }

    /// `speaker` is the worker whose calls were heard; others are only told of.
    fn understand_calls(
        &mut self,
        seen: Vec<(u64, Seen)>,
        mut speaker: Option<(WorkerId, &mut Worker)>,
        heard: &mut Heard,
    ) {
        for (unique_id, seen) in seen {
            let Some(intercept) = &mut self.intercept else { return };
            let Some(&id) = intercept.kept.workers.get(&unique_id) else { continue };
            match seen {
                Seen::Listening { addr, kept, pid } => {
                    let (is_news, verdict) = intercept.listened.heard(id, addr.as_ref(), kept);
                    if is_news {
                        heard.facts.push(listening(id, addr.as_ref()));
                    }
                    self.count_as_ready(id, verdict, heard);
                    if let Some((_, worker)) = speaker.as_mut().filter(|(speaker, _)| *speaker == id) {
                        worker.speaker = Speaker::of_group(pid, &worker.process).or(worker.speaker.take());
                    }
                    if let Some(seats) = &mut self.seats {
                        seats.seated(id, &mut self.table);
                    }
                }
                Seen::Unshared { addr, why } => {
                    let (detail, hint) = unshared(addr.as_ref(), why);
                    heard.facts.extend(intercept.tell_once(detail, hint));
                }
            }
        }
    }

    fn count_as_ready(&self, id: WorkerId, verdict: Verdict, heard: &mut Heard) {
        match (&self.ready, verdict) {
            (ReadyWhen::Auto | ReadyWhen::Listen, Verdict::Ready) => heard.events.push(Event::Ready(id)),
            (ReadyWhen::Auto | ReadyWhen::Listen, Verdict::Maybe) => heard.maybe.push(id),
            (ReadyWhen::Auto | ReadyWhen::Listen, Verdict::NotYet)
            | (ReadyWhen::Message | ReadyWhen::Notify | ReadyWhen::Delay(_) | ReadyWhen::Probe(_), _) => {}
        }
    }
}

/// Everything that the answer to a call may change.
struct Ground<'a> {
    kept: &'a mut Kept,
    unclaimed: &'a mut Unclaimed,
    table: &'a mut Table,
    given: &'a Given,
    seats: Option<&'a mut Seats>,
}

impl Ground<'_> {
    /// What is kept for an address, or was bound before anybody asked.
    fn number(&self, key: &Key) -> Option<u64> {
        let own = self.kept.numbers.iter().find(|(known, _)| known == key).map(|(_, number)| *number);
        own.or_else(|| self.table.given_at(&key.addr).filter(|number| self.given.has(*number)))
    }

    fn id(&self, caller: Caller) -> Result<WorkerId, Errno> {
        self.kept.workers.get(&caller.worker).copied().ok_or(Errno::SRCH)
    }

    fn note(&mut self, key: &Key, number: u64) {
        self.kept.numbers.push((key.clone(), number));
    }

    fn join(
        &mut self,
        id: WorkerId,
        number: u64,
        listen: &mut dyn FnMut() -> Result<Listener, Errno>,
    ) -> Result<(), Errno> {
        let (Some(queues), Some(seats)) = (self.table.queues_mut(number), self.seats.as_deref_mut()) else {
            return Err(Errno::ADDRINUSE);
        };
        let queue = queues.enrol(id.slot.0, listen)?;
        seats.take_in(id, number, queue);
        Ok(())
    }
}

impl Keeper for Ground<'_> {
    fn is_common(&self, key: &Key) -> bool {
        let is_listener = |number| self.table.listener(number).is_some();
        let is_unix = matches!(key.addr, Addr::Unix(_) | Addr::Abstract(_));
        is_unix || self.number(key).map_or(self.kept.plan.is_none(), is_listener)
    }

    fn has(&self, key: &Key) -> bool {
        self.number(key).is_some()
    }

    fn left(&mut self, caller: Caller, key: &Key) -> Option<OwnedFd> {
        let (number, id) = (self.number(key)?, self.id(caller).ok()?);
        if let Some((listener, _)) = self.table.listener(number) {
            self.kept.hold(id, number);
            return listener.lend().ok();
        }
        let (queues, seats) = (self.table.queues_mut(number)?, self.seats.as_deref_mut()?);
        let queue = if self.given.has(number) {
            seats.choose(id, number, queues).ok()?
        } else {
            seats.left(id, number, queues)?
        };
        queues.listener(queue)?.lend().ok()
    }

    fn fresh(&mut self, caller: Caller, key: &Key) -> Result<OwnedFd, Errno> {
        let (number, id) = (self.number(key).ok_or(Errno::INVAL)?, self.id(caller)?);
        let (Some(queues), Some(seats)) = (self.table.queues_mut(number), self.seats.as_deref_mut()) else {
            return Err(Errno::INVAL);
        };
        let queue = queues.join(id.slot.0).map_err(|error| errno(&error))?;
        seats.take_in(id, number, queue);
        let listener = queues.listener(queue).ok_or(Errno::BADF)?;
        listener.lend().map_err(|_| Errno::MFILE)
    }

    fn keep(
        &mut self,
        caller: Caller,
        key: &Key,
        listen: &mut dyn FnMut() -> Result<Listener, Errno>,
    ) -> Result<(), Errno> {
        let id = self.id(caller)?;
        if let Some(number) = self.number(key) {
            return self.join(id, number, listen);
        }
        if self.kept.numbers.len() >= PORTS_MAX {
            return Err(Errno::MFILE);
        }
        let plan = self.kept.plan.filter(|_| !self.is_common(key));
        let (Some(plan), Some(seats)) = (plan, self.seats.as_deref_mut()) else {
            let number = self.table.give(listen()?);
            self.note(key, number);
            self.kept.hold(id, number);
            return Ok(());
        };
        let (queues, queue) = Queues::found(listen()?, plan, id.slot.0).map_err(|error| errno(&error))?;
        let number = self.table.give(queues);
        seats.take_in(id, number, queue);
        self.note(key, number);
        Ok(())
    }

    fn closed(&mut self, caller: Caller, key: &Key, inode: u64) {
        let (Some(number), Ok(id)) = (self.number(key), self.id(caller)) else { return };
        let queue = self.table.queues(number).and_then(|queues| queues.of_inode(inode));
        if let (Some(queue), Some(seats)) = (queue, self.seats.as_deref_mut()) {
            seats.free(id, number, queue);
            self.unclaimed.doubt();
        }
    }
}

fn errno(error: &QueueError) -> Errno {
    error.errno().map_or(Errno::ADDRINUSE, Errno::from_raw_os_error)
}

fn span(now: Time) -> Duration {
    Duration::from_nanos(now.as_nanos())
}

fn listening(id: WorkerId, addr: Option<&Addr>) -> Fact {
    let address = addr.map_or_else(|| "a socket of its own".to_owned(), ToString::to_string);
    Fact::Listening { slot: id.slot.0, incarnation: id.incarnation, address }
}

fn unheard(id: WorkerId, error: &io::Error) -> Fact {
    let detail = format!("slot={} its calls cannot be heard any more: {error}", id.slot);
    Fact::Warning { detail, hint: None }
}

fn unshared(addr: Option<&Addr>, why: Why) -> (String, Option<String>) {
    let what = addr.map_or_else(|| "a socket".to_owned(), ToString::to_string);
    let hint = why.port_to_name().map(|port| format!("clustr run --port {port} -- COMMAND"));
    (format!("{what} is not shared: {why}"), hint)
}
