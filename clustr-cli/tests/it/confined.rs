//! Where not everything is allowed: under a profile like Docker's, and under another primary that watches already.
//!
//! What can be done there is done, it is said what that is and why, and nobody who waits is lost.
#![expect(clippy::unwrap_used, reason = "a folder of a test's own that cannot be removed fails the test")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use clustr_benches::started::signal_pid;
use clustr_benches::{facts, wait};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{CLUSTR, Outcome, Primary, Run, SOON, clustr, ensure, hold, of_kind};
use crate::intercept::{PYTHON, Server, WORKERS, alone, ask, laid_out, prepared, try_reload, try_shares};

/// Refuses, with EPERM, what Docker's profile refuses and interception would like to have; then becomes its arguments.
/// `pidfd_getfd`, `process_vm_readv`, `unshare`: their numbers differ.
const LIKE_DOCKER: &str = "import ctypes, os, platform, struct, sys
calls = {'x86_64': (438, 310, 272), 'aarch64': (438, 270, 97)}[platform.machine()]
program = [(0x20, 0, 0, 0)]
for call in calls:
    program += [(0x15, 0, 1, call), (0x06, 0, 0, 0x00050001)]
program.append((0x06, 0, 0, 0x7fff0000))
class Program(ctypes.Structure):
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_char_p)]
filter = Program(len(program), b''.join(struct.pack('HBBI', *one) for one in program))
libc = ctypes.CDLL(None, use_errno=True)
unused = ctypes.c_ulong(0)
assert libc.prctl(38, ctypes.c_ulong(1), unused, unused, unused) == 0, os.strerror(ctypes.get_errno())
assert libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(filter), unused, unused) == 0, os.strerror(ctypes.get_errno())
os.execvp(sys.argv[1], sys.argv[1:])
";

/// Its queue has room for all clients of a test: in a full one they would wait for their next try, seconds later.
const ROOMY: Server = Server {
    text: "import os, socket
s = socket.socket()
s.bind(('', int(os.environ['PORT'])))
s.listen(128)
while True:
    c, _ = s.accept()
    c.recv(1000)
    c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n%d' % os.getpid())
    c.close()
",
    ..PYTHON
};

