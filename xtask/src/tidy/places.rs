//! No path of somebody's machine: what works in one home only works nowhere.

use super::Finding;
use super::tree::Tree;

/// How such paths begin.
const MACHINES: &[&str] = &["/home/", "/root/", "/work/", "/tmp/target", "/Users/"];
/// The table itself.
const EXEMPT: &str = "xtask/src/tidy/places.rs";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let files = tree.files.iter().filter(|file| file.path != EXEMPT);
    let lines = files.flat_map(|file| file.lines().map(|(line, text)| (file.path.as_str(), line, text)));
    lines.filter_map(|(path, line, text)| Some(Finding::new(path, line, message(place(text)?)))).collect()
}

fn message(place: &str) -> String {
    format!("a path of somebody's machine: `{place}`")
}

/// The start of a path; in the middle of a longer one it is somebody else's folder.
fn place(text: &str) -> Option<&'static str> {
    MACHINES.iter().copied().find(|place| {
        text.match_indices(*place).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            !before.is_some_and(|letter| letter.is_alphanumeric() || "/-_.}".contains(letter))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_machine_is_found() {
        assert_eq!(check(&Tree::of(&[("a.rs", "x\nlet a = \"/home/me/app\";\n")])).len(), 1);
        assert_eq!(check(&Tree::of(&[("a.sh", "cd /work/main\n")])).len(), 1);
    }

    #[test]
    fn other_paths_are_fine() {
        assert_eq!(
            check(&Tree::of(&[("a.md", "https://example.org/home/x {root}/work/y /run/clustr\n")])),
            []
        );
    }
}
