//! Node's cluster protocol: a worker asks for a listener, and gets a duplicate of ours, or its connections.
//!
//! Owns the meaning of what workers say there; the bytes and the table of listeners are `clustr_net::node`'s. Which worker
//! gets a connection is `handoff`'s to say.

use std::time::Duration;

use clustr_core::{Event, SlotId, Time, WorkerId};
use clustr_net::Connection;
use clustr_net::Kind;
use clustr_net::node::{Endpoint, Fate, Progress, Query, Said, SendError};
use clustr_net::queue::Queues;

use rustix::io::Errno;

use super::handoff::Via;
use super::unclaimed::{GRACE as ORPHAN_GRACE, told};
use super::{ADDRESS_BYTES_MAX, Heard, Moment, Sharing, TURN_MESSAGES_MAX, message_fact, shortened};
use crate::config::ReadyWord;
use crate::news::Fact;
use crate::process::Speaker;
use crate::reactor::Reactor;
use crate::worker::{ChannelState, Worker};

/// What node's protocol has open: what was closed and may be taken up again, and a buffer that is kept.
#[derive(Debug, Default)]
pub(super) struct Pending {
    said: Vec<Said>,
    closing: Vec<Closing>,
    orphans: Vec<Orphan>,
}

/// A worker that ended and left listeners that nobody else holds. Its slot's next ready worker asks for them again, as
/// a rule; where it does not (a path with the process's number in it), they are let go after [`ORPHAN_GRACE`].
#[derive(Debug)]
struct Orphan {
    slot: SlotId,
    worker: u64,
    until: Option<Time>,
}

/// A server that a worker has closed. A worker that leaves by `cluster.worker.disconnect()` closes its servers *before*
/// it says so: were it the only one, its listener would be gone, with all who wait in its queue, when its successor
/// asks for it. So what is closed is let go a moment later, unless the worker turns out to be leaving.
#[derive(Debug)]
struct Closing {
    worker: u64,
    key: String,
    at: Time,
}

/// Between the last closed server and the word that the worker leaves lie a few turns of node's loop.
const CLOSE_GRACE: Duration = Duration::from_millis(100);

impl Pending {
    /// When something is let go.
    pub(super) fn deadline(&self) -> Option<Time> {
        let closing = self.closing.first().map(|closing| closing.at);
        let orphaned = self.orphans.iter().filter_map(|orphan| orphan.until).min();
        [closing, orphaned].into_iter().flatten().min()
    }

    /// See [`Sharing::ready`].
    pub(super) fn ready(&mut self, slot: SlotId, now: Time) {
        for orphan in self.orphans.iter_mut().filter(|orphan| orphan.slot == slot && orphan.until.is_none()) {
            orphan.until = Some(now + ORPHAN_GRACE);
        }
    }

    /// A worker is gone. `left`: and with it the last holder of some listener.
    pub(super) fn gone(&mut self, slot: SlotId, worker: u64, left: bool) {
        self.closing.retain(|closing| closing.worker != worker);
        if left {
            self.orphans.push(Orphan { slot, worker, until: None });
        }
    }
}

impl Sharing {
    /// Reads and answers what a worker has said.
    pub(crate) fn hear_node(
        &mut self,
        id: WorkerId,
        worker: &mut Worker,
        reactor: &mut Reactor,
        at: Moment,
    ) -> Heard {
        let mut heard = Heard { at, ..Heard::default() };
        let Some(endpoint) = &mut worker.node.endpoint else { return heard };
        // What we send may wait for what the worker has not been able to read.
        let flushed = endpoint.flush();
        let mut said = std::mem::take(&mut self.node.said);
        let received = endpoint.receive(TURN_MESSAGES_MAX, &mut said);
        heard.spoke = !said.is_empty();
        for word in said.drain(..) {
            self.understand(id, worker, word, reactor, &mut heard);
        }
        self.node.said = said;
        match flushed.and(received) {
            Ok(Progress::Drained) => {}
            Ok(Progress::More) => heard.more = true,
            Ok(Progress::Closed) => self.hang_up_node(id, worker, reactor, &mut heard),
            Err(error) => {
                heard.facts.push(broken(id, &error.to_string()));
                self.hang_up_node(id, worker, reactor, &mut heard);
            }
        }
        heard
    }

