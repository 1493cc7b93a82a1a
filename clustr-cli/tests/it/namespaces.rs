//! As PID 1, in a pid space that is nearly used up, and in folders that cannot take anything.

use std::process::Command;
use std::time::Duration;

use clustr_benches::started::{Started, signal_pid};
use clustr_benches::{facts, wait};
use rustix::process::Signal;

use crate::harness::{CLUSTR, Primary, Run, SOON, ensure, hold, of_kind};

/// The first process of a pid namespace of its own, with a `/proc` of its own; a script is run first and becomes it.
const UNSHARE: [&str; 6] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--"];

#[test]
fn as_pid_1_it_reaps_strangers_and_a_stop_ends_everything() {
    if !is_permitted(&UNSHARE) {
        return;
    }
    let outcome = (|| {
        // What each worker starts is nobody's child soon, and becomes the primary's.
        let script = "(sleep 0.2 &); (setsid env -i /bin/sh -c 'sleep 0.3; exit 7' &); exec sleep 1000";
        let options = ["--name", "app", "--ready-timeout", "50ms"];
        let run = Run::new(&["sh", "-c", script]).workers(3).options(&options).through(&UNSHARE);
        let mut primary = run.start()?;
        primary.wait_count("running", 1)?;
        let first = first_process(&primary)?;
        let children = || facts::children(first);
        wait::until_true("workers alone", SOON, || children().len() == 3)?;
        ensure!(
            children().iter().all(|pid| facts::state(*pid) != Some('Z')),
            "zombies among {:?}",
            children()
        );
        let status = primary.status()?;
        ensure!(status["pid"] == 1, "{status}");
        let restarts =
            status["apps"][0]["workers"].as_array().into_iter().flatten().map(|one| one["restarts"].clone());
        ensure!(restarts.clone().all(|count| count == 0), "strangers' exits count: {status}");
        ensure!(of_kind(&primary.news(), "exited").count() == 0, "{:?}", primary.news());
        signal_pid(first, Signal::TERM)?;
        primary.started.expect_exit(0, SOON)?;
        primary.nothing_left()
    })();
    hold(outcome);
}

/// Workers end and are started by the hundred, and numbers of processes come back within moments. The strangers, who get
/// those numbers, are started by somebody else and end by themselves: a signal to one of them would be its end.
#[test]
fn in_a_small_pid_space_no_signal_ever_reaches_a_stranger() {
    if !has_pid_spaces() || !is_permitted(&UNSHARE) {
        return;
    }
    let outcome = (|| {
        let run = Run::new(&["sh", "-c", "sleep 0.0$CLUSTR_SLOT & setsid sleep 1 & exit 1"]);
        let hits = run.folder().join("hits");
        let strangers = format!(
            "{SHRINK} && for i in 1 2 3; do (while :; do sleep 0.02; \
             [ $? = 0 ] || echo hit >> '{}'; done) & done; exec \"$@\"",
            hits.display()
        );
        let through: Vec<&str> = UNSHARE.into_iter().chain(["sh", "-c", &strangers, "sh"]).collect();
        let options = ["--name", "app", "--backoff-min", "0ms", "--intensity", "1000000/1s"];
        let mut primary = run.workers(4).options(&options).through(&through).start()?;
        // More than the pid space holds, several times over.
        primary.wait_news("900 exits", SOON * 6, |news| {
            (of_kind(news, "exited").count() >= 900).then_some(())
        })?;
        let news = primary.news();
        let pids = of_kind(&news, "started").filter_map(|one| one["pid"].as_u64());
        let mut seen: Vec<u64> = pids.collect();
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        ensure!(seen.len() < all, "no number came back among {all}: the test proves nothing");
        for words in [
            &["signal", "USR2"] as &[&str],
            &["scale", "2", "--timeout", "200ms"],
            &["scale", "4", "--timeout", "200ms"],
        ] {
            primary.try_clustr(words)?;
        }
        // Before the end of the namespace, with which the kernel kills everybody in it.
        let hits = std::fs::read_to_string(&hits).unwrap_or_default();
        ensure!(hits.is_empty(), "strangers were hit {} times", hits.lines().count());
        signal_pid(first_process(&primary)?, Signal::TERM)?;
        primary.started.expect_exit(0, SOON)?;
        primary.nothing_left()
    })();
    hold(outcome);
}

/// Little more than the least that the kernel allows.
const SHRINK: &str = "echo 400 > /proc/sys/kernel/pid_max";

