//! The start of a worker: what it is given, and how it is watched.
//!
//! Owns the order of descriptors (standard input, output and error; listeners; clustr's channel; node's) and the variables
//! that name them. Never decides when a worker starts. Called by `execute`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use clustr_core::{Event, Generation, WorkerId};
use clustr_net::handoff::{CHANNEL_VARIABLE, Sender};
use clustr_net::intercept::{Installer, Notifier};
use clustr_net::node::Endpoint;
use rustix::fs::{Mode, OFlags};

use crate::app::App;
use crate::config::{Output, ReadyWhen};
use crate::logs::{Origin, Stream};
use crate::notify::Notices;
use crate::process::{Brood, Outfit, Places, Process, SpawnError};
use crate::reactor::{Reactor, Registration, Wake};
use crate::worker::{Channel, NodeChannel, Worker};

type Variables = Vec<(&'static str, String)>;

/// The channels of a worker: our ends, and its own until it has started.
#[derive(Debug)]
struct Channels {
    channel: Option<(Sender, OwnedFd)>,
    node: Option<(Endpoint, OwnedFd)>,
}

/// Where a worker is watched.
struct Watches {
    exit: Registration,
    channel: Option<Registration>,
    node: Option<Registration>,
    calls: Option<Registration>,
}

impl App {
    pub(crate) fn spawn(&mut self, id: WorkerId, generation: Generation) {
        self.sharing.make_room();
        self.oom_kills.look(self.now);
        let workers = &self.workers;
        self.logs
            .forget_tails(id.slot.0, |incarnation| workers.contains_key(&WorkerId { incarnation, ..id }));
        match self.try_spawn(id, generation) {
            Ok(worker) => {
                self.workers.insert(id, worker);
                self.has_changed = true;
                if self.readiness.counts() || self.is_maybe_silent() {
                    self.readiness.started(id, self.now);
                }
                self.probes.started(id, self.now);
                self.inbox.push_back(Event::Spawned(id));
            }
            Err(error) => {
                self.sharing.vacate(id);
                self.spawn_error = (error.to_string(), error.hint());
                self.inbox.push_back(Event::SpawnFailed(id, error.fault()));
            }
        }
    }

    /// Whether workers may be of a kind that never says it is ready.
    fn is_maybe_silent(&self) -> bool {
        let waits = self.ready == ReadyWhen::Auto;
        waits && self.sharing.lends_listeners() && !self.sharing.has_node()
    }

    fn try_spawn(&mut self, id: WorkerId, generation: Generation) -> Result<Worker, SpawnError> {
        let channels = self.channels().map_err(SpawnError::Descriptors)?;
        let stdio = self.stdio(id).map_err(SpawnError::Descriptors)?;
        self.sharing.seat(id).map_err(SpawnError::Descriptors)?;
        let (listeners, listen_variables) = self.sharing.lent(id);
        let mut fds: Vec<BorrowedFd<'_>> = stdio.iter().map(AsFd::as_fd).chain(listeners).collect();
        let mut env = self.environment(id, generation);
        let listens = !listen_variables.is_empty();
        env.extend(listen_variables);
        env.extend(self.notices.as_ref().map(Notices::variable));
        let watchdog = self.watchdogs.every().map(|every| every.as_micros());
        env.extend(watchdog.map(|micros| ("WATCHDOG_USEC", micros.to_string())));
        channels.place(self.next_unique_id, &mut fds, &mut env);
        let watched = self.watchdogs.every().is_some();
        let installer = self.sharing.installer().map_err(SpawnError::Watch)?;
        let places = Places { slot: id.slot.0, port: self.ports.of_slot(id.slot.0) };
        let dies_with_us = self.die_with_primary;
        let installer_of_it = installer.as_ref();
        let outfit =
            Outfit { env, listens, watched, fds: &fds, places, installer: installer_of_it, dies_with_us };
        let launcher = self.generations.launcher(generation)?;
        let process = self.courtesy.suspended(|| launcher.spawn(&outfit))?;
        let notifier = match installer.map(Installer::take).transpose() {
            Ok(notifier) => notifier,
            Err(error) => {
                process.destroy();
                return Err(SpawnError::Watch(error));
            }
        };
        let made = (process, generation);
        self.watch(id, made, channels, notifier).map_err(SpawnError::Descriptors)
    }

    fn channels(&self) -> io::Result<Channels> {
        let channel = self.sharing.has_channel().then(|| self.sharing.open_channel()).transpose()?;
        let node = self.sharing.has_node().then(Endpoint::pair).transpose()?;
        Ok(Channels { channel, node })
    }

    /// Puts a new process and its channels under the loop's eyes; kills it if there is no way to watch it.
    fn watch(
        &mut self,
        id: WorkerId,
        (process, generation): (Process, Generation),
        channels: Channels,
        notifier: Option<Notifier>,
    ) -> io::Result<Worker> {
        let watches = match self.watch_all(id, &process, &channels, notifier.as_ref()) {
            Ok(watches) => watches,
            Err(error) => {
                process.destroy();
                return Err(error);
            }
        };
        let unique_id = self.next_unique_id;
        self.next_unique_id += 1;
        if let Some(notifier) = notifier {
            self.sharing.intercept(id, unique_id, process.id(), notifier);
        }
        let node = channels.node.map(|(endpoint, _)| endpoint).zip(watches.node);
        let channel = channels.channel.map(|(sender, _)| sender).zip(watches.channel);
        Ok(Worker {
            process,
            generation,
            unique_id,
            exit_watch: watches.exit,
            calls: watches.calls,
            node: NodeChannel::new(node),
            channel: channel.map(|(sender, watch)| Channel::new(sender, watch)),
            speaker: None,
            brood: Brood::default(),
            was_ready: false,
            status_text: None,
        })
    }

    fn watch_all(
        &mut self,
        id: WorkerId,
        process: &Process,
        channels: &Channels,
        notifier: Option<&Notifier>,
    ) -> io::Result<Watches> {
        let reactor = &mut self.reactor;
        let exit = reactor.register_readable(process, Wake::Exit(id))?;
        let mut watches = Watches { exit, channel: None, node: None, calls: None };
        let watched = watch_channels(reactor, id, channels, notifier, &mut watches);
        if let Err(error) = watched {
            reactor.deregister(process, exit);
            if let (Some((sender, _)), Some(watch)) = (&channels.channel, watches.channel) {
                reactor.deregister(sender, watch);
            }
            if let (Some((endpoint, _)), Some(watch)) = (&channels.node, watches.node) {
                reactor.deregister(endpoint, watch);
            }
            return Err(error);
        }
        Ok(watches)
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

    /// The variables that every worker has.
    pub(crate) fn environment(&self, id: WorkerId, generation: Generation) -> Variables {
        vec![
            ("CLUSTR_APP", self.name.clone()),
            ("CLUSTR_SLOT", id.slot.to_string()),
            ("CLUSTR_INCARNATION", id.incarnation.to_string()),
            ("CLUSTR_GENERATION", generation.0.to_string()),
            ("NODE_APP_INSTANCE", id.slot.to_string()),
            ("WEB_CONCURRENCY", "1".into()),
        ]
    }
}

impl Channels {
    /// Adds the worker's ends to its descriptors, and says in its environment which they are.
    fn place<'a>(&'a self, unique_id: u64, fds: &mut Vec<BorrowedFd<'a>>, env: &mut Variables) {
        if let Some((_, theirs)) = &self.channel {
            env.push((CHANNEL_VARIABLE, fds.len().to_string()));
            fds.push(theirs.as_fd());
        }
        if let Some((_, theirs)) = &self.node {
            env.extend(Endpoint::environment(u32::try_from(fds.len()).unwrap_or(u32::MAX), unique_id));
            fds.push(theirs.as_fd());
        }
    }
}

fn watch_channels(
    reactor: &mut Reactor,
    id: WorkerId,
    channels: &Channels,
    notifier: Option<&Notifier>,
    watches: &mut Watches,
) -> io::Result<()> {
    if let Some((sender, _)) = &channels.channel {
        watches.channel = Some(reactor.register(sender, Wake::Channel(id))?);
    }
    if let Some((endpoint, _)) = &channels.node {
        watches.node = Some(reactor.register(endpoint, Wake::Node(id))?);
    }
    // Last: nothing has to be taken back for it.
    if let Some(notifier) = notifier {
        watches.calls = Some(reactor.register_readable(notifier, Wake::Calls(id))?);
    }
    Ok(())
}

fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}
