//! What control clients and handles ask, answered.
//!
//! Owns the meaning of every [`Ask`]. Never changes anything itself: wishes go to the core, which answers by ticket.

use clustr_core::{Command, EndReason, Event, SlotView, Target, Ticket, WorkerId};
use clustr_net::handoff::SendError;

use crate::clock::millis;
use crate::control::protocol::{Ask, Progress, Reply, Request, Status};
use crate::sharing::Sharing;
use crate::status::{AppFacts, app_status};
use crate::supervisor::Supervisor;

/// Who asks, and is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Asker {
    /// A client of the control socket.
    Client(u64),
    /// A handle in this process, by the number of its call.
    Handle(u64),
}

impl Supervisor {
    /// A client has something to say, or room for more.
    pub(crate) fn hear_client(&mut self, client: u64) {
        self.sharing.make_room();
        let Some(control) = &mut self.control else { return };
        for request in control.hear(client, &mut self.reactor) {
            self.answer(Asker::Client(client), request);
        }
    }

    /// The one meaning of a request, whoever asks.
    pub(crate) fn answer(&mut self, asker: Asker, request: Request) {
        let id = request.id;
        match request.ask {
            Ask::Status => {
                let status = Some(self.status());
                self.reply(asker, Reply { status, ..Reply::granted(id, Progress::Done) });
            }
            Ask::Subscribe => {
                self.reply(asker, Reply::granted(id, Progress::Done));
                self.subscribe(asker, id);
            }
            Ask::Scale { to: Some(to), by: None } => self.ask(asker, id, Command::Scale(Target::To(to))),
            Ask::Scale { to: None, by: Some(by) } => self.ask(asker, id, Command::Scale(Target::By(by))),
            Ask::Scale { .. } => {
                let hint = Some("{\"id\":1,\"cmd\":\"scale\",\"to\":4}");
                let detail = "scale takes exactly one of \"to\" and \"by\"".into();
                self.reply(asker, Reply::refused(id, "bad-request", detail, hint));
            }
            Ask::Send { message, slot } => {
                let reply = match self.send(&message, slot) {
                    Ok(()) => Reply::granted(id, Progress::Done),
                    Err((refusal, detail)) => Reply::refused(id, refusal, detail, None),
                };
                self.reply(asker, reply);
            }
            Ask::Stop { now: false } => self.ask(asker, id, Command::Stop(EndReason::Asked)),
            Ask::Stop { now: true } => self.ask(asker, id, Command::Stop(EndReason::AtOnce)),
        }
    }

    fn ask(&mut self, asker: Asker, request: u64, command: Command) {
        let ticket = match asker {
            Asker::Client(client) => {
                self.control.as_mut().and_then(|control| control.ticket(client, request))
            }
            // Its number was chosen so that it is one; the desk has seen to it that they do not become too many.
            Asker::Handle(call) => Some(Ticket(call)),
        };
        match ticket {
            Some(ticket) => self.inbox.push_back(Event::Asked(ticket, command)),
            None => {
                let detail = "too many requests of this client are still unanswered".into();
                self.reply(asker, Reply::refused(request, "busy", detail, None));
            }
        }
    }

    /// Sends a message to one worker or to all; or says by which name that is refused, and why.
    fn send(&mut self, message: &str, slot: Option<u32>) -> Result<(), (&'static str, String)> {
        let meant = |id: &WorkerId| slot.is_none_or(|slot| id.slot.0 == slot);
        let workers = self.workers.iter_mut().filter(|(id, _)| meant(id));
        let sent: Vec<Result<(), SendError>> =
            workers.map(|(_, worker)| Sharing::send(worker, message)).collect();
        if let Some(error) = sent.iter().find_map(|sent| sent.as_ref().err().filter(|error| blames(error))) {
            return Err((refusal(error), error.to_string()));
        }
        if sent.iter().any(Result::is_ok) {
            return Ok(());
        }
        Err(("no-channel", "no such worker is there that has clustr's channel".into()))
    }

    fn reply(&mut self, asker: Asker, reply: Reply) {
        match (asker, &mut self.control, &mut self.desk) {
            (Asker::Client(client), Some(control), _) => control.reply(client, &reply),
            (Asker::Handle(call), _, Some(desk)) => desk.reply(call, reply),
            (Asker::Client(_), None, _) | (Asker::Handle(_), _, None) => {}
        }
    }

    /// News as lines; a handle has events instead.
    fn subscribe(&mut self, asker: Asker, request: u64) {
        if let (Asker::Client(client), Some(control)) = (asker, &mut self.control) {
            control.subscribe(client, request);
        }
    }

    fn status(&self) -> Status {
        let facts = AppFacts {
            name: &self.name,
            command: self.program.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            addresses: self.sharing.addresses(),
            share: self.sharing.name(),
            delivery: self.sharing.deliveries(),
        };
        let pid = |slot: &SlotView| Some(self.workers.get(&slot.worker?)?.process.id());
        Status {
            version: 1,
            name: self.name.clone(),
            pid: std::process::id(),
            state: self.app.view().state.name().into(),
            uptime_ms: millis(self.now.since(self.started_at)),
            clustr: env!("CARGO_PKG_VERSION").into(),
            apps: vec![app_status(&self.app, facts, self.now, pid)],
        }
    }
}

/// Whether a message that was not sent is somebody's fault; a worker without a channel is not there to be told.
const fn blames(error: &SendError) -> bool {
    !matches!(error, SendError::Closed)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what may come to it is a channel that does not work")]
const fn refusal(error: &SendError) -> &'static str {
    match error {
        SendError::Full => "busy",
        SendError::TooLong => "message-too-long",
        _ => "no-channel",
    }
}
