//! Programs that end at once when they are signalled lose nobody in a stop who was there before it: those are answered first.
#![expect(clippy::unwrap_used, reason = "a folder of a test's own that cannot be removed fails the test")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use clustr_benches::load::{self, Plan};
use clustr_benches::{facts, started, wait};
use rustix::process::Signal;

use crate::harness::{Outcome, Primary, Run, SOON, ensure, hold, of_kind};
use crate::intercept::{NODE, PYTHON, Server, alone, prepared};

/// One client after the other; none is answered before there is a file. No handler for any signal.
const WAITING_PYTHON: Server = Server {
    text: "import os, socket, time
if 'LISTEN_FDS' in os.environ:
    s = socket.socket(fileno=3)
    s.setblocking(True)
else:
    s = socket.socket()
    s.bind(('', int(os.environ['PORT'])))
    s.listen(128)
go = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'go')
while True:
    c, _ = s.accept()
    try:
        if c.recv(1000):
            while not os.path.exists(go):
                time.sleep(0.002)
            c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\nhello')
    except OSError:
        pass
    c.close()
",
    ..PYTHON
};

/// More than there are workers: some are accepted, some wait.
const CLIENTS: usize = 7;

/// How the program comes to its listener.
#[derive(Clone, Copy)]
enum Way {
    /// Each worker has a queue of its own.
    Intercepted,
    /// All accept from one queue.
    Given,
}

#[test]
fn a_stop_answers_all_who_were_there_for_programs_that_bind_for_themselves() {
    with(Way::Intercepted, &["--stop-timeout", "5m"], |primary, allow| {
        answers_all(primary, allow, |primary| primary.clustr(&["stop"]).map(drop))
    });
}

#[test]
fn a_stop_answers_all_who_were_there_for_programs_that_share_a_given_listener() {
    with(Way::Given, &["--stop-timeout", "5m"], |primary, allow| {
        answers_all(primary, allow, |primary| started::signal_pid(primary.pid(), Signal::TERM))
    });
}

/// The control: it is what is waited for that makes the difference.
#[test]
fn the_same_clients_are_lost_in_a_stop_when_the_signal_comes_first() {
    for way in [Way::Intercepted, Way::Given] {
        with(way, &["--stop-order", "signal"], |primary, _| loses_all(primary));
    }
}

#[test]
fn whoever_is_never_answered_does_not_hold_up_a_stop_for_longer_than_its_time() {
    for way in [Way::Intercepted, Way::Given] {
        with(way, &["--stop-timeout", "2s"], |primary, _| {
            loses_all(primary)?;
            let news = primary.news();
            // The polite signal was enough, and came before the last one.
            let signals: Vec<_> = of_kind(&news, "exited").map(|exit| &exit["signal"]).collect();
            ensure!(signals.iter().all(|signal| *signal == "SIGTERM"), "{signals:?}");
            Ok(())
        });
    }
}

#[test]
fn a_client_that_asks_nothing_does_not_hold_up_a_stop() {
    for way in [Way::Intercepted, Way::Given] {
        with(way, &["--stop-timeout", "5m"], |primary, _| {
            let _idle = connect(primary.address())?;
            accepted(primary, 1)?;
            primary.stop()
        });
    }
}

#[test]
fn sigquit_waits_for_nobody() {
    for way in [Way::Intercepted, Way::Given] {
        with(way, &["--stop-timeout", "5m"], |primary, _| {
            let _clients = ask(primary)?;
            primary.started.signal(Signal::TERM)?;
            primary.wait_count("ending", 1)?;
            primary.started.signal(Signal::QUIT)?;
            primary.started.wait_exit(SOON)?;
            primary.nothing_left()
        });
    }
}

