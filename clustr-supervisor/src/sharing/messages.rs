//! Messages to a worker's program, over whichever channel it listens on.
//!
//! Owns the choice of the way, and what a text is there: bytes on clustr's channel, a JSON value on node's. Never waits, and
//! never keeps a message that neither channel takes. Called by `requests`.

use clustr_net::{handoff, node};

use super::Sharing;
use crate::worker::{ChannelState, Worker};

/// Why a message is not on its way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendFault {
    /// clustr's channel says no.
    #[error(transparent)]
    Channel(handoff::SendError),
    /// Node's channel says no.
    #[error(transparent)]
    Node(node::SendError),
}

impl Sharing {
    /// Sends a message to a worker's program: over node's channel if a node has spoken there, which loses what comes before it
    /// listens to messages; else over clustr's, whose program need not have said anything yet.
    pub(crate) fn send(worker: &mut Worker, message: &str) -> Result<(), SendFault> {
        let node_speaks = matches!(worker.node.state, ChannelState::Online | ChannelState::Draining);
        match worker.node.endpoint.as_mut().filter(|_| node_speaks) {
            Some(endpoint) => endpoint.send_user(&as_value(message)).map_err(SendFault::Node),
            None => send_bytes(worker, message).map_err(SendFault::Channel),
        }
    }
}

fn send_bytes(worker: &mut Worker, message: &str) -> Result<(), handoff::SendError> {
    let channel = worker.channel.as_mut().and_then(|channel| channel.sender.as_mut());
    let sender = channel.ok_or(handoff::SendError::Closed)?;
    sender.send(message.as_bytes())?;
    // What cannot be sent now goes when the channel is writable; a channel that is broken says so by itself.
    let _ = sender.flush();
    Ok(())
}

/// A message as `process.on('message')` hears it: the JSON value that it is, else a string.
pub(super) fn as_value(message: &str) -> String {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(message).is_ok();
    if is_json { message.to_owned() } else { serde_json::Value::from(message).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_value_that_it_is_and_else_a_string() {
        let cases = [
            ("{\"a\":1}", "{\"a\":1}"),
            ("7", "7"),
            ("null", "null"),
            ("\"said\"", "\"said\""),
            ("good day", "\"good day\""),
            ("{a:1}", "\"{a:1}\""),
            ("", "\"\""),
            ("say \"no\"\n", "\"say \\\"no\\\"\\n\""),
        ];
        for (message, value) in cases {
            assert_eq!(as_value(message), value);
        }
    }
}
