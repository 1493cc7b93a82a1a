//! What a worker finds around itself, however its primary was started.

use std::collections::BTreeMap;

use clustr_benches::facts;

use crate::harness::{Primary, Run, ensure, hold, known};

/// What a badly behaved parent leaves to the primary.
const UNTIDY: &str = r#"trap '' HUP PIPE INT QUIT USR1; ulimit -Sn 512; exec "$@" 7</dev/null"#;

#[test]
fn a_worker_has_its_documented_descriptors_and_no_others() {
    let outcome = (|| {
        let mut primary = untidy()?;
        let pid = primary.worker_pids()?[0];
        let found = facts::descriptors(pid);
        let kinds: Vec<(u32, &str)> =
            found.iter().map(|(number, target)| (*number, kind_of(target))).collect();
        ensure!(kinds == [(0, "/dev/null"), (1, "pipe"), (2, "pipe")], "{found:?}");
        primary.stop()
    })();
    hold(outcome);
}

#[test]
fn a_worker_has_no_signal_blocked_or_ignored() {
    let outcome = (|| {
        let mut primary = untidy()?;
        let pid = primary.worker_pids()?[0];
        for set in ["SigBlk:", "SigIgn:", "SigCgt:"] {
            let found = known(set, facts::status(pid, set))?;
            ensure!(found.chars().all(|digit| digit == '0'), "{set} {found}");
        }
        // It was started with SIGINT ignored, as `nohup` and background jobs are: then it stops by SIGTERM only.
        primary.started.signal(rustix::process::Signal::TERM)?;
        primary.started.expect_exit(0, crate::harness::SOON)?;
        primary.nothing_left()
    })();
    hold(outcome);
}

#[test]
fn a_worker_has_the_limit_of_descriptors_that_the_primary_was_started_with() {
    let outcome = (|| {
        let mut primary = untidy()?;
        let worker = known("the limit", facts::descriptor_limit(primary.worker_pids()?[0]))?;
        ensure!(worker.0 == "512", "soft and hard limit: {worker:?}");
        let own = known("the limit", facts::descriptor_limit(primary.pid()))?;
        ensure!(own.0 == own.1 || own.0 != "512", "the primary's own: {own:?}");
        primary.stop()
    })();
    hold(outcome);
}

#[test]
fn a_worker_has_its_documented_variables_and_none_of_its_primarys() {
    let outcome = (|| {
        let mut primary = untidy()?;
        let pids = primary.worker_pids()?;
        for (slot, pid) in pids.iter().enumerate() {
            let found: BTreeMap<String, String> = facts::environment(*pid).into_iter().collect();
            let slot = slot.to_string();
            let wanted = [
                ("CLUSTR_APP", "tidy"),
                ("CLUSTR_SLOT", &slot),
                ("CLUSTR_INCARNATION", "1"),
                ("CLUSTR_GENERATION", "1"),
                ("NODE_APP_INSTANCE", &slot),
                ("WEB_CONCURRENCY", "1"),
                ("OWN", "kept"),
            ];
            for (name, value) in wanted {
                ensure!(found.get(name).is_some_and(|found| found == value), "{name}: {:?}", found.get(name));
            }
            let notices = found.get("NOTIFY_SOCKET");
            ensure!(notices.is_some_and(|name| name.starts_with("@clustr/")), "{notices:?}");
            for name in OURS {
                let ours = found.get(name).filter(|value| value.as_str() == "1");
                ensure!(ours.is_none(), "{name}={ours:?} has reached a worker");
            }
        }
        primary.stop()
    })();
    hold(outcome);
}

#[test]
fn a_worker_leads_a_process_group_of_its_own() {
    let outcome = (|| {
        let mut primary = untidy()?;
        for pid in primary.worker_pids()? {
            let group = known("NSpgid", facts::status(pid, "NSpgid:"))?;
            ensure!(group.split_whitespace().last() == Some(&pid.to_string()), "{pid} is in group {group}");
        }
        primary.stop()
    })();
    hold(outcome);
}

const OURS: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

fn untidy() -> Result<Primary, String> {
    let options = ["--name", "tidy", "--ready-timeout", "50ms"];
    let mut run = Run::new(&["sleep", "1000"]).workers(2).options(&options).env("OWN", "kept");
    for name in OURS {
        run = run.env(name, "1");
    }
    let primary = run.through(&["sh", "-c", UNTIDY, "sh"]).start()?;
    primary.wait_ready(2)?;
    Ok(primary)
}

fn kind_of(target: &str) -> &str {
    target.split_once(":[").map_or(target, |(kind, _)| kind)
}
