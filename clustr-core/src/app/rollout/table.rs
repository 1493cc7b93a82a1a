//! The tables of replacing workers: how far a reload has come × everything that can happen to it, and every command
//! in every state of an app.
//!
//! Two slots and an intensity of 0, so that the tables are about reloads and not about restarts.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::num::NonZeroU32;
use core::time::Duration;

use crate::action::{Action, Actions};
use crate::app::App;
use crate::command::{Command, EndReason, Target};
use crate::event::{Ailment, Event, Exit, SpawnFault};
use crate::golden;
use crate::id::{Generation, SlotId, Ticket, WorkerId};
use crate::plan::Plan;
use crate::policy::{Intensity, Policy};
use crate::time::Time;
use crate::view::SlotState;

/// Everything that can happen to a reload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Input {
    NewReady,
    NewExits,
    NewNotStarted,
    NewLeaves,
    NewUnfit,
    OldExits,
    OldLost,
    LeaverExits,
    Timeout,
    ReloadAgain,
    Stop,
    StopAtOnce,
}

const INPUTS: [Input; 12] = [
    Input::NewReady,
    Input::NewExits,
    Input::NewNotStarted,
    Input::NewLeaves,
    Input::NewUnfit,
    Input::OldExits,
    Input::OldLost,
    Input::LeaverExits,
    Input::Timeout,
    Input::ReloadAgain,
    Input::Stop,
    Input::StopAtOnce,
];

#[derive(Clone)]
struct Scene {
    app: App,
    now: Time,
}

#[test]
fn the_table_of_the_reload_machine_is_golden() {
    let one = NonZeroU32::MIN;
    let settle = Duration::from_secs(1);
    let mut text = String::from(
        "# Reloads of two slots, intensity 0. Each slot: who holds it / who is to take its place + who is on the way out,\n\
         # * for a generation on trial. Printed by the machine; events that are missing change nothing.\n",
    );
    for (title, plan) in [
        ("all at once, the old ones parked", Plan::all(settle)),
        ("a canary, the old ones parked", Plan::canary(one, settle)),
        ("rolling by one, the old ones replaced as it goes", Plan::rolling(one, settle)),
    ] {
        write!(text, "\n## {title}\n").unwrap();
        explore(plan, &mut text);
    }
    golden::compare("reload.txt", &text);
}

fn explore(plan: Plan, text: &mut String) {
    let mut first = running();
    let orders = first.tell(Event::Asked(Ticket(1), Command::Reload(plan)));
    writeln!(text, "\nreload -> {}\n    {}", label(&first), golden::orders(&orders)).unwrap();
    let mut found = BTreeSet::from([label(&first)]);
    let mut to_visit = VecDeque::from([first]);
    while let Some(scene) = to_visit.pop_front() {
        write!(text, "\n{}\n", label(&scene)).unwrap();
        for input in INPUTS {
            let mut next = scene.clone();
            let orders = next.happen(input);
            if !orders.is_empty() || label(&scene) != label(&next) {
                let (input, orders) = (format!("{input:?}"), golden::orders(&orders));
                writeln!(text, "    {input:13} -> {:50} {orders}", label(&next)).unwrap();
            }
            // One that is remembered begins as the first one did.
            let goes_on = next.app.reload.is_some() && next.app.remembered.is_none();
            if goes_on && found.insert(label(&next)) {
                to_visit.push_back(next);
            }
        }
    }
}

