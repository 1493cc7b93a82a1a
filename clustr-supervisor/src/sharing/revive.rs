//! Listeners that somebody has shut down listen again.
//!
//! Owns their place in the reactor, where they are watched for hang-up alone: no arrival wakes the loop. Never watches
//! queues (`queues` looks at them anyway), nor what the primary alone has. Called by the loop.
//!
//! shutdown(2) on a listener ends it for all who have it, whoever calls it: some programs do so to leave accept(2). The
//! primary has it too, and listens again at once. Who waited in its queue in that moment is gone. A Unix socket cannot listen
//! again.

use std::collections::BTreeMap;

use clustr_net::node::{Closed, Table};
use clustr_net::{Addr, Listener, sock_diag};

use super::Sharing;
use crate::news::Fact;
use crate::reactor::{Reactor, Registration, Wake};
use crate::supervisor::Supervisor;

/// What is watched, by number in the table.
#[derive(Debug, Default)]
pub(super) struct HangUps(BTreeMap<u64, Registration>);

impl HangUps {
    /// Watches what is new. What the kernel has no room to watch is tried again in the next turn.
    fn watch(&mut self, table: &Table, reactor: &mut Reactor) {
        let is_tcp = |listener: &Listener| matches!(listener.local_addr(), Addr::Tcp { .. });
        for (number, listener) in table.numbered().filter(|(_, listener)| is_tcp(listener)) {
            if !self.0.contains_key(&number)
                && let Ok(watch) = reactor.register_hang_up(listener, Wake::HungUp)
            {
                self.0.insert(number, watch);
            }
        }
    }

    /// Before a listener closes.
    pub(super) fn forget(&mut self, closed: &Closed, reactor: &mut Reactor) {
        if let (Some(watch), Some(listener)) = (self.0.remove(&closed.number), closed.bound.listener()) {
            reactor.deregister(listener, watch);
        }
    }
}

impl Sharing {
    /// At the end of a turn: watches what workers share.
    pub(crate) fn watch_listeners(&mut self, reactor: &mut Reactor) {
        if !self.hands_over && self.seats.is_none() {
            self.hang_ups.watch(&self.table, reactor);
        }
    }

    /// What was shut down listens again. `pids` are those of the workers, by slot.
    fn revive(&self, pids: &[(u32, u32)]) -> Vec<Fact> {
        let is_deaf = |listener: &&Listener| listener.is_listening().is_ok_and(|listens| !listens);
        self.table.listeners().filter(is_deaf).map(|listener| revived(listener, pids)).collect()
    }
}

impl Supervisor {
    /// Somebody has shut down a listener. At the end of the app that is nobody's loss.
    pub(crate) fn revive(&mut self) {
        if self.is_ending() {
            return;
        }
        let pids: Vec<(u32, u32)> =
            self.workers.iter().map(|(id, worker)| (id.slot.0, worker.process.id())).collect();
        for fact in self.sharing.revive(&pids) {
            self.tell(fact);
        }
    }
}

fn revived(listener: &Listener, pids: &[(u32, u32)]) -> Fact {
    let who = culprit(listener, pids).map_or_else(|| "a worker".to_owned(), |slot| format!("slot={slot}"));
    let addr = listener.local_addr();
    match listener.listen_again() {
        Ok(()) => again(&who, addr),
        Err(error) => Fact::Warning {
            detail: format!("{who} has shut down {addr}, which cannot be listened on again: {error}"),
            hint: Some("clustr stop, and start it again".into()),
        },
    }
}

/// News of a listener that listens again.
pub(super) fn again(who: &str, addr: &clustr_net::Addr) -> Fact {
    let detail = format!(
        "{who} has shut down {addr} for all who share it (shutdown(2)): it listens again, and who waited there is gone"
    );
    Fact::Warning { detail, hint: Some("let the program close(2) it when it stops".into()) }
}

/// Whoever has no hold of it any more, if there is one such worker.
fn culprit(listener: &Listener, pids: &[(u32, u32)]) -> Option<u32> {
    let inode = sock_diag::inode(listener).ok()?;
    let mut without = pids.iter().filter(|(_, pid)| !sock_diag::holds(*pid, inode));
    let (slot, _) = without.next()?;
    without.next().is_none().then_some(*slot)
}
