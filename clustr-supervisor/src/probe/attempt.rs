//! One question under way: what is watched meanwhile, and by which steps it comes to a verdict.
//!
//! Owns the sockets and the process of a question, and their places in the reactor. Never decides what a verdict means.
//! Called by `probe`, when a source of the question woke the loop, and when it is overdue.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use clustr_core::{Time, WorkerId};
use clustr_net::loopback::{self, Pair};

use super::command::Command;
use super::course::Verdict;
use super::talk::Talk;
use crate::process::Process;
use crate::reactor::{Reactor, Registration, Wake};

/// How long a worker has to finish an answer of which the first line has decided.
const LINGER: Duration = Duration::from_millis(200);
/// How soon a worker that has no room is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// A question under way.
#[derive(Debug)]
pub(super) struct Attempt {
    worker: WorkerId,
    step: Step,
    until: Time,
    retry_at: Option<Time>,
}

/// How far it has come. Each source is watched as long as its step lasts.
#[derive(Debug)]
pub(super) enum Step {
    /// The connection is being made, of which the worker shall be given one end.
    Pairing(Pair, Registration, Words),
    /// One end waits for the worker to have room.
    Offering { theirs: OwnedFd, ours: OwnedFd, words: Words },
    /// It has been asked, or is about to be.
    Talking(Talk, Registration),
    /// It has answered, and may say the rest.
    Lingering(Talk, Registration),
    /// A connection to a port of its own is being made.
    Knocking(OwnedFd, Registration, u16),
    /// A command runs: where its end and its words are heard.
    Running(Command, [Registration; 2]),
    /// Nothing is left.
    Over,
}

/// What is asked over HTTP.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) path: Arc<str>,
    pub(super) host: String,
}

/// What became of a connection that a worker was to be given.
#[derive(Debug)]
pub(crate) enum Given {
    Taken,
    /// It has no room now.
    Later(OwnedFd),
    /// It takes none: why.
    Never(&'static str),
}

/// What has to do with the worker, and not with our own sockets.
pub(super) trait Hands {
    /// Gives the worker one end of a connection.
    fn give(&mut self, theirs: OwnedFd) -> Given;
    /// Whether the worker itself listens on this port; where nobody can tell, it does.
    fn listens(&self, port: u16) -> bool;
}

impl Attempt {
    fn new(worker: WorkerId, step: Step, until: Time) -> Self {
        Self { worker, step, until, retry_at: None }
    }

    /// Over a connection that the worker has to be given.
    pub(super) fn over_a_pair(
        id: WorkerId,
        words: Words,
        until: Time,
        reactor: &mut Reactor,
    ) -> io::Result<Self> {
        let pair = Pair::begin()?;
        let watch = reactor.register_readable(&pair, Wake::Probe(id))?;
        Ok(Self::new(id, Step::Pairing(pair, watch, words), until))
    }

    /// The same for a worker that listens on a path.
    pub(super) fn over_a_unix_pair(id: WorkerId, words: Words, until: Time) -> io::Result<Self> {
        let (ours, theirs) = loopback::unix_pair()?;
        Ok(Self::new(id, Step::Offering { theirs, ours, words }, until))
    }

    /// Over a connection that finds its way by itself.
    pub(super) fn over(
        id: WorkerId,
        socket: OwnedFd,
        words: &Words,
        until: Time,
        reactor: &mut Reactor,
    ) -> io::Result<Self> {
        let talk = Talk::new(socket, &words.path, &words.host);
        let watch = reactor.register(&talk, Wake::Probe(id))?;
        Ok(Self::new(id, Step::Talking(talk, watch), until))
    }

    /// Whether the worker listens on this port, to which a connection was begun.
    pub(super) fn at_port(
        id: WorkerId,
        (socket, port): (OwnedFd, u16),
        until: Time,
        reactor: &mut Reactor,
    ) -> io::Result<Self> {
        let watch = reactor.register(&socket, Wake::Probe(id))?;
        Ok(Self::new(id, Step::Knocking(socket, watch, port), until))
    }

    /// By a command that has been started.
    pub(super) fn by(id: WorkerId, command: Command, until: Time, reactor: &mut Reactor) -> io::Result<Self> {
        let watches = watch_command(id, &command, reactor).inspect_err(|_| command.destroy())?;
        Ok(Self::new(id, Step::Running(command, watches), until))
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Time {
        self.retry_at.map_or(self.until, |at| at.min(self.until))
    }

    pub(super) fn is_overdue(&self, now: Time) -> bool {
        self.until <= now
    }

    /// Whether its verdict is known.
    pub(super) const fn is_decided(&self) -> bool {
        matches!(self.step, Step::Lingering(..) | Step::Over)
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.step, Step::Over)
    }

    /// The process of its command.
    pub(super) fn process(&self) -> Option<&Process> {
        match &self.step {
            Step::Running(command, _) => Some(command.process()),
            Step::Pairing(..) | Step::Offering { .. } | Step::Talking(..) => None,
            Step::Lingering(..) | Step::Knocking(..) | Step::Over => None,
        }
    }

