//! A small file is a thought: ceilings for files and functions.

use super::Finding;
use super::functions::{Function, functions};
use super::tree::{File, Tree};

/// Lines of a file, its tests included.
const FILE_LINES_MAX: usize = 600;
/// Lines of code in a function.
const FUNCTION_LINES_MAX: usize = 60;
/// The same for tests, which tell a story from beginning to end.
const TEST_LINES_MAX: usize = 80;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(|file| long_file(file).into_iter().chain(long_functions(file))).collect()
}

fn long_file(file: &File) -> Option<Finding> {
    let lines = file.lines().count();
    let message = || format!("{lines} lines: a file has at most {FILE_LINES_MAX}");
    (lines > FILE_LINES_MAX).then(|| Finding::new(&file.path, FILE_LINES_MAX, message()))
}

fn long_functions(file: &File) -> impl Iterator<Item = Finding> {
    functions(file).into_iter().filter_map(|Function { name, line, length, is_test }| {
        let most = if is_test { TEST_LINES_MAX } else { FUNCTION_LINES_MAX };
        (length > most).then(|| {
            Finding::new(&file.path, line, format!("`{name}` has {length} lines of code: at most {most}"))
        })
    })
}

/// One line about the tree's shape: the style law asks for medians under 200 and 15.
pub(super) fn summary(tree: &Tree) -> String {
    let mut files: Vec<usize> = tree.rust().map(|file| file.lines().count()).collect();
    let mut all: Vec<usize> = tree.rust().flat_map(functions).map(|function| function.length).collect();
    files.sort_unstable();
    all.sort_unstable();
    let shape = |sizes: &[usize]| {
        let median = sizes.get(sizes.len() / 2).copied().unwrap_or(0);
        format!("median {median}, longest {}", sizes.last().copied().unwrap_or(0))
    };
    format!("{} files of Rust ({}), {} functions ({})", files.len(), shape(&files), all.len(), shape(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    work();\n".repeat(lines))
    }

    fn found(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(found("a/src/b.rs", &"\n".repeat(601)), 1);
        assert_eq!(found("a/src/b.rs", &"\n".repeat(600)), 0);
    }

    #[test]
    fn a_long_function_is_found_and_tests_may_be_longer() {
        assert_eq!(found("a/src/b.rs", &function(61)), 1);
        assert_eq!(found("a/src/b.rs", &function(60)), 0);
        assert_eq!(found("a/tests/b.rs", &function(80)), 0);
        assert_eq!(found("a/tests/b.rs", &function(81)), 1);
    }

    #[test]
    fn the_shape_is_told() {
        let tree = Tree::of(&[("a.rs", &function(3))]);
        assert_eq!(
            summary(&tree),
            "1 files of Rust (median 5, longest 5), 1 functions (median 3, longest 3)"
        );
    }
}
