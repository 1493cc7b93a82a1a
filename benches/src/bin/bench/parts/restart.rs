//! From a worker's end to its successor: its first line, and its first answer.
//!
//! Owns two clocks that both begin just before kill(2). The first line is told by the trivial program itself, through a FIFO;
//! so the span holds the death, the primary's waking and deciding, the clone, the exec and the dynamic linking. The first
//! answer is that to a client who asks at once, and again where nobody listens.

use std::process::{Command, Stdio};
use std::time::Duration;

use clustr_benches::load::monotonic_ns;
use clustr_benches::primary::Primary;
use clustr_benches::series::Series;
use clustr_benches::soak::{Birth, Births, TIRELESS};
use clustr_benches::started::{Started, signal_pid};
use clustr_benches::{http, wait};
use rustix::process::Signal;

use super::interleave;
use crate::peers::{self, App, Fleet, Name, Server};
use crate::report::{Cell, Section, Table};
use crate::setting::{Setting, Wanted};

/// Between two kills: everything is at rest again.
const REST: Duration = Duration::from_millis(40);
/// PM2 is killed only so often: it gives up after sixteen short lives.
const PM2_KILLS: usize = 10;
const SOON: Duration = Duration::from_secs(30);
/// A client that has heard nothing for so long asks anew: node's round robin, and PM2's, lose who came at the wrong moment.
const PATIENCE: Duration = Duration::from_millis(250);

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    let first_line = first_line(setting, setting.rounds_within(0.2, 21, 201))?;
    Ok(vec![first_line, first_answer(setting)?])
}

/// Something that restarts the trivial program.
struct Restarter {
    name: &'static str,
    births: Births,
    last: Birth,
    micros: Series,
    /// Ends the bare loop.
    _alive: Option<Started>,
    primary: Option<Primary>,
    /// Ends PM2.
    server: Option<Server>,
}

/// So many kills of each.
pub(super) fn first_line(setting: &Setting, kills: Wanted) -> Result<Section, String> {
    let trivial = setting.places.trivial.to_string_lossy().into_owned();
    let births = Births::new("clustr")?;
    let options = [&["-n", "1"][..], &TIRELESS].concat();
    let primary =
        Primary::start(&setting.places.clustr, &options, &[&trivial, &births.path().to_string_lossy()])?;
    let ours = Restarter::new("clustr", births, None, Some(primary))?;
    let births = Births::new("bare")?;
    let mut command = Command::new(&setting.places.bare);
    command.arg("restart").args([setting.places.trivial.as_path(), births.path()]).stdin(Stdio::null());
    let alive = Started::new(&mut command)?;
    let bare = Restarter::new("bare fork, exec, pidfd", births, Some(alive), None)?;
    let mut both = vec![ours, bare];
    let births = Births::new("pm2")?;
    let command = [trivial.as_str(), &births.path().to_string_lossy()].map(str::to_owned);
    if let Some(server) = peers::many(setting, Name::Pm2, 1, &[&command[0], &command[1]])? {
        both.push(Restarter { server: Some(server), ..Restarter::new("PM2", births, None, None)? });
    }
    let kills = interleave(setting, kills, &mut both, |one| one.name, Restarter::kill)?.rounds;
    let pm2 = both.drain(2..).next();
    let (bare, ours) = (both.remove(1), both.remove(0));
    let ratio = ours.micros.over(&bare.micros);
    let mut table = Table::new(&[("µs", 0), ("× bare", 2)]);
    table.row(ours.name, vec![(&ours.micros).into(), (&ratio).into()]);
    table.row(bare.name, vec![(&bare.micros).into(), Cell::Nothing]);
    if let Some(pm2) = pm2 {
        table.row(pm2.name, vec![(&pm2.micros).into(), pm2.micros.over(&bare.micros).into()]);
    }
    let about = format!(
        "From kill -9 of a trivial worker to the first line of its successor; {kills} kills each, in turn, of PM2 \
         {PM2_KILLS}, for it would give up."
    );
    let mut section = Section::new("Restart: the successor's first line", about, table);
    section.found("restart-bare", ratio);
    ours.primary.map_or(Ok(()), Primary::stop)?;
    Ok(section)
}

