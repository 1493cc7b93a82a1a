//! What control clients and handles ask, answered.
//!
//! Owns the meaning of every [`Ask`], and whom it is for. Never changes anything itself: wishes go to an app's core, which
//! answers by ticket, or to all apps' in a round; [`words`] go to workers.

mod carried;
mod words;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use clustr_core::{Command, EndReason, Event, Plan, SlotId, Target, Ticket, Verdict};

use crate::app::App;
use crate::control::Outcome;
use crate::control::protocol::{Ask, Batches, Progress, Reply, Request};
use crate::generations::Wish;
use crate::news::Fact;
use crate::supervisor::{Member, Supervisor};

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

/// Which apps are meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Whom {
    /// The one that was named, or the only one.
    One(usize),
    /// Of several, none was named.
    All,
}

impl Whom {
    pub(crate) const fn includes(self, app: usize) -> bool {
        match self {
            Self::One(one) => one == app,
            Self::All => true,
        }
    }
}

/// What a request is for an app.
#[derive(Debug)]
enum Meaning {
    /// Its answer is known at once.
    Answered(Box<Reply>),
    /// The core decides; a reload may carry something.
    Wish(Command, Option<Wish>),
}

impl Meaning {
    fn answered(reply: Reply) -> Self {
        Self::Answered(Box::new(reply))
    }
}

impl Supervisor {
    /// A client has something to say, or room for more.
    pub(crate) fn hear_client(&mut self, client: u64) {
        self.make_room();
        let Some(control) = &mut self.control else { return };
        for request in control.hear(client, &mut self.reactor) {
            self.answer(Asker::Client(client), request);
        }
    }

    /// The one meaning of a request, whoever asks.
    pub(crate) fn answer(&mut self, asker: Asker, request: Request) {
        let Request { id, app, ask } = request;
        let whom = match self.whom(id, app.as_deref()) {
            Ok(whom) => whom,
            Err(reply) => return self.reply(asker, *reply),
        };
        match (ask, whom) {
            (Ask::Subscribe, _) => {
                self.reply(asker, Reply::granted(id, Progress::Done));
                self.subscribe(asker, id, app);
            }
            (Ask::Status { slot, connections }, _) => {
                let reply = self.picture(id, whom, slot, connections);
                self.reply(asker, reply);
            }
            (ask, Whom::One(number)) => self.ask_one(asker, id, number, ask),
            (ask, Whom::All) => self.ask_all(asker, id, ask),
        }
    }

    fn whom(&self, id: u64, app: Option<&str>) -> Result<Whom, Box<Reply>> {
        let number = |name: &str| self.apps.iter().position(|member| member.name() == name);
        match app {
            None if self.apps.len() == 1 => Ok(Whom::One(0)),
            None => Ok(Whom::All),
            Some(name) => number(name).map(Whom::One).ok_or_else(|| {
                let detail = format!("there is no app named '{name}': here are {}", self.names());
                Box::new(Reply::refused(id, "no-such-app", detail, Some("clustr status")))
            }),
        }
    }

    fn names(&self) -> String {
        self.apps.iter().map(Member::name).collect::<Vec<_>>().join(", ")
    }

    fn picture(&mut self, id: u64, whom: Whom, slot: Option<u32>, connections: bool) -> Reply {
        let has_slot =
            |number| self.app(number).is_some_and(|app| slot.is_none_or(|slot| app.has_slot(slot)));
        match whom {
            Whom::All if slot.is_some() => return self.which_app(id),
            Whom::One(number) if slot.is_some() && !has_slot(number) => return no_such_slot(id),
            Whom::One(_) | Whom::All => {}
        }
        for app in self.here() {
            app.sharing.look_for_strangers(app.now);
            app.revive();
        }
        let status = Some(self.status(whom, slot, connections));
        Reply { status, ..Reply::granted(id, Progress::Done) }
    }

