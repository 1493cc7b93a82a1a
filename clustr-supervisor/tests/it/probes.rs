//! Workers that are asked: until they are ready, and whether they still serve.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clustr_core::{Intensity, Overdue, Policy, Verdict};
use clustr_net::worker::{Connection, Heard, Worker};
use clustr_supervisor::config::{Config, Liveness, ReadyWhen, Share};
use rustix::process::Signal;
use serde_json::Value;

use crate::deliveries::{heard, kill, listening, opened, signal};
use crate::fixture::{Client, DEADLINE, Primary};

/// A folder in which a test leaves word for its workers.
pub(crate) const FOLDER: &str = "CLUSTR_TEST_FOLDER";

/// What a worker of these tests does: it answers over HTTP, well once there is a file `good`, badly once there is `bad`;
/// blocks for ever when it is asked to; and has a port of its own as soon as there is a file `port-SLOT`.
pub(crate) fn serve() {
    let mut worker = Worker::from_env().unwrap().unwrap();
    let own = own_port();
    worker.ready().unwrap();
    loop {
        match worker.wait(None).unwrap() {
            Some(Heard::Connection(connection)) => answer(connection),
            Some(Heard::Drain | Heard::Closed) => return drop(own),
            Some(Heard::Message(_)) | None => {}
        }
    }
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

fn own_port() -> Option<TcpListener> {
    let slot = std::env::var("CLUSTR_SLOT").unwrap();
    let port = std::fs::read_to_string(folder().join(format!("port-{slot}"))).ok()?;
    Some(TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap())
}

fn answer(mut connection: Connection) {
    let mut request = [0; 512];
    let Ok(count) = connection.read(&mut request) else { return };
    let pid = std::process::id();
    // That the client has gone is its own affair.
    if request[..count].starts_with(b"block") {
        let _ = write!(connection, "{pid}");
        drop(connection);
        loop {
            std::thread::park();
        }
    }
    let is_good = folder().join("good").exists() && !folder().join("bad").exists();
    let status = if is_good { "200 OK" } else { "503 Service Unavailable" };
    let _ = write!(connection, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{pid}");
}

/// A primary whose workers answer over HTTP, and the folder of words for them.
fn site(workers: u32, share: Share, change: impl FnOnce(&mut Config, &Path)) -> (Primary, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let primary = Primary::begin_with(workers, |config| {
        listening(share, "http")(config);
        config.program.env.push((FOLDER.into(), path.clone().into()));
        change(config, &path);
    });
    (primary, folder)
}

fn say(folder: &tempfile::TempDir, word: &str) {
    std::fs::write(folder.path().join(word), "").unwrap();
}

fn probe(text: &str) -> ReadyWhen {
    ReadyWhen::Probe(text.parse().unwrap())
}

/// A policy under which a worker that is not ready within this time has failed, and is not tried again.
fn strict(workers: u32, within: Duration) -> Policy {
    let policy = Policy::builder(workers).ready_timeout(within, Overdue::Fails);
    policy.intensity(Intensity { restarts: 0, period: Duration::from_secs(60) }).build().unwrap()
}

fn patient(workers: u32) -> Policy {
    strict(workers, DEADLINE)
}

/// News as it comes.
pub(crate) struct News(Client);

impl News {
    pub(crate) fn of(primary: &Primary) -> Self {
        let mut client = primary.connect();
        client.send(r#"{"id":1,"cmd":"subscribe"}"#);
        assert!(client.receive().contains(r#""ok":true"#));
        Self(client)
    }

    /// The next piece of one of these kinds; others are passed over.
    pub(crate) fn next(&mut self, kinds: &[&str]) -> Value {
        let began = Instant::now();
        loop {
            let line: Value = serde_json::from_str(&self.0.receive()).unwrap();
            if kinds.iter().any(|kind| line["news"]["news"] == **kind) {
                return line["news"].clone();
            }
            assert!(began.elapsed() < DEADLINE, "{kinds:?} has not come");
        }
    }
}

/// Whether nobody becomes ready until `word` is said, and everybody then.
fn is_ready_by(ready: ReadyWhen, share: Share, word: &str) {
    let (primary, folder) = site(2, share, |config, _| {
        config.ready = ready;
        config.policy = patient(2);
    });
    let mut news = News::of(&primary);
    assert_eq!(primary.status()["apps"][0]["ready"], 0);
    say(&folder, word);
    assert_eq!(news.next(&["ready", "exited"])["news"], "ready");
    primary.wait_until_running();
}

#[test]
fn a_worker_is_ready_by_http_through_its_own_queue() {
    is_ready_by(probe("http:/health"), Share::PerWorker, "good");
}

#[test]
fn a_worker_is_ready_by_http_through_what_it_is_handed() {
    is_ready_by(probe("http:/health"), Share::Handoff, "good");
}

#[test]
fn a_worker_is_ready_by_a_command() {
    for share in [Share::Shared, Share::PerWorker] {
        is_ready_by(probe(&format!("exec:test -e ${FOLDER}/good && kill -0 $CLUSTR_PID")), share, "good");
    }
}

#[test]
fn a_worker_is_ready_when_it_has_lived_for_as_long_as_was_asked_for() {
    let delay = Duration::from_millis(700);
    let (primary, _folder) = site(1, Share::PerWorker, |config, _| {
        config.ready = ReadyWhen::Delay(delay);
        config.policy = patient(1);
    });
    let took = News::of(&primary).next(&["ready"])["took_ms"].as_u64().unwrap();
    assert!(took >= 700, "{took}");
}

#[test]
fn a_worker_is_ready_by_its_own_port_and_not_by_another_ones() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    for (port, own) in [(free(), true), (stranger.local_addr().unwrap().port(), false)] {
        let (primary, _folder) = site(1, Share::PerWorker, |config, folder| {
            config.ready = probe(&format!("tcp:{port}+slot"));
            config.policy = if own { patient(1) } else { strict(1, Duration::from_millis(600)) };
            if own {
                std::fs::write(folder.join("port-0"), port.to_string()).unwrap();
            }
        });
        if own {
            primary.wait_until_running();
        } else {
            assert_eq!(primary.wait(), Verdict::GaveUp);
        }
    }
}

#[test]
fn a_worker_of_which_no_good_answer_comes_has_failed_to_start_and_the_reason_is_told() {
    for (ready, share, why) in [
        ("http:/health", Share::PerWorker, "503"),
        ("http:/health", Share::Handoff, "503"),
        ("exec:echo not yet >&2; exit 3", Share::Shared, "exit code 3: not yet"),
        ("exec:exec sleep 1000", Share::Shared, "no answer yet"),
        ("tcp:1", Share::Shared, "port 1"),
    ] {
        let (primary, _folder) = site(1, share, |config, _| {
            config.ready = probe(ready);
            config.policy = strict(1, Duration::from_millis(600));
        });
        let mut news = News::of(&primary);
        assert_eq!(news.next(&["overdue", "ready"])["news"], "overdue", "{ready}");
        let detail = news.next(&["warning"])["detail"].to_string();
        assert!(detail.contains(why), "{ready}: {detail}");
        assert_eq!(primary.wait(), Verdict::GaveUp, "{ready}");
    }
}

fn living(config: &mut Config, live: &str) {
    let live = Liveness::new(live.parse().unwrap());
    let every = Duration::from_millis(100);
    config.live = Some(Liveness { every, timeout: Duration::from_millis(400), ..live });
}

/// Blocks one of two workers for ever: it alone fails its question, and is replaced before it is removed.
fn replaces_the_blocked_one(share: Share) {
    let (primary, folder) = site(2, share, |config, _| {
        config.ready = probe("http:/");
        config.sees_hangs = false;
        config.policy = Policy::builder(2).stop_timeout(Duration::from_millis(500)).build().unwrap();
        living(config, "http:/");
    });
    say(&folder, "good");
    primary.wait_until_running();
    let pids = primary.pids();
    let mut news = News::of(&primary);
    let blocked: u64 = heard(opened(primary.address(), "block")).parse().unwrap();
    let slot = pids.iter().position(|pid| *pid == blocked).unwrap();
    let failing = news.next(&["failing"]);
    assert_eq!((&failing["slot"], &failing["ailment"]), (&slot.into(), &"probe".into()), "{failing}");
    for kind in ["renewing", "ready", "renewed", "exited"] {
        let next = news.next(&["renewing", "ready", "renewed", "exited", "failing"]);
        assert_eq!((&next["news"], &next["slot"]), (&kind.into(), &slot.into()), "{next}");
    }
    let now = primary.pids();
    assert_eq!(now[1 - slot], pids[1 - slot], "the other one serves on");
    assert_ne!(now[slot], blocked);
}

#[test]
fn a_blocked_worker_alone_fails_its_question_in_per_worker() {
    replaces_the_blocked_one(Share::PerWorker);
}

#[test]
fn a_blocked_worker_alone_fails_its_question_in_handoff() {
    replaces_the_blocked_one(Share::Handoff);
}

#[test]
fn a_worker_that_answers_well_again_in_time_is_kept() {
    let (primary, folder) = site(1, Share::PerWorker, |config, _| {
        // A replacement is not ready while it is held up.
        config.ready = probe(&format!("exec:test ! -e ${FOLDER}/hold"));
        living(config, "http:/");
    });
    say(&folder, "good");
    primary.wait_until_running();
    let pids = primary.pids();
    let mut news = News::of(&primary);
    say(&folder, "hold");
    say(&folder, "bad");
    assert_eq!(news.next(&["failing"])["why"], "it answers 503");
    std::fs::remove_file(folder.path().join("bad")).unwrap();
    assert_eq!(news.next(&["recovered", "exited"])["news"], "recovered");
    assert_eq!(primary.pids()[0], pids[0]);
}

#[test]
fn a_command_that_hangs_is_ended_with_all_that_it_started_and_counts_as_a_bad_answer() {
    let (primary, folder) = site(1, Share::Shared, |config, _| {
        living(config, &format!("exec:sleep 1000 & echo $! >>${FOLDER}/sleepers; wait"));
    });
    primary.wait_until_running();
    let mut news = News::of(&primary);
    assert_eq!(news.next(&["failing"])["ailment"], "probe");
    drop(primary);
    let sleepers = std::fs::read_to_string(folder.path().join("sleepers")).unwrap();
    assert!(sleepers.lines().count() >= 3, "{sleepers}");
    let began = Instant::now();
    while sleepers.lines().any(|pid| Path::new(&format!("/proc/{pid}/exe")).read_link().is_ok()) {
        assert!(began.elapsed() < DEADLINE, "some of {sleepers} live on");
        std::thread::yield_now();
    }
}

#[test]
fn a_stopped_worker_is_asked_nothing_and_a_killed_ones_successor_is() {
    let (primary, folder) = site(1, Share::PerWorker, |config, _| {
        config.ready = probe("http:/");
        living(config, "http:/");
    });
    say(&folder, "good");
    primary.wait_until_running();
    let first = primary.pids()[0];
    let mut news = News::of(&primary);
    kill(first);
    news.next(&["ready"]);
    let second = primary.pids()[0];
    signal(second, Signal::STOP);
    let failing = news.next(&["failing"]);
    assert_eq!(failing["why"], "no answer in time", "{failing}");
    signal(second, Signal::CONT);
}

#[test]
fn an_unanswerable_question_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |share, ready: ReadyWhen| {
        let program = clustr_supervisor::config::Program {
            command: vec!["true".into()],
            env: Vec::new(),
            cwd: Some(folder.path().to_owned()),
        };
        let mut config = Config::new("app", program, Policy::builder(1).build().unwrap());
        listening(share, "http")(&mut config);
        config.signals = clustr_supervisor::config::Signals::None;
        config.subreaper = false;
        config.ready = ready;
        clustr_supervisor::Supervisor::new(config).unwrap_err().to_string()
    };
    assert!(refusal(Share::Shared, probe("http:/")).contains("any of them might answer"));
}

/// Both of two workers are replaced for `why`, one after the other, each replacement first.
fn both_are_replaced(news: &mut News, why: &str) {
    let mut slots = Vec::new();
    while slots.len() < 2 {
        let renewing = news.next(&["renewing"]);
        assert_eq!(renewing["why"], why, "{renewing}");
        for kind in ["ready", "renewed"] {
            let next = news.next(&["renewing", "ready", "renewed", "failing"]);
            assert_eq!(
                (&next["news"], &next["slot"]),
                (&kind.into(), &renewing["slot"]),
                "one at a time: {next}"
            );
        }
        slots.push(renewing["slot"].clone());
    }
    assert_ne!(slots[0], slots[1]);
}

#[test]
fn workers_that_hold_too_much_memory_are_replaced_one_after_the_other() {
    let (primary, _folder) = site(2, Share::PerWorker, |config, _| config.recycling.max_rss_bytes = Some(1));
    let mut news = News::of(&primary);
    both_are_replaced(&mut news, "max-rss");
}

#[test]
fn workers_that_were_handed_enough_are_replaced_one_after_the_other() {
    let (primary, _folder) = site(2, Share::Handoff, |config, _| {
        config.recycling.max_requests = std::num::NonZeroU64::new(3);
    });
    primary.wait_until_running();
    let mut news = News::of(&primary);
    for _ in 0..6 {
        heard(opened(primary.address(), "hello"));
    }
    both_are_replaced(&mut news, "max-requests");
}
