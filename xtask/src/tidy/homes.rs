//! Some words of code have one home: where they stand elsewhere, a boundary of the architecture is crossed.

use super::Finding;
use super::tree::Tree;

/// In which folder which text may stand in which files only, and why.
const HOMES: &[Home] = &[
    Home {
        within: "clustr-supervisor/src/",
        text: "Action::",
        only: &["clustr-supervisor/src/execute.rs", "clustr-supervisor/src/execute/"],
        why: "only `execute` turns an action into system calls",
    },
    Home {
        within: "clustr-supervisor/src/",
        text: "app.handle",
        only: &["clustr-supervisor/src/supervisor.rs", "clustr-supervisor/src/supervisor/"],
        why: "only the loop feeds events to the core",
    },
    Home {
        within: "clustr-cli/src/",
        text: "clustr_core::App",
        only: &[],
        why: "the command line has no policy: it asks over the control socket",
    },
    Home {
        within: "clustr-net/src/",
        text: "serde_json::",
        only: &["clustr-net/src/node/", "clustr-net/src/node.rs"],
        why: "only node's protocol knows JSON",
    },
];

struct Home {
    within: &'static str,
    text: &'static str,
    only: &'static [&'static str],
    why: &'static str,
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    HOMES.iter().flat_map(|home| home.strays(tree)).collect()
}

impl Home {
    fn strays(&self, tree: &Tree) -> Vec<Finding> {
        let away = |path: &str| {
            path.starts_with(self.within) && !self.only.iter().any(|home| path.starts_with(home))
        };
        let files = tree.rust().filter(|file| away(&file.path) && !file.is_test());
        let lines =
            files.flat_map(|file| file.code_lines().map(|(line, text)| (file.path.as_str(), line, text)));
        lines
            .filter(|(.., text)| text.contains(self.text))
            .map(|(path, line, _)| {
                Finding::new(path, line, format!("`{}` is not at home here: {}", self.text, self.why))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_away_from_home_is_found() {
        let found = check(&Tree::of(&[
            ("clustr-supervisor/src/execute.rs", "Action::Spawn\n"),
            ("clustr-supervisor/src/tell.rs", "// Action::Kill\nAction::Kill\n"),
            ("clustr-net/src/scm.rs", "serde_json::to_string(x)\n"),
        ]));
        let places: Vec<_> = found.iter().map(|finding| (finding.file.as_str(), finding.line)).collect();
        assert_eq!(places, [("clustr-supervisor/src/tell.rs", 2), ("clustr-net/src/scm.rs", 1)]);
    }
}
