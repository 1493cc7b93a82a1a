//! The primary: owns everything, and turns.
//!
//! Owns the loop, and every descriptor through its parts. Never decides over a worker's life: facts go to
//! [`clustr_core::App`], orders come back and are carried out in `execute`.
//!
//! ```text
//! kernel ─ readiness ─ Reactor: Wake ─ translate ─ Event ─ App::handle ─ Actions ─ execute ─ system calls
//!                                         ^                                          │ failures
//!                                         └──────────────── inbox ───────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};

use clustr_core::{App, AppState, Event, SlotState, SlotView, Time, Verdict, WorkerId};
use nix::sys::signal::Signal;
use rustix::process::{Resource, Rlimit};

use crate::ailments::Ailments;
use crate::clock;
use crate::cluster::Desk;
use crate::config::{Config, Output, Ports, ReadyWhen, Share};
use crate::control::place::Claim;
use crate::control::protocol::RolledBack;
use crate::control::{Control, OpenError, Setback};
use crate::departures::Departures;
use crate::error::StartError;
use crate::generations::Generations;
use crate::left_behind;
use crate::logs::{Format, Logs};
use crate::news::{Fact, News};
use crate::notify::{Notices, Superior};
use crate::oom::{OomKills, Shortage};
use crate::probe::Probes;
use crate::process::{Courtesy, Process, Record, Strangers};
use crate::reactor::{Reactor, Wake};
use crate::readiness::Readiness;
use crate::recycling::Recycling;
use crate::sharing::Sharing;
use crate::signals::Signals;
use crate::sys;
use crate::watchdog::Watchdogs;
use crate::worker::Worker;

/// A primary, ready to run.
#[derive(Debug)]
pub struct Supervisor {
    pub(crate) name: String,
    pub(crate) generations: Generations,
    pub(crate) output: Output,
    /// Where both outputs go, in the background.
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) stop_signal: Signal,
    pub(crate) ready: ReadyWhen,
    pub(crate) probes: Probes,
    pub(crate) ailments: Ailments,
    pub(crate) watchdogs: Watchdogs,
    pub(crate) departures: Departures,
    pub(crate) ports: Ports,
    pub(crate) recycling: Recycling,
    pub(crate) oom_kills: OomKills,
    /// Workers that have ended while somebody was short of memory, until that is told.
    pub(crate) short: BTreeMap<WorkerId, Shortage>,
    pub(crate) app: App,
    pub(crate) reactor: Reactor,
    pub(crate) courtesy: Courtesy,
    pub(crate) logs: Logs,
    pub(crate) sharing: Sharing,
    pub(crate) readiness: Readiness,
    /// `None` where workers' notices would not be believed.
    pub(crate) notices: Option<Notices>,
    pub(crate) superior: Option<Superior>,
    /// Why it is not told, until that has been said.
    pub(crate) superior_fault: Option<String>,
    pub(crate) forgets_start: bool,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) next_unique_id: u64,
    pub(crate) spawn_error: (String, Option<String>),
    /// The file by which it was seen that the generation before the last reload cannot be started again.
    pub(crate) changed_file: Option<PathBuf>,
    /// Why the last reload failed, until whoever asked for it is told.
    pub(crate) setback: Option<Setback>,
    /// The last reload that failed, and when, until one succeeds.
    pub(crate) rolled_back: Option<(RolledBack, Time)>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) inbox: VecDeque<Event>,
    /// Who would be left if this process were killed.
    pub(crate) record: Option<Record>,
    /// How many were left of the primary before, which was killed, and have been ended.
    orphans: usize,
    pub(crate) control: Option<Control>,
    pub(crate) desk: Option<Desk>,
    pub(crate) strangers: Option<Strangers>,
    pub(crate) signals: Option<Signals>,
    pub(crate) now: Time,
    pub(crate) started_at: Time,
}

