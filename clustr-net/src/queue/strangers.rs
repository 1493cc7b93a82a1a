//! Who else is on the port: in the kernel's group, or beside it.
//!
//! Owns the comparison with the kernel's list. Never keeps anybody away: the kernel lets each socket of our uid in that has
//! `SO_REUSEPORT`, as ours must have for as long as there is a group. Called by `queue`, and by whoever tells of strangers.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::error::kernel;
use super::{QueueError, Queues};
use crate::sock_diag::{self, Listening};

impl Queues {
    /// Compares the port's listeners with the mirror. Returns the strangers; their pids: [`sock_diag::owner`].
    ///
    /// # Errors
    ///
    /// [`QueueError::Kernel`]: the kernel does not say who listens, or refuses the new program.
    pub fn look(&mut self) -> Result<Vec<Listening>, QueueError> {
        let strangers = self.foreign().map_err(|source| kernel("ask who listens", source))?;
        let inodes: Vec<u64> = strangers.iter().map(|stranger| stranger.inode).collect();
        if self.mirror.observe(&inodes) {
            self.steer()?;
        }
        Ok(strangers)
    }

    /// Sockets of other groups that the kernel prefers to ours for some clients: it does so for one address where ours is all
    /// of them, and for one device. Those clients are theirs, and no program of ours is asked.
    ///
    /// # Errors
    ///
    /// [`QueueError::Kernel`]: the kernel does not say who listens.
    pub fn neighbours(&self) -> Result<Vec<Listening>, QueueError> {
        let mut found = self.listed().map_err(|source| kernel("ask who listens", source))?;
        let Some(here) = self.here(&found) else { return Ok(Vec::new()) };
        found.retain(|socket| !self.owns(socket.inode) && takes_from(socket, &here));
        Ok(found)
    }

    /// Whether a socket is one of these queues.
    #[must_use]
    pub fn owns(&self, inode: u64) -> bool {
        self.queues.iter().any(|queue| queue.inode == inode)
    }

    /// The same as [`Queues::look`] where an answer is good to have: without sock_diag there are no strangers that anybody could see.
    pub(super) fn look_quietly(&mut self) {
        if let Ok(strangers) = self.foreign() {
            let inodes: Vec<u64> = strangers.iter().map(|stranger| stranger.inode).collect();
            self.mirror.observe(&inodes);
        }
    }

    pub(super) fn foreign_inodes(&self) -> Vec<u64> {
        let unseen = |_| self.mirror.strangers().collect();
        self.foreign().map_or_else(unseen, |all| all.iter().map(|stranger| stranger.inode).collect())
    }

    /// Who is in the kernel's group and not ours.
    pub(super) fn foreign(&self) -> io::Result<Vec<Listening>> {
        let mut found = self.listed()?;
        let Some(here) = self.here(&found) else { return Ok(Vec::new()) };
        found.retain(|socket| group(socket) == group(&here) && !self.owns(socket.inode));
        Ok(found)
    }

    fn listed(&self) -> io::Result<Vec<Listening>> {
        sock_diag::listening(self.kind(), self.port())
    }

    /// Where we are, as the kernel lists it; as we know it while none of ours listens.
    fn here(&self, listed: &[Listening]) -> Option<Listening> {
        let addr = self.addr.socket_addr()?;
        let known = Listening {
            addr: SocketAddr::new(addr.ip(), addr.port()),
            inode: 0,
            uid: 0,
            v6_only: self.options.v6_only && addr.is_ipv6(),
            device: 0,
            waiting: 0,
        };
        Some(listed.iter().find(|socket| self.owns(socket.inode)).copied().unwrap_or(known))
    }
}

/// What all sockets of a group have in common; whoever is on the same port by `SO_REUSEPORT` has our uid.
const fn group(socket: &Listening) -> (SocketAddr, bool, u32) {
    (socket.addr, socket.v6_only, socket.device)
}

/// Whether the kernel prefers a socket of another group to ours for some of our clients, or may. It looks for the very address
/// first, then for a wildcard; among equals a device counts, then IPv4 for IPv4.
fn takes_from(theirs: &Listening, ours: &Listening) -> bool {
    if group(theirs) == group(ours) || (ours.device != 0 && ![0, ours.device].contains(&theirs.device)) {
        return false;
    }
    let (its, own) = (theirs.addr.ip().to_canonical(), ours.addr.ip().to_canonical());
    match (its, own) {
        _ if its == own => {
            let is_closer = theirs.device != ours.device && theirs.device != 0;
            let is_nearer = theirs.addr.is_ipv4() && ours.addr.is_ipv6();
            is_closer || is_nearer || (theirs.v6_only != ours.v6_only && theirs.device == ours.device)
        }
        _ if !own.is_unspecified() => false,
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => true,
        (IpAddr::V4(_), IpAddr::V6(_)) => !ours.v6_only,
        (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(addr: &str) -> Listening {
        let addr: SocketAddr = addr.parse().unwrap();
        Listening { addr, inode: 1, uid: 0, v6_only: false, device: 0, waiting: 0 }
    }

    #[test]
    fn who_is_closer_to_some_clients_takes_them() {
        let takes = |theirs: &str, ours: &str| takes_from(&at(theirs), &at(ours));
        assert!(takes("127.0.0.1:1", "[::]:1") && takes("0.0.0.0:1", "[::]:1") && takes("[::1]:1", "[::]:1"));
        assert!(takes("127.0.0.1:1", "0.0.0.0:1"));
        assert!(!takes("[::]:1", "0.0.0.0:1") && !takes("[::1]:1", "0.0.0.0:1"));
        assert!(!takes("0.0.0.0:1", "127.0.0.1:1") && !takes("127.0.0.2:1", "127.0.0.1:1"));
        assert!(!takes("[::]:1", "[::]:1"), "a member of the group");
    }

    #[test]
    fn one_family_and_one_device_count() {
        let only_v6 = Listening { v6_only: true, ..at("[::]:1") };
        assert!(!takes_from(&at("127.0.0.1:1"), &only_v6) && takes_from(&at("[::1]:1"), &only_v6));
        assert!(takes_from(&only_v6, &at("[::]:1")));
        let on = |device, addr| Listening { device, ..at(addr) };
        assert!(takes_from(&on(1, "127.0.0.1:1"), &at("127.0.0.1:1")));
        assert!(!takes_from(&at("127.0.0.1:1"), &on(1, "127.0.0.1:1")));
        assert!(!takes_from(&on(2, "127.0.0.1:1"), &on(1, "0.0.0.0:1")));
    }
}
