//! Requests per second, on short connections and on kept ones.
//!
//! Owns who takes part, and what is compared with whom. Connections that are handed over are `handoff`'s.

use std::time::Duration;

use clustr_benches::series::Series;

use super::lane::{self, CLIENTS, LIMIT, Lane, named};
use crate::peers::{self, App, Fleet, Name};
use crate::report::{Section, Table};
use crate::setting::{Done, Setting};

const SHARED: &str = "clustr, shared";
const QUEUES: &str = "clustr, per-worker";
const HANDOFF: &str = "clustr, handoff";
pub(super) const ROUND_ROBIN: &str = "node:cluster, round robin";
const NONE: &str = "node:cluster, SCHED_NONE";
const PM2: &str = "PM2";
const BARE: &str = "bare loop, one listener for node workers";

/// The pace of the open loop: what everybody can do.
const PACE: f64 = 2_000.0;

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    let mut lanes = lanes(setting)?;
    let span = setting.pick(Duration::from_millis(400), Duration::from_millis(700));
    lane::warm_up(setting, &mut lanes, |lane| lane.short(span))?;
    let wanted = setting.rounds_within(0.5, 3, 15);
    let done = lane::measure(setting, wanted, &mut lanes, |lane| lane.short(span))?;
    let short = short_section(&lanes, done, span);

    let mut lanes: Vec<Lane> = lanes.into_iter().map(Lane::fresh).collect();
    let handoff = peers::clustr(setting, &["--share", "handoff"], Fleet::of(App::Hello, 2))?;
    lanes.insert(2, Lane::new(HANDOFF, handoff)?);
    let wanted = setting.rounds_within(0.4, 2, 5);
    let done = lane::measure(setting, wanted, &mut lanes, |lane| lane.paced(span, PACE))?;
    let paced = paced_section(&lanes, done, span);

    let span = setting.pick(Duration::from_millis(300), Duration::from_millis(500));
    // These close every connection: nothing is kept.
    let kept = lanes.into_iter().filter(|lane| ![LIMIT, "gunicorn", "uWSGI"].contains(&lane.name));
    let mut kept: Vec<Lane> = kept.map(Lane::fresh).collect();
    kept.push(Lane::new(LIMIT, peers::bare(setting, "serve-kept", Fleet::of(App::Hello, 2))?)?);
    lane::warm_up(setting, &mut kept, |lane| lane.kept(span))?;
    let done = lane::measure(setting, setting.rounds(3, 15), &mut kept, |lane| lane.kept(span))?;
    Ok(vec![short, paced, kept_section(&kept, done, span)])
}

fn lanes(setting: &Setting) -> Result<Vec<Lane>, String> {
    let fleet = Fleet::of(App::Hello, 2);
    let peer = |label, name, policy| Lane::peer(setting, label, name, policy, fleet);
    let mut lanes = vec![
        Lane::new(SHARED, peers::clustr(setting, &["--share", "shared"], fleet)?)?,
        Lane::new(QUEUES, peers::clustr(setting, &["--share", "per-worker"], fleet)?)?,
    ];
    let others = [
        peer(ROUND_ROBIN, Name::Node, "rr")?,
        peer(NONE, Name::Node, "none")?,
        peer(PM2, Name::Pm2, "")?,
        peer("circus, node", Name::Circus, "")?,
        peer("supervisord, node", Name::Supervisord, "")?,
        peer("gunicorn", Name::Gunicorn, "")?,
        peer("uWSGI", Name::Uwsgi, "")?,
        peer("nginx", Name::Nginx, "")?,
    ];
    lanes.extend(others.into_iter().flatten());
    lanes.push(Lane::new(BARE, peers::bare(setting, "node-share", fleet)?)?);
    lanes.push(Lane::new(LIMIT, peers::bare(setting, "serve", fleet)?)?);
    Ok(lanes)
}