    fn understand(
        &mut self,
        id: WorkerId,
        worker: &mut Worker,
        word: Said,
        reactor: &mut Reactor,
        heard: &mut Heard,
    ) {
        if let Said::Closed { key } = &word {
            self.stop_filling(id, worker, key, heard.at.now);
        }
        match word {
            Said::Online { pid } => self.come_online(id, worker, pid),
            Said::Query(query) => self.answer(id, worker, &query, reactor, heard),
            Said::Listening { .. } => {
                let address = shortened(&word.listening_at().unwrap_or_default(), ADDRESS_BYTES_MAX);
                if worker.node.is_news(&address) {
                    heard.facts.push(listening_fact(id, address));
                }
                if self.ready.believes(ReadyWord::Listening) {
                    heard.events.push(Event::Ready(id));
                }
            }
            // A worker that we asked to drain closes its servers; its successor wants to find the listener there.
            Said::Closed { .. } if worker.node.state == ChannelState::Draining && !heard.at.ending => {}
            // Nobody follows: who comes now is better refused than kept waiting.
            Said::Closed { key } if heard.at.ending => {
                let closed = self.table.closed(worker.unique_id, &key);
                self.unwatch(closed, reactor);
            }
            Said::Closed { key } if !self.table.holds(worker.unique_id, &key) => {}
            Said::Closed { key } => {
                self.node.closing.push(Closing {
                    worker: worker.unique_id,
                    key,
                    at: heard.at.now + CLOSE_GRACE,
                });
            }
            Said::Leaving => {
                self.node.closing.retain(|closing| closing.worker != worker.unique_id);
                // From here on its closed servers and its hanging up mean what they mean in a drain.
                worker.node.state = ChannelState::Draining;
                self.seats.iter_mut().for_each(|seats| seats.leaves(id));
                heard.events.push(Event::Left(id));
            }
            Said::HalfInitialised => {
                heard.facts.push(half_initialised(id));
                heard.events.push(Event::Unfit(id));
            }
            Said::User(json) => self.message(id, &json, heard),
            // Its descriptor closes here: nobody in the primary has asked for it.
            Said::UserHandle { json, .. } => heard.facts.push(message_fact(id, &json)),
            Said::Garbage { .. } if worker.node.told_garbage => {}
            Said::Garbage { bytes } => {
                worker.node.told_garbage = true;
                heard.facts.push(garbage(id, bytes));
            }
            Said::Here => heard.events.extend(self.show_life(id, heard.at.now)),
            // The channel keeps count of these itself.
            Said::HandleAcked { .. } | Said::HandleRefused { .. } => {}
            Said::Accepted { .. } => {
                self.handoff.iter_mut().for_each(|handoff| handoff.accepted(id, heard.at.now));
            }
            Said::Returned { connection, fault } => {
                if let Some(handoff) = &mut self.handoff {
                    handoff.returned(id, connection, fault, heard.at.now);
                }
            }
        }
    }

    /// A worker has closed its server. Whatever becomes of the listener: this one accepts nothing there any more.
    fn stop_filling(&mut self, id: WorkerId, worker: &Worker, key: &str, now: Time) {
        let Some(number) = self.table.number_of(key) else { return };
        if let Some(handoff) = &mut self.handoff {
            handoff.part(id, number);
        }
        let stays = worker.node.state != ChannelState::Draining && self.table.holds(worker.unique_id, key);
        if let Some(seats) = self.seats.as_mut().filter(|_| stays) {
            seats.shut(id, number, &mut self.table, now);
        }
    }

    fn answer(
        &mut self,
        id: WorkerId,
        worker: &mut Worker,
        query: &Query,
        reactor: &mut Reactor,
        heard: &mut Heard,
    ) {
        // It listens again on what it has just closed: then it has not left.
        self.let_go(reactor, |closing| closing.worker == worker.unique_id);
        self.make_room();
        let shared = self.table.listeners().count();
        let answer = match &mut self.seats {
            None => self.table.answer(worker.unique_id, query),
            Some(seats) => {
                let choose = |number, queues: &mut Queues| seats.choose(id, number, queues);
                self.table.answer_queued((worker.unique_id, id.slot.0), query, choose)
            }
        };
        let seats = self.seats.is_some();
        let own =
            (seats && answer.fd.is_some() && answer.kind == Kind::Stream).then(|| answer.key.parse().ok());
        let handed = answer.handed.or(own.flatten());
        if self.seats.is_some() && answer.errno == -Errno::OPNOTSUPP.raw_os_error() {
            heard.facts.push(no_queues(id, query));
        }
        let sent = worker.node.endpoint.as_mut().map(|endpoint| endpoint.answer(query, answer));
        // An end that is closed is heard next.
        if let Some(Err(error)) = sent.filter(|sent| !matches!(sent, Err(SendError::Closed))) {
            heard.facts.push(broken(id, &error.to_string()));
            return self.hang_up_node(id, worker, reactor, heard);
        }
        if let (Some(number), Some(handoff)) = (handed, &mut self.handoff) {
            handoff.join(id, number, Via::Node);
        }
        if let Some(seats) = &mut self.seats {
            seats.seated(id, &mut self.table);
        }
        if self.seats.is_some() && self.table.listeners().count() > shared {
            heard.facts.push(shared_all_the_same(id, query));
        }
        let evicted = self.table.take_evicted();
        self.unwatch(evicted, reactor);
    }

    /// A node speaks; where one spoke before, this one has taken its place (`sh -c 'node a.js; node b.js'`).
    fn come_online(&mut self, id: WorkerId, worker: &mut Worker, pid: Option<u32>) {
        if worker.node.state == ChannelState::Silent {
            worker.node.state = ChannelState::Online;
        } else {
            self.table.gone(worker.unique_id, Fate::Keep);
            self.reclaim(id, worker);
        }
        worker.node.spoke = true;
        worker.speaker = pid.and_then(|pid| Speaker::of_group(pid, &worker.process));
    }

