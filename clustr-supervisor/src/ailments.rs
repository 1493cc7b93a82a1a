//! Which workers do not serve as they should, and by which signs.
//!
//! Owns the signs of each worker: a worker that shows two has recovered when it shows none. Never looks at a worker: what
//! is seen is reported here, and becomes events and news. Called by whatever watches workers (`probe`, `watchdog`, `queues`).

use std::collections::{BTreeMap, BTreeSet};

use clustr_core::{Ailment, Event, SlotState, Why, WorkerId};

use crate::app::App;
use crate::news::Fact;

/// The signs of all workers.
#[derive(Debug, Default)]
pub(crate) struct Ailments(BTreeMap<WorkerId, BTreeSet<Ailment>>);

impl Ailments {
    /// Notes a sign; says whether it is new.
    fn note(&mut self, id: WorkerId, ailment: Ailment) -> bool {
        self.0.entry(id).or_default().insert(ailment)
    }

    /// A sign has gone. Says whether it was there, and whether it was the last.
    fn mend(&mut self, id: WorkerId, ailment: Ailment) -> (bool, bool) {
        let Some(signs) = self.0.get_mut(&id) else { return (false, false) };
        let was_there = signs.remove(&ailment);
        let is_well = signs.is_empty();
        if is_well {
            self.0.remove(&id);
        }
        (was_there, was_there && is_well)
    }

    /// A worker is gone.
    pub(crate) fn forget(&mut self, id: WorkerId) {
        self.0.remove(&id);
    }
}

impl App {
    /// What was seen of a worker from outside.
    pub(crate) fn hear_of_health(&mut self, event: Event) {
        match event.worker() {
            // What waits for one that is not ready are questions.
            Some(id) if matches!(event, Event::Failing(..)) && !self.serves(id) => {}
            Some(id) if matches!(event, Event::Failing(..)) => {
                self.fails(id, Ailment::Stuck, "what waits for it stands still".into());
            }
            Some(id) if matches!(event, Event::Recovered(_)) => self.recovers(id, Ailment::Stuck),
            Some(_) | None => self.inbox.push_back(event),
        }
    }

    fn serves(&self, id: WorkerId) -> bool {
        let state = self.rules.workers().find(|view| view.worker == id).map(|view| view.state);
        matches!(state, Some(SlotState::Ready | SlotState::Parked))
    }

    /// A worker does not serve. May be said again: the core may have had no ear for it.
    pub(crate) fn fails(&mut self, id: WorkerId, ailment: Ailment, why: String) {
        if self.ailments.note(id, ailment) {
            let (slot, incarnation) = (id.slot.0, id.incarnation);
            self.tell(Fact::Failing { slot, incarnation, ailment: name(ailment), why });
        }
        self.inbox.push_back(Event::Failing(id, ailment));
    }

    /// It does again, as far as this sign tells.
    pub(crate) fn recovers(&mut self, id: WorkerId, ailment: Ailment) {
        let (was_there, is_well) = self.ailments.mend(id, ailment);
        if was_there {
            let (slot, incarnation) = (id.slot.0, id.incarnation);
            self.tell(Fact::Recovered { slot, incarnation, ailment: name(ailment) });
        }
        if is_well {
            self.inbox.push_back(Event::Recovered(id));
        }
    }
}

fn name(ailment: Ailment) -> String {
    Why::Failing(ailment).name().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clustr_core::SlotId;

    #[test]
    fn a_worker_with_two_signs_is_well_when_it_shows_none() {
        let id = WorkerId { slot: SlotId(1), incarnation: 2 };
        let mut ailments = Ailments::default();
        assert!(ailments.note(id, Ailment::Probe) && ailments.note(id, Ailment::Watchdog));
        assert!(!ailments.note(id, Ailment::Probe), "it is said once");
        assert_eq!(ailments.mend(id, Ailment::Stuck), (false, false));
        assert_eq!(ailments.mend(id, Ailment::Probe), (true, false));
        assert_eq!(ailments.mend(id, Ailment::Watchdog), (true, true));
        assert_eq!(ailments.mend(id, Ailment::Watchdog), (false, false));
    }
}
