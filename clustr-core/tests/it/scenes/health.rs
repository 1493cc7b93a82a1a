//! Workers that are replaced for their own sake: failing ones, and those that have served long enough.

use std::time::Duration;

use clustr_core::{
    Action, Ailment, Answer, Command, Due, Event, ExitCodes, Notice, Overdue, Plan, RestartMode, Setback,
    SlotId, SlotState, Verdict, Wear, Why, WorkerId,
};

use crate::world::{CLEAN, FAILED, KILLED, Rules, SEGV, World, millis, secs};

fn failing(world: &mut World, slot: u32) -> WorkerId {
    let worker = world.worker(slot);
    world.tell(Event::Failing(worker, Ailment::Probe));
    worker
}

fn worn(world: &mut World, slot: u32) -> WorkerId {
    let worker = world.worker(slot);
    world.tell(Event::Worn(worker, Wear::MaxRss));
    worker
}

/// The newest worker of a slot.
fn newest(world: &World, slot: u32) -> WorkerId {
    world.app.workers().map(|view| view.worker).filter(|worker| worker.slot.0 == slot).max().unwrap()
}

fn come_up(world: &mut World, worker: WorkerId) {
    world.tell(Event::Spawned(worker));
    world.tell(Event::Ready(worker));
}

#[test]
fn a_failing_worker_is_removed_when_its_replacement_is_ready_and_not_before() {
    let mut world = Rules::new(2).running();
    let old = failing(&mut world, 0);
    let new = newest(&world, 0);
    assert_ne!(old, new);
    assert!(!world.watch.processes[&old].withheld);
    come_up(&mut world, new);
    assert_eq!(world.worker(0), new);
    assert!(world.watch.processes[&old].drain);
    assert!(world.told(Notice::Renewed { worker: old, by: new, ready: true }));
    assert_eq!(world.view(0).recent_restarts, 0);
}

#[test]
fn a_failing_worker_is_removed_at_the_hang_timeout_even_if_its_replacement_is_not_ready() {
    let mut world = Rules::new(2).with(|builder| builder.hang_timeout(secs(5))).running();
    let old = failing(&mut world, 0);
    let new = newest(&world, 0);
    world.tell(Event::Spawned(new));
    world.pass(millis(4_999));
    assert_eq!(world.worker(0), old);
    world.pass(millis(1));
    assert_eq!((world.worker(0), world.state(0)), (new, SlotState::Starting));
    assert!(world.watch.processes[&old].drain);
}

#[test]
fn a_failing_worker_whose_replacement_fails_is_removed_at_the_hang_timeout_and_its_slot_restarts() {
    let mut world = Rules::new(2).with(|builder| builder.hang_timeout(secs(5))).running();
    let old = failing(&mut world, 0);
    let new = newest(&world, 0);
    world.tell(Event::Spawned(new));
    world.tell(Event::Exited(new, FAILED));
    let why = Why::Failing(Ailment::Probe);
    let setback = Setback::ExitedEarly(FAILED);
    assert!(world.told(Notice::NotRenewed { worker: old, why, setback }));
    assert_eq!(world.state(0), SlotState::Ready);
    world.pass(secs(5));
    assert_eq!(world.state(0), SlotState::Draining);
    world.tell(Event::Exited(old, KILLED));
    assert_eq!(world.worker(0).incarnation, 3);
}

#[test]
fn a_failing_worker_that_dies_leaves_its_place_to_the_replacement() {
    let mut world = Rules::new(2).running();
    let old = failing(&mut world, 0);
    let new = newest(&world, 0);
    world.tell(Event::Exited(old, SEGV));
    assert_eq!((world.worker(0), world.state(0)), (new, SlotState::Starting));
    assert_eq!(world.app.workers().count(), 2, "nobody else is started");
}

