//! A host that is short of processes, memory or descriptors for a while: the primary answers, and recovers alone.
//!
//! Owns the order of events: what is refused, what is asked meanwhile, and that nobody who waits is lost.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::process::Signal;

use super::logs::{Killed, check_logs};
use super::{Outcome, SOON, Subject, ensure, short_connections, stop, wait_answers};
use crate::faults::{self, Faults, Refused};
use crate::load::monotonic_ns;
use crate::places::Places;
use crate::primary::Primary;
use crate::started::signal_pid;
use crate::wait;

/// So many refusals each time: the primary has tried again and again.
const REFUSALS: u64 = 5;

/// No process can be made, with each of these errors in turn, while both workers are killed; then no connection can be
/// accepted by the primary.
///
/// # Errors
///
/// The primary does not answer, does not recover, or somebody who waited was lost.
pub fn shortage(subject: Subject<'_>) -> Outcome {
    let (primary, faults) = start(subject)?;
    let load = short_connections(&primary, 100.0)?;
    let mut killed = Vec::new();
    for errno in [Errno::AGAIN, Errno::NOMEM] {
        wait_answers(&load, 20)?;
        no_process(&primary, &faults, errno, &mut killed).map_err(|why| said(&primary, errno, why))?;
        wait_answers(&load, 20)?;
    }
    no_accept(&primary, &faults).map_err(|why| said(&primary, Errno::MFILE, why))?;
    wait_answers(&load, 20)?;
    let (tally, refused) = (stop(load)?, faults.relent());
    ensure(tally.refused == 0 && tally.timed_out == 0, || tally.to_string())?;
    let unlogged = check_logs(primary.folder(), &tally, &killed)?;
    primary.stop()?;
    Ok(format!("{}: {tally}, {refused} calls refused, {unlogged} failures in no log", subject.share))
}

fn start(subject: Subject<'_>) -> Result<(Primary, Faults), String> {
    let mut prepared = None;
    let options = ["-n", "2", "--share", subject.share];
    let app = Places::peer("logged.js");
    let primary = Primary::start_changed(subject.clustr, &options, &["node", &app], |command| {
        prepared = Some(faults::prepare(command).map_err(|error| error.to_string())?);
        Ok(())
    })?;
    let prepared = prepared.ok_or("the command was not prepared")?;
    let faults = prepared.attach(primary.pid()).map_err(|error| error.to_string())?;
    primary.wait_ready(2)?;
    Ok((primary, faults))
}

fn no_process(
    primary: &Primary,
    faults: &Faults,
    errno: Errno,
    killed: &mut Vec<Killed>,
) -> Result<(), String> {
    let before = faults.refused();
    faults.refuse(Refused::Starts, errno);
    for worker in primary.workers()? {
        killed.push(Killed { pid: worker.pid, at_ns: monotonic_ns() });
        signal_pid(worker.pid, Signal::KILL)?;
    }
    wait::until_true("starts that are refused", SOON, || {
        // It answers each time, and says that nobody is there.
        primary.workers().is_ok_and(|workers| workers.is_empty()) && faults.refused() >= before + REFUSALS
    })?;
    let app = primary.status()?["apps"][0].clone();
    ensure(app["ready"] == 0 && app["workers"][0]["state"] != "gave-up", || app.to_string())?;
    faults.relent();
    primary.wait_ready(2)
}

/// Who is connected to the control socket already is answered all the while; who comes is answered afterwards.
fn no_accept(primary: &Primary, faults: &Faults) -> Result<(), String> {
    let control = primary.folder().join("runtime/bench.sock");
    let mut connected = connect(&control)?;
    ask(&mut connected)?;
    let before = faults.refused();
    faults.refuse(Refused::Accepts, Errno::MFILE);
    let mut late = connect(&control)?;
    late.get_mut().write_all(STATUS).map_err(|error| error.to_string())?;
    wait::until_true("accepts that are refused", SOON, || {
        ask(&mut connected).is_ok() && faults.refused() >= before + REFUSALS
    })?;
    faults.relent();
    let answer = read(&mut late)?;
    ensure(answer.contains("\"ok\":true"), || answer.clone())
}

const STATUS: &[u8] = b"{\"id\":1,\"cmd\":\"status\"}\n";

fn connect(path: &std::path::Path) -> Result<BufReader<UnixStream>, String> {
    let stream = UnixStream::connect(path).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(SOON)).map_err(|error| error.to_string())?;
    Ok(BufReader::new(stream))
}

fn ask(client: &mut BufReader<UnixStream>) -> Result<String, String> {
    client.get_mut().write_all(STATUS).map_err(|error| error.to_string())?;
    read(client)
}

fn read(client: &mut BufReader<UnixStream>) -> Result<String, String> {
    let mut line = String::new();
    client.read_line(&mut line).map_err(|error| error.to_string())?;
    Ok(line)
}

fn said(primary: &Primary, errno: Errno, why: String) -> String {
    format!("{errno}: {why}\n{}", primary.news())
}
