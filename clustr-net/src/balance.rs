//! Which of several workers gets the next connection.
//!
//! Owns three rules. Pure: no I/O, no clock, no randomness; nothing is allocated while every worker has room. Never
//! knows what a connection is or how a worker gets it. Called by whoever hands connections over, once for each.
//!
//! A worker is known by its *slot*: whoever follows it there is, for every rule, the same.

use std::net::IpAddr;

/// Bound: turns that a slot can make up for. More would flood a worker that was stuck for long.
const MISSED_MAX: u32 = 128;

/// How connections are spread over workers.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Balance {
    /// To each in turn. A turn that comes while a worker has no room is not lost: it is made up for (as in deficit round
    /// robin, Shreedhar and Varghese, 1995), so that workers which are now faster, now slower get the same in the end.
    #[default]
    RoundRobin,
    /// To the one with the least load; in turn among equals.
    LeastBusy,
    /// All of one client address to one slot, by rendezvous hashing (Thaler and Ravishankar, 1998): an address moves
    /// only when its own slot has nobody who can take it, to the next in the order of that address, and back after
    /// that. Clients without an address (Unix sockets) are spread in turn.
    Sticky,
}

/// A worker that may be chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// Its place in the app.
    pub slot: u32,
    /// How busy it is: any number that is comparable among candidates.
    pub load: u32,
    /// Whether it can take one more.
    pub has_room: bool,
}

/// A rule, and whose turn it is.
#[derive(Clone, Debug, Default)]
pub struct Balancer {
    balance: Balance,
    /// The first slot that has not had its turn in this round.
    next: u32,
    /// Slots that had no room in their turn, ascending, and how often. Its room is used again.
    missed: Vec<(u32, u32)>,
}

impl Balancer {
    /// Begins with slot 0.
    #[must_use]
    pub const fn new(balance: Balance) -> Self {
        Self { balance, next: 0, missed: Vec::new() }
    }

    /// The rule.
    #[must_use]
    pub const fn balance(&self) -> Balance {
        self.balance
    }

    /// The place in `candidates` of the one who gets the next connection; `None` if nobody has room. `source` is the
    /// client's address, which sticky needs.
    ///
    /// ```
    /// use clustr_net::balance::{Balance, Balancer, Candidate};
    ///
    /// let workers = [0, 1, 2].map(|slot| Candidate { slot, load: 0, has_room: slot != 1 });
    /// let mut balancer = Balancer::new(Balance::RoundRobin);
    /// let chosen: Vec<_> = (0..4).filter_map(|_| balancer.choose(&workers, None)).collect();
    /// assert_eq!(chosen, [0, 2, 0, 2]);
    /// ```
    pub fn choose(&mut self, candidates: &[Candidate], source: Option<IpAddr>) -> Option<usize> {
        match (self.balance, source) {
            (Balance::RoundRobin, _) => self.make_up(candidates).or_else(|| self.in_turn(candidates, |_| 0)),
            (Balance::LeastBusy, _) => self.in_turn(candidates, |candidate| candidate.load),
            (Balance::Sticky, None) => self.in_turn(candidates, |_| 0),
            (Balance::Sticky, Some(source)) => {
                let place = open(candidates).max_by_key(|(_, candidate)| weight(source, candidate.slot));
                place.map(|(place, _)| place)
            }
        }
    }

    /// Whoever has missed most turns, if anybody has.
    fn make_up(&mut self, candidates: &[Candidate]) -> Option<usize> {
        if self.missed.is_empty() {
            return None;
        }
        let found = |slot| self.missed.binary_search_by_key(&slot, |(slot, _)| *slot).ok();
        let turns = |slot| found(slot).map_or(0, |found| self.missed[found].1);
        let (place, candidate) = open(candidates).max_by_key(|(_, candidate)| turns(candidate.slot))?;
        let found = found(candidate.slot)?;
        self.missed[found].1 -= 1;
        if self.missed[found].1 == 0 {
            self.missed.remove(found);
        }
        Some(place)
    }

