//! `clustr status`: truth at a glance.
//!
//! Owns the table for people. Scripts get the primary's own picture, untouched.

use anstyle::{AnsiColor, Style};
use clustr_supervisor::control::protocol::{
    AppStatus, Ask, RolledBack, Status, StrangerStatus, WorkerStatus,
};

use crate::args::StatusArgs;
use crate::client;
use crate::exit_code;
use crate::failure::Failure;
use crate::render::table::{self, Column, Side};
use crate::render::{self, Stream, plain, units};
use crate::target;

pub(super) fn run(args: &StatusArgs) -> Result<u8, Failure> {
    let mut client = target::connect(&args.read.place)?;
    let json = client.status_json(Ask::Status { slot: args.slot, connections: args.connections })?;
    if args.read.json {
        render::json(&json)?;
        return Ok(exit_code::DONE);
    }
    let width = if args.wide { None } else { render::output_width() };
    let look = Look { width, coloured: render::is_coloured(Stream::Output), slot: args.slot };
    render::output_drawn(&text(&client::parse(&json)?, look))?;
    Ok(exit_code::DONE)
}

/// How it is shown.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    width: Option<usize>,
    coloured: bool,
    /// One slot alone, with the last lines that its workers have printed.
    slot: Option<u32>,
}

const COLUMNS: [Column; 12] = [
    Column { head: "app", side: Side::Left, rank: 8 },
    Column { head: "slot", side: Side::Right, rank: 0 },
    Column { head: "pid", side: Side::Right, rank: 0 },
    Column { head: "state", side: Side::Left, rank: 0 },
    Column { head: "gen", side: Side::Right, rank: 6 },
    Column { head: "uptime", side: Side::Right, rank: 1 },
    Column { head: "restarts", side: Side::Right, rank: 2 },
    Column { head: "cpu", side: Side::Right, rank: 4 },
    Column { head: "memory", side: Side::Right, rank: 3 },
    Column { head: "conns", side: Side::Right, rank: 5 },
    Column { head: "last exit", side: Side::Left, rank: 7 },
    Column { head: "says", side: Side::Left, rank: 9 },
];

/// Columns that are there only where somebody has something for them.
const CONNECTIONS: &str = "conns";
const SAYS: &str = "says";

fn text(status: &Status, look: Look) -> String {
    let mut lines = vec![said(headline(status))];
    lines.extend(status.log.as_ref().map(|log| said(format!("output in {log}"))));
    let several = status.apps.len() > 1;
    for app in &status.apps {
        let whose = if several { format!("\n{}: ", app.name) } else { String::new() };
        lines.push(format!("{}{}", whose, said(app_line(app))));
        lines.extend(app.intercept_why.as_ref().map(|why| said(intercept_line(app, why))));
        let strangers = app.listeners.iter().flat_map(|listener| &listener.strangers);
        lines.extend(strangers.map(stranger_line).map(said));
        lines.extend(app.rolled_back.as_ref().map(rolled_back_line).map(said));
        if app.workers.iter().all(|worker| worker.pid.is_none()) && is_out(app) {
            continue;
        }
        lines.push(String::new());
        lines.extend(rows(app, look));
        for worker in app.workers.iter().filter(|_| look.slot.is_some()) {
            lines.extend(last_output(worker).into_iter().map(said));
        }
    }
    lines.join("\n")
}

/// What is not in the table, which sees to itself.
fn said(line: String) -> String {
    plain::line(&line).into_owned()
}

fn rows(app: &AppStatus, look: Look) -> Vec<String> {
    let is_known = app.workers.iter().any(|worker| worker.connections.is_some());
    let speaks = app.workers.iter().any(|worker| worker.status_text.is_some());
    let shown = |column: &Column| match column.head {
        CONNECTIONS => is_known,
        SAYS => speaks,
        _ => true,
    };
    let columns: Vec<Column> = COLUMNS.into_iter().filter(shown).collect();
    let rows: Vec<Vec<String>> =
        app.workers.iter().map(|worker| row(app, worker, is_known, speaks)).collect();
    let paint = if look.coloured { paint } else { |_: &str, _: &str| None };
    table::painted(&columns, &rows, look.width, paint)
}

/// Green serves, yellow is on its way, red needs somebody.
fn paint(head: &str, cell: &str) -> Option<Style> {
    let colour = match (head, cell.split(' ').next().unwrap_or_default()) {
        ("state", "ready") => AnsiColor::Green,
        ("state", "gave-up") => AnsiColor::Red,
        ("state", "starting" | "parked" | "draining" | "stopping" | "resting") => AnsiColor::Yellow,
        _ => return None,
    };
    Some(colour.on_default())
}

