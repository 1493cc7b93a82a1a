//! Programs that know nothing of clusters, in any language: their own `bind` is shared, and nobody who waits is lost.
#![expect(
    clippy::unwrap_used,
    reason = "a folder of a test's own that cannot be made or removed fails the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clustr_benches::started::signal_pid;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::node::{missing, with_node};
use crate::harness::{CLUSTR, Outcome, Primary, Run, SOON, ensure, hold, of_kind};

pub(crate) const WORKERS: u32 = 3;

/// Ten times what three programs need that compile themselves first, on two CPUs.
const STARTED: Duration = Duration::from_secs(100);

/// How long a client waits who is not answered: longer than it takes to see that a queue stands still.
const NEVER: Duration = Duration::from_millis(1500);

/// A server whose file has this text; it reads `PORT` and says its pid.
pub(crate) struct Server {
    pub(crate) program: &'static str,
    pub(crate) file: &'static str,
    pub(crate) text: &'static str,
}

pub(crate) const PYTHON: Server = Server {
    program: "python3",
    file: "app.py",
    text: "import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'%d' % os.getpid())
    def log_message(self, *_): pass
http.server.HTTPServer(('', int(os.environ['PORT'])), H).serve_forever()
",
};

const PERL: Server = Server {
    program: "perl",
    file: "app.pl",
    text: "use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalPort => $ENV{PORT}, Listen => 64, ReuseAddr => 1) or die $!;
while (my $c = $s->accept) {
    while (defined(my $l = <$c>)) { last if $l =~ /^\\r?$/ }
    print $c \"HTTP/1.0 200 OK\\r\\n\\r\\n$$\";
    close $c;
}
",
};

const JAVA: Server = Server {
    program: "java",
    file: "App.java",
    text: "import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
public class App {
    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(System.getenv(\"PORT\"));
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 64);
        byte[] pid = String.valueOf(ProcessHandle.current().pid()).getBytes();
        server.createContext(\"/\", exchange -> {
            exchange.sendResponseHeaders(200, pid.length);
            exchange.getResponseBody().write(pid);
            exchange.close();
        });
        server.start();
    }
}
",
};

pub(crate) const NODE: Server = Server {
    program: "node",
    file: "app.js",
    text: "require('http').createServer((_, answer) => answer.end(`${process.pid}`)).listen(process.env.PORT);\n",
};

/// Node's own primary and its workers, which are none of clustr's.
const OWN_CLUSTER: Server = Server {
    text: "const cluster = require('cluster');
if (cluster.isMaster) for (const _ of 'ab') cluster.fork();
else require('http').createServer((_, answer) => answer.end(`${process.pid}`)).listen(process.env.PORT);\n",
    ..NODE
};

/// What to run and where; `None` where the machine has no such program.
pub(crate) fn prepared(server: &Server, command: impl FnOnce(&str) -> Vec<String>) -> Option<(Run, PathBuf)> {
    laid_out(server, command).map(|(run, folder)| (run.workers(WORKERS), folder))
}

