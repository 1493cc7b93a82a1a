//! How one worker is asked to end, and what if it does not.

use clustr_core::{Action, Notice, SlotState, StopOrder, Target};

use crate::world::{CLEAN, KILLED, Rules, World, millis, secs};

/// Two workers, of which the second is about to be unwanted.
fn stopping(order: StopOrder) -> (World, Vec<Action>) {
    let mut world = Rules::new(2).with(|builder| builder.stop_order(order)).running();
    let (_, orders) = world.scale(Target::To(1));
    (world, orders)
}

#[test]
fn a_stop_withholds_drains_signals_and_kills() {
    let (mut world, orders) = stopping(StopOrder::DrainFirst);
    let worker = world.worker(1);
    let first =
        [Action::Withhold(worker), Action::Drain(worker), Action::Notify(Notice::Stopping { worker })];
    assert_eq!(orders[2..5], first);
    assert_eq!(world.state(1), SlotState::Draining);
    assert_eq!(world.pass(secs(9) - millis(1)), []);
    assert_eq!(world.pass(millis(1)), [Action::Terminate(worker)]);
    assert_eq!(world.state(1), SlotState::Stopping);
    let killing = Notice::Killing { worker, after: secs(10) };
    assert_eq!(world.pass(secs(1)), [Action::Kill(worker), Action::Notify(killing)]);
}

#[test]
fn signal_first_reverses_the_polite_words() {
    let (mut world, orders) = stopping(StopOrder::SignalFirst);
    let worker = world.worker(1);
    assert_eq!(orders[2..4], [Action::Withhold(worker), Action::Terminate(worker)]);
    assert_eq!(world.pass(secs(9)), [Action::Drain(worker)]);
    assert!(world.drain_failed(1).is_empty());
    let killing = Notice::Killing { worker, after: secs(10) };
    assert_eq!(world.pass(secs(1)), [Action::Kill(worker), Action::Notify(killing)]);
}

#[test]
fn a_worker_that_cannot_be_asked_to_drain_is_signalled_at_once() {
    let (mut world, _) = stopping(StopOrder::DrainFirst);
    let worker = world.worker(1);
    assert_eq!(world.drain_failed(1), [Action::Terminate(worker)]);
    assert!(world.drain_failed(1).is_empty());
    assert_eq!(world.app.deadline().unwrap().at, world.now + secs(10), "it still has all its time");
}

#[test]
fn a_drained_worker_that_stays_is_signalled_after_a_moment() {
    let (mut world, _) = stopping(StopOrder::DrainFirst);
    let worker = world.worker(1);
    world.pass(secs(1));
    world.drained(1);
    assert_eq!(world.pass(millis(199)), []);
    assert_eq!(world.pass(millis(1)), [Action::Terminate(worker)]);
    assert_eq!(world.app.deadline().unwrap().at, world.now + millis(8_800));
}

#[test]
fn a_worker_that_drains_late_is_not_given_more_time() {
    let (mut world, _) = stopping(StopOrder::DrainFirst);
    let worker = world.worker(1);
    world.pass(millis(8_900));
    world.drained(1);
    assert_eq!(world.pass(millis(100)), [Action::Terminate(worker)]);
}

#[test]
fn a_drained_worker_that_goes_is_gone() {
    let (mut world, _) = stopping(StopOrder::DrainFirst);
    world.drained(1);
    world.exit(1, CLEAN);
    assert_eq!(world.state(1), SlotState::Vacant);
    assert_eq!(world.app.deadline(), None);
}

#[test]
fn without_a_stop_timeout_a_stop_kills() {
    let mut world = Rules::new(2).with(|builder| builder.stop_timeout(secs(0))).running();
    let (_, orders) = world.scale(Target::To(1));
    let worker = world.worker(1);
    let killing = Notice::Killing { worker, after: secs(0) };
    assert_eq!(orders[2..5], [Action::Withhold(worker), Action::Kill(worker), Action::Notify(killing)]);
}

#[test]
fn an_endless_stop_timeout_waits_for_ever() {
    let mut world = Rules::new(2).with(|builder| builder.stop_timeout(std::time::Duration::MAX)).running();
    world.scale(Target::To(1));
    assert_eq!(world.app.deadline(), None);
}

#[test]
fn a_worker_that_outlives_its_kill_is_told_of_once_and_killed_ever_more_rarely() {
    let (mut world, _) = stopping(StopOrder::DrainFirst);
    let worker = world.worker(1);
    world.pass(secs(10));
    let unkillable = Action::Notify(Notice::Unkillable { worker });
    assert_eq!(world.pass(secs(5)), [Action::Kill(worker), unkillable]);
    for wait in [10, 20, 40, 60, 60] {
        assert_eq!(world.pass(secs(wait) - millis(1)), [], "{wait}");
        assert_eq!(world.pass(millis(1)), [Action::Kill(worker)], "{wait}");
    }
    world.exit(1, KILLED);
    assert_eq!(world.state(1), SlotState::Vacant);
}

#[test]
fn a_slot_with_an_unkillable_worker_waits_for_it_and_then_goes_on() {
    let mut world = Rules::new(1).started();
    world.unfit(0);
    world.pass(secs(300));
    assert_eq!(world.state(0), SlotState::Stopping, "never two workers in one slot");
    world.exit(0, KILLED);
    assert_eq!(world.state(0), SlotState::Resting);
}

#[test]
fn a_worker_is_stopped_in_the_same_way_before_it_is_ready_or_even_spawned() {
    let mut world = Rules::new(2).asleep(0);
    world.start();
    world.serve(0);
    let worker = world.worker(1);
    let (_, orders) = world.scale(Target::To(1));
    assert_eq!(orders[2..4], [Action::Withhold(worker), Action::Drain(worker)]);
    world.spawned(1);
    world.ready(1);
    assert_eq!(world.state(1), SlotState::Draining);
}

#[test]
fn a_stop_of_a_worker_that_could_not_even_be_spawned_is_over() {
    let mut world = Rules::new(2).asleep(0);
    world.start();
    world.serve(0);
    world.scale(Target::To(1));
    world.program_wrong(1);
    assert_eq!(world.state(1), SlotState::Vacant);
}

#[test]
fn an_exit_that_was_asked_for_is_expected_and_counts_for_nothing() {
    let (mut world, _) = stopping(StopOrder::DrainFirst);
    let worker = world.worker(1);
    world.exit(1, KILLED);
    let lived = secs(0);
    assert!(world.told(Notice::Exited { worker, exit: KILLED, expected: true, was_ready: true, lived }));
    world.scale(Target::To(2));
    assert_eq!((world.view(1).restarts, world.view(1).recent_restarts), (0, 0));
}

#[test]
fn a_clock_that_jumped_over_two_deadlines_still_says_one_word_at_a_time() {
    let (mut world, _) = stopping(StopOrder::DrainFirst);
    let worker = world.worker(1);
    world.now = world.now + secs(100);
    assert_eq!(world.timeout(), [Action::Terminate(worker)]);
    assert!(world.app.deadline().unwrap().within(world.now).is_zero());
    assert_eq!(world.timeout()[0], Action::Kill(worker));
    assert!(world.timeout().is_empty());
}
