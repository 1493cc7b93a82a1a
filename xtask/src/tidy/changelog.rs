//! The front pages: the changelog has a place for what comes next, and the README says the version that is needed.

use super::Finding;
use super::manifest;
use super::tree::Tree;

const CHANGELOG: &str = "CHANGELOG.md";
const README: &str = "README.md";
/// The changelog's place for what is not released.
const NEXT: &str = "## [Unreleased]";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let has = |path: &str, text: &str| tree.file(path).is_some_and(|file| file.text.contains(text));
    let mut found = Vec::new();
    if !has(CHANGELOG, NEXT) {
        found.push(Finding::new(CHANGELOG, 1, format!("there is no section `{NEXT}`")));
    }
    if let Some(version) = rust_version(tree).filter(|version| !has(README, &format!("Rust {version}"))) {
        found.push(Finding::new(
            README,
            1,
            format!("it does not say `Rust {version}`, which Cargo.toml asks for"),
        ));
    }
    found
}

fn rust_version(tree: &Tree) -> Option<String> {
    let entries = tree.file("Cargo.toml").map(manifest::entries)?;
    let entry = entries.iter().find(|entry| entry.key == "rust-version")?;
    Some(entry.value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(changelog: &str, readme: &str) -> Vec<String> {
        let manifest = "[workspace.package]\nrust-version = \"1.88\"\n";
        let tree = Tree::of(&[(CHANGELOG, changelog), (README, readme), ("Cargo.toml", manifest)]);
        check(&tree).into_iter().map(|finding| finding.file).collect()
    }

    #[test]
    fn a_changelog_without_a_place_for_news_is_found() {
        assert_eq!(found("# Changelog\n", "Rust 1.88"), [CHANGELOG]);
    }

    #[test]
    fn a_readme_that_asks_for_another_rust_is_found() {
        assert_eq!(found("## [Unreleased]\n", "Rust 1.70"), [README]);
        assert_eq!(found("## [Unreleased]\n", "Rust 1.88 or later"), [""; 0]);
    }
}
