//! A cluster, from other threads: requests in, answers and events out.
//!
//! Owns the caller's side of the bounded way into the loop. Never decides, and knows no command of its own: a request
//! is an [`Ask`] of the control protocol, answered by the code that answers the control socket.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};
use std::time::Duration;

use clustr_core::SlotId;
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, select};

use super::receiver::{self, Events, Watcher};
use crate::control::protocol::{Ask, Progress, Reply, Status};

/// How many events wait for a receiver that was made by [`Handle::events`].
pub const EVENTS_MAX: usize = 1024;

/// Room for an event, and for the word about those before it that are lost.
const CAPACITY_MIN: usize = 2;

/// Answers to one request: that it was accepted, and what came of it.
const ANSWERS_MAX: usize = 2;

/// A cluster that other threads can talk to. Cheap to clone; got from [`Cluster::handle`](super::Cluster::handle) before
/// the cluster runs, and usable until, and after, it has ended: from then on every answer is [`HandleError::Gone`].
///
/// A request is on its way when the method returns, and its [`Pending`] waits for what came of it. Nothing here blocks
/// but `Pending`; so in a callback, which runs in the loop that would have to answer, make the request and do not wait.
///
/// What a handle asks is answered by the very code that answers the control socket, and refused by the same names.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) calls: Sender<Call>,
    /// For requests to stop that find no room among the others.
    pub(super) stops: Sender<Call>,
    pub(super) watchers: Sender<Watcher>,
    pub(super) gone: Receiver<()>,
    pub(super) shared: Arc<Shared>,
}

/// A request, and where its answers go.
pub(super) type Call = (Ask, Sender<Reply>);

/// What the threads share besides channels.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Wakes the loop, once there is one: eventfd(2).
    pub(super) bell: OnceLock<OwnedFd>,
    /// The thread that the loop runs in, once it runs.
    pub(super) thread: OnceLock<ThreadId>,
}

/// Why a request came to nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// The cluster has ended, or was never run.
    #[error("the cluster has ended")]
    Gone,
    /// The cluster refused. The name is one of the control protocol's, and stable.
    #[error("{detail}")]
    Refused {
        /// The stable name, in kebab-case: `no-workers`, `stopping`, `superseded`, …
        refusal: String,
        /// The same for people.
        detail: String,
    },
    /// More requests are on their way than the loop takes: wait for an answer before asking more. Of those to stop, some
    /// always find a place: where even they are too many, the loop has yet to hear one of them.
    #[error("too many requests are still unanswered")]
    Busy,
    /// The answer has not come in time. The request was made all the same.
    #[error("no answer came in time")]
    TimedOut,
    /// A callback waited for its own cluster, which answers only when the callback has returned.
    #[error("a callback cannot wait for its own cluster")]
    InCallback,
}

/// The answer to a request that was made.
#[derive(Debug)]
#[must_use = "the request has been made; whether it was granted is known by waiting"]
pub struct Pending<T> {
    state: State,
    read: fn(Reply) -> Option<T>,
}

#[derive(Debug)]
enum State {
    /// It did not even get on its way.
    Failed(HandleError),
    Asked {
        replies: Receiver<Reply>,
        gone: Receiver<()>,
        shared: Arc<Shared>,
    },
}

impl Handle {
    /// A picture of the cluster and its workers.
    pub fn status(&self) -> Pending<Status> {
        self.ask(Ask::Status { slot: None, connections: false }, |reply| reply.status)
    }

    /// Changes the number of workers; done when they are there, or gone.
    pub fn scale_to(&self, workers: u32) -> Pending<()> {
        self.ask(Ask::Scale { to: Some(workers), by: None }, done)
    }

    /// So many workers more, or fewer; done when they are there, or gone.
    pub fn scale_by(&self, workers: i32) -> Pending<()> {
        self.ask(Ask::Scale { to: None, by: Some(workers) }, done)
    }

    /// Stops the cluster: workers finish what is open. Done when no worker is left; then
    /// [`Cluster::run`](super::Cluster::run) returns.
    pub fn stop(&self) -> Pending<()> {
        self.ask(Ask::Stop { now: false }, done)
    }

    /// Kills the workers and ends the cluster.
    pub fn stop_now(&self) -> Pending<()> {
        self.ask(Ask::Stop { now: true }, done)
    }

    /// Sends a message to all workers, which hear it as [`Heard::Message`](crate::Heard::Message). Done when
    /// it is on its way to each; refused as `no-channel` if there is nobody, as `busy` if one of them does not read.
    pub fn send(&self, message: impl Into<String>) -> Pending<()> {
        self.ask(Ask::Send { message: message.into(), slot: None }, done)
    }

    /// Sends a message to the worker of one slot.
    pub fn send_to(&self, slot: SlotId, message: impl Into<String>) -> Pending<()> {
        self.ask(Ask::Send { message: message.into(), slot: Some(slot.0) }, done)
    }

