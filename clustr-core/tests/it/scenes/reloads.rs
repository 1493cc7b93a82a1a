//! A new generation in the place of an old one: confirmed, or rolled back as if nothing had happened.

use std::num::NonZeroU32;

use clustr_core::{
    Action, Ailment, Answer, AppState, Command, Due, EndReason, Event, Exit, Generation, Notice, Overdue,
    Plan, Refusal, Setback, SlotId, SlotState, SpawnFault, Target, Ticket, WorkerId,
};

use crate::world::{CLEAN, FAILED, KILLED, Rules, SEGV, World, millis, secs};

const SETTLE: std::time::Duration = secs(1);
const OLD: Generation = Generation(1);
const NEW: Generation = Generation(2);

fn all() -> Plan {
    Plan::all(SETTLE)
}

fn canary(slots: u32) -> Plan {
    Plan::canary(NonZeroU32::new(slots).unwrap(), SETTLE)
}

fn rolling(batch: u32) -> Plan {
    Plan::rolling(NonZeroU32::new(batch).unwrap(), SETTLE)
}

pub(super) fn reload(world: &mut World, plan: Plan) -> Ticket {
    world.ask(Command::Reload(plan)).0
}

/// Every worker of a generation that lives, by slot.
pub(super) fn of(world: &World, generation: Generation) -> Vec<WorkerId> {
    world.app.workers().filter(|view| view.generation == generation).map(|view| view.worker).collect()
}

fn states(world: &World, generation: Generation) -> Vec<SlotState> {
    world.app.workers().filter(|view| view.generation == generation).map(|view| view.state).collect()
}

pub(super) fn come_up(world: &mut World, workers: &[WorkerId]) {
    for worker in workers {
        world.tell(Event::Spawned(*worker));
        world.tell(Event::Ready(*worker));
    }
}

/// Everybody on the way out goes.
fn exit_leavers(world: &mut World) {
    let leaving = |state| matches!(state, SlotState::Draining | SlotState::Stopping);
    let gone: Vec<WorkerId> =
        world.app.workers().filter(|view| leaving(view.state)).map(|view| view.worker).collect();
    for worker in gone {
        world.tell(Event::Exited(worker, CLEAN));
    }
}

pub(super) fn rolled_back(world: &World) -> Option<(WorkerId, Setback)> {
    world.log.iter().rev().find_map(|action| {
        let Action::Notify(Notice::RolledBack { worker, setback, .. }) = action else { return None };
        Some((*worker, *setback))
    })
}

/// The very same old workers serve, and nothing of the new generation does.
fn as_if_nothing_had_happened(world: &World, ticket: Ticket, old: &[WorkerId]) {
    assert_eq!(world.answer(ticket), Some(Answer::RolledBack));
    assert_eq!(of(world, OLD), old);
    assert_eq!(states(world, OLD), vec![SlotState::Ready; old.len()]);
    assert!(
        states(world, NEW).iter().all(|state| *state != SlotState::Ready && *state != SlotState::Starting)
    );
    let view = world.app.view();
    assert_eq!((view.state, view.generation, view.reload), (AppState::Running, OLD, None));
}

#[test]
fn old_workers_stand_by_until_the_whole_new_generation_is_ready_and_has_settled() {
    let mut world = Rules::new(2).running();
    let ticket = reload(&mut world, all());
    assert!(world.log.contains(&Action::Begin(ticket, NEW)));
    assert_eq!(world.app.view().state, AppState::Reloading);
    let (old, new) = (of(&world, OLD), of(&world, NEW));
    assert_eq!(new.len(), 2);
    world.tell(Event::Spawned(new[0]));
    let orders = world.tell(Event::Ready(new[0]));
    assert_eq!(orders[0], Action::Admit(new[0]));
    assert_eq!(orders[2], Action::Withhold(old[0]), "after the new one is admitted");
    assert_eq!(states(&world, OLD), [SlotState::Parked, SlotState::Ready]);
    come_up(&mut world, &new[1..]);
    assert_eq!(world.app.deadline().unwrap().why, Due::Settle);
    world.pass(millis(999));
    assert_eq!(states(&world, OLD), [SlotState::Parked; 2]);
    world.pass(millis(1));
    assert_eq!(world.answer(ticket), Some(Answer::Done));
    assert_eq!(states(&world, OLD), [SlotState::Draining; 2]);
    assert_eq!((world.app.view().generation, world.app.view().state), (NEW, AppState::Running));
    assert_eq!(world.app.view().ready, 2);
    exit_leavers(&mut world);
    assert!(world.log.ends_with(&[Action::Forget(OLD)]));
}