fn short_section(lanes: &[Lane], done: Done, span: Duration) -> Section {
    let about =
        format!("{CLIENTS} clients at once, `Connection: close`, 2 workers, `hello`; {done} of {span:?}.");
    let mut section = Section::new("Short connections", about, table(lanes));
    lane::mark_near_limit(&mut section, lanes);
    let goals = [
        ("short-shared-none", SHARED, NONE),
        ("short-shared-bare", SHARED, BARE),
        ("short-shared-pm2", SHARED, PM2),
        ("short-queues-none", QUEUES, NONE),
        ("short-queues-bare", QUEUES, BARE),
        ("short-queues-pm2", QUEUES, PM2),
    ];
    compare(&mut section, lanes, &goals);
    if let (Some(ours), Some(none)) = (named(lanes, SHARED), named(lanes, NONE)) {
        section.found("p99-shared-none", ours.p99_ms.over(&none.p99_ms));
    }
    for (goal, name) in [("cpu-shared", SHARED), ("cpu-queues", QUEUES)] {
        section.found.extend(named(lanes, name).map(|lane| (goal, lane.cpu_ms.clone())));
    }
    section
}

/// What clients wait when they come as they like, and not when somebody was answered.
fn paced_section(lanes: &[Lane], done: Done, span: Duration) -> Section {
    let mut table =
        Table::new(&[("p50 ms", 2), ("p99 ms", 2), ("p99.9 ms", 1), ("longest ms", 1), ("failed", 0)]);
    table.drawn = Some(1);
    for lane in lanes {
        let millis = |span: Duration| Series::of(span.as_secs_f64() * 1e3).into();
        let latency = &lane.total.latency;
        let (tail, longest) = (millis(latency.percentile(99.9)), millis(latency.longest()));
        table.row(
            lane.name,
            vec![(&lane.p50_ms).into(), (&lane.p99_ms).into(), tail, longest, lane.failures()],
        );
    }
    let about = format!(
        "Open loop: {PACE} short connections a second, whatever becomes of them; a request's clock starts when it was due; \
         {done} of {span:?}."
    );
    Section::new("Short connections at a steady pace", about, table)
}

fn kept_section(lanes: &[Lane], done: Done, span: Duration) -> Section {
    let about = format!(
        "{CLIENTS} connections that are kept, one request at a time on each, 2 workers; {done} of {span:?}."
    );
    let mut section = Section::new("Requests on kept connections", about, table(lanes));
    lane::mark_near_limit(&mut section, lanes);
    let goals = [
        ("kept-shared-node", SHARED, ROUND_ROBIN),
        ("kept-shared-bare", SHARED, BARE),
        ("kept-queues-node", QUEUES, ROUND_ROBIN),
        ("kept-queues-bare", QUEUES, BARE),
        ("kept-handoff-node", HANDOFF, ROUND_ROBIN),
        ("kept-handoff-bare", HANDOFF, BARE),
    ];
    compare(&mut section, lanes, &goals);
    section
}

fn compare(section: &mut Section, lanes: &[Lane], goals: &[(&'static str, &str, &str)]) {
    for (goal, ours, other) in goals {
        if let (Some(ours), Some(other)) = (named(lanes, ours), named(lanes, other)) {
            section.found(goal, ours.per_second.over(&other.per_second));
        }
    }
}

fn table(lanes: &[Lane]) -> Table {
    let mut table = Table::new(&[
        ("per second", 0),
        ("× node's round robin", 2),
        ("× bare loop", 2),
        ("p50 ms", 2),
        ("p99 ms", 2),
        ("primary's CPU, ms per 10,000", 1),
        ("failed", 0),
    ]);
    let (node, bare) = (named(lanes, ROUND_ROBIN), named(lanes, BARE));
    for lane in lanes {
        let over = |other: Option<&Lane>| other.map(|other| lane.per_second.over(&other.per_second)).into();
        let Lane { name, per_second, p50_ms, p99_ms, cpu_ms, .. } = lane;
        let cpu = (*name != LIMIT).then_some(cpu_ms).into();
        table.row(
            *name,
            vec![
                per_second.into(),
                over(node),
                over(bare),
                p50_ms.into(),
                p99_ms.into(),
                cpu,
                lane.failures(),
            ],
        );
    }
    table
}
