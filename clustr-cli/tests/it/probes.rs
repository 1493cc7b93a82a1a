//! Node programs that are asked whether they are ready, and whether they still serve; and what `--share auto` makes of it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use clustr_benches::{facts, http, wait};
use serde_json::Value;

use crate::harness::node::{Node, with_node};
use crate::harness::{Outcome, Primary, Run, SOON, app, ensure, hold, known, of_kind};

fn run(node: &Node, options: &[&str]) -> Run {
    let run = Run::new(&[&node.program, &app("health.js")]).workers(2).options(options);
    let good = run.folder().join("good").display().to_string();
    run.env("GOOD", &good)
}

fn say_good(primary: &Primary) -> Outcome {
    std::fs::write(primary.folder().join("good"), "").map_err(|error| error.to_string())
}

fn share(primary: &Primary) -> Result<(String, String), String> {
    let status = primary.status()?;
    let app = &status["apps"][0];
    let text = |name: &str| app[name].as_str().unwrap_or_default().to_owned();
    Ok((text("share"), text("share_why")))
}

#[test]
fn a_node_is_asked_for_its_health_in_every_sharing() {
    with_node(|node| {
        for (asked, chosen) in [
            ("auto", "per-worker"),
            ("shared", "shared"),
            ("per-worker", "per-worker"),
            ("handoff", "handoff"),
        ] {
            let mut primary = run(node, &["--share", asked, "--ready", "http:/health"]).start()?;
            primary.wait_count("listening", 2)?;
            ensure!(primary.status()?["apps"][0]["ready"] == 0, "{asked}: ready before it says so");
            ensure!(share(&primary)?.0 == chosen, "{asked}: {:?}", share(&primary)?);
            say_good(&primary)?;
            primary.wait_ready(2)?;
            http::get(primary.address(), "/")?;
            primary.stop()?;
        }
        Ok(())
    });
}

#[test]
fn a_version_that_answers_badly_is_rolled_back_with_its_answer_and_a_canary_beside_others_is_told_as_such() {
    with_node(|node| {
        let options = ["--share", "shared", "--ready", "http:/health", "--ready-timeout", "5s"];
        let mut primary = run(node, &options).start()?;
        say_good(&primary)?;
        primary.wait_ready(2)?;
        let said = primary.try_clustr(&["reload", "--canary", "1", "--env", "GOOD=/nowhere"])?;
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        ensure!(said.status.code() == Some(4), "{:?}: {error}", said.status);
        ensure!(error.contains("not ready in time (http:/health: it answers 503)"), "{error}");
        let told =
            |piece: &serde_json::Value| piece["detail"].to_string().contains("the canary gets connections");
        ensure!(of_kind(&primary.news(), "warning").any(told), "{:?}", primary.news());
        ensure!(primary.status()?["apps"][0]["ready"] == 2, "{}", primary.status()?);
        primary.stop()
    });
}

#[test]
fn a_blocked_node_alone_fails_its_question_where_all_share_one_queue() {
    with_node(|node| {
        let options =
            ["--share", "shared", "--live", "http:/", "--live-every", "300ms", "--live-timeout", "3s"];
        let mut primary = run(node, &options).options(&["--stop-timeout", "1s"]).start()?;
        primary.wait_ready(2)?;
        let before = primary.worker_pids()?;
        let answer = http::get(primary.address(), "/block")?;
        let place = before.iter().position(|pid| answer.contains(&pid.to_string())).ok_or(answer)?;
        primary.wait_count("renewed", 1)?;
        let news = primary.news();
        for kind in ["failing", "renewing", "renewed"] {
            let slots: Vec<_> = of_kind(&news, kind).map(|piece| piece["slot"].clone()).collect();
            ensure!(slots == [place], "{kind}: {slots:?}");
        }
        wait::until_true("two workers", SOON, || {
            primary.worker_pids().is_ok_and(|pids| pids.len() == 2 && !pids.contains(&before[place]))
        })?;
        ensure!(primary.worker_pids()?.contains(&before[1 - place]), "the other one serves on");
        primary.stop()
    });
}

