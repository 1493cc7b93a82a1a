//! On what it was measured.
//!
//! Owns one paragraph: without it no number means anything.

use std::fs;
use std::process::Command;

use crate::setting::{Effort, Setting};

pub(super) fn describe(setting: &Setting) -> String {
    let kernel = line_of("/proc/sys/kernel/osrelease");
    let load = line_of("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let clustr = said(Command::new(&setting.places.clustr).arg("version"));
    let cpus = cpus();
    let quick = if setting.effort == Effort::Quick { " Quick: few rounds, wide ranges." } else { "" };
    let debug = if cfg!(debug_assertions) { " DEBUG BUILD: the numbers mean nothing." } else { "" };
    format!(
        "{clustr}; peers: {}; {cpus}, Linux {kernel}; load average before: {load}.{quick}{debug} \
         Everything, the load generator too, runs on these CPUs, over loopback. Median (least–most); a ratio is taken \
         within each round, before its median.",
        setting.peers.versions(),
    )
}

/// How many, and which.
pub(super) fn cpus() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cpus} CPUs ({})", model())
}

fn model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("unknown", |(_, name)| name).to_owned()
}

fn line_of(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("not found").to_owned()
}
