//! When a worker that binds for itself counts as ready: by where it listens.
//!
//! Owns what was seen of each worker, and what each slot served last. Pure. Called by `intercept`.
//!
//! A worker is ready once it listens wherever its slot's last ready worker did. In the first generation that is not known:
//! then on every port that was named, or else on its first internet address that is no debugger's. A Unix socket alone may
//! be a control socket: it counts if nothing else follows soon. A path that no other slot has served may be one worker's
//! own, named after its pid: nobody is waited for who would have to listen on just that.

use std::collections::{BTreeMap, BTreeSet};

use clustr_core::{SlotId, WorkerId};
use clustr_net::Addr;

/// Bound: how many addresses of one worker are remembered.
const ADDRESSES_MAX: usize = 64;
/// Where node's inspector listens as a rule, and the next ones of its kind.
const INSPECTORS: std::ops::RangeInclusive<u16> = 9229..=9239;

/// What a listen comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Ready,
    /// If nothing else follows.
    Maybe,
    NotYet,
}

/// Where workers listen.
#[derive(Debug, Default)]
pub(super) struct Listened {
    workers: BTreeMap<WorkerId, Places>,
    /// By slot, where its last ready worker listened with what is kept.
    served: BTreeMap<SlotId, BTreeSet<String>>,
    /// Ports that were named.
    named: Vec<u16>,
}

#[derive(Debug, Default)]
struct Places {
    /// Whatever it is; told once each.
    told: BTreeSet<String>,
    kept: BTreeSet<String>,
    ports: BTreeSet<u16>,
    is_ready: bool,
}

impl Listened {
    pub(super) fn new(named: Vec<u16>) -> Self {
        Self { named, ..Self::default() }
    }

    /// A worker listens. Says whether the place is news, and what it comes to.
    pub(super) fn heard(&mut self, id: WorkerId, addr: Option<&Addr>, kept: bool) -> (bool, Verdict) {
        let places = self.workers.entry(id).or_default();
        let text = addr.map(ToString::to_string).unwrap_or_default();
        let is_news = places.told.len() < ADDRESSES_MAX && places.told.insert(text.clone());
        if kept && places.kept.len() < ADDRESSES_MAX {
            places.kept.insert(text.clone());
        }
        let port = addr.and_then(port);
        places.ports.extend(port.filter(|_| places.ports.len() < ADDRESSES_MAX));
        if places.is_ready && kept {
            self.served.entry(id.slot).or_default().insert(text);
        }
        (is_news, self.judge(id, addr.is_some().then_some(port)))
    }

    fn judge(&self, id: WorkerId, port: Option<Option<u16>>) -> Verdict {
        let Some(places) = self.workers.get(&id) else { return Verdict::NotYet };
        let before = self.expected(id.slot);
        let is_all_there = |before: &BTreeSet<String>| !before.is_empty() && before.is_subset(&places.kept);
        if self.served.get(&id.slot).is_some_and(is_all_there) {
            return Verdict::Ready;
        }
        let is_there = match before {
            Some(before) => before.is_subset(&places.kept),
            None if !self.named.is_empty() => self.named.iter().all(|port| places.ports.contains(port)),
            None => match port {
                // Where it is cannot be seen.
                None => true,
                Some(Some(port)) => !INSPECTORS.contains(&port),
                Some(None) => return Verdict::Maybe,
            },
        };
        if is_there { Verdict::Ready } else { Verdict::NotYet }
    }

    /// Where a slot's next worker has to listen; nothing if that is not known.
    fn expected(&self, slot: SlotId) -> Option<BTreeSet<String>> {
        let by_others =
            |text: &String| self.served.iter().any(|(other, all)| *other != slot && all.contains(text));
        let counts = |text: &&String| !text.starts_with("unix:") || by_others(text);
        let before: BTreeSet<String> = self.served.get(&slot)?.iter().filter(counts).cloned().collect();
        (!before.is_empty()).then_some(before)
    }

    /// A worker counts as ready, by whatever sign.
    pub(super) fn ready(&mut self, id: WorkerId) {
        let places = self.workers.entry(id).or_default();
        places.is_ready = true;
        self.served.insert(id.slot, places.kept.clone());
    }

