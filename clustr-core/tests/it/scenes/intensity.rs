//! When a slot gives up, and when it must not.

use clustr_core::{Action, Backoff, EndReason, Event, Notice, Overdue, SlotId, SlotState, Target};

use crate::world::{FAILED, KILLED, Rules, World, millis, secs};

/// Two slots without rests, so that time passes only where the scene says so. Slot 1 keeps the app alive.
fn world(restarts: u32) -> World {
    let backoff = Backoff { first: secs(0), factor: 1, cap: secs(0), jitter_percent: 0 };
    Rules::new(2).intensity(restarts, secs(10)).with(|builder| builder.backoff(backoff)).running()
}

fn crash(world: &mut World) -> SlotState {
    world.exit(0, FAILED);
    if world.state(0) == SlotState::Starting {
        world.serve(0);
    }
    world.state(0)
}

#[test]
fn a_slot_bears_as_many_restarts_as_its_intensity_and_gives_up_at_one_more() {
    let mut world = world(3);
    assert_eq!([(); 3].map(|()| crash(&mut world)), [SlotState::Ready; 3]);
    assert_eq!(crash(&mut world), SlotState::GaveUp);
    assert!(world.told(Notice::GaveUp { slot: SlotId(0), recent: 4, period: secs(10) }));
    assert_eq!(world.state(1), SlotState::Ready, "the others serve on");
}

#[test]
fn a_restart_exactly_one_period_ago_still_counts() {
    let mut world = world(1);
    assert_eq!(crash(&mut world), SlotState::Ready);
    world.pass(secs(10));
    assert_eq!(crash(&mut world), SlotState::GaveUp);
}

#[test]
fn a_restart_more_than_one_period_ago_does_not_count() {
    let mut world = world(1);
    assert_eq!(crash(&mut world), SlotState::Ready);
    world.pass(secs(10) + millis(1));
    assert_eq!(crash(&mut world), SlotState::Ready);
}

#[test]
fn the_window_slides() {
    let mut world = world(2);
    for _ in 0..20 {
        assert_eq!(crash(&mut world), SlotState::Ready);
        world.pass(millis(5_001));
    }
    crash(&mut world);
    assert_eq!(crash(&mut world), SlotState::GaveUp);
}

#[test]
fn with_intensity_zero_the_first_exit_is_one_too_many() {
    assert_eq!(crash(&mut world(0)), SlotState::GaveUp);
}

#[test]
fn an_endless_intensity_never_gives_up() {
    let mut world = world(u32::MAX);
    for _ in 0..10_000 {
        assert_eq!(crash(&mut world), SlotState::Ready);
    }
    assert_eq!(world.view(0).recent_restarts, 10_000);
}

#[test]
fn every_slot_has_its_own_intensity() {
    let mut world = world(1);
    crash(&mut world);
    world.exit(1, FAILED);
    assert_eq!((world.state(0), world.state(1)), (SlotState::Ready, SlotState::Starting));
}

#[test]
fn starts_that_fail_count_like_exits() {
    let mut world = world(2);
    world.exit(0, FAILED);
    world.exit(0, FAILED);
    world.program_wrong(0);
    assert_eq!(world.state(0), SlotState::GaveUp);
}

#[test]
fn a_short_host_never_makes_a_slot_give_up() {
    let mut world = world(0);
    world.scale(Target::To(3));
    for _ in 0..50 {
        world.host_short(2);
        world.pass_to_deadline();
    }
    assert_eq!(world.state(2), SlotState::Starting);
}

#[test]
fn a_slot_that_gave_up_stays_so_whatever_comes_late() {
    let mut world = world(0);
    let worker = world.worker(0);
    crash(&mut world);
    let deadline = world.app.deadline();
    assert_eq!(deadline, None, "nothing will happen by itself");
    world.tell(Event::Ready(worker));
    world.pass(secs(1_000));
    assert_eq!(world.state(0), SlotState::GaveUp);
}

#[test]
fn giving_up_is_reached_only_through_rests_if_there_are_rests() {
    let mut world = Rules::new(2).running();
    let mut rested = secs(0);
    while world.state(0) != SlotState::GaveUp {
        world.exit(0, FAILED);
        if let Some(until) = world.app.slot(SlotId(0)).and_then(|view| view.rests_until) {
            rested += until.since(world.now);
            world.pass_to_deadline();
        }
    }
    assert_eq!(rested, millis(100 + 200 + 400 + 800), "five restarts, the first of them at once");
}

#[test]
fn before_any_worker_was_ready_slow_failures_are_too_many_as_well() {
    let mut world = Rules::new(2).intensity(2, secs(10)).overdue(Overdue::Fails, secs(60)).started();
    for _ in 0..2 {
        assert_eq!(miss_the_deadline(&mut world), SlotState::Resting);
        world.pass(millis(500));
    }
    assert_eq!(world.verdict(), None);
    miss_the_deadline(&mut world);
    let told = |action: &Action| matches!(action, Action::Notify(Notice::GaveUp { recent: 3, period, .. }) if *period > secs(100));
    assert!(world.log.iter().any(told));
    assert!(world.told(Notice::Ending { reason: EndReason::GaveUp }));
}

#[test]
fn once_a_worker_was_ready_slow_failures_are_borne() {
    let mut world = Rules::new(2).intensity(2, secs(10)).overdue(Overdue::Fails, secs(60)).started();
    world.ready(1);
    for _ in 0..10 {
        assert_eq!(miss_the_deadline(&mut world), SlotState::Resting);
        world.pass(secs(31));
    }
}

fn miss_the_deadline(world: &mut World) -> SlotState {
    if !world.watch.processes[&world.worker(0)].spawned {
        world.spawned(0);
    }
    world.pass(secs(60));
    world.exit(0, KILLED);
    world.state(0)
}
