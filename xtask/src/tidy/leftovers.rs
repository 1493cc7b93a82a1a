//! Nothing is left for later without a decision: no reminders, no holes, no tests that do not run.

use super::Finding;
use super::lex;
use super::tree::{File, Tree};

/// In code, comments and literals apart.
const IN_CODE: &[(&str, &str)] = &[
    ("todo!", "a hole: build it, or refuse it with a reason"),
    ("unimplemented!", "a hole: build it, or refuse it with a reason"),
    ("dbg!", "a trace left behind"),
    ("#[ignore", "a test that does not run: make it say `skipped: …`, or remove it"),
];

/// In code that is no test: a file that several test programs share has parts that one of them does not need.
const UNUSED: &str = "allow(dead_code";

/// In any text.
const IN_TEXT: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// The table itself names them.
const EXEMPT: &[&str] = &["xtask/src/tidy/leftovers.rs", "CONTRIBUTING.md"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let files = tree.files.iter().filter(|file| !EXEMPT.contains(&file.path.as_str()));
    files.flat_map(|file| holes(file).chain(unused(file)).chain(reminders(file))).collect()
}

fn holes(file: &File) -> impl Iterator<Item = Finding> {
    file.code_lines().flat_map(move |(line, text)| {
        let found = IN_CODE.iter().filter(move |(hole, _)| text.contains(hole));
        found.map(move |(hole, why)| Finding::new(&file.path, line, format!("`{hole}`: {why}")))
    })
}

fn unused(file: &File) -> impl Iterator<Item = Finding> {
    let lines = file.code_lines().filter(|(_, text)| text.contains(UNUSED) && !file.is_test());
    lines.map(|(line, _)| Finding::new(&file.path, line, format!("`{UNUSED})`: code that nobody calls")))
}

fn reminders(file: &File) -> impl Iterator<Item = Finding> {
    file.lines().flat_map(move |(line, text)| {
        let found = IN_TEXT.iter().filter(move |word| lex::has_word(text, word));
        found.map(move |word| {
            Finding::new(&file.path, line, format!("{word}: decide it now, or write an issue"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn what_was_left_for_later_is_found() {
        assert_eq!(found("a/src/b.rs", "todo!(\"x\")\n"), 1);
        assert_eq!(found("a/src/b.rs", "#[ignore = \"slow\"]\n"), 1);
        assert_eq!(found("a/src/b.rs", "// FIXME later\n"), 1);
        assert_eq!(found("a/src/b.rs", "#[allow(dead_code)]\n"), 1);
        assert_eq!(found("docs/a.md", "TODO: write\n"), 1);
    }

    #[test]
    fn what_only_looks_like_it_is_fine() {
        assert_eq!(found("a/src/b.rs", "let a = \"todo!\"; // no todo! here\n"), 0);
        assert_eq!(found("a/tests/b/mod.rs", "#![allow(dead_code)]\n"), 0);
        assert_eq!(found("a/src/b.rs", "const TODOS: u8 = 1;\n"), 0);
    }
}
