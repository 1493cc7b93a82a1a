//! Unix sockets that a worker shuts down for all who share them.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clustr_net::Addr;
use clustr_supervisor::config::{Config, Delivery, Listen, Share};

use crate::fixture::{DEADLINE, Primary, WORKER};

const PLACE: &str = "CLUSTR_TEST_PLACE";

/// What a worker of these tests does: it answers with its pid, and can be asked to shut down the socket of all.
pub(crate) fn serve(kind: &str) {
    let place = std::env::var_os(PLACE).map(PathBuf::from).unwrap();
    let listener = if kind == "unix-binds" {
        let _stale = std::fs::remove_file(&place);
        UnixListener::bind(place).unwrap()
    } else {
        let listener = UnixListener::from(clustr_net::inherited::claim(3).unwrap());
        listener.set_nonblocking(false).unwrap();
        listener
    };
    while let Ok((mut stream, _)) = listener.accept() {
        let mut request = [0; 64];
        let count = stream.read(&mut request).unwrap_or(0);
        let how = match &request[..count] {
            b"shut" => Some(rustix::net::Shutdown::Both),
            b"shut reading" => Some(rustix::net::Shutdown::Read),
            _ => None,
        };
        if let Some(how) = how {
            rustix::net::shutdown(&listener, how).unwrap();
        }
        let _ = stream.write_all(std::process::id().to_string().as_bytes());
    }
    // Like one that has shut it down for a stop that never comes.
    loop {
        std::thread::park();
    }
}

fn on_a_path(kind: &'static str, place: &Path, addr: Addr) -> impl FnOnce(&mut Config) {
    let place = place.to_owned();
    move |config| {
        let binds = kind == "unix-binds";
        config.listen = if binds { Vec::new() } else { vec![Listen::new("web", addr)] };
        config.share = if binds { Share::Auto } else { Share::Shared };
        config.delivery =
            Delivery { fds: !binds, channel: false, node: false, messages: false, intercept: binds };
        config.program.env = vec![(WORKER.into(), kind.into()), (PLACE.into(), place.into())];
    }
}

/// The answer, if somebody is there.
fn ask(place: &Path, word: &str) -> Option<u64> {
    let mut stream = UnixStream::connect(place).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(word.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.parse().ok()
}

/// Waits until nobody is left of these workers, and a new one answers.
fn wait_for_successors(primary: &Primary, place: &Path, before: &[u64]) {
    let began = Instant::now();
    loop {
        let now = primary.pids();
        let answer = ask(place, "who");
        let is_new = |pid: &u64| !before.contains(pid);
        if now.len() == before.len() && now.iter().all(is_new) && answer.is_some_and(|pid| is_new(&pid)) {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{before:?} {now:?} {answer:?}");
    }
}

#[test]
fn a_unix_socket_that_a_worker_shuts_down_is_bound_anew_and_all_workers_are_replaced_for_it() {
    for kind in ["unix-given", "unix-binds"] {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("app.sock");
        let primary = Primary::start_with(2, on_a_path(kind, &place, Addr::Unix(place.clone())));
        let pids = primary.pids();
        let mut news = primary.news();
        assert!(ask(&place, "shut").is_some(), "{kind}");
        let warning = news.wait_for("has shut down");
        assert!(
            warning.contains("app.sock") && warning.contains("all workers are replaced"),
            "{kind}: {warning}"
        );
        let renewal = news.wait_for(r#""news":"renewing""#);
        assert!(renewal.contains(r#""why":"deaf""#), "{kind}: {renewal}");
        wait_for_successors(&primary, &place, &pids);
        drop(primary);
        assert!(!place.exists(), "{kind}");
    }
}

#[test]
fn a_unix_socket_that_is_shut_down_for_reading_alone_is_bound_anew_too() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("app.sock");
    let primary = Primary::start_with(2, on_a_path("unix-given", &place, Addr::Unix(place.clone())));
    let pids = primary.pids();
    let mut news = primary.news();
    assert!(ask(&place, "shut reading").is_some());
    news.wait_for("all workers are replaced");
    wait_for_successors(&primary, &place, &pids);
}

#[test]
fn a_file_that_somebody_has_put_in_the_place_of_the_socket_stays() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("app.sock");
    let primary = Primary::start_with(1, on_a_path("unix-given", &place, Addr::Unix(place.clone())));
    let mut news = primary.news();
    let mut stream = UnixStream::connect(&place).unwrap();
    std::fs::remove_file(&place).unwrap();
    let theirs = UnixListener::bind(&place).unwrap();
    stream.write_all(b"shut").unwrap();
    let warning = news.wait_for("has shut down");
    assert!(warning.contains("no new one can be bound there"), "{warning}");
    // Once, however often anybody looks.
    for _ in 0..3 {
        primary.status();
    }
    theirs.set_nonblocking(true).unwrap();
    let _client = UnixStream::connect(&place).unwrap();
    theirs.accept().unwrap();
}
