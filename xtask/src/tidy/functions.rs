//! The functions of a file and their length.
//!
//! Owns the brace matching. Counts as clippy does: lines of the body that hold code. Called by `sizes`.

use super::lex::is_word;
use super::tree::File;

/// A function with a body.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Of the `fn`, from 1.
    pub(super) line: usize,
    /// How many lines between its braces hold code.
    pub(super) length: usize,
    pub(super) is_test: bool,
}

/// Every function of the file, those within functions too.
pub(super) fn functions(file: &File) -> Vec<Function> {
    let tests_from = if file.is_test() { 0 } else { tests_from(&file.code) };
    file.code.match_indices("fn ").filter_map(|(at, _)| function(&file.code, at, tests_from)).collect()
}

/// Where the module of unit tests begins.
fn tests_from(code: &str) -> usize {
    code.find("#[cfg(test)]\nmod ").unwrap_or(code.len())
}

fn function(code: &str, at: usize, tests_from: usize) -> Option<Function> {
    if code[..at].chars().next_back().is_some_and(is_word) {
        return None;
    }
    let name: String = code[at + "fn ".len()..].chars().take_while(|letter| is_word(*letter)).collect();
    let open = at + body(&code[at..])?;
    let close = open + closing(&code[open..])?;
    let line = 1 + code[..at].matches('\n').count();
    (!name.is_empty()).then(|| Function {
        name,
        line,
        length: length(&code[open..close]),
        is_test: at >= tests_from,
    })
}

/// Where the body opens: the first brace outside of brackets; none for a declaration.
fn body(code: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, letter) in code.char_indices() {
        match letter {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.checked_sub(1)?,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Where the brace that opens `code` is closed.
fn closing(code: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, letter) in code.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Lines with code after the one that opens and before the one that closes.
fn length(body: &str) -> usize {
    let lines: Vec<&str> = body.split('\n').collect();
    let within = lines.get(1..lines.len().saturating_sub(1)).unwrap_or_default();
    within.iter().filter(|line| !line.trim().is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;

    fn of(path: &str, source: &str) -> Vec<(String, usize, usize, bool)> {
        let tree = Tree::of(&[(path, source)]);
        functions(&tree.files[0]).into_iter().map(|f| (f.name, f.line, f.length, f.is_test)).collect()
    }

    #[test]
    fn lines_of_code_are_counted_and_others_are_not() {
        let source = "fn long(a: [u8; 2]) -> u8 {\n    // why }\n\n    let b = '}';\n    1\n}\n";
        assert_eq!(of("a.rs", source), [("long".into(), 1, 2, false)]);
    }

    #[test]
    fn declarations_and_types_have_no_body() {
        assert_eq!(of("a.rs", "trait T { fn a(&self); }\ntype F = fn (u8);\n"), []);
    }

    #[test]
    fn functions_below_the_test_mark_are_tests() {
        let source = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        assert_eq!(of("a.rs", source), [("a".into(), 1, 0, false), ("b".into(), 5, 0, true)]);
        assert_eq!(of("tests/a.rs", "fn a() {}\n"), [("a".into(), 1, 0, true)]);
    }
}
