//! The programs that clustr is measured beside: npm's, Python's, the system's.
//!
//! Owns `target/xtask/peers`, and how each peer is got through its ordinary client. Who cannot be had is said, and the
//! measurement goes on without him. Called by `bench`.

use std::path::{Path, PathBuf};

use crate::{Outcome, nodes, python, run, tools};

/// Where a peer comes from.
enum Source {
    /// The machine, or else the system's package client.
    System,
    /// npm, with this program.
    Npm { package: &'static str, program: &'static str },
    /// Python's index, with this program.
    Python { package: &'static str, program: &'static str },
}

const PEERS: &[(&str, Source)] = &[
    ("node", Source::System),
    ("pm2", Source::Npm { package: "pm2", program: "pm2-runtime" }),
    ("gunicorn", Source::Python { package: "gunicorn", program: "gunicorn" }),
    ("nginx", Source::System),
    // The same program as the package `uwsgi`, built already.
    ("uwsgi", Source::Python { package: "pyuwsgi", program: "uwsgi" }),
    ("circus", Source::Python { package: "circus", program: "circusd" }),
    ("supervisord", Source::Python { package: "supervisor", program: "supervisord" }),
];

/// What they are called.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    PEERS.iter().map(|(name, _)| *name)
}

/// Gets those of `asked` that are missing, as far as they can be had.
pub(crate) fn fetch(asked: &[&str]) {
    run::announce("peers");
    for (name, source) in PEERS.iter().filter(|(name, _)| asked.contains(name)) {
        match get(name, source) {
            Ok(()) => println!("{name}"),
            Err(why) => println!("skipped: {name} not found: {why}"),
        }
    }
}

fn get(name: &str, source: &Source) -> Outcome {
    match source {
        Source::System => system(name),
        Source::Npm { package, program } => npm(package, program),
        Source::Python { package, program } => python(package, program),
    }
}

/// Servers live where only root's `PATH` leads.
fn system(name: &str) -> Outcome {
    let elsewhere =
        ["/usr/sbin", "/usr/local/sbin"].iter().any(|folder| Path::new(folder).join(name).is_file());
    if elsewhere { Ok(()) } else { tools::ensure(&[name]) }
}

fn npm(package: &str, program: &str) -> Outcome {
    let home = home().join(package);
    if home.join("node_modules/.bin").join(program).is_file() {
        return Ok(());
    }
    tools::ensure(&["npm"])?;
    nodes::install(&home, package)
}

fn python(package: &str, program: &str) -> Outcome {
    let home = home().join("python");
    if home.join("bin").join(program).is_file() {
        return Ok(());
    }
    if !home.join("bin/python").is_file() {
        tools::ensure(&["python3"])?;
        python::make(&home)?;
    }
    python::pip(&home, &[package])
}

fn home() -> PathBuf {
    run::cache().join("peers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_name_of_its_own() {
        for name in names() {
            assert_eq!(names().filter(|other| *other == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn what_nobody_asked_for_is_not_fetched() {
        fetch(&[]);
    }
}
