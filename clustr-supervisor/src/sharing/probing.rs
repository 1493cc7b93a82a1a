//! How a question reaches the one worker that it is about.
//!
//! Owns the choice of the way. Never asks; the connection is `probe`'s. Called by `probe`, before each question.
//!
//! | the worker | the way |
//! |---|---|
//! | listens over node's channel, in any sharing | `newconn`, with one end of a connection of our own |
//! | is, or may be, handed connections over clustr's channel | the same there |
//! | has a queue of its own | from a source port that the kernel's program sends to that queue, filled or not |
//! | accepts from a queue that all share | none: anybody might answer |

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use clustr_core::{Time, WorkerId};
use clustr_net::handoff::{Family, Handover};
use clustr_net::node::SendError;
use clustr_net::queue::Queues;
use clustr_net::steer::ProbePorts;
use clustr_net::{Addr, Kind};

use super::Sharing;
use super::channel::credits;
use super::queues::Seats;
use crate::config::Config;
use crate::error::ListenError;
use crate::probe::Given;
use crate::worker::{ChannelState, Worker};

/// As many source ports as there may be queues, while that many are free: of two generations of so many workers.
const PORTS: [u16; 3] = [2048, 256, 32];

/// How a worker is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// By a connection from a certain source port.
    From {
        /// To where.
        to: SocketAddr,
        /// From which port of the loopback address.
        port: u16,
    },
    /// By giving it one end of a connection of this kind.
    Given(Family),
}

/// Why a worker cannot be asked now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Obstacle {
    /// It does not listen where it could be reached: that says something of it.
    Theirs(&'static str),
    /// This says nothing of it.
    Ours(&'static str),
}

/// Source ports that no client gets by chance; `None` where the ephemeral range leaves none: ip(7).
pub(super) fn ports() -> Option<ProbePorts> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = text.split_ascii_whitespace().map(str::parse);
    let range = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    PORTS.into_iter().find_map(|count| ProbePorts::outside(range, count))
}

/// The same where workers shall be asked that way.
pub(super) fn ports_for(config: &Config) -> Result<Option<ProbePorts>, ListenError> {
    match config.http_probe() {
        // A node is handed a connection.
        Some(_) if config.listen.is_empty() => Ok(ports()),
        Some(probe) => ports().map(Some).ok_or_else(|| ListenError::NoProbePorts(probe.clone())),
        None => Ok(None),
    }
}

impl Sharing {
    /// How a worker is asked, and under which name; or why it cannot be asked now.
    pub(crate) fn way(&self, id: WorkerId, worker: &Worker) -> Result<(Way, String), Obstacle> {
        if let Some((_, addr)) = self.node_stream(worker) {
            return Ok((Way::Given(family(addr)), host(addr)));
        }
        if let Some(addr) = self.channel_stream(worker) {
            return Ok((Way::Given(family(addr)), host(addr)));
        }
        match &self.seats {
            Some(seats) => self.way_by_queue(seats, id),
            None if self.hands_over => Err(Obstacle::Theirs("it takes no connections that are handed over")),
            None => Err(Obstacle::Theirs("it does not listen over node's channel")),
        }
    }

    fn node_stream(&self, worker: &Worker) -> Option<(&str, &Addr)> {
        let speaks = worker.node.state == ChannelState::Online && worker.node.endpoint.is_some();
        speaks.then(|| self.table.first_stream_of(worker.unique_id)).flatten()
    }

    /// The first listener whose connections a worker takes over clustr's channel: where it accepts for itself, too, it may be
    /// given some.
    fn channel_stream(&self, worker: &Worker) -> Option<&Addr> {
        let channel = worker.channel.as_ref().filter(|channel| channel.state == ChannelState::Online)?;
        let is_given = self.handoff.is_some() && channel.sender.is_some();
        let number = self.given.numbers().next().filter(|_| is_given)?;
        let own = || self.table.listener(number).map(|(listener, _)| listener.local_addr());
        own().or_else(|| self.table.queues(number).map(Queues::addr))
    }

    fn way_by_queue(&self, seats: &Seats, id: WorkerId) -> Result<(Way, String), Obstacle> {
        let own = |number| Some((self.table.queues(number)?, seats.of(id, number)?));
        let mut queues = self.table.numbers().filter_map(own);
        let (queues, queue) = queues
            .find(|(queues, _)| queues.kind() == Kind::Stream)
            .ok_or(Obstacle::Theirs("it has no queue for connections"))?;
        let doubt = Obstacle::Ours("which queue is its own is in doubt, a stranger is on the port");
        let port = queues.probe_port(queue).ok_or(doubt)?;
        let to = queues.addr().socket_addr().ok_or(doubt)?;
        Ok((Way::From { to, port }, host(queues.addr())))
    }

    /// Gives a worker one end of a connection of our own.
    pub(crate) fn give_probe(
        &mut self,
        id: WorkerId,
        worker: &mut Worker,
        theirs: OwnedFd,
        now: Time,
    ) -> Given {
        let key = self.node_stream(worker).map(|(key, _)| key.to_owned());
        if let (Some(key), Some(endpoint)) = (key, &mut worker.node.endpoint) {
            return match endpoint.probe(&key, theirs) {
                Ok(()) => Given::Taken,
                Err(SendError::Full) => Given::Never("it takes no connections"),
                Err(_) => Given::Never("node's channel is closed"),
            };
        }
        let Some(channel) = &mut worker.channel else { return Given::Never("it has no channel") };
        let Some(sender) = &mut channel.sender else { return Given::Never("its channel is closed") };
        match sender.offer_probe(Handover { fd: theirs, listener: 0 }) {
            Ok(()) => {
                channel.offered = true;
                let credits = credits(sender);
                self.handoff.iter_mut().for_each(|handoff| handoff.grant(id, credits, now));
                Given::Taken
            }
            Err(back) => Given::Later(back.fd),
        }
    }
}

const fn family(addr: &Addr) -> Family {
    match addr {
        Addr::Unix(_) | Addr::Abstract(_) => Family::Unix,
        Addr::Tcp { .. } | Addr::Udp { .. } | Addr::Fd(_) => Family::Tcp,
    }
}

/// What is asked for as `Host`.
fn host(addr: &Addr) -> String {
    match addr.socket_addr() {
        Some(at) if at.ip().is_unspecified() => format!("localhost:{}", at.port()),
        Some(at) => at.to_string(),
        None => "localhost".into(),
    }
}
