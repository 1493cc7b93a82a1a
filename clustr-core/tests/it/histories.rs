//! Random histories: proptest looks for the shortest sequence of facts that breaks a promise.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use clustr_core::{
    Ailment, Answer, Backoff, Command, EndReason, Event, Exit, Generation, Overdue, Plan, RestartMode,
    SlotId, SlotState, SpawnFault, StopOrder, Target, Ticket, Wear, WorkerId,
};
use proptest::prelude::*;

use crate::world::{Rules, World, millis, secs};

/// One thing that happens. Slots are numbers, workers the one in a slot or one that was there before.
#[derive(Clone, Copy, Debug)]
enum Step {
    Fact(Fact, u32, u64),
    Scale(u32),
    ScaleBy(i32),
    Reload(Plan),
    Restart(Option<u32>, Plan),
    Awaited(u32),
    Lost(u64),
    Stop(EndReason),
    Interrupted,
    Pass(u64),
    Jump(u64),
}

#[derive(Clone, Copy, Debug)]
enum Fact {
    Spawned,
    HostShort,
    Program,
    Ready,
    AssumedReady,
    Left,
    Drained,
    DrainFailed,
    Unfit,
    Exited(i32),
    Failing,
    Recovered,
    Worn,
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        4 => Just(Fact::Spawned),
        1 => Just(Fact::HostShort),
        1 => Just(Fact::Program),
        4 => Just(Fact::Ready),
        1 => Just(Fact::AssumedReady),
        1 => Just(Fact::Left),
        1 => Just(Fact::Drained),
        1 => Just(Fact::DrainFailed),
        1 => Just(Fact::Unfit),
        4 => (0..2_i32).prop_map(Fact::Exited),
        1 => Just(Fact::Failing),
        1 => Just(Fact::Recovered),
        1 => Just(Fact::Worn),
    ]
}

