//! Who has a successor, and how long its slot rests before.

use clustr_core::{
    Action, Backoff, Event, Exit, Generation, Notice, Policy, PolicyError, RestartMode, SlotId, SlotState,
    SpawnFault, Time, WorkerId,
};

use crate::world::{CLEAN, FAILED, Rules, SEGV, World, millis, secs};

fn mode(mode: RestartMode) -> Rules {
    Rules::new(2).with(|builder| builder.restart(mode))
}

/// Slot 0 of a running world ends this way; what is there afterwards?
fn after_exit(restart: RestartMode, exit: Exit) -> SlotState {
    let mut world = mode(restart).running();
    world.exit(0, exit);
    world.state(0)
}

#[test]
fn a_permanent_worker_is_restarted_after_every_exit() {
    for exit in [CLEAN, FAILED, SEGV] {
        assert_eq!(after_exit(RestartMode::Permanent, exit), SlotState::Starting, "{exit:?}");
    }
}

#[test]
fn a_transient_worker_is_restarted_after_failures_only() {
    assert_eq!(after_exit(RestartMode::Transient, CLEAN), SlotState::Done);
    assert_eq!(after_exit(RestartMode::Transient, FAILED), SlotState::Starting);
    assert_eq!(after_exit(RestartMode::Transient, SEGV), SlotState::Starting);
}

#[test]
fn a_temporary_worker_is_never_restarted() {
    for exit in [CLEAN, FAILED, SEGV] {
        assert_eq!(after_exit(RestartMode::Temporary, exit), SlotState::Done, "{exit:?}");
    }
}

#[test]
fn a_restart_tells_of_the_exit_and_makes_a_fresh_incarnation() {
    let mut world = Rules::new(2).running();
    let (old, new) = (world.worker(0), WorkerId { slot: SlotId(0), incarnation: 2 });
    world.pass(secs(3));
    let orders = world.exit(0, SEGV);
    let lived = secs(3);
    let exited = Notice::Exited { worker: old, exit: SEGV, expected: false, was_ready: true, lived };
    let expected = [Action::Withhold(old), Action::Notify(exited), Action::Spawn(new, Generation(1))];
    assert_eq!(orders, expected);
    let view = world.view(0);
    assert_eq!((view.restarts, view.recent_restarts, view.last_exit), (1, 1, Some(SEGV)));
}

#[test]
fn one_workers_exit_leaves_the_others_alone() {
    let mut world = Rules::new(4).running();
    let (old, new) = (world.worker(2), WorkerId { slot: SlotId(2), incarnation: 2 });
    let orders = world.exit(2, FAILED);
    assert_eq!(orders[0], Action::Withhold(old));
    assert_eq!(orders[2..], [Action::Spawn(new, Generation(1))]);
    assert_eq!(world.app.view().ready, 3);
}

#[test]
fn the_first_exit_after_ready_is_answered_at_once_and_the_next_ones_rest_ever_longer() {
    let mut world = Rules::new(1).running();
    assert_eq!(rests(&mut world, 4), [0, 100, 200, 400]);
}

/// How long the slot rests after each of so many exits right after ready.
fn rests(world: &mut World, exits: u32) -> Vec<u128> {
    let rest_after_exit = |_| {
        world.exit(0, FAILED);
        let rest = world.view(0).rests_until.map_or(0, |until| until.since(world.now).as_millis());
        world.pass(millis(u64::try_from(rest).unwrap()));
        world.serve(0);
        rest
    };
    (0..exits).map(rest_after_exit).collect()
}

#[test]
fn rests_are_capped() {
    let backoff = Backoff { first: secs(1), factor: 10, cap: secs(5), jitter_percent: 0 };
    let rules = Rules::new(1).intensity(100, secs(1)).with(|builder| builder.backoff(backoff));
    assert_eq!(rests(&mut rules.running(), 5), [0, 1_000, 5_000, 5_000, 5_000]);
}

#[test]
fn rests_are_jittered_by_the_seed_alone() {
    let backoff = Backoff { first: secs(1), factor: 1, cap: secs(1), jitter_percent: 20 };
    let rest = |seed| {
        let mut world = Rules::new(1).with(|builder| builder.backoff(backoff)).asleep(seed);
        world.start();
        world.program_wrong(0);
        world.view(0).rests_until.unwrap().since(world.now)
    };
    assert_eq!(rest(1), rest(1));
    assert_ne!(rest(1), rest(2));
    assert!((0..100).map(rest).all(|rest| (millis(800)..=millis(1_200)).contains(&rest)));
}

