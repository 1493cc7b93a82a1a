//! `OwnedFd` in, `BorrowedFd` out: no bare descriptor number in a public signature.

use super::Finding;
use super::lex;
use super::tree::{File, Tree};

/// The bare number's name.
const BARE: &str = "RawFd";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(bare).collect()
}

fn bare(file: &File) -> impl Iterator<Item = Finding> {
    let starts = file.code.match_indices("pub ").map(|(at, _)| at);
    let bad = starts.filter(|at| lex::has_word(signature(&file.code[*at..]), BARE));
    let lines = bad.map(|at| 1 + file.code[..at].matches('\n').count());
    lines.map(|line| {
        Finding::new(&file.path, line, format!("`{BARE}` in a public signature: `OwnedFd` or `BorrowedFd`"))
    })
}

/// A function's words up to its body, of everything else the one line.
fn signature(code: &str) -> &str {
    let line = code.lines().next().unwrap_or("");
    if lex::has_word(line, "fn") { code.split(['{', ';']).next().unwrap_or("") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<usize> {
        check(&Tree::of(&[("a/src/b.rs", text)])).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_bare_number_in_public_is_found() {
        assert_eq!(found("\npub fn a(\n    fd: RawFd,\n) {\n}\n"), [2]);
        assert_eq!(found("pub struct A {\n    pub fd: RawFd,\n}\n"), [2]);
        assert_eq!(found("pub fn a() -> RawFd {\n}\n"), [1]);
    }

    #[test]
    fn within_a_crate_and_within_a_body_it_is_allowed() {
        assert_eq!(found("pub(crate) fn a(fd: RawFd) {}\npub fn b() {\n    let c: RawFd = 1;\n}\n"), [0; 0]);
    }
}
