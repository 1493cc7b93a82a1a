//! The picture that `clustr status` shows.
//!
//! Owns the translation of the core's views into the control protocol's, and what is looked up only where it is asked for.
//! Never changes anything.

use std::collections::{BTreeMap, HashSet};

use clustr_core::{AppState, SlotView, WorkerId, WorkerView};
use clustr_net::{Addr, sock_diag};

use crate::app::App;
use crate::clock::millis;
use crate::control::protocol::{AppStatus, RolledBack, Status, WorkerStatus};
use crate::process::{sockets, usage};
use crate::requests::Whom;
use crate::supervisor::{Member, Supervisor};
use crate::tell::{exit_words, verdict_name};

/// Bound: descriptors of workers that are looked at for one picture, some ten milliseconds of work. Whose turn comes after
/// that has no number.
const DESCRIPTORS_MAX: usize = 8 << 10;

/// How many connections each worker has open, as far as it is known.
type Connections = BTreeMap<WorkerId, u64>;

impl Supervisor {
    /// The primary as it is now, with one of its apps or all; of one slot alone, with the last output of those who are in it.
    pub(crate) fn status(&self, whom: Whom, slot: Option<u32>, connections: bool) -> Status {
        let numbers = (0..self.apps.len()).filter(|number| whom.includes(*number));
        Status {
            version: 1,
            name: self.name.clone(),
            pid: std::process::id(),
            state: self.state().into(),
            uptime_ms: millis(self.now.since(self.started_at)),
            clustr: env!("CARGO_PKG_VERSION").into(),
            log: self.log_file.as_ref().map(|path| path.display().to_string()),
            apps: numbers.map(|number| self.app_status(number, slot, connections)).collect(),
        }
    }

    /// One app as it is now, or was when it ended.
    pub(crate) fn app_status(&self, number: usize, slot: Option<u32>, connections: bool) -> AppStatus {
        match &self.apps[number] {
            Member::Here(app) => AppStatus {
                state: self.state_of(number, app.rules.view().state).into(),
                ..app.picture(slot, connections)
            },
            Member::Ended(picture) => (**picture).clone(),
        }
    }

    fn state_of(&self, number: usize, state: AppState) -> &'static str {
        match self.order.verdict_of(number) {
            Some(_) if state == AppState::Starting => "not-started",
            Some(verdict) => verdict_name(verdict),
            None if self.order.is_waiting(number) => "waiting",
            None => state.name(),
        }
    }

    /// Of several apps it is that of the one which has the longest way to go.
    fn state(&self) -> &'static str {
        let states = || self.members().filter(|(number, _)| self.order.verdict_of(*number).is_none());
        let is_any = |wanted| states().any(|(_, app)| app.rules.view().state == wanted);
        if self.order.is_stopping() || states().next().is_none() || states().all(|(_, app)| app.is_ending()) {
            return AppState::Stopping.name();
        }
        let rest = [AppState::Starting, AppState::Reloading].into_iter().find(|state| is_any(*state));
        rest.unwrap_or(AppState::Running).name()
    }
}

impl App {
    /// The app as it is now; of one slot alone, with the last output of those who are in it.
    fn picture(&self, slot: Option<u32>, connections: bool) -> AppStatus {
        let connections = if connections { self.connections() } else { self.known_connections() };
        let slots = self.rules.slots().filter(|view| slot.is_none_or(|slot| view.slot.0 == slot));
        let mut workers: Vec<WorkerStatus> =
            slots.flat_map(|slot| self.slot_status(&slot, &connections)).collect();
        if slot.is_some() {
            for worker in &mut workers {
                worker.last_output = self.logs.last_output(worker.slot, worker.incarnation);
            }
        }
        self.picture_with(workers)
    }

    pub(crate) fn has_slot(&self, slot: u32) -> bool {
        self.rules.slots().any(|view| view.slot.0 == slot)
    }