#[test]
fn a_life_that_was_ready_for_the_stable_time_forgives_the_exits_before_it() {
    let rules = Rules::new(1).intensity(100, secs(1)).with(|builder| builder.stable_time(secs(10)));
    let mut world = rules.running();
    assert_eq!(rests(&mut world, 3), [0, 100, 200]);
    world.pass(secs(10));
    assert_eq!(rests(&mut world, 2), [0, 100]);
    world.pass(secs(10) - millis(1));
    assert_eq!(rests(&mut world, 1), [200], "a moment short of stable is not stable");
}

#[test]
fn stability_is_judged_at_the_exit_and_wakes_nobody() {
    let world = Rules::new(3).running();
    assert_eq!(world.app.deadline(), None);
}

#[test]
fn an_exit_before_ready_always_rests() {
    let mut world = Rules::new(2).started();
    world.exit(0, FAILED);
    assert_eq!(world.state(0), SlotState::Resting);
    world.pass(millis(99));
    assert_eq!(world.state(0), SlotState::Resting);
    world.pass(millis(1));
    assert_eq!(world.state(0), SlotState::Starting);
}

#[test]
fn a_failed_start_is_told_with_its_rest() {
    let mut world = Rules::new(2).started();
    world.exit(0, FAILED);
    assert!(world.told(Notice::Resting { slot: SlotId(0), rest: millis(100), recent: 1 }));
}

#[test]
fn a_program_that_cannot_be_started_counts_and_rests() {
    let mut world = mode(RestartMode::Temporary).asleep(0);
    world.start();
    let worker = world.worker(0);
    world.program_wrong(0);
    assert!(world.told(Notice::NotStarted { worker, fault: SpawnFault::Program }));
    assert_eq!(world.state(0), SlotState::Resting, "nobody has exited: no restart mode forbids another try");
    assert_eq!(world.view(0).recent_restarts, 1);
}

#[test]
fn a_host_that_is_short_is_asked_again_ever_more_rarely_and_costs_no_restart() {
    let mut world = Rules::new(1).asleep(0);
    world.start();
    for rest in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000] {
        world.host_short(0);
        assert!(world.told(Notice::Resting { slot: SlotId(0), rest: millis(rest), recent: 0 }), "{rest}");
        world.pass(millis(rest));
    }
    world.serve(0);
    assert_eq!(world.view(0).restarts, 0);
}

#[test]
fn a_host_that_recovers_is_trusted_again() {
    let mut world = Rules::new(1).asleep(0);
    world.start();
    world.host_short(0);
    world.pass(millis(100));
    world.host_short(0);
    world.pass(millis(200));
    world.serve(0);
    world.exit(0, FAILED);
    world.host_short(0);
    assert_eq!(world.view(0).rests_until, Some(world.now + millis(100)));
}

#[test]
fn with_no_backoff_successors_start_at_once_but_a_short_host_still_rests() {
    let backoff = Backoff { first: secs(0), factor: 2, cap: secs(0), jitter_percent: 0 };
    let mut world = Rules::new(1).with(|builder| builder.backoff(backoff)).running();
    for _ in 0..4 {
        world.exit(0, FAILED);
        assert_eq!(world.state(0), SlotState::Starting);
    }
    world.host_short(0);
    assert_eq!(world.view(0).rests_until, Some(world.now + millis(100)));
}

#[test]
fn a_worker_that_leaves_is_withheld_at_once_and_followed_after_its_exit() {
    let mut world = Rules::new(2).running();
    let worker = world.worker(0);
    assert_eq!(world.left(0), [Action::Withhold(worker), Action::Notify(Notice::Left { worker })]);
    assert_eq!(world.state(0), SlotState::Draining);
    world.pass(secs(2));
    world.exit(0, CLEAN);
    let exited = Notice::Exited { worker, exit: CLEAN, expected: true, was_ready: true, lived: secs(2) };
    assert!(world.told(exited));
    assert_eq!(world.state(0), SlotState::Starting);
    assert_eq!(world.view(0).recent_restarts, 1, "leaving of its own accord is an ordinary exit");
}

