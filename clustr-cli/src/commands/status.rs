//! `clustr status`: truth at a glance.
//!
//! Owns the table for people. Scripts get the primary's own picture, untouched.

use clustr_supervisor::control::protocol::{AppStatus, RolledBack, Status, WorkerStatus};

use crate::args::ReadArgs;
use crate::client::Client;
use crate::exit_code;
use crate::failure::Failure;
use crate::render::table::{self, Column, Side};
use crate::render::{self, units};
use crate::target;

pub(super) fn run(args: &ReadArgs) -> Result<u8, Failure> {
    let mut client = Client::connect(&target::resolve(&args.place)?)?;
    if args.json {
        render::output(&client.status_json()?)?;
    } else {
        render::output(&text(&client.status()?, render::output_width()))?;
    }
    Ok(exit_code::DONE)
}

const COLUMNS: [Column; 9] = [
    Column { head: "slot", side: Side::Right, rank: 0 },
    Column { head: "pid", side: Side::Right, rank: 0 },
    Column { head: "state", side: Side::Left, rank: 0 },
    Column { head: "gen", side: Side::Right, rank: 5 },
    Column { head: "uptime", side: Side::Right, rank: 1 },
    Column { head: "restarts", side: Side::Right, rank: 2 },
    Column { head: "cpu", side: Side::Right, rank: 4 },
    Column { head: "memory", side: Side::Right, rank: 3 },
    Column { head: "last exit", side: Side::Left, rank: 6 },
];

fn text(status: &Status, width: Option<usize>) -> String {
    let mut lines = vec![headline(status)];
    for app in &status.apps {
        lines.push(app_line(app));
        lines.extend(app.rolled_back.as_ref().map(rolled_back_line));
        lines.push(String::new());
        let rows: Vec<Vec<String>> = app.workers.iter().map(row).collect();
        lines.extend(table::lines(&COLUMNS, &rows, width));
    }
    lines.join("\n")
}

fn headline(status: &Status) -> String {
    let Status { name, pid, state, uptime_ms, .. } = status;
    format!("{name}: {state} for {}, primary pid {pid}", units::span(*uptime_ms))
}

fn app_line(app: &AppStatus) -> String {
    let addresses: Vec<&str> = app.listeners.iter().map(|listener| listener.address.as_str()).collect();
    let place = if addresses.is_empty() { "nothing yet".to_owned() } else { addresses.join(", ") };
    let AppStatus { ready, wanted, share, .. } = app;
    if *wanted == 0 {
        let left = app.workers.iter().filter(|worker| worker.pid.is_some()).count();
        return format!("{} still to end", units::plural(left as u64, "worker"));
    }
    format!("{ready} of {} ready on {place} ({share})", units::plural(u64::from(*wanted), "worker"))
}

fn rolled_back_line(failed: &RolledBack) -> String {
    let RolledBack { tried, serves, slot, incarnation, why, lost, changed, ago_ms, .. } = failed;
    let ago = units::span(*ago_ms);
    let changed = changed.as_deref().unwrap_or("what it was");
    let lost = match lost {
        0 => String::new(),
        slots => format!("; {} lost, {changed} has changed", units::plural(u64::from(*slots), "slot")),
    };
    format!(
        "generation {tried} was rolled back {ago} ago, {serves} serves: worker {slot}#{incarnation} {why}{lost}"
    )
}

fn row(worker: &WorkerStatus) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let state = match worker.rest_ms {
        Some(rest_ms) => format!("{} ({})", worker.state, units::span(rest_ms)),
        None => worker.state.clone(),
    };
    vec![
        worker.slot.to_string(),
        or_dash(worker.pid.map(|pid| pid.to_string())),
        state,
        worker.generation.to_string(),
        or_dash(worker.uptime_ms.map(units::span)),
        worker.restarts.to_string(),
        or_dash(worker.cpu_ms.map(units::cpu)),
        or_dash(worker.rss_bytes.map(units::bytes)),
        or_dash(worker.last_exit.clone()),
    ]
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
        let text_before = text(&status, None);
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
        let text = text(&status, None);
        assert!(text.lines().any(|line| line == wanted) && !text_before.contains("rolled back"), "{text}");
    }

    #[test]
    fn a_status_fits_the_terminal() {
        for width in [100, 60, 40, 20] {
            insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(format!("status_{width}"), text(&status(), Some(width))) });
        }
    }
}