/// Whether pid_max is a namespace's own, as from Linux 6.14 on. Before that it is the whole machine's, and is left alone.
fn has_pid_spaces() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 14) {
        println!("skipped: a pid_max of each namespace not found");
    }
    version >= (6, 14)
}

#[test]
fn nothing_is_left_a_moment_after_the_end() {
    let outcome = (|| {
        let script = "setsid sh -c 'sleep 1000 & sleep 1000' & setsid env -i /bin/sleep 1000 & sleep 1000 & echo up; wait";
        let options = ["--name", "app", "--ready-timeout", "50ms", "--stop-timeout", "1s"];
        let mut primary = Run::new(&["sh", "-c", script]).workers(2).options(&options).start()?;
        primary.wait_said("app.0 | up")?;
        primary.wait_said("app.1 | up")?;
        let all = || facts_below(primary.pid());
        wait::until_true("all that the workers start", SOON, || all().len() >= 2 * 6)?;
        let before = all();
        primary.clustr(&["stop"])?;
        wait::observe_for(Duration::from_millis(100));
        let left: Vec<u32> = before.into_iter().filter(|pid| facts::lives(*pid)).collect();
        ensure!(left.is_empty(), "left: {left:?}");
        primary.started.expect_exit(0, SOON)?;
        primary.nothing_left()
    })();
    hold(outcome);
}

#[test]
fn a_full_runtime_folder_is_a_clear_error_and_leaves_nothing_in_it() {
    let permitted = ["unshare", "--mount", "--", "sh", "-c", "mount -t tmpfs -o size=4k tmpfs /mnt"];
    if !is_permitted(&permitted) {
        return;
    }
    let outcome = (|| {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = folder.path().display();
        let script = format!(
            "mount -t tmpfs -o size=4k,mode=700 tmpfs '{path}' && head -c 4096 /dev/zero > '{path}/full' && \
             '{CLUSTR}' run -n 1 -- sleep 1000; echo exit $?; ls -A '{path}'"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", &script]).env("CLUSTR_RUNTIME_DIR", folder.path());
        let said = command.output().map_err(|error| error.to_string())?;
        let (out, error) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        ensure!(out == "exit 1\nfull\n", "{out}{error}");
        ensure!(
            error.contains("sleep.sock") && error.contains("No space left") && error.contains("hint: df "),
            "{error}"
        );
        Ok(())
    })();
    hold(outcome);
}

#[test]
fn a_runtime_folder_that_may_not_be_written_is_a_clear_error() {
    let outcome = (|| {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let run = |runtime: &std::path::Path| {
            let mut command = Command::new(CLUSTR);
            command.args(["run", "-n", "1", "--", "sleep", "1000"]).env("CLUSTR_RUNTIME_DIR", runtime);
            Started::new(&mut command)
        };
        // Root may write everywhere but in /proc.
        let mut refused = run(std::path::Path::new("/proc/self/clustr"))?;
        refused.expect_exit(1, SOON)?;
        let said = refused.said(clustr_benches::started::Stream::Err);
        ensure!(said.contains("/proc/self/clustr") && said.contains("hint: "), "{said}");
        std::fs::write(folder.path().join("file"), "").map_err(|error| error.to_string())?;
        let mut refused = run(&folder.path().join("file"))?;
        refused.expect_exit(1, SOON)?;
        let said = refused.said(clustr_benches::started::Stream::Err);
        ensure!(said.contains("is not a folder"), "{said}");
        Ok(())
    })();
    hold(outcome);
}

/// Whether this machine lets us: only a host can.
fn is_permitted(words: &[&str]) -> bool {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    if words.last() == Some(&"--") {
        command.arg("true");
    }
    let permitted = command.output().is_ok_and(|said| said.status.success());
    if !permitted {
        println!("skipped: permission for namespaces not found");
    }
    permitted
}

/// The primary as the machine outside sees it.
fn first_process(primary: &Primary) -> Result<u32, String> {
    let is_first = |pid: &u32| {
        let numbers = facts::status(*pid, "NSpid:").unwrap_or_default();
        numbers.split_whitespace().count() > 1 && numbers.split_whitespace().last() == Some("1")
    };
    let found = || primary.started.running().into_iter().find(is_first);
    wait::until("the first process of the namespace", SOON, found)
}

/// Every process below this one.
fn facts_below(pid: u32) -> Vec<u32> {
    let children = facts::children(pid);
    let below = children.iter().flat_map(|child| facts_below(*child)).collect::<Vec<_>>();
    children.into_iter().chain(below).collect()
}
