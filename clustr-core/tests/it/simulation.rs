//! Seeded misfortune: hundreds of lives in which everything goes wrong, then nothing does.
//!
//! `CLUSTR_SEED=7` plays one life again, `CLUSTR_SEEDS=10000` plays more of them.

use std::num::NonZeroU32;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use clustr_core::{
    Ailment, Answer, AppState, Backoff, Command, EndReason, Event, Exit, ExitCodes, Generation, Overdue,
    Plan, RestartMode, SlotId, SlotState, SpawnFault, StopOrder, Target, Time, Verdict, Wear, WorkerId,
};

use crate::watch::Process;
use crate::world::{CLEAN, FAILED, KILLED, Rules, SEGV, World, millis};

const SEEDS: u64 = 256;
const TURNS: u32 = 400;
const NOBODY: WorkerId = WorkerId { slot: SlotId(u32::MAX), incarnation: 1 };

#[test]
fn whatever_happens_wanted_slots_end_settled_and_a_stop_ends() {
    for seed in seeds() {
        let mut turn = 0;
        let outcome = catch_unwind(AssertUnwindSafe(|| live(seed, &mut turn)));
        if let Err(why) = outcome {
            eprintln!("seed {seed} failed in turn {turn}: CLUSTR_SEED={seed} plays it again");
            std::panic::resume_unwind(why);
        }
    }
}

/// A simulation in which no reload ever succeeds, or none ever fails, would prove little.
#[test]
fn lives_hold_reloads_of_every_outcome() {
    let lives: String = (0..256).map(|seed| live(seed, &mut 0)).collect();
    for word in
        ["Reloaded {", "RolledBack {", "Renewed {", "NotRenewed {", "Remembered {", "Stranded {", "Parked {"]
    {
        assert!(lives.matches(word).count() >= 5, "{word} is rare: {}", lives.matches(word).count());
    }
}

#[test]
fn the_same_seed_gives_the_same_life() {
    let (mut first, mut second) = (0, 0);
    assert_eq!(live(42, &mut first), live(42, &mut second));
    assert_eq!(first, second);
}

