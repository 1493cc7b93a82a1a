//! The manifests: what they say, and what each line of them owes its reader.
//!
//! Owns the reading of `Cargo.toml` (the part of TOML that we use) and four rules: versions stand in one place, each
//! with its reason, every package takes the workspace's lints, and one that is published says what it is.

use super::Finding;
use super::tree::{File, Tree};

/// One `key = value` of a manifest.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Entry<'a> {
    pub(super) line: usize,
    /// `dependencies`, `target.'cfg(unix)'.dependencies`, …
    pub(super) table: &'a str,
    /// Up to the first dot: the `mio` of `mio.workspace = true`.
    pub(super) key: &'a str,
    /// Everything else of the line, without its comment.
    pub(super) value: &'a str,
    pub(super) comment: &'a str,
}

/// Which kind of dependency a table lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// What a user of the crate gets too.
    Shipped,
    /// What only our tests get.
    Dev,
}

/// What a registry shows of a package, and what goes into it.
const PUBLISHED_WITH: &[&str] =
    &["description", "readme", "documentation", "keywords", "categories", "license", "include"];

impl Entry<'_> {
    /// Whether this line names a dependency of a package.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self.table.rsplit('.').next() {
            Some("dependencies") if self.table != "workspace.dependencies" => Some(Kind::Shipped),
            Some("build-dependencies") => Some(Kind::Shipped),
            Some("dev-dependencies") => Some(Kind::Dev),
            _ => None,
        }
    }
}

/// The entries of a manifest, in order.
pub(super) fn entries(file: &File) -> Vec<Entry<'_>> {
    let mut table = "";
    let mut found = Vec::new();
    for (line, text) in file.lines() {
        let (text, comment) = split_comment(text);
        if let Some(header) = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = header.trim_matches(['[', ']']);
        } else if let Some((key, value)) = text.split_once('=') {
            let key = key.trim();
            let (key, rest) = key.split_once('.').unwrap_or((key, ""));
            let value = if rest.is_empty() { value } else { text };
            found.push(Entry { line, table, key, value: value.trim(), comment });
        }
    }
    found
}

/// The line without its comment, and the comment without its mark.
fn split_comment(line: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, letter) in line.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '#' if !quoted => return (&line[..at], line[at + 1..].trim()),
            _ => {}
        }
    }
    (line, "")
}

/// The folders of the workspace's packages.
pub(super) fn members(tree: &Tree) -> Vec<&str> {
    let Some(root) = tree.file("Cargo.toml") else { return Vec::new() };
    let list =
        root.text.split_once("\nmembers = [").map_or("", |(_, rest)| rest.split(']').next().unwrap_or(""));
    list.lines().filter_map(|line| line.trim().strip_prefix('"')?.split('"').next()).collect()
}

/// The manifest of each package, with the package's folder.
pub(super) fn packages(tree: &Tree) -> impl Iterator<Item = (&str, &File)> {
    members(tree).into_iter().filter_map(|member| Some((member, tree.file(&format!("{member}/Cargo.toml"))?)))
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let reasons = tree.file("Cargo.toml").into_iter().flat_map(reasonless);
    reasons.chain(packages(tree).flat_map(|(_, file)| package(file))).collect()
}

/// Dependencies of the workspace without a reason; our own crates need none.
fn reasonless(root: &File) -> impl Iterator<Item = Finding> {
    let ours = |entry: &Entry<'_>| entry.value.contains("path = ");
    let entries = entries(root).into_iter().filter(|entry| entry.table == "workspace.dependencies");
    entries.filter(move |entry| entry.comment.is_empty() && !ours(entry)).map(|entry| {
        Finding::new(
            &root.path,
            entry.line,
            format!("`{}` has no reason: end its line with `# why`", entry.key),
        )
    })
}

fn package(file: &File) -> Vec<Finding> {
    let entries = entries(file);
    let mut found: Vec<Finding> = entries
        .iter()
        .filter(|entry| entry.kind().is_some() && !is_inherited(entry))
        .map(|entry| {
            let message =
                format!("`{}` has a version of its own: versions stand in the root's Cargo.toml", entry.key);
            Finding::new(&file.path, entry.line, message)
        })
        .collect();
    if !entries.iter().any(|entry| entry.table == "lints" && entry.key == "workspace") {
        found.push(Finding::new(
            &file.path,
            1,
            "the workspace's lints are not taken: `[lints]`, `workspace = true`",
        ));
    }
    found.extend(unpublishable(file, &entries));
    found
}

/// What a published package does not say of itself.
fn unpublishable(file: &File, entries: &[Entry<'_>]) -> Vec<Finding> {
    let of_package = || entries.iter().filter(|entry| entry.table == "package");
    if of_package().any(|entry| entry.key == "publish" && entry.value == "false") {
        return Vec::new();
    }
    let lacks = |key: &&&str| !of_package().any(|entry| entry.key == **key);
    let missing = PUBLISHED_WITH.iter().filter(lacks);
    missing.map(|key| Finding::new(&file.path, 1, format!("a published package says its `{key}`"))).collect()
}

/// Taken from the workspace, or from a folder of ours that has no version to take: what is never published.
fn is_inherited(entry: &Entry<'_>) -> bool {
    let from_folder = entry.value.contains("path = ") && !entry.value.contains("version = ");
    from_folder || entry.value.contains("workspace = true")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[workspace]\nmembers = [\n    \"a\", # why\n    \"b\",\n]\n";

    fn found(root: &str, package: &str) -> Vec<String> {
        let root = format!("{ROOT}{root}");
        let tree = Tree::of(&[("Cargo.toml", &root), ("a/Cargo.toml", package)]);
        check(&tree).into_iter().map(|finding| finding.to_string()).collect()
    }

    const LINTS: &str = "\n[package]\npublish = false\n[lints]\nworkspace = true\n";

    #[test]
    fn members_are_read() {
        assert_eq!(members(&Tree::of(&[("Cargo.toml", ROOT)])), ["a", "b"]);
    }

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        assert_eq!(found("[workspace.dependencies]\nmio = \"1\" # the loop\n", LINTS), [""; 0]);
        let bad = found("[workspace.dependencies]\na = { path = \"a\" }\nmio = \"1#2\"\n", LINTS);
        assert!(bad.len() == 1 && bad[0].contains("`mio` has no reason"), "{bad:?}");
    }

    #[test]
    fn a_version_outside_of_the_root_is_found() {
        let good = "[dependencies]\nmio.workspace = true\n[dev-dependencies]\nx = { path = \"../x\" }\n";
        assert_eq!(found("", &format!("{good}{LINTS}")), [""; 0]);
        let bad = found("", &format!("[target.'cfg(unix)'.dependencies]\nmio = \"1\"\n{LINTS}"));
        assert!(bad.len() == 1 && bad[0].starts_with("a/Cargo.toml:2:"), "{bad:?}");
    }

    #[test]
    fn a_package_without_the_lints_is_found() {
        assert!(found("", "[package]\n")[0].contains("lints"));
    }

    #[test]
    fn a_published_package_that_says_too_little_is_found() {
        let bad = found("", "[package]\ndescription = \"x\"\n[lints]\nworkspace = true\n");
        assert_eq!(bad.len(), PUBLISHED_WITH.len() - 1, "{bad:?}");
        assert!(bad[0].ends_with("a published package says its `readme`"), "{bad:?}");
    }
}
