//! ARCHITECTURE.md against the tree: its map names every crate and every top-level module, and none that is gone;
//! its invariants say who checks them.
//!
//! The map is the section `## Code map`: a heading `### crate/` per crate, and an item "- `module`" per module,
//! a folder's name with or without its slash.

use std::collections::BTreeMap;

use super::Finding;
use super::manifest;
use super::tree::{File, Tree};

const PAGE: &str = "ARCHITECTURE.md";
const MAP: &str = "## Code map";
const INVARIANTS: &str = "## Invariants";
/// What each invariant says somewhere.
const CHECKED: &str = "Checked by";
/// Roots of crates and their unit tests are no modules of the map.
const UNMAPPED: &[&str] = &["lib", "main", "tests"];

/// A crate's line in the map, and the lines of its modules.
#[derive(Debug, Default)]
struct Section<'a> {
    line: usize,
    modules: BTreeMap<&'a str, usize>,
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.file(PAGE) else {
        return vec![Finding::new(PAGE, 1, "it is missing")];
    };
    let map = map(page);
    let mut found: Vec<Finding> =
        manifest::members(tree).into_iter().flat_map(|member| compare(tree, &map, member)).collect();
    let gone = map.iter().filter(|(name, _)| !tree.has(name));
    found.extend(gone.map(|(name, section)| {
        Finding::new(PAGE, section.line, format!("the map names `{name}`, which is gone"))
    }));
    found.extend(unchecked(page));
    found
}

fn map(page: &File) -> BTreeMap<&str, Section<'_>> {
    let mut map: BTreeMap<&str, Section<'_>> = BTreeMap::new();
    let mut current = None;
    for (line, text) in section(page, MAP) {
        if let Some(heading) = text.strip_prefix("### ") {
            let name = first_code(heading).unwrap_or(heading);
            map.insert(name, Section { line, modules: BTreeMap::new() });
            current = Some(name);
        } else if let Some(section) = current.and_then(|name| map.get_mut(name)) {
            section.modules.extend(module(text).map(|module| (module, line)));
        }
    }
    map
}

/// The module that an item of the map is about.
fn module(text: &str) -> Option<&str> {
    text.strip_prefix("- ").filter(|item| item.starts_with('`')).and_then(first_code)
}

/// The first thing between backticks, without a slash at its end.
fn first_code(text: &str) -> Option<&str> {
    text.split('`').nth(1).map(|name| name.trim_end_matches('/'))
}

/// The lines from a heading to the next of its rank.
fn section<'a>(page: &'a File, heading: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let from = page.lines().skip_while(move |(_, text)| *text != heading).skip(1);
    from.take_while(|(_, text)| !text.starts_with("## "))
}

fn compare(tree: &Tree, map: &BTreeMap<&str, Section<'_>>, member: &str) -> Vec<Finding> {
    let Some(section) = map.get(member) else {
        return vec![Finding::new(PAGE, 1, format!("the map lacks the crate: \"### `{member}/`\""))];
    };
    let there = modules(tree, member);
    let missing = there.iter().filter(|module| !section.modules.contains_key(*module));
    let gone = section.modules.iter().filter(|(module, _)| !there.contains(module));
    let missing = missing
        .map(|module| Finding::new(PAGE, section.line, format!("the map of {member} lacks `{module}`")));
    let gone = gone.map(|(module, line)| {
        Finding::new(PAGE, *line, format!("{member} has no module `{module}` any more"))
    });
    missing.chain(gone).collect()
}

/// The top-level modules of a package, in order.
fn modules<'a>(tree: &'a Tree, member: &str) -> Vec<&'a str> {
    let prefix = format!("{member}/src/");
    let names = tree.rust().filter_map(|file| file.path.strip_prefix(&prefix)?.split(['/', '.']).next());
    let mut names: Vec<&str> = names.filter(|name| !UNMAPPED.contains(name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Invariants that nobody checks.
fn unchecked(page: &File) -> Vec<Finding> {
    let mut items: Vec<(usize, String)> = Vec::new();
    for (line, text) in section(page, INVARIANTS) {
        match (text.starts_with("- "), items.last_mut()) {
            (true, _) => items.push((line, text.to_owned())),
            (false, Some((_, item))) => item.push_str(&format!(" {}", text.trim())),
            (false, None) => {}
        }
    }
    if items.is_empty() {
        return vec![Finding::new(PAGE, 1, format!("there is no list under `{INVARIANTS}`"))];
    }
    let bad = items.into_iter().filter(|(_, item)| !item.contains(CHECKED));
    bad.map(|(line, _)| Finding::new(PAGE, line, format!("an invariant that nobody checks: \"{CHECKED} …\"")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE_OK: &str = "\
## Code map

### `a/`: the rules

- `slot`: a place
- `logs/`: lines

## Invariants

- One loop.
  Checked by clippy.
";

    fn found(page: &str) -> Vec<String> {
        let files = [
            ("Cargo.toml", "[workspace]\nmembers = [\n\"a\",\n]\n"),
            ("a/src/lib.rs", ""),
            ("a/src/slot.rs", ""),
            ("a/src/logs/mod.rs", ""),
            ("a/src/logs/writer.rs", ""),
            (PAGE, page),
        ];
        check(&Tree::of(&files)).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_true_map_is_fine() {
        assert_eq!(found(PAGE_OK), [""; 0]);
    }

    #[test]
    fn a_module_that_is_missing_or_gone_is_found() {
        assert_eq!(
            found(&PAGE_OK.replace("- `slot`: a place\n", "")),
            ["ARCHITECTURE.md:3: the map of a lacks `slot`"]
        );
        let renamed = found(&PAGE_OK.replace("`logs/`", "`log/`"));
        assert_eq!(
            renamed,
            [
                "ARCHITECTURE.md:3: the map of a lacks `logs`",
                "ARCHITECTURE.md:6: a has no module `log` any more"
            ]
        );
    }

    #[test]
    fn a_crate_that_is_missing_or_gone_is_found() {
        let found = found(&PAGE_OK.replace("### `a/`", "### `b/`"));
        assert!(found[0].ends_with("the map lacks the crate: \"### `a/`\""), "{found:?}");
        assert!(found[1].contains("the map names `b`, which is gone"), "{found:?}");
    }

    #[test]
    fn an_invariant_that_nobody_checks_is_found() {
        assert!(found(&PAGE_OK.replace("  Checked by clippy.\n", ""))[0].contains("nobody checks"));
        assert!(found(&PAGE_OK.replace("- One loop.", "One loop."))[0].contains("no list"));
    }

    #[test]
    fn a_missing_page_is_found() {
        assert_eq!(check(&Tree::of(&[]))[0].message, "it is missing");
    }
}