#[test]
fn a_canary_is_watched_before_the_rest_begins() {
    let mut world = Rules::new(4).running();
    let ticket = reload(&mut world, canary(1));
    assert_eq!(of(&world, NEW).len(), 1);
    let canary = of(&world, NEW);
    come_up(&mut world, &canary);
    world.pass(secs(1));
    let rest = of(&world, NEW);
    assert_eq!(rest.len(), 4);
    come_up(&mut world, &rest[1..]);
    assert_eq!(states(&world, OLD), [SlotState::Parked; 4]);
    world.tell(Event::Exited(canary[0], SEGV));
    assert_eq!(
        rolled_back(&world),
        Some((canary[0], Setback::ExitedOnTrial(SEGV))),
        "not safe until all are"
    );
    assert_eq!(world.answer(ticket), Some(Answer::RolledBack));
    assert_eq!(states(&world, OLD), [SlotState::Ready; 4]);
}

#[test]
fn a_version_that_exits_at_once_changes_nothing() {
    let mut world = Rules::new(3).running();
    let old = of(&world, OLD);
    let ticket = reload(&mut world, all());
    let new = of(&world, NEW);
    world.tell(Event::Spawned(new[1]));
    world.tell(Event::Exited(new[1], FAILED));
    as_if_nothing_had_happened(&world, ticket, &old);
    assert_eq!(rolled_back(&world), Some((new[1], Setback::ExitedEarly(FAILED))));
    exit_leavers(&mut world);
    assert!(world.log.contains(&Action::Forget(NEW)));
}

#[test]
fn a_version_that_exits_after_two_seconds_changes_nothing_if_it_is_watched_for_longer() {
    let mut world = Rules::new(2).running();
    let old = of(&world, OLD);
    let ticket = reload(&mut world, Plan::all(secs(3)));
    let new = of(&world, NEW);
    come_up(&mut world, &new);
    world.pass(secs(2));
    let orders = world.tell(Event::Exited(new[0], CLEAN));
    as_if_nothing_had_happened(&world, ticket, &old);
    let place = |order| orders.iter().position(|action| *action == order).unwrap();
    assert!(place(Action::Admit(old[1])) < place(Action::Withhold(new[1])), "old first, then new");
}

#[test]
fn a_version_that_hangs_in_its_start_changes_nothing() {
    let mut world = Rules::new(2).running();
    let old = of(&world, OLD);
    let ticket = reload(&mut world, all());
    let new = of(&world, NEW);
    world.tell(Event::Spawned(new[0]));
    world.tell(Event::Spawned(new[1]));
    world.pass(secs(30));
    as_if_nothing_had_happened(&world, ticket, &old);
    assert_eq!(rolled_back(&world).unwrap().1, Setback::Overdue, "these workers do say that they are ready");
}

#[test]
fn a_version_of_which_one_is_never_ready_changes_nothing() {
    let mut world = Rules::new(3).overdue(Overdue::Fails, secs(5)).running();
    let old = of(&world, OLD);
    let ticket = reload(&mut world, all());
    let new = of(&world, NEW);
    come_up(&mut world, &new[..2]);
    world.pass(secs(5));
    as_if_nothing_had_happened(&world, ticket, &old);
    assert_eq!(rolled_back(&world), Some((new[2], Setback::Overdue)));
}

#[test]
fn a_version_that_is_ready_and_crashes_while_it_is_watched_changes_nothing() {
    let mut world = Rules::new(2).running();
    let old = of(&world, OLD);
    let ticket = reload(&mut world, all());
    let new = of(&world, NEW);
    come_up(&mut world, &new);
    world.pass(millis(500));
    world.tell(Event::Exited(new[1], SEGV));
    as_if_nothing_had_happened(&world, ticket, &old);
    assert_eq!(rolled_back(&world), Some((new[1], Setback::ExitedOnTrial(SEGV))));
}

