//! From a worker's end to its successor's first line.
//!
//! Owns the comparison with a bare loop of fork, exec and pidfd. Both start the same trivial program, which writes the
//! moment of its first line into a FIFO; the clock begins just before kill(2). So the span holds the death, the
//! primary's waking and deciding, the clone, the exec and the dynamic linking of the successor.

use std::process::{Command, Stdio};
use std::time::Duration;

use clustr_benches::load::monotonic_ns;
use clustr_benches::places::Places;
use clustr_benches::primary::Primary;
use clustr_benches::series::Series;
use clustr_benches::soak::{Birth, Births, TIRELESS};
use clustr_benches::started::{Started, signal_pid};
use clustr_benches::wait;
use rustix::process::Signal;

use crate::Effort;
use crate::report::goal;

/// Between two kills: everything is at rest again.
const REST: Duration = Duration::from_millis(40);

/// Something that restarts the trivial program.
struct Restarter {
    births: Births,
    last: Birth,
    micros: Series,
}

pub(super) fn measure(places: &Places, effort: Effort) -> Result<String, String> {
    let kills = match effort {
        Effort::Quick => 21,
        Effort::Full => 201,
    };
    let trivial = places.trivial.to_string_lossy().into_owned();
    let (ours, bare) = (Births::new("clustr")?, Births::new("bare")?);
    let options = [&["-n", "1"][..], &TIRELESS].concat();
    let primary = Primary::start(&places.clustr, &options, &[&trivial, &ours.path().to_string_lossy()])?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(own);
    command.arg("restart-loop").args([places.trivial.as_path(), bare.path()]).stdin(Stdio::null());
    let _loop = Started::new(&mut command)?;
    let (mut clustr, mut bare) = (Restarter::new(ours)?, Restarter::new(bare)?);
    for _ in 0..kills {
        clustr.kill()?;
        bare.kill()?;
    }
    primary.stop()?;
    Ok(chapter(&clustr.micros, &bare.micros, kills))
}

fn chapter(clustr: &Series, bare: &Series, kills: u32) -> String {
    let mut text = format!(
        "## Restart\n\nFrom kill -9 of a trivial worker to the first line of its successor, in µs, {kills} kills each, \
         taken in turn; median (least–most)\n\n| who | µs | × bare |\n|---|---|---|\n"
    );
    let ratio = clustr.over(bare);
    text.push_str(&format!("| clustr | {clustr:.0} | {ratio:.2} |\n"));
    text.push_str(&format!("| bare fork, exec, pidfd | {bare:.0} | 1 |\n\n"));
    let more = clustr.median() - bare.median();
    text.push_str(&goal("more than bare", "at most 1000 µs", &format!("{more:.0} µs"), more <= 1_000.0));
    text
}

impl Restarter {
    fn new(births: Births) -> Result<Self, String> {
        let mut births = births.open()?;
        let last = births.wait_next()?;
        Ok(Self { births, last, micros: Series::default() })
    }

    fn kill(&mut self) -> Result<(), String> {
        wait::observe_for(REST);
        let began = monotonic_ns();
        signal_pid(self.last.pid, Signal::KILL)?;
        self.last = self.births.wait_next()?;
        self.micros.push(self.last.at_ns.saturating_sub(began) as f64 / 1e3);
        Ok(())
    }
}
