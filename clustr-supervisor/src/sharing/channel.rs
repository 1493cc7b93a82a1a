//! clustr's own channel: connections in batches, messages, and a worker's word about itself.
//!
//! Owns the meaning of what workers say there; the bytes are `clustr_net::handoff`'s. In `shared` the worker has its
//! listeners by `LISTEN_FDS`, and the channel carries words alone. Which worker gets a connection is `handoff`'s to say.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use clustr_core::{Event, Time, WorkerId};
use clustr_net::handoff::{Handover, Progress, Said, Sender};
use clustr_net::{Connection, FdChannel};

use super::given::Given;
use super::handoff::{Credits, Via};
use super::messages::as_value;
use super::{Heard, Moment, Sharing, TURN_MESSAGES_MAX, message_fact};
use crate::config::ReadyWord;
use crate::news::Fact;
use crate::reactor::Reactor;
use crate::worker::{ChannelState, Worker};

/// How long a worker without a descriptor is left alone before it is given one connection to see whether it has one now.
const PROBE_AFTER: Duration = Duration::from_millis(100);

/// How long after its channel ended a worker has ended as well, if that is why.
const DEAF_AFTER: Duration = Duration::from_secs(1);

/// What is due for some worker, and a buffer that is kept.
#[derive(Debug, Default)]
pub(super) struct Pending {
    said: Vec<Said>,
    /// Who has no descriptor left, and when it is tried again.
    exhausted: Vec<(Time, WorkerId)>,
    /// When the kernel is asked again to carry what it had no room for.
    retry_at: Option<Time>,
    /// Whose channel ended while connections were to come over it, and when that counts, if the worker is still there.
    deaf: Vec<(Time, WorkerId)>,
}

impl Pending {
    pub(super) fn deadline(&self) -> Option<Time> {
        let waiting = self.exhausted.iter().chain(&self.deaf).map(|(at, _)| *at);
        waiting.chain(self.retry_at).min()
    }

    /// Sends what was offered in this turn: one message for each worker.
    pub(super) fn flush(&mut self, workers: &mut BTreeMap<WorkerId, Worker>, now: Time) {
        self.retry_at = None;
        let channels = workers.values_mut().filter_map(|worker| worker.channel.as_mut());
        for channel in channels.filter(|channel| channel.offered) {
            channel.offered = false;
            let Some(sender) = &mut channel.sender else { continue };
            if sender.flush().is_err() {
                channel.offered = true;
                self.retry_at = Some(now + PROBE_AFTER);
            }
        }
    }
}

impl Sharing {
    /// Makes a channel: our end, and the worker's.
    pub(crate) fn open_channel(&self) -> io::Result<(Sender, OwnedFd)> {
        let (ours, theirs) = FdChannel::pair()?;
        let names = if self.hands_over || self.seats.is_some() { self.given.handed() } else { Vec::new() };
        Ok((Sender::new(ours, &names)?, theirs))
    }

    /// Reads what a worker has said.
    pub(crate) fn hear_channel(
        &mut self,
        id: WorkerId,
        worker: &mut Worker,
        reactor: &mut Reactor,
        at: Moment,
    ) -> Heard {
        let mut heard = Heard { at, ..Heard::default() };
        let Some(channel) = &mut worker.channel else { return heard };
        let Some(sender) = &mut channel.sender else { return heard };
        if sender.flush().is_err() {
            // The kernel has no room for descriptors under way (ETOOMANYREFS, unix(7)): nobody's fault here.
            channel.offered = true;
            self.channel.retry_at = Some(at.now + PROBE_AFTER);
        }
        let mut said = std::mem::take(&mut self.channel.said);
        let received = sender.receive(TURN_MESSAGES_MAX, &mut said);
        let credits = credits(sender);
        heard.spoke = credits.left > 0 || !said.is_empty();
        if heard.spoke && channel.state == ChannelState::Silent {
            channel.state = ChannelState::Online;
            self.greet(id);
        }
        for word in said.drain(..) {
            self.understand_channel(id, worker, word, &mut heard);
        }
        self.channel.said = said;
        self.settle(id, worker, credits, &mut heard);
        match received {
            Ok(Progress::Drained) => {}
            Ok(Progress::More) => heard.more = true,
            Ok(Progress::Closed) => self.hang_up_channel(id, worker, reactor, &mut heard),
            Err(error) => {
                heard.facts.push(broken(id, &error));
                self.hang_up_channel(id, worker, reactor, &mut heard);
            }
        }
        heard
    }

