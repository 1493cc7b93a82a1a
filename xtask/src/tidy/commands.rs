//! Command lines in prose can be typed: their sub-commands and options exist.
//!
//! Reads the fenced blocks of every page, and finds the words in the definition of the command line itself
//! (`clustr-cli/src/args`), roughly: a variant of a `Subcommand`, a field or a quoted name.

use super::Finding;
use super::lex;
use super::tree::{File, Tree};
use crate::CHORES;
use crate::nearest::nearest;

/// Where clustr's own words are defined, and where those that it knows only to refuse them.
const ARGS: &str = "clustr-cli/src/args";
const ABSENT: &str = "absent.rs";

/// Which fenced blocks hold lines to type; others show what was printed.
const TYPED: &[&str] = &["", "sh", "bash", "console"];

/// What every program of clap's has.
const GIVEN: &[&str] = &["help", "version"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let words = Words::of(tree);
    tree.prose()
        .flat_map(|page| typed(page).filter_map(|(line, text)| fault(&words, page, line, text)))
        .collect()
}

/// Lines of fenced blocks that are for typing, without the prompt.
fn typed(page: &File) -> impl Iterator<Item = (usize, &str)> {
    let mut fence = None;
    page.lines().filter_map(move |(line, text)| {
        let text = text.trim();
        if let Some(language) = text.strip_prefix("```") {
            fence = if fence.is_none() { Some(language) } else { None };
            return None;
        }
        let is_typed = fence.is_some_and(|language| TYPED.contains(&language));
        is_typed.then(|| (line, text.strip_prefix("$ ").unwrap_or(text)))
    })
}

fn fault(words: &Words, page: &File, line: usize, text: &str) -> Option<Finding> {
    let message = if let Some(rest) = text.strip_prefix("cargo xtask ") {
        unknown_chore(rest.split_whitespace().next()?)
    } else {
        words.unknown(text.strip_prefix("clustr ")?)
    };
    message.map(|message| Finding::new(&page.path, line, message))
}

fn unknown_chore(name: &str) -> Option<String> {
    let known = CHORES.iter().any(|chore| chore.name == name);
    (!known).then(|| format!("`cargo xtask {name}` does not exist"))
}

/// What the command line knows.
#[derive(Debug, Default)]
struct Words {
    commands: Vec<String>,
    /// All of the definition's text.
    definition: String,
}

impl Words {
    fn of(tree: &Tree) -> Self {
        let mut words = Self::default();
        for file in tree.rust().filter(|file| file.path.starts_with(ARGS) && file.name() != ABSENT) {
            words.commands.extend(variants(&file.code).map(kebab));
            words.definition.push_str(&file.text);
        }
        words
    }

    /// What is wrong with a line after `clustr `; a program's own words after `--` are not ours.
    fn unknown(&self, line: &str) -> Option<String> {
        let ours = line.split('#').next()?.split(" -- ").next()?;
        let mut words = ours.split_whitespace();
        let command = words.next().filter(|word| !word.starts_with('-'));
        if let Some(command) = command.filter(|command| !self.has_command(command)) {
            let near = nearest(command, self.commands.iter().map(String::as_str));
            let hint = near.map_or_else(String::new, |near| format!("; `{near}`?"));
            return Some(format!("`clustr {command}` does not exist{hint}"));
        }
        let options = ours.split_whitespace().filter_map(|word| word.strip_prefix("--")?.split('=').next());
        let unknown = options.filter(|option| !option.is_empty()).find(|option| !self.has_option(option))?;
        Some(format!("`--{unknown}` does not exist"))
    }

    fn has_command(&self, name: &str) -> bool {
        GIVEN.contains(&name) || self.commands.iter().any(|known| known == name)
    }

    fn has_option(&self, name: &str) -> bool {
        let field = name.replace('-', "_");
        GIVEN.contains(&name)
            || lex::has_word(&self.definition, &field)
            || self.definition.contains(&format!("\"{name}\""))
    }
}

/// The variants of the enums that derive `Subcommand`.
fn variants(code: &str) -> impl Iterator<Item = &str> {
    let enums =
        code.split("Subcommand)]").skip(1).filter_map(|rest| rest.split_once("enum ").map(|(_, body)| body));
    let bodies = enums.filter_map(|body| body.split("\n}").next());
    let lines = bodies.flat_map(|body| body.lines().skip(1));
    // Formatted code: a variant stands four spaces deep and begins with a capital.
    let named = lines.filter_map(|line| line.strip_prefix("    "));
    named
        .filter(|line| line.starts_with(char::is_uppercase))
        .filter_map(|line| line.split(|letter: char| !lex::is_word(letter)).next())
}

/// `StatusAll` → `status-all`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITION: &str = "\
//! The command line.
#[derive(Subcommand)]
enum Command {
    /// Runs.
    Run(Run),
    Status {
        json: bool,
    },
}
struct Run { stop_timeout: u64 }
";

    fn found(page: &str) -> Vec<String> {
        let absent = ("clustr-cli/src/args/absent.rs", "//! Refused: \"listen\".\n");
        let tree = Tree::of(&[("clustr-cli/src/args.rs", DEFINITION), absent, ("README.md", page)]);
        check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn lines_that_can_be_typed_are_fine() {
        let page = "```sh\nclustr run --stop-timeout 5s -- node app.js --own\n$ clustr status --json # all\nclustr --version\ncargo xtask test\n```\n";
        assert_eq!(found(page), [""; 0]);
    }

    #[test]
    fn lines_that_cannot_be_typed_are_found() {
        assert_eq!(found("```\nclustr stauts\n```\n"), ["`clustr stauts` does not exist; `status`?"]);
        assert_eq!(
            found("```\nclustr run --stop-tmeout=1s -- node x\n```\n"),
            ["`--stop-tmeout` does not exist"]
        );
        assert_eq!(found("```\nclustr run --listen :1 -- x\n```\n"), ["`--listen` does not exist"]);
        assert_eq!(found("```\ncargo xtask tset\n```\n"), ["`cargo xtask tset` does not exist"]);
    }

    #[test]
    fn prose_and_printed_text_are_free() {
        assert_eq!(found("```text\nclustr | worker started\n```\n"), [""; 0]);
        assert_eq!(found("clustr reloads nothing yet\n"), [""; 0]);
    }

    #[test]
    fn variants_have_names_on_the_command_line() {
        assert_eq!(variants(&lex::mask(DEFINITION)).collect::<Vec<_>>(), ["Run", "Status"]);
        assert_eq!(kebab("StatusAll"), "status-all");
    }
}
