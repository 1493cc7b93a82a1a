//! Whoever owns the sockets that workers listen on.
//!
//! Owns the words between the responder and that owner. [`Sockets`](super::Sockets) is one; a primary whose queues belong to
//! more than interception brings its own. Called by `responder`.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::ledger::Key;
use crate::listener::Listener;

/// The worker that calls.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Caller {
    /// Its number, which no other worker ever has.
    pub worker: u64,
    /// Its slot: what its queues are kept for.
    pub slot: u32,
}

/// Keeps what workers listen on, so that it outlives them.
pub trait Keeper {
    /// Whether all workers have one socket for this address, rather than a queue each.
    fn is_common(&self, key: &Key) -> bool;

    /// Whether something is kept for this address.
    fn has(&self, key: &Key) -> bool;

    /// A duplicate of the socket that the caller is to have in the place of its own, and that is the caller's from now on:
    /// the common one, or a queue that its slot's last worker has left. `None`: its own is as good.
    fn left(&mut self, caller: Caller, key: &Key) -> Option<OwnedFd>;

    /// The same, but made if there is none: for a caller whose own socket is bound elsewhere.
    ///
    /// # Errors
    ///
    /// What the caller is told.
    fn fresh(&mut self, caller: Caller, key: &Key) -> Result<OwnedFd, Errno>;

    /// Keeps a socket of the caller, a queue of its own or the common one of all. `listen` makes it listen, and returns it;
    /// datagrams are received from the bind on.
    ///
    /// # Errors
    ///
    /// What the caller is told.
    fn keep(
        &mut self,
        caller: Caller,
        key: &Key,
        listen: &mut dyn FnMut() -> Result<Listener, Errno>,
    ) -> Result<(), Errno>;

    /// The caller has closed a socket, by its inode, and goes on: what is kept of it is the caller's again when it binds the
    /// address again.
    fn closed(&mut self, caller: Caller, key: &Key, inode: u64);
}
