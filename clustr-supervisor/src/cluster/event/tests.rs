//! That events are what the news says.

use clustr_core::{Notice, Setback};

use super::*;
use crate::tell::{self, Knowledge};

struct Known;

impl Knowledge for Known {
    fn pid(&self, _: WorkerId) -> u32 {
        42
    }

    fn last_output(&self, _: WorkerId) -> Vec<String> {
        vec!["Error: no".into()]
    }

    fn last_output_of_slot(&self, _: u32) -> Vec<String> {
        vec!["Error: no".into()]
    }

    fn changed_file(&self) -> Option<String> {
        Some("/srv/app.js".into())
    }

    fn last_answer(&self, _: WorkerId) -> Option<String> {
        None
    }

    fn said_failing(&self, _: WorkerId) -> bool {
        true
    }

    fn shortage(&self, _: WorkerId) -> Option<crate::oom::Shortage> {
        None
    }

    fn spawn_error(&self) -> (String, Option<String>) {
        ("no such file".into(), None)
    }
}

const WORKER: WorkerId = WorkerId { slot: SlotId(3), incarnation: 7 };

fn event(notice: Notice) -> Event {
    Event::of(&tell::fact(notice, &Known), |_| 42)
}

#[test]
fn an_exit_comes_through_as_it_was() {
    let exits = [Exit::Code(1), Exit::Code(0)]
        .into_iter()
        .chain((1..=64).map(|number| Exit::Signal { number, core_dumped: number == 11 }));
    for exit in exits {
        let lived = Duration::from_millis(5);
        let notice = Notice::Exited { worker: WORKER, exit, expected: false, was_ready: true, lived };
        let Event::Exited { worker: WORKER, pid: 42, exit: told, expected: false, was_ready: true, .. } =
            event(notice)
        else {
            panic!("an exit is an exit")
        };
        assert_eq!(told, exit);
    }
}

#[test]
fn reasons_and_verdicts_come_through_as_they_were() {
    use EndReason::{Asked, AtOnce, Finished, GaveUp, Signalled};
    for reason in [Finished, GaveUp, Asked, Signalled, AtOnce] {
        assert_eq!(event(Notice::Ending { reason }), Event::Ending { reason });
    }
    for verdict in [Verdict::Finished, Verdict::Stopped, Verdict::GaveUp] {
        assert_eq!(event(Notice::Ended { verdict }), Event::Ended { verdict });
    }
}

#[test]
fn an_event_says_which_worker_it_is_about() {
    let event = event(Notice::Stopping { worker: WORKER });
    assert_eq!(event, Event::Stopping { worker: WORKER, pid: 42 });
    assert_eq!(event.worker(), Some(WORKER));
    assert_eq!(event.to_string(), "worker stopping slot=3 incarnation=7 pid=42");
    assert_eq!(Event::Running { ready: 2 }.worker(), None);
}

#[test]
fn a_roll_back_says_whose_fault_it_was() {
    let (tried, serves, setback) = (Generation(2), Generation(1), Setback::ExitedEarly(Exit::Code(3)));
    let notice = Notice::RolledBack { tried, serves, worker: WORKER, setback, put_back: 0, lost: 0 };
    let event = event(notice);
    assert_eq!(event.worker(), Some(WORKER));
    assert_eq!(
        event.to_string(),
        "rolled back tried=2 serves=1: worker 3#7 ended with code 3 before it was ready"
    );
    let Event::RolledBack { last_output, setback, .. } = event else { panic!("a roll back is one") };
    assert_eq!((last_output, setback.as_str()), (vec!["Error: no".to_owned()], "exited-early"));
}

#[test]
fn all_news_of_replacing_reads_as_it_does_in_the_log() {
    let (worker, by) = (WORKER, WorkerId { incarnation: 8, ..WORKER });
    let (from, to) = (Generation(1), Generation(2));
    let why = clustr_core::Why::Worn(clustr_core::Wear::MaxAge);
    let setback = Setback::Overdue;
    let settle = Duration::from_secs(1);
    for notice in [
        Notice::Reloading { from, to, slots: 2 },
        Notice::Remembered { instead: true },
        Notice::Settling { to, ready: 1, slots: 2, settle },
        Notice::Parked { worker },
        Notice::Readmitted { worker },
        Notice::Reloaded { from, to, took: settle },
        Notice::RolledBack { tried: to, serves: from, worker, setback, put_back: 1, lost: 1 },
        Notice::ReloadCancelled { to },
        Notice::Stranded { slot: SlotId(3) },
        Notice::Renewing { worker, by, why },
        Notice::Renewed { worker, by, ready: false },
        Notice::NotRenewed { worker, why, setback },
    ] {
        let fact = tell::fact(notice, &Known);
        let event = Event::of(&fact, |_| 42);
        assert_eq!(event.to_string(), fact.to_string());
        assert!(!matches!(event, Event::Warning { .. }), "{fact}");
    }
}

#[test]
fn a_restart_that_fails_is_no_version_that_was_rolled_back_and_whoever_says_so_itself_is_believed() {
    let (tried, setback) = (Generation(2), Setback::Failing(clustr_core::Ailment::Watchdog));
    let failed = |serves| {
        let notice = Notice::RolledBack { tried, serves, worker: WORKER, setback, put_back: 0, lost: 0 };
        tell::fact(notice, &Known)
    };
    let (restart, reload) = (failed(tried), failed(Generation(1)));
    assert!(
        restart.to_string().starts_with("restart failed generation=2: worker 3#7 does not serve"),
        "{restart}"
    );
    assert!(restart.hint().unwrap().ends_with("clustr restart 3"), "{restart:?}");
    assert!(reload.to_string().starts_with("rolled back tried=2 serves=1"), "{reload}");
    assert!(reload.to_string().contains("it says so itself"), "{reload}");
}
