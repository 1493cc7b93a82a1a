//! The slot machine's own table: every state that can be reached × everything that can happen to it.
//!
//! Nothing is listed by hand but the events: states are found by letting everything happen to every state.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use super::{Slot, State};
use crate::action::Actions;
use crate::event::{Exit, SpawnFault};
use crate::golden;
use crate::id::{Generation, SlotId};
use crate::policy::{Backoff, Intensity, Overdue, Policy, PolicyBuilder, RestartMode, StopOrder};
use crate::seed::Seed;
use crate::time::Time;
use crate::turn::{Heard, Turn};
use crate::view::SlotState;

/// Everything that can happen to a slot. `Again` and `TooOften` are exits with a history before them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Input {
    Wanted,
    Unwanted,
    AtOnce,
    Spawned,
    HostShort,
    ProgramWrong,
    Ready,
    AssumedReady,
    Left,
    Drained,
    DrainFailed,
    Unfit,
    ExitedClean,
    ExitedFailing,
    ExitedAgain,
    ExitedTooOften,
    Awaited,
    Timeout,
}

const INPUTS: [Input; 18] = [
    Input::Wanted,
    Input::Unwanted,
    Input::AtOnce,
    Input::Spawned,
    Input::HostShort,
    Input::ProgramWrong,
    Input::Ready,
    Input::AssumedReady,
    Input::Left,
    Input::Drained,
    Input::DrainFailed,
    Input::Unfit,
    Input::ExitedClean,
    Input::ExitedFailing,
    Input::ExitedAgain,
    Input::ExitedTooOften,
    Input::Awaited,
    Input::Timeout,
];

/// A slot at a moment.
#[derive(Clone)]
struct Scene {
    slot: Slot,
    now: Time,
}

/// What happened in one cell.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Cell {
    /// It makes no sense there: ignored and counted.
    Ignored,
    /// Nothing changed and nothing was ordered.
    Same,
    Next(String, String),
}

type Table = Vec<(String, Vec<(Input, Cell)>)>;

#[test]
fn the_table_of_the_slot_machine_is_golden() {
    let table = explore(&policy(Policy::builder(1)));
    golden::compare("slot.txt", &print("permanent, drain first, overdue counts as ready", &table));
}

#[test]
fn the_table_of_the_strict_slot_machine_is_golden() {
    let builder = Policy::builder(1).restart(RestartMode::Transient).stop_order(StopOrder::SignalFirst);
    strict("slot-transient-signal-first.txt", "transient, signal first, overdue fails", builder);
}

#[test]
fn the_table_of_the_slot_machine_without_restarts_is_golden() {
    let builder = Policy::builder(1).restart(RestartMode::Temporary);
    strict("slot-temporary.txt", "temporary, drain first, overdue fails", builder);
}

fn strict(file: &str, title: &str, builder: PolicyBuilder) {
    let builder = builder.ready_timeout(core::time::Duration::from_secs(30), Overdue::Fails);
    golden::compare(file, &print(title, &explore(&policy(builder))));
}

fn policy(builder: PolicyBuilder) -> Policy {
    let seconds = core::time::Duration::from_secs;
    let backoff = Backoff { first: seconds(1), factor: 2, cap: seconds(30), jitter_percent: 0 };
    builder.backoff(backoff).intensity(Intensity { restarts: 5, period: seconds(10) }).build().unwrap()
}

fn explore(policy: &Policy) -> Table {
    let first = Scene { slot: Slot::new(SlotId(0), false), now: Time::from_nanos(1_000_000_000) };
    let mut found = BTreeSet::from([label(&first.slot)]);
    let mut to_visit = VecDeque::from([first]);
    let mut table = Table::new();
    while let Some(scene) = to_visit.pop_front() {
        let mut cells = Vec::new();
        for input in INPUTS {
            let (next, cell) = happen(&scene, input, policy);
            cells.push((input, cell));
            if is_shown(&next.slot) && found.insert(label(&next.slot)) {
                to_visit.push_back(next);
            }
        }
        table.push((label(&scene.slot), cells));
    }
    table
}

fn happen(before: &Scene, input: Input, policy: &Policy) -> (Scene, Cell) {
    let mut scene = before.clone();
    if input == Input::Timeout {
        let Some((at, _)) = scene.slot.due_at() else { return (scene, Cell::Same) };
        scene.now = at;
    }
    let mut out = Actions::none();
    let mut turn = Turn {
        now: scene.now,
        policy,
        generation: Generation(1),
        seed: &mut Seed::new(0),
        spoken: &mut false,
        proven: true,
        signals: &mut Vec::new(),
        out: &mut out,
    };
    let heard = apply(&mut scene.slot, input, &mut turn);
    scene.slot.check().unwrap();
    let cell = if heard == Heard::Ignored {
        assert!(out.is_empty(), "what is ignored orders nothing");
        Cell::Ignored
    } else if out.is_empty() && waits(before) == waits(&scene) {
        Cell::Same
    } else {
        Cell::Next(waits(&scene), golden::orders(&out))
    };
    (scene, cell)
}

