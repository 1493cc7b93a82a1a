//! Orders into system calls: one small function an order.
//!
//! Owns the meaning of every [`Action`]. Never decides; what fails becomes an event in the inbox.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use clustr_core::{Action, Actions, Event, Generation, Notice, SlotId, WorkerId};
use clustr_net::node::Endpoint;
use rustix::fs::{Mode, OFlags};

use crate::advice::{Advice, LastWords, advise};
use crate::config::Output;
use crate::logs::{Origin, Stream};
use crate::news::Fact;
use crate::process::{Outfit, Process, SpawnError};
use crate::reactor::Wake;
use crate::supervisor::Supervisor;
use crate::tell::{self, Knowledge};
use crate::worker::{Channel, ChannelState, Worker};

/// The descriptor that is node's channel in a worker: the first after the standard three.
const CHANNEL_FD: u32 = 3;

impl Supervisor {
    /// Carries out orders, in order.
    pub(crate) fn execute(&mut self, actions: Actions) {
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Spawn(worker, generation) => self.spawn(worker, generation),
            Action::Admit(worker) => self.sharing.admit(worker),
            Action::Withhold(worker) => self.withhold(worker),
            Action::Drain(worker) => self.drain(worker),
            Action::Terminate(worker) => self.terminate(worker),
            Action::Kill(worker) => self.kill(worker),
            Action::Notify(notice) => self.notify(notice),
            Action::Answer(ticket, answer) => {
                if let Some(control) = &mut self.control {
                    control.answer(ticket, answer);
                }
            }
            Action::Leave(verdict) => self.verdict = Some(verdict),
        }
    }

    fn notify(&mut self, notice: Notice) {
        let fact = tell::fact(notice, self);
        self.tell(fact);
        if let Notice::GaveUp { slot, .. } = notice {
            self.advise(slot);
        }
        if let Notice::Ready { worker, .. } = notice {
            self.sharing.ready(worker.slot, self.now);
        }
    }

    /// A slot gave up: says what a person can do, where that is known.
    fn advise(&mut self, slot: SlotId) {
        let spoke = |(_, worker): (&WorkerId, &Worker)| worker.channel.spoke;
        let last = LastWords {
            lines: &self.logs.tail(slot.0),
            spoke: self.workers.iter().rfind(|(id, _)| id.slot == slot).is_some_and(spoke),
            wanted: self.app.view().wanted,
        };
        if let Some(Advice { detail, hint }) = advise(last) {
            self.tell(Fact::Warning { detail, hint: Some(hint) });
        }
    }

    fn withhold(&mut self, id: WorkerId) {
        let ending = self.is_ending();
        self.sharing.withhold(id, &mut self.workers, ending, self.now);
    }

    fn spawn(&mut self, id: WorkerId, generation: Generation) {
        self.sharing.make_room();
        self.logs.clear_tail(id.slot.0);
        match self.try_spawn(id, generation) {
            Ok(worker) => {
                self.workers.insert(id, worker);
                self.inbox.push_back(Event::Spawned(id));
            }
            Err(error) => {
                self.spawn_error = (error.to_string(), error.hint());
                self.inbox.push_back(Event::SpawnFailed(id, error.fault()));
            }
        }
    }

    fn try_spawn(&mut self, id: WorkerId, generation: Generation) -> Result<Worker, SpawnError> {
        let (endpoint, theirs) = Endpoint::pair().map_err(SpawnError::Descriptors)?;
        let unique_id = self.next_unique_id;
        let stdio = self.stdio(id).map_err(SpawnError::Descriptors)?;
        let fds: Vec<BorrowedFd<'_>> = stdio.iter().chain([&theirs]).map(AsFd::as_fd).collect();
        let outfit = Outfit { env: self.environment(id, generation, unique_id), fds: &fds };
        let process = self.courtesy.suspended(|| self.launcher.spawn(&outfit))?;
        self.next_unique_id += 1;
        self.watch(id, unique_id, process, endpoint).map_err(SpawnError::Descriptors)
    }

    /// Puts a new process and its channel under the loop's eyes; kills it if there is no way to watch it.
    fn watch(
        &mut self,
        id: WorkerId,
        unique_id: u64,
        process: Process,
        endpoint: Endpoint,
    ) -> io::Result<Worker> {
        let watched = self.reactor.register_readable(&process, Wake::Exit(id)).and_then(|exit_watch| {
            let watch = self.reactor.register(&endpoint, Wake::Channel(id));
            watch
                .map(|watch| (exit_watch, watch))
                .inspect_err(|_| self.reactor.deregister(&process, exit_watch))
        });
        let (exit_watch, watch) = watched.inspect_err(|_| process.destroy())?;
        let channel = Channel::new(endpoint, watch);
        Ok(Worker { process, unique_id, exit_watch, channel, speaker: None })
    }

    /// What a worker has as standard input, output and error.
    fn stdio(&mut self, id: WorkerId) -> io::Result<[OwnedFd; 3]> {
        let null = || rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let stdin = null()?;
        match self.output {
            Output::Inherit => {
                Ok([stdin, duplicate(rustix::stdio::stdout())?, duplicate(rustix::stdio::stderr())?])
            }
            // Its last words are kept all the same, to be shown when it gives up.
            Output::None => Ok([stdin, null()?, self.captured(id, Stream::Stderr)?]),
            Output::Prefix | Output::Json => {
                Ok([stdin, self.captured(id, Stream::Stdout)?, self.captured(id, Stream::Stderr)?])
            }
        }
    }

    fn captured(&mut self, id: WorkerId, stream: Stream) -> io::Result<OwnedFd> {
        let origin = Origin { slot: id.slot.0, incarnation: id.incarnation, stream };
        self.logs.open(&mut self.reactor, origin)
    }

    /// The variables that every worker has, and node's three.
    fn environment(
        &self,
        id: WorkerId,
        generation: Generation,
        unique_id: u64,
    ) -> Vec<(&'static str, String)> {
        let mut env = vec![
            ("CLUSTR_APP", self.name.clone()),
            ("CLUSTR_SLOT", id.slot.to_string()),
            ("CLUSTR_INCARNATION", id.incarnation.to_string()),
            ("CLUSTR_GENERATION", generation.0.to_string()),
            ("NODE_APP_INSTANCE", id.slot.to_string()),
            ("WEB_CONCURRENCY", "1".into()),
        ];
        env.extend(Endpoint::environment(CHANNEL_FD, unique_id));
        env
    }

    /// Asks over the channel; a worker that nobody has heard of there cannot be asked.
    fn drain(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let heard_of = worker.channel.state == ChannelState::Online;
        if heard_of && self.sharing.disconnect(id, worker, self.now) {
            worker.channel.state = ChannelState::Draining;
        } else {
            self.inbox.push_back(Event::DrainFailed(id));
        }
    }

    fn terminate(&self, id: WorkerId) {
        if let Some(worker) = self.workers.get(&id) {
            worker.terminate(self.stop_signal);
        }
    }

    fn kill(&self, id: WorkerId) {
        if let Some(worker) = self.workers.get(&id) {
            worker.process.kill_tree();
        }
    }
}

impl Knowledge for Supervisor {
    fn pid(&self, worker: WorkerId) -> u32 {
        self.workers.get(&worker).map_or(0, |worker| worker.process.id())
    }

    fn last_output(&self, slot: u32) -> Vec<String> {
        self.logs.tail(slot)
    }

    fn spawn_error(&self) -> (String, Option<String>) {
        self.spawn_error.clone()
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}
