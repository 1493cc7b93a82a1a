//! Workers that shall leave, and are not told so before they have emptied their queues.
//!
//! Owns the wait: a worker that is withheld and still serves accepts everybody who was on the way to it. Never longer
//! than its patience, so that the stop's deadline still finds a worker that was asked. Called by `Seats`.

use super::{BTreeMap, BTreeSet, Duration, HalfOpen, QueueError, Queues, Seats, Table, Time, WorkerId};

/// How often it is looked whether the queues are empty.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Farewell {
    pub(super) id: WorkerId,
    /// By port: the handshakes that were under way when nobody else was sent here any more, and still are.
    half_open: BTreeMap<u64, BTreeSet<HalfOpen>>,
    next_at: Time,
    until: Time,
}

impl Farewell {
    pub(super) fn due(&self) -> Time {
        self.next_at.min(self.until)
    }
}

impl Seats {
    /// A withheld worker shall leave. Says whether that has to wait; if so [`Seats::emptied`] names it later.
    pub(crate) fn detain(&mut self, id: WorkerId, table: &mut Table, now: Time) -> bool {
        let mut farewell = Farewell {
            id,
            half_open: BTreeMap::new(),
            next_at: now + LOOK_EVERY,
            until: now + self.patience,
        };
        for (number, queues) in table.ports() {
            // Without a live queue its own is still filled: there is no end to wait for.
            if self.of(id, number).is_some() && self.live(number).next().is_some() {
                farewell.half_open.insert(number, queues.half_open().unwrap_or_default());
            }
        }
        let has_to_wait = !self.is_empty(&mut farewell, table);
        if has_to_wait {
            self.farewells.push(farewell);
        }
        has_to_wait
    }

    /// Workers that had to wait, and have not to any more.
    pub(crate) fn emptied(&mut self, table: &mut Table, now: Time) -> Vec<WorkerId> {
        let mut over = Vec::new();
        let mut farewells = std::mem::take(&mut self.farewells);
        farewells.retain_mut(|farewell| {
            if farewell.due() > now {
                return true;
            }
            farewell.next_at = now + LOOK_EVERY;
            let stays = farewell.until > now && !self.is_empty(farewell, table);
            if !stays {
                over.push(farewell.id);
            }
            stays
        });
        self.farewells = farewells;
        over
    }

    fn is_empty(&self, farewell: &mut Farewell, table: &mut Table) -> bool {
        table.ports().all(|(number, queues)| {
            let Some(before) = farewell.half_open.get_mut(&number) else { return true };
            let nobody_waits_in = |queues: &Queues, queue| match queues.waiting(queue) {
                Ok(count) => count == 0,
                // Whoever waited there is gone.
                Err(error) => matches!(error, QueueError::Deaf),
            };
            let nobody_waits = |queues: &Queues| {
                self.all_of(farewell.id, number).all(|queue| nobody_waits_in(queues, queue))
            };
            // Listing handshakes costs more. Who arrived meanwhile waits now.
            nobody_waits(queues) && have_gone(before, queues) && nobody_waits(queues)
        })
    }
}

fn have_gone(before: &mut BTreeSet<HalfOpen>, queues: &Queues) -> bool {
    if !before.is_empty() {
        let now_open = queues.half_open().unwrap_or_default();
        before.retain(|one| now_open.contains(one));
    }
    before.is_empty()
}
