//! Which worker has bound which address with which socket.
//!
//! Owns what was seen of each worker, and what a call means in the light of it. Pure: whether a socket is still open is
//! asked of the caller. Called by `responder`.
//!
//! A socket is known by its inode. A call that was interrupted by a signal comes again, in the same words: it must find
//! that everything is done.

use crate::addr::Addr;

/// Bound: sockets that one worker may have bound and not closed.
const SOCKETS_MAX: usize = 1024;

/// What the sockets of one group have in common.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    /// Where it is bound. Port 0 stands for the port that the first worker got.
    pub addr: Addr,
    /// 0, or the number of a protocol that is not the usual one of its kind (262: MPTCP).
    pub protocol: u32,
    /// Which of several wishes of a worker for any port; 0 elsewhere.
    pub nth: u32,
}

/// How far a socket has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// It is bound, or about to be.
    Bound,
    /// It listens, or receives datagrams, and is kept.
    Kept,
}

#[derive(Debug)]
struct Entry {
    worker: u64,
    key: Key,
    inode: u64,
    stage: Stage,
}

/// What a bind means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OnBind {
    /// This very call was answered before.
    Repeated,
    /// The worker listens there already, and has not said that it wants to twice.
    InUse,
    /// It is a new socket. `others`: another worker has bound this address and does not listen yet.
    New { others: bool },
}

/// Everything that workers have bound.
#[derive(Debug, Default)]
pub(super) struct Ledger(Vec<Entry>);

impl Ledger {
    /// Understands a bind.
    pub(super) fn on_bind(&self, worker: u64, key: &Key, inode: u64, wants_twice: bool) -> OnBind {
        if self.find(worker, inode).is_some_and(|entry| entry.key == *key) {
            return OnBind::Repeated;
        }
        let is_same = |entry: &Entry| entry.worker == worker && entry.key == *key;
        if self.0.iter().any(is_same) && !wants_twice {
            return OnBind::InUse;
        }
        OnBind::New { others: self.is_bound_by_others(worker, key) }
    }

    /// Forgets the sockets on this address that the worker has closed; `is_open` says which it has not. Returns those that
    /// are kept, by inode.
    pub(super) fn sweep(&mut self, worker: u64, key: &Key, is_open: impl Fn(u64) -> bool) -> Vec<u64> {
        let is_over =
            |entry: &mut Entry| entry.worker == worker && entry.key == *key && !is_open(entry.inode);
        let over = self.0.extract_if(.., is_over);
        over.filter(|entry| entry.stage == Stage::Kept).map(|entry| entry.inode).collect()
    }

    /// Whether another worker has bound this address and does not listen yet.
    pub(super) fn is_bound_by_others(&self, worker: u64, key: &Key) -> bool {
        let waits =
            |entry: &Entry| entry.worker != worker && entry.key == *key && entry.stage == Stage::Bound;
        self.0.iter().any(waits)
    }

    /// Notes what a worker has bound.
    pub(super) fn note(&mut self, worker: u64, key: Key, inode: u64, stage: Stage) {
        self.0.retain(|entry| (entry.worker, entry.inode) != (worker, inode));
        let mut own = self.0.iter().enumerate().filter(|(_, entry)| entry.worker == worker);
        // Whoever binds without end loses sight of its oldest, which is then like one that was never seen.
        if let Some((oldest, _)) = own.next().filter(|_| own.count() + 1 >= SOCKETS_MAX) {
            self.0.remove(oldest);
        }
        self.0.push(Entry { worker, key, inode, stage });
    }

    /// What a worker has bound with this socket, and how far that has come.
    pub(super) fn of(&self, worker: u64, inode: u64) -> Option<(&Key, Stage)> {
        self.find(worker, inode).map(|entry| (&entry.key, entry.stage))
    }

    /// How many wishes for any port a worker has open.
    pub(super) fn count_any(&self, worker: u64) -> u32 {
        let is_any = |addr: &Addr| matches!(addr, Addr::Tcp { port: 0, .. } | Addr::Udp { port: 0, .. });
        let count = self.0.iter().filter(|entry| entry.worker == worker && is_any(&entry.key.addr)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// A worker has ended.
    pub(super) fn forget(&mut self, worker: u64) {
        self.0.retain(|entry| entry.worker != worker);
    }

    fn find(&self, worker: u64, inode: u64) -> Option<&Entry> {
        self.0.iter().find(|entry| (entry.worker, entry.inode) == (worker, inode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(addr: &str) -> Key {
        Key { addr: addr.parse().unwrap(), protocol: 0, nth: 0 }
    }

    #[test]
    fn the_same_call_again_is_known_and_another_socket_is_new() {
        let mut ledger = Ledger::default();
        let web = key("127.0.0.1:3001");
        assert_eq!(ledger.on_bind(1, &web, 70, false), OnBind::New { others: false });
        ledger.note(1, web.clone(), 70, Stage::Bound);
        assert_eq!(ledger.on_bind(1, &web, 70, false), OnBind::Repeated);
        assert_eq!(ledger.on_bind(1, &key("127.0.0.1:3002"), 71, false), OnBind::New { others: false });
        assert_eq!(ledger.on_bind(2, &web, 72, false), OnBind::New { others: true });
        ledger.note(1, web.clone(), 70, Stage::Kept);
        assert_eq!(ledger.on_bind(2, &web, 72, false), OnBind::New { others: false });
    }

    #[test]
    fn one_program_has_an_address_once_unless_it_says_otherwise_or_has_closed_it() {
        let mut ledger = Ledger::default();
        let web = key("127.0.0.1:3001");
        ledger.note(1, web.clone(), 70, Stage::Kept);
        assert_eq!(ledger.on_bind(1, &web, 71, false), OnBind::InUse);
        assert_eq!(ledger.on_bind(1, &web, 71, true), OnBind::New { others: false });
        assert_eq!(ledger.sweep(1, &web, |_| true), [0; 0]);
        assert_eq!(ledger.sweep(1, &web, |_| false), [70]);
        assert_eq!(ledger.on_bind(1, &web, 71, false), OnBind::New { others: false });
        assert_eq!(ledger.of(1, 70), None, "what is closed is forgotten");
    }

    #[test]
    fn a_worker_that_binds_without_end_is_bounded() {
        let mut ledger = Ledger::default();
        (0..2000).for_each(|inode| ledger.note(1, key("127.0.0.1:3001"), inode, Stage::Bound));
        ledger.note(2, key("127.0.0.1:3001"), 9000, Stage::Bound);
        assert_eq!(ledger.0.len(), SOCKETS_MAX + 1);
        assert!(ledger.of(1, 1999).is_some() && ledger.of(1, 0).is_none());
        ledger.forget(1);
        assert_eq!(ledger.0.len(), 1);
    }
}