    /// The first in turn among those with the least load.
    fn in_turn(&mut self, candidates: &[Candidate], load: impl Fn(&Candidate) -> u32) -> Option<usize> {
        let next = self.next;
        let turn = |candidate: &Candidate| candidate.slot.wrapping_sub(next);
        let (place, chosen) =
            open(candidates).min_by_key(|(_, candidate)| (load(candidate), turn(candidate)))?;
        if self.balance == Balance::RoundRobin {
            let passed = candidates.iter().filter(|candidate| turn(candidate) < turn(chosen));
            passed.for_each(|candidate| note_missed(&mut self.missed, candidate.slot));
        }
        self.next = chosen.slot.wrapping_add(1);
        Some(place)
    }
}

fn note_missed(missed: &mut Vec<(u32, u32)>, slot: u32) {
    match missed.binary_search_by_key(&slot, |(slot, _)| *slot) {
        Ok(found) => missed[found].1 = (missed[found].1 + 1).min(MISSED_MAX),
        Err(place) => missed.insert(place, (slot, 1)),
    }
}

/// Those with room, and their places.
fn open(candidates: &[Candidate]) -> impl Iterator<Item = (usize, &Candidate)> {
    candidates.iter().enumerate().filter(|(_, candidate)| candidate.has_room)
}

/// How much an address belongs to a slot. The same in every run, so that a restart of the primary moves nobody.
fn weight(source: IpAddr, slot: u32) -> u64 {
    // An IPv4 client is the same on a socket for both families.
    let number = match source.to_canonical() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let [high, low] =
        [number >> 64, number & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0));
    mix(mix(mix(low) ^ high) ^ u64::from(slot))
}

