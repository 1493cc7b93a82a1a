//! From a start to the first admission.

use clustr_core::{Action, AppState, Due, Notice, Overdue, RestartMode, SlotId, SlotState};

use crate::world::{KILLED, Rules, millis, secs};

#[test]
fn a_worker_is_admitted_when_it_is_ready_and_not_before() {
    let mut world = Rules::new(1).asleep(0);
    let started = world.start();
    let worker = world.worker(0);
    assert_eq!(started, [Action::Spawn(worker, clustr_core::Generation(1))]);
    world.spawned(0);
    world.pass(millis(250));
    let ready = Notice::Ready { worker, took: millis(250), assumed: false };
    let running = Notice::Running { ready: 1 };
    assert_eq!(world.ready(0), [Action::Admit(worker), Action::Notify(ready), Action::Notify(running)]);
}

#[test]
fn every_start_has_a_deadline() {
    let world = Rules::new(3).started();
    let deadline = world.app.deadline().unwrap();
    assert_eq!((deadline.at, deadline.why), (world.now + secs(30), Due::Readiness(SlotId(0))));
}

#[test]
fn a_worker_that_never_says_so_counts_as_ready_at_its_deadline() {
    let mut world = Rules::new(1).started();
    let worker = world.worker(0);
    world.pass(secs(30));
    assert!(world.told(Notice::Ready { worker, took: secs(30), assumed: true }));
    assert!(world.ready(0).is_empty(), "its own word, later, changes nothing");
    assert_eq!(world.app.view().ignored_events, 0, "and is nothing odd");
    world.ready(0);
    assert_eq!(world.app.view().ignored_events, 1, "but only once");
}

#[test]
fn a_worker_that_misses_its_deadline_is_killed_and_replaced() {
    let mut world = Rules::new(1).overdue(Overdue::Fails, secs(5)).started();
    let worker = world.worker(0);
    let overdue = Notice::Overdue { worker, after: secs(5) };
    let expected = [Action::Withhold(worker), Action::Kill(worker), Action::Notify(overdue)];
    assert_eq!(world.pass(secs(5)), expected);
    assert_eq!(world.state(0), SlotState::Stopping);
    world.exit(0, KILLED);
    assert_eq!((world.state(0), world.view(0).recent_restarts), (SlotState::Resting, 1));
    world.pass(millis(100));
    assert_eq!(world.worker(0).incarnation, 2);
}

#[test]
fn a_temporary_worker_that_misses_its_deadline_is_not_started_again() {
    let rules = Rules::new(2).overdue(Overdue::Fails, secs(5));
    let mut world = rules.with(|builder| builder.restart(RestartMode::Temporary)).started();
    world.ready(1);
    world.pass(secs(5));
    world.exit(0, KILLED);
    assert_eq!(world.state(0), SlotState::Done);
}

#[test]
fn readiness_that_comes_while_a_worker_is_on_its_way_out_admits_nobody() {
    let mut world = Rules::new(1).overdue(Overdue::Fails, secs(5)).started();
    world.pass(secs(5));
    assert!(world.ready(0).is_empty());
}

#[test]
fn an_endless_readiness_timeout_has_no_deadline() {
    let world = Rules::new(1).overdue(Overdue::Fails, std::time::Duration::MAX).started();
    assert_eq!(world.app.deadline(), None);
}

#[test]
fn the_app_runs_when_every_wanted_slot_has_settled_and_says_so_once() {
    let mut world = Rules::new(3).started();
    world.ready(0);
    world.ready(1);
    assert_eq!(world.app.view().state, AppState::Starting);
    world.ready(2);
    assert_eq!(world.app.view().state, AppState::Running);
    assert!(world.told(Notice::Running { ready: 3 }));
    world.exit(0, KILLED);
    world.serve(0);
    let running = |action: &&Action| matches!(action, Action::Notify(Notice::Running { .. }));
    assert_eq!(world.log.iter().filter(running).count(), 1);
}

#[test]
fn a_slot_that_gave_up_does_not_keep_the_app_from_running() {
    let mut world = Rules::new(2).intensity(0, secs(10)).started();
    world.ready(0);
    world.exit(1, KILLED);
    assert_eq!(world.app.view().state, AppState::Running);
    assert!(world.told(Notice::Running { ready: 1 }));
}

#[test]
fn starting_twice_starts_once() {
    let mut world = Rules::new(2).running();
    assert!(world.start().is_empty());
}