#[test]
fn every_command_in_every_state_is_golden() {
    let commands = [
        ("reload", Command::Reload(Plan::all(Duration::from_secs(1)))),
        ("restart", Command::Restart(None, Plan::rolling(NonZeroU32::MIN, Duration::ZERO))),
        ("restart 0", Command::Restart(Some(SlotId(0)), Plan::all(Duration::ZERO))),
        ("restart 9", Command::Restart(Some(SlotId(9)), Plan::all(Duration::ZERO))),
        ("scale 3", Command::Scale(Target::To(3))),
        ("scale 0", Command::Scale(Target::To(0))),
        ("stop", Command::Stop(EndReason::Asked)),
        ("stop now", Command::Stop(EndReason::AtOnce)),
    ];
    let mut text =
        String::from("# Every command in every state of an app with two slots. Printed by the machine.\n");
    for (state, scene) in states() {
        write!(text, "\n{state}: {}\n", label(&scene)).unwrap();
        for (name, command) in commands {
            let mut next = scene.clone();
            let orders = next.tell(Event::Asked(Ticket(9), command));
            let answers: Vec<String> = orders.as_slice().iter().filter_map(answer).collect();
            assert!(!answers.is_empty() || state == "ended", "{name} is answered while {state}");
            let answers = if answers.is_empty() { "-".into() } else { answers.join(", ") };
            writeln!(text, "    {name:9} -> {answers:40} {}", label(&next)).unwrap();
        }
    }
    golden::compare("commands.txt", &text);
}

/// An app in each of its states, in the order of a life.
fn states() -> Vec<(&'static str, Scene)> {
    let plan = Plan::rolling(NonZeroU32::MIN, Duration::from_secs(1));
    let reload = |ticket| Event::Asked(Ticket(ticket), Command::Reload(plan));
    let then = |scene: &Scene, work: &dyn Fn(&mut Scene)| {
        let mut next = scene.clone();
        work(&mut next);
        next
    };
    let asleep = Scene { app: App::new(policy(), 0), now: Time::from_nanos(1_000_000_000) };
    let starting = then(&asleep, &|scene| drop(scene.app.start(scene.now)));
    let running = running();
    let gathering = then(&running, &|scene| drop(scene.tell(reload(1))));
    let settling = then(&gathering, &|scene| drop(scene.happen(Input::NewReady)));
    let clearing = then(&settling, &|scene| drop(scene.happen(Input::Timeout)));
    let remembered = then(&gathering, &|scene| drop(scene.tell(reload(2))));
    let restarting =
        then(&running, &|scene| drop(scene.tell(Event::Asked(Ticket(1), Command::Restart(None, plan)))));
    let renewing = then(&running, &|scene| {
        drop(scene.tell(Event::Failing(worker(0, 1), Ailment::Probe)));
    });
    let stopping = then(&running, &|scene| drop(scene.happen(Input::Stop)));
    let killing = then(&running, &|scene| drop(scene.happen(Input::StopAtOnce)));
    let ended = then(&killing, &|scene| {
        for slot in 0..2 {
            drop(scene.tell(Event::Exited(worker(slot, 1), Exit::Code(0))));
        }
    });
    Vec::from([
        ("not started", asleep),
        ("starting", starting),
        ("running", running),
        ("gathering", gathering),
        ("settling", settling),
        ("clearing", clearing),
        ("one remembered", remembered),
        ("restarting", restarting),
        ("replacing one that fails", renewing),
        ("stopping", stopping),
        ("killing", killing),
        ("ended", ended),
    ])
}

fn policy() -> Policy {
    let intensity = Intensity { restarts: 0, period: Duration::from_secs(10) };
    Policy::builder(2).intensity(intensity).build().unwrap()
}

const fn worker(slot: u32, incarnation: u64) -> WorkerId {
    WorkerId { slot: SlotId(slot), incarnation }
}

fn running() -> Scene {
    let mut scene = Scene { app: App::new(policy(), 0), now: Time::from_nanos(1_000_000_000) };
    drop(scene.app.start(scene.now));
    for slot in 0..2 {
        drop(scene.tell(Event::Spawned(worker(slot, 1))));
        drop(scene.tell(Event::Ready(worker(slot, 1))));
    }
    scene
}

impl Scene {
    fn tell(&mut self, event: Event) -> Actions {
        self.app.handle(event, self.now)
    }

