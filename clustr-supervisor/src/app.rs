//! One app in the loop: its workers, all that is known of them, and the ways to them.
//!
//! Owns every descriptor of the app through its parts. Never decides over a worker's life: facts go to
//! [`clustr_core::App`], orders come back and are carried out in `execute`. Never speaks to anybody outside: what is to be
//! told or answered is [`Said`], which the primary passes on. Called by the turn of the loop in `supervisor`.
//!
//! ```text
//! kernel ─ readiness ─ Reactor: Wake ─ hear ─ Event ─ App::handle ─ Actions ─ execute ─ system calls
//!                                               ^                                 │ failures
//!                                               └──────────── inbox ──────────────┘
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;

use clustr_core::{Answer, AppState, Event, SlotState, SlotView, Ticket, Time, Verdict, WorkerId};
use nix::sys::signal::Signal;

use crate::ailments::Ailments;
use crate::clock;
use crate::cluster;
use crate::config::{Config, Output, Ports, ReadyWhen, Share};
use crate::control::Setback;
use crate::control::protocol::RolledBack;
use crate::departures::Departures;
use crate::error::StartError;
use crate::generations::Generations;
use crate::logs::{Format, Logs, Outlet};
use crate::news::{Fact, News};
use crate::notify::Notices;
use crate::oom::{OomKills, Shortage};
use crate::probe::Probes;
use crate::process::{Brood, Courtesy, Process};
use crate::reactor::Reactor;
use crate::readiness::Readiness;
use crate::recycling::Recycling;
use crate::sharing::Sharing;
use crate::watchdog::Watchdogs;
use crate::worker::Worker;

/// One app of a primary.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) name: String,
    /// The names of those that it starts after.
    pub(crate) after: Vec<String>,
    pub(crate) rules: clustr_core::App,
    has_started: bool,
    pub(crate) generations: Generations,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) output: Output,
    pub(crate) stop_signal: Signal,
    pub(crate) die_with_primary: bool,
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
    pub(crate) reactor: Reactor,
    pub(crate) courtesy: Courtesy,
    pub(crate) logs: Logs,
    pub(crate) sharing: Sharing,
    pub(crate) readiness: Readiness,
    /// `None` where workers' notices would not be believed.
    pub(crate) notices: Option<Notices>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    pub(crate) next_unique_id: u64,
    pub(crate) spawn_error: (String, Option<String>),
    /// The file by which it was seen that the generation before the last reload cannot be started again.
    pub(crate) changed_file: Option<PathBuf>,
    /// Why the last reload failed, until whoever asked for it is told.
    pub(crate) setback: Option<Setback>,
    /// The last reload that failed, and when, until one succeeds.
    pub(crate) rolled_back: Option<(RolledBack, Time)>,
    pub(crate) inbox: VecDeque<Event>,
    /// What is to be passed on. Bound: what one turn brings.
    said: VecDeque<Said>,
    /// A process has come or gone since the primary last wrote down who is there.
    pub(crate) has_changed: bool,
    /// Whether orphans of workers become ours.
    pub(crate) adopts: bool,
    /// Whether somebody in this process may want events.
    pub(crate) tells_events: bool,
    pub(crate) now: Time,
}

/// What an app has for others, in the order in which it happened.
#[derive(Debug)]
pub(crate) enum Said {
    /// For whoever watches; as an event too, where handles may.
    News(Box<News>, Option<Box<cluster::Event>>),
    /// For whoever asked.
    Answer(Ticket, Answer, Option<Setback>),
    /// Nothing is left of a worker but what it has hidden.
    Gone(WorkerId),
    /// The app has ended.
    Ended(Verdict),
}

/// What an app is made of that others have made for it.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) generations: Generations,
    pub(crate) sharing: Sharing,
    pub(crate) reactor: Reactor,
    pub(crate) outlet: Outlet,
    pub(crate) oom_kills: OomKills,
    /// Whose news has to say whose it is.
    pub(crate) is_one_of_several: bool,
}

impl App {
    /// An app that has not started.
    pub(crate) fn new(config: Config, parts: Parts, now: Time) -> Result<Self, StartError> {
        let Parts { generations, sharing, mut reactor, outlet, oom_kills, is_one_of_several } = parts;
        let notices = open_notices(&config, &mut reactor)?;
        let format = Format::new(&config.name, config.output, config.news, config.colour);
        let format = if is_one_of_several { format.naming_the_app() } else { format };
        Ok(Self {
            logs: Logs::new(format, outlet),
            departures: Departures::new(config.policy.stop_timeout()),
            rules: clustr_core::App::new(config.policy, seed(now)),
            sharing,
            readiness: Readiness::new(&config.ready),
            probes: Probes::new(config.ready.probe().cloned(), config.live.clone()),
            ailments: Ailments::default(),
            watchdogs: Watchdogs::new(config.watchdog),
            recycling: Recycling::new(&config.recycling, now),
            oom_kills,
            short: BTreeMap::new(),
            notices,
            name: config.name,
            after: config.after,
            has_started: false,
            generations,
            settings: config.settings,
            output: config.output,
            stop_signal: config.stop_signal,
            die_with_primary: config.die_with_primary,
            ready: config.ready,
            ports: config.ports,
            courtesy: Courtesy::new(config.share == Share::Handoff),
            reactor,
            workers: BTreeMap::new(),
            next_unique_id: 1,
            spawn_error: (String::new(), None),
            changed_file: None,
            setback: None,
            rolled_back: None,
            inbox: VecDeque::new(),
            said: VecDeque::new(),
            has_changed: false,
            adopts: config.subreaper,
            tells_events: false,
            now,
        })
    }

