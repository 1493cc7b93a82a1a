//! What one fact costs the core, at 10, 100 and 1,000 workers.
//!
//! An event must cost at most 1 µs at 1,000 workers and at most five times what it costs at 10: nothing in
//! the core looks at every slot.
#![allow(missing_docs)] // criterion's macros make public items without them

use std::hint::black_box;
use std::time::Duration;

use clustr_core::{
    App, Backoff, Command, Event, Exit, Intensity, Overdue, Plan, Policy, SlotId, Ticket, Time, WorkerId,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [u32; 3] = [10, 100, 1_000];
const START: Time = Time::from_nanos(1_000_000_000);

criterion_group!(benches, exit_and_restart, ready, late_event, failing_start, reload, drain_all);
criterion_main!(benches);

/// Exit, spawned, ready: the whole of a crash, three facts, each time in another slot.
fn exit_and_restart(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/exit_spawned_ready");
    for workers in SIZES {
        let (mut app, mut now) = (running(workers), START);
        let mut turns = SlotTurns::new(workers);
        group.bench_function(BenchmarkId::from_parameter(workers), |bencher| {
            bencher.iter(|| {
                now = now + Duration::from_micros(10);
                let (old, new) = turns.next_pair();
                drop(black_box(app.handle(Event::Exited(old, Exit::Code(1)), now)));
                drop(black_box(app.handle(Event::Spawned(new), now)));
                drop(black_box(app.handle(Event::Ready(new), now)));
                black_box(app.deadline())
            });
        });
        assert_eq!(app.view().ignored_events, 0);
    }
    group.finish();
}

/// Every worker becomes ready, one after the other: divide by the number of workers.
fn ready(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/ready_each");
    for workers in SIZES {
        let app = started(workers);
        group.throughput(Throughput::Elements(u64::from(workers)));
        group.bench_function(BenchmarkId::from_parameter(workers), |bencher| {
            let ready = |app: &mut App| {
                for slot in 0..workers {
                    let worker = WorkerId { slot: SlotId(slot), incarnation: 1 };
                    drop(black_box(app.handle(Event::Ready(worker), START)));
                }
            };
            bencher.iter_batched_ref(|| app.clone(), ready, BatchSize::LargeInput);
        });
    }
    group.finish();
}

/// A word from somebody who is gone.
fn late_event(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/late_event");
    for workers in SIZES {
        let mut app = running(workers);
        group.bench_function(BenchmarkId::from_parameter(workers), |bencher| {
            let worker = WorkerId { slot: SlotId(workers - 1), incarnation: 99 };
            bencher.iter(|| black_box(app.handle(Event::Ready(worker), START)));
        });
    }
    group.finish();
}

/// A start that fails, its rest, and the next one, while every other slot has a deadline too: the agenda is as
/// full as it gets. Two facts and a wake-up.
fn failing_start(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/exit_rest_spawned");
    for workers in SIZES {
        let mut app = started(workers);
        let mut incarnation = 1;
        group.bench_function(BenchmarkId::from_parameter(workers), |bencher| {
            let slot = SlotId(workers / 2);
            let mut now = app.slot(slot).and_then(|view| view.started_at).expect("somebody is there");
            bencher.iter(|| {
                drop(black_box(
                    app.handle(Event::Exited(WorkerId { slot, incarnation }, Exit::Code(1)), now),
                ));
                incarnation += 1;
                now = app.deadline().expect("the slot rests").at;
                drop(black_box(app.handle_timeout(now)));
                drop(black_box(app.handle(Event::Spawned(WorkerId { slot, incarnation }), now)));
            });
        });
        assert_eq!(app.view().ignored_events, 0);
    }
    group.finish();
}

/// The whole of a reload, told by each worker's word: spawned, ready, and the exit of the one before. Divide by the
/// number of workers, and by three facts.
fn reload(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/reload_each");
    for workers in SIZES {
        let app = running(workers);
        group.throughput(Throughput::Elements(3 * u64::from(workers)));
        group.bench_function(BenchmarkId::from_parameter(workers), |bencher| {
            let reload = |app: &mut App| {
                let plan = Plan::all(Duration::ZERO);
                drop(black_box(app.handle(Event::Asked(Ticket(1), Command::Reload(plan)), START)));
                let each = |app: &mut App, event: fn(SlotId) -> Event| {
                    for slot in 0..workers {
                        drop(black_box(app.handle(event(SlotId(slot)), START)));
                    }
                };
                each(app, |slot| Event::Spawned(WorkerId { slot, incarnation: 2 }));
                each(app, |slot| Event::Ready(WorkerId { slot, incarnation: 2 }));
                each(app, |slot| Event::Exited(WorkerId { slot, incarnation: 1 }, Exit::Code(0)));
                assert_eq!((app.view().generation.0, app.view().ignored_events), (2, 0));
            };
            bencher.iter_batched_ref(|| app.clone(), reload, BatchSize::LargeInput);
        });
    }
    group.finish();
}

/// The one kind of event that does concern every slot, for comparison.
fn drain_all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/interrupted");
    for workers in SIZES {
        let app = running(workers);
        group.bench_function(BenchmarkId::from_parameter(workers), |bencher| {
            bencher.iter_batched_ref(
                || app.clone(),
                |app| black_box(app.handle(Event::Interrupted, START)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// An intensity that is never exceeded, lives that are always stable (so no rests after ready), and starts that
/// are never overdue while a benchmark lasts.
fn policy(workers: u32) -> Policy {
    let rest = Duration::from_millis(1);
    let backoff = Backoff { first: rest, factor: 1, cap: rest, jitter_percent: 20 };
    let intensity = Intensity { restarts: u32::MAX, period: Duration::from_secs(10) };
    let century = Duration::from_secs(100 * 365 * 24 * 3_600);
    let builder = Policy::builder(workers).intensity(intensity).backoff(backoff);
    let builder = builder.stable_time(Duration::ZERO).ready_timeout(century, Overdue::CountsAsReady);
    builder.build().expect("a valid policy")
}

fn started(workers: u32) -> App {
    let mut app = App::new(policy(workers), 1);
    drop(app.start(START));
    for slot in 0..workers {
        drop(app.handle(Event::Spawned(WorkerId { slot: SlotId(slot), incarnation: 1 }), START));
    }
    app
}

fn running(workers: u32) -> App {
    let mut app = started(workers);
    for slot in 0..workers {
        drop(app.handle(Event::Ready(WorkerId { slot: SlotId(slot), incarnation: 1 }), START));
    }
    app
}

/// Every slot in turn, with the incarnation that it has reached.
struct SlotTurns {
    workers: u32,
    turn: u64,
}

impl SlotTurns {
    const fn new(workers: u32) -> Self {
        Self { workers, turn: 0 }
    }

    fn next_pair(&mut self) -> (WorkerId, WorkerId) {
        let workers = u64::from(self.workers);
        let slot = SlotId(u32::try_from(self.turn % workers).unwrap_or(0));
        let incarnation = 1 + self.turn / workers;
        self.turn += 1;
        (WorkerId { slot, incarnation }, WorkerId { slot, incarnation: incarnation + 1 })
    }
}
