//! One word, one meaning: the words of `docs/glossary.md`, and those that they replace.

use super::Finding;
use super::lex;
use super::tree::{File, Tree};

/// What is not said, and what is said instead.
const INSTEAD: &[(&str, &str)] = &[
    ("master", "primary"),
    ("slave", "worker"),
    ("respawn", "restart, or the successor is started"),
    ("respawns", "restarts"),
    ("respawned", "restarted"),
    ("respawning", "restarting"),
    ("cooldown", "backoff, or resting"),
    ("hot restart", "upgrade"),
    ("graceful shutdown", "drain, or stop"),
    ("max retries", "intensity"),
    ("max_retries", "intensity"),
    ("child process manager", "primary"),
];

/// Where other words are the subject: the glossary itself, this table, and what quotes others.
const EXEMPT: &[&str] = &["docs/glossary.md", "xtask/src/tidy/", "examples/cluster.js", "LICENSE-"];

/// Words of others' protocols and names, quoted as they are.
const QUOTED: &[&str] = &["cluster.isMaster", "setupMaster", "`master`", "\"--master\""];

/// What is read: code with its comments, and prose.
const READ: &[&str] = &["rs", "md", "toml", "js"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let exempt = |file: &File| EXEMPT.iter().any(|path| file.path.starts_with(path));
    let files = tree.files.iter().filter(|file| READ.iter().any(|kind| file.is(kind)) && !exempt(file));
    files.flat_map(|file| file.lines().flat_map(|(line, text)| said(file, line, text))).collect()
}

fn said(file: &File, line: usize, text: &str) -> Vec<Finding> {
    let text = QUOTED.iter().fold(text.to_owned(), |text, quoted| text.replace(quoted, "")).to_lowercase();
    let wrong = INSTEAD.iter().filter(|(word, _)| lex::has_word(&text, word));
    wrong
        .map(|(word, instead)| Finding::new(&file.path, line, format!("\"{word}\": we say {instead}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_word_that_we_do_not_say_is_found() {
        assert_eq!(found("a/src/b.rs", "// The Master starts it.\n"), ["\"master\": we say primary"]);
        assert_eq!(found("README.md", "no respawn\n").len(), 1);
    }

    #[test]
    fn words_of_others_are_quoted() {
        assert_eq!(found("README.md", "forks when `cluster.isMaster`\n"), [""; 0]);
        assert_eq!(found("docs/glossary.md", "not master\n"), [""; 0]);
        assert_eq!(found("a/src/b.rs", "let mastery = 1;\n"), [""; 0]);
    }
}