fn like_docker(act: impl FnOnce(Run) -> Outcome) {
    let Some((run, folder)) = prepared(&ROOMY, alone("python3")) else { return };
    hold(act(run.through(&["python3", "-c", LIKE_DOCKER])));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn where_no_socket_can_be_taken_workers_share_their_port_and_it_is_said_why() {
    like_docker(|run| {
        let mut primary = run.start()?;
        primary.wait_ready(WORKERS as usize)?;
        let app = &primary.status()?["apps"][0];
        ensure!(app["intercept"] == "replace" && has(&app["intercept_why"], "pidfd_getfd"), "{app}");
        let text = primary.clustr(&["status"])?;
        ensure!(text.contains("intercepted bind: replace, pidfd_getfd is forbidden"), "{text}");
        warned(&primary, "pidfd_getfd is forbidden")?;
        primary.stop()
    });
}

#[test]
fn where_a_socket_can_be_taken_nothing_is_said() {
    let Some((run, folder)) = prepared(&PYTHON, alone("python3")) else { return };
    hold(run.start().and_then(|mut primary| {
        primary.wait_ready(WORKERS as usize)?;
        let app = &primary.status()?["apps"][0];
        ensure!(app["intercept_why"].is_null() == (app["intercept"] == "adopt"), "{app}");
        let news = primary.news();
        let warnings =
            of_kind(&news, "warning").filter(|piece| has(&piece["detail"], "program's own")).count();
        ensure!(warnings == usize::from(app["intercept"] != "adopt"), "{news:?}");
        primary.stop()
    }));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn where_no_socket_can_be_taken_a_killed_worker_refuses_nobody() {
    like_docker(try_shares);
}

#[test]
fn where_no_socket_can_be_taken_whoever_waits_for_killed_workers_is_answered_by_the_next() {
    like_docker(|run| {
        let mut primary = run.start()?;
        primary.wait_ready(WORKERS as usize)?;
        let victims = primary.worker_pids()?;
        for victim in &victims {
            signal_pid(*victim, Signal::STOP)?;
        }
        wait::until_true("workers that stand still", SOON, || victims.iter().all(|pid| stands_still(*pid)))?;
        let begin = |_| -> Result<TcpStream, String> {
            let mut client = TcpStream::connect(primary.address()).map_err(|error| error.to_string())?;
            client.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(|error| error.to_string())?;
            Ok(client)
        };
        let mut waiting: Vec<TcpStream> = (0..30).map(begin).collect::<Result<_, _>>()?;
        for victim in &victims {
            signal_pid(*victim, Signal::KILL)?;
        }
        for client in &mut waiting {
            let mut text = String::new();
            client.set_read_timeout(Some(SOON)).map_err(|error| error.to_string())?;
            client.read_to_string(&mut text).map_err(|error| format!("reset: {error}"))?;
            ensure!(text.contains("200"), "truncated: {text:?}");
        }
        primary.wait_ready(2 * WORKERS as usize)?;
        primary.stop()
    });
}

fn stands_still(pid: u32) -> bool {
    facts::status(pid, "State:").is_some_and(|state| state.starts_with('T'))
}

#[test]
fn where_no_socket_can_be_taken_a_reload_refuses_nobody() {
    like_docker(try_reload);
}

#[test]
fn under_another_primary_it_is_said_that_it_watches_and_the_program_runs_by_other_means() {
    let words = |path: &str| {
        let runtime = format!("CLUSTR_RUNTIME_DIR={}", inner_folder(Path::new(path)).display());
        let words = ["env", &runtime, CLUSTR, "run", "-n", "1", "--name", "inner", "--", "python3", path];
        words.map(str::to_owned).to_vec()
    };
    let Some((run, folder)) = laid_out(&PYTHON, words) else { return };
    let inner = folder.join("inner");
    fs::create_dir(&inner).unwrap();
    hold(try_under_another(run, &inner));
    fs::remove_dir_all(folder).unwrap();
}

fn inner_folder(path: &Path) -> PathBuf {
    path.with_file_name("inner")
}

fn try_under_another(run: Run, inner: &Path) -> Outcome {
    let mut primary = run.workers(1).options(&["--restart", "never"]).start()?;
    primary.wait_ready(1)?;
    primary.wait_said("watched already")?;
    primary.wait_said("node's channel is used instead")?;
    ask(primary.address())?;
    let said = clustr(inner, &["status", "--json"])?;
    let status: Value = serde_json::from_slice(&said.stdout).map_err(|error| error.to_string())?;
    let app = &status["apps"][0];
    ensure!(app["intercept"] == "none" && has(&app["intercept_why"], "EBUSY"), "{app}");
    ensure!(clustr(inner, &["stop"])?.status.success(), "the inner primary does not stop");
    primary.started.expect_exit(0, SOON)?;
    primary.nothing_left()
}

#[test]
fn under_another_primary_what_only_interception_can_do_is_refused_with_the_reason() {
    for (options, reason) in [
        (["--port", "3001"], "--port cannot be met"),
        (["--delivery", "intercept"], "a program's own bind cannot be shared"),
    ] {
        let words = |path: &str| {
            let runtime = format!("CLUSTR_RUNTIME_DIR={}", inner_folder(Path::new(path)).display());
            let mut words = vec!["env", &runtime, CLUSTR, "run", "-n", "1"];
            words.extend(options);
            words.extend(["--", "python3", path]);
            words.into_iter().map(str::to_owned).collect()
        };
        let Some((run, folder)) = laid_out(&PYTHON, words) else { return };
        let run = run.workers(1).options(&["--restart", "never", "--delivery", "intercept"]);
        hold(run.start().and_then(|primary| {
            primary.wait_said(reason)?;
            primary.wait_said("watched already")
        }));
        fs::remove_dir_all(folder).unwrap();
    }
}

fn has(value: &Value, words: &str) -> bool {
    value.as_str().is_some_and(|text| text.contains(words))
}

fn warned(primary: &Primary, words: &str) -> Outcome {
    primary.wait_news(words, SOON, |news| {
        of_kind(news, "warning").find(|piece| has(&piece["detail"], words)).map(|_| ())
    })
}
