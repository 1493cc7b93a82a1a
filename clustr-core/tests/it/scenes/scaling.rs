//! More workers and fewer.

use clustr_core::{
    Action, Answer, Notice, Refusal, RestartMode, SLOTS_MAX, SlotId, SlotState, Target, Verdict,
};

use crate::world::{CLEAN, FAILED, Rules, millis, secs};

#[test]
fn scaling_up_fills_the_lowest_vacant_slots_and_is_done_when_they_are_ready() {
    let mut world = Rules::new(2).running();
    let (ticket, orders) = world.scale(Target::By(2));
    assert_eq!(orders[0], Action::Answer(ticket, Answer::Accepted));
    assert_eq!(world.worker(2).slot, SlotId(2));
    assert!(world.told(Notice::Scaled { from: 2, to: 4 }));
    world.serve(3);
    assert_eq!(world.answer(ticket), None);
    world.serve(2);
    assert_eq!(world.answer(ticket), Some(Answer::Done));
}

#[test]
fn scaling_down_stops_the_highest_slots_and_is_done_when_they_are_empty() {
    let mut world = Rules::new(4).running();
    let (ticket, orders) = world.scale(Target::To(2));
    let withheld: Vec<u32> = orders
        .iter()
        .filter_map(|action| if let Action::Withhold(worker) = action { Some(worker.slot.0) } else { None })
        .collect();
    assert_eq!(withheld, [3, 2]);
    assert_eq!(world.app.view().ready, 2);
    world.exit(2, CLEAN);
    assert_eq!(world.answer(ticket), None);
    world.exit(3, CLEAN);
    assert_eq!(world.answer(ticket), Some(Answer::Done));
    assert_eq!(world.app.slots().count(), 2);
}

#[test]
fn scaling_to_what_is_there_is_accepted_and_done() {
    let mut world = Rules::new(2).running();
    let (ticket, orders) = world.scale(Target::To(2));
    let answers = [Action::Answer(ticket, Answer::Accepted), Action::Answer(ticket, Answer::Done)];
    assert_eq!(orders, answers);
}

#[test]
fn nobody_can_scale_to_nothing_or_beyond_the_most() {
    let mut world = Rules::new(2).running();
    for (target, refusal) in [
        (Target::To(0), Refusal::NoWorkers),
        (Target::By(-2), Refusal::NoWorkers),
        (Target::By(i32::MIN), Refusal::NoWorkers),
        (Target::To(SLOTS_MAX + 1), Refusal::TooManyWorkers),
        (Target::By(i32::MAX), Refusal::TooManyWorkers),
    ] {
        let (ticket, orders) = world.scale(target);
        assert_eq!(orders, [Action::Answer(ticket, Answer::Refused(refusal))], "{target:?}");
    }
    assert_eq!(world.app.view().wanted, 2);
}

#[test]
fn nobody_can_scale_down_to_slots_that_gave_up() {
    let mut world = Rules::new(2).intensity(0, secs(10)).running();
    world.exit(0, FAILED);
    let (ticket, _) = world.scale(Target::To(1));
    assert_eq!(world.answer(ticket), Some(Answer::Refused(Refusal::NoWorkers)));
    assert_eq!(world.state(1), SlotState::Ready, "the one that serves goes on serving");
}

#[test]
fn a_later_scaling_supersedes_the_one_under_way() {
    let mut world = Rules::new(1).running();
    let (first, _) = world.scale(Target::To(3));
    let (second, orders) = world.scale(Target::To(2));
    assert_eq!(orders[0], Action::Answer(first, Answer::Superseded));
    assert_eq!(orders[1], Action::Answer(second, Answer::Accepted));
    world.serve(1);
    assert_eq!(world.answer(second), None, "slot 2 still has a worker");
    world.exit(2, CLEAN);
    assert_eq!(world.answer(second), Some(Answer::Done));
}

#[test]
fn a_stop_supersedes_a_scaling() {
    let mut world = Rules::new(1).running();
    let (scaling, _) = world.scale(Target::To(2));
    world.stop();
    assert_eq!(world.answer(scaling), Some(Answer::Superseded));
}

#[test]
fn a_scaling_fails_when_a_slot_that_it_wants_anew_gave_up() {
    let mut world = Rules::new(1).intensity(0, secs(10)).running();
    let (ticket, _) = world.scale(Target::To(4));
    world.exit(1, FAILED);
    world.exit(3, FAILED);
    assert_eq!(world.answer(ticket), None, "one of them may still come");
    world.serve(2);
    assert_eq!(world.answer(ticket), Some(Answer::GaveUp { slot: SlotId(1), others: 1 }));
}

