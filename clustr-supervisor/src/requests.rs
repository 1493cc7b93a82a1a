//! What control clients ask, answered.
//!
//! Owns the meaning of every [`Ask`]. Never changes anything itself: wishes go to the core, which answers by ticket.

use clustr_core::{Command, EndReason, Event, SlotView, Target};

use crate::clock::millis;
use crate::control::protocol::{Ask, Progress, Reply, Request, Status};
use crate::status::{AppFacts, app_status};
use crate::supervisor::Supervisor;

impl Supervisor {
    /// A client has something to say, or room for more.
    pub(crate) fn hear_client(&mut self, client: u64) {
        self.sharing.make_room();
        let Some(control) = &mut self.control else { return };
        for request in control.hear(client, &mut self.reactor) {
            self.answer(client, request);
        }
    }

    fn answer(&mut self, client: u64, request: Request) {
        let id = request.id;
        match request.ask {
            Ask::Status => {
                let status = Some(self.status());
                self.reply(client, &Reply { status, ..Reply::granted(id, Progress::Done) });
            }
            Ask::Subscribe => {
                self.reply(client, &Reply::granted(id, Progress::Done));
                if let Some(control) = &mut self.control {
                    control.subscribe(client, id);
                }
            }
            Ask::Scale { to: Some(to), by: None } => self.ask(client, id, Command::Scale(Target::To(to))),
            Ask::Scale { to: None, by: Some(by) } => self.ask(client, id, Command::Scale(Target::By(by))),
            Ask::Scale { .. } => {
                let hint = Some("{\"id\":1,\"cmd\":\"scale\",\"to\":4}");
                let detail = "scale takes exactly one of \"to\" and \"by\"".into();
                self.reply(client, &Reply::refused(id, "bad-request", detail, hint));
            }
            Ask::Stop { now: false } => self.ask(client, id, Command::Stop(EndReason::Asked)),
            Ask::Stop { now: true } => self.ask(client, id, Command::Stop(EndReason::AtOnce)),
        }
    }

    fn ask(&mut self, client: u64, request: u64, command: Command) {
        let Some(control) = &mut self.control else { return };
        match control.ticket(client, request) {
            Some(ticket) => self.inbox.push_back(Event::Asked(ticket, command)),
            None => {
                let detail = "too many requests of this client are still unanswered".into();
                control.reply(client, &Reply::refused(request, "busy", detail, None));
            }
        }
    }

    fn reply(&mut self, client: u64, reply: &Reply) {
        if let Some(control) = &mut self.control {
            control.reply(client, reply);
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
