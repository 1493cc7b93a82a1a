//! Links in prose lead somewhere: to a file of ours, and to a heading in it.

use super::Finding;
use super::tree::{File, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.prose().flat_map(|file| dead(tree, file)).collect()
}

fn dead(tree: &Tree, file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, text) in file.lines() {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let bad = targets.filter(|target| !leads_somewhere(tree, file, target));
        found.extend(
            bad.map(|target| Finding::new(&file.path, line, format!("the link `{target}` leads nowhere"))),
        );
    }
    found
}

fn leads_somewhere(tree: &Tree, from: &File, target: &str) -> bool {
    if target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { from.path.clone() } else { resolve(&from.path, path) };
    let heads = || {
        tree.file(&path).is_some_and(|file| file.text.lines().any(|line| slug(line) == Some(heading.into())))
    };
    tree.has(&path) && (heading.is_empty() || heads())
}

/// The path from the root.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A heading's name in links, as GitHub makes it.
fn slug(line: &str) -> Option<String> {
    let heading = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
    let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    Some(kept.map(|letter| if letter == ' ' { '-' } else { letter.to_ascii_lowercase() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        let other = "# Other\n\n## Exit codes, all\n";
        check(&Tree::of(&[("docs/a.md", text), ("docs/b.md", other), ("README.md", "")])).len()
    }

    #[test]
    fn a_link_to_nowhere_is_found() {
        assert_eq!(found("[b](c.md)\n"), 1);
        assert_eq!(found("[b](b.md#no-such-heading)\n"), 1);
        assert_eq!(found("[b](#nor-here) [c](../docs)\n"), 1);
    }

    #[test]
    fn a_link_that_leads_somewhere_is_fine() {
        assert_eq!(
            found("[b](b.md) [c](../README.md) [d](https://example.org) [e](b.md#exit-codes-all)\n"),
            0
        );
    }
}
