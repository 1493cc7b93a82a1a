//! The app's own table: how it runs, ends, and ends faster.
//!
//! States are found by letting everything happen to every state of an app with one slot: with more, the same happens more often.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::time::Duration;

use super::App;
use crate::action::Actions;
use crate::command::{Command, EndReason, Target};
use crate::event::{Event, Exit};
use crate::golden;
use crate::id::Ticket;
use crate::policy::{Intensity, Policy, RestartMode};
use crate::time::Time;
use crate::view::{AppState, SlotState, SlotView};

/// Everything that concerns an app as a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Input {
    Start,
    OneIsReady,
    OneFinishes,
    OneFails,
    ScaleTo2,
    StopAsked,
    StopSignalled,
    StopAtOnce,
    Interrupted,
    InterruptedLater,
    Timeout,
}

const INPUTS: [Input; 11] = [
    Input::Start,
    Input::OneIsReady,
    Input::OneFinishes,
    Input::OneFails,
    Input::ScaleTo2,
    Input::StopAsked,
    Input::StopSignalled,
    Input::StopAtOnce,
    Input::Interrupted,
    Input::InterruptedLater,
    Input::Timeout,
];

#[derive(Clone)]
struct Scene {
    app: App,
    now: Time,
}

#[test]
fn the_table_of_the_app_is_golden() {
    let first = Scene { app: App::new(policy(), 0), now: Time::from_nanos(1_000_000_000) };
    let mut found = BTreeSet::from([label(&first.app)]);
    let mut to_visit = VecDeque::from([first]);
    let mut text = String::from(
        "# One app, one slot, transient, intensity 0. Printed by the machine; events that are missing change nothing.\n",
    );
    while let Some(scene) = to_visit.pop_front() {
        write!(text, "\n{}\n", label(&scene.app)).unwrap();
        for input in INPUTS {
            let (next, orders) = happen(&scene, input);
            if !orders.is_empty() || label(&scene.app) != label(&next.app) {
                let (input, orders) = (format!("{input:?}"), golden::orders(&orders));
                writeln!(text, "    {input:16} -> {:40} {orders}", label(&next.app)).unwrap();
            }
            // Two slots would only repeat what one shows.
            if input != Input::ScaleTo2 && found.insert(label(&next.app)) {
                to_visit.push_back(next);
            }
        }
    }
    golden::compare("app.txt", &text);
}

/// Without a second chance, so that the table is about the app and not about its slots.
fn policy() -> Policy {
    let intensity = Intensity { restarts: 0, period: Duration::from_secs(10) };
    Policy::builder(1).restart(RestartMode::Transient).intensity(intensity).build().unwrap()
}

fn happen(before: &Scene, input: Input) -> (Scene, Actions) {
    let Scene { mut app, mut now } = before.clone();
    let stop = |reason| Event::Asked(Ticket(1), Command::Stop(reason));
    let starting = |view: &SlotView| view.state == SlotState::Starting;
    let alive = |view: &SlotView| view.worker.is_some();
    let exit = |code| move |worker| Event::Exited(worker, Exit::Code(code));
    let event = match input {
        Input::Start | Input::Timeout => None,
        Input::OneIsReady => app.slots().find(starting).and_then(|view| view.worker).map(Event::Ready),
        Input::OneFinishes => app.slots().find(alive).and_then(|view| view.worker).map(exit(0)),
        Input::OneFails => app.slots().find(alive).and_then(|view| view.worker).map(exit(1)),
        Input::ScaleTo2 => Some(Event::Asked(Ticket(1), Command::Scale(Target::To(2)))),
        Input::StopAsked => Some(stop(EndReason::Asked)),
        Input::StopSignalled => Some(stop(EndReason::Signalled)),
        Input::StopAtOnce => Some(stop(EndReason::AtOnce)),
        Input::Interrupted => Some(Event::Interrupted),
        Input::InterruptedLater => {
            now = now + Duration::from_millis(500);
            Some(Event::Interrupted)
        }
    };
    let orders = match (input, event) {
        (Input::Start, _) => app.start(now),
        (Input::Timeout, _) => {
            now = app.deadline().map_or(now, |deadline| deadline.at);
            app.handle_timeout(now)
        }
        (_, Some(event)) => app.handle(event, now),
        (_, None) => Actions::none(),
    };
    (Scene { app, now }, orders)
}

fn label(app: &App) -> String {
    let mut words = Vec::from([format!("{:?}", app.state)]);
    if app.state == AppState::Stopping {
        words.extend(app.shutdown.reason().map(|reason| format!("by {reason:?}")));
        words.extend(app.shutdown.verdict().map(|verdict| format!("as {verdict:?}")));
    }
    words.extend(app.slots().map(|view| format!("{:?}", view.state)));
    if app.state != AppState::Ended && app.shutdown.has_been_signalled() {
        words.push("(signalled)".into());
    }
    words.join(" ")
}
