//! `cargo xtask trees [--write]`: what each crate brings along, with each of its features, as `docs/dependencies.md` says it.
//!
//! Owns that page, and what must not be in it. Versions and macros that run at compile time are left out: the page says
//! what is linked. Called by `ci`, which compares.

use std::fmt::Write as _;
use std::fs;

use crate::{Outcome, run};

const PAGE: &str = "docs/dependencies.md";

/// One crate with some of its features.
struct Tree {
    package: &'static str,
    /// What is typed after `--package`.
    features: &'static [&'static str],
    says: &'static str,
    /// What it must not bring along; `*` is anything at all.
    without: &'static [&'static str],
}

const BARE: &str = "--no-default-features";

const TREES: &[Tree] = &[
    Tree { package: "clustr-core", features: &[], says: "Nothing.", without: &["*"] },
    Tree {
        package: "clustr-net",
        features: &[],
        says: "mio to be watched by a loop, nix and rustix for system calls, serde_json for node's protocol.",
        without: &["tokio"],
    },
    Tree {
        package: "clustr-net",
        features: &[BARE, "--features", "worker"],
        says: "What a server in Rust links to be a worker: neither mio nor serde.",
        without: &["mio", "serde", "serde_core", "serde_json"],
    },
    Tree {
        package: "clustr-net",
        features: &[BARE, "--features", "node"],
        says: "Node's protocol without a loop.",
        without: &["mio"],
    },
    Tree {
        package: "clustr-net",
        features: &[BARE],
        says: "Listeners, `FdChannel` and the handoff.",
        without: &["mio", "serde", "serde_core", "serde_json"],
    },
    Tree {
        package: "clustr-supervisor",
        features: &[],
        says: "The loop, and one writer thread behind a bounded channel. No async runtime.",
        without: &["tokio", "clap"],
    },
    Tree {
        package: "clustr-cli",
        features: &[],
        says: "The program.",
        without: &["tokio", "clustr_benches"],
    },
];

/// The chore.
pub(crate) fn run(args: &[String]) -> Outcome {
    run::announce("trees");
    let (page, faults) = page()?;
    if !faults.is_empty() {
        return Err(faults.join("; "));
    }
    let path = run::root().join(PAGE);
    if args.iter().any(|arg| arg == "--write") {
        return fs::write(&path, page).map_err(|error| format!("'{}': {error}", path.display()));
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    if written == page {
        println!("{PAGE} is true");
        return Ok(());
    }
    Err(format!(
        "{PAGE} is not what `cargo tree` says: `cargo xtask trees --write`, and look at the difference"
    ))
}

fn page() -> Result<(String, Vec<String>), String> {
    let mut page = String::from(
        "# What each crate brings along\n\nWritten by `cargo xtask trees --write` from `cargo tree`, compared by `cargo xtask ci`: \
         what is linked on Linux,\nwithout versions, and without macros that run at compile time.\n",
    );
    let mut faults = Vec::new();
    for tree in TREES {
        let words = tree.words();
        let text = run::ask(&mut run::cargo(&words))?;
        faults.extend(tree.strangers(&text).map(|name| format!("{} brings `{name}` along", tree.title())));
        let _ = write!(page, "\n## {}\n\n{}\n\n```text\n{text}\n```\n", tree.title(), tree.says);
    }
    Ok((page, faults))
}

impl Tree {
    fn title(&self) -> String {
        let words = [&[self.package], self.features].concat();
        words.join(" ")
    }

    fn words(&self) -> Vec<&'static str> {
        let head = ["tree", "--package", self.package, "--edges", "normal,no-proc-macro"];
        let tail = ["--target", "x86_64-unknown-linux-gnu", "--format", "{lib}", "--locked"];
        [&head, self.features, &tail].concat()
    }

    /// The names in the tree that must not be there; its root is the crate itself.
    fn strangers<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let names = text.lines().skip(1).filter_map(|line| line.split(' ').find(|word| is_name(word)));
        names.filter(|name| self.without.contains(&"*") || self.without.contains(name))
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "clustr_net\n├── mio\n│   ├── libc\n│   └── log\n└── serde_json\n    └── itoa (*)\n";

    fn strangers(without: &'static [&'static str], text: &str) -> Vec<String> {
        let tree = Tree { package: "clustr-net", features: &[], says: "", without };
        tree.strangers(text).map(str::to_owned).collect()
    }

    #[test]
    fn what_must_not_be_there_is_found_at_any_depth() {
        assert_eq!(strangers(&["itoa", "mio"], TEXT), ["mio", "itoa"]);
        assert_eq!(strangers(&["serde", "tokio"], TEXT), [""; 0]);
    }

    #[test]
    fn nothing_means_nothing() {
        assert_eq!(strangers(&["*"], TEXT).len(), 5);
        assert_eq!(strangers(&["*"], "clustr_core\n"), [""; 0]);
    }

    #[test]
    fn features_are_typed_and_shown() {
        let tree = Tree { package: "a", features: &[BARE, "--features", "b"], says: "", without: &[] };
        assert_eq!(tree.title(), "a --no-default-features --features b");
        assert_eq!(tree.words()[5..8], [BARE, "--features", "b"]);
    }
}
