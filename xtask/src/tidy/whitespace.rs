//! Whitespace that nobody sees, and everybody's diff shows.

use super::Finding;
use super::tree::{File, Tree};

/// Kinds of files that are written by hand.
const WRITTEN: &[&str] =
    &["rs", "toml", "md", "txt", "js", "cjs", "mjs", "ts", "json", "py", "sh", "yml", "yaml"];
/// Golden texts keep what a program printed.
const EXEMPT: &[&str] = &["golden", "snapshots", "proptest-regressions"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter(|file| is_written(file)).flat_map(faults).collect()
}

fn is_written(file: &File) -> bool {
    let exempt = file.path.split('/').any(|part| EXEMPT.contains(&part));
    !exempt && (file.path == ".ci/run" || WRITTEN.iter().any(|kind| file.is(kind)))
}

fn faults(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in file.text.split('\n').enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            found.push(Finding::new(&file.path, index + 1, "whitespace at the end of the line"));
        }
        if line.contains('\t') {
            found.push(Finding::new(&file.path, index + 1, "a tab: spaces"));
        }
    }
    if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
        found.push(Finding::new(&file.path, file.lines().count(), "a file ends with exactly one newline"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn what_nobody_sees_is_found() {
        assert_eq!(found("a.md", "a \n"), 1);
        assert_eq!(found("a.rs", "a\tb\n"), 1);
        assert_eq!(found("a.rs", "a\r\n"), 1);
        assert_eq!(found(".ci/run", "a"), 1);
        assert_eq!(found("a.toml", "a\n\n"), 1);
    }

    #[test]
    fn golden_texts_and_clean_files_are_fine() {
        assert_eq!(found("a/tests/golden/b.txt", "a \n"), 0);
        assert_eq!(found("a.md", "a\n"), 0);
        assert_eq!(found("a.png", "a\t"), 0);
    }
}