impl Restarter {
    fn new(
        name: &'static str,
        births: Births,
        alive: Option<Started>,
        primary: Option<Primary>,
    ) -> Result<Self, String> {
        let mut births = births.open()?;
        let last = births.wait_next()?;
        Ok(Self { name, births, last, micros: Series::default(), _alive: alive, primary, server: None })
    }

    fn kill(&mut self) -> Result<(), String> {
        if self.server.is_some() && self.micros.numbers().len() == PM2_KILLS {
            return Ok(());
        }
        wait::observe_for(REST);
        let began = monotonic_ns();
        signal_pid(self.last.pid, Signal::KILL)?;
        self.last = self.births.wait_next()?;
        self.micros.push(self.last.at_ns.saturating_sub(began) as f64 / 1e3);
        Ok(())
    }
}

/// A server with one worker.
struct Single {
    name: &'static str,
    server: Server,
    millis: Series,
    asked_in_vain: u64,
}

fn first_answer(setting: &Setting) -> Result<Section, String> {
    let mut all = singles(setting)?;
    let once = setting.rounds(1, 1);
    interleave(setting, once, &mut all, |single| single.name, |single| single.server.wait_serving())?;
    let kills = setting.rounds_within(0.5, 3, 15);
    let kills = interleave(setting, kills, &mut all, |single| single.name, Single::kill)?.rounds;
    let mut table = Table::new(&[("ms", 2), ("asked in vain", 0)]);
    for Single { name, millis, asked_in_vain, .. } in &all {
        table.row(*name, vec![millis.into(), Series::of(*asked_in_vain as f64).into()]);
    }
    let about = format!(
        "From kill -9 of the only worker to the first answer, for a client that asks at once, and again whenever it is \
         refused, cut off or unanswered for {PATIENCE:?}; {kills} kills each, in turn. clustr with `--backoff-min 0ms` and an intensity that is never \
         exceeded, since it is killed so often."
    );
    let mut section = Section::new("Restart: the first answer", about, table);
    section.found("restart-serving", all[0].millis.clone());
    Ok(section)
}

fn singles(setting: &Setting) -> Result<Vec<Single>, String> {
    let fleet = Fleet::of(App::Hello, 1);
    let bare = setting.places.bare.to_string_lossy().into_owned();
    let listening = [&TIRELESS[..], &["--share", "shared", "--listen", "127.0.0.1:{port}"]].concat();
    let shared = [&TIRELESS[..], &["--share", "shared"]].concat();
    let mut all = vec![
        Single::new("clustr, Rust worker", peers::ours(setting, &listening, fleet, &[&bare, "worker"])?),
        Single::new("clustr, node worker", peers::clustr(setting, &shared, fleet)?),
    ];
    let others = [
        ("node:cluster", Name::Node, "rr"),
        ("PM2", Name::Pm2, ""),
        ("circus, node", Name::Circus, ""),
        ("supervisord, node", Name::Supervisord, ""),
        ("gunicorn", Name::Gunicorn, ""),
        ("uWSGI", Name::Uwsgi, ""),
        ("nginx", Name::Nginx, ""),
    ];
    for (name, peer, policy) in others {
        let server = setting.excuse(name, peers::peer(setting, peer, policy, fleet))?.flatten();
        all.extend(server.map(|server| Single::new(name, server)));
    }
    all.push(Single::new("bare loop, node worker", peers::bare(setting, "node-share", fleet)?));
    Ok(all)
}

impl Single {
    fn new(name: &'static str, server: Server) -> Self {
        Self { name, server, millis: Series::default(), asked_in_vain: 0 }
    }

    fn kill(&mut self) -> Result<(), String> {
        wait::observe_for(REST);
        // Whoever has been killed may still be seen for a moment.
        let began = wait::until("a worker", SOON, || {
            let worker = self.server.workers().first().copied()?;
            let now = monotonic_ns();
            signal_pid(worker, Signal::KILL).is_ok().then_some(now)
        })?;
        wait::until_true("an answer", SOON, || {
            let answered = http::get_within(self.server.address(), "/", PATIENCE).is_ok();
            self.asked_in_vain += u64::from(!answered);
            answered
        })?;
        self.millis.push((monotonic_ns() - began) as f64 / 1e6);
        Ok(())
    }
}