    fn which_app(&self, id: u64) -> Reply {
        let detail = format!("here are several apps, and this is for one: {}", self.names());
        Reply::refused(id, "which-app", detail, Some("--app NAME"))
    }

    fn ask_one(&mut self, asker: Asker, id: u64, number: usize, ask: Ask) {
        let is_waiting = self.order.is_waiting(number);
        let Some(app) = self.app_mut(number).filter(|_| !is_waiting) else {
            return self.ask_absent(asker, id, number, &ask);
        };
        match app.meaning(id, ask) {
            Meaning::Answered(reply) => self.reply(asker, *reply),
            Meaning::Wish(command, wish) => {
                let Some(ticket) = self.ticket(asker, id) else { return };
                if let Some(app) = self.app_mut(number) {
                    wish.into_iter().for_each(|wish| app.generations.keep(ticket, wish));
                    app.inbox.push_back(Event::Asked(ticket, command));
                }
            }
        }
    }

    /// Of an app that has not started, or has ended among others, there is nothing to wish but that it never starts.
    fn ask_absent(&mut self, asker: Asker, id: u64, number: usize, ask: &Ask) {
        let name = self.apps[number].name();
        let reply = match (ask, self.order.is_waiting(number)) {
            (Ask::Stop { .. }, true) => {
                self.order.ended(number, Verdict::Stopped);
                Reply::granted(id, Progress::Done)
            }
            (_, true) => {
                let detail = format!("app={name} waits for those that it is after");
                Reply::refused(id, "waiting", detail, Some("clustr status"))
            }
            (_, false) => Reply::refused(id, "ended", format!("app={name} has ended"), Some("clustr status")),
        };
        self.reply(asker, reply);
    }

    /// What makes sense for several apps at once: what changes none of them into something else.
    fn ask_all(&mut self, asker: Asker, id: u64, ask: Ask) {
        match ask {
            Ask::Reload { plan, slots, settle_ms, env, command } if env.is_empty() && command.is_empty() => {
                self.here().for_each(|app| app.warn_of_canaries(plan));
                self.ask_round(asker, id, Command::Reload(batches(plan, slots, settle_ms)));
            }
            Ask::Restart { slot: None } => {
                self.ask_round(asker, id, Command::Restart(None, Plan::all(SETTLE)));
            }
            Ask::Stop { now } => {
                let reason = if now { EndReason::AtOnce } else { EndReason::Asked };
                if let Some(ticket) = self.ticket(asker, id) {
                    self.stop_all(reason, ticket);
                }
            }
            Ask::Signal { slot: None, .. } | Ask::Send { slot: None, .. } => {
                let told = self.here().map(|app| app.meaning(id, ask.clone()));
                let replies = told.filter_map(|meaning| match meaning {
                    Meaning::Answered(reply) => Some(*reply),
                    Meaning::Wish(..) => None,
                });
                let reply = of_all(replies.collect(), id);
                self.reply(asker, reply);
            }
            Ask::Status { .. }
            | Ask::Subscribe
            | Ask::Scale { .. }
            | Ask::Reload { .. }
            | Ask::Difference { .. }
            | Ask::Restart { .. }
            | Ask::Signal { .. }
            | Ask::Send { .. } => {
                let reply = self.which_app(id);
                self.reply(asker, reply);
            }
        }
    }

    fn ask_round(&mut self, asker: Asker, id: u64, command: Command) {
        if let Some(ticket) = self.ticket(asker, id) {
            self.begin_round(ticket, command);
        }
    }

    /// For whoever is answered later. Whoever is owed too many answers is told so.
    fn ticket(&mut self, asker: Asker, id: u64) -> Option<Ticket> {
        let ticket = match asker {
            Asker::Client(client) => self.control.as_mut().and_then(|control| control.ticket(client, id)),
            // Its number was chosen so that it is one; the desk has seen to it that they do not become too many.
            Asker::Handle(call) => Some(Ticket(call)),
        };
        if ticket.is_none() {
            let detail = "too many requests of this client are still unanswered".into();
            self.reply(asker, Reply::refused(id, "busy", detail, None));
        }
        ticket
    }

