//! One server under load, and what it did in each round.
//!
//! Owns the loads that several parts share: short connections and kept ones, 64 clients at once; and who of them came near
//! the generator's own limit. Never starts a server.

use clustr_benches::facts;
use clustr_benches::load::{self, Pace, Plan, Tally, TellApart};
use clustr_benches::series::Series;
use std::time::Duration;

use super::interleave;
use crate::peers::{self, Fleet, Name, Server};
use crate::report::{Cell, Section};
use crate::setting::{Done, Setting, Wanted};

/// Open at once.
pub(super) const CLIENTS: usize = 64;
/// A bare server, which shows what the generator gets out of this machine at most.
pub(super) const LIMIT: &str = "bare server in Rust: the generator's limit";
/// From this part of the generator's limit on, a number says more of the generator than of the server.
const NEAR_LIMIT: f64 = 0.9;
/// Clients of a paced load: enough that one is free whenever a request is due.
const PACED_CLIENTS: usize = 256;

/// One server, and what it did.
pub(super) struct Lane {
    pub(super) name: &'static str,
    pub(super) server: Server,
    pub(super) per_second: Series,
    pub(super) p50_ms: Series,
    pub(super) p99_ms: Series,
    /// The primary's own time, for 10,000 requests.
    pub(super) cpu_ms: Series,
    /// Everything that became of its requests.
    pub(super) total: Tally,
}

impl Lane {
    /// A server that answers.
    pub(super) fn new(name: &'static str, server: Server) -> Result<Self, String> {
        server.wait_serving().map_err(|why| format!("{name}: {why}"))?;
        Ok(Self::with(name, server))
    }

    fn with(name: &'static str, server: Server) -> Self {
        let empty = Series::default;
        let (per_second, p50_ms, p99_ms, cpu_ms) = (empty(), empty(), empty(), empty());
        Self { name, server, per_second, p50_ms, p99_ms, cpu_ms, total: Tally::default() }
    }

    /// The same server, with nothing noted yet.
    pub(super) fn fresh(self) -> Self {
        Self::with(self.name, self.server)
    }

    /// A peer's, if it is there and answers.
    pub(super) fn peer(
        setting: &Setting,
        name: &'static str,
        peer: Name,
        policy: &str,
        fleet: Fleet<'_>,
    ) -> Result<Option<Self>, String> {
        let server = peers::peer(setting, peer, policy, fleet);
        let lane = server.and_then(|server| server.map(|server| Self::new(name, server)).transpose());
        Ok(setting.excuse(name, lane)?.flatten())
    }

    /// One round.
    pub(super) fn run(&mut self, plan: &Plan) -> Result<(), String> {
        let spent = || facts::processor_time(self.server.pid()).ok_or("the primary is gone");
        let before = spent()?;
        let tally = load::run(plan).map_err(|error| error.to_string())?;
        let spent = spent()?.saturating_sub(before);
        self.cpu_ms.push(spent.as_secs_f64() * 1e3 * 1e4 / tally.success.max(1) as f64);
        self.note(tally);
        Ok(())
    }

    fn note(&mut self, tally: Tally) {
        let millis = |percent| tally.latency.percentile(percent).as_secs_f64() * 1e3;
        self.per_second.push(tally.per_second());
        self.p50_ms.push(millis(50.0));
        self.p99_ms.push(millis(99.0));
        self.total.add(tally);
    }

    /// A load of short connections on it.
    pub(super) fn short(&self, span: Duration) -> Plan {
        loaded(Plan::short(self.server.address()), span)
    }

    /// Short connections at a pace, whatever the server makes of them.
    pub(super) fn paced(&self, span: Duration, per_second: f64) -> Plan {
        let pace = Pace::PerSecond(per_second);
        Plan { clients: PACED_CLIENTS, pace, ..self.short(span) }
    }

    /// Requests that failed, and how.
    pub(super) fn failures(&self) -> Cell {
        let how = self.total.how_failed();
        Cell::Text(if how.is_empty() { "0".to_owned() } else { how })
    }

    /// A load on connections that are kept.
    pub(super) fn kept(&self, span: Duration) -> Plan {
        loaded(Plan::keep_alive(self.server.address()), span)
    }
}

fn loaded(plan: Plan, span: Duration) -> Plan {
    Plan { clients: CLIENTS, duration_max: span, tell_apart: TellApart::Nothing, ports: false, ..plan }
}

/// The lane of this name.
pub(super) fn named<'a>(lanes: &'a [Lane], name: &str) -> Option<&'a Lane> {
    lanes.iter().find(|lane| lane.name == name)
}

/// Everybody in turn.
pub(super) fn measure(
    setting: &Setting,
    wanted: Wanted,
    lanes: &mut Vec<Lane>,
    plan: impl Fn(&Lane) -> Plan,
) -> Result<Done, String> {
    interleave(setting, wanted, lanes, |lane| lane.name, |lane| lane.run(&plan(lane)))
}

/// A round that does not count: programs that compile themselves while they run have done so after it.
pub(super) fn warm_up(
    setting: &Setting,
    lanes: &mut Vec<Lane>,
    plan: impl Fn(&Lane) -> Plan,
) -> Result<(), String> {
    let once = |lane: &Lane| load::run(&plan(lane)).map(drop).map_err(|error| error.to_string());
    interleave(setting, setting.rounds(1, 1), lanes, |lane| lane.name, |lane| once(lane)).map(drop)
}

/// Marks those that are so fast that the generator may be what was measured, and says what its limit is.
pub(super) fn mark_near_limit(section: &mut Section, lanes: &[Lane]) {
    let Some(limit) = named(lanes, LIMIT) else { return };
    let near = |lane: &Lane| lane.name != LIMIT && is_near(&lane.per_second, &limit.per_second);
    let mut some = false;
    for (row, _) in section.table.rows.iter_mut().zip(lanes).filter(|(_, lane)| near(lane)) {
        row.near_limit = true;
        some = true;
    }
    let limit = &limit.per_second;
    section.notes.push(if some {
        format!("† Near the generator's limit, {limit:.0} per second: more was measured of the generator than of the server.")
    } else {
        format!("The generator's limit here is {limit:.0} per second; nobody is near it.")
    });
}

fn is_near(numbers: &Series, limit: &Series) -> bool {
    numbers.over(limit).median() >= NEAR_LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_within_a_tenth_of_the_limit_is_near_it() {
        let limit = Series::of(100.0);
        assert!(is_near(&Series::of(95.0), &limit) && is_near(&Series::of(120.0), &limit));
        assert!(!is_near(&Series::of(80.0), &limit));
    }
}
