//! Connections handed over, clustr beside node's own round robin: how many, and what each costs the primary.
//!
//! Owns the pairing: every round asks both, and each ratio is taken within a round.

use std::fmt::Write as _;
use std::time::Duration;

use clustr_benches::places::Places;
use clustr_benches::series::Series;
use clustr_benches::{facts, http, wait};

use crate::Effort;
use crate::report::goal;
use crate::throughput::{Server, ask, clustr, node};

const SOON: Duration = Duration::from_secs(30);

/// Goals, beside node's round robin: connections, at least; the primary's time for each, at most.
const FASTER: f64 = 1.3;
const CHEAPER: f64 = 0.42;

struct Peer {
    name: &'static str,
    server: Server,
    per_second: Series,
    cpu_us: Series,
    failed: u64,
}

pub(super) fn measure(places: &Places, effort: Effort) -> Result<String, String> {
    let (rounds, span) = match effort {
        Effort::Quick => (3, Duration::from_secs(1)),
        Effort::Full => (11, Duration::from_secs(4)),
    };
    let handoff = |balance| clustr(places, &["--share", "handoff", "--balance", balance]);
    let mut peers = [
        Peer::new("clustr handoff, round-robin", handoff("round-robin")?),
        Peer::new("node:cluster, round robin", node("rr")?),
        Peer::new("clustr handoff, least-busy", handoff("least-busy")?),
    ];
    for peer in &mut peers {
        wait::until_true(peer.name, SOON, || http::get(peer.server.address(), "/").is_ok())?;
        ask(peer.server.address(), span / 2)?;
    }
    for _ in 0..rounds {
        peers.iter_mut().try_for_each(|peer| peer.run(span))?;
    }
    Ok(chapter(&peers, rounds, span))
}

fn chapter(peers: &[Peer; 3], rounds: u32, span: Duration) -> String {
    let mut text = format!(
        "## Connections handed over\n\n64 clients, `Connection: close`, 2 workers, {rounds} interleaved rounds of {span:?}; \
         median (least–most)\n\n"
    );
    text.push_str(
        "| peer | per second | × node | primary, µs each | × node | failed |\n|---|---|---|---|---|---|\n",
    );
    let [ours, node, _] = peers;
    for Peer { name, per_second, cpu_us, failed, .. } in peers {
        let (faster, cheaper) = (per_second.over(&node.per_second), cpu_us.over(&node.cpu_us));
        let _ = writeln!(
            text,
            "| {name} | {per_second:.0} | {faster:.2} | {cpu_us:.1} | {cheaper:.2} | {failed} |"
        );
    }
    let (faster, cheaper) = (ours.per_second.over(&node.per_second), ours.cpu_us.over(&node.cpu_us));
    let held = [faster.median() >= FASTER, cheaper.median() <= CHEAPER];
    text.push('\n');
    text.push_str(&goal(
        "connections × node",
        &format!("at least {FASTER}"),
        &format!("{faster:.2}"),
        held[0],
    ));
    text.push_str(&goal(
        "primary's time × node",
        &format!("at most {CHEAPER}"),
        &format!("{cheaper:.2}"),
        held[1],
    ));
    text
}

impl Peer {
    fn new(name: &'static str, server: Server) -> Self {
        Self { name, server, per_second: Series::default(), cpu_us: Series::default(), failed: 0 }
    }

    fn run(&mut self, span: Duration) -> Result<(), String> {
        let spent = || facts::processor_time(self.server.pid()).ok_or("the primary is gone");
        let before = spent()?;
        let tally = ask(self.server.address(), span)?;
        let spent = spent()?.saturating_sub(before);
        self.per_second.push(tally.per_second());
        self.cpu_us.push(spent.as_secs_f64() * 1e6 / tally.success.max(1) as f64);
        self.failed += tally.failed();
        Ok(())
    }
}