#[test]
fn a_version_that_is_missing_or_not_executable_changes_nothing() {
    let mut world = Rules::new(2).running();
    let old = of(&world, OLD);
    let ticket = reload(&mut world, all());
    let new = of(&world, NEW);
    world.tell(Event::SpawnFailed(new[0], SpawnFault::Program));
    as_if_nothing_had_happened(&world, ticket, &old);
    assert_eq!(rolled_back(&world), Some((new[0], Setback::NotStarted(SpawnFault::Program))));
}

#[test]
fn a_host_without_room_for_two_generations_changes_nothing() {
    let mut world = Rules::new(2).running();
    let old = of(&world, OLD);
    let ticket = reload(&mut world, all());
    let new = of(&world, NEW);
    world.tell(Event::SpawnFailed(new[0], SpawnFault::HostShort));
    as_if_nothing_had_happened(&world, ticket, &old);
}

#[test]
fn a_version_that_leaves_or_is_unfit_changes_nothing() {
    for (setback, event) in
        [(Setback::Left, Event::Left as fn(WorkerId) -> Event), (Setback::Unfit, Event::Unfit)]
    {
        let mut world = Rules::new(2).running();
        let old = of(&world, OLD);
        let ticket = reload(&mut world, all());
        let new = of(&world, NEW);
        come_up(&mut world, &new[..1]);
        world.tell(event(new[0]));
        as_if_nothing_had_happened(&world, ticket, &old);
        assert_eq!(rolled_back(&world), Some((new[0], setback)));
    }
}

#[test]
fn an_app_that_never_listened_may_go_on_so_in_its_next_generation() {
    let mut world = Rules::new(1).started();
    world.pass(secs(30));
    assert_eq!(world.state(0), SlotState::Ready);
    let ticket = reload(&mut world, all());
    let new = of(&world, NEW);
    world.tell(Event::Spawned(new[0]));
    world.pass(secs(31));
    assert_eq!(world.answer(ticket), Some(Answer::Done));
}

#[test]
fn a_version_that_fails_its_probes_while_it_is_watched_changes_nothing() {
    let mut world = Rules::new(2).running();
    let old = of(&world, OLD);
    let ticket = reload(&mut world, all());
    let new = of(&world, NEW);
    come_up(&mut world, &new);
    world.tell(Event::Failing(new[1], Ailment::Probe));
    as_if_nothing_had_happened(&world, ticket, &old);
    assert_eq!(rolled_back(&world), Some((new[1], Setback::Failing(Ailment::Probe))));
}

#[test]
fn a_replaced_worker_that_fails_its_probes_rolls_back_too() {
    let (mut world, ticket, new) = halfway(Rules::new(3));
    world.tell(Event::Failing(new[0], Ailment::Stuck));
    assert_eq!(world.answer(ticket), Some(Answer::RolledBack));
    assert!(world.watch.processes[&new[0]].drain);
}

#[test]
fn only_its_own_word_makes_a_version_ready_whose_like_do_speak() {
    let mut world = Rules::new(2).running();
    let old = of(&world, OLD);
    let ticket = reload(&mut world, all());
    let new = of(&world, NEW);
    for worker in &new {
        world.tell(Event::Spawned(*worker));
        world.tell(Event::AssumedReady(*worker));
    }
    assert_eq!(states(&world, NEW), [SlotState::Starting; 2]);
    world.tell(Event::Ready(new[0]));
    world.pass(secs(30));
    as_if_nothing_had_happened(&world, ticket, &old);
    assert_eq!(rolled_back(&world), Some((new[1], Setback::Overdue)));
}

#[test]
fn what_stands_for_a_word_is_enough_where_nobody_ever_spoke() {
    let mut world = Rules::new(1).started();
    world.tell(Event::AssumedReady(world.worker(0)));
    let ticket = reload(&mut world, all());
    let new = of(&world, NEW);
    world.tell(Event::Spawned(new[0]));
    world.tell(Event::AssumedReady(new[0]));
    world.pass(secs(1));
    assert_eq!(world.answer(ticket), Some(Answer::Done));
}

