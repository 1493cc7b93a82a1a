//! How a primary is made of what it shall run.
//!
//! Owns the order of it: what can be wrong with a wish is found before anything is taken, what a killed primary left goes before
//! anything is bound, and nothing is started. Never starts a worker. Called by whoever wants a primary.

use std::path::{Path, PathBuf};

use clustr_net::Addr;
use rustix::process::{Resource, Rlimit};

use crate::app::{App, Parts};
use crate::apps::Stopping;
use crate::clock;
use crate::config::Config;
use crate::control::place::Claim;
use crate::control::{Control, OpenError};
use crate::error::{ListenError, StartError};
use crate::generations::Generations;
use crate::left_behind;
use crate::logs::{Format, Logs, Outlet};
use crate::notify::Superior;
use crate::oom::OomKills;
use crate::order::Order;
use crate::process::{Record, Strangers};
use crate::reactor::{Poller, Reactor, Summons};
use crate::rounds::Rounds;
use crate::sharing::Sharing;
use crate::signals::Signals;
use crate::supervisor::{Member, PRIMARY, Supervisor};

impl Supervisor {
    /// A primary of one app, which has its name. Checks the configuration, finds the command, takes the control socket, and
    /// from here on hears signals in this thread. Starts no worker yet.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(config: Config) -> Result<Self, StartError> {
        let name = config.name.clone();
        Self::of_apps(&name, vec![config])
    }

    /// A primary of several apps. Each has its own name and starts once those that it is after ([`Config::after`]) run.
    ///
    /// What concerns the primary alone is what the first one says: `control`, `log_file`, `signals`, `above`, `subreaper`,
    /// `forgets_start`, and how news is written.
    ///
    /// # Errors
    /// See [`StartError`]; what is wrong with one of several apps is a [`StartError::App`].
    pub fn of_apps(name: &str, mut apps: Vec<Config>) -> Result<Self, StartError> {
        let order = Order::of(apps.iter().map(|app| (app.name.as_str(), app.after.as_slice())))?;
        refuse_same_addresses(&apps)?;
        let nofile = raise_descriptor_limit();
        let generations = each(&mut apps, |config| {
            Generations::new(config.program.clone(), config.fresh_env.take(), nofile)
        })?;
        let mut whole = Whole::of(name, &apps);
        let claim = whole.claim()?;
        let signals = Signals::hear(whole.signals).map_err(StartError::system("take over signals"))?;
        let poller = Poller::new().map_err(StartError::system("make an event queue"))?;
        let mut reactor = poller.reactor(PRIMARY).map_err(StartError::system("share an event queue"))?;
        if let Some(signals) = &signals {
            reactor
                .register_readable(signals, Summons::Signals)
                .map_err(StartError::system("watch signals"))?;
        }
        let outlet = open_outlet(&whole, &mut reactor)?;
        let mut logs = Logs::new(whole.format(&apps[0]), outlet);
        // Whoever is left of a primary that was killed holds what is to be bound.
        let Some(orphans) = left_behind::end(&apps, name, signals.as_ref(), &mut logs) else {
            return Err(leave(&whole, claim, &mut reactor));
        };
        let sharings = each(&mut apps, Sharing::new)?;
        let control = whole.open_control(claim, &mut reactor)?;
        let strangers = whole.subreaper.then(Strangers::adopt).transpose();
        let strangers = strangers.map_err(StartError::system("become a child subreaper"))?;
        let now = clock::now();
        let (oom_kills, is_one_of_several) = (OomKills::here(now), apps.len() > 1);
        let mut members = Vec::new();
        let made = (PRIMARY + 1..).zip(apps).zip(generations).zip(sharings);
        for (((number, config), generations), sharing) in made {
            let reactor =
                poller.reactor_of_app(number).map_err(StartError::system("share an event queue"))?;
            let outlet = logs.outlet();
            let oom_kills = oom_kills.clone();
            let parts = Parts { generations, sharing, reactor, outlet, oom_kills, is_one_of_several };
            let config = Config { subreaper: whole.subreaper, ..config };
            members.push(Member::Here(Box::new(App::new(config, parts, now)?)));
        }
        Ok(Self {
            name: name.to_owned(),
            apps: members,
            order,
            stopping: Stopping::default(),
            rounds: Rounds::default(),
            superior: Superior::of(&mut whole.above, now),
            superior_fault: whole.above.fault,
            record: whole.control.as_deref().and_then(Record::beside),
            log_file: whole.log_file.map(|file| file.path),
            forgets_start: whole.forgets_start,
            poller,
            reactor,
            logs,
            orphans,
            control,
            desk: None,
            strangers,
            signals,
            now,
            started_at: now,
        })
    }
}

