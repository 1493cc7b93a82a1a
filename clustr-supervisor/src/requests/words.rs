//! Words for workers: signals and messages, to one slot or to all.
//!
//! Owns whom a word is for, over which way it goes, and by which name it is refused. Never changes a worker's life: what a
//! program makes of a signal is an exit like any other. Called by `requests`.

use clustr_core::WorkerId;
use clustr_net::{handoff, node};

use crate::app::App;
use crate::control::protocol::{Progress, Reply};
use crate::sharing::{SendFault, Sharing};
use crate::signals;

/// By which name something is refused, and why.
type Refused = (&'static str, String);

impl App {
    /// Sends a signal to the process that listens, of one worker or of all.
    pub(super) fn signal(&self, id: u64, signal: &str, slot: Option<u32>) -> Reply {
        let Some(signal) = signals::named(signal) else {
            let hint = Some("{\"id\":1,\"cmd\":\"signal\",\"signal\":\"USR2\"}");
            return Reply::refused(id, "bad-request", format!("there is no signal '{signal}'"), hint);
        };
        let told = self.workers.iter().filter(|(worker, _)| is_meant(**worker, slot));
        let told = told.map(|(_, worker)| worker.terminate(signal)).count();
        if told > 0 {
            return Reply::granted(id, Progress::Done);
        }
        let (refusal, detail) = self.nobody(slot);
        Reply::refused(id, refusal, detail, Some("clustr status"))
    }

    /// Sends a message to one worker or to all.
    pub(super) fn send(&mut self, id: u64, message: &str, slot: Option<u32>) -> Reply {
        match self.try_send(message, slot) {
            Ok(()) => Reply::granted(id, Progress::Done),
            Err((refusal, detail)) => Reply::refused(id, refusal, detail, None),
        }
    }

    /// One that was not sent is somebody's fault, or the worker takes no messages: that is refused if nobody does.
    fn try_send(&mut self, message: &str, slot: Option<u32>) -> Result<(), Refused> {
        let workers = self.workers.iter_mut().filter(|(worker, _)| is_meant(**worker, slot));
        let sent: Vec<Result<(), SendFault>> =
            workers.map(|(_, worker)| Sharing::send(worker, message)).collect();
        let blamed =
            |fault: &SendFault| (refusal(fault) != NO_CHANNEL).then(|| (refusal(fault), fault.to_string()));
        if let Some(blamed) = sent.iter().find_map(|sent| sent.as_ref().err().and_then(blamed)) {
            return Err(blamed);
        }
        if sent.iter().any(Result::is_ok) {
            return Ok(());
        }
        if sent.is_empty() {
            return Err(self.nobody(slot));
        }
        Err((NO_CHANNEL, "no such worker is there that has clustr's channel or node's".into()))
    }

    /// There is no such slot, or there is nobody in it, or nowhere.
    fn nobody(&self, slot: Option<u32>) -> Refused {
        match slot {
            Some(slot) if !self.has_slot(slot) => ("no-such-slot", "there is no such slot".into()),
            Some(slot) => ("no-worker", format!("there is no worker in slot {slot} now")),
            None => ("no-worker", "there is no worker now".into()),
        }
    }
}

const NO_CHANNEL: &str = "no-channel";

fn is_meant(worker: WorkerId, slot: Option<u32>) -> bool {
    slot.is_none_or(|slot| worker.slot.0 == slot)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what may come to them is a channel that does not work")]
const fn refusal(fault: &SendFault) -> &'static str {
    match fault {
        SendFault::Channel(handoff::SendError::Full) | SendFault::Node(node::SendError::Full) => "busy",
        SendFault::Channel(handoff::SendError::TooLong) => "message-too-long",
        SendFault::Node(node::SendError::Reserved) => "reserved-message",
        _ => NO_CHANNEL,
    }
}
