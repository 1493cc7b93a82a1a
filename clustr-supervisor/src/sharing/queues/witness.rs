//! The second witness against a queue that stands still: what its worker has accepted.
//!
//! Owns what workers had when their queues became suspect. Pure: never looks itself. Called by [`watch`](super::watch).
//!
//! A connection that was not there before was accepted since: then as many come to the queue as go. So does one that had
//! connections and has none any more: it was met between two of them. That speaks for a worker once and not again, should
//! it really hang. Of a worker with thousands of files, and of a port with thousands of connections, only a part is looked at:
//! among all that come, one is in it. Inodes of sockets are counted upwards, and none is used again in such a time.

use std::collections::BTreeMap;

use crate::process::Sample;

/// What was seen of the workers of suspect queues.
#[derive(Debug)]
pub(super) struct Witness<K> {
    had: BTreeMap<K, Sample>,
}

impl<K: Copy + Ord> Witness<K> {
    pub(super) const fn new() -> Self {
        Self { had: BTreeMap::new() }
    }

    /// The worker of a queue has these now.
    pub(super) fn remember(&mut self, key: K, has: Sample) {
        self.had.insert(key, has);
    }

    pub(super) fn forget(&mut self, key: K) {
        self.had.remove(&key);
    }

    /// Whether the worker of a queue has accepted somebody since; not, where that was not seen.
    pub(super) fn has_seen_it_accept(&mut self, key: K, has: &Sample) -> bool {
        let Some(had) = self.had.remove(&key) else { return false };
        // A connection that was not listed the last time may be an old one.
        let has_new = !has.connections.is_subset(&had.sockets);
        let has_lost_all = !had.connections.is_empty() && has.sockets.is_disjoint(&had.connections);
        has_new || has_lost_all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A worker that listens on 1, and has these connections; all are looked at.
    fn sample(connections: &[u64]) -> Sample {
        let connections = connections.iter().copied();
        Sample { sockets: connections.clone().chain([1]).collect(), connections: connections.collect() }
    }

    /// What the witness says of a worker that had these, and has those.
    fn says(had: &[u64], has: &[u64]) -> bool {
        let mut witness = Witness::new();
        witness.remember(1, sample(had));
        witness.has_seen_it_accept(1, &sample(has))
    }

    #[test]
    fn a_connection_that_was_not_there_was_accepted_since() {
        assert!(says(&[7], &[8]));
        assert!(says(&[], &[8]));
        assert!(says(&[7, 8], &[7, 8, 9]));
        assert!(says(&[7], &[]), "between two of them");
    }

    #[test]
    fn whoever_keeps_what_it_had_accepts_nobody() {
        assert!(!says(&[7, 8], &[7, 8]));
        assert!(!says(&[7, 8], &[8]), "one of them was closed, by another thread");
        assert!(!says(&[], &[]));
    }

    #[test]
    fn one_that_was_there_and_is_listed_only_now_is_not_new_and_one_that_is_not_listed_any_more_is_not_gone()
    {
        let (first, second) = (sample(&[7, 8]), sample(&[7, 8]));
        let listed = |sample: &Sample, inode| Sample { connections: [inode].into(), ..sample.clone() };
        let mut witness = Witness::new();
        witness.remember(1, listed(&first, 7));
        assert!(!witness.has_seen_it_accept(1, &listed(&second, 8)));
    }

    #[test]
    fn where_nothing_is_seen_nobody_is_defended() {
        let mut witness = Witness::new();
        assert!(!witness.has_seen_it_accept(1, &sample(&[8])));
    }

    proptest! {
        /// One that accepts nobody, whatever it closes, is defended once at most.
        #[test]
        fn one_that_hangs_is_defended_once_at_most(first in proptest::collection::btree_set(2..50_u64, 0..9), closed in proptest::collection::vec(2..50_u64, 0..60)) {
            let (mut witness, mut has, mut defended) = (Witness::new(), first, 0);
            for inode in closed {
                witness.remember((), sample(&has.iter().copied().collect::<Vec<_>>()));
                has.remove(&inode);
                defended += u32::from(witness.has_seen_it_accept((), &sample(&has.iter().copied().collect::<Vec<_>>())));
            }
            prop_assert!(defended <= 1);
        }
    }
}
