//! Workers that have served long enough: by the memory that they hold, by what they were handed, by the time of day.
//!
//! Owns when memory is looked at and when the times of day come. Never replaces anybody: it says who is worn, and the core
//! replaces one after the other, replacement first. Age is the core's own. Called by the loop of the supervisor.
//!
//! Nothing is due where nothing was asked for.

mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::time::Duration;

use clustr_core::{Event, SlotState, Time, Wear, WorkerId};

use self::schedule::Schedule;
pub(crate) use self::schedule::Zone;
use crate::app::App;
use crate::clock;
use crate::config::Recycling as Limits;
use crate::process::{Speaker, usage};
use crate::sys;
use crate::worker::Worker;

/// How often a worker's memory is looked at: one look is a short file of procfs. The first look is to one that was born big.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// What wears workers.
#[derive(Debug)]
pub(crate) struct Recycling {
    max_rss_bytes: Option<u64>,
    max_requests: Option<u64>,
    schedule: Option<Schedule>,
    looks: BTreeSet<(Time, WorkerId)>,
    /// So many connections are enough for each: not all have the same share, or they would leave together.
    shares: BTreeMap<WorkerId, u64>,
}

impl Recycling {
    pub(crate) fn new(limits: &Limits, now: Time) -> Self {
        let schedule = (!limits.at.is_empty()).then(|| Schedule::new(limits.at.clone(), now));
        Self {
            max_rss_bytes: limits.max_rss_bytes,
            max_requests: limits.max_requests.map(Into::into),
            schedule,
            looks: BTreeSet::new(),
            shares: BTreeMap::new(),
        }
    }

    /// A worker is ready. `chance` is from 0 to 255.
    fn ready(&mut self, id: WorkerId, chance: u8, now: Time) {
        self.forget(id);
        if self.max_rss_bytes.is_some() {
            self.looks.insert((now + jittered(FIRST_LOOK, chance), id));
        }
        if let Some(most) = self.max_requests {
            // A tenth less at the most.
            self.shares.insert(id, (most - most.saturating_mul(chance.into()) / 2560).max(1));
        }
    }

    /// A worker leaves, or is gone.
    pub(crate) fn forget(&mut self, id: WorkerId) {
        self.looks.retain(|(_, looked_at)| *looked_at != id);
        self.shares.remove(&id);
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let look = self.looks.first().map(|(at, _)| *at);
        look.into_iter().chain(self.schedule.as_ref().map(Schedule::check_at)).min()
    }

    /// A worker whose memory is to be looked at now.
    fn look(&mut self, chance: u8, now: Time) -> Option<WorkerId> {
        let (at, id) = *self.looks.first().filter(|(at, _)| *at <= now)?;
        self.looks.remove(&(at, id));
        self.looks.insert((now + jittered(LOOK_EVERY, chance), id));
        Some(id)
    }

    /// Who was handed enough; each once.
    fn sated(&mut self, handed: impl Fn(WorkerId) -> u64) -> Vec<WorkerId> {
        let has_enough = |(id, most): (&WorkerId, &u64)| (handed(*id) >= *most).then_some(*id);
        let sated: Vec<WorkerId> = self.shares.iter().filter_map(has_enough).collect();
        self.shares.retain(|id, _| !sated.contains(id));
        sated
    }
}

/// Up to a fifth longer, so that workers are not looked at together.
fn jittered(span: Duration, chance: u8) -> Duration {
    span + span / 1280 * u32::from(chance)
}

impl App {
    /// A worker is ready: it begins to wear.
    pub(crate) fn begin_to_wear(&mut self, id: WorkerId) {
        self.recycling.ready(id, chance(), self.now);
    }

    /// Says who has served long enough.
    pub(crate) fn recycle_in_time(&mut self) {
        while let Some(id) = self.recycling.look(chance(), self.now) {
            let held = self.workers.get(&id).map_or(0, rss_bytes);
            if self.recycling.max_rss_bytes.is_some_and(|most| held > most) {
                self.inbox.push_back(Event::Worn(id, Wear::MaxRss));
            }
        }
        for id in self.recycling.sated(|id| self.sharing.handed_to(id)) {
            self.inbox.push_back(Event::Worn(id, Wear::MaxRequests));
        }
        let now = self.now;
        if self
            .recycling
            .schedule
            .as_mut()
            .is_some_and(|schedule| schedule.is_due(now, clock::unix_s(), &sys::zone()))
        {
            let ready = self.rules.workers().filter(|view| view.state == SlotState::Ready);
            self.inbox.extend(ready.map(|view| Event::Worn(view.worker, Wear::Schedule)));
        }
    }
}

/// What the process that was started holds, and the one below it that listens.
fn rss_bytes(worker: &Worker) -> u64 {
    let pids = [Some(worker.process.id()), worker.speaker.as_ref().map(Speaker::id)];
    pids.into_iter().flatten().filter_map(usage).map(|usage| usage.rss_bytes).sum()
}

fn chance() -> u8 {
    std::collections::hash_map::RandomState::new().hash_one(0).to_be_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use clustr_core::SlotId;

    const A: WorkerId = WorkerId { slot: SlotId(0), incarnation: 1 };
    const B: WorkerId = WorkerId { slot: SlotId(1), incarnation: 1 };

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn memory_is_looked_at_again_and_again_and_not_of_all_at_once() {
        let mut recycling = Recycling::new(&Limits { max_rss_bytes: Some(1), ..Limits::default() }, at(0));
        recycling.ready(A, 0, at(0));
        recycling.ready(B, 255, at(0));
        assert_eq!((recycling.look(0, at(0)), recycling.deadline()), (None, Some(at(1))));
        assert_eq!((recycling.look(255, at(1)), recycling.look(0, at(1))), (Some(A), None));
        assert_eq!((recycling.look(0, at(2)), recycling.deadline()), (Some(B), Some(at(12))));
        assert_eq!((recycling.look(0, at(12)), recycling.look(0, at(12))), (Some(B), None));
        assert_eq!(recycling.look(0, at(13)), Some(A));
        recycling.forget(A);
        recycling.forget(B);
        assert_eq!(recycling.deadline(), None);
    }

    #[test]
    fn workers_have_enough_at_different_numbers_each_once() {
        let max_requests = Some(std::num::NonZeroU64::new(10_000).unwrap());
        let mut recycling = Recycling::new(&Limits { max_requests, ..Limits::default() }, at(0));
        recycling.ready(A, 0, at(0));
        recycling.ready(B, 255, at(0));
        assert_eq!(recycling.sated(|_| 9_000), []);
        assert_eq!(recycling.sated(|_| 9_999), [B]);
        assert_eq!(recycling.sated(|_| 10_000), [A]);
        assert_eq!((recycling.sated(|_| u64::MAX).len(), recycling.deadline()), (0, None));
    }

    #[test]
    fn a_limit_of_one_connection_is_one_for_everybody() {
        let max_requests = Some(std::num::NonZeroU64::MIN);
        let mut recycling = Recycling::new(&Limits { max_requests, ..Limits::default() }, at(0));
        recycling.ready(A, 255, at(0));
        assert_eq!((recycling.sated(|_| 0).len(), recycling.sated(|_| 1)), (0, vec![A]));
    }
}
