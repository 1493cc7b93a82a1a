//! Node's cluster protocol: a worker asks for a listener, and gets a duplicate of ours, or its connections.
//!
//! Owns the table of listeners and the meaning of what workers say; the bytes are `clustr_net::node`'s. Never touches
//! a worker's life: what it hears becomes events and facts for the supervisor. Which worker gets a connection is
//! `handoff`'s to say.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use clustr_core::{Event, SlotId, Time, WorkerId};
use clustr_net::node::{Closed, Endpoint, Fate, Progress, Query, Said, SendError, Table};
use clustr_net::{Balance, Connection};

use super::handoff::Handoff;
use crate::config::{ReadyWhen, Share};
use crate::news::Fact;
use crate::process::Speaker;
use crate::reactor::Reactor;
use crate::worker::{ChannelState, Worker};

/// How many messages one worker brings in one turn.
const TURN_MESSAGES_MAX: usize = 64;

/// The longest message that is shown to observers, in bytes.
const SHOWN_BYTES_MAX: usize = 1024;

/// What a worker's words come to.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) events: Vec<Event>,
    pub(crate) facts: Vec<Fact>,
    /// There may be more to read.
    pub(crate) more: bool,
    /// The channel, if it came to its end: to be unwatched and closed.
    pub(crate) over: Option<Endpoint>,
    ending: bool,
    now: Time,
}

#[derive(Debug)]
pub(crate) struct NodeSharing {
    table: Table,
    ready: ReadyWhen,
    /// `None`: every worker accepts for itself.
    handoff: Option<Handoff>,
    called_last: bool,
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

/// How long after a successor is ready it may still ask for what its predecessor had: long enough for a server that
/// is started late, and for whoever waits in the queue meanwhile.
const ORPHAN_GRACE: Duration = Duration::from_secs(10);

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

impl NodeSharing {
    pub(crate) fn new(
        share: Share,
        balance: Balance,
        inherited: Vec<(u32, OwnedFd)>,
        ready: ReadyWhen,
    ) -> Self {
        let (table, handoff) = match share {
            Share::Auto | Share::Shared => (Table::new(inherited), None),
            Share::Handoff => (Table::handing_over(inherited), Some(Handoff::new(balance))),
        };
        let (said, closing, orphans) = (Vec::new(), Vec::new(), Vec::new());
        Self { table, ready, handoff, called_last: false, said, closing, orphans }
    }

    /// The way, in the words of `clustr status`.
    pub(crate) const fn name(&self) -> &'static str {
        if self.handoff.is_some() { "handoff" } else { "shared" }
    }