fn apply(slot: &mut Slot, input: Input, turn: &mut Turn<'_>) -> Heard {
    let exit = Exit::Code(i32::from(input != Input::ExitedClean));
    match input {
        Input::Wanted => slot.want(turn),
        Input::Unwanted => slot.unwant(turn),
        Input::AtOnce => slot.kill(turn),
        Input::Timeout => slot.due(turn),
        Input::Spawned => return slot.spawned(turn),
        Input::HostShort => return slot.spawn_failed(SpawnFault::HostShort, turn),
        Input::ProgramWrong => return slot.spawn_failed(SpawnFault::Program, turn),
        Input::Ready => return slot.ready(turn),
        Input::AssumedReady => return slot.assumed_ready(turn),
        Input::Left => return slot.left(turn),
        Input::Drained => return slot.drained(turn),
        Input::DrainFailed => return slot.drain_failed(turn),
        Input::Unfit => return slot.unfit(turn),
        Input::Awaited => return slot.awaited(turn),
        Input::ExitedClean | Input::ExitedFailing => return slot.exited(exit, turn),
        Input::ExitedAgain => {
            let _rest = slot.rests.after_run(false, turn.policy.backoff, turn.seed);
            return slot.exited(exit, turn);
        }
        Input::ExitedTooOften => {
            slot.window.clear();
            for _ in 0..turn.policy.intensity.restarts {
                assert!(slot.window.record(turn.policy.intensity, turn.now));
            }
            return slot.exited(exit, turn);
        }
    }
    Heard::Taken
}

/// That the process does not exist yet matters while it is ordered, and is left out of the other states: there
/// it only decides whether `Spawned` and `SpawnFailed` are heard.
fn is_shown(slot: &Slot) -> bool {
    slot.worker().is_none_or(|worker| worker.was_spawned() || worker.state() == SlotState::Starting)
}

/// The state's name, with everything that makes it behave differently.
fn label(slot: &Slot) -> String {
    let wanted = if slot.wanted { "wanted" } else { "unwanted" };
    let state = match &slot.state {
        State::Vacant => "Vacant".into(),
        State::Resting { .. } => "Resting".into(),
        State::GaveUp => "GaveUp".into(),
        State::Done => "Done".into(),
        State::Occupied(worker) => {
            let assumed = if worker.is_assumed() { " (assumed)" } else { "" };
            let why = golden::name(&format!("{:?}", worker.ending(worker.started_at())));
            match worker.rung() {
                Some(rung) => format!("{} ({why})", golden::name(&format!("{rung:?}"))),
                None if worker.was_spawned() => format!("{:?}{assumed}", worker.state()),
                None if worker.state() == SlotState::Starting => "Ordered".into(),
                None => format!("{:?}{assumed}", worker.state()),
            }
        }
    };
    format!("{state}, {wanted}")
}

/// The state's name, and how long it lasts if nothing happens.
fn waits(scene: &Scene) -> String {
    let within = scene.slot.due_at().map(|(at, _)| format!(" for {:?}", at.since(scene.now)));
    format!("{}{}", label(&scene.slot), within.unwrap_or_default())
}

fn print(title: &str, table: &Table) -> String {
    let mut text =
        format!("# One slot: {title}. Printed by the machine; events that are missing change nothing.\n");
    for (state, cells) in table {
        write!(text, "\n{state}\n").unwrap();
        for same in cells.chunk_by(|(_, cell), (_, next)| cell == next) {
            if let [(first, Cell::Next(next, orders)), rest @ ..] = same {
                let last = rest.last().map(|(last, _)| format!(" .. {last:?}")).unwrap_or_default();
                writeln!(text, "    {:29} -> {next:38} {orders}", format!("{first:?}{last}")).unwrap();
            }
        }
        let ignored = cells.iter().filter(|(_, cell)| *cell == Cell::Ignored);
        let names: Vec<String> = ignored.map(|(input, _)| format!("{input:?}")).collect();
        if !names.is_empty() {
            writeln!(text, "    {:29} :  {}", "ignored", names.join(" ")).unwrap();
        }
    }
    text
}
