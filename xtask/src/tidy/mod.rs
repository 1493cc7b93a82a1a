//! `cargo xtask tidy`: the house rules, checked. Also an ordinary test, so that `cargo test` is the whole truth.
//!
//! Owns the list of checks. Reports every finding as `file:line: message`, never only the first, and changes nothing.
//! Each check is a file with its rule as data on top and bad examples below: a check that cannot fail is none.

mod architecture;
mod changelog;
mod commands;
mod descriptors;
mod docs;
mod functions;
mod homes;
mod layers;
mod leftovers;
mod lex;
mod links;
mod manifest;
mod names;
mod places;
mod sizes;
mod tree;
mod unsafety;
mod whitespace;
mod words;

use std::fmt;

use crate::{Outcome, run};
use tree::Tree;

/// Something that breaks a house rule.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Finding {
    file: String,
    line: usize,
    message: String,
}

/// Looks at the whole tree and names what it finds.
type Check = fn(&Tree) -> Vec<Finding>;

const CHECKS: &[Check] = &[
    architecture::check,
    changelog::check,
    commands::check,
    descriptors::check,
    docs::check,
    homes::check,
    layers::check,
    leftovers::check,
    links::check,
    manifest::check,
    names::check,
    places::check,
    sizes::check,
    unsafety::check,
    whitespace::check,
    words::check,
];

/// The chore.
pub(crate) fn run(_: &[String]) -> Outcome {
    run::announce("tidy");
    let tree = Tree::read(&run::root()).map_err(|error| format!("the tree cannot be read: {error}"))?;
    let findings = findings(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    println!("{}", sizes::summary(&tree));
    if findings.is_empty() { Ok(()) } else { Err(format!("{} findings", findings.len())) }
}

fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(tree)).collect();
    findings.sort();
    findings
}

impl Finding {
    fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let findings = findings(&Tree::read(&run::root()).unwrap());
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(lines.is_empty(), "\n{}\n{} findings", lines.join("\n"), lines.len());
    }

    #[test]
    fn a_finding_can_be_clicked() {
        assert_eq!(Finding::new("a/b.rs", 7, "too long").to_string(), "a/b.rs:7: too long");
    }
}
