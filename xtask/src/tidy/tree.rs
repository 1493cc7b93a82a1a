//! The files of the project, read once.
//!
//! Owns what counts as ours: everything under the root except what is built, fetched or hidden. Never judges.

use std::fs;
use std::io;
use std::path::Path;

use super::lex;

/// Folders that hold nothing of ours, wherever they are.
const NOT_OURS: &[&str] = &["target", "node_modules", "corpus", "artifacts"];

/// Hidden folders that are ours all the same.
const OURS: &[&str] = &[".cargo", ".ci", ".github"];

/// What a git worktree has in place of the folder of that name: a path of this machine.
const LINK: &str = ".git";

/// Every file, in order of path.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) files: Vec<File>,
}

/// One file. The text of what is no text is empty.
#[derive(Debug)]
pub(super) struct File {
    /// From the root, with slashes.
    pub(super) path: String,
    pub(super) text: String,
    /// Rust without its comments and literals, line by line as it was; empty for other files.
    pub(super) code: String,
}

impl Tree {
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.walk(root, "")?;
        tree.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(tree)
    }

    fn walk(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() && is_ours(&name) {
                self.walk(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() && name != LINK {
                self.files.extend(read(&entry.path())?.map(|bytes| File::new(&path, text(bytes))));
            }
        }
        Ok(())
    }

    /// A tree of made-up files, for tests.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| File::new(path, (*text).to_owned())).collect() }
    }

    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether there is a file or a folder at this path.
    pub(super) fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }

    /// Every Rust file.
    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is("rs"))
    }

    /// Every file of prose.
    pub(super) fn prose(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is("md"))
    }
}

impl File {
    fn new(path: &str, text: String) -> Self {
        let code = if has_extension(path, "rs") { lex::mask(&text) } else { String::new() };
        Self { path: path.to_owned(), text, code }
    }

    pub(super) fn is(&self, extension: &str) -> bool {
        has_extension(&self.path, extension)
    }

    /// The file's own name.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Whether all of it is test.
    pub(super) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| matches!(part, "tests" | "tests.rs"))
    }

    /// Lines with their numbers, as they are written.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.text)
    }

    /// Lines with their numbers, without comments and literals.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.code)
    }
}

/// A file may go while we look: other tests write theirs beside us.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

fn has_extension(path: &str, extension: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
}

fn is_ours(folder: &str) -> bool {
    if folder.starts_with('.') { OURS.contains(&folder) } else { !NOT_OURS.contains(&folder) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_fetched_or_hidden_is_not_ours() {
        assert!(!is_ours("target") && !is_ours("node_modules") && !is_ours(".git"));
        assert!(is_ours("docs") && is_ours(".ci"));
    }

    #[test]
    fn the_link_of_a_worktree_is_not_ours() {
        let folder = std::env::temp_dir().join(format!("clustr-tidy-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(LINK), "gitdir: elsewhere").unwrap();
        fs::write(folder.join("a.md"), "").unwrap();
        let paths: Vec<String> =
            Tree::read(&folder).unwrap().files.into_iter().map(|file| file.path).collect();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(paths, ["a.md"]);
    }

    #[test]
    fn files_and_folders_are_there() {
        let tree = Tree::of(&[("docs/a.md", ""), ("x/tests/it.rs", "")]);
        assert!(tree.has("docs/a.md") && tree.has("docs") && tree.has("docs/"));
        assert!(!tree.has("doc"));
        assert!(tree.files[1].is_test() && !tree.files[0].is_test());
        assert_eq!(tree.files[1].name(), "it.rs");
    }
}
