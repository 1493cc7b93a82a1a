//! Every file of a crate opens with what it is for; a file of unit tests is for the one beside it.

use super::Finding;
use super::tree::{File, Tree};

/// Fewer words than these say nothing.
const WORDS_MIN: usize = 2;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().filter(|file| file.path.contains("/src/") && !file.is_test()).filter_map(silent).collect()
}

fn silent(file: &File) -> Option<Finding> {
    let first = file.text.lines().next().unwrap_or("");
    let Some(doc) = first.strip_prefix("//!") else {
        return Some(Finding::new(&file.path, 1, "no module doc: the first line begins with `//!`"));
    };
    let says_nothing = doc.split_whitespace().count() < WORDS_MIN;
    says_nothing.then(|| Finding::new(&file.path, 1, "the module doc says nothing: what does the file own?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_file_that_does_not_say_what_it_is_for_is_found() {
        assert_eq!(found("a/src/b.rs", "use std::io;\n"), 1);
        assert_eq!(found("a/src/b.rs", "//! stub\n"), 1);
        assert_eq!(found("a/src/b.rs", ""), 1);
    }

    #[test]
    fn a_file_that_does_is_fine() {
        assert_eq!(found("a/src/b.rs", "//! Owns the clock.\n"), 0);
        assert_eq!(found("a/src/b/tests.rs", "use super::*;\n"), 0);
        assert_eq!(found("a/tests/b.rs", "use std::io;\n"), 0);
    }
}