impl Supervisor {
    /// Checks the configuration, finds the command, takes the control socket, and from here on hears signals in this
    /// thread. Starts no worker yet.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(mut config: Config) -> Result<Self, StartError> {
        let nofile = raise_descriptor_limit();
        let generations = Generations::new(config.program.clone(), config.fresh_env.take(), nofile)?;
        let claim = claim(&config)?;
        let signals = Signals::hear(config.signals).map_err(StartError::system("take over signals"))?;
        let mut reactor = Reactor::new().map_err(StartError::system("make an event queue"))?;
        if let Some(signals) = &signals {
            reactor.register_readable(signals, Wake::Signals).map_err(StartError::system("watch signals"))?;
        }
        let mut logs = open_logs(&config, &mut reactor)?;
        // Whoever is left of a primary that was killed holds what is to be bound.
        let Some(orphans) = left_behind::end(&config, signals.as_ref(), &mut logs) else {
            return Err(leave(&config, claim, &mut reactor));
        };
        let sharing = Sharing::new(&mut config)?;
        let notices = open_notices(&config, &mut reactor)?;
        let control = open_control(&config, claim, &mut reactor)?;
        let strangers = config.subreaper.then(Strangers::adopt).transpose();
        let now = clock::now();
        Ok(Self {
            logs,
            strangers: strangers.map_err(StartError::system("become a child subreaper"))?,
            departures: Departures::new(config.policy.stop_timeout()),
            app: App::new(config.policy, seed(now)),
            sharing,
            readiness: Readiness::new(&config.ready),
            probes: Probes::new(config.ready.probe().cloned(), config.live.clone()),
            ailments: Ailments::default(),
            watchdogs: Watchdogs::new(config.watchdog),
            recycling: Recycling::new(&config.recycling, now),
            oom_kills: OomKills::here(now),
            short: BTreeMap::new(),
            notices,
            superior: Superior::of(&mut config.above, now),
            superior_fault: config.above.fault,
            forgets_start: config.forgets_start,
            name: config.name,
            generations,
            output: config.output,
            log_file: config.log_file.map(|file| file.path),
            stop_signal: config.stop_signal,
            ready: config.ready,
            ports: config.ports,
            courtesy: Courtesy::new(config.share == Share::Handoff),
            reactor,
            record: config.control.as_deref().and_then(Record::beside),
            orphans,
            control,
            desk: None,
            signals,
            workers: BTreeMap::new(),
            next_unique_id: 1,
            spawn_error: (String::new(), None),
            changed_file: None,
            setback: None,
            rolled_back: None,
            verdict: None,
            inbox: VecDeque::new(),
            now,
            started_at: now,
        })
    }

    /// Runs the app until it has ended.
    ///
    /// # Errors
    /// The kernel refuses to wait for events; every worker is killed then.
    pub fn run(mut self) -> Result<Verdict, StartError> {
        if self.forgets_start {
            sys::forget_code();
        }
        self.hear_desk();
        self.announce_control();
        self.announce_superior();
        self.announce_orphans();
        let actions = self.app.start(self.now);
        self.execute(actions);
        self.pump();
        let mut woken = Vec::new();
        loop {
            self.flush();
            if let Some(verdict) = self.verdict {
                return Ok(verdict);
            }
            self.turn(&mut woken)?;
        }
    }

    /// One turn of the loop: sleep, look at what happened in order, do what is due.
    fn turn(&mut self, woken: &mut Vec<Wake>) -> Result<(), StartError> {
        self.reactor.wait(self.deadline(), woken).map_err(StartError::system("wait for events"))?;
        self.now = clock::now();
        for wake in woken.drain(..) {
            self.translate(wake);
            self.pump();
        }
        self.logs.handle_timeout(&mut self.reactor, self.now);
        let heard = self.sharing.handle_timeout(&mut self.workers, &mut self.reactor, self.now);
        self.take_in(heard);
        if let Some(superior) = &mut self.superior {
            superior.handle_timeout(self.now);
        }
        while let Some(id) = self.sharing.deaf(self.now) {
            self.end_deaf(id);
        }
        while let Some(event) = self.readiness.due(self.now) {
            self.inbox.push_back(event);
        }
        self.probe_in_time();
        self.watch_in_time();
        self.recycle_in_time();
        self.pump();
        if let Some(control) = &mut self.control {
            control.handle_timeout(&mut self.reactor, self.now);
        }
        let actions = self.app.handle_timeout(self.now);
        self.execute(actions);
        self.pump();
        self.hand_over();
        self.tend_queues();
        self.tend_listeners();
        Ok(())
    }

    /// A worker that can be given nothing any more is replaced.
    fn end_deaf(&mut self, id: WorkerId) {
        if self.workers.contains_key(&id) {
            let detail = format!(
                "slot={} has closed clustr's channel, and could be given no connection any more",
                id.slot
            );
            self.tell(Fact::Warning { detail, hint: None });
            self.inbox.push_back(Event::Left(id));
        }
    }

    /// Last in a turn: clients go to workers of whom everything is known that has happened.
    fn hand_over(&mut self) {
        let lost = self.sharing.hand_over(&mut self.workers, &mut self.reactor, self.now);
        self.tell_lost(lost);
    }

    fn tell_lost(&mut self, count: u64) {
        if count > 0 {
            let detail =
                format!("connections closed without an answer, no worker was left for them: {count}");
            self.tell(Fact::Warning { detail, hint: None });
        }
    }

    /// When something is due, whoever waits for it.
    fn deadline(&self) -> Option<Time> {
        let core = self.app.deadline().map(|due| due.at);
        let control = self.control.as_ref().and_then(Control::deadline);
        let sharing = self.sharing.deadline(self.now);
        let superior = self.superior.as_ref().and_then(Superior::deadline);
        let dues = [
            core,
            control,
            self.logs.deadline(),
            sharing,
            self.readiness.deadline(),
            self.probes.deadline(),
            self.watchdogs.deadline(),
            self.recycling.deadline(),
            self.departures.deadline(),
            superior,
        ];
        dues.into_iter().flatten().min()
    }

    /// Gives the core its facts, until there are none: carrying out an order may bring new ones.
    pub(crate) fn pump(&mut self) {
        while let Some(event) = self.inbox.pop_front() {
            let actions = self.app.handle(event, self.now);
            self.execute(actions);
            if let Event::Exited(worker, _) = event {
                self.forget(worker);
            }
        }
    }

    /// A worker has ended and the core knows it: nothing of it stays but its listeners.
    fn forget(&mut self, id: WorkerId) {
        let comes_back = !self.is_ending() && self.app.slot(id.slot).is_some_and(is_hopeful);
        let Some(mut worker) = self.workers.remove(&id) else { return };
        self.readiness.forget(id);
        self.departures.forget(id);
        self.probes.forget(id, &mut self.reactor);
        self.ailments.forget(id);
        self.watchdogs.forget(id);
        self.recycling.forget(id);
        self.short.remove(&id);
        self.reactor.deregister(&worker.process, worker.exit_watch);
        let heard = self.sharing.gone(id, &mut worker, &mut self.reactor, comes_back);
        if self.strangers.is_some() {
            worker.brood.end();
        }
        drop(worker);
        self.record.iter_mut().for_each(Record::touch);
        self.take_in(heard);
        self.logs.drain(id.slot.0, id.incarnation, &mut self.reactor, self.now);
        // Its successor may have been ready before it left, after a reload: what it does not want is let go then.
        if self.app.slot(id.slot).is_some_and(|slot| slot.state == SlotState::Ready) {
            self.sharing.ready(id.slot, self.now);
        }
        let pids = self.pids();
        if let Some(strangers) = &self.strangers {
            strangers.kill_left_by(&self.name, id, &pids);
        }
    }

    /// The processes that are no strangers: workers, and questions to them.
    pub(crate) fn pids(&self) -> BTreeSet<u32> {
        let workers = self.workers.values().map(|worker| worker.process.id());
        workers.chain(self.probes.processes().map(Process::id)).collect()
    }

    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.app.view().state, AppState::Stopping | AppState::Ended)
    }

    /// Tells everybody who watches.
    pub(crate) fn tell(&mut self, fact: Fact) {
        let quiet = matches!(fact, Fact::Message { .. });
        self.tell_inside(&fact);
        if let Some(superior) = &self.superior {
            superior.tell(&fact, self.now);
        }
        let news = News { at_unix_ms: clock::unix_ms(), app: self.name.clone(), fact };
        if !quiet {
            self.logs.news(&news);
        }
        if let Some(control) = &mut self.control {
            control.publish(&news);
        }
    }

    fn announce_control(&mut self) {
        if let Some(control) = &self.control {
            let path = control.path().display().to_string();
            self.tell(Fact::Control { path });
        }
    }

    fn announce_orphans(&mut self) {
        if let Some(fact) = left_behind::fact(self.orphans) {
            self.tell(fact);
        }
    }

    /// Has it written down who is there, once for all that have come or gone in this turn.
    fn record(&mut self) {
        let Some(record) = &mut self.record else { return };
        let workers = self.workers.values().map(|worker| &worker.process);
        if let Some((path, text)) = record.take(workers.chain(self.probes.processes()))
            && !self.logs.record(path, text)
        {
            // A disk that is stuck: again in the next turn.
            record.touch();
        }
    }

    fn flush(&mut self) {
        self.record();
        if let Some(control) = &mut self.control {
            control.flush(&mut self.reactor);
        }
    }

    /// No worker outlives the loop, however the loop ends; none of them becomes a zombie of a program that goes on.
    fn end_workers(&mut self) {
        for worker in self.workers.values() {
            worker.process.kill_tree();
        }
        for worker in self.workers.values_mut() {
            worker.process.bury();
        }
    }
}

