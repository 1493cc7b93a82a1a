//! The embedding API, with ordinary programs as workers.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clustr_supervisor::cluster::EVENTS_MAX;
use clustr_supervisor::config::Output;
use clustr_supervisor::{
    Backoff, Cluster, Event, Exit, Handle, HandleError, Intensity, Overdue, RestartMode, SlotId, StartError,
    Verdict, WorkerId,
};

use crate::fixture::DEADLINE;

/// A cluster of workers that do nothing until they are told to end; each counts as ready at once.
fn sleepers(workers: u32) -> Cluster {
    Cluster::new()
        .name("sleepers")
        .output(Output::None)
        .command(["sleep", "1000"])
        .workers(workers)
        .policy(|policy| policy.ready_timeout(Duration::from_millis(10), Overdue::CountsAsReady))
}

/// Runs in a thread of its own, and waits until everybody is there.
fn start(cluster: Cluster) -> (Handle, JoinHandle<Result<Verdict, StartError>>) {
    let handle = cluster.handle();
    let events = handle.events().unwrap();
    let running = thread::spawn(move || cluster.run());
    loop {
        if let Event::Running { .. } = events.recv_timeout(DEADLINE).expect("it comes up") {
            return (handle, running);
        }
    }
}

fn end(handle: &Handle, running: JoinHandle<Result<Verdict, StartError>>) {
    handle.stop_now().wait_timeout(DEADLINE).unwrap();
    assert_eq!(running.join().unwrap().unwrap(), Verdict::Stopped);
}

fn is_alive(pid: u32) -> bool {
    std::fs::metadata(format!("/proc/{pid}")).is_ok()
}

fn pids(handle: &Handle) -> BTreeSet<u32> {
    let status = handle.status().wait_timeout(DEADLINE).unwrap();
    status.apps[0].workers.iter().filter_map(|worker| worker.pid).collect()
}

#[test]
fn a_life_is_told_from_its_start_to_its_end() {
    let (events, seen) = mpsc::channel();
    let verdict = Cluster::new()
        .command(["sh", "-c", "echo a last word >&2; exit 3"])
        .output(Output::None)
        .workers(1)
        .policy(|policy| policy.restart(RestartMode::Temporary))
        .on(move |event| events.send(event.clone()).unwrap())
        .run()
        .unwrap();
    assert_eq!(verdict, Verdict::Finished);
    let seen: Vec<Event> = seen.iter().collect();
    let first = WorkerId { slot: SlotId(0), incarnation: 1 };
    let Event::Started { worker, pid, .. } = &seen[0] else { panic!("{seen:?}") };
    assert_eq!(*worker, first);
    let Event::Exited { worker, pid: exited, exit, expected: false, last_output, .. } = &seen[1] else {
        panic!("{seen:?}")
    };
    assert_eq!((*worker, exited, *exit), (first, pid, Exit::Code(3)));
    assert_eq!(*last_output, ["a last word"]);
    assert!(seen.contains(&Event::Done { slot: SlotId(0) }), "{seen:?}");
    assert_eq!(*seen.last().unwrap(), Event::Ended { verdict });
}

#[test]
fn a_cluster_is_scaled_looked_at_and_stopped_from_another_thread() {
    let (handle, running) = start(sleepers(1));
    assert_eq!(pids(&handle).len(), 1);
    handle.scale_to(3).wait_timeout(DEADLINE).unwrap();
    assert_eq!(pids(&handle).len(), 3);
    handle.scale_by(-1).wait_timeout(DEADLINE).unwrap();
    let left = pids(&handle);
    assert_eq!(left.len(), 2);
    handle.stop().wait_timeout(DEADLINE).unwrap();
    assert_eq!(running.join().unwrap().unwrap(), Verdict::Stopped);
    assert!(!left.into_iter().any(is_alive), "nothing is left behind");
}

