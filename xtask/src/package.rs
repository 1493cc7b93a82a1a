//! `cargo xtask package`: what would be published can be packed, each crate with what a stranger needs first.
//!
//! Owns the list of what is never published. Packs all crates together, so that a crate may need a sibling's version that no
//! registry has yet, and builds each from its own files alone. Never uploads. Called by `ci`.

use crate::{Outcome, run};

/// Never published: they have no place outside of the workspace.
const OURS_ALONE: &[&str] = &["clustr-benches", "xtask"];

const PUBLISHED: &[&str] = &["clustr-core", "clustr-net", "clustr-supervisor", "clustr-cli"];

/// What every package must carry.
const CARRIED: &[&str] = &["Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// The chore.
pub(crate) fn run(_: &[String]) -> Outcome {
    let mut faults = Vec::new();
    for name in PUBLISHED {
        let list = run::ask(&mut run::cargo(&["package", "--list", "--allow-dirty", "--package", name]))?;
        println!("{name}: {} files", list.lines().count());
        faults.extend(missing(&list).map(|file| format!("{name} would be packed without {file}")));
    }
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    run::run(run::cargo(&["package", "--workspace", "--allow-dirty"]).args(excluded()))
}

fn excluded() -> impl Iterator<Item = &'static str> {
    OURS_ALONE.iter().flat_map(|name| ["--exclude", name])
}

fn missing(list: &str) -> impl Iterator<Item = &'static str> {
    let lacks = move |file: &&&str| !list.lines().any(|line| line == **file);
    CARRIED.iter().filter(lacks).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_its_page_is_found() {
        assert_eq!(missing("Cargo.toml\nLICENSE-APACHE\nLICENSE-MIT\nREADME.md\n").count(), 0);
        let found: Vec<_> = missing("Cargo.toml\nLICENSE-APACHE\nsrc/README.md\nLICENSE-MIT\n").collect();
        assert_eq!(found, ["README.md"]);
    }

    #[test]
    fn what_is_ours_alone_is_left_out() {
        assert_eq!(excluded().collect::<Vec<_>>(), ["--exclude", "clustr-benches", "--exclude", "xtask"]);
    }
}
