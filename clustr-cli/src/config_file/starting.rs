//! The first text of a `clustr.toml`, from what a folder has.
//!
//! Owns what is looked for and what it means, and the words of the text. Never writes it. Called by `clustr init`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use toml::de::DeTable;

use super::keys::Keys;
use super::{App, ECOSYSTEM, PROCFILE, Wanted, command_line, ecosystem, options};
use crate::failure::Failure;

/// A text, and what it was made from.
#[derive(Debug)]
pub(crate) struct Starting {
    pub(crate) text: String,
    /// What was found, for whoever asks where it comes from; `None`: nothing.
    pub(crate) found: Option<&'static str>,
    pub(crate) notes: Vec<String>,
}

/// What is found in a folder: who says most of what shall run comes first.
///
/// # Errors
/// A Procfile, or PM2's file, that cannot be used.
pub(crate) fn text(folder: &Path) -> Result<Starting, Failure> {
    for name in [PROCFILE, ECOSYSTEM] {
        let path = folder.join(name);
        if path.is_file() {
            return of_apps(name, &path);
        }
    }
    let found = package(folder).or_else(|| pyproject(folder)).or_else(|| cargo(folder));
    let has_dotenv = folder.join(".env").is_file();
    let (command, found) = match found {
        Some((command, found)) => (command, Some(found)),
        None => ("node app.js".to_owned(), None),
    };
    let from = found.unwrap_or("nothing was found here: what shall run?");
    let text = format!(
        "{HEAD}\ncommand = {}  # {from}\n\n{KEYS}{}{TAIL}",
        quoted(&command),
        if has_dotenv { "env-file = \".env\"\n" } else { "# env-file = \".env\"\n" }
    );
    Ok(Starting { text, found, notes: Vec::new() })
}

const HEAD: &str = "\
# What `clustr run` does in this folder. `clustr check` says what it comes to, and all that is wrong with it.
# Every key: docs/configuration.md of clustr; for editors: clustr check --schema
";

const KEYS: &str = "\
# workers = \"auto\"          # as many as CPUs; or a number
# listen = \"web=:3001\"      # for programs that take their listener from LISTEN_FDS; others bind for themselves
# ready-timeout = \"30s\"     # how long a worker may take to be ready
# stop-timeout = \"10s\"      # how long it may take to stop; then it is killed
# max-rss = \"400M\"          # replace a worker that holds more memory, replacement first
";

const TAIL: &str = "
# [env]                     # variables of the workers
# LOG_LEVEL = \"info\"

# [profile.production]      # clustr run --profile production: this lies over the rest
# workers = \"auto\"
";

