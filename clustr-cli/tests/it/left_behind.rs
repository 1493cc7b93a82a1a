//! A primary that was killed, and the next one of its name.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use clustr_benches::started::{Line, Started};
use clustr_benches::{facts, http, wait};
use rustix::process::Signal;

use crate::harness::node::with_node;
use crate::harness::{CLUSTR, Outcome, Primary, Run, SOON, app, ensure, example, hold, news_of, of_kind};
use crate::intercept::{PYTHON, Server, alone, prepared};

#[test]
fn workers_with_their_listener_go_on_until_the_next_primary_of_the_name_ends_them() {
    with_node(|node| {
        let run = Run::new(&[&node.program, &app("fds.js")]);
        let listen = format!("127.0.0.1:{}", run.port());
        let options = ["--name", "app", "--listen", &listen, "--delivery", "fds"];
        let mut primary = run.workers(2).options(&options).start()?;
        primary.wait_ready(2)?;
        let before = primary.worker_pids()?;
        kill(&mut primary, 2)?;
        let answer = http::get(primary.address(), "/")?;
        ensure!(
            before.iter().any(|pid| answer == pid.to_string()),
            "nobody of {before:?} has answered: {answer}"
        );
        let command = [&*node.program, &app("fds.js")].map(str::to_owned);
        let mut next = again(&primary, &options, &command)?;
        wait_for(&next, "ready", 2)?;
        warns(&next)?;
        ensure!(!before.iter().any(|pid| facts::lives(*pid)), "of {before:?} some still live");
        let answer = http::get(primary.address(), "/")?;
        ensure!(!before.iter().any(|pid| answer == pid.to_string()), "{answer} is of the primary before");
        end(&mut next, &primary, primary.address())
    });
}

#[test]
fn workers_that_node_started_by_its_channel_end_by_themselves() {
    with_node(|node| {
        let mut primary = Run::new(&[&node.program, &example("app.js")]).workers(2).start()?;
        primary.wait_ready(2)?;
        let before = primary.worker_pids()?;
        primary.started.signal(Signal::KILL)?;
        primary.started.wait_exit(SOON)?;
        wait::until_true("the end of both", SOON, || !before.iter().any(|pid| facts::lives(*pid)))
    });
}

#[test]
fn a_socket_file_on_which_nobody_listens_any_more_is_replaced() {
    with_node(|node| {
        let run = Run::new(&[&node.program, &app("fds.js")]);
        let path = run.folder().join("app-listens");
        let listen = format!("unix:{}", path.display());
        let options = ["--name", "app", "--listen", &listen, "--delivery", "fds"];
        let mut primary = run.workers(1).options(&options).start()?;
        primary.wait_ready(1)?;
        kill(&mut primary, 1)?;
        ensure!(UnixStream::connect(&path).is_ok(), "the worker has not gone on");
        let command = [&*node.program, &app("fds.js")].map(str::to_owned);
        let mut next = again(&primary, &options, &command)?;
        wait_for(&next, "ready", 1)?;
        ensure!(UnixStream::connect(&path).is_ok(), "nobody listens");
        end(&mut next, &primary, primary.address())?;
        ensure!(!path.exists(), "the file is left");
        Ok(())
    });
}

#[test]
fn those_that_ignore_the_polite_signal_are_killed_with_all_that_they_started() {
    let outcome = (|| {
        let script = "trap '' TERM; setsid sleep 1000 & echo up; while :; do sleep 1; done";
        let options = ["--name", "app", "--ready-timeout", "50ms", "--stop-timeout", "500ms"];
        let mut primary = Run::new(&["sh", "-c", script]).workers(2).options(&options).start()?;
        primary.wait_said("app.0 | up")?;
        primary.wait_said("app.1 | up")?;
        primary.wait_count("running", 1)?;
        kill(&mut primary, 2)?;
        let left = primary.started.running();
        ensure!(left.len() >= 4, "two shells and two sleepers are left: {left:?}");
        let mut next = again(&primary, &options, &["sleep".into(), "1000".into()])?;
        wait_for(&next, "running", 1)?;
        warns(&next)?;
        ensure!(primary.started.running().is_empty(), "left: {:?}", primary.started.running());
        end(&mut next, &primary, primary.address())
    })();
    hold(outcome);
}

