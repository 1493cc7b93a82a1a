//! The second witness against a queue that stands still: what its worker has accepted.
//!
//! Owns what workers had when their queues became suspect. Pure: never looks itself. Called by [`watch`](super::watch).
//!
//! A connection that was not there before was accepted since: then as many come to the queue as go. So does one that had
//! connections and has none any more: it was met between two of them. That speaks for a worker once and not again, should
//! it really hang. Inodes of sockets are counted upwards, and none is used again in such a time.

use std::collections::{BTreeMap, BTreeSet};

use super::WorkerId;

/// Which connections the worker of a queue has, by inode; `None` where that cannot be seen.
pub(super) type Look<'a> = &'a dyn Fn(Option<WorkerId>) -> Option<BTreeSet<u64>>;

/// What was seen of the workers of suspect queues.
#[derive(Debug)]
pub(super) struct Witness<K> {
    had: BTreeMap<K, BTreeSet<u64>>,
}

impl<K: Copy + Ord> Witness<K> {
    pub(super) const fn new() -> Self {
        Self { had: BTreeMap::new() }
    }

    /// The worker of a queue has these now.
    pub(super) fn remember(&mut self, key: K, has: Option<BTreeSet<u64>>) {
        match has {
            Some(has) => drop(self.had.insert(key, has)),
            None => self.forget(key),
        }
    }

    pub(super) fn forget(&mut self, key: K) {
        self.had.remove(&key);
    }

    /// Whether the worker of a queue has accepted somebody since; not, where that was not seen.
    pub(super) fn has_seen_it_accept(&mut self, key: K, has: impl FnOnce() -> Option<BTreeSet<u64>>) -> bool {
        let Some((had, has)) = self.had.remove(&key).and_then(|had| Some((had, has()?))) else {
            return false;
        };
        let has_new = !has.is_subset(&had);
        has_new || (has.is_empty() && !had.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(inodes: &[u64]) -> Option<BTreeSet<u64>> {
        Some(inodes.iter().copied().collect())
    }

    /// What the witness says of a worker that had these, and has those.
    fn says(had: Option<BTreeSet<u64>>, has: Option<BTreeSet<u64>>) -> bool {
        let mut witness = Witness::new();
        witness.remember(1, had);
        witness.has_seen_it_accept(1, || has)
    }

    #[test]
    fn a_connection_that_was_not_there_was_accepted_since() {
        assert!(says(set(&[7]), set(&[8])));
        assert!(says(set(&[]), set(&[8])));
        assert!(says(set(&[7, 8]), set(&[7, 8, 9])));
        assert!(says(set(&[7]), set(&[])), "between two of them");
    }

    #[test]
    fn whoever_keeps_what_it_had_accepts_nobody() {
        assert!(!says(set(&[7, 8]), set(&[7, 8])));
        assert!(!says(set(&[7, 8]), set(&[8])), "one of them was closed, by another thread");
        assert!(!says(set(&[]), set(&[])));
    }

    #[test]
    fn where_nothing_is_seen_nobody_is_defended() {
        assert!(!says(None, set(&[8])));
        assert!(!says(set(&[7]), None));
    }

    proptest! {
        /// One that accepts nobody, whatever it closes, is defended once at most.
        #[test]
        fn one_that_hangs_is_defended_once_at_most(first in proptest::collection::btree_set(0..50_u64, 0..9), closed in proptest::collection::vec(0..50_u64, 0..60)) {
            let (mut witness, mut has, mut defended) = (Witness::new(), first, 0);
            for inode in closed {
                witness.remember((), Some(has.clone()));
                has.remove(&inode);
                defended += u32::from(witness.has_seen_it_accept((), || Some(has.clone())));
            }
            prop_assert!(defended <= 1);
        }
    }
}
