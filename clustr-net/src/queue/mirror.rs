//! The mirror of the kernel's array of a SO_REUSEPORT group: which socket has which index.
//!
//! Owns the array's order, as far as it can be known. Pure. Never selects. Called by `queue`.
//!
//! The kernel appends whoever joins, and puts the last one into the place of whoever leaves (`reuseport_add_sock` and
//! `reuseport_detach_sock` in net/core/sock_reuseport.c). What we do is therefore known exactly. Strangers, sockets of our uid
//! that join the port by themselves, are seen only afterwards; where two changes fell between two looks and their order
//! matters, the places concerned are *doubtful*, and nobody shall select them.

/// What has a place in the array: a number of ours, or the inode of a stranger.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Member {
    /// One of ours.
    Ours(u64),
    /// A socket that somebody else has put there, by its inode.
    Stranger(u64),
}

/// The array. Its invariant: at a place that is not doubtful stands who the kernel has there.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    seats: Vec<Seat>,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    member: Member,
    doubtful: bool,
}

impl Mirror {
    /// Nobody yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { seats: Vec::new() }
    }

    /// How many sockets the kernel has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seats.len()
    }

    /// Whoever has a place, in the kernel's order; with doubts set aside.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.seats.iter().map(|seat| seat.member)
    }

    /// The strangers, by inode.
    pub fn strangers(&self) -> impl Iterator<Item = u64> {
        self.members().filter_map(|member| match member {
            Member::Ours(_) => None,
            Member::Stranger(inode) => Some(inode),
        })
    }

    /// The index of a member, if it is certain.
    #[must_use]
    pub fn index(&self, member: Member) -> Option<u16> {
        let place = self.place(member).filter(|&place| !self.seats[place].doubtful)?;
        u16::try_from(place).ok()
    }

    /// The places of which it is not known who of their members stands where.
    pub fn doubtful(&self) -> impl Iterator<Item = (u16, Member)> {
        let all = (0..=u16::MAX).zip(&self.seats);
        all.filter(|(_, seat)| seat.doubtful).map(|(index, seat)| (index, seat.member))
    }

    /// A socket has joined.
    pub fn join(&mut self, member: Member) {
        self.seats.push(Seat { member, doubtful: false });
    }

    /// A socket has left; the last one has taken its place. Of no effect for one that is not there.
    pub fn leave(&mut self, member: Member) {
        let Some(place) = self.place(member) else { return };
        let was_doubtful = self.seats[place].doubtful;
        self.seats.swap_remove(place);
        // It may really have stood at another doubtful place: all of them stay so.
        if let Some(seat) = self.seats.get_mut(place) {
            seat.doubtful |= was_doubtful;
        }
    }

    /// Several have left, nobody knows in which order: where that matters, the place is doubtful.
    ///
    /// Whoever stood at a place that is still there stands there yet: only those behind have moved, into the places of those
    /// that left.
    pub fn leave_all(&mut self, members: &[Member]) {
        let known: Vec<Member> = members.iter().copied().filter(|&one| self.place(one).is_some()).collect();
        let left_places: Vec<usize> = known.iter().filter_map(|&member| self.place(member)).collect();
        let count = self.seats.len() - known.len();
        let holes: Vec<usize> = left_places.iter().copied().filter(|&place| place < count).collect();
        let is_doubtful = |place: usize| self.seats[place].doubtful;
        let had_doubts = (count..self.seats.len()).chain(holes.iter().copied()).any(is_doubtful);
        let first_doubt = self.seats.iter().position(|seat| seat.doubtful);
        known.iter().for_each(|&member| self.leave(member));
        if known.len() > 1 && had_doubts {
            holes.into_iter().chain(first_doubt).min().into_iter().for_each(|first| self.doubt_from(first));
        } else if holes.len() > 1 {
            holes.into_iter().for_each(|place| self.seats[place].doubtful = true);
        }
    }

    /// A socket has changed hands, and stays where it is.
    pub fn replace(&mut self, member: Member, by: Member) {
        if let Some(place) = self.place(member) {
            self.seats[place].member = by;
        }
    }

    /// Strangers who are there now, after they were last looked at. What cannot be known of the order becomes doubtful.
    /// Returns whether anything has changed.
    pub fn observe(&mut self, now: &[u64]) -> bool {
        let gone: Vec<u64> = self.strangers().filter(|inode| !now.contains(inode)).collect();
        let known: Vec<u64> = self.strangers().collect();
        let come: Vec<u64> = now.iter().copied().filter(|inode| !known.contains(inode)).collect();
        let first = gone.iter().filter_map(|&inode| self.place(Member::Stranger(inode))).min();
        gone.iter().for_each(|&inode| self.leave(Member::Stranger(inode)));
        come.iter().for_each(|&inode| self.join(Member::Stranger(inode)));
        if gone.len() + come.len() > 1 {
            first.into_iter().for_each(|first| self.doubt_from(first));
        }
        !gone.is_empty() || !come.is_empty()
    }

    /// Nothing is certain from this place on.
    pub fn doubt_from(&mut self, first: usize) {
        self.seats.iter_mut().skip(first).for_each(|seat| seat.doubtful = true);
    }

    /// Where a member stands, or is thought to.
    #[must_use]
    pub fn place(&self, member: Member) -> Option<usize> {
        self.seats.iter().position(|seat| seat.member == member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Join,
        Leave(usize),
        StrangerJoins,
        StrangerLeaves(usize),
        /// Look at strangers; only then are the steps before it known.
        Look,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::Join),
            2 => any::<usize>().prop_map(Step::Leave),
            1 => Just(Step::StrangerJoins),
            1 => any::<usize>().prop_map(Step::StrangerLeaves),
            2 => Just(Step::Look),
        ];
        proptest::collection::vec(step, 0..60)
    }

    /// The kernel's array, and what we know of it.
    #[derive(Default)]
    struct Pair {
        kernel: Vec<Member>,
        mirror: Mirror,
        next: u64,
    }

    impl Pair {
        fn look(&mut self) {
            let strangers: Vec<u64> = self
                .kernel
                .iter()
                .filter_map(|member| match member {
                    Member::Ours(_) => None,
                    Member::Stranger(inode) => Some(*inode),
                })
                .collect();
            self.mirror.observe(&strangers);
        }

        fn nth(&self, nth: usize, ours: bool) -> Option<Member> {
            let of: Vec<_> = self.kernel.iter().filter(|m| matches!(m, Member::Ours(_)) == ours).collect();
            (!of.is_empty()).then(|| *of[nth % of.len()])
        }

        fn step(&mut self, step: &Step) {
            self.next += 1;
            match step {
                // We look before and after each change of ours: that is the protocol of `Queues`.
                Step::Join => {
                    self.look();
                    self.kernel.push(Member::Ours(self.next));
                    self.mirror.join(Member::Ours(self.next));
                }
                Step::Leave(nth) => {
                    let Some(member) = self.nth(*nth, true) else { return };
                    self.look();
                    let place = self.kernel.iter().position(|m| *m == member).unwrap();
                    self.kernel.swap_remove(place);
                    self.mirror.leave(member);
                }
                Step::StrangerJoins => self.kernel.push(Member::Stranger(self.next)),
                Step::StrangerLeaves(nth) => {
                    let Some(member) = self.nth(*nth, false) else { return };
                    let place = self.kernel.iter().position(|m| *m == member).unwrap();
                    self.kernel.swap_remove(place);
                }
                Step::Look => self.look(),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_certain_is_true_whatever_strangers_do(steps in steps()) {
            let mut pair = Pair::default();
            for step in &steps {
                pair.step(step);
            }
            pair.look();
            prop_assert_eq!(pair.mirror.count(), pair.kernel.len());
            for (place, member) in (0..).zip(&pair.kernel) {
                if let Some(index) = pair.mirror.index(*member) {
                    prop_assert!(index == place || matches!(member, Member::Stranger(_)), "{:?}", member);
                }
            }
        }

        #[test]
        fn without_strangers_everything_is_certain(steps in steps()) {
            let mut pair = Pair::default();
            for step in steps.iter().filter(|step| matches!(step, Step::Join | Step::Leave(_))) {
                pair.step(step);
            }
            let mirrored: Vec<_> = pair.mirror.members().collect();
            prop_assert_eq!(&mirrored, &pair.kernel);
            prop_assert!(mirrored.iter().all(|member| pair.mirror.index(*member).is_some()));
        }
    }

    #[test]
    fn the_last_takes_the_place_of_whoever_leaves() {
        let mut mirror = Mirror::new();
        (0..4).for_each(|id| mirror.join(Member::Ours(id)));
        mirror.leave(Member::Ours(1));
        assert_eq!([0, 3, 2].map(|id| mirror.index(Member::Ours(id))), [Some(0), Some(1), Some(2)]);
        assert_eq!(mirror.index(Member::Ours(1)), None);
    }

    proptest! {
        #[test]
        fn of_several_that_have_left_what_is_certain_is_true_in_whatever_order(
            count in 1..9_u64,
            order in Just((0..9_u64).collect::<Vec<_>>()).prop_shuffle(),
            told in Just((0..9_u64).collect::<Vec<_>>()).prop_shuffle(),
            again in Just((0..9_u64).collect::<Vec<_>>()).prop_shuffle(),
            twice in any::<bool>(),
            gone in 1..4_usize,
        ) {
            let mut mirror = Mirror::new();
            (0..count).for_each(|id| mirror.join(Member::Ours(id)));
            let gone: Vec<u64> = order.into_iter().filter(|&id| id < count).take(gone).collect();
            let mut kernel: Vec<u64> = (0..count).collect();
            for id in &gone {
                let place = kernel.iter().position(|one| one == id).unwrap();
                kernel.swap_remove(place);
            }
            let told: Vec<Member> = told.into_iter().filter(|id| gone.contains(id)).map(Member::Ours).collect();
            mirror.leave_all(&told);
            // A second time, with doubts from the first: two more of those that are left.
            let more: Vec<u64> = again.into_iter().filter(|id| twice && kernel.contains(id)).take(2).collect();
            for id in &more {
                let place = kernel.iter().position(|one| one == id).unwrap();
                kernel.swap_remove(place);
            }
            mirror.leave_all(&more.iter().rev().copied().map(Member::Ours).collect::<Vec<_>>());
            prop_assert_eq!(mirror.count(), kernel.len());
            for (place, id) in (0..).zip(&kernel) {
                let index = mirror.index(Member::Ours(*id));
                prop_assert!(index.is_none_or(|index| index == place), "{id} at {place}, not at {index:?}");
            }
            let told: Vec<Member> = mirror.doubtful().map(|(_, member)| member).collect();
            let mut there = mirror.doubtful().map(|(index, _)| Member::Ours(kernel[usize::from(index)]));
            prop_assert!(there.all(|member| told.contains(&member)));
            prop_assert!(twice || gone.len() > 1 || kernel.iter().all(|&id| mirror.index(Member::Ours(id)).is_some()));
        }
    }

    #[test]
    fn one_stranger_is_certain_and_the_order_of_two_departures_is_not() {
        let mut mirror = Mirror::new();
        mirror.join(Member::Ours(0));
        assert!(mirror.observe(&[70, 71]));
        mirror.join(Member::Ours(1));
        assert!(!mirror.observe(&[70, 71]));
        assert!(mirror.observe(&[71]));
        assert_eq!(mirror.index(Member::Ours(1)), Some(1));
        mirror.observe(&[71, 72, 73]);
        assert_eq!(mirror.index(Member::Ours(1)), Some(1));
        mirror.observe(&[]);
        assert_eq!(mirror.index(Member::Ours(0)), Some(0));
    }
}