#[test]
fn whoever_ends_them_says_so_at_once_and_can_be_stopped_meanwhile() {
    let outcome = (|| {
        let stubborn = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"];
        let options = ["--name", "app", "--ready-timeout", "50ms", "--stop-timeout", "10m"];
        let mut primary = Run::new(&stubborn).workers(1).options(&options).start()?;
        primary.wait_said("app.0 | up")?;
        kill(&mut primary, 1)?;
        let mut next = again(&primary, &options, &["sleep".into(), "1000".into()])?;
        let told = |lines: &[Line]| {
            let news = news_of(lines);
            let found = of_kind(&news, "warning").any(|one| one["detail"] == ENDING);
            found.then_some(())
        };
        next.wait_for(ENDING, SOON, told)?;
        ensure!(!primary.started.running().is_empty(), "nobody was waited for");
        end(&mut next, &primary, primary.address())?;
        ensure!(of_kind(&news_of(&next.lines()), "started").next().is_none(), "a worker was started");
        ensure!(primary.started.running().is_empty(), "left: {:?}", primary.started.running());
        Ok(())
    })();
    hold(outcome);
}

const ENDING: &str = "ending what a killed primary left: 1 process";

#[test]
fn commands_that_asked_about_workers_are_ended_with_all_that_they_started() {
    let outcome = (|| {
        let asked = ["--name", "app", "--ready", "exec:sleep 1000 & sleep 1000"];
        let mut primary = Run::new(&["sleep", "1000"]).workers(1).options(&asked).start()?;
        let is_asked = || primary.started.running().len() >= 5;
        wait::until_true("a worker, a shell and two sleepers", SOON, is_asked)?;
        kill(&mut primary, 2)?;
        let left = primary.started.running();
        ensure!(left.len() >= 4, "a worker, a shell and two sleepers are left: {left:?}");
        let mut next =
            again(&primary, &["--name", "app", "--ready-timeout", "50ms"], &["sleep".into(), "1000".into()])?;
        wait_for(&next, "running", 1)?;
        warns(&next)?;
        ensure!(primary.started.running().is_empty(), "left: {:?}", primary.started.running());
        end(&mut next, &primary, primary.address())
    })();
    hold(outcome);
}

/// Their sockets are their own, and their calls are answered by nobody any more: ENOSYS.
#[test]
fn workers_that_bind_for_themselves_go_on_until_the_next_primary_of_the_name_ends_them() {
    let Some((run, folder)) = prepared(&BINDS_AGAIN, alone("python3")) else { return };
    hold((|| {
        let options = ["--name", "app"];
        let mut primary = run.options(&options).start()?;
        primary.wait_ready(3)?;
        let before = primary.worker_pids()?;
        kill(&mut primary, 3)?;
        for _ in 0..20 {
            let answer = http::get(primary.address(), "/")?;
            let is_of_one = before.iter().any(|pid| answer == format!("{pid} 38"));
            ensure!(is_of_one, "nobody of {before:?} has answered, or could bind: {answer}");
        }
        let start = Instant::now();
        let mut next = again(&primary, &options, &command(&folder))?;
        wait_for(&next, "ready", 2)?;
        let served = http::get(primary.address(), "/")?;
        println!("from kill -9 to the next primary's first answer: {:?}", start.elapsed());
        warns(&next)?;
        ensure!(!before.iter().any(|pid| facts::lives(*pid)), "of {before:?} some still live");
        ensure!(served.ends_with(" 0"), "it cannot bind: {served}");
        end(&mut next, &primary, primary.address())
    })());
    std::fs::remove_dir_all(folder).expect("the test's own folder");
}

#[test]
fn workers_that_are_to_die_with_the_primary_do() {
    let Some((run, folder)) = prepared(&BINDS_AGAIN, alone("python3")) else { return };
    hold((|| {
        let mut primary = run.options(&["--die-with-primary"]).start()?;
        primary.wait_ready(3)?;
        let before = primary.worker_pids()?;
        primary.started.signal(Signal::KILL)?;
        primary.started.wait_exit(SOON)?;
        wait::until_true("the end of all", SOON, || !before.iter().any(|pid| facts::lives(*pid)))
    })());
    std::fs::remove_dir_all(folder).expect("the test's own folder");
}

