//! Who is measured beside clustr.
//!
//! Owns which peers are there, and how each is started with the same app. What is missing is said and skipped; fetching is
//! the chore's part (`cargo xtask bench`). Never measures.

mod configs;
mod server;
mod start;

use std::path::PathBuf;

use clustr_benches::places::Places;

pub(crate) use server::Server;
pub(crate) use start::{App, Fleet, bare, clustr, ours, peer};

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

    /// Why somebody does not take part.
    pub(crate) fn skipped(&self) -> &[String] {
        &self.skipped
    }
}

fn locate(places: &Places, name: Name) -> Option<PathBuf> {
    let (program, folder) = name.program();
    let fetched = folder.map(|folder| places.peers().join(folder).join(program));
    if let Some(path) = fetched.filter(|path| path.is_file()) {
        return Some(path);
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let all = std::env::split_paths(&folders).chain(usual);
    all.map(|folder| folder.join(program)).find(|path| path.is_file())
}
