//! The demo's picture: redrawn in place on a terminal, a line a second elsewhere.
//!
//! Owns what is shown and how often. Never asks anybody anything: a scene holds all it shows.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use clustr_supervisor::control::protocol::WorkerStatus;

use super::tally::{Departures, Failed, Fault, Tally, Verdict};
use crate::failure::Failure;
use crate::render::screen::Screen;
use crate::render::table::{self, Column, Side};
use crate::render::{self, units};

/// Bound: failures that the summary names one by one.
const FAILURES_SHOWN_MAX: usize = 10;

/// Everything that can be seen at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) elapsed: Duration,
    pub(super) workers: &'a [WorkerStatus],
    pub(super) tally: &'a Tally,
    pub(super) departures: &'a Departures,
}

/// Where the picture goes, and what it needs from the one before.
#[derive(Debug)]
pub(super) struct View {
    port: u16,
    kills: bool,
    screen: Option<Screen>,
    rate: Rate,
    lines_written: u64,
}

impl View {
    pub(super) fn new(port: u16, kills: bool) -> Self {
        let screen = stdout().is_terminal().then(Screen::default);
        Self { port, kills, screen, rate: Rate::default(), lines_written: 0 }
    }

    /// Shows the scene, if it is time to.
    ///
    /// # Errors
    /// Nobody reads it any more.
    pub(super) fn show(&mut self, scene: &Scene<'_>) -> Result<(), Failure> {
        self.rate.look(scene);
        let width = render::output_width().unwrap_or(80);
        let lines = picture(scene, self.rate.per_second, self.port, self.kills, width);
        match &mut self.screen {
            Some(screen) => screen.draw(&lines, width),
            None => self.show_line(scene),
        }
    }

    fn show_line(&mut self, scene: &Scene<'_>) -> Result<(), Failure> {
        if self.lines_written == 0 {
            render::output(&format!(
                "{} on {}",
                units::plural(count(scene.workers), "worker"),
                url(self.port)
            ))?;
        }
        if scene.elapsed.as_secs() < self.lines_written {
            return Ok(());
        }
        self.lines_written = scene.elapsed.as_secs() + 1;
        render::output(&line(scene, self.rate.per_second))
    }
}

/// Requests a second, over the last whole second.
#[derive(Debug, Default)]
struct Rate {
    at: Duration,
    total: u64,
    per_second: u64,
}

impl Rate {
    fn look(&mut self, scene: &Scene<'_>) {
        let span = scene.elapsed.saturating_sub(self.at);
        if span < Duration::from_secs(1) {
            return;
        }
        let total = scene.tally.total();
        let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.per_second = (total - self.total) * 1_000 / span_ms;
        (self.at, self.total) = (scene.elapsed, total);
    }
}

const COLUMNS: [Column; 6] = [
    Column { head: "slot", side: Side::Right, rank: 0 },
    Column { head: "pid", side: Side::Right, rank: 0 },
    Column { head: "state", side: Side::Left, rank: 0 },
    Column { head: "requests", side: Side::Right, rank: 0 },
    Column { head: "restarts", side: Side::Right, rank: 1 },
    Column { head: "uptime", side: Side::Right, rank: 2 },
];

fn picture(scene: &Scene<'_>, rate: u64, port: u16, kills: bool, width: usize) -> Vec<String> {
    let Scene { elapsed, workers, tally, departures } = scene;
    let mut lines = vec![
        format!("{} on {} for {}", units::plural(count(workers), "worker"), url(port), seconds(*elapsed)),
        String::new(),
        format!("requests {}  ({rate}/s)", units::count(tally.total())),
        format!("failed   {}  ({})", units::count(tally.failed()), faults(tally)),
        String::new(),
    ];
    let rows: Vec<Vec<String>> = workers.iter().map(|worker| row(worker, tally)).collect();
    lines.extend(table::lines(&COLUMNS, &rows, Some(width)));
    lines.push(String::new());
    let last =
        departures.last().map(|gone| format!("last: worker {} of slot {} is gone; ", gone.pid, gone.slot));
    lines.push(last.map_or_else(String::new, |last| format!("{last}{} so far", departures.count)));
    lines.push(if kills {
        "a worker is killed every 2 s; Ctrl-C ends".to_owned()
    } else {
        invitation(workers)
    });
    lines
}

fn invitation(workers: &[WorkerStatus]) -> String {
    let pid =
        workers.iter().find_map(|worker| worker.pid).map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
    format!("now type, in another terminal: kill -9 {pid}   (Ctrl-C ends)")
}

