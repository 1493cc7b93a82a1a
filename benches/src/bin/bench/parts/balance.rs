//! Which worker gets how many connections.
//!
//! Owns three loads of four workers: a trickle, four clients, and 64. Told by the workers' own pids.

use std::time::Duration;

use clustr_benches::load::{self, Pace, Plan, Tally};
use clustr_benches::series::Series;

use super::interleave;
use super::lane::CLIENTS;
use crate::peers::{self, App, Fleet, Name, Server};
use crate::report::{Section, Table};
use crate::setting::{Done, Setting};

const WORKERS: u32 = 4;

struct Lane {
    name: &'static str,
    server: Server,
    /// How uneven each load was, in the order of `plans`.
    uneven: [Series; 3],
}

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    let span = setting.pick(Duration::from_millis(250), Duration::from_secs(1));
    let mut lanes = lanes(setting)?;
    interleave(setting, setting.rounds(1, 1), &mut lanes, |lane| lane.name, Lane::wait)?;
    let wanted = setting.rounds(1, 3);
    let done = interleave(setting, wanted, &mut lanes, |lane| lane.name, |lane| lane.run(span))?;
    Ok(vec![section(&lanes, done, span)])
}

fn lanes(setting: &Setting) -> Result<Vec<Lane>, String> {
    let fleet = Fleet::of(App::Pid, WORKERS);
    let ours =
        |name, options: &[&str]| Ok::<_, String>(Lane::new(name, peers::clustr(setting, options, fleet)?));
    let mut lanes = vec![
        ours("clustr, shared", &["--share", "shared"])?,
        ours("clustr, per-worker, hash", &["--share", "per-worker", "--balance", "hash"])?,
        ours("clustr, per-worker, random", &["--share", "per-worker", "--balance", "random"])?,
        ours("clustr, handoff, round-robin", &["--share", "handoff", "--balance", "round-robin"])?,
        ours("clustr, handoff, least-busy", &["--share", "handoff", "--balance", "least-busy"])?,
    ];
    let others = [
        ("node:cluster, round robin", Name::Node, "rr"),
        ("node:cluster, SCHED_NONE", Name::Node, "none"),
        ("PM2", Name::Pm2, ""),
        ("circus, node", Name::Circus, ""),
        ("supervisord, node", Name::Supervisord, ""),
        ("gunicorn", Name::Gunicorn, ""),
        ("uWSGI", Name::Uwsgi, ""),
        ("nginx", Name::Nginx, ""),
    ];
    for (name, peer, policy) in others {
        let server = setting.excuse(name, peers::peer(setting, peer, policy, fleet))?.flatten();
        lanes.extend(server.map(|server| Lane::new(name, server)));
    }
    Ok(lanes)
}

fn section(lanes: &[Lane], done: Done, span: Duration) -> Section {
    let mut table = Table::new(&[("200 a second, %", 1), ("4 clients, %", 1), ("64 clients, %", 1)]);
    table.drawn = Some(2);
    for lane in lanes {
        table.row(lane.name, lane.uneven.iter().map(Into::into).collect());
    }
    let about = format!(
        "How unevenly {WORKERS} workers got short connections: standard deviation by mean (0 is even, 173 is all to one); \
         {done} of {span:?} for each load."
    );
    Section::new("Balance", about, table)
}

impl Lane {
    fn new(name: &'static str, server: Server) -> Self {
        Self { name, server, uneven: Default::default() }
    }

    fn wait(&mut self) -> Result<(), String> {
        self.server.wait_serving()?;
        self.server.wait_workers(WORKERS as usize)
    }

    fn run(&mut self, span: Duration) -> Result<(), String> {
        let plan = |clients, pace| Plan {
            clients,
            pace,
            duration_max: span,
            ports: false,
            ..Plan::short(self.server.address())
        };
        let plans = [
            plan(CLIENTS, Pace::PerSecond(200.0)),
            plan(4, Pace::ClosedLoop),
            plan(CLIENTS, Pace::ClosedLoop),
        ];
        for (plan, uneven) in plans.iter().zip(&mut self.uneven) {
            let tally = load::run(plan).map_err(|error| error.to_string())?;
            uneven.push(uneven_percent(&tally, WORKERS)?);
        }
        Ok(())
    }
}

/// The coefficient of variation over all workers, those too that got nothing.
fn uneven_percent(tally: &Tally, workers: u32) -> Result<f64, String> {
    if tally.success == 0 || tally.answers.len() > workers as usize {
        return Err(format!("answers of {} workers, {workers} expected: {tally}", tally.answers.len()));
    }
    let mean = tally.success as f64 / f64::from(workers);
    let away = |count: f64| (count - mean).powi(2);
    let heard: f64 = tally.answers.values().map(|count| away(*count as f64)).sum();
    let silent = (workers as usize - tally.answers.len()) as f64 * away(0.0);
    Ok(100.0 * ((heard + silent) / f64::from(workers)).sqrt() / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(counts: &[u64]) -> Tally {
        let answers = counts.iter().enumerate().map(|(pid, count)| (pid.to_string(), *count)).collect();
        Tally { success: counts.iter().sum(), answers, ..Tally::default() }
    }

    #[test]
    fn even_is_nothing_and_all_to_one_of_four_is_173_percent() {
        assert!(uneven_percent(&tally(&[5, 5, 5, 5]), 4).unwrap() < 1e-9);
        assert!((uneven_percent(&tally(&[20]), 4).unwrap() - 173.2).abs() < 0.1);
        assert!((uneven_percent(&tally(&[15, 5]), 2).unwrap() - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_worker_that_nobody_started_is_no_answer() {
        assert!(uneven_percent(&tally(&[1, 1, 1]), 2).is_err());
        assert!(uneven_percent(&tally(&[]), 2).is_err());
    }
}
