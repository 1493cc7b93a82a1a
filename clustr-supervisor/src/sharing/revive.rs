//! Listeners that somebody has shut down listen again.
//!
//! Owns their place in the reactor, where they are watched for hang-up alone: no arrival wakes the loop. Never watches
//! queues (`queues` looks at them anyway), nor what the primary alone has. Called by the loop.
//!
//! shutdown(2) on a listener ends it for all who have it, whoever calls it: some programs do so to leave accept(2). The
//! primary has it too, and listens again at once. Who waited in its queue in that moment is gone. A Unix socket cannot listen
//! again: a new one is bound at its path, and all workers that may have the old one are replaced, one after the other. What a
//! program has bound by itself the next worker binds anew.

use std::collections::BTreeSet;

use clustr_core::{Event, SlotState, Wear, WorkerId};
use clustr_net::node::{Closed, Table};
use clustr_net::{Addr, BindError, Kind, Listener, sock_diag};

use super::Sharing;
use crate::app::App;
use crate::news::Fact;
use crate::reactor::Reactor;

/// What is watched, and who has what can be watched no more.
#[derive(Debug, Default)]
pub(super) struct HangUps {
    /// By number in the table.
    watched: BTreeSet<u64>,
    /// What is shut down for good, by number: it is told once.
    lost: BTreeSet<u64>,
    /// Workers that may have a socket which was replaced, until somebody has asked for their replacement.
    deaf: BTreeSet<WorkerId>,
}

impl HangUps {
    /// Watches what is new. What the kernel has no room to watch is tried again in the next turn.
    fn watch(&mut self, table: &Table, reactor: &Reactor) {
        let is_stream = |listener: &Listener| listener.kind() == Kind::Stream;
        for (number, listener) in table.numbered().filter(|(_, listener)| is_stream(listener)) {
            if !self.watched.contains(&number) && reactor.watch_for_end(listener).is_ok() {
                self.watched.insert(number);
            }
        }
    }

    /// Before a listener closes.
    pub(super) fn forget(&mut self, closed: &Closed, reactor: &Reactor) {
        self.lost.remove(&closed.number);
        if let Some(listener) = closed.bound.listener().filter(|_| self.watched.remove(&closed.number)) {
            reactor.forget_end(listener);
        }
    }
}

impl Sharing {
    /// At the end of a turn: watches what workers share.
    pub(crate) fn watch_listeners(&mut self, reactor: &Reactor) {
        if !self.hands_over {
            self.hang_ups.watch(&self.table, reactor);
        }
    }

    /// What was shut down listens again. `workers` are those of now, with their pids.
    fn revive(&mut self, workers: &[(WorkerId, u32)], reactor: &mut Reactor) -> Vec<Fact> {
        let is_deaf = |listener: &Listener| listener.is_listening().is_ok_and(|listens| !listens);
        let deaf = self.table.numbered().filter(|(number, listener)| {
            !self.hands_over && !self.hang_ups.lost.contains(number) && is_deaf(listener)
        });
        let deaf: Vec<u64> = deaf.map(|(number, _)| number).collect();
        deaf.into_iter().filter_map(|number| self.revive_one(number, workers, reactor)).collect()
    }

    fn revive_one(
        &mut self,
        number: u64,
        workers: &[(WorkerId, u32)],
        reactor: &mut Reactor,
    ) -> Option<Fact> {
        let (listener, _) = self.table.listener(number)?;
        let (who, addr) = (culprit(listener, workers), listener.local_addr().clone());
        let detail = match &addr {
            Addr::Tcp { .. } | Addr::Udp { .. } | Addr::Fd(_) => match listener.listen_again() {
                Ok(()) => return Some(again(&who, &addr)),
                Err(error) => {
                    format!("{who} has shut down {addr}, which cannot be listened on again: {error}")
                }
            },
            Addr::Unix(_) | Addr::Abstract(_) => match self.replace(number, &addr, reactor) {
                Ok(()) => {
                    self.hang_ups.deaf.extend(workers.iter().map(|(id, _)| *id));
                    return Some(anew(&who, &addr));
                }
                Err(error) => without(&who, &addr, &error),
            },
        };
        self.hang_ups.lost.insert(number);
        Some(Fact::Warning { detail, hint: Some("clustr stop, and start it again".into()) })
    }