impl Drop for Supervisor {
    /// Leaves nothing behind, after an error and a panic as well: no process, no socket file, no unwritten line (but for
    /// a reader that has stopped).
    fn drop(&mut self) {
        self.end_workers();
        self.probes.end_all(&mut self.reactor);
        let lost = self.sharing.abandon();
        self.tell_lost(lost);
        if let Some(strangers) = &self.strangers {
            strangers.end_all();
        }
        // Whoever has waited for the end finds everything written.
        self.logs.close();
        self.record.iter().for_each(Record::remove);
        if let Some(control) = self.control.take() {
            control.close(&mut self.reactor);
        }
    }
}

/// Whether somebody is in the slot, or will be without anybody asking.
pub(crate) fn is_hopeful(slot: SlotView) -> bool {
    match slot.state {
        SlotState::Starting
        | SlotState::Ready
        | SlotState::Parked
        | SlotState::Draining
        | SlotState::Stopping
        | SlotState::Resting => slot.wanted,
        SlotState::Vacant | SlotState::GaveUp | SlotState::Done => false,
    }
}

/// The right to the control socket's path.
fn claim(config: &Config) -> Result<Option<Claim>, StartError> {
    let taken = |path: &PathBuf| Claim::take(path).map_err(|error| refused(config, path, error));
    config.control.as_ref().map(taken).transpose()
}

