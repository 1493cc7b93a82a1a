//! Reloads that follow each other faster than workers leave: bounded in number, and no harsher than need be.

use std::time::Duration;

use clustr_core::{Answer, Event, Exit, Generation, Plan, SLOT_WORKERS_MAX, Setback, SlotId, WorkerId};

use super::reloads::{come_up, of, reload, rolled_back};
use crate::world::{KILLED, Rules, millis, secs};

#[test]
fn fifty_reloads_in_a_row_do_not_pile_up_workers_that_never_close() {
    let mut world = Rules::new(3).with(|builder| builder.stop_timeout(secs(3_600))).running();
    for number in 2..52 {
        let ticket = reload(&mut world, Plan::all(Duration::ZERO));
        // Only SIGKILL ends those that had the place, and it comes soon once somebody waits for their room.
        let began = world.now;
        while world.answer(ticket).is_none() {
            assert!(world.now.since(began) <= secs(6), "reload {number} waits for those that never close");
            let new = of(&world, Generation(number));
            let starting: Vec<WorkerId> =
                new.into_iter().filter(|id| !world.watch.processes[id].said_ready).collect();
            come_up(&mut world, &starting);
            let doomed: Vec<WorkerId> = world
                .watch
                .processes
                .values()
                .filter(|process| process.kill)
                .map(|process| process.id)
                .collect();
            if doomed.is_empty() {
                world.pass(secs(1));
            }
            for worker in doomed {
                world.tell(Event::Exited(worker, KILLED));
            }
        }
        assert_eq!(world.answer(ticket), Some(Answer::Done));
        assert!(world.app.workers().count() <= 3 * SLOT_WORKERS_MAX);
        assert!(world.watch.generations.len() <= SLOT_WORKERS_MAX);
    }
    assert_eq!(world.app.view().generation, Generation(51));
}

#[test]
fn who_still_finishes_requests_when_its_room_is_wanted_is_told_so_and_given_time() {
    let mut world = Rules::new(1).with(|builder| builder.stop_timeout(secs(3_600))).running();
    for number in 2..=4 {
        reload(&mut world, Plan::all(Duration::ZERO));
        let new = of(&world, Generation(number));
        come_up(&mut world, &new);
    }
    let oldest = WorkerId { slot: SlotId(0), incarnation: 1 };
    assert!(!world.watch.processes[&oldest].terminate, "it drains as long as nobody waits for its room");
    let ticket = reload(&mut world, Plan::all(Duration::ZERO));
    assert!(world.watch.processes[&oldest].terminate && !world.watch.processes[&oldest].kill);
    assert_eq!(of(&world, Generation(5)), [], "nobody is started where there is no room");
    world.pass(secs(2));
    world.tell(Event::Exited(oldest, Exit::Code(0)));
    let new = of(&world, Generation(5));
    come_up(&mut world, &new);
    assert_eq!(world.answer(ticket), Some(Answer::Done));
    let killed = world.watch.processes.values().filter(|process| process.kill).count();
    assert_eq!(killed, 0, "everybody could finish");
}

#[test]
fn a_reload_that_finds_a_slot_full_of_unkillable_workers_fails_in_time() {
    let mut world = Rules::new(1).with(|builder| builder.stop_timeout(millis(1))).running();
    let mut last = None;
    for number in 2..9 {
        let ticket = reload(&mut world, Plan::all(Duration::ZERO));
        let new = of(&world, Generation(number));
        come_up(&mut world, &new);
        world.pass(secs(13));
        last = world.answer(ticket);
        assert!(last.is_some(), "each ends in bounded time");
    }
    assert_eq!(last, Some(Answer::RolledBack));
    assert_eq!(rolled_back(&world).unwrap().1, Setback::Crowded);
    assert!(world.app.workers().count() <= SLOT_WORKERS_MAX);
    assert_eq!(world.app.view().ready, 1);
}