#[test]
fn a_parked_worker_that_dies_is_restarted_from_its_own_generation_and_stands_by() {
    let mut world = Rules::new(2).running();
    let ticket = reload(&mut world, all());
    let (old, new) = (of(&world, OLD), of(&world, NEW));
    come_up(&mut world, &new[..1]);
    let orders = world.tell(Event::Exited(old[0], KILLED));
    let successor = WorkerId { slot: SlotId(0), incarnation: 3 };
    assert!(orders.contains(&Action::Spawn(successor, OLD)));
    world.tell(Event::Spawned(successor));
    let orders = world.tell(Event::Ready(successor));
    assert!(!orders.contains(&Action::Admit(successor)), "the new one serves in its place");
    assert_eq!(world.state(0), SlotState::Parked);
    world.tell(Event::Exited(new[1], FAILED));
    assert_eq!(world.answer(ticket), Some(Answer::RolledBack));
    assert_eq!(of(&world, OLD), [successor, old[1]]);
    assert_eq!(states(&world, OLD), [SlotState::Ready; 2]);
}

#[test]
fn a_rolling_reload_has_never_more_than_one_batch_of_workers_too_many() {
    let mut world = Rules::new(3).running();
    let ticket = reload(&mut world, rolling(1));
    for _ in 0..3 {
        assert!(world.app.workers().count() <= 4);
        let new = of(&world, NEW);
        let newest = *new.last().unwrap();
        come_up(&mut world, &[newest]);
        world.pass(secs(1));
        assert!(world.app.workers().count() <= 4);
        exit_leavers(&mut world);
    }
    assert_eq!(world.answer(ticket), Some(Answer::Done));
    assert_eq!(states(&world, NEW), [SlotState::Ready; 3]);
    assert!(world.log.contains(&Action::Forget(OLD)));
}

/// Slot 0 has been replaced, slot 1 has a newcomer, slot 2 is as it was.
fn halfway(rules: Rules) -> (World, Ticket, Vec<WorkerId>) {
    let mut world = rules.running();
    let ticket = reload(&mut world, rolling(1));
    let first = of(&world, NEW);
    come_up(&mut world, &first);
    world.pass(secs(1));
    exit_leavers(&mut world);
    let new = of(&world, NEW);
    assert_eq!(new.len(), 2);
    (world, ticket, new)
}

#[test]
fn what_a_rolling_reload_had_replaced_is_put_back_by_starting_the_old_generation() {
    let (mut world, ticket, new) = halfway(Rules::new(3));
    world.tell(Event::Exited(new[1], FAILED));
    assert_eq!(world.answer(ticket), Some(Answer::RolledBack));
    assert_eq!(states(&world, NEW), [SlotState::Draining], "nothing new reaches it");
    assert_eq!(states(&world, OLD), [SlotState::Ready; 2]);
    let orders = world.tell(Event::Exited(new[0], CLEAN));
    assert!(orders.iter().any(|order| matches!(order, Action::Spawn(_, OLD))));
    assert!(orders.contains(&Action::Forget(NEW)));
    world.serve(0);
    assert_eq!(states(&world, OLD), [SlotState::Ready; 3]);
}

#[test]
fn a_replaced_worker_that_crashes_while_the_others_wait_rolls_back_too() {
    let (mut world, ticket, new) = halfway(Rules::new(3));
    let orders = world.tell(Event::Exited(new[0], SEGV));
    assert_eq!(rolled_back(&world), Some((new[0], Setback::ExitedOnTrial(SEGV))));
    assert_eq!(world.answer(ticket), Some(Answer::RolledBack));
    assert!(orders.iter().any(|order| matches!(order, Action::Spawn(_, OLD))), "at once: its place is free");
}

