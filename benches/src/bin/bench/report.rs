//! The report: Markdown, said and kept.
//!
//! Owns the heading that tells the machine, and one file for each chapter.

use std::path::PathBuf;
use std::process::Command;

use clustr_benches::places::Places;

/// The report.
pub(super) struct Report {
    folder: PathBuf,
    machine: String,
}

impl Report {
    pub(super) fn new(places: &Places) -> Result<Self, String> {
        let folder = places.reports();
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let node = said(Command::new("node").arg("--version"));
        let clustr = said(Command::new(&places.clustr).arg("version"));
        let profile = if cfg!(debug_assertions) { "; DEBUG BUILD: the numbers mean nothing" } else { "" };
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        let kernel = kernel.trim();
        let machine = format!(
            "{clustr}, node {node}, {cpus} CPUs, Linux {kernel}; load average before: {load}{profile}"
        );
        println!("{machine}\n");
        Ok(Self { folder, machine })
    }

    /// Says a chapter and keeps it.
    pub(super) fn add(&self, name: &str, chapter: String) -> Result<(), String> {
        println!("{chapter}");
        let path = self.folder.join(format!("{name}.md"));
        let text = format!("{}\n\n{chapter}", self.machine);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// `goal: at least 1.80: held (1.93)`.
pub(super) fn goal(what: &str, limit: &str, found: &str, held: bool) -> String {
    let verdict = if held { "held" } else { "MISSED" };
    format!("- {what}: {limit}: {verdict} ({found})\n")
}

fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("not found").to_owned()
}
