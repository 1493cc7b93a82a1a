//! sd_notify(3), both ways: what workers say, and what whoever supervises us is told.
//!
//! Owns the socket that `NOTIFY_SOCKET` names in workers, and the way to our own supervisor (systemd). Believes a message
//! only of a process that belongs to a worker's group. Never decides: what it hears becomes events. Called by the loop of
//! the supervisor.

use std::hash::{BuildHasher, Hasher};
use std::io;
use std::time::Duration;

use clustr_core::{Ailment, Event, Time, WorkerId};
use clustr_net::notify::{Heard, Inbox, Outbox, SOCKET_VARIABLE, Word};
use rustix::process::{Pid, getpgid};

use crate::app::App;
use crate::clock::millis;
use crate::config::{Above, ReadyWord};
use crate::news::{Fact, span};
use crate::order::Order;
use crate::reactor::{Reactor, Wake};
use crate::supervisor::Supervisor;

/// Bound: how many datagrams are read in one turn.
const TURN_MESSAGES_MAX: usize = 64;

/// The socket that hears workers. Its name is in the abstract namespace: there is no file to be left behind.
#[derive(Debug)]
pub(crate) struct Notices(Inbox);

impl Notices {
    pub(crate) fn open(reactor: &mut Reactor) -> io::Result<Self> {
        let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
        let inbox = Inbox::at_abstract(format!("clustr/{}/{random:016x}", std::process::id()).as_bytes())?;
        reactor.register_readable(&inbox, Wake::Notified)?;
        Ok(Self(inbox))
    }

    /// The variable that a worker finds.
    pub(crate) fn variable(&self) -> (&'static str, String) {
        (SOCKET_VARIABLE, self.0.value().to_string_lossy().into_owned())
    }
}

/// Our own supervisor, which is told how we are.
#[derive(Debug)]
pub(crate) struct Superior {
    outbox: Outbox,
    /// How often it wants to hear that we are alive.
    alive: Option<(Duration, Time)>,
    /// It was told that all of several apps are there.
    knows_all: bool,
}

impl Superior {
    /// `None` where nobody supervises us, or where there is no way to whoever does: then `above` says why.
    pub(crate) fn of(above: &mut Above, now: Time) -> Option<Self> {
        match Outbox::new(above.notify_socket.as_deref()?) {
            // Twice as often as it is asked for: sd_watchdog_enabled(3).
            Ok(outbox) => {
                let alive = above.watchdog.map(|every| (every / 2, now));
                Some(Self { outbox, alive, knows_all: false })
            }
            Err(error) => {
                above.fault = Some(error.to_string());
                None
            }
        }
    }

    /// Of several apps the last that was waited for need not have come to run: it may have given up, and the others serve.
    pub(crate) fn look(&mut self, order: &Order) {
        if !self.knows_all && order.is_up() && !order.is_stopping() && order.verdict().is_none() {
            self.knows_all = true;
            let _ = self.outbox.ready("all apps that can run do");
        }
    }

    /// Tells what is of interest to it. That nobody reads is no reason to stop.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not told upwards is of no interest there")]
    pub(crate) fn tell(&self, fact: &Fact, order: &Order, now: Time) {
        let _ = match fact {
            // Of several apps the last one makes it whole, at the start; the end is that of all.
            Fact::Running { .. } if !order.is_up() => Ok(()),
            Fact::Ending { .. } if !order.is_last() => Ok(()),
            Fact::Running { ready } => self.outbox.ready(&format!("ready workers: {ready}")),
            Fact::Scaled { to, .. } => self.outbox.status(&format!("wanted workers: {to}")),
            Fact::Reloading { .. } => self.outbox.reloading(now.since(Time::ZERO)),
            Fact::Reloaded { to, .. } => self.outbox.ready(&format!("generation: {to}")),
            Fact::RolledBack { .. } | Fact::ReloadCancelled { .. } => self.outbox.ready("rolled back"),
            Fact::Ending { .. } => self.outbox.stopping(),
            _ => Ok(()),
        };
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.alive.map(|(_, at)| at)
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if let Some((every, at)) = &mut self.alive
            && *at <= now
        {
            let _ = self.outbox.alive();
            *at = now + *every;
        }
    }
}