#[test]
fn not_even_if_all_fail_are_two_replaced_at_once() {
    let mut world = Rules::new(8).running();
    for slot in 0..8 {
        failing(&mut world, slot);
    }
    for _ in 0..8 {
        assert_eq!(world.app.workers().filter(|view| view.state == SlotState::Starting).count(), 1);
        assert_eq!(world.app.view().ready, 8);
        let new = world.app.workers().find(|view| view.state == SlotState::Starting).unwrap().worker;
        come_up(&mut world, new);
        world.pass(millis(400));
        assert_eq!(
            world.app.workers().filter(|view| view.state == SlotState::Starting).count(),
            0,
            "a pause"
        );
        world.pass(millis(1_200));
    }
    assert!((0..8).all(|slot| world.worker(slot).incarnation == 2));
}

#[test]
fn one_that_fails_has_its_turn_before_those_that_are_worn() {
    let mut world = Rules::new(4).running();
    let _under_way = worn(&mut world, 0);
    let _next = worn(&mut world, 1);
    let _first = failing(&mut world, 3);
    let new = newest(&world, 0);
    come_up(&mut world, new);
    world.pass(secs(2));
    assert_eq!(newest(&world, 3).incarnation, 2);
    assert_eq!(newest(&world, 1).incarnation, 1);
}

#[test]
fn a_worker_that_recovers_keeps_its_place() {
    let mut world = Rules::new(3).running();
    let (first, second) = (failing(&mut world, 0), failing(&mut world, 1));
    world.tell(Event::Recovered(first));
    assert_eq!((world.worker(0), world.state(0)), (first, SlotState::Ready));
    assert!(world.watch.processes[&newest(&world, 0)].is_leaving());
    world.tell(Event::Recovered(second));
    world.pass(secs(60));
    assert_eq!(newest(&world, 1), second);
}

#[test]
fn a_worn_worker_that_failed_meanwhile_is_replaced_although_it_recovers() {
    for worn_first in [true, false] {
        let mut world = Rules::new(2).with(|builder| builder.hang_timeout(secs(5))).running();
        let old = if worn_first { worn(&mut world, 0) } else { failing(&mut world, 0) };
        let new = newest(&world, 0);
        if worn_first {
            failing(&mut world, 0)
        } else {
            worn(&mut world, 0)
        };
        world.tell(Event::Recovered(old));
        assert!(!world.watch.processes[&new].is_leaving(), "the replacement goes on");
        world.pass(secs(20));
        assert_eq!(world.worker(0), old, "one that serves is not removed at the hang timeout");
        come_up(&mut world, new);
        assert_eq!(world.worker(0), new);
    }
}

#[test]
fn a_worn_worker_that_failed_while_it_waited_for_its_turn_keeps_a_turn() {
    for worn_first in [true, false] {
        let mut world = Rules::new(3).running();
        let _under_way = worn(&mut world, 0);
        let old = worn(&mut world, 1);
        if !worn_first {
            // The other order, of another slot.
            failing(&mut world, 2);
            worn(&mut world, 2);
            let recovered = world.worker(2);
            world.tell(Event::Recovered(recovered));
        }
        failing(&mut world, 1);
        world.tell(Event::Recovered(old));
        let new = newest(&world, 0);
        come_up(&mut world, new);
        for slot in if worn_first { [1].as_slice() } else { &[2, 1] } {
            world.pass(secs(2));
            let new = newest(&world, *slot);
            assert_eq!(new.incarnation, 2, "slot {slot}");
            come_up(&mut world, new);
        }
    }
}

#[test]
fn a_worn_worker_whose_replacement_failed_before_it_recovered_is_tried_again_later() {
    let mut world = Rules::new(2).running();
    let old = worn(&mut world, 0);
    failing(&mut world, 0);
    let new = newest(&world, 0);
    world.tell(Event::Spawned(new));
    world.tell(Event::Exited(new, FAILED));
    world.tell(Event::Recovered(old));
    assert_eq!(newest(&world, 0), old);
    world.pass(secs(46));
    let again = newest(&world, 0);
    assert_ne!(again, old);
    come_up(&mut world, again);
    assert_eq!(world.worker(0), again);
}

