//! Short connections per second, peer by peer, round by round.
//!
//! Owns the peers and the order: every round asks each of them once, so that a slow moment of the machine meets all.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use clustr_benches::load::{self, Plan, TellApart};
use clustr_benches::places::Places;
use clustr_benches::primary::{Primary, free_port};
use clustr_benches::series::Series;
use clustr_benches::started::Started;
use clustr_benches::{http, wait};

use crate::Effort;
use crate::report::goal;

const SOON: Duration = Duration::from_secs(30);

/// What serves.
pub(super) enum Server {
    Clustr(Primary),
    Other { alive: Started, address: SocketAddr },
}

/// A server, and what it did in each round.
struct Peer {
    name: &'static str,
    server: Server,
    per_second: Series,
    p50_ms: Series,
    p99_ms: Series,
    failed: u64,
}

pub(super) fn measure(places: &Places, effort: Effort) -> Result<String, String> {
    let (rounds, span) = match effort {
        Effort::Quick => (3, Duration::from_secs(1)),
        // Short rounds and many: the two halves of a pair are close in time, whatever else the machine does.
        Effort::Full => (31, Duration::from_secs(1)),
    };
    let mut peers = vec![
        Peer::new("clustr shared", clustr(places, &[])?),
        Peer::new("node:cluster, round robin", node("rr")?),
        Peer::new("node:cluster, SCHED_NONE", node("none")?),
        Peer::new("bare Rust server: the generator's limit", bare()?),
    ];
    for peer in &peers {
        wait::until_true(peer.name, SOON, || http::get(peer.server.address(), "/").is_ok())?;
        ask(peer.server.address(), span / 2)?;
    }
    for _ in 0..rounds {
        for peer in &mut peers {
            let tally = ask(peer.server.address(), span)?;
            peer.note(&tally);
        }
    }
    Ok(chapter(&peers, rounds, span))
}

fn chapter(peers: &[Peer], rounds: u32, span: Duration) -> String {
    let mut text = format!(
        "## Short connections\n\n64 clients, `Connection: close`, 2 workers, {rounds} interleaved rounds of {span:?}; \
         median (least–most)\n\n"
    );
    text.push_str("| peer | per second | × round robin | × SCHED_NONE | p50 ms | p99 ms | failed |\n");
    text.push_str("|---|---|---|---|---|---|---|\n");
    let (rr, none) = (&peers[1].per_second, &peers[2].per_second);
    for peer in peers {
        let Peer { name, per_second, p50_ms, p99_ms, failed, .. } = peer;
        let (over_rr, over_none) = (per_second.over(rr), per_second.over(none));
        let _ = writeln!(
            text,
            "| {name} | {per_second:.0} | {over_rr:.2} | {over_none:.2} | {p50_ms:.2} | {p99_ms:.2} | {failed} |"
        );
    }
    text.push('\n');
    let ratios = [("node's round robin", rr, 1.8), ("node's SCHED_NONE", none, 0.97)];
    for (name, other, least) in ratios {
        let found = peers[0].per_second.over(other);
        let held = found.median() >= least;
        text.push_str(&goal(
            &format!("× {name}"),
            &format!("at least {least}"),
            &format!("{found:.2}"),
            held,
        ));
    }
    text
}

impl Peer {
    fn new(name: &'static str, server: Server) -> Self {
        let empty = Series::default;
        Self { name, server, per_second: empty(), p50_ms: empty(), p99_ms: empty(), failed: 0 }
    }

    fn note(&mut self, tally: &load::Tally) {
        self.per_second.push(tally.per_second());
        self.p50_ms.push(tally.latency.percentile(50.0).as_secs_f64() * 1e3);
        self.p99_ms.push(tally.latency.percentile(99.0).as_secs_f64() * 1e3);
        self.failed += tally.failed();
    }
}

impl Server {
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Clustr(primary) => primary.address(),
            Self::Other { address, .. } => *address,
        }
    }

    /// The process that supervises.
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Clustr(primary) => primary.pid(),
            Self::Other { alive, .. } => alive.pid(),
        }
    }
}

/// So long a load of short connections.
pub(super) fn ask(target: SocketAddr, span: Duration) -> Result<load::Tally, String> {
    let plan = Plan {
        clients: 64,
        duration_max: span,
        tell_apart: TellApart::Nothing,
        ports: false,
        ..Plan::short(target)
    };
    load::run(&plan).map_err(|error| error.to_string())
}

/// clustr with two workers.
pub(super) fn clustr(places: &Places, options: &[&str]) -> Result<Server, String> {
    let options = [&["-n", "2"], options].concat();
    let primary = Primary::start(&places.clustr, &options, &["node", &Places::peer("hello.js")])?;
    primary.wait_ready(2)?;
    Ok(Server::Clustr(primary))
}

/// Node's own primary with two workers.
pub(super) fn node(policy: &str) -> Result<Server, String> {
    let mut command = Command::new("node");
    command.arg(Places::peer("cluster.js")).env("NODE_CLUSTER_SCHED_POLICY", policy);
    other(&mut command)
}

fn bare() -> Result<Server, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let port = free_port();
    let mut command = Command::new(own);
    command.args(["serve", &port.to_string()]).stdin(Stdio::null());
    let alive = Started::new(&mut command)?;
    Ok(Server::Other { alive, address: (Ipv4Addr::LOCALHOST, port).into() })
}

fn other(command: &mut Command) -> Result<Server, String> {
    let port = free_port();
    let alive = Started::new(command.env("PORT", port.to_string()).stdin(Stdio::null()))?;
    Ok(Server::Other { alive, address: (Ipv4Addr::LOCALHOST, port).into() })
}