    fn message(&self, id: WorkerId, json: &str, heard: &mut Heard) {
        if json == "\"ready\"" && self.ready.believes(ReadyWord::Message) {
            heard.events.push(Event::Ready(id));
        }
        heard.facts.push(message_fact(id, json));
    }

    /// Lets go what was closed and not taken up again, and what was left and not asked for: only of this somebody has to know.
    pub(super) fn let_go_in_time(&mut self, reactor: &mut Reactor, now: Time) -> Vec<Fact> {
        self.let_go(reactor, |closing| closing.at <= now);
        let is_over = |orphan: &mut Orphan| orphan.until.is_some_and(|until| until <= now);
        let over: Vec<Orphan> = self.node.orphans.extract_if(.., is_over).collect();
        let closed: Vec<_> = over.iter().flat_map(|orphan| self.table.release(orphan.worker)).collect();
        let facts = closed.iter().filter_map(told).collect();
        self.unwatch(closed, reactor);
        facts
    }

    fn let_go(&mut self, reactor: &mut Reactor, which: impl Fn(&Closing) -> bool) {
        let over: Vec<Closing> = self.node.closing.extract_if(.., |closing| which(closing)).collect();
        for closing in over {
            let closed = self.table.closed(closing.worker, &closing.key);
            self.unwatch(closed, reactor);
        }
    }

    fn reclaim(&mut self, id: WorkerId, worker: &mut Worker) {
        if let Some(handoff) = &mut self.handoff {
            let left = worker.node.endpoint.as_mut().map(Endpoint::reclaim);
            handoff.hang_up(id, Via::Node);
            handoff.take_back(left.into_iter().flatten());
        }
    }

    fn hang_up_node(&mut self, id: WorkerId, worker: &mut Worker, reactor: &mut Reactor, heard: &mut Heard) {
        if worker.node.state == ChannelState::Draining {
            heard.events.push(Event::Drained(id));
        }
        self.close_node(id, worker, reactor);
    }

    /// Whatever was under way goes to others.
    pub(super) fn close_node(&mut self, id: WorkerId, worker: &mut Worker, reactor: &mut Reactor) {
        self.reclaim(id, worker);
        worker.node.state = ChannelState::Closed;
        if let (Some(endpoint), Some(watch)) = (worker.node.endpoint.take(), worker.node.watch.take()) {
            reactor.deregister(&endpoint, watch);
        }
    }

    /// Tells a worker to leave, now or when it has settled. Says whether that is possible.
    pub(super) fn disconnect(&mut self, id: WorkerId, worker: &mut Worker, now: Time) -> bool {
        let is_busy = self.handoff.as_mut().is_some_and(|handoff| handoff.see_off(id, now));
        is_busy || worker.node.endpoint.as_mut().is_some_and(|endpoint| endpoint.disconnect().is_ok())
    }
}

/// Gives a worker one connection, or gives it back.
pub(super) fn give(worker: &mut Worker, key: &str, connection: Connection) -> Result<(), Connection> {
    let Some(endpoint) = &mut worker.node.endpoint else { return Err(connection) };
    endpoint.hand_over(key, connection).map(|_seq| ()).map_err(|(_, connection)| connection)
}

fn listening_fact(id: WorkerId, address: String) -> Fact {
    Fact::Listening { slot: id.slot.0, incarnation: id.incarnation, address }
}

fn no_queues(id: WorkerId, query: &Query) -> Fact {
    let detail = format!(
        "slot={} wants to listen on {}, which cannot have a queue for each worker: refused (ENOTSUP)",
        id.slot,
        query.describe()
    );
    Fact::Warning { detail, hint: Some("clustr run --share shared -- COMMAND".into()) }
}

fn shared_all_the_same(id: WorkerId, query: &Query) -> Fact {
    let detail = format!(
        "slot={} listens on {}, which cannot have a queue for each worker: all share it, and a worker gets connections there \
         from its first accept on, ready or not",
        id.slot,
        query.describe()
    );
    Fact::Warning { detail, hint: Some("clustr run --share handoff -- COMMAND".into()) }
}

fn broken(id: WorkerId, why: &str) -> Fact {
    let detail =
        format!("slot={} node's channel is closed, what came over it makes no sense: {why}", id.slot);
    Fact::Warning { detail, hint: None }
}

fn half_initialised(id: WorkerId) -> Fact {
    let detail = format!(
        "slot={} runs node without a script file (node -e, -p, or a script on standard input): such a node never \
         takes part in a cluster",
        id.slot
    );
    Fact::Warning { detail, hint: Some("save it as a file: clustr run -- node app.js".into()) }
}

fn garbage(id: WorkerId, bytes: usize) -> Fact {
    let detail = format!(
        "slot={} wrote {bytes} bytes on node's channel that are no message: dropped, as will be others",
        id.slot
    );
    Fact::Warning { detail, hint: None }
}