    fn picture_with(&self, workers: Vec<WorkerStatus>) -> AppStatus {
        let view = self.rules.view();
        let (intercept, intercept_why) = self.sharing.interception().unzip();
        AppStatus {
            name: self.name.clone(),
            state: self.rules.view().state.name().into(),
            after: self.after.clone(),
            generation: view.generation.0,
            wanted: view.wanted,
            ready: view.ready,
            share: self.sharing.name().into(),
            share_why: self.sharing.why().map(str::to_owned),
            delivery: self.sharing.deliveries(),
            intercept: intercept.map(str::to_owned),
            intercept_why: intercept_why.flatten(),
            listeners: self.sharing.listeners(),
            settings: self.settings.clone(),
            workers,
            command: self.generations.command(view.generation),
            rolled_back: self
                .rolled_back
                .as_ref()
                .map(|(failed, at)| RolledBack { ago_ms: millis(self.now.since(*at)), ..failed.clone() }),
        }
    }

    /// A slot's workers, or the slot alone if there are none.
    fn slot_status(&self, slot: &SlotView, connections: &Connections) -> Vec<WorkerStatus> {
        let workers = self.rules.workers().filter(|view| view.worker.slot == slot.slot);
        let theirs: Vec<WorkerStatus> =
            workers.map(|view| self.worker_status(slot, &view, connections)).collect();
        if theirs.is_empty() { vec![self.vacancy(slot)] } else { theirs }
    }

    fn worker_status(&self, slot: &SlotView, view: &WorkerView, connections: &Connections) -> WorkerStatus {
        let pid = self.workers.get(&view.worker).map(|worker| worker.process.id());
        let used = pid.and_then(usage);
        WorkerStatus {
            incarnation: view.worker.incarnation,
            generation: view.generation.0,
            pid,
            state: view.state.name().into(),
            uptime_ms: pid.map(|_| millis(self.now.since(view.started_at))),
            status_text: self.workers.get(&view.worker).and_then(|worker| worker.status_text.clone()),
            rss_bytes: used.map(|used| used.rss_bytes),
            cpu_ms: used.map(|used| millis(used.cpu)),
            connections: connections.get(&view.worker).copied(),
            ..self.vacancy(slot)
        }
    }

    /// What is to say of a slot whoever is in it.
    fn vacancy(&self, slot: &SlotView) -> WorkerStatus {
        WorkerStatus {
            slot: slot.slot.0,
            incarnation: slot.worker.map_or(0, |worker| worker.incarnation),
            generation: slot.generation.0,
            pid: None,
            state: slot.state.name().into(),
            restarts: slot.restarts,
            uptime_ms: None,
            last_exit: slot.last_exit.map(exit_words),
            rss_bytes: None,
            cpu_ms: None,
            rest_ms: slot.rests_until.map(|until| millis(until.since(self.now))),
            status_text: None,
            connections: None,
            last_output: Vec::new(),
        }
    }

    /// Those that are known without a look: of workers that are handed their connections over clustr's channel.
    fn known_connections(&self) -> Connections {
        let open = self.workers.iter().filter_map(|(id, worker)| Some((*id, self.sharing.open(worker)?)));
        open.collect()
    }

    /// Those that a look from outside shows: the kernel's established connections on the ports that are listened on,
    /// found among the descriptors of each worker.
    fn connections(&self) -> Connections {
        let mut connections = self.known_connections();
        let Ok(established) = self.established() else { return connections };
        let mut left = DESCRIPTORS_MAX;
        for (id, worker) in &self.workers {
            let speaker = worker.speaker.as_ref().map(crate::process::Speaker::id);
            let pid = speaker.unwrap_or_else(|| worker.process.id());
            if connections.contains_key(id) {
                continue;
            }
            // A process that has more descriptors than may be looked at is not counted in part.
            let Some(found) = sockets(pid, &mut left) else { continue };
            let open = found.iter().filter(|inode| established.contains(inode)).count();
            connections.insert(*id, open as u64);
        }
        connections
    }

    fn established(&self) -> std::io::Result<HashSet<u64>> {
        let mut inodes = HashSet::new();
        for addr in self.sharing.addrs() {
            if let Addr::Tcp { port, .. } = addr {
                inodes.extend(sock_diag::established(*port)?);
            }
        }
        Ok(inodes)
    }
}