fn open_logs(config: &Config, reactor: &mut Reactor) -> Result<Logs, StartError> {
    let waker = reactor.waker(Wake::Writer).map_err(StartError::system("make a waker"))?;
    let format = Format::new(&config.name, config.output, config.news, config.colour);
    Logs::new(format, waker, config.log_file.clone()).map_err(StartError::system("start the writer thread"))
}

/// Told to stop before it has anything: the socket's file of the primary before goes as well.
fn leave(config: &Config, claim: Option<Claim>, reactor: &mut Reactor) -> StartError {
    match open_control(config, claim, reactor) {
        Ok(control) => {
            control.into_iter().for_each(|control| control.close(reactor));
            StartError::Stopped
        }
        Err(error) => error,
    }
}

/// Where workers are heard that speak by sd_notify, if what they say counts.
fn open_notices(config: &Config, reactor: &mut Reactor) -> Result<Option<Notices>, StartError> {
    let hears = config.ready.hears_notices() || config.watchdog.is_some();
    let opened = hears.then(|| Notices::open(reactor)).transpose();
    opened.map_err(StartError::system("make a socket for sd_notify"))
}

fn open_control(
    config: &Config,
    claim: Option<Claim>,
    reactor: &mut Reactor,
) -> Result<Option<Control>, StartError> {
    let Some((path, claim)) = config.control.as_ref().zip(claim) else { return Ok(None) };
    Control::open(path, claim, reactor).map(Some).map_err(|error| refused(config, path, error))
}

fn refused(config: &Config, path: &Path, error: OpenError) -> StartError {
    let path = path.to_owned();
    match error {
        OpenError::Held(holder) => StartError::name_taken(&config.name, path, holder),
        OpenError::InTheWay => {
            let why = "there is a file that is no socket";
            StartError::Control { path, source: std::io::Error::new(std::io::ErrorKind::AlreadyExists, why) }
        }
        OpenError::Io(source) => StartError::Control { path, source },
    }
}

/// Raises our own limit as far as it goes; returns what it was, which is what workers get: getrlimit(2).
fn raise_descriptor_limit() -> (u64, u64) {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    // With the old limit, clustr works as well, for fewer workers.
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    (before.current.unwrap_or(u64::MAX), before.maximum.unwrap_or(u64::MAX))
}

/// Jitter wants to differ between primaries, no more: the hasher's keys are random enough.
fn seed(now: Time) -> u64 {
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u64(now.as_nanos());
    hasher.finish()
}