    /// Every event from now on, as they happen; before [`run`](super::Cluster::run), all of them. At most [`EVENTS_MAX`]
    /// wait for a receiver that is slow; what does not fit is lost to it and counted ([`Event::Lost`](super::Event::Lost)), and the loop
    /// goes on. The channel is closed when the cluster has ended.
    ///
    /// # Errors
    /// [`HandleError::Gone`]; [`HandleError::Busy`] where 1,024 receivers wait already.
    pub fn events(&self) -> Result<Events, HandleError> {
        self.events_within(EVENTS_MAX)
    }

    /// As [`events`](Self::events), with room for so many of them, at least two.
    ///
    /// # Errors
    /// [`HandleError::Gone`], [`HandleError::Busy`].
    pub fn events_within(&self, capacity: usize) -> Result<Events, HandleError> {
        let (watcher, events) = receiver::pair(capacity.max(CAPACITY_MIN));
        bring(&self.watchers, watcher)?;
        self.ring();
        Ok(events)
    }

    fn ask<T>(&self, ask: Ask, read: fn(Reply) -> Option<T>) -> Pending<T> {
        let (answers, replies) = bounded(ANSWERS_MAX);
        let state = match self.call((ask, answers)) {
            Ok(()) => State::Asked { replies, gone: self.gone.clone(), shared: Arc::clone(&self.shared) },
            Err(error) => State::Failed(error),
        };
        Pending { state, read }
    }

    fn call(&self, call: Call) -> Result<(), HandleError> {
        let is_stop = matches!(call.0, Ask::Stop { .. });
        match self.calls.try_send(call) {
            // However many calls wait for a callback that blocks: there is a way to stop.
            Err(TrySendError::Full(call)) if is_stop => bring(&self.stops, call)?,
            sent => understood(sent)?,
        }
        self.ring();
        Ok(())
    }

    /// Wakes the loop, if there is one yet.
    fn ring(&self) {
        if let Some(bell) = self.shared.bell.get() {
            // It fails only if the loop has been woken 2⁶⁴ times and has not looked.
            let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
        }
    }
}

impl<T> Pending<T> {
    /// Waits for what comes of it: as long as the work takes. In the thread that has yet to
    /// [`run`](super::Cluster::run) the cluster, that would be for ever.
    ///
    /// # Errors
    /// See [`HandleError`].
    pub fn wait(self) -> Result<T, HandleError> {
        self.finish(None)
    }

    /// As [`wait`](Self::wait), but no longer than this.
    ///
    /// # Errors
    /// [`HandleError::TimedOut`], and see [`HandleError`].
    pub fn wait_timeout(self, limit: Duration) -> Result<T, HandleError> {
        self.finish(Some(crossbeam_channel::after(limit)))
    }

    fn finish(self, limit: Option<Receiver<std::time::Instant>>) -> Result<T, HandleError> {
        let (replies, gone) = match &self.state {
            State::Failed(error) => return Err(error.clone()),
            State::Asked { shared, gone, .. } if shared.is_here() && is_open(gone) => {
                return Err(HandleError::InCallback);
            }
            State::Asked { replies, gone, .. } => (replies, gone),
        };
        let limit = limit.unwrap_or_else(crossbeam_channel::never);
        loop {
            let reply = select! {
                recv(replies) -> reply => reply.map_err(|_| HandleError::Gone)?,
                // Nothing is ever sent there: it is closed. An answer may have come just before.
                recv(gone) -> _ => last(replies)?,
                recv(limit) -> _ => return Err(HandleError::TimedOut),
            };
            if reply.state != Some(Progress::Accepted) {
                return self.understand(reply);
            }
        }
    }

    fn understand(&self, reply: Reply) -> Result<T, HandleError> {
        if let Some(refusal) = reply.refusal {
            return Err(HandleError::Refused { refusal, detail: reply.detail.unwrap_or_default() });
        }
        (self.read)(reply).ok_or(HandleError::Gone)
    }
}

impl Shared {
    /// Whether this is the loop's own thread.
    fn is_here(&self) -> bool {
        self.thread.get() == Some(&thread::current().id())
    }
}

fn bring<T>(way: &Sender<T>, what: T) -> Result<(), HandleError> {
    understood(way.try_send(what))
}

fn understood<T>(sent: Result<(), TrySendError<T>>) -> Result<(), HandleError> {
    sent.map_err(|error| match error {
        TrySendError::Full(_) => HandleError::Busy,
        TrySendError::Disconnected(_) => HandleError::Gone,
    })
}

/// Nothing is ever sent there: it is empty, or closed.
fn is_open(gone: &Receiver<()>) -> bool {
    gone.try_recv() == Err(TryRecvError::Empty)
}

fn last(replies: &Receiver<Reply>) -> Result<Reply, HandleError> {
    replies.try_recv().map_err(|_| HandleError::Gone)
}

#[expect(clippy::unnecessary_wraps, reason = "it is one of several readers")]
fn done(_: Reply) -> Option<()> {
    Some(())
}
