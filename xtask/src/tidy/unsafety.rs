//! The ledger of `unsafe`: which file has how many, and no file but those called `sys.rs`.
//!
//! The ledger makes a new one a change that a reader sees. That each has its reason is clippy's part
//! (`undocumented_unsafe_blocks`).

use std::collections::BTreeMap;

use super::Finding;
use super::lex;
use super::tree::{File, Tree};

/// Lines of `path count`; `#` begins a comment.
const LEDGER: &str = "xtask/unsafe-ledger.txt";
/// The only name of a file that may hold it.
const HOME: &str = "sys.rs";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let counted: BTreeMap<&str, usize> = tree
        .rust()
        .map(|file| (file.path.as_str(), lex::count_word(&file.code, "unsafe")))
        .filter(|(_, n)| *n > 0)
        .collect();
    let mut found: Vec<Finding> = tree.rust().flat_map(|file| strays(file).chain(permits(file))).collect();
    found.extend(compare(&counted, tree.file(LEDGER)));
    found
}

/// `unsafe` in a file of another name.
fn strays(file: &File) -> impl Iterator<Item = Finding> {
    let lines = file.code_lines().filter(|(_, text)| file.name() != HOME && lex::has_word(text, "unsafe"));
    lines.map(|(line, _)| Finding::new(&file.path, line, format!("`unsafe` outside of a file called {HOME}")))
}

/// The lint may be lifted right above `mod sys;` and nowhere else.
fn permits(file: &File) -> impl Iterator<Item = Finding> {
    let lifted = |text: &str| text.contains("allow(unsafe_code") || text.contains("expect(unsafe_code");
    let lines: Vec<(usize, &str)> = file.code_lines().collect();
    let bad = lines.clone().into_iter().filter(move |(line, text)| {
        let next = lines.get(*line).map_or("", |(_, next)| next.trim());
        lifted(text) && !next.ends_with("mod sys;")
    });
    bad.map(|(line, _)| {
        Finding::new(&file.path, line, "`unsafe_code` is allowed right above `mod sys;` only")
    })
}

fn compare(counted: &BTreeMap<&str, usize>, ledger: Option<&File>) -> Vec<Finding> {
    let listed: BTreeMap<&str, (usize, usize)> = ledger.map(entries).unwrap_or_default();
    let mut found = Vec::new();
    for (path, count) in counted {
        match listed.get(path) {
            Some((_, known)) if known == count => {}
            Some((line, known)) => {
                let message = format!("{path} has {count} `unsafe`, the ledger says {known}");
                found.push(Finding::new(LEDGER, *line, message));
            }
            None => {
                found.push(Finding::new(LEDGER, 1, format!("the ledger lacks the line `{path} {count}`")));
            }
        }
    }
    let gone = listed.iter().filter(|(path, _)| !counted.contains_key(*path));
    found.extend(
        gone.map(|(path, (line, _))| Finding::new(LEDGER, *line, format!("{path} has no `unsafe` any more"))),
    );
    found
}

/// Path to line and count.
fn entries(ledger: &File) -> BTreeMap<&str, (usize, usize)> {
    let lines = ledger.lines().filter(|(_, text)| !text.starts_with('#'));
    lines
        .filter_map(|(line, text)| {
            text.split_once(' ').and_then(|(path, n)| Some((path, (line, n.trim().parse().ok()?))))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_ledger_that_agrees_is_fine() {
        let files = [("a/src/sys.rs", "unsafe { f() }\n// unsafe\n"), (LEDGER, "# why\na/src/sys.rs 1\n")];
        assert_eq!(found(&files), [""; 0]);
    }

    #[test]
    fn one_more_one_missing_and_one_gone_are_found() {
        let code = ("a/src/sys.rs", "unsafe { f() }\nunsafe { g() }\n");
        assert!(
            found(&[code, (LEDGER, "a/src/sys.rs 1\n")])[0].contains("has 2 `unsafe`, the ledger says 1")
        );
        assert!(found(&[code])[0].contains("lacks the line `a/src/sys.rs 2`"));
        assert!(
            found(&[(LEDGER, "# x\nb/src/sys.rs 3\n")])[0]
                .starts_with("xtask/unsafe-ledger.txt:2: b/src/sys.rs")
        );
    }

    #[test]
    fn unsafe_in_another_file_is_found() {
        let found = found(&[("a/src/lib.rs", "\nunsafe { f() }\n"), (LEDGER, "a/src/lib.rs 1\n")]);
        assert_eq!(found, ["a/src/lib.rs:2: `unsafe` outside of a file called sys.rs"]);
    }

    #[test]
    fn the_lint_is_lifted_for_sys_only() {
        assert_eq!(found(&[("a/src/lib.rs", "#[allow(unsafe_code)]\nmod sys;\n")]), [""; 0]);
        assert!(
            found(&[("a/src/lib.rs", "#![allow(unsafe_code)]\nmod b;\n")])[0].contains("`mod sys;` only")
        );
    }
}