/// Lets every worker of slot 0 be ready at once and fail after `life`, until `end` has passed. When each came.
fn renew_for_ever(
    world: &mut World,
    life: Duration,
    end: Duration,
    why: fn(&mut World, u32) -> WorkerId,
) -> Vec<Duration> {
    let begun = world.now;
    let mut came = Vec::new();
    while world.now.since(begun) < end {
        world.pass(life);
        let old = why(world, 0);
        while newest(world, 0) == old {
            world.pass(millis(100));
        }
        came.push(world.now.since(begun));
        let new = newest(world, 0);
        come_up(world, new);
        world.tell(Event::Exited(old, CLEAN));
    }
    came
}

#[test]
fn replacements_that_fail_as_those_before_them_wait_longer_each_time() {
    for why in [failing, worn] {
        let mut world = Rules::new(2).running();
        let came = renew_for_ever(&mut world, millis(500), secs(3_600), why);
        assert!((15..=35).contains(&came.len()), "{} replacements in an hour", came.len());
        let gaps: Vec<Duration> = came.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps[0] <= millis(3_700) && gaps[3] >= secs(8), "{gaps:?}");
        assert!(gaps.iter().all(|gap| *gap <= secs(452)), "{gaps:?}");
        let told = |action: &&Action| matches!(action, Action::Notify(Notice::RenewedInVain { .. }));
        let told: Vec<&Action> = world.log.iter().filter(told).collect();
        assert!(matches!(told[..], [Action::Notify(Notice::RenewedInVain { renewals: 2, .. })]), "{told:?}");
    }
}

#[test]
fn a_replacement_that_lived_well_is_replaced_without_that_wait() {
    let mut world = Rules::new(2).running();
    renew_for_ever(&mut world, millis(500), secs(60), failing);
    world.pass(secs(10));
    let old = failing(&mut world, 0);
    assert_ne!(newest(&world, 0), old);
    let new = newest(&world, 0);
    come_up(&mut world, new);
    world.pass(millis(500));
    let old = failing(&mut world, 0);
    world.pass(millis(3_000));
    assert_ne!(newest(&world, 0), old, "the next row begins as the first one did");
}

#[test]
fn one_slot_whose_replacements_fail_keeps_no_other_from_its_turn() {
    let mut world = Rules::new(2).running();
    renew_for_ever(&mut world, millis(500), secs(60), failing);
    let held = failing(&mut world, 0);
    let other = failing(&mut world, 1);
    world.pass(secs(2));
    assert_ne!(newest(&world, 1), other);
    assert_eq!(newest(&world, 0), held);
}

#[test]
fn one_that_recovers_while_it_waits_keeps_its_place() {
    let mut world = Rules::new(2).running();
    renew_for_ever(&mut world, millis(500), secs(60), failing);
    let held = failing(&mut world, 0);
    world.tell(Event::Recovered(held));
    assert_eq!(world.app.deadline(), None);
    world.pass(secs(600));
    assert_eq!(newest(&world, 0), held);
}

#[test]
fn workers_that_are_worn_as_often_as_somebody_wished_do_not_wait() {
    let mut world = Rules::new(2).running();
    let asks = |world: &mut World, slot| {
        let worker = world.worker(slot);
        world.tell(Event::Worn(worker, Wear::MaxRequests));
        worker
    };
    let came = renew_for_ever(&mut world, millis(500), secs(60), asks);
    assert!(came.len() >= 30, "{}", came.len());
}

#[test]
fn a_worn_worker_stays_until_a_replacement_will_do() {
    let mut world = Rules::new(2).running();
    let old = worn(&mut world, 0);
    let new = newest(&world, 0);
    world.tell(Event::Spawned(new));
    world.tell(Event::Exited(new, FAILED));
    assert_eq!((world.worker(0), world.state(0)), (old, SlotState::Ready));
    world.pass(secs(46));
    let again = newest(&world, 0);
    assert_ne!(again, old, "it is tried again, later");
    come_up(&mut world, again);
    assert_eq!(world.worker(0), again);
}

