//! What woke the loop for an app, made into facts.
//!
//! Owns the meaning of every [`Wake`]; what wakes the primary itself is `heed`'s. Never decides: facts go into the inbox, news
//! to whoever watches. Called by the turn of the loop in `supervisor`.

use clustr_core::{Event, Exit, WorkerId};
use nix::sys::signal::Signal;

use crate::app::App;
use crate::news::Fact;
use crate::reactor::{Reactor, Wake};
use crate::sharing::{Heard, Moment, Sharing};
use crate::worker::Worker;

/// The exit code of a worker whose real one was taken by somebody else.
const UNKNOWN_CODE: i32 = 255;

/// Bound: how many turns' worth of messages a worker that has ended may have left. More than its socket can hold; it
/// only ends the talk of somebody who has inherited the worker's end.
const LAST_TURNS_MAX: usize = 4096;

/// What hears one of a worker's channels.
type Ear = fn(&mut Sharing, WorkerId, &mut Worker, &mut Reactor, Moment) -> Heard;

impl App {
    /// What a wake-up means.
    pub(crate) fn hear(&mut self, wake: Wake) {
        match wake {
            Wake::Exit(worker) => self.hear_exit(worker),
            Wake::Channel(worker) => self.hear_channel(worker),
            Wake::Node(worker) => self.hear_node(worker),
            Wake::Probe(worker) => self.hear_probe(worker),
            Wake::Calls(worker) => self.hear_calls(worker),
            Wake::Notified => self.hear_notices(),
            Wake::Output(id) => self.logs.readable(id, &mut self.reactor, self.now),
            Wake::Listener(number) => self.sharing.notice(number),
            Wake::HungUp => {
                self.reactor.take_ends();
                self.revive();
            }
            Wake::Queue => self.sharing.notice_queues(self.now),
        }
    }

    /// A process may have ended: its last words first, then the fact.
    fn hear_exit(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let exit = match worker.process.reap() {
            Ok(Some(exit)) => exit,
            Ok(None) => return,
            // Somebody else has reaped it, in a program that embeds us, say: it ended, nobody knows how.
            Err(_) => Exit::Code(UNKNOWN_CODE),
        };
        if matches!(exit, Exit::Signal { number, .. } if number == Signal::SIGKILL as i32) {
            let shortage = self.oom_kills.claim(self.now);
            self.short.extend(shortage.map(|shortage| (id, shortage)));
        }
        self.hear_last_words(id);
        self.sharing.vacate(id);
        self.logs.drain(id.slot.0, id.incarnation, &mut self.reactor, self.now);
        self.inbox.push_back(Event::Exited(id, exit));
    }

    /// Everything that a worker said before it ended: no more than its socket could hold.
    fn hear_last_words(&mut self, id: WorkerId) {
        let mut turns = 0..LAST_TURNS_MAX;
        while turns.next().is_some() && self.hear_some(id, Sharing::hear_channel) {}
        while turns.next().is_some() && self.hear_some(id, Sharing::hear_node) {}
    }

    fn hear_channel(&mut self, id: WorkerId) {
        if self.hear_some(id, Sharing::hear_channel) {
            self.reactor.again(Wake::Channel(id));
        }
    }

    fn hear_node(&mut self, id: WorkerId) {
        if self.hear_some(id, Sharing::hear_node) {
            self.reactor.again(Wake::Node(id));
        }
    }

    fn hear_calls(&mut self, id: WorkerId) {
        if self.hear_some(id, Sharing::hear_calls) {
            self.reactor.again(Wake::Calls(id));
        }
    }

    /// Hears a turn's worth of what a worker says over one of its channels; says whether there may be more.
    fn hear_some(&mut self, id: WorkerId, hear: Ear) -> bool {
        let moment = Moment { now: self.now, ending: self.is_ending() };
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        let heard = hear(&mut self.sharing, id, worker, &mut self.reactor, moment);
        if heard.spoke {
            self.readiness.spoke(id);
        }
        self.take_in(heard)
    }

    /// There is room for output again.
    pub(crate) fn resume_output(&mut self) {
        if let Some(lines) = self.logs.resume(&mut self.reactor) {
            self.tell(Fact::OutputLost { lines });
        }
    }

    /// What was heard becomes events and news; says whether there may be more.
    pub(crate) fn take_in(&mut self, heard: Heard) -> bool {
        for id in heard.maybe {
            self.readiness.forget(id);
            self.readiness.started(id, self.now);
        }
        self.inbox.extend(heard.events);
        for fact in heard.facts {
            self.tell(fact);
        }
        heard.more
    }
}