    fn happen(&mut self, input: Input) -> Actions {
        let new = self.find(crate::slot::Slot::newcomer);
        let new_or_on_trial = new.or_else(|| self.find(|slot| slot.worker().filter(|_| slot.is_on_trial())));
        let starting = self.find(|slot| slot.newcomer().filter(|worker| !worker.was_ready()));
        let old = self.find(|slot| slot.worker().filter(|_| !slot.is_on_trial()));
        let leaver = self.find(|slot| slot.workers().find(|worker| worker.is_leaving()));
        let ask = |command| Some(Event::Asked(Ticket(2), command));
        let event = match input {
            Input::NewReady => starting.map(Event::Ready),
            Input::NewExits => new_or_on_trial.map(|worker| Event::Exited(worker, Exit::Code(1))),
            Input::NewNotStarted => starting.map(|worker| Event::SpawnFailed(worker, SpawnFault::Program)),
            Input::NewLeaves => new.map(Event::Left),
            Input::NewUnfit => new.map(Event::Unfit),
            Input::OldExits => old.map(|worker| Event::Exited(worker, Exit::Code(1))),
            Input::OldLost => Some(Event::Lost(Generation(1))),
            Input::LeaverExits => leaver.map(|worker| Event::Exited(worker, Exit::Code(0))),
            Input::Timeout => return self.timeout(),
            Input::ReloadAgain => ask(Command::Reload(Plan::all(Duration::ZERO))),
            Input::Stop => ask(Command::Stop(EndReason::Asked)),
            Input::StopAtOnce => ask(Command::Stop(EndReason::AtOnce)),
        };
        event.map_or_else(Actions::none, |event| self.tell(event))
    }

    fn timeout(&mut self) -> Actions {
        self.now = self.app.deadline().map_or(self.now, |deadline| deadline.at);
        self.app.handle_timeout(self.now)
    }

    fn find(
        &self,
        choose: impl Fn(&crate::slot::Slot) -> Option<&crate::worker::Worker>,
    ) -> Option<WorkerId> {
        (0..self.app.roster.len()).find_map(|slot| Some(choose(self.app.roster.slot(SlotId(slot))?)?.id()))
    }
}

/// How far it has come, and what is in each slot.
fn label(scene: &Scene) -> String {
    let app = &scene.app;
    let mut words = Vec::from([app.view().state.name().to_string()]);
    words.extend(app.reload.as_ref().map(|reload| reload.stage_name().to_string()));
    words.extend(app.remembered.map(|_| "(remembered)".to_string()));
    if app.roster.versions.is_lost(Generation(1)) {
        words.push("(lost)".into());
    }
    for number in 0..app.roster.len() {
        let slot = app.roster.slot(SlotId(number)).unwrap();
        let mut word = slot.state().name().to_string();
        if slot.is_on_trial() {
            word.push('*');
        }
        if let Some(newcomer) = slot.newcomer() {
            write!(word, "/{}", newcomer.state().name()).unwrap();
        }
        let holder = slot.worker().map(crate::worker::Worker::id);
        let newcomer = slot.newcomer_id();
        for leaver in
            slot.workers().filter(|worker| Some(worker.id()) != holder && Some(worker.id()) != newcomer)
        {
            write!(word, "+{}", leaver.state().name()).unwrap();
        }
        words.push(if slot.state() == SlotState::Vacant && word == "vacant" { "-".into() } else { word });
    }
    words.join(" ")
}

fn answer(action: &Action) -> Option<String> {
    match action {
        Action::Answer(Ticket(9), answer) => Some(match answer {
            crate::action::Answer::Refused(refusal) => format!("refused: {}", refusal.name()),
            crate::action::Answer::Accepted
            | crate::action::Answer::Done
            | crate::action::Answer::Superseded
            | crate::action::Answer::Failed
            | crate::action::Answer::GaveUp { .. }
            | crate::action::Answer::RolledBack => format!("{answer:?}").to_lowercase(),
        }),
        Action::Answer(..)
        | Action::Spawn(..)
        | Action::Admit(_)
        | Action::Withhold(_)
        | Action::Drain(_)
        | Action::Terminate(_)
        | Action::Kill(_)
        | Action::Begin(..)
        | Action::Forget(_)
        | Action::Notify(_)
        | Action::Leave(_) => None,
    }
}
