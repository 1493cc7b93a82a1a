//! `clustr demo`: a cluster at work, with nothing else installed.
//!
//! Owns the play: a primary of this very program, a load on it, a picture of both, and, if asked, a worker killed
//! every two seconds. Everything goes through the command line and the control socket that everybody else uses.
//! Never leaves anything running behind.

mod killer;
mod load;
mod primary;
mod tally;
mod view;
mod worker;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::args::DemoArgs;
use crate::args::values::Workers;
use crate::clock;
use crate::exit_code;
use crate::failure::Failure;
use crate::render;
use killer::Killer;
use load::Load;
use primary::Primary;
use tally::Departures;
use view::{Scene, View};

pub(crate) use worker::work;

/// How often the picture is redrawn, and the workers looked at.
const TICK: Duration = Duration::from_millis(200);
/// How many ports are tried from the wished one on.
const PORTS_TRIED: u16 = 100;

/// Plays until Ctrl-C, or for as long as was asked.
///
/// # Errors
/// The primary could not be started or went away, or nobody reads the output.
pub(crate) fn run(args: &DemoArgs) -> Result<u8, Failure> {
    let signals = block_signals().map_err(|error| failed("could not listen for Ctrl-C", error))?;
    let port = free_port(args.port)?;
    let workers = match args.workers {
        Workers::Auto => u32::try_from(num_cpus::get()).unwrap_or(1),
        Workers::Count(count) => count,
    };
    let mut primary = Primary::start(workers, port)?;
    let load = Load::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let mut play = Play {
        started_at: clock::now(),
        killer: args.kill.then(Killer::default),
        departures: Departures::default(),
        view: View::new(port, args.kill),
    };
    let played = play.until_told(&signals, &mut primary, &load, args.duration);
    let tally = load.stop();
    let lasted = play.started_at.elapsed();
    primary.stop()?;
    played?;
    let verdict = tally.verdict(&play.departures);
    render::output(&view::summary(&tally, &play.departures, lasted, &verdict).join("\n"))?;
    Ok(if verdict.is_good() { exit_code::DONE } else { exit_code::FAILED })
}

/// Ctrl-C and its like become readable instead of deadly: the primary is to be stopped first. Called before any
/// thread exists, so that all of them inherit it.
fn block_signals() -> nix::Result<SignalFd> {
    let set: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// The wished port, or the next one that nobody has.
fn free_port(wished: u16) -> Result<u16, Failure> {
    let tried = wished..=wished.saturating_add(PORTS_TRIED);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let Some(port) = tried.clone().find(is_free) else {
        let what = format!("no free port from {} to {}", tried.start(), tried.end());
        return Err(Failure::Demo(what, None));
    };
    if port != wished {
        render::output(&format!("port {wished} is taken: the demo takes {port}"))?;
    }
    Ok(port)
}

fn failed(what: &str, error: impl std::error::Error) -> Failure {
    Failure::Demo(what.to_owned(), Some(error.to_string()))
}

/// The play while it is going on.
struct Play {
    started_at: Instant,
    killer: Option<Killer>,
    departures: Departures,
    view: View,
}

impl Play {
    fn until_told(
        &mut self,
        signals: &SignalFd,
        primary: &mut Primary,
        load: &Load,
        duration: Option<Duration>,
    ) -> Result<(), Failure> {
        loop {
            let workers = primary.workers()?;
            self.departures.compare(&workers, clock::now());
            let elapsed = self.started_at.elapsed();
            let tally = load.tally(&workers);
            let scene = Scene { elapsed, workers: &workers, tally: &tally, departures: &self.departures };
            self.view.show(&scene)?;
            if duration.is_some_and(|duration| elapsed >= duration) || is_told(signals)? {
                return Ok(());
            }
            if let Some(killer) = &mut self.killer {
                let killed = killer.kill_if_due(elapsed, primary)?;
                self.departures.extend(killed, clock::now());
            }
        }
    }
}

/// Waits for a tick, or for Ctrl-C.
fn is_told(signals: &SignalFd) -> Result<bool, Failure> {
    let mut fds = [PollFd::new(signals, PollFlags::IN)];
    let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
    match rustix::event::poll(&mut fds, Some(&tick)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(failed("could not wait", error)),
    }
}
