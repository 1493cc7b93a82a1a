//! What workers write is passed on line by line, and nobody waits for whoever reads it.

use std::process::Stdio;
use std::time::Duration;

use clustr_benches::started::{Line, Stream, signal_pid};
use clustr_benches::{http, wait};
use rustix::process::Signal;

use crate::harness::node::with_node;
use crate::harness::{Run, SOON, ensure, of_kind};

#[test]
fn lines_of_every_kind_arrive_with_their_prefix() {
    with_node(|node| {
        let mut primary = Run::app(node, "talks.js").workers(1).options(&["--name", "app"]).start()?;
        primary.wait_ready(1)?;
        primary.stop()?;
        let lines = primary.started.lines();
        let has = |stream: Stream, wanted: &[u8]| {
            lines.iter().any(|line| line.stream == stream && line.bytes == wanted)
        };
        let heard =
            || lines.iter().map(|line| line.text().chars().take(60).collect::<String>()).collect::<Vec<_>>();
        ensure!(has(Stream::Out, b"app.0 | a plain line"), "{:?}", heard());
        ensure!(has(Stream::Out, b"app.0 | bin\xff\xfe\x00"), "binary: {:?}", heard());
        ensure!(has(Stream::Err, b"app.0 | an error line"), "standard error: {:?}", heard());
        ensure!(has(Stream::Out, b"app.0 | no end of line"), "the last words: {:?}", heard());
        let long = lines.iter().filter(|line| line.stream == Stream::Out).map(letters).sum::<usize>();
        ensure!(long == 100_000, "{long} of 100000 bytes of a long line");
        Ok(())
    });
}

#[test]
fn two_workers_never_share_a_line() {
    let script =
        "i=0; while [ $i -lt 500 ]; do echo one two three four five; i=$((i+1)); done; echo end; sleep 1000";
    let outcome = (|| {
        let options = ["--name", "app", "--ready-timeout", "50ms"];
        let mut primary = Run::new(&["sh", "-c", script]).workers(2).options(&options).start()?;
        primary.wait_said("app.0 | end")?;
        primary.wait_said("app.1 | end")?;
        let lines = primary.started.lines();
        let out: Vec<String> =
            lines.iter().filter(|line| line.stream == Stream::Out).map(Line::text).collect();
        for slot in 0..2 {
            let whole = format!("app.{slot} | one two three four five");
            let count = out.iter().filter(|line| **line == whole).count();
            ensure!(count == 500, "{count} of 500 whole lines of slot {slot}");
        }
        ensure!(out.len() == 1_002, "{} lines", out.len());
        primary.stop()
    })();
    crate::harness::hold(outcome);
}

#[test]
fn a_reader_that_has_stopped_does_not_stop_the_service() {
    with_node(|node| {
        let run = Run::app(node, "talks.js").workers(2);
        let mut command = run.to_command();
        let (unread, ours) = std::io::pipe().map_err(|error| error.to_string())?;
        std::fs::create_dir_all(run.folder().join("runtime")).map_err(|error| error.to_string())?;
        command.stdout(ours).stderr(Stdio::piped());
        let mut primary = run.start_with_output(&mut command)?;
        drop(command);
        http::get_from_all(primary.address(), "/", 2, SOON)?;
        // Eight times 2,000 lines of 220 bytes are more than any pipe or buffer on the way holds; a reader that does
        // nothing for seconds has stopped, and is no longer waited for.
        for _ in 0..2 {
            for _ in 0..8 {
                http::get(primary.address(), "/flood")?;
            }
            wait::observe_for(Duration::from_millis(2_500));
        }
        http::get_from_all(primary.address(), "/", 2, SOON)?;
        primary.status()?;
        // Whoever reads the other output still hears everything.
        signal_pid(primary.worker_pids()?[0], Signal::KILL)?;
        primary.wait_count("exited", 1)?;
        primary.wait_ready(3)?;
        let reader = std::thread::spawn(move || std::io::copy(&mut { unread }, &mut std::io::sink()));
        wait::until_true("lost lines to be counted", SOON, || {
            let news = primary.news();
            of_kind(&news, "output-lost").any(|piece| piece["lines"].as_u64() > Some(0))
        })?;
        primary.stop()?;
        drop(primary);
        reader.join().map_err(|_| "the reader has panicked")?.map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn a_reader_that_has_gone_does_not_stop_the_service() {
    with_node(|node| {
        let run = Run::app(node, "talks.js").workers(2);
        let mut command = run.to_command();
        let (unread, ours) = std::io::pipe().map_err(|error| error.to_string())?;
        std::fs::create_dir_all(run.folder().join("runtime")).map_err(|error| error.to_string())?;
        command.stdout(ours).stderr(Stdio::piped());
        drop(unread);
        let mut primary = run.start_with_output(&mut command)?;
        drop(command);
        primary.wait_ready(2)?;
        http::get(primary.address(), "/flood")?;
        http::get_from_all(primary.address(), "/", 2, SOON)?;
        primary.stop()
    });
}

/// How many letters of the long line are in this line.
fn letters(line: &Line) -> usize {
    line.bytes.iter().filter(|byte| **byte == b'L').count()
}