#[test]
fn workers_of_one_age_are_recycled_one_after_the_other_and_never_by_one_clock() {
    let mut world = Rules::new(4).with(|builder| builder.max_age(Some(secs(100)))).asleep(7);
    world.start();
    for slot in 0..4 {
        world.serve(slot);
    }
    let mut moments = Vec::new();
    while moments.len() < 4 {
        let deadline = world.app.deadline().unwrap();
        assert!(matches!(deadline.why, Due::Age(_) | Due::Renewal | Due::Escalation(_)));
        world.pass_to_deadline();
        let starting = world.app.workers().find(|view| view.state == SlotState::Starting);
        if let Some(new) = starting {
            moments.push(world.now.since(clustr_core::Time::from_nanos(1_000_000_000_000)));
            come_up(&mut world, new.worker);
        }
    }
    assert!(moments.iter().all(|at| (secs(90)..=secs(130)).contains(at)), "{moments:?}");
    assert!(moments.windows(2).all(|pair| pair[1] - pair[0] >= millis(500)), "{moments:?}");
    assert!(world.log.contains(&Action::Notify(Notice::Renewed {
        worker: WorkerId { slot: SlotId(0), incarnation: 1 },
        by: WorkerId { slot: SlotId(0), incarnation: 2 },
        ready: true,
    })));
}

#[test]
fn a_reload_calls_off_what_is_under_way_and_makes_it_unnecessary() {
    let mut world = Rules::new(1).running();
    let old = failing(&mut world, 0);
    let called_off = newest(&world, 0);
    let (ticket, _) = world.ask(Command::Reload(Plan::all(Duration::ZERO)));
    assert!(world.watch.processes[&called_off].is_leaving());
    let new = newest(&world, 0);
    come_up(&mut world, new);
    assert_eq!(world.answer(ticket), Some(Answer::Done));
    for worker in [old, called_off] {
        world.tell(Event::Exited(worker, CLEAN));
    }
    assert_eq!(world.pass(secs(600)), [], "the one that failed is gone");
}

#[test]
fn what_a_failed_reload_called_off_is_asked_for_again() {
    let mut world = Rules::new(1).overdue(Overdue::Fails, secs(5)).running();
    let old = failing(&mut world, 0);
    world.ask(Command::Reload(Plan::all(Duration::ZERO)));
    let new = newest(&world, 0);
    world.tell(Event::Spawned(new));
    world.tell(Event::Exited(new, FAILED));
    assert_eq!(world.worker(0), old);
    let replacement = newest(&world, 0);
    assert_ne!(replacement, new);
    come_up(&mut world, replacement);
    assert_eq!(world.worker(0), replacement);
}

#[test]
fn a_scale_down_takes_the_replacement_along() {
    let mut world = Rules::new(2).running();
    failing(&mut world, 1);
    let new = newest(&world, 1);
    let (ticket, _) = world.scale(clustr_core::Target::To(1));
    assert!(world.watch.processes[&new].is_leaving());
    world.exit(1, CLEAN);
    assert_eq!(world.answer(ticket), None);
    world.tell(Event::Exited(new, CLEAN));
    assert_eq!(world.answer(ticket), Some(Answer::Done));
}

#[test]
fn an_exit_with_a_stop_code_ends_the_slot_in_every_restart_mode() {
    for mode in [RestartMode::Permanent, RestartMode::Transient, RestartMode::Temporary] {
        let codes = ExitCodes::new(&[0, 78]);
        let mut world = Rules::new(2).with(|builder| builder.restart(mode).stop_exit_codes(codes)).running();
        world.exit(0, clustr_core::Exit::Code(78));
        assert_eq!(world.state(0), SlotState::Done);
        world.exit(1, CLEAN);
        assert_eq!(world.verdict(), Some(Verdict::Finished));
    }
}

#[test]
fn other_codes_and_signals_are_no_stop_codes() {
    let mut world =
        Rules::new(2).with(|builder| builder.stop_exit_codes(ExitCodes::new(&[78, 255]))).running();
    for exit in [FAILED, SEGV, clustr_core::Exit::Code(-1), clustr_core::Exit::Code(256)] {
        world.exit(0, exit);
        assert_ne!(world.state(0), SlotState::Done, "{exit:?}");
        world.pass(secs(5));
        world.serve(0);
        world.pass(secs(11));
    }
}
