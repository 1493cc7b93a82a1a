//! Names that fit everything explain nothing.

use super::Finding;
use super::tree::{File, Tree};

/// Parts of a type's or module's name that say nothing about it.
const EMPTY: &[&str] = &["Manager", "Helper", "Util", "Utils", "Info", "manager", "helpers", "util", "utils"];
/// What declares a name, beside functions.
const DECLARES: &[&str] = &["struct ", "enum ", "trait ", "type ", "mod "];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .flat_map(|file| file.code_lines().filter_map(|(line, text)| fault(file, line, text)))
        .collect()
}

fn fault(file: &File, line: usize, text: &str) -> Option<Finding> {
    let declared = text.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
    let declared = declared.trim_start_matches("pub ").trim_start_matches("const ");
    // Without `self` it is no getter: it may well fetch something.
    let message = if declared.starts_with("fn get_") && declared.contains("self") {
        "a getter is named for what it returns, without `get_`".to_owned()
    } else {
        let rest = DECLARES.iter().find_map(|word| declared.strip_prefix(word))?;
        let name = rest.split(|letter: char| !super::lex::is_word(letter)).next()?;
        let part = EMPTY.iter().find(|part| name.ends_with(**part))?;
        format!("`{name}`: `{part}` fits everything; what does it own?")
    };
    Some(Finding::new(&file.path, line, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        check(&Tree::of(&[("a/src/b.rs", text)])).len()
    }

    #[test]
    fn names_that_explain_nothing_are_found() {
        assert_eq!(found("pub struct WorkerManager {\n"), 1);
        assert_eq!(found("mod utils;\n"), 1);
        assert_eq!(found("    pub(crate) const fn get_slot(&self) -> u32 {\n"), 1);
    }

    #[test]
    fn names_that_explain_are_fine() {
        assert_eq!(
            found(
                "pub struct Roster {\nfn target(&self)\nfn get_page(url: &str)\nmod scale;\nlet manager = 1;\n"
            ),
            0
        );
    }
}
