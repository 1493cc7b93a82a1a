//! Programs that end at once when they are signalled lose nobody in a reload: they are signalled once nothing is under way.
#![expect(clippy::unwrap_used, reason = "a folder of a test's own that cannot be removed fails the test")]

use std::time::Duration;

use clustr_benches::load::{self, Connections, Plan, Tally};
use clustr_benches::wait;

use crate::harness::{Outcome, Run, SOON, ensure, hold};
use crate::intercept::{NODE, PYTHON, Server, alone, prepared};

/// Thirty milliseconds for each answer, and no handler for any signal.
const SLOW_NODE: Server = Server {
    text: "require('http').createServer((_, answer) => setTimeout(() => answer.end('hello'), 30))
.listen(process.env.PORT);\n",
    ..NODE
};

/// Five milliseconds for each answer, one at a time.
const SERIAL_PYTHON: Server = Server {
    text: "import os, socket, time
s = socket.socket()
s.bind(('', int(os.environ['PORT'])))
s.listen(128)
while True:
    c, _ = s.accept()
    c.recv(1000)
    time.sleep(0.005)
    c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\nhello')
    c.close()
",
    ..PYTHON
};

#[test]
fn two_reloads_of_a_node_program_that_knows_nothing_lose_nobody() {
    with(&SLOW_NODE, &["--delivery", "intercept"], |tally| {
        ensure!(tally.failed() == 0 && tally.success == tally.issued, "{tally}");
        Ok(())
    });
}

#[test]
fn two_reloads_of_a_serial_program_that_knows_nothing_lose_nobody() {
    with(&SERIAL_PYTHON, &[], |tally| {
        ensure!(tally.failed() == 0 && tally.success == tally.issued, "{tally}");
        Ok(())
    });
}

/// The control: it is what is waited for that makes the difference.
#[test]
fn the_same_programs_lose_somebody_when_the_signal_comes_first() {
    for server in [&SLOW_NODE, &SERIAL_PYTHON] {
        let mut lost = None;
        for _ in 0..3 {
            if lost.is_none_or(|count| count == 0) {
                with(server, &["--delivery", "intercept", "--stop-order", "signal"], |tally| {
                    lost = Some(tally.failed());
                    Ok(())
                });
            }
        }
        assert_ne!(lost, Some(0), "{}: nobody was lost", server.program);
    }
}

fn with(server: &Server, options: &[&str], judge: impl FnOnce(&Tally) -> Outcome) {
    let Some((run, folder)) = prepared(server, alone(server.program)) else { return };
    hold(reload_twice(run.options(options), judge));
    std::fs::remove_dir_all(folder).unwrap();
}

fn reload_twice(run: Run, judge: impl FnOnce(&Tally) -> Outcome) -> Outcome {
    let mut primary = run.start()?;
    primary.wait_ready(3)?;
    let plan = Plan {
        clients: 12,
        connections: Connections::Short,
        duration_max: Duration::from_secs(60),
        ..Plan::short(primary.address())
    };
    let load = load::start(&plan).map_err(|error| error.to_string())?;
    for _ in 0..2 {
        let answered = load.succeeded();
        wait::until_true("answers", SOON, || load.succeeded() > answered + 50)?;
        primary.clustr(&["reload", "--settle", "0s"])?;
        wait::until_true("the old workers' ends", SOON, || {
            primary
                .status()
                .is_ok_and(|status| status["apps"][0]["workers"].as_array().map(Vec::len) == Some(3))
        })?;
    }
    let tally = load.stop().map_err(|error| error.to_string())?;
    println!("{tally}");
    judge(&tally)?;
    primary.stop()
}
