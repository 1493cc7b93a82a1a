//! `clustr list`: every primary in the runtime folder.
//!
//! Owns the table. A socket that a killed primary left behind is shown as `gone`.

use std::path::Path;

use clustr_supervisor::control::place;
use clustr_supervisor::control::protocol::{AppStatus, Status};
use serde::Serialize;

use crate::args::ListArgs;
use crate::client::{Client, ClientError};
use crate::exit_code;
use crate::failure::Failure;
use crate::names::shell_line;
use crate::render::table::{self, Column, Side};
use crate::render::{self, units};
use crate::target::{self, Found};

/// One primary, or what is left of one.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    control: String,
    /// Whether somebody answers there.
    running: bool,
    pid: Option<u32>,
    state: Option<String>,
    wanted: Option<u32>,
    ready: Option<u32>,
    uptime_ms: Option<u64>,
    /// Of the first app.
    command: Option<Vec<String>>,
    apps: Vec<String>,
}

pub(super) fn run(args: &ListArgs) -> Result<u8, Failure> {
    let dir = place::existing_runtime_dir().map_err(ClientError::Folder)?;
    let found = dir.as_deref().map(target::all).transpose()?.unwrap_or_default();
    let entries: Vec<Entry> = found.into_iter().map(entry).collect();
    if args.json {
        let json = serde_json::to_string(&entries).map_err(|error| Failure::Output(error.into()))?;
        render::json(&json)?;
    } else if entries.is_empty() {
        let looked = dir.map(|dir| format!(" (looked in {})", dir.display())).unwrap_or_default();
        render::output(&format!("no primary is running{looked}"))?;
    } else {
        render::output(&text(&entries, render::output_width()))?;
    }
    Ok(exit_code::DONE)
}

fn entry(found: Found) -> Entry {
    let status = if found.live { ask(&found.path).ok() } else { None };
    let apps = status.as_ref().map(|status| &status.apps[..]);
    let sum = |count: fn(&AppStatus) -> u32| apps.map(|apps| apps.iter().map(count).sum());
    Entry {
        name: found.name,
        control: found.path.display().to_string(),
        running: found.live,
        pid: status.as_ref().map(|status| status.pid),
        state: status.as_ref().map(|status| status.state.clone()),
        wanted: sum(|app| app.wanted),
        ready: sum(|app| app.ready),
        uptime_ms: status.as_ref().map(|status| status.uptime_ms),
        command: apps.and_then(|apps| apps.first()).map(|app| app.command.clone()),
        apps: apps.unwrap_or_default().iter().map(|app| app.name.clone()).collect(),
    }
}

fn ask(path: &Path) -> Result<Status, ClientError> {
    Client::connect(path)?.status()
}

const COLUMNS: [Column; 6] = [
    Column { head: "name", side: Side::Left, rank: 0 },
    Column { head: "pid", side: Side::Right, rank: 1 },
    Column { head: "state", side: Side::Left, rank: 0 },
    Column { head: "ready", side: Side::Right, rank: 2 },
    Column { head: "uptime", side: Side::Right, rank: 3 },
    Column { head: "command", side: Side::Left, rank: 4 },
];

fn text(entries: &[Entry], width: Option<usize>) -> String {
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    table::lines(&COLUMNS, &rows, width).join("\n")
}

fn row(entry: &Entry) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let silent = if entry.running { "silent" } else { "gone" };
    let ready = entry.ready.zip(entry.wanted).map(|(ready, wanted)| format!("{ready}/{wanted}"));
    vec![
        entry.name.clone(),
        or_dash(entry.pid.map(|pid| pid.to_string())),
        entry.state.clone().unwrap_or_else(|| silent.to_owned()),
        or_dash(ready),
        or_dash(entry.uptime_ms.map(units::span)),
        match &entry.apps[..] {
            [] | [_] => or_dash(entry.command.as_ref().map(shell_line)),
            several => format!("apps {}", several.join(", ")),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_primary_left_is_marked() {
        let gone = Entry {
            name: "old".to_owned(),
            control: "/run/clustr/old.sock".to_owned(),
            running: false,
            pid: None,
            state: None,
            wanted: None,
            ready: None,
            uptime_ms: None,
            command: None,
            apps: Vec::new(),
        };
        let live = Entry {
            name: "shop".to_owned(),
            running: true,
            pid: Some(42),
            state: Some("running".to_owned()),
            wanted: Some(4),
            ready: Some(3),
            uptime_ms: Some(5_000),
            command: Some(vec!["node".to_owned(), "-e".to_owned(), "two\nlines".to_owned()]),
            control: "/run/clustr/shop.sock".to_owned(),
            apps: vec!["shop".to_owned()],
        };
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text(&[gone, live], Some(80))) });
    }
}