fn row(worker: &WorkerStatus, tally: &Tally) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        worker.slot.to_string(),
        or_dash(worker.pid.map(|pid| pid.to_string())),
        worker.state.clone(),
        or_dash(worker.pid.map(|pid| units::count(tally.by(pid)))),
        worker.restarts.to_string(),
        or_dash(worker.uptime_ms.map(units::span)),
    ]
}

fn line(scene: &Scene<'_>, rate: u64) -> String {
    let Scene { elapsed, workers, tally, .. } = scene;
    let restarts: u64 = workers.iter().map(|worker| worker.restarts).sum();
    let pids: Vec<String> =
        workers.iter().filter_map(|worker| worker.pid).map(|pid| pid.to_string()).collect();
    format!(
        "{:>4}  requests {}  {rate}/s  failed {}  restarts {restarts}  pids {}",
        seconds(*elapsed),
        tally.total(),
        tally.failed(),
        pids.join(" "),
    )
}

/// What the play has shown, for the end.
pub(super) fn summary(
    tally: &Tally,
    departures: &Departures,
    lasted: Duration,
    verdict: &Verdict,
) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {}, {} failed ({}); workers killed: {}",
        seconds(lasted),
        units::plural(tally.total(), "request"),
        units::count(tally.failed()),
        faults(tally),
        departures.count,
    )];
    lines.extend(tally.named.iter().take(FAILURES_SHOWN_MAX).map(|failed| named(failed, departures)));
    if tally.named.len() > FAILURES_SHOWN_MAX {
        lines.push("  …".to_owned());
    }
    lines.push(match verdict {
        Verdict::Flawless => "every request was answered".to_owned(),
        Verdict::OnlyAccepted => {
            "every connection that no killed worker had accepted was answered".to_owned()
        }
        Verdict::Lost => "connections were lost that no killed worker had accepted".to_owned(),
        Verdict::NothingAnswered => "no request was answered".to_owned(),
    });
    lines
}

fn named(failed: &Failed, departures: &Departures) -> String {
    let port = failed.client_port.map_or_else(String::new, |port| format!(" from port {port}"));
    let why = departures.explain(failed).map_or_else(
        || ", and no worker had ended then".to_owned(),
        |gone| format!(": worker {} of slot {} had accepted it when it was killed", gone.pid, gone.slot),
    );
    format!("  {}{port}{why}", failed.fault.name())
}

fn faults(tally: &Tally) -> String {
    Fault::ALL.map(|fault| format!("{} {}", fault.name(), tally.of(fault))).join(", ")
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/")
}

fn seconds(span: Duration) -> String {
    if span.as_secs() == 0 { "0s".to_owned() } else { units::span(span.as_secs() * 1_000) }
}

fn count(workers: &[WorkerStatus]) -> u64 {
    u64::try_from(workers.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::demo::tally::Outcome;

    fn worker(slot: u32, pid: Option<u32>, state: &str) -> WorkerStatus {
        WorkerStatus {
            slot,
            incarnation: 1,
            generation: 1,
            pid,
            state: state.to_owned(),
            restarts: u64::from(slot),
            uptime_ms: pid.map(|_| 1_500),
            last_exit: None,
            rss_bytes: None,
            cpu_ms: None,
            rest_ms: None,
            status_text: None,
            connections: None,
            last_output: Vec::new(),
        }
    }

    #[test]
    fn a_scene_is_drawn_for_a_terminal_and_for_a_file() {
        let now = clock::now();
        let mut tally = Tally::default();
        for _ in 0..1_234 {
            tally.record(Outcome::Answered(42), now);
        }
        tally.record(Outcome::Failed(Fault::Reset, Some(50_000)), now);
        let mut departures = Departures::default();
        departures.extend(Some((1, 41)), now);
        let workers = [worker(0, Some(42), "ready"), worker(1, None, "resting")];
        let elapsed = Duration::from_secs(12);
        let scene = Scene { elapsed, workers: &workers, tally: &tally, departures: &departures };
        let verdict = tally.verdict(&departures);
        let drawn = [
            picture(&scene, 398, 3001, false, 80).join("\n"),
            picture(&scene, 398, 3001, true, 40).join("\n"),
            line(&scene, 398),
            summary(&tally, &departures, elapsed, &verdict).join("\n"),
        ];
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(drawn.join("\n----\n")) });
    }
}
