//! Misfortune under load, and what it may cost clients.
//!
//! Owns what happens and what is judged, once: the tests of `clustr-cli` run it briefly, `soak` for long. Each trial
//! returns a line that says what was counted, or why it has failed.

mod lingering;
mod logs;
mod outage;
mod reloads;
mod scaling;
mod shortage;
mod storm;

use std::path::Path;
use std::time::Duration;

pub use lingering::lingering;
pub use outage::outage;
pub use reloads::{Reloads, reloads};
pub use scaling::scaling;
pub use shortage::shortage;
pub use storm::storm;

use crate::load::{self, Pace, Plan, Running, Tally};
use crate::places::Places;
use crate::primary::Primary;
use crate::wait;

/// Long enough for anything that takes a moment.
const SOON: Duration = Duration::from_secs(60);

/// So many clients at the most, and so at most that many wait: less than half of node's backlog of 511.
const CLIENTS: usize = 250;

/// Successors come at once and for ever.
const TIRELESS: [&str; 4] = ["--backoff-min", "0ms", "--intensity", "100000/1s"];

/// What a trial came to: a line to print, or what is wrong.
pub type Outcome = Result<String, String>;

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The program.
    pub clustr: &'a Path,
    /// How its workers get connections.
    pub share: &'a str,
}

impl Subject<'_> {
    /// An app of node's, of `benches/peers`, with so many workers.
    fn start(&self, peer: &str, workers: u32, options: &[&str]) -> Result<Primary, String> {
        let count = workers.to_string();
        let options = [&["-n", &count, "--share", self.share], options].concat();
        let primary = Primary::start(self.clustr, &options, &["node", &Places::peer(peer)])?;
        primary.wait_ready(u64::from(workers))?;
        Ok(primary)
    }
}

/// Whether the kernel moves waiting connections to other queues by itself, so that nothing here would prove anything.
#[must_use]
pub fn kernel_migrates() -> bool {
    let read = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req");
    read.is_ok_and(|text| text.trim() != "0")
}

/// A load of short connections, at most so many each second, as long as it is not stopped.
fn short_connections(primary: &Primary, per_second: f64) -> Result<Running, String> {
    let plan = Plan {
        clients: CLIENTS,
        pace: Pace::PerSecond(per_second),
        duration_max: Duration::from_secs(3_600),
        request_timeout: SOON,
        ..Plan::short(primary.address())
    };
    load::start(&plan).map_err(|error| error.to_string())
}

fn stop(load: Running) -> Result<Tally, String> {
    load.stop().map_err(|error| error.to_string())
}

/// Waits for so many more answers.
fn wait_answers(load: &Running, more: u64) -> Result<(), String> {
    let before = load.succeeded();
    wait::until_true("answers", SOON, || load.succeeded() >= before + more)
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}
