//! Whoever else is on a port, as they are named in news and in the status.
//!
//! Owns who was seen, and of whom was told when. Never decides when it is looked, and keeps nobody away. Called by the queues
//! at the end of a turn, and when somebody asks for the status.

use std::collections::BTreeMap;
use std::time::Duration;

use clustr_core::Time;
use clustr_net::Addr;
use clustr_net::node::Table;
use clustr_net::queue::Queues;
use clustr_net::sock_diag::{self, Listening};

use super::Seats;
use crate::control::protocol::StrangerStatus;
use crate::news::Fact;

/// How long a process has to be away from a port until it is told of again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Bound: strangers that are kept and named; more of them change nothing.
const STRANGERS_MAX: usize = 256;

/// Who was seen at the last look, and of whom was told.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// By inode.
    seen: BTreeMap<u64, Stranger>,
    /// When each was seen last, by port, process and what it gets: one process is told once, however many sockets it opens.
    told: BTreeMap<(u64, Option<u32>, bool), Time>,
}

#[derive(Clone, Debug)]
struct Stranger {
    number: u64,
    pid: Option<u32>,
    address: String,
    takes_clients: bool,
}

impl Seats {
    /// Names whoever has joined a port, or is beside it.
    pub(crate) fn look_for_strangers(&mut self, table: &mut Table, now: Time) {
        let mut here = BTreeMap::new();
        let all: Vec<(u64, Listening, bool)> =
            table.ports().flat_map(|(number, queues)| found(number, queues)).collect();
        for (number, socket, takes_clients) in all {
            // A worker may have two ports of one number, on different addresses: both are ours.
            let is_ours = table.ports().any(|(_, queues)| queues.owns(socket.inode));
            if is_ours || here.len() >= STRANGERS_MAX {
                continue;
            }
            let known = self
                .strangers
                .seen
                .remove(&socket.inode)
                .filter(|known| known.takes_clients == takes_clients);
            let is_new = known.is_none();
            let stranger = known.unwrap_or_else(|| Stranger::new(number, &socket, takes_clients, table));
            if self.strangers.is_worth_telling(&stranger, now) && is_new {
                self.facts.push(stranger.fact());
            }
            here.insert(socket.inode, stranger);
        }
        self.strangers.seen = here;
        self.strangers.told.retain(|_, seen_at| now.since(*seen_at) < FORGOTTEN_AFTER);
    }

    /// Those on one port, as they were seen at the last look.
    pub(crate) fn strangers_on(&self, number: u64) -> Vec<StrangerStatus> {
        let there = self.strangers.seen.values().filter(|stranger| stranger.number == number);
        let mut said: Vec<StrangerStatus> = there.map(Stranger::status).collect();
        said.sort_by(|one, other| (one.pid, &one.address).cmp(&(other.pid, &other.address)));
        said.dedup();
        said
    }
}

impl Strangers {
    fn is_worth_telling(&mut self, stranger: &Stranger, now: Time) -> bool {
        let key = (stranger.number, stranger.pid, stranger.takes_clients);
        let has_room = self.told.len() < STRANGERS_MAX || self.told.contains_key(&key);
        has_room && self.told.insert(key, now).is_none()
    }
}

impl Stranger {
    fn new(number: u64, socket: &Listening, takes_clients: bool, table: &Table) -> Self {
        let scheme = match table.queues(number).map(Queues::addr) {
            Some(Addr::Udp { .. }) => "udp:",
            Some(Addr::Tcp { .. } | Addr::Unix(_) | Addr::Abstract(_) | Addr::Fd(_)) | None => "",
        };
        let address = format!("{scheme}{}", socket.addr);
        Self { number, pid: sock_diag::owner(socket.inode), address, takes_clients }
    }

    fn fact(&self) -> Fact {
        let who = self.pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
        let address = &self.address;
        if self.takes_clients {
            let detail = format!(
                "{who} listens on {address} too: clients that come to that address are its own, no worker sees them"
            );
            let hint =
                "end it, or give it another port: the kernel lets in whoever has our uid and SO_REUSEPORT";
            return Fact::Warning { detail, hint: Some(hint.into()) };
        }
        let detail = format!("{who} listens on {address} as well, by SO_REUSEPORT: it gets no connections");
        Fact::Warning { detail, hint: None }
    }

    fn status(&self) -> StrangerStatus {
        let Self { pid, address, takes_clients, .. } = self.clone();
        StrangerStatus { pid, address, takes_clients }
    }
}

/// Who is in the group of a port, and who is beside it. Without sock_diag there are no strangers that anybody could see.
fn found(number: u64, queues: &mut Queues) -> Vec<(u64, Listening, bool)> {
    let within = queues.look().unwrap_or_default().into_iter().map(|socket| (number, socket, false));
    let beside = queues.neighbours().unwrap_or_default().into_iter().map(|socket| (number, socket, true));
    within.chain(beside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_once_while_it_is_there_and_again_when_it_has_been_away() {
        let mut strangers = Strangers::default();
        let stranger = Stranger { number: 1, pid: Some(7), address: String::new(), takes_clients: true };
        let mut tells = |seconds: u64| {
            let now = Time::ZERO + Duration::from_secs(seconds);
            let is_news = strangers.is_worth_telling(&stranger, now);
            strangers.told.retain(|_, seen_at| now.since(*seen_at) < FORGOTTEN_AFTER);
            is_news
        };
        assert!(tells(1) && !tells(30) && !tells(80) && !tells(1000), "nobody has looked meanwhile");
        strangers
            .told
            .retain(|_, seen_at| (Time::ZERO + Duration::from_secs(1061)).since(*seen_at) < FORGOTTEN_AFTER);
        assert!(strangers.told.is_empty());
    }
}
