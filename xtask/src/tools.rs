//! Programs of the machine: where they are, and how to get the ones that are missing.
//!
//! Owns the search in `PATH` and the one call to the system's package client. Never installs anything unless it is
//! root and the program is really missing. Called by `nodes`, `apps`, `peers` and `languages`.

use std::path::PathBuf;
use std::process::Command;

use crate::Outcome;
use crate::run;

/// Where `PATH` has this program.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// Sees to it that `programs` are there, if need be by installing the packages of the same names, node's as `nodejs`.
pub(crate) fn ensure(programs: &[&str]) -> Outcome {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| find(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> =
        missing.iter().map(|program| if *program == "node" { "nodejs" } else { program }).collect();
    install_packages(&packages)
}

/// Installs packages of the system, by apt-get, where we may.
pub(crate) fn install_packages(packages: &[&str]) -> Outcome {
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" and ");
    if find("apt-get").is_none() || !is_root() {
        return Err(format!("{names} not found"));
    }
    install(packages).map_err(|why| format!("{names} not found, and {why}"))
}

fn install(packages: &[&str]) -> Outcome {
    run::run(apt_get().args(["update", "--quiet"]))?;
    run::run(apt_get().args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // The second: a server that is installed is not started, whatever its package says.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command
}

fn is_root() -> bool {
    run::ask(Command::new("id").arg("-u")).is_ok_and(|uid| uid == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_path() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-here").is_none());
        assert!(ensure(&["sh"]).is_ok());
    }
}
