//! Sockets that a worker has made for itself, as queues.
//!
//! Owns how they join; from then on they are queues like any other. Called by whoever intercepts a worker's `bind` and
//! `listen`.

use rustix::io::Errno;

use super::{Addr, Kind, Listener, Mirror, Options, Plan, QueueError, QueueId, Queues};

impl Queues {
    /// Makes a group of a socket that somebody else has made, and has joined no group: bound without `SO_REUSEPORT`, which was
    /// set only then, before it listened.
    ///
    /// # Errors
    ///
    /// [`QueueError::Kernel`]; [`QueueError::Family`]. A stranger who came in the same moment is no error: the socket is there
    /// and cannot be taken back, so what is not certain is doubtful.
    pub fn found(first: Listener, plan: Plan, key: u32) -> Result<(Self, QueueId), QueueError> {
        let addr = first.local_addr().clone();
        if !matches!(addr, Addr::Tcp { .. } | Addr::Udp { .. }) {
            return Err(QueueError::Family(addr));
        }
        let is_v6 = addr.socket_addr().is_some_and(|addr| addr.is_ipv6());
        let v6_only = is_v6 && rustix::net::sockopt::ipv6_v6only(&first).unwrap_or(false);
        let options = Options { reuse_port: true, v6_only, blocking: true, ..Options::default() };
        let grouped = first.kind() == Kind::Stream;
        let (queues, mirror, filled) = (Vec::new(), Mirror::new(), Vec::new());
        let mut group =
            Self { addr, options, plan, queues, mirror, grouped, unsteered: false, filled, next: 0 };
        let id = group.adopt(first, key)?;
        group.doubt_newcomers(0);
        group.steer()?;
        Ok((group, id))
    }

    /// Another queue, of a socket that somebody else has made: `join` lets it join, which it does when it begins to listen, a
    /// datagram socket when it is bound. Withheld until it is admitted.
    ///
    /// # Errors
    ///
    /// What `join` says; then nothing has changed. It is in the group otherwise, steered or not.
    pub fn enrol<E>(&mut self, key: u32, join: impl FnOnce() -> Result<Listener, E>) -> Result<QueueId, E>
    where
        E: From<Errno>,
    {
        self.look_quietly();
        let place = self.mirror.count();
        let id = self.adopt(join()?, key).map_err(|_| Errno::BADF)?;
        self.doubt_newcomers(place);
        self.grouped = true;
        // What is attached selects none that it does not know: without a new program this one is withheld, as it should be.
        let _ = self.steer();
        Ok(id)
    }

    /// Whoever came while one of ours did may stand before or behind it.
    fn doubt_newcomers(&mut self, first: usize) {
        let now = self.foreign_inodes();
        if self.mirror.observe(&now) {
            self.mirror.doubt_from(first);
        }
    }

    /// The queue of a socket, by its inode.
    #[must_use]
    pub fn of_inode(&self, inode: u64) -> Option<QueueId> {
        self.queues.iter().find(|queue| queue.inode == inode && !queue.leaving).map(|queue| queue.id)
    }
}
