//! One server under load, and what it did in each round.
//!
//! Owns the loads that several parts share: short connections and kept ones, 64 clients at once. Never starts a server.

use clustr_benches::facts;
use clustr_benches::load::{self, Plan, Tally, TellApart};
use clustr_benches::series::Series;
use std::time::Duration;

use crate::peers::{self, Fleet, Name, Server};
use crate::setting::Setting;

/// Open at once.
pub(super) const CLIENTS: usize = 64;

/// One server, and what it did.
pub(super) struct Lane {
    pub(super) name: &'static str,
    pub(super) server: Server,
    pub(super) per_second: Series,
    pub(super) p50_ms: Series,
    pub(super) p99_ms: Series,
    /// The primary's own time, for 10,000 requests.
    pub(super) cpu_ms: Series,
    pub(super) failed: u64,
}

impl Lane {
    /// A server that answers.
    pub(super) fn new(name: &'static str, server: Server) -> Result<Self, String> {
        server.wait_serving().map_err(|why| format!("{name}: {why}"))?;
        let empty = Series::default;
        Ok(Self {
            name,
            server,
            per_second: empty(),
            p50_ms: empty(),
            p99_ms: empty(),
            cpu_ms: empty(),
            failed: 0,
        })
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
        self.note(&tally);
        Ok(())
    }

    fn note(&mut self, tally: &Tally) {
        let millis = |percent| tally.latency.percentile(percent).as_secs_f64() * 1e3;
        self.per_second.push(tally.per_second());
        self.p50_ms.push(millis(50.0));
        self.p99_ms.push(millis(99.0));
        self.failed += tally.failed();
    }

    /// A load of short connections on it.
    pub(super) fn short(&self, span: Duration) -> Plan {
        loaded(Plan::short(self.server.address()), span)
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