fn headline(status: &Status) -> String {
    let Status { name, pid, state, uptime_ms, .. } = status;
    // How long it has been in any other state is not known: the time is the primary's own.
    let word = if state == "running" { " for" } else { ", up for" };
    format!("{name}: {state}{word} {}, primary pid {pid}", units::span(*uptime_ms))
}

/// Whether it has not begun, or has ended among others: it has no workers then.
fn is_out(app: &AppStatus) -> bool {
    matches!(app.state.as_str(), "waiting" | "not-started" | "finished" | "stopped" | "gave-up")
}

fn app_line(app: &AppStatus) -> String {
    let after = || app.after.join(", ");
    match app.state.as_str() {
        "waiting" => return format!("waits for {}", after()),
        "not-started" => return format!("not started, it is after {}", after()),
        "finished" | "stopped" => return format!("has ended ({})", app.state),
        "gave-up" => return "gave up".to_owned(),
        _ => {}
    }
    let addresses: Vec<&str> = app.listeners.iter().map(|listener| listener.address.as_str()).collect();
    let place = if addresses.is_empty() { "nothing yet".to_owned() } else { addresses.join(", ") };
    let AppStatus { ready, wanted, share, share_why, .. } = app;
    let why = share_why.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
    if *wanted == 0 {
        let left = app.workers.iter().filter(|worker| worker.pid.is_some()).count();
        return format!("{} still to end", units::plural(left as u64, "worker"));
    }
    format!("{ready} of {} ready on {place} ({share}{why})", units::plural(u64::from(*wanted), "worker"))
}

fn intercept_line(app: &AppStatus, why: &str) -> String {
    format!("intercepted bind: {}, {why}", app.intercept.as_deref().unwrap_or("none"))
}

fn stranger_line(stranger: &StrangerStatus) -> String {
    let who = stranger.pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
    let what =
        if stranger.takes_clients { "takes the clients of that address" } else { "gets no connections" };
    format!("{who} is no worker and listens on {} too: it {what}", stranger.address)
}

fn rolled_back_line(failed: &RolledBack) -> String {
    let RolledBack { tried, serves, slot, incarnation, why, lost, changed, ago_ms, .. } = failed;
    let ago = units::span(*ago_ms);
    let changed = changed.as_deref().unwrap_or("what it was");
    let lost = match lost {
        0 => String::new(),
        slots => format!("; {} lost, {changed} has changed", units::plural(u64::from(*slots), "slot")),
    };
    if failed.is_of_restart() {
        return format!("a restart failed {ago} ago: worker {slot}#{incarnation} {why}");
    }
    format!(
        "generation {tried} was rolled back {ago} ago, {serves} serves: worker {slot}#{incarnation} {why}{lost}"
    )
}

fn row(app: &AppStatus, worker: &WorkerStatus, with_connections: bool, with_words: bool) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let state = match worker.rest_ms {
        Some(rest_ms) => format!("{} ({})", worker.state, units::span(rest_ms)),
        None => worker.state.clone(),
    };
    let mut cells = vec![
        app.name.clone(),
        worker.slot.to_string(),
        or_dash(worker.pid.map(|pid| pid.to_string())),
        state,
        worker.generation.to_string(),
        or_dash(worker.uptime_ms.map(units::span)),
        worker.restarts.to_string(),
        or_dash(worker.cpu_ms.zip(worker.uptime_ms).map(|(cpu, life)| units::share(cpu, life))),
        or_dash(worker.rss_bytes.map(units::bytes)),
    ];
    if with_connections {
        cells.push(or_dash(worker.connections.map(units::count)));
    }
    cells.push(or_dash(worker.last_exit.clone()));
    if with_words {
        cells.push(or_dash(worker.status_text.clone()));
    }
    cells
}