    /// Somebody is there who speaks our language: in `handoff` it takes the connections of every listener, and in
    /// `per-worker` those that nobody else serves.
    fn greet(&mut self, id: WorkerId) {
        if let Some(handoff) = &mut self.handoff {
            self.given.numbers().for_each(|number| handoff.join(id, number, Via::Channel));
        }
    }

    fn understand_channel(&mut self, id: WorkerId, worker: &mut Worker, word: Said, heard: &mut Heard) {
        match word {
            Said::Here => heard.events.extend(self.show_life(id, heard.at.now)),
            Said::Ready if !self.ready.believes(ReadyWord::Message) => {}
            Said::Ready => heard.events.push(Event::Ready(id)),
            Said::Message(bytes) => heard.facts.push(message_fact(id, &as_json(&bytes))),
            Said::Returned(handover) => self.take_back(std::iter::once(handover)),
            Said::Exhausted => self.channel.exhausted.push((heard.at.now + PROBE_AFTER, id)),
            Said::Leaving => self.leave(id, worker, heard),
        }
    }

    /// It takes nothing more, because we said so or because it wants to go.
    fn leave(&mut self, id: WorkerId, worker: &mut Worker, heard: &mut Heard) {
        let Some(channel) = &mut worker.channel else { return };
        if channel.state != ChannelState::Draining {
            channel.state = ChannelState::Draining;
            heard.events.push(Event::Left(id));
        }
        channel.leaving = true;
    }

    /// Tells `handoff` what the channel bears now, and the core when the worker's last connection is closed.
    fn settle(&mut self, id: WorkerId, worker: &mut Worker, credits: Credits, heard: &mut Heard) {
        if let Some(handoff) = &mut self.handoff {
            handoff.grant(id, credits, heard.at.now);
        }
        let Some(channel) = &mut worker.channel else { return };
        if channel.leaving && credits.open == 0 && !channel.drained {
            channel.drained = true;
            heard.events.push(Event::Drained(id));
        }
    }

    /// Tells a worker to finish what is open. Says whether anybody has heard of it there.
    pub(super) fn drain_channel(&mut self, worker: &mut Worker) -> bool {
        let Some(channel) = &mut worker.channel else { return false };
        let Some(sender) = channel.sender.as_mut().filter(|_| channel.state == ChannelState::Online) else {
            return false;
        };
        let unsent: Vec<Handover> = sender.drain().collect();
        channel.state = ChannelState::Draining;
        // What cannot be sent now goes when the channel is writable.
        let _ = sender.flush();
        self.take_back(unsent.into_iter());
        true
    }

