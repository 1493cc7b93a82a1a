//! Names of primaries and apps, and words quoted for a shell.
//!
//! Owns which names are legal, and which one a command gets that was given none. Never looks at a disk.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clustr_supervisor::config::Addr;

use crate::launch_form::{self, Program};

/// The longest name, in bytes: the socket's path has to fit into 108.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// Whether a name may be a file's: letters, digits, `.`, `_` and `-`, not beginning with a dot or a dash.
pub(crate) fn is_legal(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with(['.', '-'])
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// The name of a command that was given none: of its script (`node app.js` is `app`), else of the program.
pub(crate) fn of_command(command: &[OsString], cwd: &Path) -> String {
    let program = command.first().map(OsString::as_os_str).unwrap_or_default();
    let named = match launch_form::script(command) {
        Some(script) => stem(script).or_else(|| cwd.file_name()),
        None => Path::new(program).file_name(),
    };
    legalise(&named.unwrap_or(program).to_string_lossy())
}

/// The name of a primary that was given none, and runs what this folder has.
pub(crate) fn of_folder(folder: &Path) -> String {
    legalise(&folder.file_name().unwrap_or_default().to_string_lossy())
}

/// The name of a listener that was given none: of its port, its file, its descriptor.
pub(crate) fn of_listener(addr: &Addr) -> String {
    match addr {
        Addr::Tcp { port, .. } | Addr::Udp { port, .. } => port.to_string(),
        Addr::Unix(path) => legalise(&path.file_name().unwrap_or_default().to_string_lossy()),
        Addr::Abstract(name) => legalise(&String::from_utf8_lossy(name)),
        Addr::Fd(number) => format!("fd{number}"),
    }
}

/// `.` and `..` have no stem: they are a folder's `index.js`.
fn stem(script: &OsStr) -> Option<&OsStr> {
    Path::new(script).file_stem()
}

fn legalise(name: &str) -> String {
    let swap = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let clean: String = name.chars().map(swap).take(NAME_BYTES_MAX).collect();
    let clean = clean.trim_start_matches(['.', '-']);
    if clean.is_empty() { "app".to_owned() } else { clean.to_owned() }
}

/// The nearest of `words`, if it is near enough to be what was meant.
pub(crate) fn nearest<'a>(typed: &str, words: &[&'a str]) -> Option<&'a str> {
    let limit = typed.chars().count().div_ceil(3).max(1);
    let near =
        words.iter().map(|word| (distance(typed, word), *word)).filter(|(distance, _)| *distance <= limit);
    near.min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// How many letters have to be added, dropped or changed (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

/// The last part of a program's path, in lower case, without the `.exe` that nobody needs here.
pub(crate) fn basename(program: &OsStr) -> String {
    let name = Path::new(program).file_name().unwrap_or(program);
    name.to_string_lossy().to_ascii_lowercase()
}

/// Words as they would be typed into a shell.
pub(crate) fn shell_line<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| shell_word(word.as_ref())).collect();
    quoted.join(" ")
}

fn shell_word(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Whether the program is known to take a script.
pub(crate) fn is_interpreter(program: &str) -> bool {
    matches!(Program::of(program), Program::Node | Program::Deno)
        || ["sh", "bash", "python", "ruby", "perl", "php", "bun", "tsx", "ts-node"].iter().any(|known| {
            program
                .strip_prefix(known)
                .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(line: &str) -> String {
        let command: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        of_command(&command, Path::new("/srv/shop"))
    }

    #[test]
    fn a_slip_of_a_finger_is_understood_and_what_is_like_nothing_is_not_guessed() {
        let words = ["backlog", "mode", "defer-accept"];
        assert_eq!(nearest("bcklog", &words), Some("backlog"));
        assert_eq!(nearest("defer_accept", &words), Some("defer-accept"));
        assert_eq!((nearest("b.sock", &words), nearest("", &words)), (None, None));
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn an_app_is_named_after_its_script_else_after_its_program() {
        let cases = [
            ("node app.js", "app"),
            ("/usr/bin/node --inspect -r dotenv/config lib/server.mjs --port 3000", "server"),
            ("nodejs app", "app"),
            ("node .", "shop"),
            ("node ..", "shop"),
            ("python3 web.py 80", "web"),
            ("python3.12 -u web.py", "web"),
            ("python3 -m http.server", "python3"),
            ("./target/release/my-server --x", "my-server"),
            ("npm start", "npm"),
            ("sh serve.sh", "serve"),
            ("sh -c serve", "sh"),
            ("deno run -A main.ts", "main"),
            ("/opt/ab/ca\u{fe}fe", "ca-fe"),
            (".hidden", "hidden"),
        ];
        for (line, name) in cases {
            assert_eq!(named(line), name, "{line}");
        }
    }

    #[test]
    fn every_name_made_here_is_legal() {
        for line in ["node ./-.js", "...", "node '\u{1f600}.js'", &format!("./{}", "x".repeat(300))] {
            assert!(is_legal(&named(line)), "{line}: {}", named(line));
        }
    }

    #[test]
    fn names_that_would_leave_the_folder_are_illegal() {
        for name in ["", ".", "..", "../x", "a/b", "a b", "-x", "\u{e4}", &"x".repeat(65)] {
            assert!(!is_legal(name), "{name}");
        }
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(shell_line(["node", "my app.js", "it's", ""]), r"node 'my app.js' 'it'\''s' ''");
    }
}
