//! Whatever a client of the control socket does, the primary and its other clients do not suffer.

use std::sync::atomic::{AtomicBool, Ordering};

use clustr_benches::{http, wait};

use crate::harness::control::Control;
use crate::harness::node::with_node;
use crate::harness::{Outcome, Primary, Run, SOON, ensure};

#[test]
fn garbage_on_the_control_socket_disturbs_nobody() {
    with_node(|node| {
        let mut primary = Run::app(node, "address.js").workers(2).start()?;
        primary.wait_ready(2)?;
        let long = [vec![b'x'; 1 << 20], b"\n".to_vec()].concat();
        let deep = format!("{}\n", "[".repeat(60_000));
        let cases: [&[u8]; 9] = [
            b"\n\n\n",
            b"garbage\n",
            b"\xff\xfe\x00\x01\n",
            b"{}\n",
            b"{\"id\":-1,\"cmd\":\"status\"}\n",
            b"{\"id\":1,\"cmd\":\"format-disk\"}\n",
            b"{\"id\":1,\"cmd\":\"scale\",\"to\":99999999999}\n",
            &long,
            deep.as_bytes(),
        ];
        for bytes in cases {
            answers_or_closes(&primary, bytes)?;
            still_serves(&primary)?;
        }
        primary.stop()
    });
}

#[test]
fn half_a_request_waits_for_its_other_half() {
    with_node(|node| {
        let mut primary = Run::app(node, "address.js").workers(1).start()?;
        primary.wait_ready(1)?;
        let mut slow = primary.control()?;
        slow.send(b"{\"id\":7,\"cm")?;
        still_serves(&primary)?;
        let reply = slow.ask("d\":\"status\"}")?;
        ensure!(reply["id"] == 7 && reply["ok"] == true, "{reply}");
        let silent = primary.control()?;
        let mut leaving = primary.control()?;
        leaving.send(b"{\"id\":8")?;
        drop((silent, leaving));
        still_serves(&primary)?;
        primary.stop()
    });
}

#[test]
fn a_subscriber_that_does_not_read_misses_news_and_holds_nobody_up() {
    with_node(|node| {
        let mut primary = Run::app(node, "messages.js").workers(1).start()?;
        primary.wait_ready(1)?;
        let mut lazy = primary.control()?;
        lazy.ask(r#"{"id":9,"cmd":"subscribe"}"#)?;
        for _ in 0..4 {
            http::get(primary.address(), "/many")?;
        }
        still_serves(&primary)?;
        let missed = first_missed(&mut lazy, &primary)?;
        ensure!(missed > 0, "nothing was missed");
        primary.stop()
    });
}

/// A reply that refuses, or a closed connection: anything but silence.
fn answers_or_closes(primary: &Primary, bytes: &[u8]) -> Outcome {
    let mut client = primary.control()?;
    // The primary may close before everything is sent: that is an answer too.
    if client.send(bytes).is_err() {
        return Ok(());
    }
    client.finish();
    match client.read() {
        Ok(reply) => {
            ensure!(reply["ok"] == false && reply["refusal"].is_string(), "granted: {reply}");
            Ok(())
        }
        Err(why) if why.contains("closed") || why.contains("reset") => Ok(()),
        Err(why) => Err(format!("{} bytes: {why}", bytes.len())),
    }
}

fn still_serves(primary: &Primary) -> Outcome {
    let reply = primary.control()?.ask(r#"{"id":1,"cmd":"status"}"#)?;
    ensure!(reply["ok"] == true, "{reply}");
    http::get(primary.address(), "/").map(drop)
}

/// Reads on until a line says that others are missing: the first news after there is room again.
fn first_missed(lazy: &mut Control, primary: &Primary) -> Result<u64, String> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let _ = http::get(primary.address(), "/few");
            }
        });
        let found = wait::until("a line that says what was missed", SOON, || {
            lazy.read().ok()?["missed"].as_u64().filter(|missed| *missed > 0)
        });
        is_over.store(true, Ordering::Relaxed);
        found
    })
}