/// What a worker has printed last.
fn last_output(worker: &WorkerStatus) -> Vec<String> {
    let WorkerStatus { slot, incarnation, last_output, .. } = worker;
    if last_output.is_empty() {
        return vec![
            String::new(),
            format!("slot {slot}, incarnation {incarnation}, has printed nothing that is kept"),
        ];
    }
    let head = format!("slot {slot}, incarnation {incarnation}, has printed last:");
    [String::new(), head].into_iter().chain(last_output.iter().map(|line| format!("  {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let text = r#"{"version":1,"name":"app","pid":7,"state":"running","uptime_ms":65000,"clustr":"0.1.0","apps":[
            {"name":"app","generation":1,"wanted":2,"ready":1,"share":"shared","delivery":["node"],
             "listeners":[{"address":"[::]:3001"}],"command":["node","app.js"],"workers":[
              {"slot":0,"incarnation":1,"generation":1,"pid":4242,"state":"ready","restarts":0,"uptime_ms":64000,
               "last_exit":null,"rss_bytes":52600000,"cpu_ms":1250,"rest_ms":null},
              {"slot":1,"incarnation":3,"generation":1,"pid":null,"state":"resting","restarts":2,"uptime_ms":null,
               "last_exit":"code 1","rss_bytes":null,"cpu_ms":null,"rest_ms":350}]}]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_status_says_why_the_last_reload_failed() {
        let mut status = status();
        let text_before = text(&status, Look::default());
        status.apps[0].rolled_back = Some(RolledBack {
            tried: 2,
            serves: 1,
            slot: 0,
            incarnation: 2,
            why: "was not ready in time".into(),
            lost: 1,
            changed: Some("/srv/app.js".into()),
            last_output: Vec::new(),
            hint: None,
            ago_ms: 65_000,
        });
        let wanted = "generation 2 was rolled back 1m05s ago, 1 serves: worker 0#2 was not ready in time; \
                      1 slot lost, /srv/app.js has changed";
        let text = text(&status, Look::default());
        assert!(text.lines().any(|line| line == wanted) && !text_before.contains("rolled back"), "{text}");
    }

    #[test]
    fn a_status_says_why_it_is_shared_so_and_what_workers_say() {
        let mut status = status();
        status.apps[0].share = "per-worker".into();
        status.apps[0].share_why = Some("for --ready notify".into());
        status.apps[0].workers[0].status_text = Some("12 jobs".into());
        let text = text(&status, Look::default());
        assert!(text.contains("(per-worker, for --ready notify)"), "{text}");
        assert!(text.lines().any(|line| line.ends_with("  12 jobs")) && text.contains("  says"), "{text}");
    }

    #[test]
    fn a_status_says_why_binds_are_not_intercepted_in_the_best_way_and_else_nothing() {
        let mut status = status();
        status.apps[0].intercept = Some("adopt".into());
        assert!(!text(&status, Look::default()).contains("intercepted"));
        status.apps[0].intercept = Some("replace".into());
        status.apps[0].intercept_why = Some("pidfd_getfd is forbidden".into());
        let text = text(&status, Look::default());
        let wanted = "intercepted bind: replace, pidfd_getfd is forbidden";
        assert!(text.lines().any(|line| line == wanted), "{text}");
    }

    #[test]
    fn the_time_in_the_first_line_is_the_primarys_own() {
        let mut status = status();
        assert_eq!(headline(&status), "app: running for 1m05s, primary pid 7");
        status.state = "reloading".into();
        assert_eq!(headline(&status), "app: reloading, up for 1m05s, primary pid 7");
    }

    #[test]
    fn nothing_that_a_worker_prints_reaches_the_terminal_as_it_is() {
        let mut status = status();
        status.apps[0].workers[0].status_text = Some("\x1b[31mred\x1b]0;title\x07".into());
        status.apps[0].workers[0].last_output = vec!["a\rb".into(), "\x1b[2Jgone".into()];
        let text = text(&status, Look { slot: Some(0), ..Look::default() });
        assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
        assert!(text.contains("  a\\rb\n  \\x1b[2Jgone") && text.contains("red\\x1b]0;title\\x07"), "{text}");
    }

    #[test]
    fn a_status_names_who_takes_clients() {
        let mut status = status();
        let stranger =
            StrangerStatus { pid: Some(77), address: "127.0.0.1:3001".into(), takes_clients: true };
        status.apps[0].listeners[0].strangers = vec![stranger];
        let wanted =
            "process 77 is no worker and listens on 127.0.0.1:3001 too: it takes the clients of that address";
        let text = text(&status, Look::default());
        assert!(text.lines().any(|line| line == wanted), "{text}");
    }

    #[test]
    fn a_status_fits_the_terminal() {
        for width in [100, 60, 40, 20] {
            let look = Look { width: Some(width), ..Look::default() };
            insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(format!("status_{width}"), text(&status(), look)) });
        }
    }

    #[test]
    fn what_is_asked_for_besides_is_shown() {
        let mut status = status();
        status.log = Some("/var/log/clustr/app.log".into());
        status.apps[0].workers[0].connections = Some(1234);
        status.apps[0].workers[0].last_output = vec!["serving on port 3001".into(), "ready".into()];
        let look = Look { slot: Some(0), ..Look::default() };
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!("status_of_a_slot", text(&status, look)) });
    }

    #[test]
    fn states_are_coloured_where_colours_are_shown() {
        let coloured = text(&status(), Look { coloured: true, ..Look::default() });
        assert!(
            coloured.contains("\x1b[32mready\x1b[0m") && coloured.contains("\x1b[33mresting (350ms)\x1b[0m")
        );
        let plain = text(&status(), Look::default());
        assert_eq!(coloured.replace("\x1b[32m", "").replace("\x1b[33m", "").replace("\x1b[0m", ""), plain);
    }
}
