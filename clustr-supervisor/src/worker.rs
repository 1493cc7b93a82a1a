//! What the shell holds of one worker: its process, its channel, and what it has said.
//!
//! Owns the descriptors. Never decides; every fact goes to the core.

use std::collections::BTreeSet;

use clustr_core::Generation;
use clustr_net::handoff::Sender;
use clustr_net::node::Endpoint;
use nix::sys::signal::Signal;

use crate::process::{Brood, Process, Speaker};
use crate::reactor::Registration;

/// How many places one worker may announce.
const ADDRESSES_TOLD_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) process: Process,
    pub(crate) generation: Generation,
    /// Its number on node's channel; never used twice in a primary's life.
    pub(crate) unique_id: u64,
    pub(crate) exit_watch: Registration,
    /// Where its own calls are heard, while they are.
    pub(crate) calls: Option<Registration>,
    pub(crate) node: NodeChannel,
    /// `None` where it was given none.
    pub(crate) channel: Option<Channel>,
    /// The process that speaks on the channel, if it is not the leader itself.
    pub(crate) speaker: Option<Speaker>,
    /// What it has started, as far as that was seen.
    pub(crate) brood: Brood,
    /// It could serve, at some time.
    pub(crate) was_ready: bool,
    /// What it says that it is about: `STATUS=`, sd_notify(3).
    pub(crate) status_text: Option<String>,
}

/// clustr's own channel to one worker.
#[derive(Debug)]
pub(crate) struct Channel {
    /// Gone once the conversation is over, with all that it held.
    pub(crate) sender: Option<Sender>,
    pub(crate) watch: Registration,
    pub(crate) state: ChannelState,
    /// It was offered connections that have not been sent yet.
    pub(crate) offered: bool,
    /// It said that it takes nothing more.
    pub(crate) leaving: bool,
    /// Its last connection after that is closed, and the core knows.
    pub(crate) drained: bool,
}

impl Channel {
    pub(crate) const fn new(sender: Sender, watch: Registration) -> Self {
        let state = ChannelState::Silent;
        Self { sender: Some(sender), watch, state, offered: false, leaving: false, drained: false }
    }
}

/// Node's channel to one worker.
#[derive(Debug)]
pub(crate) struct NodeChannel {
    /// Gone once the conversation is over, with all that it held; `None`, too, where the worker was given none.
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) watch: Option<Registration>,
    pub(crate) state: ChannelState,
    /// Whether a node has ever spoken here.
    pub(crate) spoke: bool,
    /// Whether it was said once that what this worker writes is no message: a flood of it is one piece of news.
    pub(crate) told_garbage: bool,
    /// Where it said that it listens: each place is one piece of news.
    pub(crate) told_addresses: BTreeSet<String>,
}

impl NodeChannel {
    pub(crate) fn new(open: Option<(Endpoint, Registration)>) -> Self {
        let (endpoint, watch) = open.unzip();
        Self {
            endpoint,
            watch,
            state: ChannelState::Silent,
            spoke: false,
            told_garbage: false,
            told_addresses: BTreeSet::new(),
        }
    }

    /// Whether this place has not been told of yet. Bound: a worker that names ever more is not listened to.
    pub(crate) fn is_news(&mut self, address: &str) -> bool {
        self.told_addresses.len() < ADDRESSES_TOLD_MAX && self.told_addresses.insert(address.to_owned())
    }
}

/// How far the conversation has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ChannelState {
    /// Nobody has spoken yet: maybe nobody ever will, for the program is no node.
    Silent,
    /// A node is there.
    Online,
    /// It was asked to finish what is open.
    Draining,
    /// It has hung up.
    Closed,
}

impl Worker {
    /// Whether somebody speaks with us who can be asked to finish what is open.
    pub(crate) fn can_be_asked(&self) -> bool {
        let speaks = |state: ChannelState| state == ChannelState::Online;
        speaks(self.node.state) || self.channel.as_ref().is_some_and(|channel| speaks(channel.state))
    }

    /// Sends the polite signal to the process that listens: the one that spoke, else the leader.
    pub(crate) fn terminate(&self, signal: Signal) {
        let told = self.speaker.as_ref().is_some_and(|speaker| speaker.signal(signal));
        if !told {
            self.process.signal(signal);
        }
    }
}