    /// A worker has ended.
    pub(super) fn forget(&mut self, id: WorkerId) {
        self.workers.remove(&id);
    }
}

const fn port(addr: &Addr) -> Option<u16> {
    match addr {
        Addr::Tcp { port, .. } | Addr::Udp { port, .. } => Some(*port),
        Addr::Unix(_) | Addr::Abstract(_) | Addr::Fd(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(incarnation: u64) -> WorkerId {
        WorkerId { slot: SlotId(0), incarnation }
    }

    fn hears(listened: &mut Listened, incarnation: u64, addr: &str) -> Verdict {
        listened.heard(worker(incarnation), Some(&addr.parse().unwrap()), true).1
    }

    #[test]
    fn the_first_internet_address_counts_and_a_debuggers_does_not() {
        let mut listened = Listened::default();
        assert_eq!(hears(&mut listened, 1, "127.0.0.1:9229"), Verdict::NotYet);
        assert_eq!(hears(&mut listened, 1, "unix:/run/control.sock"), Verdict::Maybe);
        assert_eq!(hears(&mut listened, 1, "127.0.0.1:3001"), Verdict::Ready);
        assert_eq!(listened.heard(worker(2), None, false), (true, Verdict::Ready));
    }

    #[test]
    fn named_ports_are_all_waited_for() {
        let mut listened = Listened::new(vec![80, 443]);
        assert_eq!(hears(&mut listened, 1, "127.0.0.1:3001"), Verdict::NotYet);
        assert_eq!(hears(&mut listened, 1, "0.0.0.0:443"), Verdict::NotYet);
        assert_eq!(hears(&mut listened, 1, "0.0.0.0:80"), Verdict::Ready);
    }

    #[test]
    fn a_successor_listens_wherever_its_predecessor_did() {
        let mut listened = Listened::default();
        hears(&mut listened, 1, "127.0.0.1:3001");
        listened.ready(worker(1));
        hears(&mut listened, 1, "127.0.0.1:3002");
        listened.heard(worker(1), Some(&"127.0.0.1:40000".parse().unwrap()), false);
        assert_eq!(hears(&mut listened, 2, "127.0.0.1:3001"), Verdict::NotYet);
        assert_eq!(hears(&mut listened, 2, "127.0.0.1:3002"), Verdict::Ready);
        listened.forget(worker(1));
        listened.ready(worker(2));
        assert_eq!(hears(&mut listened, 3, "127.0.0.1:3002"), Verdict::NotYet);
    }

    #[test]
    fn a_path_of_one_workers_own_is_not_expected_of_the_next_and_a_shared_one_is() {
        let mut listened = Listened::default();
        let other = WorkerId { slot: SlotId(1), incarnation: 1 };
        hears(&mut listened, 1, "unix:/tmp/launcher-70.pipe");
        hears(&mut listened, 1, "unix:/run/app.socket");
        hears(&mut listened, 1, "0.0.0.0:3001");
        listened.heard(other, Some(&"unix:/run/app.socket".parse().unwrap()), true);
        listened.ready(worker(1));
        listened.ready(other);
        assert_eq!(hears(&mut listened, 2, "unix:/tmp/launcher-71.pipe"), Verdict::NotYet);
        assert_eq!(hears(&mut listened, 2, "0.0.0.0:3001"), Verdict::NotYet);
        assert_eq!(hears(&mut listened, 2, "unix:/run/app.socket"), Verdict::Ready);
    }

    #[test]
    fn where_nothing_but_paths_of_its_own_is_listened_on_another_such_path_will_do() {
        let mut listened = Listened::default();
        hears(&mut listened, 1, "unix:/tmp/app-70.pipe");
        listened.ready(worker(1));
        assert_eq!(hears(&mut listened, 2, "unix:/tmp/app-71.pipe"), Verdict::Maybe);
        assert_eq!(hears(&mut listened, 3, "unix:/tmp/app-70.pipe"), Verdict::Ready);
    }
}