#[test]
fn a_transient_worker_that_leaves_and_ends_well_is_done() {
    let mut world = mode(RestartMode::Transient).running();
    world.left(0);
    world.exit(0, CLEAN);
    assert_eq!(world.state(0), SlotState::Done);
    assert!(world.told(Notice::Done { slot: SlotId(0) }));
}

#[test]
fn a_worker_that_leaves_and_does_not_go_is_helped() {
    let mut world = Rules::new(2).running();
    let worker = world.worker(0);
    world.left(0);
    assert_eq!(world.pass(secs(9)), [Action::Terminate(worker)]);
    let killing = Notice::Killing { worker, after: secs(10) };
    assert_eq!(world.pass(secs(1)), [Action::Kill(worker), Action::Notify(killing)]);
}

#[test]
fn an_unfit_worker_is_killed_and_its_start_has_failed_in_every_restart_mode() {
    for restart in [RestartMode::Permanent, RestartMode::Transient, RestartMode::Temporary] {
        let mut world = mode(restart).started();
        let worker = world.worker(0);
        let killing = Notice::Killing { worker, after: secs(0) };
        let expected = [Action::Withhold(worker), Action::Kill(worker), Action::Notify(killing)];
        assert_eq!(world.unfit(0), expected);
        world.exit(0, CLEAN);
        assert_eq!(world.state(0), SlotState::Resting, "{restart:?}");
        assert_eq!(world.view(0).recent_restarts, 1);
    }
}

#[test]
fn facts_about_one_start_may_come_in_any_order() {
    let mut world = Rules::new(1).asleep(0);
    world.start();
    world.ready(0);
    assert_eq!(world.state(0), SlotState::Ready);
    let worker = world.worker(0);
    assert_eq!(world.spawned(0), [Action::Notify(Notice::Started { worker, generation: Generation(1) })]);
    assert_eq!(world.app.view().ignored_events, 0);
    assert!(world.spawned(0).is_empty(), "twice is once too often");
    assert_eq!(world.app.view().ignored_events, 1);
}

#[test]
fn a_clock_that_steps_back_stands_still() {
    let mut world = Rules::new(1).started();
    let worker = world.worker(0);
    let rest_begins = world.now;
    world.tell_at(Event::Exited(worker, FAILED), Time::ZERO);
    assert_eq!(world.view(0).rests_until, Some(rest_begins + millis(100)));
}

#[test]
fn an_invalid_policy_cannot_be_made() {
    let shrinking = Backoff { first: secs(2), factor: 1, cap: secs(1), jitter_percent: 0 };
    assert_eq!(Policy::builder(0).build(), Err(PolicyError::NoSlots));
    assert_eq!(Policy::builder(1_025).build(), Err(PolicyError::TooManySlots(1_025)));
    assert_eq!(Policy::builder(1).backoff(shrinking).build(), Err(PolicyError::CapBelowFirst));
}

#[test]
fn a_slot_whose_next_worker_is_waited_for_does_not_rest_and_is_as_close_to_giving_up() {
    let mut world = Rules::new(2).intensity(2, secs(60)).running();
    world.exit(0, FAILED);
    world.serve(0);
    world.exit(0, FAILED);
    assert_eq!(world.state(0), SlotState::Resting);
    let next = WorkerId { slot: SlotId(0), incarnation: 3 };
    assert_eq!(world.tell(Event::Awaited(SlotId(0))), [Action::Spawn(next, Generation(1))]);
    assert_eq!(world.tell(Event::Awaited(SlotId(0))), [], "it is on its way");
    world.serve(0);
    world.exit(0, FAILED);
    assert_eq!(world.state(0), SlotState::GaveUp);
    assert_eq!(world.tell(Event::Awaited(SlotId(0))), []);
}

#[test]
fn a_host_that_is_short_is_not_hurried() {
    let mut world = Rules::new(1).asleep(1);
    world.start();
    world.host_short(0);
    assert_eq!(world.tell(Event::Awaited(SlotId(0))), []);
    assert_eq!(world.state(0), SlotState::Resting);
}
