//! The arrows of the architecture, as data: who may depend on whom.
//!
//! A new dependency is a decision: it needs its line here, its reason in the root's `Cargo.toml`, and a reader who
//! agrees with both.

use super::Finding;
use super::manifest::{self, Entry, Kind};
use super::tree::{File, Tree};

/// What each package ships with; a name with `?` must be optional.
const MAY_SHIP: &[(&str, &[&str])] = &[
    ("clustr-core", &["serde?"]),
    ("clustr-net", &["mio?", "nix", "rustix", "serde?", "serde_json?", "thiserror"]),
    (
        "clustr-supervisor",
        &[
            "clustr-core",
            "clustr-net",
            "crossbeam-channel",
            "libc",
            "mio",
            "nix",
            "num_cpus",
            "rustix",
            "serde",
            "serde_json",
            "thiserror",
        ],
    ),
    (
        "clustr-cli",
        &[
            "anstyle",
            "clap",
            "clap_complete",
            "clap_mangen",
            "clustr-core",
            "clustr-net",
            "clustr-supervisor",
            "humantime",
            "indicatif",
            "mio",
            "nix",
            "num_cpus",
            "rustix",
            "serde",
            "serde_json",
            "thiserror",
            "toml",
        ],
    ),
    (
        "benches",
        &[
            "clustr-core",
            "clustr-net",
            "clustr-supervisor",
            "hdrhistogram",
            "indicatif?",
            "libc",
            "mio",
            "nix",
            "plotters?",
            "rustix",
            "serde_json",
        ],
    ),
    ("xtask", &[]),
];

/// What their tests may use of ours besides; of others' crates, whatever they need (the root gives the reason).
const MAY_TEST_WITH: &[(&str, &[&str])] = &[
    ("clustr-core", &[]),
    ("clustr-net", &[]),
    ("clustr-supervisor", &["clustr-benches", "clustr-core", "clustr-net"]),
    ("clustr-cli", &["clustr-benches", "clustr-core", "clustr-net", "clustr-supervisor"]),
    ("benches", &["clustr-core", "clustr-net", "clustr-supervisor"]),
];

/// What keeps the core pure: these stand in its `lib.rs`.
const CORE: &str = "clustr-core/src/lib.rs";
const CORE_VOWS: &[&str] = &["#![no_std]", "#![forbid(unsafe_code)]"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    manifest::packages(tree).flat_map(|(member, file)| package(member, file)).chain(core(tree)).collect()
}

fn package(member: &str, file: &File) -> Vec<Finding> {
    let entries = manifest::entries(file);
    entries
        .iter()
        .filter_map(|entry| Some(Finding::new(&file.path, entry.line, fault(member, entry)?)))
        .collect()
}

fn fault(member: &str, entry: &Entry<'_>) -> Option<String> {
    match entry.kind()? {
        Kind::Shipped => shipped(member, entry),
        Kind::Dev => tested(member, entry),
    }
}

fn shipped(member: &str, entry: &Entry<'_>) -> Option<String> {
    let name = entry.key;
    let allowed = allowed(MAY_SHIP, member);
    let optional = entry.value.contains("optional = true");
    if allowed.contains(&name)
        || (optional && allowed.iter().any(|known| known.strip_suffix('?') == Some(name)))
    {
        return None;
    }
    if allowed.iter().any(|known| known.strip_suffix('?') == Some(name)) {
        return Some(format!("{member} may use `{name}` as an optional dependency only"));
    }
    Some(format!("{member} may not depend on `{name}`: the arrows stand in xtask/src/tidy/layers.rs"))
}

fn tested(member: &str, entry: &Entry<'_>) -> Option<String> {
    let ours = entry.key.starts_with("clustr-");
    let refused = member == "xtask" || (ours && !allowed(MAY_TEST_WITH, member).contains(&entry.key));
    refused.then(|| format!("the tests of {member} may not depend on `{}`", entry.key))
}

fn allowed<'a>(table: &'a [(&str, &[&str])], member: &str) -> &'a [&'a str] {
    table.iter().find(|(name, _)| *name == member).map_or(&[], |(_, allowed)| allowed)
}

fn core(tree: &Tree) -> impl Iterator<Item = Finding> {
    let lib = tree.file(CORE);
    let missing = move |vow: &&&str| lib.is_some_and(|lib| !lib.code.contains(**vow));
    CORE_VOWS
        .iter()
        .filter(missing)
        .map(|vow| Finding::new(CORE, 1, format!("the core has lost its `{vow}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(member: &str, manifest: &str) -> Vec<String> {
        let root = format!("[workspace]\nmembers = [\n\"{member}\",\n]\n");
        let tree = Tree::of(&[("Cargo.toml", &root), (&format!("{member}/Cargo.toml"), manifest)]);
        check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_found() {
        assert!(
            found("clustr-net", "[dependencies]\nclustr-core.workspace = true\n")[0]
                .contains("`clustr-core`")
        );
        assert!(found("clustr-core", "[dependencies]\nmio.workspace = true\n")[0].contains("`mio`"));
        assert!(found("xtask", "[dev-dependencies]\ntempfile.workspace = true\n")[0].contains("`tempfile`"));
        assert!(
            found("clustr-core", "[dev-dependencies]\nclustr-net.workspace = true\n")[0].contains("tests")
        );
        assert!(found("clustr-new", "[dependencies]\nmio.workspace = true\n")[0].contains("`mio`"));
    }

    #[test]
    fn what_must_be_optional_is_found_when_it_is_not() {
        assert!(
            found("clustr-net", "[dependencies]\nserde = { workspace = true }\n")[0].contains("optional")
        );
        assert_eq!(
            found("clustr-net", "[dependencies]\nserde = { workspace = true, optional = true }\n"),
            [""; 0]
        );
    }

    #[test]
    fn arrows_that_are_drawn_are_fine() {
        assert_eq!(found("clustr-supervisor", "[dependencies]\nclustr-core.workspace = true\n"), [""; 0]);
        assert_eq!(found("clustr-core", "[dev-dependencies]\nproptest.workspace = true\n"), [""; 0]);
    }

    #[test]
    fn a_core_that_could_do_io_is_found() {
        let found = check(&Tree::of(&[(CORE, "//! The rules.\n#![forbid(unsafe_code)]\n// #![no_std]\n")]));
        assert!(found.len() == 1 && found[0].message.contains("no_std"), "{found:?}");
    }
}
