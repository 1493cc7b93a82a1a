//! What control clients and handles ask, answered.
//!
//! Owns the meaning of every [`Ask`]. Never changes anything itself: wishes go to the core, which answers by ticket, and
//! [`words`] to workers.

mod carried;
mod words;

use std::num::NonZeroU32;
use std::time::Duration;

use clustr_core::{Command, EndReason, Event, Plan, SlotId, Target, Ticket};

use crate::control::protocol::{Ask, Batches, Progress, Reply, Request};
use crate::generations::Wish;
use crate::news::Fact;
use crate::supervisor::Supervisor;

/// For how long a batch of a reload is watched where nobody says it.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);

const SETTLE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

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
            Ask::Status { slot, connections } => {
                self.sharing.look_for_strangers(self.now);
                self.revive();
                let reply = match slot.filter(|slot| !self.has_slot(*slot)) {
                    Some(_) => Reply::refused(id, "no-such-slot", "there is no such slot".into(), None),
                    None => {
                        let status = Some(self.status(slot, connections));
                        Reply { status, ..Reply::granted(id, Progress::Done) }
                    }
                };
                self.reply(asker, reply);
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
            Ask::Signal { signal, slot } => {
                let reply = self.signal(id, &signal, slot);
                self.reply(asker, reply);
            }
            Ask::Send { message, slot } => {
                let reply = self.send(id, &message, slot);
                self.reply(asker, reply);
            }
            Ask::Reload { plan, slots, settle_ms, env, command } => {
                let wish = match carried::wish(env, command) {
                    Ok(wish) => wish,
                    Err(why) => return self.reply(asker, senseless(id, why)),
                };
                self.warn_of_canaries(plan);
                let plan = batches(plan, slots, settle_ms);
                self.ask_with(asker, id, Command::Reload(plan), Some(wish));
            }
            Ask::Difference { env, command } => {
                let serves = self.app.view().generation;
                let reply = match carried::wish(env, command) {
                    Ok(wish) => {
                        let difference = Some(self.generations.difference(wish, serves));
                        Reply { difference, ..Reply::granted(id, Progress::Done) }
                    }
                    Err(why) => senseless(id, why),
                };
                self.reply(asker, reply);
            }
            Ask::Restart { slot } => {
                self.ask(asker, id, Command::Restart(slot.map(SlotId), Plan::all(SETTLE)));
            }
            Ask::Stop { now: false } => self.ask(asker, id, Command::Stop(EndReason::Asked)),
            Ask::Stop { now: true } => self.ask(asker, id, Command::Stop(EndReason::AtOnce)),
        }
    }

    /// Whoever asks for a few new workers first may expect them to wait for the others' verdict.
    fn warn_of_canaries(&mut self, plan: Batches) {
        if plan == Batches::Canary && self.sharing.name() == "shared" {
            let detail = "all workers accept from one queue: the canary gets connections from its first accept on, beside the \
                          old workers, which serve on"
                .into();
            let hint = Some("--share per-worker, where it gets none before it is ready".into());
            self.tell(Fact::Warning { detail, hint });
        }
    }

    fn ask(&mut self, asker: Asker, request: u64, command: Command) {
        self.ask_with(asker, request, command, None);
    }

    fn ask_with(&mut self, asker: Asker, request: u64, command: Command, wish: Option<Wish>) {
        let ticket = match asker {
            Asker::Client(client) => {
                self.control.as_mut().and_then(|control| control.ticket(client, request))
            }
            // Its number was chosen so that it is one; the desk has seen to it that they do not become too many.
            Asker::Handle(call) => Some(Ticket(call)),
        };
        match ticket {
            Some(ticket) => {
                wish.into_iter().for_each(|wish| self.generations.keep(ticket, wish));
                self.inbox.push_back(Event::Asked(ticket, command));
            }
            None => {
                let detail = "too many requests of this client are still unanswered".into();
                self.reply(asker, Reply::refused(request, "busy", detail, None));
            }
        }
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
}

/// A reload, or a question about one, that carries what no process could have.
fn senseless(id: u64, why: String) -> Reply {
    Reply::refused(id, "bad-request", why, Some("{\"id\":1,\"cmd\":\"reload\",\"env\":{\"NAME\":\"value\"}}"))
}

/// A plan in the core's words. Bound: nothing is watched for longer than a day.
fn batches(plan: Batches, slots: Option<u32>, settle_ms: Option<u64>) -> Plan {
    let settle = settle_ms.map_or(SETTLE, Duration::from_millis).min(SETTLE_MAX);
    let slots = slots.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
    match plan {
        Batches::All => Plan::all(settle),
        Batches::Canary => Plan::canary(slots, settle),
        Batches::Rolling => Plan::rolling(slots, settle),
    }
}
