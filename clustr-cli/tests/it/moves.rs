//! Programs that bind for themselves, and whose next version listens elsewhere or nowhere: it is not accepted where its
//! `listen` is what counts; where another word counts, what nobody listens on any more is closed and said.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use clustr_benches::wait;
use serde_json::Value;

use crate::harness::{Outcome, Primary, Run, SOON, ensure, hold, of_kind, v4};
use crate::intercept::{PYTHON, Server, alone, ask_all, prepared};

/// Ten times as long as a worker may still take up what its predecessor had.
const CLOSED: Duration = Duration::from_secs(100);
/// For a version that never listens; far more than Python needs to start.
const READY_TIMEOUT: &str = "20s";

/// Serves on `PORT`, and says by sd_notify that it is ready.
const NOTIFYING: Server = Server {
    program: "python3",
    file: "app.py",
    text: "import http.server, os, socket
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'%d' % os.getpid())
    def log_message(self, *_): pass
server = http.server.HTTPServer(('', int(os.environ['PORT'])), H)
name = os.environ['NOTIFY_SOCKET']
name = '\\0' + name[1:] if name[0] == '@' else name
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', name)
server.serve_forever()
",
};

#[test]
fn a_version_that_is_ready_by_its_word_may_move_and_the_port_that_nobody_has_any_more_is_closed() {
    for share in ["per-worker", "shared"] {
        let Some((run, folder)) = prepared(&NOTIFYING, alone("python3")) else { return };
        hold(try_move(run.options(&["--delivery", "intercept", "--ready", "notify", "--share", share])));
        fs::remove_dir_all(folder).expect("the test's own folder");
    }
}

fn try_move(run: Run) -> Outcome {
    let (old, new) = (run.port(), run.port() + 1);
    let mut primary = run.start()?;
    primary.wait_ready(3)?;
    let before = primary.worker_pids()?;
    primary.clustr(&["reload", "--settle", "0s", "--env", &format!("PORT={new}")])?;
    // Whoever still finds the port open has nobody to wait for, and is not kept.
    let left = TcpStream::connect(v4(old));
    let warning = primary.wait_news("the old port's end", CLOSED, |news| {
        of_kind(news, "warning").find_map(|one| told_of(one, old))
    })?;
    if let Ok(client) = left {
        ends(client)?;
        ensure!(warning.ends_with("connections closed without an answer: 1"), "{warning}");
    }
    let again = TcpStream::connect(v4(old)).map(drop).map_err(|error| error.kind());
    ensure!(again == Err(ErrorKind::ConnectionRefused), "the old port after its end: {again:?}");
    ensure!(ports(&primary)? == [new].into(), "{}", primary.status()?);
    let served = ask_all(v4(new), 100)?;
    ensure!(served.is_disjoint(&before.iter().copied().collect()), "{before:?}, then {served:?}");
    primary.stop()
}

#[test]
fn a_version_that_listens_elsewhere_is_rolled_back_where_its_listen_counts() {
    let Some((run, folder)) = prepared(&PYTHON, alone("python3")) else { return };
    let elsewhere = format!("PORT={}", run.port() + 1);
    hold(try_roll_back(run, &["--env", &elsewhere]));
    fs::remove_dir_all(folder).expect("the test's own folder");
}

#[test]
fn a_version_that_never_listens_is_rolled_back_where_its_listen_counts() {
    let Some((run, folder)) = prepared(&PYTHON, alone("python3")) else { return };
    hold(try_roll_back(run, &["--", "sleep", "1000"]));
    fs::remove_dir_all(folder).expect("the test's own folder");
}

/// The reload fails, the same workers serve, and nothing stays open but what they listen on.
fn try_roll_back(run: Run, version: &[&str]) -> Outcome {
    let port = run.port();
    let mut primary = run.options(&["--ready-timeout", READY_TIMEOUT]).start()?;
    primary.wait_ready(3)?;
    let before: BTreeSet<u32> = primary.worker_pids()?.into_iter().collect();
    let said = primary.try_clustr(&[&["reload", "--settle", "0s"], version].concat())?;
    let error = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.code() == Some(4), "{:?}: {error}", said.status);
    let served = ask_all(v4(port), 100)?;
    ensure!(served.is_subset(&before), "{before:?}, then {served:?}");
    let is_alone = || ports(&primary).is_ok_and(|ports| ports == [port].into());
    wait::until_true("the old port alone", CLOSED, is_alone)?;
    ensure!(!of_kind(&primary.news(), "warning").any(|one| told_of(one, port).is_some()), "it was closed");
    primary.stop()
}

/// The words of a warning that this port was closed.
fn told_of(warning: &Value, port: u16) -> Option<String> {
    let detail = warning["detail"].as_str()?;
    let is_it = detail.starts_with("no worker listens on ") && detail.contains(&format!(":{port} any more"));
    is_it.then(|| detail.to_owned())
}

/// A connection that nobody accepts ends.
fn ends(mut client: TcpStream) -> Outcome {
    client.set_read_timeout(Some(SOON)).map_err(|error| error.to_string())?;
    match client.read(&mut [0]) {
        Ok(0) => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => Err(format!("who waited on the closed port: {other:?}")),
    }
}

/// The ports that the status lists.
fn ports(primary: &Primary) -> Result<BTreeSet<u16>, String> {
    let status = primary.status()?;
    let listeners = status["apps"][0]["listeners"].as_array().ok_or("no listeners in the status")?;
    let port = |one: &Value| -> Option<u16> { one["address"].as_str()?.rsplit(':').next()?.parse().ok() };
    listeners.iter().map(|one| port(one).ok_or_else(|| format!("{one}"))).collect()
}
