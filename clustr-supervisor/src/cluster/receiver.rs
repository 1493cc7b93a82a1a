//! A receiver of events, and the loop's end of it.
//!
//! Owns what waits between the two, within its capacity, and the knowledge whether anybody still receives. Never blocks:
//! what does not fit is counted, and told when there is room again. Made by a `Handle`, kept by the `Desk`.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::Event;

/// Events of a cluster, as they happen: a [`Receiver`] that the cluster forgets when its last clone is dropped. (A
/// `Receiver` that was cloned out of it, past `Events` itself, is cut off then.)
///
/// ```
/// # use clustr_supervisor::Cluster;
/// # let cluster = Cluster::new();
/// let events = cluster.handle().events()?;
/// assert!(events.try_recv().is_err(), "nothing has happened yet");
/// # Ok::<(), clustr_supervisor::HandleError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Events {
    events: Receiver<Event>,
    _received: Arc<()>,
}

/// The loop's end.
#[derive(Debug)]
pub(super) struct Watcher {
    events: Sender<Event>,
    received: Weak<()>,
    capacity: usize,
    lost: u64,
}

/// Both ends. Of the loop's, one event more than `capacity` may wait: the last word about what was lost.
pub(super) fn pair(capacity: usize) -> (Watcher, Events) {
    let (sender, events) = unbounded();
    let received = Arc::new(());
    let watcher = Watcher { events: sender, received: Arc::downgrade(&received), capacity, lost: 0 };
    (watcher, Events { events, _received: received })
}

impl Watcher {
    /// Only the loop adds: where there is room now, there is room for this.
    pub(super) fn tell(&mut self, event: &Event) {
        let needed = if self.lost > 0 { 2 } else { 1 };
        if self.events.len().saturating_add(needed) > self.capacity {
            self.lost += 1;
            return;
        }
        self.confess();
        self.send(event.clone());
    }

    fn confess(&mut self) {
        let events = std::mem::take(&mut self.lost);
        if events > 0 {
            self.send(Event::Lost { events });
        }
    }

    /// Whoever has gone is noticed by [`Watcher::is_heard`].
    fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Whether anybody receives.
    pub(super) fn is_heard(&self) -> bool {
        self.received.strong_count() > 0
    }
}

impl Drop for Watcher {
    /// The last word.
    fn drop(&mut self) {
        self.confess();
    }
}

impl Deref for Events {
    type Target = Receiver<Event>;

    fn deref(&self) -> &Receiver<Event> {
        &self.events
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = Event;
    type IntoIter = crossbeam_channel::Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.events.iter()
    }
}