#[test]
fn a_refusal_keeps_its_name() {
    let (handle, running) = start(sleepers(1));
    let refused = |answer: Result<(), HandleError>| match answer {
        Err(HandleError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(handle.scale_to(0).wait_timeout(DEADLINE)), "no-workers");
    assert_eq!(refused(handle.scale_to(1_000_000).wait_timeout(DEADLINE)), "too-many-workers");
    end(&handle, running);
}

#[test]
fn after_the_end_a_handle_answers_gone_and_does_not_wait() {
    let (handle, running) = start(sleepers(1));
    let late = handle.events().unwrap();
    end(&handle, running);
    assert_eq!(handle.status().wait().unwrap_err(), HandleError::Gone);
    assert_eq!(handle.scale_to(3).wait(), Err(HandleError::Gone));
    assert_eq!(handle.events().unwrap_err(), HandleError::Gone);
    assert!(
        late.iter().any(|event| matches!(event, Event::Ended { .. })),
        "the channel is closed at the end"
    );
}

#[test]
fn a_request_of_a_cluster_that_never_runs_comes_back() {
    let cluster = sleepers(1);
    let handle = cluster.handle();
    let (early, waiting) = (handle.status(), handle.clone());
    let waiter = thread::spawn(move || waiting.scale_to(2).wait());
    assert_eq!(early.wait_timeout(Duration::ZERO).unwrap_err(), HandleError::TimedOut);
    drop(cluster);
    assert_eq!(waiter.join().unwrap(), Err(HandleError::Gone));
    let failed = sleepers(1).command(["/no/such/program"]);
    let handle = failed.handle();
    let asked = handle.status();
    assert!(matches!(failed.run(), Err(StartError::Command { .. })));
    assert_eq!(asked.wait().unwrap_err(), HandleError::Gone);
}

#[test]
fn what_is_asked_before_the_run_is_done_in_it() {
    let cluster = sleepers(1);
    let handle = cluster.handle();
    let (events, scaled) = (handle.events().unwrap(), handle.scale_to(2));
    let running = thread::spawn(move || cluster.run());
    scaled.wait_timeout(DEADLINE).unwrap();
    assert_eq!(pids(&handle).len(), 2);
    let first = WorkerId { slot: SlotId(0), incarnation: 1 };
    let started = |event: &Event| matches!(event, Event::Started { worker, .. } if *worker == first);
    assert!(events.try_iter().any(|event| started(&event)), "no event is missed");
    end(&handle, running);
}

#[test]
fn eight_threads_ask_at_once_and_each_gets_its_own_answer() {
    let (handle, running) = start(sleepers(2));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let handle = handle.clone();
            thread::spawn(move || {
                for _ in 0..100 {
                    let status = handle.status().wait_timeout(DEADLINE).unwrap();
                    assert_eq!(status.name, "sleepers");
                    assert_eq!(handle.scale_to(2).wait_timeout(DEADLINE), Ok(()));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(pids(&handle).len(), 2);
    end(&handle, running);
}

#[test]
fn a_flood_of_requests_is_refused_and_not_kept() {
    let cluster = sleepers(1);
    let handle = cluster.handle();
    let asked: Vec<_> = (0..100).map(|_| handle.status()).collect();
    let busy = asked.into_iter().filter_map(|one| one.wait_timeout(Duration::ZERO).err());
    assert_eq!(busy.filter(|error| *error == HandleError::Busy).count(), 36, "64 are on their way");
    drop(cluster);
}

#[test]
fn a_blocked_callback_and_abandoned_requests_cannot_keep_a_stop_out() {
    let (blocked, is_blocked) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let cluster = sleepers(1).on(move |event| {
        if let Event::Scaled { .. } = event {
            blocked.send(()).unwrap();
            let _ = released.recv();
        }
    });
    let (handle, running) = start(cluster);
    let _ = handle.scale_to(2);
    is_blocked.recv_timeout(DEADLINE).unwrap();
    while handle.status().wait_timeout(Duration::ZERO) == Err(HandleError::TimedOut) {}
    assert_eq!(handle.status().wait_timeout(Duration::ZERO), Err(HandleError::Busy));
    let stop = handle.stop_now();
    drop(release);
    assert_eq!(stop.wait_timeout(DEADLINE), Ok(()));
    assert_eq!(running.join().unwrap().unwrap(), Verdict::Stopped);
}

#[test]
fn receivers_come_and_go_on_a_cluster_where_nothing_happens() {
    let (handle, running) = start(sleepers(1));
    for _ in 0..4_000 {
        let events = handle.events().or_else(|error| {
            assert_eq!(error, HandleError::Busy);
            // The loop is behind by a thousand; an answer means that it has looked.
            handle.status().wait_timeout(DEADLINE).map(drop)?;
            handle.events()
        });
        drop(events.unwrap());
    }
    let events = handle.events().unwrap();
    handle.scale_to(2).wait_timeout(DEADLINE).unwrap();
    assert!(matches!(events.recv_timeout(DEADLINE).unwrap(), Event::Scaled { from: 1, to: 2 }));
    end(&handle, running);
}

/// A cluster that starts workers as fast as it can until it has had so many restarts.
fn crashing(restarts: u32) -> Cluster {
    Cluster::new().command(["false"]).workers(1).policy(|policy| {
        let none = Duration::ZERO;
        policy.intensity(Intensity { restarts, period: Duration::from_secs(3600) }).backoff(Backoff {
            first: none,
            factor: 1,
            cap: none,
            jitter_percent: 0,
        })
    })
}

#[test]
fn a_slow_receiver_loses_events_and_is_told_how_many() {
    let cluster = crashing(50);
    let handle = cluster.handle();
    let (all, some) = (handle.events().unwrap(), handle.events_within(8).unwrap());
    assert_eq!(cluster.run().unwrap(), Verdict::GaveUp, "nobody waited for the receiver");
    let all: Vec<Event> = all.iter().collect();
    assert!(all.len() > 100 && all.len() <= EVENTS_MAX);
    let some: Vec<Event> = some.iter().collect();
    assert_eq!(some[..8], all[..8]);
    let lost = u64::try_from(all.len() - 8).unwrap();
    assert_eq!(some[8..], [Event::Lost { events: lost }]);
}

#[test]
fn a_receiver_that_reads_again_is_told_what_it_lost_in_between() {
    let cluster = sleepers(1);
    let handle = cluster.handle();
    let (all, some) = (handle.events().unwrap(), handle.events_within(2).unwrap());
    let running = thread::spawn(move || cluster.run());
    while !matches!(all.recv_timeout(DEADLINE).unwrap(), Event::Running { .. }) {}
    let first: Vec<Event> = some.try_iter().collect();
    assert_eq!(first.len(), 2);
    handle.scale_to(2).wait_timeout(DEADLINE).unwrap();
    let next = some.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(next, Event::Lost { events } if events > 0), "{next:?}");
    assert!(matches!(some.recv_timeout(DEADLINE).unwrap(), Event::Scaled { from: 1, to: 2 }));
    end(&handle, running);
}

#[test]
fn a_receiver_that_is_dropped_is_forgotten() {
    let (handle, running) = start(sleepers(1));
    drop(handle.events().unwrap());
    handle.scale_to(2).wait_timeout(DEADLINE).unwrap();
    end(&handle, running);
}

#[test]
fn a_callback_that_panics_leaves_no_worker_behind() {
    let (pids, started) = mpsc::channel();
    let cluster = sleepers(3).on(move |event| {
        if let Event::Started { pid, .. } = event {
            pids.send(*pid).unwrap();
        }
        assert!(!matches!(event, Event::Running { .. }), "a mistake of the program");
    });
    let handle = cluster.handle();
    let result = catch_unwind(AssertUnwindSafe(|| cluster.run()));
    assert_eq!(*result.unwrap_err().downcast::<&str>().unwrap(), "a mistake of the program");
    let started: Vec<u32> = started.iter().collect();
    assert_eq!(started.len(), 3);
    assert!(!started.into_iter().any(is_alive), "each is gone, and reaped");
    assert_eq!(handle.stop().wait(), Err(HandleError::Gone));
}

#[test]
fn a_callback_may_ask_its_cluster_but_not_wait_for_it() {
    let cluster = sleepers(1);
    let (handle, (waited, result)) = (cluster.handle(), mpsc::channel());
    let verdict = cluster
        .on(move |event| {
            if matches!(event, Event::Running { .. }) {
                waited.send(handle.status().wait().unwrap_err()).unwrap();
                drop(handle.stop());
            }
        })
        .run();
    assert_eq!(verdict.unwrap(), Verdict::Stopped);
    assert_eq!(result.recv().unwrap(), HandleError::InCallback);
}

#[test]
fn two_clusters_in_one_process_know_nothing_of_each_other() {
    let (first, first_running) = start(sleepers(1));
    let (second, second_running) = start(sleepers(2).name("others"));
    let (of_first, of_second) = (pids(&first), pids(&second));
    assert_eq!((of_first.len(), of_second.len()), (1, 2));
    assert!(of_first.is_disjoint(&of_second));
    end(&first, first_running);
    assert_eq!(pids(&second), of_second, "the other one goes on");
    end(&second, second_running);
}

#[test]
fn other_children_of_the_program_are_its_own() {
    let (handle, running) = start(sleepers(1));
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    end(&handle, running);
    assert!(child.try_wait().unwrap().is_none(), "it lives");
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
}

#[test]
fn a_policy_that_makes_no_sense_is_an_error_of_the_start() {
    let error = sleepers(0).run().unwrap_err();
    assert!(matches!(error, StartError::Policy(_)), "{error}");
}

#[test]
fn a_killed_worker_has_a_successor() {
    let (handle, running) = start(sleepers(1));
    let before = pids(&handle);
    let events = handle.events().unwrap();
    let victim = i32::try_from(*before.first().unwrap()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(victim).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    let since = Instant::now();
    while pids(&handle).is_empty() || !pids(&handle).is_disjoint(&before) {
        assert!(since.elapsed() < DEADLINE, "nobody followed");
        thread::yield_now();
    }
    let told: Vec<Event> = events.try_iter().collect();
    let killed = |event: &Event| {
        matches!(event, Event::Exited { exit: Exit::Signal { number: 9, .. }, expected: false, .. })
    };
    assert!(told.iter().any(killed), "{told:?}");
    end(&handle, running);
}