    /// Takes the steps that can be taken now; returns the verdict when it is there.
    pub(super) fn go_on(
        &mut self,
        reactor: &mut Reactor,
        hands: &mut impl Hands,
        now: Time,
    ) -> Option<Verdict> {
        self.retry_at = None;
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Pairing(pair, watch, words) => match pair.accept() {
                Ok(None) => {
                    self.step = Step::Pairing(pair, watch, words);
                    None
                }
                Ok(Some(theirs)) => {
                    reactor.deregister(&pair, watch);
                    self.offer(theirs, pair.into_client(), words, (reactor, now), hands)
                }
                Err(error) => {
                    reactor.deregister(&pair, watch);
                    Some(Verdict::Unasked(error.to_string()))
                }
            },
            Step::Offering { theirs, ours, words } => self.offer(theirs, ours, words, (reactor, now), hands),
            Step::Talking(talk, watch) => self.talk(talk, watch, (reactor, now)),
            Step::Lingering(mut talk, watch) => {
                if talk.is_over() {
                    reactor.deregister(&talk, watch);
                } else {
                    self.step = Step::Lingering(talk, watch);
                }
                None
            }
            Step::Knocking(socket, watch, port) => self.knock(socket, watch, port, reactor, hands),
            Step::Running(command, watches) => self.watch_over(command, watches, reactor),
            Step::Over => None,
        }
    }

    fn offer(
        &mut self,
        theirs: OwnedFd,
        ours: OwnedFd,
        words: Words,
        (reactor, now): (&mut Reactor, Time),
        hands: &mut impl Hands,
    ) -> Option<Verdict> {
        match hands.give(theirs) {
            Given::Taken => {}
            Given::Later(theirs) => {
                self.retry_at = Some(now + RETRY);
                self.step = Step::Offering { theirs, ours, words };
                return None;
            }
            Given::Never(why) => return Some(Verdict::Bad(why.into())),
        }
        let talk = Talk::new(ours, &words.path, &words.host);
        match reactor.register(&talk, Wake::Probe(self.worker)) {
            Ok(watch) => self.talk(talk, watch, (reactor, now)),
            Err(error) => Some(Verdict::Unasked(error.to_string())),
        }
    }

    fn talk(
        &mut self,
        mut talk: Talk,
        watch: Registration,
        (reactor, now): (&mut Reactor, Time),
    ) -> Option<Verdict> {
        let verdict = talk.go_on();
        if verdict.is_none() {
            self.step = Step::Talking(talk, watch);
        } else if talk.is_over() {
            reactor.deregister(&talk, watch);
        } else {
            self.until = now + LINGER;
            self.step = Step::Lingering(talk, watch);
        }
        verdict
    }

    /// That somebody accepts, or could, says nothing of who it is.
    fn knock(
        &mut self,
        socket: OwnedFd,
        watch: Registration,
        port: u16,
        reactor: &mut Reactor,
        hands: &impl Hands,
    ) -> Option<Verdict> {
        let failure = loopback::failure(&socket);
        if failure.is_none() && !loopback::is_connected(&socket) {
            self.step = Step::Knocking(socket, watch, port);
            return None;
        }
        reactor.deregister(&socket, watch);
        loopback::reset(socket);
        Some(match failure {
            Some(error) => Verdict::Bad(format!("port {port}: {error}")),
            None if hands.listens(port) => Verdict::Good,
            None => Verdict::Bad(format!("port {port} is another process's")),
        })
    }

    fn watch_over(
        &mut self,
        mut command: Command,
        watches: [Registration; 2],
        reactor: &mut Reactor,
    ) -> Option<Verdict> {
        if command.hear() {
            reactor.again(Wake::Probe(self.worker));
        }
        let verdict = command.verdict();
        match verdict {
            None => self.step = Step::Running(command, watches),
            Some(_) => unwatch_command(&command, watches, reactor),
        }
        verdict
    }

    /// Ends it as it is. A command is killed, and is still to be reaped.
    pub(super) fn end(&mut self, reactor: &mut Reactor) -> Option<(Command, [Registration; 2])> {
        self.retry_at = None;
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Running(command, watches) => {
                command.kill();
                return Some((command, watches));
            }
            Step::Pairing(pair, watch, _) => reactor.deregister(&pair, watch),
            Step::Offering { .. } | Step::Over => {}
            Step::Talking(talk, watch) | Step::Lingering(talk, watch) => {
                reactor.deregister(&talk, watch);
                loopback::reset(talk.into_socket());
            }
            Step::Knocking(socket, watch, _) => {
                reactor.deregister(&socket, watch);
                loopback::reset(socket);
            }
        }
        None
    }
}

fn watch_command(id: WorkerId, command: &Command, reactor: &mut Reactor) -> io::Result<[Registration; 2]> {
    let exit = reactor.register_readable(command.process(), Wake::Probe(id))?;
    let words = reactor.register_readable(command.stderr(), Wake::Probe(id));
    let words = words.inspect_err(|_| reactor.deregister(command.process(), exit))?;
    Ok([exit, words])
}

/// It has ended, and is not watched any more.
pub(super) fn unwatch_command(command: &Command, [exit, words]: [Registration; 2], reactor: &mut Reactor) {
    reactor.deregister(command.process(), exit);
    reactor.deregister(command.stderr(), words);
}
