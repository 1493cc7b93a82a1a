//! Questions in the loop: put when they are due, heard when something comes, and told to the core.
//!
//! Owns the meaning of a question for one worker of ours: which way reaches it, what its command is given. Never decides.
//! Called by the turn of the loop, by `hear` and by `start`.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use clustr_core::{Ailment, Event, Time, WorkerId};
use clustr_net::handoff::Family;
use clustr_net::loopback;
use rustix::fs::{Mode, OFlags};

use super::attempt::{Attempt, Given, Hands, Words};
use super::command::Command;
use super::course::{Turn, Verdict};
use crate::app::App;
use crate::config::Probe;
use crate::process::{Outfit, Places, holds_listener};
use crate::sharing::{Obstacle, Sharing, Way};
use crate::worker::Worker;

/// A worker's side of a question.
struct Side<'a> {
    id: WorkerId,
    now: Time,
    sharing: &'a mut Sharing,
    worker: &'a mut Worker,
}

impl Hands for Side<'_> {
    fn give(&mut self, theirs: OwnedFd) -> Given {
        self.sharing.give_probe(self.id, self.worker, theirs, self.now)
    }

    fn listens(&self, port: u16) -> bool {
        holds_listener(self.worker.process.id(), port).unwrap_or(true)
    }
}

impl App {
    /// Puts the questions that are due, and ends those whose time is over.
    pub(crate) fn probe_in_time(&mut self) {
        for id in self.probes.to_look_at(self.now) {
            self.go_on_asking(id);
        }
        while let Some(id) = self.probes.due(self.now) {
            self.ask_worker(id);
        }
    }

    /// A question to this worker, or the end of one, woke the loop.
    pub(crate) fn hear_probe(&mut self, id: WorkerId) {
        self.probes.bury(id, &mut self.reactor);
        self.go_on_asking(id);
    }

    fn ask_worker(&mut self, id: WorkerId) {
        let probes = &mut self.probes;
        let Some(course) = probes.courses.get_mut(&id) else { return };
        probes.line.remove(&(course.next_at(), id));
        let is_readiness = course.is_readiness();
        let until = course.ask(self.now);
        let probe = if is_readiness {
            probes.ready.clone()
        } else {
            probes.live.as_ref().map(|live| live.probe.clone())
        };
        let begun = probe.map(|probe| self.begin_attempt(id, &probe, until));
        match begun {
            Some(Ok(attempt)) => {
                self.probes.attempts.insert(id, attempt);
                self.go_on_asking(id);
            }
            Some(Err(verdict)) => {
                self.hear_verdict(id, verdict);
                self.put_back_in_line(id);
            }
            None => {}
        }
    }

    fn put_back_in_line(&mut self, id: WorkerId) {
        if let Some(course) = self.probes.courses.get(&id).filter(|_| !self.probes.attempts.contains_key(&id))
        {
            self.probes.line.insert((course.next_at(), id));
        }
    }

