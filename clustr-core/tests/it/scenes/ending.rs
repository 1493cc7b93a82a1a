//! How an app ends: asked, signalled, finished, or because it gave up.

use clustr_core::{
    Action, Answer, AppState, Command, EndReason, Event, Notice, Refusal, RestartMode, SlotState, Target,
    Verdict,
};

use crate::world::{CLEAN, FAILED, KILLED, Rules, World, millis, secs};

fn exit_all(world: &mut World) {
    let slots: Vec<u32> = world.watch.processes.keys().map(|worker| worker.slot.0).collect();
    for slot in slots {
        world.exit(slot, CLEAN);
    }
}

fn killed(orders: &[Action]) -> usize {
    orders.iter().filter(|action| matches!(action, Action::Kill(_))).count()
}

#[test]
fn a_stop_drains_every_worker_and_leaves_when_the_last_is_gone() {
    let mut world = Rules::new(3).running();
    let (ticket, orders) = world.stop();
    let told = Action::Notify(Notice::Ending { reason: EndReason::Asked });
    assert_eq!(orders.iter().position(|order| *order == told), Some(1), "before what happens to the workers");
    assert_eq!([0, 1, 2].map(|slot| world.state(slot)), [SlotState::Draining; 3]);
    assert_eq!((world.app.view().state, world.app.view().wanted), (AppState::Stopping, 0));
    world.exit(0, CLEAN);
    world.exit(1, FAILED);
    let orders = world.exit(2, CLEAN);
    let end = [
        Action::Answer(ticket, Answer::Done),
        Action::Notify(Notice::Ended { verdict: Verdict::Stopped }),
        Action::Leave(Verdict::Stopped),
    ];
    assert_eq!(orders[1..], end);
    assert_eq!(world.app.view().state, AppState::Ended);
}

#[test]
fn a_stop_before_anything_was_started_leaves_at_once() {
    let mut world = Rules::new(3).asleep(0);
    let (ticket, _) = world.stop();
    assert_eq!(world.answer(ticket), Some(Answer::Done));
    assert_eq!(world.verdict(), Some(Verdict::Stopped));
    assert!(world.start().is_empty());
}

#[test]
fn resting_slots_do_not_hold_up_a_stop() {
    let mut world = Rules::new(2).started();
    world.exit(0, FAILED);
    world.exit(1, FAILED);
    world.stop();
    assert_eq!(world.verdict(), Some(Verdict::Stopped));
}

#[test]
fn nothing_is_started_while_the_app_ends() {
    let mut world = Rules::new(2).running();
    world.stop();
    world.exit(0, FAILED);
    let (ticket, orders) = world.scale(Target::To(5));
    assert_eq!(orders, [Action::Answer(ticket, Answer::Refused(Refusal::Stopping))]);
    assert_eq!(world.app.slots().count(), 1);
}

#[test]
fn whoever_asks_again_is_answered_too_and_changes_nothing() {
    let mut world = Rules::new(1).running();
    let (first, _) = world.stop();
    let (second, orders) = world.stop();
    assert_eq!(orders, [Action::Answer(second, Answer::Accepted)]);
    exit_all(&mut world);
    assert_eq!((world.answer(first), world.answer(second)), (Some(Answer::Done), Some(Answer::Done)));
}

#[test]
fn only_so_many_may_wait_for_the_end_but_a_stronger_word_is_always_heard() {
    let mut world = Rules::new(1).running();
    for _ in 0..64 {
        let (ticket, _) = world.stop();
        assert_eq!(world.answer(ticket), None);
    }
    let (late, _) = world.stop();
    assert_eq!(world.answer(late), Some(Answer::Refused(Refusal::Stopping)));
    let (stronger, orders) = world.ask(Command::Stop(EndReason::AtOnce));
    assert_eq!(killed(&orders), 1);
    exit_all(&mut world);
    assert_eq!(world.answer(stronger), Some(Answer::Done));
}

#[test]
fn a_second_interrupt_half_a_second_later_kills() {
    let mut world = Rules::new(2).running();
    assert_eq!(killed(&world.tell(Event::Interrupted)), 0);
    world.pass(millis(500));
    assert_eq!(killed(&world.tell(Event::Interrupted)), 2);
    assert_eq!(killed(&world.tell(Event::Interrupted)), 0, "killed is killed");
    exit_all(&mut world);
    assert_eq!(world.verdict(), Some(Verdict::Stopped));
}

#[test]
fn an_interrupt_and_its_echo_are_one() {
    let mut world = Rules::new(2).running();
    world.tell(Event::Interrupted);
    world.pass(millis(499));
    assert!(world.tell(Event::Interrupted).is_empty());
    assert_eq!(world.state(0), SlotState::Draining);
}

