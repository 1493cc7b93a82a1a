//! Who is measured beside clustr.
//!
//! Owns which peers are there, and how each is started with the same app. What is missing is said and skipped; fetching is
//! the chore's part (`cargo xtask bench`). Never measures.

mod configs;
mod server;
mod start;

use std::path::{Path, PathBuf};
use std::process::Command;

use clustr_benches::places::Places;

use crate::setting::Setting;

pub(crate) use server::Server;
pub(crate) use start::{App, Fleet, bare, bare_of, clustr, many, ours, peer};

/// A peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Name {
    Node,
    Pm2,
    Gunicorn,
    Nginx,
    Uwsgi,
    Circus,
    Supervisord,
}

/// All of them.
pub(crate) const KNOWN: [Name; 7] =
    [Name::Node, Name::Pm2, Name::Gunicorn, Name::Nginx, Name::Uwsgi, Name::Circus, Name::Supervisord];

impl Name {
    /// As it is typed.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pm2 => "pm2",
            Self::Gunicorn => "gunicorn",
            Self::Nginx => "nginx",
            Self::Uwsgi => "uwsgi",
            Self::Circus => "circus",
            Self::Supervisord => "supervisord",
        }
    }

    /// Its program, and where the chore puts it; `PATH` is asked where there is no such place.
    const fn program(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Node => ("node", None),
            Self::Pm2 => ("pm2-runtime", Some("pm2/node_modules/.bin")),
            Self::Gunicorn => ("gunicorn", Some("python/bin")),
            Self::Nginx => ("nginx", None),
            Self::Uwsgi => ("uwsgi", Some("python/bin")),
            Self::Circus => ("circusd", Some("python/bin")),
            Self::Supervisord => ("supervisord", Some("python/bin")),
        }
    }
}

/// The peers that were asked for.
pub(crate) struct Peers {
    found: Vec<(Name, PathBuf)>,
    skipped: Vec<String>,
}

impl Peers {
    /// Looks for them.
    pub(crate) fn find(places: &Places, asked: &[Name]) -> Self {
        let mut peers = Self { found: Vec::new(), skipped: Vec::new() };
        for name in asked {
            match locate(places, *name) {
                Some(program) => peers.found.push((*name, program)),
                None => peers.skipped.push(format!("{} not found", name.word())),
            }
        }
        peers
    }

    pub(crate) fn has(&self, name: Name) -> bool {
        self.program(name).is_some()
    }

    pub(crate) fn program(&self, name: Name) -> Option<&PathBuf> {
        self.found.iter().find(|(found, _)| *found == name).map(|(_, program)| program)
    }

    /// One that is there, but does not work.
    pub(crate) fn leave(&mut self, name: Name, why: &str) {
        self.found.retain(|(found, _)| *found != name);
        let why = why.lines().next().unwrap_or_default();
        self.skipped.push(format!("{} does not serve: {why}", name.word()));
    }

    /// Who takes part, in which version.
    pub(crate) fn versions(&self) -> String {
        if self.found.is_empty() {
            return "none".to_owned();
        }
        let each =
            self.found.iter().map(|(name, program)| format!("{} {}", name.word(), version(*name, program)));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Why somebody does not take part.
    pub(crate) fn skipped(&self) -> &[String] {
        &self.skipped
    }
}

/// Those that do not serve, and why: each is started once, with two workers.
pub(crate) fn faulty(setting: &Setting) -> Vec<(Name, String)> {
    let fleet = Fleet::of(App::Hello, 2);
    let started: Vec<_> =
        setting.peers.found.iter().map(|(name, _)| (*name, peer(setting, *name, "rr", fleet))).collect();
    let fault = |(name, server): (Name, Result<Option<Server>, String>)| {
        let served = server.and_then(|server| server.map_or(Ok(()), |server| server.wait_serving()));
        served.err().map(|why| (name, why))
    };
    started.into_iter().filter_map(fault).collect()
}

/// The last word of what it says of itself. PM2 is not asked: it would start its daemon.
fn version(name: Name, program: &Path) -> String {
    let said = match name {
        Name::Pm2 => {
            let package = program.ancestors().nth(2).map(|folder| folder.join("pm2/package.json"));
            let text = package.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
            let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            package["version"].as_str().unwrap_or_default().to_owned()
        }
        Name::Nginx => said(program, "-v"),
        Name::Node | Name::Gunicorn | Name::Uwsgi | Name::Circus | Name::Supervisord => {
            said(program, "--version")
        }
    };
    let word = said.split_whitespace().last().unwrap_or("of an unknown version");
    word.trim_start_matches("nginx/").trim_end_matches(')').to_owned()
}

/// The first line of what a program says, on either stream.
fn said(program: &Path, option: &str) -> String {
    let Ok(output) = Command::new(program).arg(option).output() else { return String::new() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}

fn locate(places: &Places, name: Name) -> Option<PathBuf> {
    let (program, folder) = name.program();
    let fetched = folder.map(|folder| places.peers().join(folder).join(program));
    if let Some(path) = fetched.filter(|path| path.is_file()) {
        return Some(path);
    }
    on_path(program)
}

/// A program of the machine. Servers live where only root's `PATH` leads.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let all = std::env::split_paths(&folders).chain(usual);
    all.map(|folder| folder.join(program)).find(|path| path.is_file())
}
