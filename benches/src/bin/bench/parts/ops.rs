//! What an operator waits for: `status` with 100 workers.
//!
//! Owns that one question, asked over the socket and by command. Asked for alone, it measures two more, which are other
//! parts' when everything is measured: the start of 100 workers, and the way from an exit to the successor.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clustr_benches::load::monotonic_ns;
use clustr_benches::primary::Primary;
use clustr_benches::series::Series;
use clustr_benches::wait;

use super::{interleave, restart, startup};
use crate::peers::{self, Name, Server};
use crate::report::{Section, Table};
use crate::setting::Setting;

const WORKERS: u32 = 100;
/// Enough for a median.
const ROUNDS: u32 = 21;
const SOON: Duration = Duration::from_secs(60);

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    let mut sections = vec![status(setting)?];
    if setting.alone {
        let rounds = setting.rounds_within(0.7, 5, ROUNDS);
        sections.push(startup::many(setting, &[(WORKERS, rounds)])?);
        sections.push(restart::first_line(setting, setting.rounds(ROUNDS, ROUNDS))?);
    }
    Ok(sections)
}

/// A question, and how long its answers took.
struct Asked<'a> {
    name: &'static str,
    ask: Question<'a>,
    millis: Series,
}

type Question<'a> = Box<dyn Fn() -> Result<(), String> + 'a>;

fn status(setting: &Setting) -> Result<Section, String> {
    let trivial = setting.places.trivial.to_string_lossy().into_owned();
    let options = ["-n", &WORKERS.to_string(), "--ready-timeout", "500ms"].map(str::to_owned);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let primary = Primary::start(&setting.places.clustr, &options, &[&trivial])?;
    primary.wait_ready(u64::from(WORKERS))?;
    let program = setting.peers.program(Name::Pm2).cloned().unwrap_or_default();
    let pm2 = setting.excuse("PM2", pm2(setting, &program, &trivial))?.flatten();
    let mut all = vec![
        Asked::new("clustr, over the control socket", || primary.status().map(drop)),
        Asked::new("clustr status --json", || primary.clustr(&["status", "--json"]).map(drop)),
        Asked::new("bare: clustr version, which asks nobody", || version(&setting.places.clustr)),
    ];
    if let Some(pm2) = &pm2 {
        all.push(Asked::new("pm2 jlist", || pm2.told(&program).map(drop)));
    }
    let share = if setting.alone { 0.3 } else { 1.0 };
    let wanted = setting.rounds_within(share, 5, ROUNDS);
    let done = interleave(setting, wanted, &mut all, |one| one.name, Asked::run)?;
    let mut table = Table::new(&[("ms", 2)]);
    all.iter().for_each(|one| table.row(one.name, vec![(&one.millis).into()]));
    let about =
        format!("The answer to `status` with {WORKERS} trivial workers, by command or without one; {done}.");
    let mut section = Section::new("Status of 100 workers", about, table);
    section.found("status-100", all[1].millis.clone());
    drop(all);
    primary.stop()?;
    Ok(section)
}

/// PM2 with as many, all of them known to it.
fn pm2(setting: &Setting, program: &Path, trivial: &str) -> Result<Option<Server>, String> {
    let Some(server) = peers::many(setting, Name::Pm2, WORKERS, &[trivial])? else { return Ok(None) };
    server.wait_workers(WORKERS as usize)?;
    let known =
        || server.told(program).is_ok_and(|list| list.matches("\"pm_id\"").count() >= WORKERS as usize);
    wait::until_true("all workers in its list", SOON, known)?;
    Ok(Some(server))
}

fn version(clustr: &Path) -> Result<(), String> {
    let status = Command::new(clustr).arg("version").stdin(Stdio::null()).stdout(Stdio::null()).status();
    status.map(drop).map_err(|error| error.to_string())
}

impl<'a> Asked<'a> {
    fn new(name: &'static str, ask: impl Fn() -> Result<(), String> + 'a) -> Self {
        Self { name, ask: Box::new(ask), millis: Series::default() }
    }

    fn run(&mut self) -> Result<(), String> {
        let began = monotonic_ns();
        (self.ask)()?;
        self.millis.push((monotonic_ns() - began) as f64 / 1e6);
        Ok(())
    }
}