#[test]
fn a_slot_that_gives_up_meanwhile_is_not_the_fault_of_a_scaling() {
    let mut world = Rules::new(2).intensity(0, secs(10)).running();
    let (ticket, _) = world.scale(Target::To(3));
    world.exit(0, FAILED);
    world.serve(2);
    assert_eq!(world.answer(ticket), Some(Answer::Done));
}

#[test]
fn a_scaling_that_supersedes_another_answers_for_those_that_are_not_there_yet() {
    let mut world = Rules::new(1).intensity(0, secs(10)).running();
    world.scale(Target::To(3));
    world.exit(1, FAILED);
    let (ticket, _) = world.scale(Target::To(3));
    world.exit(2, FAILED);
    assert_eq!(world.answer(ticket), Some(Answer::GaveUp { slot: SlotId(2), others: 0 }));
}

#[test]
fn a_scaling_fails_when_every_slot_gave_up() {
    let mut world = Rules::new(1).intensity(0, secs(10)).running();
    let (ticket, _) = world.scale(Target::To(2));
    world.exit(0, FAILED);
    world.exit(1, FAILED);
    assert_eq!(world.answer(ticket), Some(Answer::GaveUp { slot: SlotId(1), others: 0 }));
    assert_eq!(world.verdict(), Some(Verdict::GaveUp));
}

#[test]
fn a_slot_that_is_wanted_again_while_it_stops_has_a_successor_at_once_after_the_exit() {
    let mut world = Rules::new(2).running();
    world.scale(Target::To(1));
    let (ticket, _) = world.scale(Target::To(2));
    assert_eq!(world.state(1), SlotState::Draining, "what was begun is finished");
    world.exit(1, FAILED);
    assert_eq!((world.state(1), world.worker(1).incarnation), (SlotState::Starting, 2));
    assert_eq!(world.view(1).recent_restarts, 0);
    world.serve(1);
    assert_eq!(world.answer(ticket), Some(Answer::Done));
}

#[test]
fn a_resting_slot_that_is_unwanted_is_empty_at_once() {
    let mut world = Rules::new(2).started();
    world.ready(0);
    world.exit(1, FAILED);
    let (ticket, _) = world.scale(Target::To(1));
    assert_eq!(world.answer(ticket), Some(Answer::Done));
    assert_eq!(world.app.deadline(), None);
}

#[test]
fn asking_for_more_does_not_rearm_a_slot_that_gave_up() {
    let mut world = Rules::new(2).intensity(0, secs(10)).running();
    world.exit(0, FAILED);
    let (ticket, _) = world.scale(Target::To(3));
    world.serve(2);
    assert_eq!(world.state(0), SlotState::GaveUp);
    assert_eq!(world.answer(ticket), Some(Answer::Done));
}

#[test]
fn a_slot_that_gave_up_begins_afresh_when_it_is_unwanted_and_wanted_again() {
    let mut world = Rules::new(2).intensity(0, secs(10)).running();
    world.exit(1, FAILED);
    assert_eq!(world.state(1), SlotState::GaveUp);
    world.scale(Target::To(1));
    assert_eq!(world.state(1), SlotState::Vacant);
    world.scale(Target::To(2));
    assert_eq!((world.state(1), world.worker(1).incarnation), (SlotState::Starting, 2));
    assert_eq!(world.view(1).recent_restarts, 0);
}

#[test]
fn a_slot_that_is_wanted_again_rests_like_a_new_one() {
    let mut world = Rules::new(2).started();
    world.ready(0);
    for _ in 0..2 {
        world.exit(1, FAILED);
        world.pass_to_deadline();
    }
    world.scale(Target::To(1));
    world.exit(1, CLEAN);
    world.scale(Target::To(2));
    world.exit(1, FAILED);
    assert_eq!(world.view(1).rests_until, Some(world.now + millis(100)));
}

#[test]
fn a_done_slot_counts_as_settled() {
    let mut world = Rules::new(2).with(|builder| builder.restart(RestartMode::Transient)).running();
    world.exit(0, CLEAN);
    let (ticket, _) = world.scale(Target::To(3));
    world.serve(2);
    assert_eq!(world.answer(ticket), Some(Answer::Done));
}

#[test]
fn what_is_wanted_before_the_start_is_started() {
    let mut world = Rules::new(2).asleep(0);
    world.scale(Target::To(3));
    world.start();
    assert_eq!([0, 1, 2].map(|slot| world.state(slot)), [SlotState::Starting; 3]);
}
