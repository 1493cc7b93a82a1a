//! Reloads under load: how long they take, and what they cost clients.
//!
//! Owns two loads, short connections and kept ones, at a steady pace.

use std::time::{Duration, Instant};

use clustr_benches::load::{self, Pace, Plan, Running, Tally, TellApart};
use clustr_benches::series::Series;
use clustr_benches::wait;

use crate::peers::{self, App, Fleet, Name, Server};
use crate::report::{Cell, Section, Table};
use crate::setting::Setting;

const PER_SECOND: f64 = 500.0;
/// clustr's own ways.
const SHARES: [(&str, &str); 3] =
    [("clustr, shared", "shared"), ("clustr, per-worker", "per-worker"), ("clustr, handoff", "handoff")];
const OTHERS: [(&str, Name, &str); 6] = [
    ("node:cluster, by hand", Name::Node, "rr"),
    ("PM2", Name::Pm2, ""),
    ("circus, node", Name::Circus, ""),
    ("gunicorn", Name::Gunicorn, ""),
    ("uWSGI", Name::Uwsgi, ""),
    ("nginx", Name::Nginx, ""),
];

/// What became of one server.
struct Reloaded {
    name: &'static str,
    millis: Series,
    short: Tally,
    kept: Tally,
}

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    let fleet = Fleet::of(App::Hello, 2);
    let others = OTHERS.into_iter().filter(|(_, peer, _)| setting.has(*peer));
    let reloads = setting.fitting(
        u32::try_from(SHARES.len() + others.clone().count()).unwrap_or(u32::MAX),
        Duration::from_secs(3),
        Duration::from_millis(1_300),
        [2, setting.pick(2, 10)],
    );
    let mut all = Vec::new();
    for (name, share) in SHARES {
        all.push(reload(setting, name, peers::clustr(setting, &["--share", share], fleet)?, reloads, None)?);
    }
    for (number, (name, peer, policy)) in others.clone().enumerate() {
        if !setting.has_time_for(name) {
            continue;
        }
        let own = Instant::now()
            + setting.budget.left() / u32::try_from(others.clone().count() - number).unwrap_or(1);
        let server = setting.excuse(name, peers::peer(setting, peer, policy, fleet))?.flatten();
        let reloaded = server.map(|server| reload(setting, name, server, reloads, Some(own))).transpose();
        all.extend(setting.excuse(name, reloaded)?.flatten());
    }
    Ok(vec![section(&all, reloads)])
}

/// So many reloads, but only two if that takes longer than `until`.
fn reload(
    setting: &Setting,
    name: &'static str,
    mut server: Server,
    reloads: u32,
    until: Option<Instant>,
) -> Result<Reloaded, String> {
    server.wait_serving()?;
    server.wait_workers(2)?;
    let (short, kept) = (begin(Plan::short(server.address()))?, begin(Plan::keep_alive(server.address()))?);
    let mut millis = Series::default();
    for number in 1..=reloads {
        if number > 2 && until.is_some_and(|until| Instant::now() > until) {
            break;
        }
        setting.progress.at(format!("reload {number} of {reloads}, {name}"));
        let before = short.succeeded();
        wait::until_true("answers", Duration::from_secs(30), || short.succeeded() > before + 50)?;
        let took = server.reload()?;
        millis.push(took.as_secs_f64() * 1e3);
    }
    let end = |load: Running| load.stop().map_err(|error| error.to_string());
    Ok(Reloaded { name, millis, short: end(short)?, kept: end(kept)? })
}

fn begin(plan: Plan) -> Result<Running, String> {
    let plan = Plan {
        clients: 50,
        pace: Pace::PerSecond(PER_SECOND),
        duration_max: Duration::from_secs(600),
        request_timeout: Duration::from_secs(5),
        tell_apart: TellApart::Nothing,
        repeats_closed_idle: true,
        ports: false,
        ..plan
    };
    load::start(&plan).map_err(|error| error.to_string())
}

fn section(all: &[Reloaded], reloads: u32) -> Section {
    let mut table = Table::new(&[
        ("ms a reload", 0),
        ("reloads", 0),
        ("short: lost", 0),
        ("kept: lost", 0),
        ("how they failed", 0),
        ("closed while idle, asked again", 0),
        ("answered", 0),
        ("p99 ms", 1),
        ("longest ms", 0),
    ]);
    for Reloaded { name, millis, short, kept } in all {
        let number = |number: u64| Cell::from(Series::of(number as f64));
        let p99 = Series::of(short.latency.percentile(99.0).as_secs_f64() * 1e3);
        let longest = Series::of(short.latency.longest().max(kept.latency.longest()).as_secs_f64() * 1e3);
        table.row(
            *name,
            vec![
                millis.into(),
                number(millis.numbers().len() as u64),
                number(short.failed()),
                number(kept.failed()),
                Cell::Text(how_failed(short, kept)),
                number(kept.closed_idle),
                number(short.success + kept.success),
                p99.into(),
                longest.into(),
            ],
        );
    }
    let about = format!(
        "One server after the other. {reloads} reloads of 2 workers, each (of who is slow, fewer) from the order until the old workers are gone, while {PER_SECOND} short \
         connections and {PER_SECOND} requests on 50 kept ones arrive each second. clustr watches the new workers for a \
         second (`--settle`) before it lets the old ones go. A request on a kept connection that the server closed \
         unanswered is repeated once, as RFC 9112, section 9.3.1, lets every client do. node:cluster has no reload: one \
         worker after the other is replaced by ten lines of code. supervisord has none either, and is not here."
    );
    let mut section = Section::new("Reloads under load", about, table);
    let ours = all.iter().filter(|one| one.name.starts_with("clustr"));
    let lost: u64 = ours.map(|one| one.short.failed() + one.kept.failed()).sum();
    section.found("reload-lost", Series::of(lost as f64));
    section
}

fn how_failed(short: &Tally, kept: &Tally) -> String {
    let mut both = short.clone();
    both.add(kept.clone());
    both.how_failed()
}
