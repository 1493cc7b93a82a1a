//! Puma's test of its restart, made strict: every kind of client at once, and not one request may fail.
//!
//! Owns the loads and what is counted as no failure: a request on a kept connection that the server had closed, which
//! RFC 9112, section 9.3.1 lets a client repeat.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Outcome, SOON, Subject, ensure, stop, wait_answers};
use crate::load::{self, Pace, Plan, Running, Tally, Target, TellApart};
use crate::primary::Primary;
use crate::{places::Places, wait};

/// Bound: bytes of a body, there and back.
const BODY_BYTES: usize = 16 << 10;

/// At as many short connections a second, at least, a trial at full speed counts as hard.
const WANTED_PER_SECOND: f64 = 3_000.0;

/// How the reloads are tried.
#[derive(Clone, Copy, Debug)]
pub struct Reloads {
    /// So many, one after the other.
    pub count: u32,
    /// Short connections a second; `None`: as many as the machine gives.
    pub per_second: Option<f64>,
    /// Whether the app listens on a Unix socket.
    pub unix: bool,
}

/// Reloads under short connections, kept ones, bodies of 16 kB and requests that take a second, all at once.
///
/// # Errors
///
/// One request failed, or a generation did not answer.
pub fn reloads(subject: Subject<'_>, wish: Reloads) -> Outcome {
    let (primary, target) = start(subject, wish.unix)?;
    let loads = loads(&target, wish.per_second)
        .into_iter()
        .map(|(name, plan)| load::start(&plan).map(|load| (name, load)).map_err(|error| error.to_string()));
    let loads = loads.collect::<Result<Vec<_>, _>>()?;
    let reloaded = reload(&primary, wish.count, &loads);
    let tallies: Vec<(&str, Tally)> =
        loads.into_iter().map(|(name, load)| Ok((name, stop(load)?))).collect::<Result<_, String>>()?;
    let text = told(subject, wish, &tallies);
    reloaded.map_err(|why| format!("{why}\n{text}"))?;
    ensure(tallies.iter().all(|(_, tally)| tally.failed() == 0 && tally.success == tally.issued), || {
        text.clone()
    })?;
    let seen: BTreeSet<&String> = tallies.iter().flat_map(|(_, tally)| tally.answers.keys()).collect();
    let wanted = 1..=wish.count + 1;
    ensure(wanted.clone().all(|number| seen.contains(&number.to_string())), || {
        format!("of generations {wanted:?} answered only {seen:?}\n{text}")
    })?;
    primary.stop()?;
    Ok(text)
}

fn start(subject: Subject<'_>, unix: bool) -> Result<(Primary, Target), String> {
    let script = Places::peer("reload.js");
    let command = ["node", &script, if unix { "unix" } else { "tcp" }];
    let primary = Primary::start(subject.clustr, &["-n", "2", "--share", subject.share], &command)?;
    primary.wait_ready(2)?;
    let target = if unix { primary.folder().join("app.socket").into() } else { primary.address().into() };
    Ok((primary, target))
}

/// What is asked at the same time, under the name by which it is told.
fn loads(target: &Target, per_second: Option<f64>) -> Vec<(&'static str, Plan)> {
    let common = Plan {
        duration_max: std::time::Duration::from_secs(3_600),
        request_timeout: SOON,
        tell_apart: TellApart::Header("x-generation".to_owned()),
        ports: false,
        repeats_closed_idle: true,
        ..Plan::short(target.clone())
    };
    let kept = load::Connections::KeepAlive;
    let pace = per_second.map_or(Pace::ClosedLoop, Pace::PerSecond);
    // On connections of their own, which nobody may repeat.
    let slow = Plan { clients: 16, path: "/slow?1000".to_owned(), ..common.clone() };
    let mut loads = vec![
        ("short", Plan { clients: 64, pace, ..common.clone() }),
        ("kept", Plan { clients: 16, connections: kept, pace: Pace::PerSecond(200.0), ..common.clone() }),
        ("16 kB", Plan { clients: 8, body_bytes: BODY_BYTES, pace: Pace::PerSecond(50.0), ..common }),
        ("1 s", slow.clone()),
    ];
    // These keep workers that were replaced from leaving for as long as they may, and more come than there is room for.
    if per_second.is_none() {
        loads.push(("1 s, kept", Plan { clients: 8, connections: kept, ..slow }));
    }
    loads
}

/// One after the other, each once every load has been answered since the last.
fn reload(primary: &Primary, count: u32, loads: &[(&str, Running)]) -> Result<(), String> {
    for number in 1..=count {
        loads.iter().try_for_each(|(_, load)| wait_answers(load, 10))?;
        primary.clustr(&["reload", "--settle", "200ms"])?;
        let generation = primary.status()?["apps"][0]["generation"].as_u64();
        ensure(generation == Some(u64::from(number) + 1), || {
            format!("{generation:?} after {number} reloads")
        })?;
    }
    loads.iter().try_for_each(|(_, load)| wait_answers(load, 10))?;
    // Whoever was replaced ends once it has finished.
    wait::until_true("the last generation alone", SOON, || {
        primary.workers().is_ok_and(|workers| workers.len() == 2)
    })
}

fn told(subject: Subject<'_>, wish: Reloads, tallies: &[(&str, Tally)]) -> String {
    let family = if wish.unix { "Unix" } else { "TCP" };
    let mut text = format!("{} over {family}, {} reloads:", subject.share, wish.count);
    for (name, tally) in tallies {
        let _ = write!(text, "\n  {name}: {tally} per_second={:.0}", tally.per_second());
    }
    // Nothing of clustr's fails at a lower rate: it says how hard the machine could try.
    if let (None, Some((_, short))) = (wish.per_second, tallies.first()) {
        let held = if short.per_second() >= WANTED_PER_SECOND { "held" } else { "MISSED" };
        let _ = write!(text, "\n  at least {WANTED_PER_SECOND:.0} short connections a second: {held}");
    }
    text
}