fn seeds() -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    number("CLUSTR_SEED").map_or_else(|| 0..number("CLUSTR_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1)
}

/// One life: misfortune, calm, and (unless it ended by itself) a stop. Returns everything it ordered.
fn live(seed: u64, turn: &mut u32) -> String {
    let mut fate = Fate::new(seed);
    let mut world = rules(&mut fate).asleep(seed);
    world.start();
    while *turn < TURNS && !world.watch.left {
        *turn += 1;
        misfortune(&mut world, &mut fate);
    }
    calm(&mut world, turn);
    if !world.watch.left {
        let (ticket, _) = world.ask(Command::Stop(EndReason::Asked));
        die_politely(&mut world, turn);
        assert_eq!(world.answer(ticket), Some(Answer::Done));
    }
    assert!(world.watch.left, "a stop ends");
    assert!(world.app.deadline().is_none(), "what has ended waits for nothing");
    format!("{:?}", world.log)
}

fn rules(fate: &mut Fate) -> Rules {
    let modes = [RestartMode::Permanent, RestartMode::Transient, RestartMode::Temporary];
    let (mode, slots) = (modes[fate.below(3)], 1 + u32::try_from(fate.below(6)).unwrap());
    let order = if fate.chance(50) { StopOrder::DrainFirst } else { StopOrder::SignalFirst };
    let overdue = if fate.chance(50) { Overdue::CountsAsReady } else { Overdue::Fails };
    let first = millis([0, 100, 1_000][fate.below(3)]);
    let backoff = Backoff { first, factor: 2, cap: first * 16, jitter_percent: 20 };
    let stop_timeout = millis([0, 1, 10_000][fate.below(3)]);
    let codes = ExitCodes::new([&[][..], &[1]][usize::from(fate.chance(10))]);
    let max_age = [None, None, Some(millis(5_000))][fate.below(3)];
    let restarts = [0, 1, 5, 50, 1_000][fate.below(5)];
    Rules::new(slots)
        .intensity(restarts, Duration::from_secs(10))
        .overdue(overdue, Duration::from_secs(3))
        .with(|builder| builder.restart(mode).stop_order(order).backoff(backoff).stop_timeout(stop_timeout))
        .with(|builder| builder.stop_exit_codes(codes).max_age(max_age).hang_timeout(millis(700)))
}

/// One turn in which anything may happen, likely or not.
fn misfortune(world: &mut World, fate: &mut Fate) {
    match fate.below(100) {
        0..40 => happen_to_a_process(world, fate),
        40..60 => drop(world.pass(millis(fate.up_to(500)))),
        60..70 => {
            if world.app.deadline().is_some() {
                world.pass_to_deadline();
            }
        }
        // The clock jumps: everything is late, or nothing seems to have passed.
        70..73 => {
            world.now = world.now + millis(fate.up_to(60_000));
            world.timeout();
        }
        // A clock that has stepped back stands still.
        73..75 => drop(world.tell_at(Event::Ready(NOBODY), Time::ZERO)),
        75..80 => odd_fact(world, fate),
        80..85 => good_luck(world, fate),
        85..88 => replace_workers(world, fate),
        88..95 => {
            let by = i32::try_from(fate.below(7)).unwrap() - 3;
            world.scale(Target::By(by));
        }
        95 => drop(world.scale(Target::To(u32::try_from(fate.below(9)).unwrap()))),
        96 if fate.chance(2) => drop(world.ask(Command::Stop(EndReason::Asked))),
        97 if fate.chance(2) => drop(world.ask(Command::Stop(EndReason::AtOnce))),
        _ => drop(world.timeout()),
    }
}

fn happen_to_a_process(world: &mut World, fate: &mut Fate) {
    let processes: Vec<Process> = world.watch.processes.values().copied().collect();
    if processes.is_empty() {
        return;
    }
    let process = processes[fate.below(processes.len())];
    let worker = process.id;
    let event = match (process.spawned, fate.below(100)) {
        (false, 0..70) => Event::Spawned(worker),
        (false, 70..85) => Event::SpawnFailed(worker, SpawnFault::HostShort),
        (false, 85..92) => Event::SpawnFailed(worker, SpawnFault::Program),
        // A killed process may be unkillable for as long as this goes on.
        (_, 0..30) if process.kill => Event::Exited(worker, KILLED),
        (_, 0..40) if process.drain => Event::Drained(worker),
        (_, 40..50) if process.drain => Event::DrainFailed(worker),
        (_, 0..60) => Event::Ready(worker),
        (_, 60..68) => Event::Exited(worker, CLEAN),
        (_, 68..80) => Event::Exited(worker, FAILED),
        (_, 80..90) => Event::Exited(worker, SEGV),
        (_, 90..93) => Event::Left(worker),
        (_, 93) => Event::Failing(worker, Ailment::Probe),
        (_, 94) => Event::Recovered(worker),
        (_, 95..98) => Event::Worn(worker, Wear::MaxRss),
        (_, _) => Event::Unfit(worker),
    };
    world.tell(event);
}

/// For a while everybody does as told: without it no reload would ever come far.
fn good_luck(world: &mut World, fate: &mut Fate) {
    for _ in 0..fate.below(20) {
        if !world.watch.left && !obey(world) {
            world.pass(millis(fate.up_to(1_000)));
        }
    }
}

/// Somebody asks for other workers, or can no longer have the old ones.
fn replace_workers(world: &mut World, fate: &mut Fate) {
    let slot = SlotId(u32::try_from(fate.below(8)).unwrap());
    match fate.below(10) {
        0..5 => drop(world.ask(Command::Reload(plan(fate)))),
        5 => drop(world.ask(Command::Restart(None, plan(fate)))),
        6..8 => drop(world.ask(Command::Restart(Some(slot), plan(fate)))),
        _ => {
            let current = world.app.view().generation.0;
            drop(world.tell(Event::Lost(Generation(current + fate.up_to(4) / 4))));
        }
    }
}

fn plan(fate: &mut Fate) -> Plan {
    let settle = millis([0, 300, 1_000][fate.below(3)]);
    let batch = NonZeroU32::new(1 + u32::try_from(fate.below(3)).unwrap()).unwrap();
    [Plan::all(settle), Plan::canary(batch, settle), Plan::rolling(batch, settle)][fate.below(3)]
}

/// A fact about somebody who is long gone, not yet there, or never was.
fn odd_fact(world: &mut World, fate: &mut Fate) {
    let slot = SlotId(u32::try_from(fate.below(12)).unwrap());
    let worker = WorkerId { slot, incarnation: fate.up_to(40) };
    if world.watch.processes.contains_key(&worker) || world.watch.left {
        return;
    }
    let events = [
        Event::Spawned(worker),
        Event::SpawnFailed(worker, SpawnFault::Program),
        Event::Ready(worker),
        Event::Left(worker),
        Event::Drained(worker),
        Event::DrainFailed(worker),
        Event::Unfit(worker),
        Event::Failing(worker, Ailment::Stuck),
        Event::Recovered(worker),
        Event::Worn(worker, Wear::Schedule),
        Event::Exited(worker, Exit::Code(3)),
    ];
    let ignored = world.app.view().ignored_events;
    let orders = world.tell(events[fate.below(events.len())]);
    assert!(orders.is_empty(), "a stranger moves nobody");
    assert_eq!(world.app.view().ignored_events, ignored + 1);
}

/// The host is well, programs start, and processes do as they are told: every wanted slot settles.
fn calm(world: &mut World, turn: &mut u32) {
    let open = world.watch.tickets_open();
    for _ in 0..2_000 {
        *turn += 1;
        if world.watch.left || is_settled(world) {
            let open: Vec<_> = open.iter().filter(|ticket| world.answer(**ticket).is_none()).collect();
            assert!(world.watch.left || open.is_empty(), "nobody waits in vain: {open:?}");
            return;
        }
        if !obey(world) {
            world.pass_to_deadline();
        }
    }
    let slots: Vec<_> = world.app.slots().collect();
    panic!("wanted slots never settle: {slots:#?}");
}

fn is_settled(world: &World) -> bool {
    world.app.view().reload.is_none()
        && world.app.slots().all(|slot| match slot.state {
            SlotState::Ready | SlotState::GaveUp | SlotState::Done => slot.wanted,
            SlotState::Vacant
            | SlotState::Starting
            | SlotState::Parked
            | SlotState::Draining
            | SlotState::Stopping
            | SlotState::Resting => false,
        })
}

fn die_politely(world: &mut World, turn: &mut u32) {
    assert_eq!(world.app.view().state == AppState::Stopping, !world.watch.left);
    for _ in 0..200 {
        *turn += 1;
        if world.watch.left {
            assert_eq!(world.verdict(), Some(Verdict::Stopped));
            return;
        }
        if !obey(world) {
            world.pass_to_deadline();
        }
    }
    panic!("a stop never ends");
}

/// One process does what it has to. Whether there was one.
fn obey(world: &mut World) -> bool {
    let processes: Vec<Process> = world.watch.processes.values().copied().collect();
    for process in processes {
        let worker = process.id;
        let view = world.app.workers().find(|view| view.worker == worker).expect("who lives is shown");
        let event = if !process.spawned {
            Event::Spawned(worker)
        } else if process.is_leaving() || view.state == SlotState::Draining {
            Event::Exited(worker, CLEAN)
        } else if view.state == SlotState::Starting {
            Event::Ready(worker)
        } else {
            continue;
        };
        world.tell(event);
        return true;
    }
    false
}

/// The dice of one life: SplitMix64, apart from the app's own.
struct Fate(u64);

impl Fate {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0xDEAD_BEEF)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn up_to(&mut self, top: u64) -> u64 {
        self.next() % (top + 1)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count).unwrap()).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}