#[test]
fn an_interrupt_after_a_stop_is_the_first_one() {
    let mut world = Rules::new(1).running();
    world.stop();
    world.pass(secs(1));
    assert_eq!(killed(&world.tell(Event::Interrupted)), 0);
}

#[test]
fn a_stop_at_once_waits_for_nobody() {
    let mut world = Rules::new(3).started();
    world.ready(0);
    let (_, orders) = world.ask(Command::Stop(EndReason::AtOnce));
    assert_eq!(killed(&orders), 3);
    world.exit(0, KILLED);
    world.exit(1, KILLED);
    world.exit(2, KILLED);
    assert_eq!(world.verdict(), Some(Verdict::Stopped));
}

#[test]
fn a_weaker_word_after_a_stronger_one_changes_nothing() {
    let mut world = Rules::new(1).running();
    world.tell(Event::Interrupted);
    let (ticket, orders) = world.stop();
    assert_eq!(orders, [Action::Answer(ticket, Answer::Accepted)]);
}

#[test]
fn an_unkillable_worker_does_not_hold_up_the_end() {
    let mut world = Rules::new(2).running();
    world.stop();
    world.exit(0, CLEAN);
    world.pass(secs(15) - millis(1));
    assert_eq!(world.verdict(), None);
    world.pass(millis(1));
    assert_eq!(world.verdict(), Some(Verdict::Stopped));
}

#[test]
fn a_worker_known_to_be_unkillable_is_not_waited_for_at_all() {
    let mut world = Rules::new(1).running();
    world.unfit(0);
    world.pass(secs(5));
    world.stop();
    assert_eq!(world.verdict(), Some(Verdict::Stopped));
}

#[test]
fn an_app_that_was_never_ready_gives_up_with_its_first_slot() {
    let mut world = Rules::new(3).intensity(2, secs(60)).started();
    for _ in 0..3 {
        world.exit(0, FAILED);
        world.pass_if_due();
    }
    assert!(world.told(Notice::Ending { reason: EndReason::GaveUp }));
    exit_all(&mut world);
    assert_eq!(world.verdict(), Some(Verdict::GaveUp));
}

#[test]
fn an_app_that_was_ready_once_goes_on_until_every_slot_gave_up() {
    let mut world = Rules::new(2).intensity(0, secs(60)).running();
    world.exit(0, FAILED);
    assert_eq!(world.app.view().state, AppState::Running);
    world.exit(1, FAILED);
    assert_eq!(world.verdict(), Some(Verdict::GaveUp));
}

#[test]
fn an_app_whose_slots_are_all_done_has_finished() {
    let mut world = Rules::new(2).with(|builder| builder.restart(RestartMode::Transient)).running();
    world.exit(0, CLEAN);
    world.exit(1, CLEAN);
    assert!(world.told(Notice::Ending { reason: EndReason::Finished }));
    assert_eq!(world.verdict(), Some(Verdict::Finished));
}

#[test]
fn an_app_of_which_one_slot_gave_up_and_the_rest_is_done_gave_up() {
    let rules = Rules::new(2).intensity(0, secs(60));
    let mut world = rules.with(|builder| builder.restart(RestartMode::Transient)).running();
    world.exit(0, FAILED);
    world.exit(1, CLEAN);
    assert_eq!(world.verdict(), Some(Verdict::GaveUp));
}

#[test]
fn an_app_that_is_stopped_while_it_gives_up_gave_up() {
    let mut world = Rules::new(2).intensity(0, secs(60)).started();
    world.exit(0, FAILED);
    let (ticket, _) = world.stop();
    exit_all(&mut world);
    assert_eq!((world.answer(ticket), world.verdict()), (Some(Answer::Done), Some(Verdict::GaveUp)));
}

#[test]
fn nobody_can_declare_an_app_finished() {
    let mut world = Rules::new(1).running();
    world.ask(Command::Stop(EndReason::Finished));
    exit_all(&mut world);
    assert_eq!(world.verdict(), Some(Verdict::Stopped));
}

#[test]
fn what_comes_after_the_end_is_ignored_and_counted() {
    let mut world = Rules::new(1).running();
    let worker = world.worker(0);
    world.stop();
    exit_all(&mut world);
    let ignored = world.app.view().ignored_events;
    assert!(world.tell(Event::Ready(worker)).is_empty());
    assert!(world.tell(Event::Interrupted).is_empty());
    assert!(world.timeout().is_empty());
    assert_eq!(world.app.view().ignored_events, ignored + 2, "a wake-up is no event");
}