/// node's own form where the script is one, so that workers have node's channel; else npm.
fn package(folder: &Path) -> Option<(String, &'static str)> {
    let text = std::fs::read_to_string(folder.join("package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_str(&text).ok()?;
    let start = package.pointer("/scripts/start").and_then(serde_json::Value::as_str);
    if let Some(start) = start {
        let words = command_line::split(start).unwrap_or_default();
        let is_node = words.first().is_some_and(|first| first == "node");
        let command = if is_node { start } else { "npm start" };
        return Some((command.to_owned(), "package.json: its start script"));
    }
    let main = package.get("main").and_then(serde_json::Value::as_str);
    let is_there = |file: &&str| folder.join(file).is_file();
    let main = main.or_else(|| ["server.js", "app.js", "index.js"].into_iter().find(is_there))?;
    Some((format!("node {}", crate::names::shell_line([main])), "package.json: its main file"))
}

fn pyproject(folder: &Path) -> Option<(String, &'static str)> {
    let text = std::fs::read_to_string(folder.join("pyproject.toml")).ok()?;
    let table = DeTable::parse(&text).ok()?.into_inner();
    let scripts = table.get("project").and_then(|project| project.get_ref().get("scripts"));
    let first = scripts.and_then(|scripts| scripts.get_ref().as_table()?.keys().next());
    if let Some(script) = first {
        return Some((script.get_ref().to_string(), "pyproject.toml: its first script"));
    }
    let main = ["app.py", "main.py", "server.py"].into_iter().find(|file| folder.join(file).is_file())?;
    Some((format!("python3 {main}"), "pyproject.toml, and this file beside it"))
}

fn cargo(folder: &Path) -> Option<(String, &'static str)> {
    let text = std::fs::read_to_string(folder.join("Cargo.toml")).ok()?;
    let table = DeTable::parse(&text).ok()?.into_inner();
    let of_bin = table.get("bin").and_then(|bins| bins.get_ref().as_array()?.first()?.get_ref().get("name"));
    let of_package = table.get("package").and_then(|package| package.get_ref().get("name"));
    let name = of_bin.or(of_package)?.get_ref().as_str()?.to_owned();
    Some((format!("./target/release/{name}"), "Cargo.toml: cargo build --release"))
}

/// A file of others, in clustr's own words.
fn of_apps(name: &'static str, path: &Path) -> Result<Starting, Failure> {
    let wanted = Wanted::read(path, Path::new(name), None)?;
    let mut text = format!("{HEAD}# Made from {name}.\n");
    for app in &wanted.apps {
        let name = app.name.as_deref().unwrap_or_default();
        let _ = write!(text, "\n[app.{}]\n", key_of(name));
        text.push_str(&app_lines(app));
    }
    for profile in ecosystem::profiles(&wanted.source.text) {
        for (app, variables) in of_profile(&wanted, &profile)? {
            let _ = write!(text, "\n[profile.{}.app.{}.env]\n{variables}", key_of(&profile), key_of(&app));
        }
    }
    Ok(Starting { text, found: Some(name), notes: wanted.notes })
}

fn app_lines(app: &App) -> String {
    let words: Vec<String> = app.command.iter().map(|word| quoted(&word.to_string_lossy())).collect();
    let mut text = format!("command = [{}]\n", words.join(", "));
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in options(&app.words) {
        if key != "env" && key != "name" {
            values.entry(key).or_default().push(value);
        }
    }
    for (key, values) in values {
        let _ = match &values[..] {
            [number] if number.parse::<u32>().is_ok() => writeln!(text, "{key} = {number}"),
            [one] => writeln!(text, "{key} = {}", quoted(one)),
            all => writeln!(
                text,
                "{key} = [{}]",
                all.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", ")
            ),
        };
    }
    let variables = variables(&app.words);
    if !variables.is_empty() {
        let _ = write!(
            text,
            "[app.{}.env]\n{}",
            key_of(app.name.as_deref().unwrap_or_default()),
            lines(&variables)
        );
    }
    text
}

/// The variables that a profile of PM2's file changes, by app.
fn of_profile(wanted: &Wanted, profile: &str) -> Result<Vec<(String, String)>, Failure> {
    let read = ecosystem::read(&wanted.source, &Keys::new(), Some(profile));
    let apps = read.map_err(|faults| wanted.source.refuse(faults))?.apps;
    let changed = apps.iter().zip(&wanted.apps).filter_map(|(with, without)| {
        let before = variables(&without.words);
        let mut changed = variables(&with.words);
        changed.retain(|name, value| before.get(name) != Some(value));
        (!changed.is_empty()).then(|| (with.name.clone().unwrap_or_default(), lines(&changed)))
    });
    Ok(changed.collect())
}

fn variables(words: &[OsString]) -> BTreeMap<String, String> {
    let named = options(words).filter(|(key, _)| key == "env");
    named
        .filter_map(|(_, pair)| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect()
}

fn lines(variables: &BTreeMap<String, String>) -> String {
    variables.iter().map(|(name, value)| format!("{} = {}\n", key_of(name), quoted(value))).collect()
}

/// A key of TOML: bare where it may be.
fn key_of(name: &str) -> String {
    let is_bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if is_bare { name.to_owned() } else { quoted(name) }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    /// The command of the one app of what is written for these files.
    fn command(files: &[(&str, &str)]) -> String {
        let text = text(folder(files).path()).unwrap().text;
        let app = document::read(&text, &Keys::new(), None).unwrap().apps.remove(0);
        app.command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_a_folder_has_is_what_runs() {
        for (files, wanted) in [
            (
                &[("package.json", r#"{"scripts":{"start":"node server.js -v"}}"#)] as &[_],
                "node server.js -v",
            ),
            (&[("package.json", r#"{"scripts":{"start":"next start"}}"#)], "npm start"),
            (&[("package.json", r#"{"scripts":{"start":"node a.js && b"}}"#)], "npm start"),
            (&[("package.json", r#"{"main":"lib/my app.js"}"#)], "node lib/my app.js"),
            (&[("package.json", "{}"), ("index.js", "")], "node index.js"),
            (&[("pyproject.toml", "[project]\nscripts.shop = 'shop:main'")], "shop"),
            (&[("pyproject.toml", "[project]\nname = 'x'"), ("main.py", "")], "python3 main.py"),
            (&[("Cargo.toml", "[package]\nname = 'shop'")], "./target/release/shop"),
            (
                &[("Cargo.toml", "[package]\nname = 'shop'\n[[bin]]\nname = 'server'")],
                "./target/release/server",
            ),
            (&[("package.json", "no JSON"), ("Cargo.toml", "[package]\nname = 'x'")], "./target/release/x"),
            (&[], "node app.js"),
        ] {
            assert_eq!(command(files), wanted, "{files:?}");
        }
    }

    #[test]
    fn every_commented_key_is_one_when_it_is_no_comment_any_more() {
        let text = text(folder(&[]).path()).unwrap().text;
        let is_key = |line: &&str| line.starts_with("# ") && (line.contains(" = ") || line.contains('['));
        let bare: Vec<&str> =
            text.lines().map(|line| if is_key(&line) { &line[2..] } else { line }).collect();
        let document = document::read(&bare.join("\n"), &Keys::new(), Some("production")).unwrap();
        assert!(document.apps[0].words.len() >= 7, "{:?}", document.apps);
    }

    /// What a file of others says, and what its translation says.
    fn agree(name: &str, content: &str, profile: Option<&str>) {
        let folder = folder(&[(name, content), (".env", "")]);
        let path = folder.path().join(name);
        let translated = text(folder.path()).unwrap().text;
        let sorted = |apps: &[App]| -> Vec<String> {
            let one = |app: &App| {
                let others = options(&app.words)
                    .filter(|(key, _)| key != "env")
                    .collect::<std::collections::BTreeSet<_>>();
                format!("{:?} {:?} {others:?} {:?}", app.name, app.command, variables(&app.words))
            };
            apps.iter().map(one).collect()
        };
        let theirs = Wanted::read(&path, &path, profile).unwrap().apps;
        let ours = document::read(&translated, &Keys::new(), profile).unwrap().apps;
        assert_eq!(sorted(&ours), sorted(&theirs), "{translated}");
    }

    #[test]
    fn a_translation_says_what_the_file_of_others_says() {
        agree("Procfile", "web: A=1 node app.js \"a b\"\njobs: python3 jobs.py | tee 'l\"o\\g'\n", None);
        let text = r#"{"apps":[{"name":"a.b","script":"a.js","instances":"max","stop_exit_codes":[1,2],"env":{"X":"\u0007\"\\","Y":"1"},
            "env_production":{"Y":"2"}},{"name":"c","script":"c.py","restart_delay":100}]}"#;
        agree("ecosystem.config.json", text, None);
        agree("ecosystem.config.json", text, Some("production"));
    }
}
