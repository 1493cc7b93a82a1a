//! Which ports are shared.
//!
//! Owns the decision over an address, as values. Pure. Called by `responder`.

use std::fs;

use crate::addr::Addr;

/// The kernel's default for the first port that needs no privilege.
const UNPRIVILEGED_FROM: u16 = 1024;

/// What a primary was told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rules {
    /// Ports to share; none: every one that the program listens on, but for privileged ones.
    pub ports: Vec<u16>,
    /// Ports of which each worker has its own: this number, and its slot's on top of it.
    pub private: Vec<u16>,
    /// Whether port 0, a wish for any port, gives all workers the same one.
    pub share_zero: bool,
    /// The first port that needs no privilege: `net.ipv4.ip_unprivileged_port_start`.
    pub unprivileged_from: u16,
}

/// What becomes of a bind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wish {
    /// All workers shall have this address.
    Share,
    /// It is any port, and the first worker's becomes everybody's.
    Zero,
    /// The worker gets this port instead.
    Private(u16),
    /// There is no such port: the slot's number is too high.
    Beyond,
    /// It goes on as if nobody had looked.
    Leave(Why),
}

/// Why a worker's socket is not shared.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// The port is 0.
    #[error("it asks for any port, and gets one of its own")]
    AnyPort,
    /// Other ports were named.
    #[error("other ports were named to be shared")]
    NotNamed,
    /// It needs a privilege, which a program must not get by asking.
    #[error("port {0} is privileged, and shared only where it is named")]
    Privileged(u16),
    /// It is in another network namespace.
    #[error("it belongs to another network namespace")]
    Namespace,
    /// A kind of socket that has no queue to share.
    #[error("sockets of its kind are not shared")]
    Kind,
    /// The process cannot be seen from here.
    #[error("its process is in another pid namespace")]
    Unseen,
    /// We have not the right to look at the process.
    #[error("its process may not be looked at: it runs as another user, or is protected")]
    Protected,
    /// It was registered in an epoll instance before it was bound, which cannot be moved here.
    #[error("it was registered with epoll before it was bound, and pidfd_getfd(2) is forbidden here")]
    Registered,
    /// We have no descriptor left, or the kernel refused something that it grants as a rule.
    #[error("the kernel refused to share it (errno {0})")]
    Refused(i32),
}

impl Why {
    /// A port that would be shared if it were named.
    #[must_use]
    pub const fn port_to_name(self) -> Option<u16> {
        match self {
            Self::Privileged(port) => Some(port),
            Self::AnyPort
            | Self::NotNamed
            | Self::Namespace
            | Self::Kind
            | Self::Unseen
            | Self::Protected
            | Self::Registered
            | Self::Refused(_) => None,
        }
    }
}

impl Rules {
    /// Every port that the program listens on.
    #[must_use]
    pub fn every_port() -> Self {
        Self {
            ports: Vec::new(),
            private: Vec::new(),
            share_zero: false,
            unprivileged_from: unprivileged_from(),
        }
    }

    pub(super) fn wish(&self, addr: &Addr, slot: u32) -> Wish {
        let (Addr::Tcp { port, .. } | Addr::Udp { port, .. }) = *addr else { return Wish::Share };
        if port == 0 {
            return if self.share_zero { Wish::Zero } else { Wish::Leave(Why::AnyPort) };
        }
        if self.private.contains(&port) {
            let own = u16::try_from(slot).ok().and_then(|slot| port.checked_add(slot));
            return own.map_or(Wish::Beyond, Wish::Private);
        }
        if self.ports.contains(&port) {
            return Wish::Share;
        }
        if port < self.unprivileged_from {
            return Wish::Leave(Why::Privileged(port));
        }
        if self.ports.is_empty() { Wish::Share } else { Wish::Leave(Why::NotNamed) }
    }
}

/// `net.ipv4.ip_unprivileged_port_start`.
fn unprivileged_from() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(UNPRIVILEGED_FROM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(rules: &Rules, addr: &str, slot: u32) -> Wish {
        rules.wish(&addr.parse().unwrap(), slot)
    }

    #[test]
    fn every_port_is_shared_but_any_and_privileged_ones() {
        let rules = Rules { unprivileged_from: 1024, ..Rules::every_port() };
        assert_eq!(wish(&rules, "127.0.0.1:3001", 0), Wish::Share);
        assert_eq!(wish(&rules, "unix:/run/app.sock", 0), Wish::Share);
        assert_eq!(wish(&rules, "127.0.0.1:0", 0), Wish::Leave(Why::AnyPort));
        assert_eq!(wish(&rules, "0.0.0.0:80", 0), Wish::Leave(Why::Privileged(80)));
        assert_eq!(wish(&Rules { share_zero: true, ..rules }, "127.0.0.1:0", 0), Wish::Zero);
    }

    #[test]
    fn named_ports_are_shared_and_no_others_and_private_ones_differ_by_slot() {
        let rules = Rules { ports: vec![80], private: vec![9090, 65535], ..Rules::every_port() };
        assert_eq!(wish(&rules, "0.0.0.0:80", 3), Wish::Share);
        assert_eq!(wish(&rules, "0.0.0.0:3001", 3), Wish::Leave(Why::NotNamed));
        assert_eq!(wish(&rules, "udp:0.0.0.0:9090", 3), Wish::Private(9093));
        assert_eq!(wish(&rules, "0.0.0.0:65535", 1), Wish::Beyond);
    }
}