    /// A new socket for whoever starts from now on; where the program binds for itself, the place for one.
    fn replace(&mut self, number: u64, addr: &Addr, reactor: &mut Reactor) -> Result<(), BindError> {
        let is_own = self.intercept.as_mut().is_some_and(|intercept| intercept.abandon(number, addr));
        let closed = if is_own {
            self.table.close(number)
        } else {
            let Some((listener, _)) = self.table.listener(number) else { return Ok(()) };
            let anew = listener.bound_anew()?;
            self.table.replace(number, anew)
        };
        self.unwatch(closed, reactor);
        Ok(())
    }

    /// Workers that are to be replaced for the socket that they have: those that serve, for one that starts is not replaced yet.
    fn take_deaf(
        &mut self,
        is_there: impl Fn(WorkerId) -> bool,
        serves: impl Fn(WorkerId) -> bool,
    ) -> Vec<WorkerId> {
        self.hang_ups.deaf.retain(|id| is_there(*id));
        let asked: Vec<WorkerId> = self.hang_ups.deaf.iter().copied().filter(|id| serves(*id)).collect();
        self.hang_ups.deaf.retain(|id| !asked.contains(id));
        asked
    }
}

impl App {
    /// Somebody has shut down a listener. At the end of the app that is nobody's loss.
    pub(crate) fn revive(&mut self) {
        if self.is_ending() {
            return;
        }
        let workers: Vec<(WorkerId, u32)> =
            self.workers.iter().map(|(id, worker)| (*id, worker.process.id())).collect();
        for fact in self.sharing.revive(&workers, &mut self.reactor) {
            self.tell(fact);
        }
    }

    /// At the end of a turn: listeners are watched, and whoever has one that is none any more gets a successor.
    pub(crate) fn tend_listeners(&mut self) {
        self.sharing.watch_listeners(&self.reactor);
        let (workers, rules) = (&self.workers, &self.rules);
        let serves = |id: WorkerId| {
            let is_its = |view: &clustr_core::SlotView| view.worker == Some(id);
            rules.slot(id.slot).filter(is_its).is_some_and(|view| view.state == SlotState::Ready)
        };
        let deaf = self.sharing.take_deaf(|id| workers.contains_key(&id), serves);
        self.inbox.extend(deaf.into_iter().map(|id| Event::Worn(id, Wear::Deaf)));
        self.pump();
    }
}

/// News of a listener that listens again.
pub(super) fn again(who: &str, addr: &clustr_net::Addr) -> Fact {
    let detail = format!(
        "{who} has shut down {addr} for all who share it (shutdown(2)): it listens again, and who waited there is gone"
    );
    Fact::Warning { detail, hint: Some("let the program close(2) it when it stops".into()) }
}

/// News of one that cannot listen again, and has a successor.
fn anew(who: &str, addr: &Addr) -> Fact {
    let detail = format!(
        "{who} has shut down {addr} for all who share it (shutdown(2)): a Unix socket cannot listen again, so all workers are replaced, one by one, for a new one"
    );
    Fact::Warning { detail, hint: Some("let the program close(2) it when it stops".into()) }
}

fn without(who: &str, addr: &Addr, error: &BindError) -> String {
    let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let what = match addr {
        Addr::Abstract(_) => "an abstract name is taken while anybody has the old socket".to_owned(),
        Addr::Unix(_) | Addr::Tcp { .. } | Addr::Udp { .. } | Addr::Fd(_) => why,
    };
    format!(
        "{who} has shut down {addr}: a Unix socket cannot listen again, and no new one can be bound there: {what}"
    )
}

/// Whoever has no hold of it any more, if there is one such worker.
fn culprit(listener: &Listener, workers: &[(WorkerId, u32)]) -> String {
    let slot = sock_diag::inode(listener).ok().and_then(|inode| {
        let mut without = workers.iter().filter(|(_, pid)| !sock_diag::holds(*pid, inode));
        let (id, _) = without.next()?;
        without.next().is_none().then_some(id.slot)
    });
    slot.map_or_else(|| "a worker".to_owned(), |slot| format!("slot={slot}"))
}
