//! The loop's end of all handles: takes their requests, owes them answers, tells events.
//!
//! Owns the bounded queue of calls, who waits for which answer, and who watches. Never blocks: a receiver without
//! room loses events, and is told how many. Never answers: `requests` does, as for the control socket.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;

use clustr_core::Ticket;
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, eventfd};

use super::Event;
use super::handle::{Call, Handle, Shared};
use super::receiver::Watcher;
use crate::control::Outcome;
use crate::control::protocol::{Ask, Progress, Reply, Request};
use crate::reactor::Summons;
use crate::requests::Asker;
use crate::supervisor::Supervisor;

/// Bound: calls on their way into the loop.
const CALLS_MAX: usize = 64;

/// Bound: calls to stop on their way that found no place among the others: however many of those wait, there is a way to stop.
const STOPS_MAX: usize = 8;

/// Bound: receivers of events.
const WATCHERS_MAX: usize = 1024;

/// Bound: calls that the loop takes in one turn.
const TURN_CALLS_MAX: usize = 16;

/// Bound: answers that the loop owes at the same time, but for those to a stop: of them the core keeps 64.
const OWED_MAX: usize = 1024;

/// Tickets of handles count from here; those of the control socket's clients from 0, and never come this far.
const FIRST_TICKET: u64 = 1 << 62;

type Callback = Box<dyn FnMut(&Event) + Send>;

/// Where handles come to.
pub(crate) struct Desk {
    calls: Receiver<Call>,
    stops: Receiver<Call>,
    newcomers: Receiver<Watcher>,
    shared: Arc<Shared>,
    /// Requests that are being answered, by their number.
    owed: BTreeMap<u64, Sender<Reply>>,
    next: u64,
    watchers: Vec<Watcher>,
    callbacks: Vec<Callback>,
    /// Dropped last of all: with it, handles know that nothing comes any more.
    _gone: Sender<()>,
}

impl Desk {
    /// A desk, and the first handle to it.
    pub(super) fn open() -> (Self, Handle) {
        let (sender, calls) = bounded(CALLS_MAX);
        let (urgent, stops) = bounded(STOPS_MAX);
        let (watchers, newcomers) = bounded(WATCHERS_MAX);
        let (closing, gone) = bounded(0);
        let shared = Arc::new(Shared::default());
        let shared_too = Arc::clone(&shared);
        let handle = Handle { calls: sender, stops: urgent, watchers, gone, shared: shared_too };
        let desk = Self {
            calls,
            stops,
            newcomers,
            shared,
            owed: BTreeMap::new(),
            next: FIRST_TICKET,
            watchers: Vec::new(),
            callbacks: Vec::new(),
            _gone: closing,
        };
        (desk, handle)
    }

    pub(super) fn call_back(&mut self, callback: Callback) {
        self.callbacks.push(callback);
    }

    /// The loop is in this thread, and is woken by the bell that it gets.
    fn sit(&self) -> io::Result<BorrowedFd<'_>> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let _ = self.shared.thread.set(thread::current().id());
        Ok(self.shared.bell.get_or_init(|| bell).as_fd())
    }

    /// Hears the bell, so that it can ring again.
    fn hush(&self) {
        if let Some(bell) = self.shared.bell.get() {
            let _ = rustix::io::read(bell, &mut [0; 8]);
        }
    }

    /// Answers a request. A final answer ends it.
    pub(crate) fn reply(&mut self, call: u64, reply: Reply) {
        let Some(answers) = self.owed.get(&call) else { return };
        let is_final = reply.state != Some(Progress::Accepted);
        // Whoever does not wait, or has stopped waiting, needs no answer.
        let _ = answers.try_send(reply);
        if is_final {
            self.owed.remove(&call);
        }
    }

    /// Passes on what a command came to, if it was a handle's.
    pub(crate) fn answer(&mut self, ticket: Ticket, outcome: &Outcome) {
        self.reply(ticket.0, outcome.reply(ticket.0));
    }

    /// The next request, if there is one.
    fn next_call(&mut self) -> Option<Request> {
        loop {
            let (ask, answers) = self.calls.try_recv().or_else(|_| self.stops.try_recv()).ok()?;
            if self.owed.len() < OWED_MAX || matches!(ask, Ask::Stop { .. }) {
                let id = self.next;
                self.next += 1;
                self.owed.insert(id, answers);
                return Some(Request { id, app: None, ask });
            }
            let detail = "too many requests of handles are still unanswered".into();
            let _ = answers.try_send(Reply::refused(0, "busy", detail, None));
        }
    }

    /// Tells everybody: those who receive, then those who are called back, in the order in which they came.
    ///
    /// A callback that panics takes itself and the others with it: the primary that unwinds calls nobody any more.
    pub(crate) fn publish(&mut self, event: &Event) {
        for watcher in &mut self.watchers {
            watcher.tell(event);
        }
        let mut callbacks = std::mem::take(&mut self.callbacks);
        for callback in &mut callbacks {
            callback(event);
        }
        self.callbacks = callbacks;
    }

    /// Takes in who wants to receive from now on, as long as there are not too many: others find their channel closed.
    fn welcome(&mut self) {
        self.watchers.retain(Watcher::is_heard);
        for newcomer in self.newcomers.try_iter() {
            if self.watchers.len() < WATCHERS_MAX {
                self.watchers.push(newcomer);
            }
        }
    }

    /// Whether anybody wants to be told. Who came before what is to be told happened is heeded.
    pub(crate) fn is_watched(&mut self) -> bool {
        self.welcome();
        !(self.watchers.is_empty() && self.callbacks.is_empty())
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watchers = self.watchers.len();
        f.debug_struct("Desk")
            .field("owed", &self.owed.len())
            .field("watchers", &watchers)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Lets handles in: from now on they are heard in this thread.
    pub(super) fn open_desk(&mut self, desk: Desk) -> io::Result<()> {
        self.reactor.register_readable(desk.sit()?, Summons::Desk)?;
        self.desk = Some(desk);
        self.here().for_each(|app| app.tells_events = true);
        Ok(())
    }

    /// Handles have something to say.
    pub(crate) fn hear_desk(&mut self) {
        if let Some(desk) = &mut self.desk {
            desk.hush();
            desk.welcome();
        }
        for _ in 0..TURN_CALLS_MAX {
            let Some(request) = self.desk.as_mut().and_then(Desk::next_call) else { return };
            self.answer(Asker::Handle(request.id), request);
        }
        self.reactor.again(Summons::Desk);
    }
}
