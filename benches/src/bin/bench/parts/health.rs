//! One of two workers is busy with something else for 1.5 s: how many clients have to wait for it.
//!
//! Owns the block, the clients that come meanwhile, and the control: the same with health from outside switched off, which
//! has to show the stall, or the measurement would prove nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use clustr_benches::places::Places;
use clustr_benches::primary::Primary;
use clustr_benches::series::Series;
use clustr_benches::{http, wait};

use super::interleave;
use crate::report::{Section, Table};
use crate::setting::{Done, Setting};

const SOON: Duration = Duration::from_secs(30);
const BLOCK: Duration = Duration::from_millis(1_500);
/// So many clients come at once, so often.
const CLIENTS: usize = 20;
const EVERY: Duration = Duration::from_millis(100);
/// Who waits longer has been kept waiting.
const LONG: Duration = Duration::from_millis(100);

/// One way to run the same app.
struct Way {
    name: &'static str,
    primary: Primary,
    /// Of each round: how many percent of the clients waited long, and how long the slowest did.
    long_percent: Series,
    slowest_ms: Series,
    failed: usize,
}

const ON: &str = "clustr, per-worker, health on";
const OFF: &str = "clustr, per-worker, health off";

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    let places = &setting.places;
    let mut ways = vec![
        Way::start(places, ON, &["--share", "per-worker"])?,
        Way::start(places, OFF, &["--share", "per-worker", "--hang-timeout", "off"])?,
        Way::start(places, "clustr, handoff", &["--share", "handoff"])?,
        Way::start(places, "clustr, shared: one queue for all", &["--share", "shared"])?,
    ];
    let done = interleave(setting, setting.rounds(2, 11), &mut ways, |way| way.name, Way::run)?;
    Ok(vec![section(&ways, done)])
}

fn section(ways: &[Way], done: Done) -> Section {
    let mut table = Table::new(&[("% that wait long", 1), ("slowest ms", 0), ("failed", 0)]);
    for Way { name, long_percent, slowest_ms, failed, .. } in ways {
        let failed = Series::of(*failed as f64).into();
        table.row(*name, vec![long_percent.into(), slowest_ms.into(), failed]);
    }
    let about = format!(
        "One of two node workers busy for {BLOCK:?}; {CLIENTS} new clients every {EVERY:?} meanwhile, of whom those wait \
         long who wait over {LONG:?}; {done}."
    );
    let mut section = Section::new("A worker that stands still", about, table);
    for (goal, name) in [("health-waiting", ON), ("health-control", OFF)] {
        let way = ways.iter().find(|way| way.name == name);
        section.found.extend(way.map(|way| (goal, way.long_percent.clone())));
    }
    section
}

impl Way {
    fn start(places: &Places, name: &'static str, options: &[&str]) -> Result<Self, String> {
        let options = [&["-n", "2"], options].concat();
        let primary = Primary::start(&places.clustr, &options, &["node", &Places::peer("blocks.js")])?;
        primary.wait_ready(2)?;
        wait::until_true(name, SOON, || http::get(primary.address(), "/").is_ok())?;
        Ok(Self { name, primary, long_percent: Series::default(), slowest_ms: Series::default(), failed: 0 })
    }

    fn run(&mut self) -> Result<(), String> {
        let address = self.primary.address();
        let blocked = block(address)?;
        let waits = meanwhile(address);
        finish(blocked)?;
        let answered: Vec<Duration> = waits.iter().flatten().copied().collect();
        let long = answered.iter().filter(|wait| **wait > LONG).count() + (waits.len() - answered.len());
        self.long_percent.push(long as f64 * 100.0 / waits.len() as f64);
        self.slowest_ms.push(answered.iter().max().map_or(0.0, |wait| wait.as_secs_f64() * 1e3));
        self.failed += waits.len() - answered.len();
        Ok(())
    }
}

/// Has one worker begin its block; returns the connection on which it will say that it is over.
fn block(address: SocketAddr) -> Result<TcpStream, String> {
    let text = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(address).map_err(text)?;
    stream.set_read_timeout(Some(SOON)).map_err(text)?;
    let path = format!("/block/{}", BLOCK.as_millis());
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").map_err(text)?;
    stream.read_exact(&mut [0; 16]).map_err(text)?;
    Ok(stream)
}

fn finish(mut blocked: TcpStream) -> Result<(), String> {
    blocked.read_to_end(&mut Vec::new()).map(drop).map_err(|error| error.to_string())
}

/// How long each of the clients waited that came during the block; `None`: for ever.
fn meanwhile(address: SocketAddr) -> Vec<Option<Duration>> {
    let ask = move || {
        let began = Instant::now();
        http::get(address, "/").ok().map(|_| began.elapsed())
    };
    let began = Instant::now();
    let mut clients = Vec::new();
    while began.elapsed() + EVERY < BLOCK {
        clients.extend((0..CLIENTS).map(|_| thread::spawn(ask)));
        wait::observe_for(EVERY);
    }
    clients.into_iter().map(|client| client.join().ok().flatten()).collect()
}