impl Supervisor {
    /// Once, at the start: that whoever supervises us hears nothing would else be found out by its time-out.
    pub(crate) fn announce_superior(&mut self) {
        if let Some(fault) = self.superior_fault.take() {
            let detail = format!("whoever supervises clustr is not told what it wants to hear: {fault}");
            let hint = "unset NOTIFY_SOCKET WATCHDOG_USEC, or sd_notify(3)".to_owned();
            self.tell(Fact::Warning { detail, hint: Some(hint) });
        }
    }
}

impl App {
    /// Workers, or what they have started, have said something.
    pub(crate) fn hear_notices(&mut self) {
        for _ in 0..TURN_MESSAGES_MAX {
            let heard = self.notices.as_ref().map(|notices| notices.0.recv());
            // A datagram that cannot be read is lost; the next one may be.
            let Some(Ok(Some(heard))) = heard else { return };
            if let Some(id) = self.speaker(&heard) {
                self.understand_notice(id, heard);
            }
        }
        self.reactor.again(Wake::Notified);
    }

    /// The worker that is, or has started, the sender.
    fn speaker(&self, heard: &Heard) -> Option<WorkerId> {
        let sender = heard.sender.pid?;
        let of =
            |pid: u32| self.workers.iter().find(|(_, worker)| worker.process.id() == pid).map(|(id, _)| *id);
        let group = || {
            let group = getpgid(Pid::from_raw(i32::try_from(sender).ok()?)).ok()?;
            u32::try_from(group.as_raw_nonzero().get()).ok()
        };
        of(sender).or_else(|| of(group()?))
    }

    fn understand_notice(&mut self, id: WorkerId, heard: Heard) {
        self.readiness.spoke(id);
        for word in heard.message.words {
            match word {
                Word::Ready if self.ready.believes(ReadyWord::Notice) => {
                    self.inbox.push_back(Event::Ready(id));
                }
                Word::Stopping => self.inbox.push_back(Event::Left(id)),
                Word::Status(text) => {
                    if let Some(worker) = self.workers.get_mut(&id) {
                        worker.status_text = Some(text).filter(|text| !text.is_empty());
                    }
                }
                Word::Alive => self.hear_alive(id),
                Word::WatchdogTrigger => self.hear_bark(id),
                Word::WatchdogEvery(every) => self.hear_pace(id, every),
                Word::Ready
                | Word::Reloading
                | Word::Since(_)
                | Word::Errno(_)
                | Word::MainPid(_)
                | Word::ExtendTimeout(_)
                | Word::FdStore
                | Word::Barrier => {}
                _ => {}
            }
        }
    }

    fn hear_alive(&mut self, id: WorkerId) {
        if self.watchdogs.alive(id, self.now) {
            self.recovers(id, Ailment::Watchdog);
        }
    }

    fn hear_bark(&mut self, id: WorkerId) {
        if self.watchdogs.trigger(id) {
            self.fails(id, Ailment::Watchdog, "it says so itself".into());
        }
    }

    fn hear_pace(&mut self, id: WorkerId, every: Option<Duration>) {
        if self.watchdogs.reset(id, every, self.now) {
            self.recovers(id, Ailment::Watchdog);
        }
    }

    /// Whoever has let its time pass without a word is failing.
    pub(crate) fn watch_in_time(&mut self) {
        while let Some((id, every)) = self.watchdogs.due(self.now) {
            let why = format!("it has not said for {} that it is alive", span(millis(every)));
            self.fails(id, Ailment::Watchdog, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_to_which_there_is_no_way_is_said() {
        let mut above = Above { notify_socket: Some("relative".into()), ..Above::default() };
        assert!(Superior::of(&mut above, Time::ZERO).is_none());
        assert!(above.fault.unwrap().contains("\"relative\""));
        let mut nobody = Above::default();
        assert!(Superior::of(&mut nobody, Time::ZERO).is_none() && nobody.fault.is_none());
    }
}