/// What concerns the primary alone.
struct Whole {
    name: String,
    control: Option<PathBuf>,
    log_file: Option<crate::config::LogFile>,
    signals: crate::config::Signals,
    above: crate::config::Above,
    subreaper: bool,
    forgets_start: bool,
}

impl Whole {
    /// What the first of at least one says.
    fn of(name: &str, apps: &[Config]) -> Self {
        let first = &apps[0];
        Self {
            name: name.to_owned(),
            control: first.control.clone(),
            log_file: first.log_file.clone(),
            signals: first.signals,
            above: first.above.clone(),
            subreaper: first.subreaper,
            forgets_start: first.forgets_start,
        }
    }

    fn format(&self, first: &Config) -> Format {
        Format::new(&self.name, first.output, first.news, first.colour)
    }

    /// The right to the control socket's path.
    fn claim(&self) -> Result<Option<Claim>, StartError> {
        let taken = |path: &PathBuf| Claim::take(path).map_err(|error| self.refused(path, error));
        self.control.as_ref().map(taken).transpose()
    }

    fn open_control(
        &self,
        claim: Option<Claim>,
        reactor: &mut Reactor<Summons>,
    ) -> Result<Option<Control>, StartError> {
        let Some((path, claim)) = self.control.as_ref().zip(claim) else { return Ok(None) };
        Control::open(path, claim, reactor).map(Some).map_err(|error| self.refused(path, error))
    }

    fn refused(&self, path: &Path, error: OpenError) -> StartError {
        let path = path.to_owned();
        match error {
            OpenError::Held(holder) => StartError::name_taken(&self.name, path, holder),
            OpenError::InTheWay => {
                let why = "there is a file that is no socket";
                let source = std::io::Error::new(std::io::ErrorKind::AlreadyExists, why);
                StartError::Control { path, source }
            }
            OpenError::Io(source) => StartError::Control { path, source },
        }
    }
}

/// Does something with each app; what goes wrong with one of several says with which.
fn each<T>(
    apps: &mut [Config],
    make: impl Fn(&mut Config) -> Result<T, StartError>,
) -> Result<Vec<T>, StartError> {
    let are_several = apps.len() > 1;
    let blame = |name: &str, error| match error {
        error if are_several => StartError::App { name: name.to_owned(), source: Box::new(error) },
        error => error,
    };
    apps.iter_mut().map(|config| make(config).map_err(|error| blame(&config.name, error))).collect()
}

/// The same address in two apps: which of them would have it is decided here, not by chance. Within one app `Sharing` says it.
fn refuse_same_addresses(apps: &[Config]) -> Result<(), StartError> {
    let mut taken: Vec<&Addr> = Vec::new();
    for app in apps {
        let is_fixed = |addr: &&Addr| !matches!(addr, Addr::Tcp { port: 0, .. } | Addr::Udp { port: 0, .. });
        let own: Vec<&Addr> = app.listen.iter().map(|listen| &listen.addr).filter(is_fixed).collect();
        if let Some(addr) = own.iter().find(|addr| taken.contains(addr)) {
            let source = Box::new(ListenError::SameAddress((**addr).clone()).into());
            return Err(StartError::App { name: app.name.clone(), source });
        }
        taken.extend(own);
    }
    Ok(())
}

fn open_outlet(whole: &Whole, reactor: &mut Reactor<Summons>) -> Result<Outlet, StartError> {
    let waker = reactor.waker(Summons::Writer).map_err(StartError::system("make a waker"))?;
    Outlet::new(waker, whole.log_file.clone()).map_err(StartError::system("start the writer thread"))
}

/// Told to stop before it has anything: the socket's file of the primary before goes as well.
fn leave(whole: &Whole, claim: Option<Claim>, reactor: &mut Reactor<Summons>) -> StartError {
    match whole.open_control(claim, reactor) {
        Ok(control) => {
            control.into_iter().for_each(|control| control.close(reactor));
            StartError::Stopped
        }
        Err(error) => error,
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