#[test]
fn what_cannot_be_put_back_is_left_empty_while_the_others_go_on() {
    let (mut world, ticket, new) = halfway(Rules::new(3));
    world.tell(Event::Lost(OLD));
    world.tell(Event::Exited(new[1], FAILED));
    assert_eq!(world.answer(ticket), Some(Answer::RolledBack));
    assert!(world.told(Notice::Stranded { slot: SlotId(0) }));
    let back = Notice::RolledBack {
        tried: NEW,
        serves: OLD,
        worker: new[1],
        setback: Setback::ExitedEarly(FAILED),
        put_back: 0,
        lost: 1,
    };
    assert!(world.told(back));
    assert_eq!(world.state(0), SlotState::GaveUp);
    assert_eq!(states(&world, OLD), [SlotState::Ready; 2]);
    exit_leavers(&mut world);
    let again = reload(&mut world, all());
    let newest = of(&world, Generation(3));
    assert_eq!(newest.len(), 3, "the next version fills it again");
    come_up(&mut world, &newest);
    world.pass(secs(1));
    assert_eq!(world.answer(again), Some(Answer::Done));
}

#[test]
fn a_generation_that_alone_serves_is_kept_if_there_is_no_way_back() {
    let (mut world, ticket, new) = halfway(Rules::new(2).intensity(0, secs(10)));
    world.tell(Event::Lost(OLD));
    world.exit(1, FAILED);
    assert_eq!(world.state(1), SlotState::GaveUp);
    world.tell(Event::Exited(new[1], FAILED));
    assert_eq!(world.answer(ticket), Some(Answer::Failed));
    assert_eq!((world.app.view().generation, world.app.view().ready), (NEW, 1));
    assert_eq!(world.state(0), SlotState::Ready);
}

#[test]
fn ten_reloads_at_once_are_the_first_and_the_last() {
    let mut world = Rules::new(2).running();
    let tickets: Vec<Ticket> = (0..10).map(|_| reload(&mut world, all())).collect();
    for ticket in &tickets[1..9] {
        assert_eq!(world.answer(*ticket), Some(Answer::Superseded));
    }
    assert!(world.app.view().reload.unwrap().remembered);
    let new = of(&world, NEW);
    come_up(&mut world, &new);
    world.pass(secs(1));
    assert_eq!(world.answer(tickets[0]), Some(Answer::Done));
    let newest = of(&world, Generation(3));
    assert_eq!(newest.len(), 2, "the remembered one begins at once");
    come_up(&mut world, &newest);
    world.pass(secs(1));
    assert_eq!(world.answer(tickets[9]), Some(Answer::Done));
    assert_eq!(world.app.view().generation, Generation(3));
}

#[test]
fn a_reload_that_was_remembered_begins_after_one_that_failed() {
    let mut world = Rules::new(1).running();
    let (first, second) = (reload(&mut world, all()), reload(&mut world, all()));
    let new = of(&world, NEW);
    world.tell(Event::SpawnFailed(new[0], SpawnFault::Program));
    assert_eq!(world.answer(first), Some(Answer::RolledBack));
    let newest = of(&world, Generation(3));
    come_up(&mut world, &newest);
    world.pass(secs(1));
    assert_eq!(world.answer(second), Some(Answer::Done));
}

#[test]
fn scaling_and_restarting_are_refused_during_a_reload() {
    let mut world = Rules::new(2).running();
    reload(&mut world, all());
    for command in [Command::Scale(Target::By(1)), Command::Restart(None, all())] {
        let (ticket, _) = world.ask(command);
        assert_eq!(world.answer(ticket), Some(Answer::Refused(Refusal::ReloadInProgress)));
    }
    assert_eq!(Refusal::ReloadInProgress.name(), "reload-in-progress");
}

#[test]
fn a_stop_cancels_a_reload_and_the_one_that_is_remembered() {
    let mut world = Rules::new(2).running();
    let (first, second) = (reload(&mut world, all()), reload(&mut world, all()));
    let new = of(&world, NEW);
    come_up(&mut world, &new[..1]);
    world.stop();
    assert_eq!([first, second].map(|ticket| world.answer(ticket)), [Some(Answer::Superseded); 2]);
    assert!(world.told(Notice::ReloadCancelled { to: NEW }));
    exit_leavers(&mut world);
    assert!(world.watch.left);
}