/// Only the first process of a worker dies with the primary; what it has started is remembered all the same.
#[test]
fn what_a_worker_that_died_with_the_primary_had_started_is_ended_by_the_next_one() {
    let line = |path: &str| format!("python3 {path}; echo ended");
    let words = |path: &str| ["sh", "-c", &line(path)].map(str::to_owned).to_vec();
    let Some((run, folder)) = prepared(&BINDS_AGAIN, words) else { return };
    hold((|| {
        let options = ["--name", "app", "--die-with-primary"];
        let mut primary = run.options(&options).start()?;
        primary.wait_ready(3)?;
        let shells = primary.worker_pids()?;
        wait::until_true("the record of what all have started", SOON, || {
            record(&primary).lines().filter(|line| line.starts_with("below ")).count() >= 3
        })?;
        kill(&mut primary, 3)?;
        wait::until_true("the end of all", SOON, || !shells.iter().any(|pid| facts::lives(*pid)))?;
        let left = primary.started.running();
        ensure!(left.len() >= 3, "what they have started is left: {left:?}");
        let mut next = again(&primary, &options, &command(&folder))?;
        wait_for(&next, "ready", 2)?;
        warns(&next)?;
        ensure!(primary.started.running().is_empty(), "left: {:?}", primary.started.running());
        end(&mut next, &primary, primary.address())
    })());
    std::fs::remove_dir_all(folder).expect("the test's own folder");
}

/// It says its pid, and what another bind comes to.
const BINDS_AGAIN: Server = Server {
    text: "import os, socket
s = socket.socket()
s.bind(('127.0.0.1', int(os.environ['PORT'])))
s.listen(64)
while True:
    c, _ = s.accept()
    c.recv(1000)
    try:
        errno = 0
        with socket.socket() as other: other.bind(('127.0.0.1', 0))
    except OSError as error:
        errno = error.errno
    c.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n\\r\\n%d %d' % (os.getpid(), errno))
    c.close()
",
    ..PYTHON
};

fn command(folder: &Path) -> Vec<String> {
    vec!["python3".to_owned(), folder.join(PYTHON.file).display().to_string()]
}

fn record(primary: &Primary) -> String {
    std::fs::read_to_string(primary.folder().join("runtime/app.sock.workers")).unwrap_or_default()
}

/// Kills the primary once the record of its workers is complete.
fn kill(primary: &mut Primary, workers: usize) -> Outcome {
    let is_complete = || {
        let text = record(primary);
        text.lines().filter(|line| !line.starts_with("below ")).count() == 1 + workers
    };
    wait::until_true("the record of all workers", SOON, is_complete)?;
    primary.started.signal(Signal::KILL)?;
    primary.started.wait_exit(SOON)?;
    Ok(())
}

fn again(primary: &Primary, options: &[&str], command: &[String]) -> Result<Started, String> {
    let mut words = Command::new(CLUSTR);
    words.args(["run", "--log-format", "json", "-n", "2"]).args(options).arg("--").args(command);
    words.env("CLUSTR_RUNTIME_DIR", primary.folder().join("runtime")).env_remove("WEB_CONCURRENCY");
    words.env("PORT", primary.port().to_string());
    Started::new(&mut words)
}

fn wait_for(started: &Started, kind: &'static str, count: usize) -> Outcome {
    let seen = |lines: &[Line]| (of_kind(&news_of(lines), kind).count() >= count).then_some(());
    started.wait_for(kind, SOON, seen)
}

fn warns(started: &Started) -> Outcome {
    let news = news_of(&started.lines());
    let told = of_kind(&news, "warning")
        .any(|one| one["detail"].as_str().is_some_and(|text| text.contains("was killed")));
    ensure!(told, "{news:?}");
    Ok(())
}

fn end(next: &mut Started, primary: &Primary, address: SocketAddr) -> Outcome {
    next.signal(Signal::TERM)?;
    next.expect_exit(0, SOON)?;
    ensure!(next.running().is_empty(), "{:?}", next.running());
    ensure!(std::net::TcpListener::bind(address).is_ok(), "the port is still taken");
    let files = std::fs::read_dir(primary.folder().join("runtime")).map_err(|error| error.to_string())?;
    let files: Vec<_> = files.flatten().map(|entry| entry.file_name()).collect();
    ensure!(files.is_empty(), "files left: {files:?}");
    Ok(())
}