    /// Tries those again that had no descriptor left.
    pub(super) fn probe_in_time(&mut self, workers: &mut BTreeMap<WorkerId, Worker>, now: Time) {
        let due: Vec<_> = self.channel.exhausted.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, id) in due {
            let channel = workers.get_mut(&id).and_then(|worker| worker.channel.as_mut());
            let Some(sender) = channel.and_then(|channel| channel.sender.as_mut()) else { continue };
            sender.probe();
            if let Some(handoff) = &mut self.handoff {
                handoff.grant(id, credits(sender), now);
            }
        }
    }

    /// A worker that lives and can be given nothing any more; each once.
    pub(crate) fn deaf(&mut self, now: Time) -> Option<WorkerId> {
        let (at, id) = *self.channel.deaf.first()?;
        (at <= now).then(|| {
            self.channel.deaf.remove(0);
            id
        })
    }

    /// Whether a worker that counts as ready without its word takes connections at all.
    pub(crate) fn takes_nothing(&self, worker: &Worker) -> bool {
        let over_channel =
            worker.channel.as_ref().is_some_and(|channel| channel.state != ChannelState::Silent);
        let over_node = worker.node.state != ChannelState::Silent;
        self.hands_over && !self.given.is_empty() && !over_channel && !over_node
    }

    fn hang_up_channel(
        &mut self,
        id: WorkerId,
        worker: &mut Worker,
        reactor: &mut Reactor,
        heard: &mut Heard,
    ) {
        let drained = worker.channel.as_ref().is_some_and(|channel| channel.drained);
        let draining = worker.channel.as_ref().is_some_and(|channel| channel.state == ChannelState::Draining);
        if draining && !drained {
            heard.events.push(Event::Drained(id));
        }
        if !draining && self.hands_over {
            self.channel.deaf.push((heard.at.now + DEAF_AFTER, id));
        }
        self.close_channel(id, worker, reactor);
    }

    /// Whatever was under way goes to others.
    pub(super) fn close_channel(&mut self, id: WorkerId, worker: &mut Worker, reactor: &mut Reactor) {
        let Some(channel) = &mut worker.channel else { return };
        let Some(mut sender) = channel.sender.take() else { return };
        channel.state = ChannelState::Closed;
        reactor.deregister(&sender, channel.watch);
        if let Some(handoff) = &mut self.handoff {
            handoff.hang_up(id, Via::Channel);
        }
        self.take_back(sender.take_back().collect::<Vec<_>>().into_iter());
    }

    fn take_back(&mut self, left: impl DoubleEndedIterator<Item = Handover>) {
        let numbers: Vec<u64> = self.given.numbers().collect();
        let Some(handoff) = &mut self.handoff else { return };
        handoff.take_back(left.filter_map(|handover| {
            let listener = *numbers.get(usize::from(handover.listener))?;
            let source = source(&handover.fd);
            Some(Connection { fd: handover.fd, listener, source })
        }));
    }
}

/// Gives a worker one connection, which leaves with the next flush; or gives it back.
pub(super) fn give(worker: &mut Worker, given: &Given, connection: Connection) -> Result<(), Connection> {
    let Connection { fd, listener, source } = connection;
    let index = given.numbers().position(|number| number == listener);
    let channel = worker.channel.as_mut();
    let sender = channel.and_then(|channel| Some((channel.sender.as_mut()?, &mut channel.offered)));
    let (Some(index), Some((sender, offered))) = (index.and_then(|index| u16::try_from(index).ok()), sender)
    else {
        return Err(Connection { fd, listener, source });
    };
    *offered = true;
    sender.offer(Handover { fd, listener: index }).map_err(|back| Connection {
        fd: back.fd,
        listener,
        source,
    })
}

pub(super) fn credits(sender: &Sender) -> Credits {
    Credits { left: sender.credits(), unacked: sender.unacked(), open: sender.open(), taken: sender.taken() }
}

/// The client's address, for whoever spreads by it.
fn source(fd: impl AsFd) -> Option<std::net::IpAddr> {
    let name = rustix::net::getpeername(fd).ok().flatten()?;
    SocketAddr::try_from(name).ok().map(|source| source.ip().to_canonical())
}

/// A message as observers see it: JSON as it is, anything else as a string.
fn as_json(bytes: &[u8]) -> String {
    as_value(&String::from_utf8_lossy(bytes))
}

fn broken(id: WorkerId, why: &io::Error) -> Fact {
    let detail =
        format!("slot={} clustr's channel is closed, what came over it makes no sense: {why}", id.slot);
    Fact::Warning { detail, hint: None }
}