fn command() -> impl Strategy<Value = Step> {
    let reason = prop_oneof![
        Just(EndReason::Finished),
        Just(EndReason::GaveUp),
        Just(EndReason::Asked),
        Just(EndReason::Signalled),
        Just(EndReason::AtOnce)
    ];
    prop_oneof![
        3 => (0..6_u32).prop_map(Step::Scale),
        1 => (-3..4_i32).prop_map(Step::ScaleBy),
        3 => plan().prop_map(Step::Reload),
        1 => (prop::option::of(0..4_u32), plan()).prop_map(|(slot, plan)| Step::Restart(slot, plan)),
        1 => reason.prop_map(Step::Stop),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // Mostly the living; now and then somebody who is gone.
        24 => (fact(), 0..4_u32, prop_oneof![9 => Just(0_u64), 1 => 1..3_u64])
            .prop_map(|(fact, slot, age)| Step::Fact(fact, slot, age)),
        9 => command(),
        1 => (0..5_u32).prop_map(Step::Awaited),
        1 => (1..4_u64).prop_map(Step::Lost),
        1 => Just(Step::Interrupted),
        6 => (0..3_000_u64).prop_map(Step::Pass),
        1 => (0..100_000_u64).prop_map(Step::Jump),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let plan = |kind, batch, settle| {
        let (batch, settle) = (NonZeroU32::new(batch).unwrap(), millis(settle));
        [Plan::all(settle), Plan::canary(batch, settle), Plan::rolling(batch, settle)][kind]
    };
    (0..3_usize, 1..3_u32, prop_oneof![Just(0_u64), Just(1_000)]).prop_map(move |(k, b, s)| plan(k, b, s))
}

fn rules() -> impl Strategy<Value = Rules> {
    let modes =
        prop_oneof![Just(RestartMode::Permanent), Just(RestartMode::Transient), Just(RestartMode::Temporary)];
    let orders = prop_oneof![Just(StopOrder::DrainFirst), Just(StopOrder::SignalFirst)];
    let overdue = prop_oneof![Just(Overdue::CountsAsReady), Just(Overdue::Fails)];
    let rests = prop_oneof![Just(0_u64), Just(100_u64)];
    (1..4_u32, 0..4_u32, modes, orders, overdue, rests, prop_oneof![Just(0_u64), Just(10_000_u64)]).prop_map(
        |(slots, restarts, mode, order, overdue, rest, stop)| {
            let backoff =
                Backoff { first: millis(rest), factor: 2, cap: millis(rest * 8), jitter_percent: 50 };
            Rules::new(slots).intensity(restarts, secs(10)).overdue(overdue, secs(2)).with(|builder| {
                builder.restart(mode).stop_order(order).backoff(backoff).stop_timeout(millis(stop))
            })
        },
    )
}

fn apply(world: &mut World, step: Step, ticket: u64) {
    let ticket = Ticket(ticket);
    match step {
        Step::Fact(fact, slot, age) => {
            let here: Vec<WorkerId> =
                world.watch.processes.keys().rev().filter(|worker| worker.slot.0 == slot).copied().collect();
            let nobody = WorkerId { slot: SlotId(slot), incarnation: 1 };
            let worker = here.get(usize::try_from(age).unwrap()).copied().unwrap_or(nobody);
            world.tell(event(fact, worker));
        }
        Step::Scale(to) => drop(world.tell(Event::Asked(ticket, Command::Scale(Target::To(to))))),
        Step::ScaleBy(by) => drop(world.tell(Event::Asked(ticket, Command::Scale(Target::By(by))))),
        Step::Reload(plan) => drop(world.tell(Event::Asked(ticket, Command::Reload(plan)))),
        Step::Restart(slot, plan) => {
            drop(world.tell(Event::Asked(ticket, Command::Restart(slot.map(SlotId), plan))));
        }
        Step::Awaited(slot) => drop(world.tell(Event::Awaited(SlotId(slot)))),
        Step::Lost(generation) => drop(world.tell(Event::Lost(Generation(generation)))),
        Step::Stop(reason) => drop(world.tell(Event::Asked(ticket, Command::Stop(reason)))),
        Step::Interrupted => drop(world.tell(Event::Interrupted)),
        Step::Pass(span) => drop(world.pass(millis(span))),
        Step::Jump(span) => {
            world.now = world.now + millis(span);
            world.timeout();
        }
    }
}

fn event(fact: Fact, worker: WorkerId) -> Event {
    match fact {
        Fact::Spawned => Event::Spawned(worker),
        Fact::HostShort => Event::SpawnFailed(worker, SpawnFault::HostShort),
        Fact::Program => Event::SpawnFailed(worker, SpawnFault::Program),
        Fact::Ready => Event::Ready(worker),
        Fact::AssumedReady => Event::AssumedReady(worker),
        Fact::Left => Event::Left(worker),
        Fact::Drained => Event::Drained(worker),
        Fact::DrainFailed => Event::DrainFailed(worker),
        Fact::Unfit => Event::Unfit(worker),
        Fact::Exited(code) => Event::Exited(worker, Exit::Code(code)),
        Fact::Failing => Event::Failing(worker, Ailment::Watchdog),
        Fact::Recovered => Event::Recovered(worker),
        Fact::Worn => Event::Worn(worker, Wear::MaxRss),
    }
}

/// Without any help but deadlines, and with processes that die when they are killed.
fn only_kill_works(world: &mut World, is_enough: impl Fn(&World) -> bool) {
    for _ in 0..500 {
        let doomed = world.watch.processes.values().find(|process| process.kill).map(|process| process.id);
        match doomed {
            _ if is_enough(world) => return,
            None if world.app.deadline().is_none() => return,
            Some(worker) => drop(world.tell(Event::Exited(worker, Exit::Code(9)))),
            None => drop(world.pass_to_deadline()),
        }
    }
}

/// How many slots are served by the old generation now, or would be as soon as somebody said so.
fn serving_or_parked(world: &World, generation: Generation) -> BTreeSet<SlotId> {
    let serves = |state| matches!(state, SlotState::Ready | SlotState::Parked);
    let old = world.app.workers().filter(|view| view.generation == generation && serves(view.state));
    old.map(|view| view.worker.slot).collect()
}

/// What may happen to the new generation, and to nobody else.
fn trial() -> impl Strategy<Value = Vec<(Fact, usize, u64)>> {
    let fact = prop_oneof![
        6 => Just(Fact::Spawned),
        12 => Just(Fact::Ready),
        1 => Just(Fact::Exited(0)),
        1 => Just(Fact::Exited(1)),
        1 => Just(Fact::Left),
        1 => Just(Fact::Unfit),
        1 => Just(Fact::HostShort),
        1 => Just(Fact::Program),
    ];
    prop::collection::vec((fact, 0..4_usize, prop_oneof![Just(0_u64), 0..2_000_u64]), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The observer in `watch.rs` checks every turn: nothing forbidden is ever ordered.
    #[test]
    fn no_history_makes_the_app_do_what_is_forbidden(
        rules in rules(),
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut world = rules.asleep(seed);
        world.start();
        for (number, step) in (0..).zip(steps) {
            apply(&mut world, step, number);
        }
    }

    #[test]
    fn after_any_history_a_stop_ends_if_killed_processes_die(
        rules in rules(),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut world = rules.asleep(0);
        world.start();
        for (number, step) in (0..).zip(steps) {
            apply(&mut world, step, number);
        }
        if !world.watch.left {
            world.tell(Event::Asked(Ticket(u64::MAX), Command::Stop(EndReason::Asked)));
            only_kill_works(&mut world, |world| world.watch.left);
        }
        prop_assert!(world.watch.left);
    }

    /// A program that only ever starts and serves, on a host that is well: deadlines alone bring it back.
    #[test]
    fn after_any_history_a_wanted_slot_is_never_forgotten(
        rules in rules(),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut world = rules.asleep(0);
        world.start();
        for (number, step) in (0..).zip(steps) {
            apply(&mut world, step, number);
        }
        for slot in world.app.slots() {
            let waits_for_something = match slot.state {
                SlotState::Starting | SlotState::Draining | SlotState::Stopping | SlotState::Resting => {
                    world.app.deadline().is_some() || world.watch.left
                }
                SlotState::Ready | SlotState::Parked | SlotState::GaveUp | SlotState::Done => true,
                // Somebody who had the place is still on the way out.
                SlotState::Vacant => !slot.wanted,
            };
            prop_assert!(waits_for_something, "{slot:?}");
        }
    }

    /// Promise 2: until the new generation is confirmed, every slot that was served can be served by the very same
    /// old worker, whatever becomes of the new ones; and it is confirmed or rolled back in bounded time.
    #[test]
    fn until_it_is_confirmed_a_new_generation_costs_nobody_an_old_worker(
        slots in 1..5_u32,
        canary in prop::option::of(1..4_u32),
        overdue in prop_oneof![Just(Overdue::CountsAsReady), Just(Overdue::Fails)],
        facts in trial(),
    ) {
        let plan = canary.map_or(Plan::all(secs(1)), |size| Plan::canary(NonZeroU32::new(size).unwrap(), secs(1)));
        let mut world = Rules::new(slots).overdue(overdue, secs(5)).running();
        let old = Generation(1);
        let before: Vec<_> = world.app.slots().filter_map(|slot| slot.worker).collect();
        world.tell(Event::Asked(Ticket(1), Command::Reload(plan)));
        for (fact, which, pause) in facts {
            let new: Vec<_> =
                world.app.workers().filter(|view| view.generation != old).map(|view| view.worker).collect();
            if let Some(worker) = new.get(which) {
                world.tell(event(fact, *worker));
            }
            world.pass(millis(pause));
            if world.app.view().generation == old {
                prop_assert_eq!(serving_or_parked(&world, old).len(), before.len());
                prop_assert_eq!(u32::try_from(before.len()).unwrap(), world.app.view().ready);
            }
        }
        // Each of at most two batches: until its readiness is overdue, and until it has settled.
        world.pass(secs(2 * (5 + 1)));
        let end = world.answer(Ticket(1));
        prop_assert!(matches!(end, Some(Answer::Done | Answer::RolledBack)), "{:?}", end);
        if end == Some(Answer::RolledBack) {
            let now: Vec<_> = world.app.slots().filter_map(|slot| slot.worker).collect();
            prop_assert_eq!(now, before, "the very same workers");
            prop_assert_eq!(world.app.view().ready, slots);
        }
    }

    /// Not even if no process says, does or ends anything any more: deadlines alone end what is under way and what is
    /// remembered.
    #[test]
    fn after_any_history_a_reload_ends_in_bounded_time(
        rules in rules(),
        steps in prop::collection::vec(step(), 0..60),
        plan in plan(),
    ) {
        let mut world = rules.asleep(0);
        world.start();
        for (number, step) in (0..).zip(steps) {
            apply(&mut world, step, number);
        }
        if !world.watch.left {
            world.tell(Event::Asked(Ticket(u64::MAX), Command::Reload(plan)));
        }
        // For each batch of one: 6 s for room, 2 s to be ready, 1 s to settle, 10 s to stop, 5 s to die.
        let (batches, reloads) = (6, 2);
        world.pass(secs(reloads * batches * (6 + 2 + 1 + 10 + 5)));
        prop_assert!(world.app.view().reload.is_none(), "{:?}", world.app.view());
    }

    /// In whatever state a command comes: it is accepted or refused in the very turn in which it is asked, and whatever was
    /// accepted is answered once more, though no process does anything any more but die when it is killed.
    #[test]
    fn after_any_history_every_command_is_answered_at_once_and_again_when_it_is_over(
        rules in rules(),
        steps in prop::collection::vec(step(), 0..60),
        commands in prop::collection::vec(command(), 1..6),
    ) {
        let mut world = rules.asleep(0);
        world.start();
        for (number, step) in (0..).zip(steps) {
            apply(&mut world, step, number);
        }
        for (number, step) in (1_000..).zip(commands) {
            let is_left = world.watch.left;
            apply(&mut world, step, number);
            let waits = world.watch.tickets_waiting();
            prop_assert!(is_left || waits.is_empty(), "{step:?} is neither accepted nor refused");
        }
        only_kill_works(&mut world, |world| world.watch.tickets_open().is_empty());
        let open = world.watch.tickets_open();
        prop_assert!(open.is_empty(), "{open:?} of {:?}", world.app.view());
    }

    #[test]
    fn a_late_fact_matches_nobody(slot in 0..4_u32, age in 1..5_u64, fact in fact()) {
        let mut world = Rules::new(3).running();
        let worker = WorkerId { slot: SlotId(slot), incarnation: 1 + age };
        let before: Vec<_> = world.app.slots().collect();
        prop_assert!(world.tell(event(fact, worker)).is_empty());
        prop_assert_eq!(before, world.app.slots().collect::<Vec<_>>());
        prop_assert_eq!(world.app.view().ignored_events, 1);
    }
}