    /// Reads and answers what a worker has said. `ending`: the whole app stops, so listeners may close.
    pub(crate) fn hear(
        &mut self,
        id: WorkerId,
        worker: &mut Worker,
        reactor: &mut Reactor,
        ending: bool,
        now: Time,
    ) -> Heard {
        let mut heard = Heard { ending, now, ..Heard::default() };
        let Some(endpoint) = &mut worker.channel.endpoint else { return heard };
        // What we send may wait for what the worker has not been able to read.
        let flushed = endpoint.flush();
        let mut said = std::mem::take(&mut self.said);
        let received = endpoint.receive(TURN_MESSAGES_MAX, &mut said);
        for word in said.drain(..) {
            self.understand(id, worker, word, reactor, &mut heard);
        }
        self.said = said;
        match flushed.and(received) {
            Ok(Progress::Drained) => {}
            Ok(Progress::More) => heard.more = true,
            Ok(Progress::Closed) => self.close(id, worker, &mut heard),
            Err(error) => {
                heard.facts.push(broken(id, &error.to_string()));
                self.close(id, worker, &mut heard);
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
        if let (Said::Closed { key }, Some(handoff)) = (&word, &mut self.handoff) {
            // Whatever becomes of the listener: here it accepts nothing any more.
            self.table.number_of(key).into_iter().for_each(|number| handoff.part(id, number));
        }
        match word {
            Said::Online { pid } => self.come_online(id, worker, pid),
            Said::Query(query) => self.answer(id, worker, &query, reactor, heard),
            Said::Listening { .. } => {
                let address = shortened(&word.listening_at().unwrap_or_default());
                if worker.channel.is_news(&address) {
                    heard.facts.push(listening_fact(id, address));
                }
                if self.ready != ReadyWhen::Message {
                    heard.events.push(Event::Ready(id));
                }
            }
            // A worker that we asked to drain closes its servers; its successor wants to find the listener there.
            Said::Closed { .. } if worker.channel.state == ChannelState::Draining && !heard.ending => {}
            // Nobody follows: who comes now is better refused than kept waiting.
            Said::Closed { key } if heard.ending => {
                let closed = self.table.closed(worker.unique_id, &key);
                self.unwatch(closed, reactor);
            }
            Said::Closed { key } if !self.table.holds(worker.unique_id, &key) => {}
            Said::Closed { key } => {
                self.closing.push(Closing { worker: worker.unique_id, key, at: heard.now + CLOSE_GRACE });
            }
            Said::Leaving => {
                self.closing.retain(|closing| closing.worker != worker.unique_id);
                // From here on its closed servers and its hanging up mean what they mean in a drain.
                worker.channel.state = ChannelState::Draining;
                heard.events.push(Event::Left(id));
            }
            Said::HalfInitialised => {
                heard.facts.push(half_initialised(id));
                heard.events.push(Event::Unfit(id));
            }
            Said::User(json) => self.message(id, &json, heard),
            // Its descriptor closes here: nobody in the primary has asked for it.
            Said::UserHandle { json, .. } => heard.facts.push(message_fact(id, &json)),
            Said::Garbage { .. } if worker.channel.told_garbage => {}
            Said::Garbage { bytes } => {
                worker.channel.told_garbage = true;
                heard.facts.push(garbage(id, bytes));
            }
            // The channel keeps count of these itself.
            Said::HandleAcked { .. } | Said::HandleRefused { .. } => {}
            Said::Accepted { .. } => {
                self.handoff.iter_mut().for_each(|handoff| handoff.accepted(id, heard.now));
            }
            Said::Returned { connection, fault } => {
                if let Some(handoff) = &mut self.handoff {
                    handoff.returned(id, connection, fault, heard.now);
                }
            }
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
        let answer = self.table.answer(worker.unique_id, query);
        let handed = answer.handed;
        let sent = worker.channel.endpoint.as_mut().map(|endpoint| endpoint.answer(query, answer));
        // An end that is closed is heard next.
        if let Some(Err(error)) = sent.filter(|sent| !matches!(sent, Err(SendError::Closed))) {
            heard.facts.push(broken(id, &error.to_string()));
            return self.close(id, worker, heard);
        }
        if let (Some(number), Some(handoff)) = (handed, &mut self.handoff) {
            handoff.join(id, number);
        }
        let evicted = self.table.take_evicted();
        self.unwatch(evicted, reactor);
    }

    /// A node speaks; where one spoke before, this one has taken its place (`sh -c 'node a.js; node b.js'`).
    fn come_online(&mut self, id: WorkerId, worker: &mut Worker, pid: Option<u32>) {
        if worker.channel.state == ChannelState::Silent {
            worker.channel.state = ChannelState::Online;
        } else {
            self.table.gone(worker.unique_id, Fate::Keep);
            self.reclaim(id, worker);
        }
        worker.channel.spoke = true;
        worker.speaker = pid.and_then(|pid| Speaker::of_group(pid, &worker.process));
    }

    fn message(&self, id: WorkerId, json: &str, heard: &mut Heard) {
        if json == "\"ready\"" && self.ready != ReadyWhen::Listen {
            heard.events.push(Event::Ready(id));
        }
        heard.facts.push(message_fact(id, json));
    }

    /// When to call [`NodeSharing::handle_timeout`].
    pub(crate) fn deadline(&self, now: Time) -> Option<Time> {
        let closing = self.closing.first().map(|closing| closing.at);
        let orphaned = self.orphans.iter().filter_map(|orphan| orphan.until).min();
        let handoff = self.handoff.as_ref().and_then(|handoff| handoff.deadline(now));
        [closing, orphaned, handoff].into_iter().flatten().min()
    }

    /// Lets go what was closed and not taken up again, and what was left and not asked for.
    pub(crate) fn handle_timeout(&mut self, reactor: &mut Reactor, now: Time) {
        self.let_go(reactor, |closing| closing.at <= now);
        let is_over = |orphan: &mut Orphan| orphan.until.is_some_and(|until| until <= now);
        let over: Vec<Orphan> = self.orphans.extract_if(.., is_over).collect();
        for orphan in over {
            let closed = self.table.release(orphan.worker);
            self.unwatch(closed, reactor);
        }
    }

    /// A worker can serve: what its predecessors left and it does not ask for soon, it does not want.
    pub(crate) fn ready(&mut self, slot: SlotId, now: Time) {
        for orphan in self.orphans.iter_mut().filter(|orphan| orphan.slot == slot && orphan.until.is_none()) {
            orphan.until = Some(now + ORPHAN_GRACE);
        }
    }

    fn let_go(&mut self, reactor: &mut Reactor, which: impl Fn(&Closing) -> bool) {
        let over: Vec<Closing> = self.closing.extract_if(.., |closing| which(closing)).collect();
        for closing in over {
            let closed = self.table.closed(closing.worker, &closing.key);
            self.unwatch(closed, reactor);
        }
    }

    /// A worker is gone; its listeners stay, for its successor and for whoever waits in their queues.
    pub(crate) fn gone(
        &mut self,
        id: WorkerId,
        worker: &mut Worker,
        reactor: &mut Reactor,
        comes_back: bool,
    ) {
        self.closing.retain(|closing| closing.worker != worker.unique_id);
        self.reclaim(id, worker);
        let fate = if comes_back { Fate::Keep } else { Fate::Release };
        let gone = self.table.gone(worker.unique_id, fate);
        if gone.left {
            self.orphans.push(Orphan { slot: id.slot, worker: worker.unique_id, until: None });
        }
        self.unwatch(gone.closed, reactor);
        if let Some(handoff) = &mut self.handoff {
            handoff.forget(id);
        }
    }

    /// Listeners close here, and nowhere else: they leave the reactor before their descriptors are gone.
    fn unwatch(&mut self, closed: impl IntoIterator<Item = Closed>, reactor: &mut Reactor) {
        for closed in closed {
            if let Some(handoff) = &mut self.handoff {
                handoff.close(&closed, reactor);
            }
        }
    }

    fn reclaim(&mut self, id: WorkerId, worker: &mut Worker) {
        if let Some(handoff) = &mut self.handoff {
            let left = worker.channel.endpoint.as_mut().map(Endpoint::reclaim);
            handoff.hang_up(id, left.into_iter().flatten());
        }
    }

    fn close(&mut self, id: WorkerId, worker: &mut Worker, heard: &mut Heard) {
        if worker.channel.state == ChannelState::Draining {
            heard.events.push(Event::Drained(id));
        }
        worker.channel.state = ChannelState::Closed;
        self.reclaim(id, worker);
        heard.over = worker.channel.endpoint.take();
    }

    /// From now on the worker may get connections. In `shared` it takes them from its first accept on.
    pub(crate) fn admit(&mut self, id: WorkerId) {
        if let Some(handoff) = &mut self.handoff {
            handoff.admit(id, true);
        }
    }

    /// From now on the worker gets none. In `shared` it stops when it drains. `ending`: so do all others, now.
    pub(crate) fn withhold(
        &mut self,
        id: WorkerId,
        workers: &mut BTreeMap<WorkerId, Worker>,
        ending: bool,
        now: Time,
    ) {
        let Some(handoff) = &mut self.handoff else { return };
        if ending && !self.called_last {
            self.called_last = true;
            handoff.last_call(&self.table, now, |id, key, connection| give(workers, id, key, connection));
        }
        handoff.admit(id, false);
    }

    /// A listener became readable.
    pub(crate) fn notice(&mut self, number: u64) {
        if let Some(handoff) = &mut self.handoff {
            handoff.notice(number);
        }
    }

    /// Hands over what waits and what comes. Returns how many clients were let down since the last time.
    pub(crate) fn hand_over(
        &mut self,
        workers: &mut BTreeMap<WorkerId, Worker>,
        reactor: &mut Reactor,
        now: Time,
    ) -> u64 {
        let Some(handoff) = &mut self.handoff else { return 0 };
        handoff.turn(&self.table, reactor, now, |id, key, connection| give(workers, id, key, connection));
        while let Some(id) = handoff.settled(now) {
            // One that cannot be told any more has closed its end, which shows by itself.
            let endpoint = workers.get_mut(&id).and_then(|worker| worker.channel.endpoint.as_mut());
            endpoint.map(Endpoint::disconnect);
        }
        handoff.take_lost()
    }

    /// Tells a worker to leave, now or when it has settled. Says whether that is possible.
    pub(crate) fn disconnect(&mut self, id: WorkerId, worker: &mut Worker, now: Time) -> bool {
        let is_busy = self.handoff.as_mut().is_some_and(|handoff| handoff.see_off(id, now));
        is_busy || worker.channel.endpoint.as_mut().is_some_and(|endpoint| endpoint.disconnect().is_ok())
    }

    /// At the end: how many clients still wait for a worker. There will be none.
    pub(crate) fn abandon(&mut self) -> u64 {
        let Some(handoff) = &mut self.handoff else { return 0 };
        handoff.abandon();
        handoff.take_lost()
    }

    /// Frees the descriptors that are kept for what must not fail for want of one, until the end of the turn.
    pub(crate) fn make_room(&mut self) {
        if let Some(handoff) = &mut self.handoff {
            handoff.make_room();
        }
    }

    /// What the workers listen on.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.table.listeners().map(|listener| listener.local_addr().to_string()).collect()
    }
}

fn give(
    workers: &mut BTreeMap<WorkerId, Worker>,
    id: WorkerId,
    key: &str,
    connection: Connection,
) -> Result<(), Connection> {
    let endpoint = workers.get_mut(&id).and_then(|worker| worker.channel.endpoint.as_mut());
    let Some(endpoint) = endpoint else { return Err(connection) };
    endpoint.hand_over(key, connection).map(|_seq| ()).map_err(|(_, connection)| connection)
}

fn listening_fact(id: WorkerId, address: String) -> Fact {
    Fact::Listening { slot: id.slot.0, incarnation: id.incarnation, address }
}

fn message_fact(id: WorkerId, json: &str) -> Fact {
    Fact::Message { slot: id.slot.0, incarnation: id.incarnation, json: shortened(json) }
}

/// As much of a worker's words as is shown.
fn shortened(words: &str) -> String {
    let mut end = words.len().min(SHOWN_BYTES_MAX);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    words[..end].to_owned()
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
