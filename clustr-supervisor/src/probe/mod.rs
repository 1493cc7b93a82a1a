//! Questions to workers: whether they are ready, and whether they still serve.
//!
//! Owns who is asked when ([`course`]), the questions under way ([`attempt`]) and the commands that are being ended. Never
//! decides over a worker's life: what an answer comes to is told to whoever calls, and how a question reaches the very
//! worker that it is about is `sharing`'s. Called by the loop of the supervisor (`turn`).
//!
//! One question a worker at a time, and a bounded number in all: who is due and finds no room waits, first come, first
//! served. Nothing is due between two questions, so that an idle primary wakes for its questions and for nothing else.

mod attempt;
mod command;
mod course;
mod http;
mod talk;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

use clustr_core::{Time, WorkerId};

use self::attempt::Attempt;
pub(crate) use self::attempt::Given;
use self::command::Command;
use self::course::Course;
use crate::config::{Liveness, Probe};
use crate::process::Process;
use crate::reactor::{Reactor, Registration};

/// Bound: questions under way, and commands being ended. Each is a descriptor or three, or a process.
const UNDER_WAY_MAX: usize = 64;
/// Bound: commands among them.
const COMMANDS_MAX: usize = 16;

/// All questions to the workers of one app.
#[derive(Debug)]
pub(crate) struct Probes {
    /// What stands for a worker's word that it is ready.
    ready: Option<Probe>,
    live: Option<Liveness>,
    courses: BTreeMap<WorkerId, Course>,
    /// Who is asked next: those who are not being asked.
    line: BTreeSet<(Time, WorkerId)>,
    attempts: BTreeMap<WorkerId, Attempt>,
    /// Why those who leave were not ready.
    excuses: BTreeMap<WorkerId, String>,
    ending: Vec<Ending>,
}

/// A command that was killed, and has not been reaped.
#[derive(Debug)]
struct Ending {
    worker: WorkerId,
    command: Command,
    watches: [Registration; 2],
}

impl Probes {
    pub(crate) const fn new(ready: Option<Probe>, live: Option<Liveness>) -> Self {
        Self {
            ready,
            live,
            courses: BTreeMap::new(),
            line: BTreeSet::new(),
            attempts: BTreeMap::new(),
            excuses: BTreeMap::new(),
            ending: Vec::new(),
        }
    }

    /// A worker was started: it is asked until it is ready, if that is how it is known.
    pub(crate) fn started(&mut self, id: WorkerId, now: Time) {
        if self.ready.is_some() {
            self.follow(id, Course::readiness(now));
        }
    }

    /// A worker is ready, however that is known.
    pub(crate) fn ready(&mut self, id: WorkerId, now: Time) {
        self.forget_course(id);
        if let Some(live) = &self.live {
            let chance = std::collections::hash_map::RandomState::new().hash_one(id).to_be_bytes()[0];
            self.follow(id, Course::liveness(live, chance, now));
        }
    }

    fn follow(&mut self, id: WorkerId, course: Course) {
        if !self.attempts.contains_key(&id) {
            self.line.insert((course.next_at(), id));
        }
        self.courses.insert(id, course);
    }

    fn forget_course(&mut self, id: WorkerId) {
        if let Some(course) = self.courses.remove(&id) {
            self.line.remove(&(course.next_at(), id));
        }
    }

    /// A worker leaves: nothing more is asked, and nothing that it still answers counts.
    pub(crate) fn stop(&mut self, id: WorkerId, reactor: &mut Reactor) {
        let is_being_asked = self.attempts.get(&id).is_some_and(|attempt| !attempt.is_decided());
        let why = self.why(id).or(is_being_asked.then_some("no answer yet"));
        if let Some(why) = why.map(str::to_owned) {
            self.excuses.insert(id, why);
        }
        self.forget_course(id);
        self.end_attempt(id, reactor);
    }

    /// A worker is gone.
    pub(crate) fn forget(&mut self, id: WorkerId, reactor: &mut Reactor) {
        self.excuses.remove(&id);
        self.forget_course(id);
        self.end_attempt(id, reactor);
    }

    fn end_attempt(&mut self, id: WorkerId, reactor: &mut Reactor) {
        let Some(mut attempt) = self.attempts.remove(&id) else { return };
        if let Some((command, watches)) = attempt.end(reactor) {
            self.ending.push(Ending { worker: id, command, watches });
        }
        if let Some(course) = self.courses.get(&id) {
            self.line.insert((course.next_at(), id));
        }
    }

    /// Reaps commands that were killed.
    fn bury(&mut self, id: WorkerId, reactor: &mut Reactor) {
        let ended =
            self.ending.extract_if(.., |ending| ending.worker == id && ending.command.verdict().is_some());
        ended
            .for_each(|Ending { command, watches, .. }| attempt::unwatch_command(&command, watches, reactor));
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let next = self.line.first().map(|(at, _)| *at).filter(|_| self.has_room());
        self.attempts.values().map(Attempt::deadline).chain(next).min()
    }

    /// Who is to be asked now.
    fn due(&self, now: Time) -> Option<WorkerId> {
        let (at, id) = *self.line.first()?;
        (at <= now && self.has_room()).then_some(id)
    }

    fn has_room(&self) -> bool {
        let commands = self.attempts.values().filter(|attempt| attempt.process().is_some()).count();
        let ending = self.ending.len();
        commands + ending < COMMANDS_MAX && self.attempts.len() + ending < UNDER_WAY_MAX
    }

    /// Those whose question needs another look now.
    fn to_look_at(&self, now: Time) -> Vec<WorkerId> {
        let due = self.attempts.iter().filter(|(_, attempt)| attempt.deadline() <= now);
        due.map(|(id, _)| *id).collect()
    }

    /// The processes that are commands.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        let running = self.attempts.values().filter_map(Attempt::process);
        running.chain(self.ending.iter().map(|ending| ending.command.process()))
    }

    /// Why a worker that was asked is not ready, or does not serve.
    pub(crate) fn why(&self, id: WorkerId) -> Option<&str> {
        self.courses.get(&id).map_or_else(|| self.excuses.get(&id).map(String::as_str), Course::why)
    }

    /// What a worker was asked last, and why its answer was not good: `http:/health: it answers 503`.
    pub(crate) fn last_answer(&self, id: WorkerId) -> Option<String> {
        let is_live = self.courses.get(&id).is_some_and(|course| !course.is_readiness());
        let live = self.live.as_ref().map(|live| &live.probe);
        let probe = if is_live { live } else { self.ready.as_ref().or(live) };
        Some(format!("{}: {}", probe?, self.why(id)?))
    }

    /// At the end: no command outlives the loop.
    pub(crate) fn end_all(&mut self, reactor: &mut Reactor) {
        let all: Vec<WorkerId> = self.attempts.keys().copied().collect();
        all.into_iter().for_each(|id| self.forget(id, reactor));
        self.ending.drain(..).for_each(|mut ending| ending.command.bury());
    }
}