    /// Tells whoever has this ticket, wherever that is, what it came to.
    pub(crate) fn tell_asker(&mut self, ticket: Ticket, outcome: &Outcome) {
        if let Some(control) = &mut self.control {
            control.answer(ticket, outcome);
        }
        if let Some(desk) = &mut self.desk {
            desk.answer(ticket, outcome);
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
    fn subscribe(&mut self, asker: Asker, request: u64, app: Option<String>) {
        if let (Asker::Client(client), Some(control)) = (asker, &mut self.control) {
            control.subscribe(client, request, app);
        }
    }
}

impl App {
    /// What a request is for this app; what the core is not asked for is done.
    fn meaning(&mut self, id: u64, ask: Ask) -> Meaning {
        match ask {
            Ask::Scale { to: Some(to), by: None } => Meaning::Wish(Command::Scale(Target::To(to)), None),
            Ask::Scale { to: None, by: Some(by) } => Meaning::Wish(Command::Scale(Target::By(by)), None),
            Ask::Scale { .. } => {
                let hint = Some("{\"id\":1,\"cmd\":\"scale\",\"to\":4}");
                let detail = "scale takes exactly one of \"to\" and \"by\"".into();
                Meaning::answered(Reply::refused(id, "bad-request", detail, hint))
            }
            Ask::Signal { signal, slot } => Meaning::answered(self.signal(id, &signal, slot)),
            Ask::Send { message, slot } => Meaning::answered(self.send(id, &message, slot)),
            Ask::Reload { plan, slots, settle_ms, env, command } => match carried::wish(env, command) {
                Ok(wish) => {
                    self.warn_of_canaries(plan);
                    Meaning::Wish(Command::Reload(batches(plan, slots, settle_ms)), Some(wish))
                }
                Err(why) => Meaning::answered(senseless(id, why)),
            },
            Ask::Difference { env, command } => Meaning::answered(self.difference(id, env, command)),
            Ask::Restart { slot } => {
                Meaning::Wish(Command::Restart(slot.map(SlotId), Plan::all(SETTLE)), None)
            }
            Ask::Stop { now: false } => Meaning::Wish(Command::Stop(EndReason::Asked), None),
            Ask::Stop { now: true } => Meaning::Wish(Command::Stop(EndReason::AtOnce), None),
            Ask::Status { .. } | Ask::Subscribe => {
                unreachable!("`answer` keeps what is asked of the primary")
            }
        }
    }

    fn difference(&self, id: u64, env: BTreeMap<String, String>, command: Vec<String>) -> Reply {
        match carried::wish(env, command) {
            Ok(wish) => {
                let difference = Some(self.generations.difference(wish, self.rules.view().generation));
                Reply { difference, ..Reply::granted(id, Progress::Done) }
            }
            Err(why) => senseless(id, why),
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
}

fn no_such_slot(id: u64) -> Reply {
    Reply::refused(id, "no-such-slot", "there is no such slot".into(), None)
}

/// What several apps have answered at once, as one answer: somebody's fault if there is one, else that it was done if any app
/// did it.
fn of_all(replies: Vec<Reply>, id: u64) -> Reply {
    let is_absence = |reply: &Reply| matches!(reply.refusal.as_deref(), Some("no-worker" | "no-channel"));
    let fault = replies.iter().find(|reply| !reply.ok && !is_absence(reply)).cloned();
    let done = || replies.iter().find(|reply| reply.ok).cloned();
    let nobody = || Reply::refused(id, "no-worker", "there is no worker now".into(), Some("clustr status"));
    fault.or_else(done).or_else(|| replies.first().cloned()).unwrap_or_else(nobody)
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