/// The same, for a number of workers that is still to be said.
pub(crate) fn laid_out(server: &Server, command: impl FnOnce(&str) -> Vec<String>) -> Option<(Run, PathBuf)> {
    let is_there = Command::new(server.program).arg("--version").output().is_ok();
    if !is_there {
        missing(server.program);
        return None;
    }
    let folder = std::env::temp_dir().join(format!("clustr-intercept-{}-{}", std::process::id(), unique()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(server.file);
    fs::write(&path, server.text).unwrap();
    let words = command(path.to_str().unwrap());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some((Run::new(&words), folder))
}

fn unique() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One client: the pid of the worker that has answered.
pub(crate) fn ask(address: SocketAddr) -> Result<u32, String> {
    let mut client = TcpStream::connect(address).map_err(|error| format!("refused: {error}"))?;
    client.set_read_timeout(Some(SOON)).map_err(|error| error.to_string())?;
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(|error| format!("reset: {error}"))?;
    let mut text = String::new();
    client.read_to_string(&mut text).map_err(|error| format!("reset: {error}"))?;
    let body = text.rsplit("\r\n\r\n").next().unwrap_or_default();
    body.trim().parse().map_err(|_| format!("truncated: {text:?}"))
}

pub(crate) fn ask_all(address: SocketAddr, clients: u32) -> Result<BTreeSet<u32>, String> {
    (0..clients).map(|_| ask(address)).collect()
}

/// Two hundred clients, a killed worker, two hundred more: every one is answered, and every worker answers.
fn shares(server: &Server, command: impl FnOnce(&str) -> Vec<String>) {
    let Some((run, folder)) = prepared(server, command) else { return };
    hold(try_shares(run));
    fs::remove_dir_all(folder).unwrap();
}

pub(crate) fn try_shares(run: Run) -> Outcome {
    let mut primary = run.options(&["--ready-timeout", "2m"]).start()?;
    wait_started(&primary, WORKERS as usize)?;
    ensure!(primary.status()?["apps"][0]["delivery"][0] == "intercept", "{}", primary.status()?);
    let served = ask_all(primary.address(), 200)?;
    ensure!(served.len() == WORKERS as usize, "served by {served:?}");
    let victim = *served.first().ok_or("nobody served")?;
    signal_pid(victim, Signal::KILL)?;
    wait_started(&primary, WORKERS as usize + 1)?;
    let served = ask_all(primary.address(), 200)?;
    ensure!(served.len() == WORKERS as usize && !served.contains(&victim), "served by {served:?}");
    primary.stop()
}

/// Waits until so many workers have become ready, however slow their program is to start.
fn wait_started(primary: &Primary, count: usize) -> Outcome {
    let are_there = |news: &[Value]| (of_kind(news, "ready").count() >= count).then_some(());
    primary.wait_news("workers that are ready", STARTED, are_there)
}

pub(crate) fn alone(program: &str) -> impl FnOnce(&str) -> Vec<String> {
    let program = program.to_owned();
    move |path| vec![program, path.to_owned()]
}

#[test]
fn a_python_program_shares_its_port() {
    shares(&PYTHON, alone("python3"));
}

#[test]
fn a_perl_program_shares_its_port() {
    shares(&PERL, alone("perl"));
}

#[test]
fn a_java_program_shares_its_port() {
    shares(&JAVA, alone("java"));
}

#[test]
fn a_shell_script_that_starts_a_server_shares_its_port() {
    shares(&PYTHON, |path| {
        let line = format!("echo starting; python3 {path}; echo ended");
        ["sh", "-c", &line].map(str::to_owned).to_vec()
    });
}

#[test]
fn npm_start_shares_the_port_of_what_it_starts() {
    shares(&NODE, |path| {
        let folder = std::path::Path::new(path).parent().unwrap();
        fs::write(folder.join("package.json"), r#"{"scripts":{"start":"node app.js"}}"#).unwrap();
        ["npm", "--prefix", folder.to_str().unwrap(), "start"].map(str::to_owned).to_vec()
    });
}

#[test]
fn node_shares_its_port_without_its_channel_too() {
    let Some((run, folder)) = prepared(&NODE, alone("node")) else { return };
    hold(try_shares(run.options(&["--delivery", "intercept"])));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_reload_refuses_nobody_and_the_new_version_has_the_port() {
    let Some((run, folder)) = prepared(&PYTHON, alone("python3")) else { return };
    hold(try_reload(run));
    fs::remove_dir_all(folder).unwrap();
}

pub(crate) fn try_reload(run: Run) -> Outcome {
    let mut primary = run.start()?;
    primary.wait_ready(WORKERS as usize)?;
    let before: BTreeSet<u32> = primary.worker_pids()?.into_iter().collect();
    let begin = |_| -> Result<TcpStream, String> {
        let mut client = TcpStream::connect(primary.address()).map_err(|error| error.to_string())?;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(|error| error.to_string())?;
        Ok(client)
    };
    let mut waiting: Vec<TcpStream> = (0..30).map(begin).collect::<Result<_, _>>()?;
    primary.clustr(&["reload", "--settle", "0s"])?;
    for client in &mut waiting {
        let mut text = String::new();
        client.set_read_timeout(Some(SOON)).map_err(|error| error.to_string())?;
        client.read_to_string(&mut text).map_err(|error| format!("reset: {error}"))?;
        ensure!(text.contains("200"), "truncated: {text:?}");
    }
    let served = ask_all(primary.address(), 100)?;
    ensure!(served.is_disjoint(&before) && served.len() == WORKERS as usize, "{before:?}, then {served:?}");
    primary.clustr(&["scale", "1"])?;
    let served = ask_all(primary.address(), 30)?;
    ensure!(served.len() == 1, "served by {served:?}");
    primary.stop()
}

#[test]
fn words_of_the_command_and_private_ports_differ_by_slot() {
    let text = "import os, socket, sys, time
slot, port = int(os.environ['CLUSTR_SLOT']), int(sys.argv[1])
assert sys.argv[2] == f'--name=w{slot}', sys.argv
m = socket.socket()
m.bind(('127.0.0.1', port - slot))
assert m.getsockname()[1] == port
m.listen(1)
print('own port', slot, flush=True)
s = socket.socket()
s.bind(('127.0.0.1', int(os.environ['PORT'])))
s.listen(1)
time.sleep(600)
";
    let server = Server { text, ..PYTHON };
    let command = |path: &str| ["python3", path, "{port}", "--name=w{slot}"].map(str::to_owned).to_vec();
    let Some((run, folder)) = prepared(&server, command) else { return };
    let (shared, private) = (run.port().to_string(), (run.port() + 1).to_string());
    let run = run.options(&["--port", &shared, "--private-port", &private]);
    let outcome = run.start().and_then(|mut primary| {
        primary.wait_ready(WORKERS as usize)?;
        (0..WORKERS).try_for_each(|slot| primary.wait_said(&format!("own port {slot}")))?;
        primary.stop()
    });
    hold(outcome);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_program_that_listens_on_what_clustr_has_bound_gets_that() {
    let Some((run, folder)) = prepared(&PYTHON, alone("python3")) else { return };
    let listen = format!("0.0.0.0:{}", run.port());
    hold(run.options(&["--listen", &listen]).start().and_then(|mut primary| {
        primary.wait_ready(WORKERS as usize)?;
        let served = ask_all(primary.address(), 50)?;
        ensure!(!served.is_empty(), "nobody serves");
        ensure!(one_listener(&primary)?, "{}", primary.status()?);
        primary.stop()
    }));
    fs::remove_dir_all(folder).unwrap();
}

fn one_listener(primary: &Primary) -> Result<bool, String> {
    let status = primary.status()?;
    Ok(status["apps"][0]["listeners"].as_array().is_some_and(|listeners| listeners.len() == 1))
}

#[test]
fn a_program_that_stands_still_is_steered_around_and_replaced() {
    let text = "import os, signal, socket
s = socket.socket()
s.bind(('', int(os.environ['PORT'])))
s.listen(64)
if os.environ['CLUSTR_SLOT'] == '0' and os.environ['CLUSTR_INCARNATION'] == '1':
    signal.pause()
while True:
    c, _ = s.accept()
    c.recv(1000)
    c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n%d' % os.getpid())
    c.close()
";
    let server = Server { text, ..PYTHON };
    let Some((run, folder)) = prepared(&server, alone("python3")) else { return };
    let run = run.options(&["--hang-timeout", "4s", "--stop-timeout", "2s"]);
    hold(run.start().and_then(|mut primary| {
        primary.wait_ready(WORKERS as usize)?;
        let served = meet_the_stuck_one(&primary)?;
        ensure!(served.len() < WORKERS as usize, "served by {served:?}");
        let renewed = |news: &[Value]| of_kind(news, "renewed").next().map(|_| ());
        primary.wait_news("a replacement", SOON, renewed)?;
        let served = ask_all(primary.address(), 100)?;
        ensure!(served.len() == WORKERS as usize, "served by {served:?}");
        primary.stop()
    }));
    fs::remove_dir_all(folder).unwrap();
}

/// Clients until one waits at the worker that stands still, and some more, who are steered around it.
fn meet_the_stuck_one(primary: &Primary) -> Result<BTreeSet<u32>, String> {
    let mut served = BTreeSet::new();
    let mut kept = Vec::new();
    loop {
        let mut client = TcpStream::connect(primary.address()).map_err(|error| error.to_string())?;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(|error| error.to_string())?;
        client.set_read_timeout(Some(NEVER)).map_err(|error| error.to_string())?;
        let mut text = String::new();
        if client.read_to_string(&mut text).is_err() {
            kept.push(client);
            break;
        }
    }
    for _ in 0..30 {
        served.insert(ask(primary.address())?);
    }
    Ok(served)
}

#[test]
fn where_another_process_watches_already_that_is_said_and_something_else_is_done() {
    with_node(|node| {
        let inner =
            [crate::harness::CLUSTR, "check", "-n", "1", "--name", "inner", "--", "/bin/sh", "app.sh"];
        let mut primary = Run::new(&inner)
            .workers(1)
            .options(&["--restart", "never", "--delivery", "intercept"])
            .env("NODE", &node.program)
            .start()?;
        primary.wait_said("watched already")?;
        primary.wait_said("delivery   node")?;
        primary.stop().or(Ok(()))
    });
}

#[test]
fn nodes_own_cluster_below_a_launcher_shares_its_port_through_a_kill() {
    let below_a_shell = |path: &str| vec!["sh".into(), "-c".into(), format!("node '{path}'; true")];
    let Some((run, folder)) = prepared(&OWN_CLUSTER, below_a_shell) else { return };
    hold(run.start().and_then(|mut primary| {
        primary.wait_ready(WORKERS as usize)?;
        let served = ask_all(primary.address(), 100)?;
        ensure!(served.len() > WORKERS as usize, "not each has workers of its own: {served:?}");
        signal_pid(primary.worker_pids()?[0], Signal::KILL)?;
        wait_started(&primary, WORKERS as usize + 1)?;
        ask_all(primary.address(), 100)?;
        primary.stop()
    }));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_second_primary_on_the_same_port_fails_with_its_programs_words_and_the_first_serves_on() {
    let Some((run, folder)) = prepared(&PYTHON, alone("python3")) else { return };
    hold(run.start().and_then(|mut primary| {
        primary.wait_ready(WORKERS as usize)?;
        let path = folder.join(PYTHON.file);
        let output = Command::new(CLUSTR)
            .args(["run", "-n", "1", "--name", "second", "--intensity", "1/10s", "--", "python3"])
            .arg(path)
            .env("PORT", primary.port().to_string())
            .env("CLUSTR_RUNTIME_DIR", &folder)
            .output()
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && said.contains("Address already in use"), "{said}");
        ask_all(primary.address(), 50)?;
        primary.stop()
    }));
    fs::remove_dir_all(folder).unwrap();
}
