//! Reloads with clients that never close: old generations are bounded in number and in age, and so is the primary.
//!
//! Owns the clients: each begins a request that it never ends, so that no worker which waits for it ever leaves by itself.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use super::{Outcome, SOON, Subject, ensure};
use crate::places::Places;
use crate::primary::Primary;
use crate::{facts, wait};

/// Bound of `clustr-core`: so many workers a slot has, old and new.
const SLOT_WORKERS_MAX: usize = 4;

/// What a worker may live on after its stop was due: the signals have to arrive, and it has to end.
const SLACK: Duration = Duration::from_secs(10);

/// So many reloads of one slot, each of whose workers gets clients that never close.
///
/// # Errors
///
/// There were too many workers, one lived too long, or the primary holds more than before.
pub fn lingering(subject: Subject<'_>, reloads: u32, stop_timeout: Duration) -> Outcome {
    let primary = start(subject, stop_timeout)?;
    let (mut held, mut most) = (Vec::new(), (0, 0));
    let before = facts::descriptors(primary.pid()).len();
    for number in 1..=reloads {
        held.extend(endless(&primary)?);
        primary.clustr(&["reload", "--settle", "0s"])?;
        let workers = primary.workers()?;
        let generations: BTreeSet<u64> = workers.iter().map(|worker| worker.generation).collect();
        ensure(workers.len() <= SLOT_WORKERS_MAX && generations.len() <= SLOT_WORKERS_MAX, || {
            format!("after {number} reloads: {workers:?}")
        })?;
        most = most.max((workers.len(), generations.len()));
    }
    ensure(most.0 > 1, || "no worker was kept by its clients: nothing was tried".to_owned())?;
    wait::until_true("the last generation alone", stop_timeout + SLACK, || {
        primary.workers().is_ok_and(|workers| workers.len() == 1)
    })?;
    drop(held);
    primary.settle()?;
    let after = facts::descriptors(primary.pid()).len();
    ensure(after == before, || format!("descriptors of the primary: {before}, then {after}"))?;
    primary.stop()?;
    let (workers, generations) = most;
    Ok(format!(
        "{}: {reloads} reloads, at most {workers} workers of {generations} generations",
        subject.share
    ))
}

fn start(subject: Subject<'_>, stop_timeout: Duration) -> Result<Primary, String> {
    let timeout = format!("{}ms", stop_timeout.as_millis());
    let options = ["-n", "1", "--share", subject.share, "--stop-timeout", &timeout];
    let primary = Primary::start(subject.clustr, &options, &["node", &Places::peer("reload.js")])?;
    primary.wait_ready(1)?;
    primary.settle()?;
    Ok(primary)
}

/// Two clients whose requests have no end.
fn endless(primary: &Primary) -> Result<Vec<TcpStream>, String> {
    let begin = || {
        let mut stream = TcpStream::connect_timeout(&primary.address(), SOON)?;
        stream.write_all(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx")?;
        Ok(stream)
    };
    (0..2).map(|_| begin()).collect::<std::io::Result<_>>().map_err(|error| error.to_string())
}