#[test]
fn a_node_on_a_path_that_says_when_it_is_ready_serves_there_under_auto() {
    with_node(|node| {
        let run = run(node, &["--ready", "message"]);
        let path = run.folder().join("app.sock");
        let mut primary = run.env("WHERE", &path.display().to_string()).start()?;
        primary.wait_ready(2)?;
        ensure!(
            share(&primary)? == ("per-worker".into(), "for --ready message".into()),
            "{:?}",
            share(&primary)?
        );
        let mut stream = UnixStream::connect(&path).map_err(|error| error.to_string())?;
        let mut answer = String::new();
        stream
            .write_all(b"GET / HTTP/1.0\r\n\r\n")
            .and_then(|()| stream.read_to_string(&mut answer))
            .map_err(|error| error.to_string())?;
        ensure!(answer.contains("\"pid\""), "{answer}");
        let told = |piece: &serde_json::Value| piece["detail"].to_string().contains("all share it");
        ensure!(
            of_kind(&primary.news(), "warning").filter(|piece| told(piece)).count() == 1,
            "it is told once"
        );
        primary.stop()
    });
}

#[test]
fn an_idle_primary_wakes_up_for_its_questions_and_for_nothing_else() {
    with_node(|node| {
        let options = ["--share", "shared", "-n", "1", "--live", "http:/", "--live-every", "1s"];
        let run = Run::new(&[&node.program, &app("health.js")]).options(&options).env("GOOD", "/nowhere");
        let mut primary = run.start()?;
        primary.wait_ready(1)?;
        let wake_ups = |span: u64| -> Result<u64, String> {
            let before = known("wake-ups", facts::wake_ups(primary.pid()))?;
            wait::observe_for(Duration::from_secs(span));
            Ok(known("wake-ups", facts::wake_ups(primary.pid()))? - before)
        };
        wake_ups(1)?;
        let count = wake_ups(10)?;
        println!("{count} wake-ups for 10 questions");
        // A question is a turn for its time, and a few for the connection and its answer.
        ensure!((10..=150).contains(&count), "{count} wake-ups in 10 s, with a question each second");
        ensure!(of_kind(&primary.news(), "failing").count() == 0, "{:?}", primary.news());
        primary.stop()
    });
}

#[test]
fn a_worker_that_the_kernel_kills_for_want_of_memory_is_told_as_such() {
    let Some(cgroup) = Cgroup::make() else { return println!("skipped: memory cgroup not found") };
    with_node(|node| {
        let script = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", cgroup.0);
        let run =
            Run::new(&[&node.program, &app("grows.js")]).workers(1).through(&["sh", "-c", &script, "sh"]);
        let mut primary = run.start()?;
        let exit = primary.wait_news("an exit", SOON, |news| of_kind(news, "exited").next().cloned())?;
        ensure!(exit["out_of_memory"] == "cgroup", "{exit}");
        primary.wait_said("its cgroup is out of memory")?;
        primary.started.signal(rustix::process::Signal::QUIT)?;
        primary.started.expect_exit(0, SOON)
    });
}

/// A memory cgroup that holds little, where one can be made; gone with the value.
struct Cgroup(String);

impl Cgroup {
    fn make() -> Option<Self> {
        let name = format!("clustr-test-{}", std::process::id());
        let two = format!("/sys/fs/cgroup/{name}");
        let one = format!("/sys/fs/cgroup/memory/{name}");
        let limits = [(&two, "memory.max"), (&one, "memory.limit_in_bytes")];
        limits.into_iter().find_map(|(folder, limit)| {
            std::fs::create_dir(folder).ok()?;
            let (made, limit) = (Self(folder.clone()), format!("{folder}/{limit}"));
            // The kernel has made the file, or this is a folder like any other.
            let is_kernels = std::path::Path::new(&limit).exists();
            (is_kernels && std::fs::write(limit, "100000000").is_ok()).then_some(made)
        })
    }
}

impl Drop for Cgroup {
    /// The kernel may still count a process that has just ended.
    fn drop(&mut self) {
        let _ = wait::until_true("an empty cgroup", SOON, || std::fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn replacements_that_fail_as_what_they_replaced_come_later_each_time_and_a_person_is_told() {
    let outcome = (|| {
        let options = [
            "--ready",
            "delay:10ms",
            "--live",
            "exec:false",
            "--live-every",
            "100ms",
            "--live-failures",
            "1",
        ];
        let mut primary = Run::new(&["sleep", "1000"]).workers(1).options(&options).start()?;
        let told = |news: &[Value]| {
            let of_it = |piece: &&Value| piece["detail"].to_string().contains("fail as it did");
            of_kind(news, "warning").find(of_it).cloned()
        };
        let warning = primary.wait_news("the warning", SOON, told)?;
        ensure!(warning["hint"].to_string().contains("--live"), "{warning}");
        let news = primary.news();
        let before = news.split(|piece| *piece == warning).next().unwrap_or_default();
        let renewals = of_kind(before, "renewed").count();
        ensure!(renewals == 2, "{renewals} replacements before it was told: {news:?}");
        primary.stop()
    })();
    hold(outcome);
}