#[test]
fn a_kill_during_a_reload_ends_both_generations() {
    let mut world = Rules::new(2).running();
    reload(&mut world, all());
    let new = of(&world, NEW);
    come_up(&mut world, &new);
    let (_, orders) = world.ask(Command::Stop(EndReason::AtOnce));
    assert_eq!(orders.iter().filter(|order| matches!(order, Action::Kill(_))).count(), 4);
    exit_leavers(&mut world);
    assert!(world.watch.left);
}

#[test]
fn a_restart_replaces_one_slot_with_the_same_generation() {
    let mut world = Rules::new(2).running();
    let old = world.worker(1);
    let (ticket, _) = world.ask(Command::Restart(Some(SlotId(1)), all()));
    let new = WorkerId { slot: SlotId(1), incarnation: 2 };
    come_up(&mut world, &[new]);
    world.pass(secs(1));
    assert_eq!(world.answer(ticket), Some(Answer::Done));
    assert_eq!(world.worker(1), new);
    assert!(world.watch.processes[&old].drain);
    assert_eq!(world.app.view().generation, OLD);
}

#[test]
fn a_restart_of_all_slots_rolls_through_them_and_stops_at_the_first_failure() {
    let mut world = Rules::new(3).running();
    let (ticket, _) = world.ask(Command::Restart(None, rolling(1)));
    let first = WorkerId { slot: SlotId(0), incarnation: 2 };
    come_up(&mut world, &[first]);
    world.pass(secs(1));
    exit_leavers(&mut world);
    world.tell(Event::Exited(WorkerId { slot: SlotId(1), incarnation: 2 }, FAILED));
    assert_eq!(world.answer(ticket), Some(Answer::RolledBack));
    assert_eq!(states(&world, OLD), [SlotState::Ready; 3]);
    assert_eq!(world.worker(0), first, "what was restarted stays");
}

#[test]
fn a_restart_that_fails_where_nobody_serves_has_nothing_to_go_back_to() {
    let mut world = Rules::new(2).intensity(0, secs(10)).running();
    world.exit(1, FAILED);
    assert_eq!(world.state(1), SlotState::GaveUp);
    for (slot, end) in [(1, Answer::Failed), (0, Answer::RolledBack)] {
        let (ticket, _) = world.ask(Command::Restart(Some(SlotId(slot)), all()));
        world.tell(Event::Exited(WorkerId { slot: SlotId(slot), incarnation: 2 }, FAILED));
        assert_eq!(world.answer(ticket), Some(end));
    }
    assert_eq!(states(&world, OLD), [SlotState::Ready], "who was there serves");
}

#[test]
fn nobody_restarts_a_slot_that_does_not_exist() {
    let mut world = Rules::new(2).running();
    let (ticket, _) = world.ask(Command::Restart(Some(SlotId(2)), all()));
    assert_eq!(world.answer(ticket), Some(Answer::Refused(Refusal::NoSuchSlot)));
}

#[test]
fn a_reload_is_the_remedy_for_slots_that_gave_up() {
    let mut world = Rules::new(2).intensity(0, secs(10)).running();
    world.exit(0, FAILED);
    let ticket = reload(&mut world, all());
    world.exit(1, FAILED);
    assert_eq!(world.app.view().state, AppState::Reloading, "not given up while there is hope");
    let new = of(&world, NEW);
    come_up(&mut world, &new);
    world.pass(secs(1));
    assert_eq!(world.answer(ticket), Some(Answer::Done));
    assert_eq!([0, 1].map(|slot| world.state(slot)), [SlotState::Ready; 2]);
}

#[test]
fn an_app_whose_last_hope_was_a_reload_gives_up_with_it() {
    let mut world = Rules::new(1).intensity(0, secs(10)).running();
    reload(&mut world, all());
    world.exit(0, FAILED);
    let new = of(&world, NEW);
    world.tell(Event::Exited(new[0], Exit::Code(2)));
    assert!(world.watch.left);
    assert_eq!(world.verdict(), Some(clustr_core::Verdict::GaveUp));
}