#[test]
fn clients_that_come_without_end_do_not_hold_up_a_stop() {
    for way in [Way::Intercepted, Way::Given] {
        with(way, &["--stop-timeout", "5m"], |primary, allow| {
            allow()?;
            ends_under(primary, &Plan::short(primary.address()))
        });
    }
    let Some((run, folder)) = prepared(&NODE, alone(NODE.program)) else { return };
    let options = ["--delivery", "intercept", "--stop-timeout", "5m"];
    hold(run.options(&options).start().and_then(|mut primary| {
        primary.wait_ready(3)?;
        let plan = Plan::keep_alive(primary.address());
        ends_under(&mut primary, &plan)
    }));
    fs::remove_dir_all(folder).unwrap();
}

/// A primary with three workers that serve, and what lets them answer.
fn with(way: Way, options: &[&str], body: impl FnOnce(&mut Primary, &dyn Fn() -> Outcome) -> Outcome) {
    let Some((run, folder)) = prepared(&WAITING_PYTHON, alone(PYTHON.program)) else { return };
    let allow = || fs::write(folder.join("go"), "").map_err(|error| error.to_string());
    let run = listening(run, way).options(options);
    hold(run.start().and_then(|mut primary| {
        primary.wait_ready(3)?;
        body(&mut primary, &allow)
    }));
    fs::remove_dir_all(folder).unwrap();
}

fn listening(run: Run, way: Way) -> Run {
    match way {
        Way::Intercepted => run,
        Way::Given => {
            let listen = run.port().to_string();
            run.options(&["--listen", &listen, "--delivery", "fds"])
        }
    }
}

fn answers_all(
    primary: &mut Primary,
    allow: &dyn Fn() -> Outcome,
    stop: impl FnOnce(&Primary) -> Outcome + Send,
) -> Outcome {
    let clients = ask(primary)?;
    let running = &*primary;
    thread::scope(|scope| {
        let stopped = scope.spawn(move || stop(running));
        running.wait_count("stopping", 3)?;
        ensure!(!running.worker_pids()?.is_empty(), "nobody is left to answer");
        allow()?;
        for mut client in clients {
            let answer = answer(&mut client);
            ensure!(answer.ends_with("hello"), "{answer:?}");
        }
        stopped.join().map_err(|_| "the stop has panicked".to_owned())?
    })?;
    primary.started.expect_exit(0, SOON)?;
    primary.nothing_left()
}

fn loses_all(primary: &mut Primary) -> Outcome {
    let clients = ask(primary)?;
    primary.stop()?;
    for mut client in clients {
        let answer = answer(&mut client);
        ensure!(answer.is_empty(), "{answer:?}");
    }
    Ok(())
}

fn ends_under(primary: &mut Primary, plan: &Plan) -> Outcome {
    let load = load::start(&Plan { clients: 12, ..plan.clone() }).map_err(|error| error.to_string())?;
    wait::until_true("answers", SOON, || load.succeeded() > 200)?;
    primary.stop()?;
    load.stop().map(drop).map_err(|error| error.to_string())
}

/// Clients that have asked; at least one of them was accepted.
fn ask(primary: &Primary) -> Result<Vec<TcpStream>, String> {
    let client = |_| {
        let mut client = connect(primary.address())?;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(|error| error.to_string())?;
        Ok(client)
    };
    let clients: Result<Vec<TcpStream>, String> = (0..CLIENTS).map(client).collect();
    accepted(primary, 1)?;
    clients
}

fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let client = TcpStream::connect(address).map_err(|error| format!("refused: {error}"))?;
    client.set_read_timeout(Some(SOON)).map_err(|error| error.to_string())?;
    Ok(client)
}

fn accepted(primary: &Primary, count: usize) -> Outcome {
    let pids = primary.worker_pids()?;
    let held = || pids.iter().map(|pid| facts::client_ports(*pid).len()).sum::<usize>();
    wait::until_true("clients to be accepted", SOON, || held() >= count)
}

/// As much of an answer as came.
fn answer(client: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // Somebody who is not answered is told so by a reset.
    let _ = client.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