    fn begin_attempt(&mut self, id: WorkerId, probe: &Probe, until: Time) -> Result<Attempt, Verdict> {
        let unasked = |error: std::io::Error| Verdict::Unasked(error.to_string());
        self.sharing.make_room();
        match probe {
            Probe::Http(path) => self.begin_http(id, path, until),
            Probe::Tcp(port) => {
                let port = port.of(id.slot.0).ok_or_else(|| Verdict::Bad("there is no such port".into()))?;
                let socket = loopback::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), None);
                let socket = socket.map_err(|error| Verdict::Bad(format!("port {port}: {error}")))?;
                Attempt::at_port(id, (socket, port), until, &mut self.reactor).map_err(unasked)
            }
            Probe::Exec(command) => {
                let command = self.start_command(id, command)?;
                Attempt::by(id, command, until, &mut self.reactor).map_err(unasked)
            }
        }
    }

    fn begin_http(&mut self, id: WorkerId, path: &Arc<str>, until: Time) -> Result<Attempt, Verdict> {
        let unasked = |error: std::io::Error| Verdict::Unasked(error.to_string());
        let worker = self.workers.get(&id).ok_or_else(|| Verdict::Unasked("it has ended".into()))?;
        let (way, host) = self.sharing.way(id, worker).map_err(obstructed)?;
        let words = Words { path: path.clone(), host };
        let reactor = &mut self.reactor;
        match way {
            Way::From { to, port } => {
                let socket = loopback::connect(to, Some(port))
                    .map_err(|error| Verdict::Unasked(format!("from port {port}: {error}")))?;
                Attempt::over(id, socket, &words, until, reactor)
            }
            Way::Given(Family::Tcp) => Attempt::over_a_pair(id, words, until, reactor),
            Way::Given(Family::Unix) => Attempt::over_a_unix_pair(id, words, until),
        }
        .map_err(unasked)
    }

    /// Runs a question's command with the worker's variables.
    fn start_command(&mut self, id: WorkerId, command: &str) -> Result<Command, Verdict> {
        let unasked = |error: &dyn std::fmt::Display| Verdict::Unasked(error.to_string());
        let Some(worker) = self.workers.get(&id) else { return Err(unasked(&"it has ended")) };
        let (pid, generation) = (worker.process.id(), worker.generation);
        let mut env = self.environment(id, generation);
        env.push(("CLUSTR_PID", pid.to_string()));
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let null = null.map_err(|error| unasked(&error))?;
        let (ours, theirs) = crate::logs::capture::pipe().map_err(|error| unasked(&error))?;
        let fds = [null.as_fd(), null.as_fd(), theirs.as_fd()];
        let places = Places { slot: id.slot.0, port: self.ports.of_slot(id.slot.0) };
        let outfit = Outfit { env, fds: &fds, places, ..Outfit::default() };
        let launcher = self.generations.launcher(generation).map_err(|error| unasked(&error))?;
        let process = self.courtesy.suspended(|| launcher.spawn_shell(command, &outfit));
        let process = process.map_err(|error| unasked(&error))?;
        // Its end is not written down: an entry of a process that is gone is nobody.
        self.has_changed = true;
        Ok(Command::new(process, ours))
    }

    fn go_on_asking(&mut self, id: WorkerId) {
        let Some(attempt) = self.probes.attempts.get_mut(&id) else { return };
        let Some(worker) = self.workers.get_mut(&id) else {
            return self.probes.forget(id, &mut self.reactor);
        };
        let mut side = Side { id, now: self.now, sharing: &mut self.sharing, worker };
        let mut verdict = attempt.go_on(&mut self.reactor, &mut side, self.now);
        let overdue = attempt.is_overdue(self.now);
        if verdict.is_none() && overdue && !attempt.is_decided() {
            verdict = Some(Verdict::Bad("no answer in time".into()));
        }
        if overdue || attempt.is_over() {
            self.probes.end_attempt(id, &mut self.reactor);
        }
        if let Some(verdict) = verdict {
            self.hear_verdict(id, verdict);
        }
    }

    fn hear_verdict(&mut self, id: WorkerId, verdict: Verdict) {
        let probes = &mut self.probes;
        let Some(course) = probes.courses.get_mut(&id) else { return };
        let was_in_line = probes.line.remove(&(course.next_at(), id));
        let turn = course.hear(verdict, self.now);
        if was_in_line {
            probes.line.insert((course.next_at(), id));
        }
        match turn {
            Turn::Nothing => {}
            Turn::Ready => self.inbox.push_back(Event::Ready(id)),
            Turn::Failing => {
                let why = self.probes.why(id).unwrap_or_default().to_owned();
                self.fails(id, Ailment::Probe, why);
            }
            Turn::Recovered => self.recovers(id, Ailment::Probe),
        }
    }
}

fn obstructed(by: Obstacle) -> Verdict {
    match by {
        Obstacle::Theirs(why) => Verdict::Bad(why.into()),
        Obstacle::Ours(why) => Verdict::Unasked(why.into()),
    }
}