/// The finaliser of splitmix64 (Steele, Lea and Flood, 2014): every bit of the input changes half of the output.
pub(crate) const fn mix(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(slots: &[u32]) -> Vec<Candidate> {
        slots.iter().map(|&slot| Candidate { slot, load: 0, has_room: true }).collect()
    }

    fn home(source: IpAddr, candidates: &[Candidate]) -> u32 {
        candidates[Balancer::new(Balance::Sticky).choose(candidates, Some(source)).unwrap()].slot
    }

    fn addresses() -> Vec<IpAddr> {
        let four = (0..2_000_u32).map(|number| IpAddr::V4((0x0a00_0000 + number).into()));
        let six = (0..2_000_u128).map(|number| IpAddr::V6(((0x2001_0db8 << 96) + (number << 64)).into()));
        four.chain(six).collect()
    }

    fn is_even(counts: &[usize], share: usize) -> bool {
        counts.iter().all(|count| count.abs_diff(share) * 10 <= share)
    }

    #[test]
    fn four_thousand_connections_are_spread_evenly_by_every_rule() {
        for balance in [Balance::RoundRobin, Balance::LeastBusy, Balance::Sticky] {
            let (mut balancer, workers, mut counts) = (Balancer::new(balance), all(&[0, 1, 2, 3]), [0; 4]);
            for source in addresses() {
                counts[balancer.choose(&workers, Some(source)).unwrap()] += 1;
            }
            assert!(is_even(&counts, 1_000), "{balance:?}: {counts:?}");
        }
    }

    #[test]
    fn a_turn_that_came_while_a_worker_had_no_room_is_made_up_for() {
        let (whole, mut full) = (all(&[0, 1, 2]), all(&[0, 1, 2]));
        full[1].has_room = false;
        let mut balancer = Balancer::new(Balance::RoundRobin);
        let mut slots = |workers: &[Candidate], count| -> Vec<_> {
            (0..count).filter_map(|_| balancer.choose(workers, None)).collect()
        };
        assert_eq!(slots(&full, 6), [0, 2, 0, 2, 0, 2]);
        assert_eq!(slots(&whole, 6), [1, 1, 1, 0, 1, 2]);
    }

    #[test]
    fn a_worker_that_was_stuck_for_long_is_not_flooded() {
        let (whole, mut full) = (all(&[0, 1]), all(&[0, 1]));
        full[0].has_room = false;
        let mut balancer = Balancer::new(Balance::RoundRobin);
        (0..10_000).for_each(|_| assert!(balancer.choose(&full, None).is_some()));
        let made_up = (0..10_000).take_while(|_| balancer.choose(&whole, None) == Some(0)).count();
        assert!(made_up <= MISSED_MAX as usize + 1, "{made_up}");
    }

    #[test]
    fn the_least_busy_comes_first_and_equals_in_turn() {
        let mut workers = all(&[0, 1, 2]);
        workers[0].load = 1;
        let mut balancer = Balancer::new(Balance::LeastBusy);
        let chosen: Vec<_> = (0..4).filter_map(|_| balancer.choose(&workers, None)).collect();
        assert_eq!(chosen, [1, 2, 1, 2]);
    }

    #[test]
    fn a_client_over_ipv4_is_the_same_on_a_socket_for_both_families() {
        let workers = all(&[0, 1, 2, 3, 4, 5, 6, 7]);
        for last in 0..=255 {
            let (four, mapped) = (format!("10.0.0.{last}"), format!("::ffff:10.0.0.{last}"));
            assert_eq!(home(four.parse().unwrap(), &workers), home(mapped.parse().unwrap(), &workers));
        }
    }

    #[test]
    fn an_address_moves_only_when_its_own_slot_is_gone_and_returns_with_it() {
        let (whole, without) = (all(&[0, 1, 2, 3]), all(&[0, 1, 3]));
        for source in addresses() {
            let (before, during) = (home(source, &whole), home(source, &without));
            assert!(before == during || before == 2, "{source} moved from {before} to {during}");
        }
    }

    #[test]
    fn one_more_slot_takes_only_its_own_share() {
        let (few, more) = (all(&[0, 1, 2]), all(&[0, 1, 2, 3]));
        let moved = addresses().into_iter().filter(|&source| home(source, &few) != home(source, &more));
        let to: Vec<_> = moved.map(|source| home(source, &more)).collect();
        assert!(to.iter().all(|&slot| slot == 3) && is_even(&[to.len()], 1_000), "{}", to.len());
    }

    fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (0..40_u32, 0..4_u32, any::<bool>());
        prop::collection::vec(one, 0..12).prop_map(|parts| {
            let as_candidate = |(slot, load, has_room)| Candidate { slot, load, has_room };
            parts.into_iter().map(as_candidate).collect()
        })
    }

    proptest! {
        #[test]
        fn whoever_is_chosen_has_room_and_somebody_is_if_anybody_has(
            rounds in prop::collection::vec((any_candidates(), any::<Option<u128>>()), 1..20),
        ) {
            for balance in [Balance::RoundRobin, Balance::LeastBusy, Balance::Sticky] {
                let mut balancer = Balancer::new(balance);
                for (candidates, bits) in &rounds {
                    let source = bits.map(|bits| IpAddr::V6(bits.into()));
                    let chosen = balancer.choose(candidates, source);
                    prop_assert_eq!(chosen.is_some(), candidates.iter().any(|candidate| candidate.has_room));
                    prop_assert!(chosen.is_none_or(|place| candidates[place].has_room));
                }
            }
        }

        #[test]
        fn in_a_round_nobody_gets_two_before_everybody_with_room_has_one(count in 1..20_u32, skip in 0..30_usize) {
            let workers = all(&(0..count).collect::<Vec<_>>());
            let mut balancer = Balancer::new(Balance::RoundRobin);
            for _ in 0..skip {
                balancer.choose(&workers, None);
            }
            let mut seen: Vec<_> = workers.iter().filter_map(|_| balancer.choose(&workers, None)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..workers.len()).collect::<Vec<_>>());
        }

        #[test]
        fn load_and_order_of_candidates_do_not_move_a_sticky_client(bits: u128, rotate in 0..8_usize, load: u32) {
            let source = IpAddr::V6(bits.into());
            let mut workers = all(&[0, 1, 2, 3, 4, 5, 6, 7]);
            let before = home(source, &workers);
            workers.rotate_left(rotate);
            workers[0].load = load;
            prop_assert_eq!(home(source, &workers), before);
        }
    }
}