    /// Starts every wanted slot.
    pub(crate) fn start(&mut self) {
        self.has_started = true;
        if let Some(fact) = self.sharing.interception_news() {
            self.tell(fact);
        }
        let actions = self.rules.start(self.now);
        self.execute(actions);
        self.pump();
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self) {
        self.logs.handle_timeout(&mut self.reactor, self.now);
        let heard = self.sharing.handle_timeout(&mut self.workers, &mut self.reactor, self.now);
        self.take_in(heard);
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
        let actions = self.rules.handle_timeout(self.now);
        self.execute(actions);
        self.pump();
    }

    /// Last in a turn: clients go to workers of whom everything is known that has happened.
    pub(crate) fn see_to_clients(&mut self) {
        // Before it starts they wait in the kernel's queues.
        if !self.has_started {
            return;
        }
        let lost = self.sharing.hand_over(&mut self.workers, &mut self.reactor, self.now);
        self.tell_lost(lost);
        self.tend_queues();
        self.tend_unclaimed();
        self.tend_listeners();
    }

    /// When something is due, whoever waits for it.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let dues = [
            self.rules.deadline().map(|due| due.at),
            self.logs.deadline(),
            self.sharing.deadline(self.now),
            self.readiness.deadline(),
            self.probes.deadline(),
            self.watchdogs.deadline(),
            self.recycling.deadline(),
            self.departures.deadline(),
        ];
        dues.into_iter().flatten().min()
    }

    /// Gives the core its facts, until there are none: carrying out an order may bring new ones.
    pub(crate) fn pump(&mut self) {
        while let Some(event) = self.inbox.pop_front() {
            let actions = self.rules.handle(event, self.now);
            self.execute(actions);
            if let Event::Exited(worker, _) = event {
                self.forget(worker);
            }
        }
    }

    /// The next thing to be passed on.
    pub(crate) fn take_said(&mut self) -> Option<Said> {
        self.said.pop_front()
    }

    /// Has something passed on.
    pub(crate) fn say(&mut self, said: Said) {
        self.said.push_back(said);
    }

    /// Tells everybody who watches.
    pub(crate) fn tell(&mut self, fact: Fact) {
        let workers = &self.workers;
        let pid = |worker| workers.get(&worker).map_or(0, |one| one.process.id());
        let event = self.tells_events.then(|| Box::new(cluster::Event::of(&fact, pid)));
        let quiet = matches!(fact, Fact::Message { .. });
        let news = News { at_unix_ms: clock::unix_ms(), app: self.name.clone(), fact };
        if !quiet {
            self.logs.news(&news);
        }
        self.say(Said::News(Box::new(news), event));
    }

    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.rules.view().state, AppState::Stopping | AppState::Ended)
    }

    /// Its processes: workers with what they have started, and questions to them; and by which signal they are asked to stop.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (&Process, Option<&Brood>, Signal)> {
        let workers =
            self.workers.values().map(|worker| (&worker.process, Some(&worker.brood), self.stop_signal));
        workers.chain(self.probes.processes().map(|process| (process, None, self.stop_signal)))
    }

    /// Leaves no process behind, and nobody waiting without a word, after an error and a panic as well. None of the workers
    /// becomes a zombie of a program that goes on.
    pub(crate) fn abandon(&mut self) {
        for worker in self.workers.values() {
            worker.process.kill_tree();
        }
        for worker in self.workers.values_mut() {
            worker.process.bury();
        }
        self.probes.end_all(&mut self.reactor);
        let lost = self.sharing.abandon();
        self.tell_lost(lost);
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

    fn tell_lost(&mut self, count: u64) {
        if count > 0 {
            let detail =
                format!("connections closed without an answer, no worker was left for them: {count}");
            self.tell(Fact::Warning { detail, hint: None });
        }
    }

    /// A worker has ended and the core knows it: nothing of it stays but its listeners.
    fn forget(&mut self, id: WorkerId) {
        let comes_back = !self.is_ending() && self.rules.slot(id.slot).is_some_and(is_hopeful);
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
        if self.adopts {
            worker.brood.end();
        }
        drop(worker);
        self.has_changed = true;
        self.take_in(heard);
        self.logs.drain(id.slot.0, id.incarnation, &mut self.reactor, self.now);
        // Its successor may have been ready before it left, after a reload: what it does not want is let go then.
        if self.rules.slot(id.slot).is_some_and(|slot| slot.state == SlotState::Ready) {
            self.sharing.ready(id.slot, self.now);
        }
        self.say(Said::Gone(id));
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

/// Where workers are heard that speak by sd_notify, if what they say counts.
fn open_notices(config: &Config, reactor: &mut Reactor) -> Result<Option<Notices>, StartError> {
    let hears = config.ready.hears_notices() || config.watchdog.is_some();
    let opened = hears.then(|| Notices::open(reactor)).transpose();
    opened.map_err(StartError::system("make a socket for sd_notify"))
}

/// Jitter wants to differ between apps, no more: the hasher's keys are random enough.
fn seed(now: Time) -> u64 {
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u64(now.as_nanos());
    hasher.finish()
}
