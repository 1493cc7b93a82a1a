//! What a primary weighs: at rest, after much work, and with many workers.
//!
//! Owns the choice of moments. PSS counts shared pages by their share, as the kernel does.

use std::time::Duration;

use clustr_benches::facts;
use clustr_benches::load::{self, Plan};
use clustr_benches::places::Places;
use clustr_benches::primary::Primary;
use clustr_benches::series::Series;
use clustr_benches::soak::{self, Growth};

use super::lane::CLIENTS;
use crate::peers::{self, App, Fleet, Name, Server};
use crate::report::{Cell, Section, Table};
use crate::setting::{Effort, Setting};

/// Of a trivial worker.
const RESTARTS: u32 = 10_000;

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    let connections = setting.pick(10_000, 100_000);
    setting.progress.at("clustr, served");
    let primary = Primary::start(&setting.places.clustr, &["-n", "2"], &["node", &Places::peer("hello.js")])?;
    primary.wait_ready(2)?;
    primary.settle()?;
    let wake_ups = soak::wake_ups_in_ten_seconds(&primary)?;
    let served = soak::connections(&primary, connections)?;
    primary.stop()?;
    setting.progress.at("clustr, restarted");
    let restarts = || soak::restarts(&setting.places.clustr, &setting.places.trivial, RESTARTS);
    let restarted = (setting.effort == Effort::Full).then(restarts).transpose()?;
    setting.progress.at("clustr, 100 workers");
    let hundred = hundred(setting)?;
    let mut table =
        Table::new(&[("at rest, MB", 2), ("after connections, MB", 2), ("100 trivial workers, MB", 2)]);
    let ours =
        [served.before.pss_bytes, served.after.pss_bytes, hundred].map(|bytes| megabytes(bytes).into());
    table.row("clustr", ours.to_vec());
    peers(setting, connections, &mut table)?;
    let about = format!(
        "One server after the other. PSS of the primary alone: with 2 workers at rest, after {connections} short connections, and with 100 workers \
         that do nothing (node's by `child_process.spawn`)."
    );
    let mut section = Section::new("Memory", about, table);
    section.found("pss-2", megabytes(served.before.pss_bytes));
    section.found("pss-100", megabytes(hundred));
    section.found("pss-growth", megabytes(served.bytes()));
    section.found("wake-ups", Series::of(wake_ups as f64));
    section.notes.push(after(&format!("{connections} connections"), &served));
    let what = format!("{RESTARTS} restarts of a trivial worker");
    section.notes.extend(restarted.map(|growth| after(&what, &growth)));
    Ok(vec![section])
}

/// clustr's weight with 100 workers.
fn hundred(setting: &Setting) -> Result<u64, String> {
    let trivial = setting.places.trivial.to_string_lossy().into_owned();
    let primary =
        Primary::start(&setting.places.clustr, &["-n", "100", "--ready-timeout", "500ms"], &[&trivial])?;
    primary.wait_ready(100)?;
    primary.settle()?;
    let weight = soak::weigh(&primary)?;
    primary.stop()?;
    Ok(weight.pss_bytes)
}

fn peers(setting: &Setting, connections: u64, table: &mut Table) -> Result<(), String> {
    let all = [
        ("node:cluster", Name::Node, "rr"),
        ("PM2", Name::Pm2, ""),
        ("circus", Name::Circus, ""),
        ("supervisord", Name::Supervisord, ""),
        ("gunicorn", Name::Gunicorn, ""),
        ("uWSGI", Name::Uwsgi, ""),
        ("nginx", Name::Nginx, ""),
    ];
    let all: Vec<_> = all.into_iter().filter(|(_, peer, _)| setting.has(*peer)).collect();
    for (number, (name, peer, policy)) in all.iter().enumerate() {
        if !setting.has_time_for(name) {
            continue;
        }
        setting.progress.at(*name);
        let time = setting.budget.left() / u32::try_from(all.len() - number).unwrap_or(1);
        let server = peers::peer(setting, *peer, policy, Fleet::of(App::Hello, 2));
        let weighed =
            setting.excuse(name, server)?.flatten().map(|server| weights(&server, connections, time));
        let Some((idle, served)) = setting.excuse(name, weighed.transpose())?.flatten() else { continue };
        let hundred = setting.excuse(name, hundred_of(setting, *peer))?.flatten();
        table.row(*name, vec![idle.into(), served, hundred.into()]);
    }
    Ok(())
}

/// A peer's weight with 100 workers, if it can have such as are no servers.
fn hundred_of(setting: &Setting, peer: Name) -> Result<Option<Series>, String> {
    let trivial = setting.places.trivial.to_string_lossy().into_owned();
    let Some(server) = peers::many(setting, peer, 100, &[&trivial])? else { return Ok(None) };
    server.wait_workers(100)?;
    let weight = facts::pss_bytes(server.pid()).ok_or("the primary is gone")?;
    Ok(Some(megabytes(weight)))
}

fn weights(server: &Server, connections: u64, time: Duration) -> Result<(Series, Cell), String> {
    server.wait_serving()?;
    server.wait_workers(2)?;
    let weigh = || facts::pss_bytes(server.pid()).map(megabytes).ok_or("the primary is gone");
    let idle = weigh()?;
    let plan = Plan {
        clients: CLIENTS,
        requests_max: connections,
        duration_max: time,
        tell_apart: load::TellApart::Nothing,
        ports: false,
        ..Plan::short(server.address())
    };
    let tally = load::run(&plan).map_err(|error| error.to_string())?;
    let served = weigh()?;
    Ok((
        idle,
        if tally.issued < connections {
            Cell::Text(format!("{served:.2} after {}, when time was up", tally.issued))
        } else {
            served.into()
        },
    ))
}

fn after(what: &str, growth: &Growth) -> String {
    let Growth { before, after } = growth;
    let (from, to) = (before.descriptors, after.descriptors);
    format!("clustr after {what}: {} kB more, descriptors {from} → {to}", growth.bytes() / 1_000)
}

fn megabytes(bytes: u64) -> Series {
    Series::of(bytes as f64 / 1e6)
}
