//! A Procfile: one process type a line, `web: node app.js`, as Heroku and foreman have it.
//!
//! Owns what of it has a counterpart here, and the words for what has none. Never starts anything. Called by `config_file`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;

use clustr_supervisor::config::is_variable_name;

use super::App;
use super::command_line::{self, LineError};
use super::document::Document;
use super::source::Fault;
use crate::args::values;

/// The type that serves requests: as many workers as clustr starts by itself. Of any other, one: two clocks tick twice.
const WEB: &str = "web";

/// The type that runs once before a deployment, and never as a service.
const RELEASE: &str = "release";

/// What joins several commands, so that none of them can take the place of the shell.
const JOINTS: [char; 4] = ['&', ';', '|', '\n'];

/// Reads a text. `has_dotenv`: there is a file `.env` beside it, which foreman reads too.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn read(text: &str, has_dotenv: bool) -> Result<Document, Vec<Fault>> {
    let (mut apps, mut notes, mut faults): (Vec<App>, Vec<String>, Vec<Fault>) = Default::default();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let start = at + (line.len() - line.trim_start().len());
        at += line.len();
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = start..start + line.len();
        match entry(line, place.clone()) {
            Ok((RELEASE, _)) => {
                notes.push(String::from("'release' runs once before a deployment, and is not run here"));
            }
            Ok((name, _)) if apps.iter().any(|app| app.name.as_deref() == Some(name)) => {
                faults.push(Fault::at(&place, format!("'{name}' stands here a second time")));
            }
            Ok((name, command)) => match app(name, command, place.clone(), has_dotenv) {
                Ok(app) => apps.push(app),
                Err(error) => faults.push(Fault::at(&place, error.text())),
            },
            Err(fault) => faults.push(fault),
        }
    }
    if text.contains("$PORT") || text.contains("${PORT") {
        let note = "nobody sets PORT for each process, as foreman does; programs that bind for themselves share theirs";
        notes.push(String::from(note));
    }
    if apps.is_empty() && faults.is_empty() {
        faults.push(Fault::of_all("there is no process in it").instead("web: node app.js"));
    }
    if faults.is_empty() { Ok(Document { name: None, apps, notes }) } else { Err(faults) }
}

fn entry(line: &str, place: Range<usize>) -> Result<(&str, &str), Fault> {
    let fault = |what: &str| Fault::at(&place, what).instead("web: node app.js");
    let (name, command) = line.split_once(':').ok_or_else(|| fault("there is no ':'"))?;
    let (name, command) = (name.trim(), command.trim());
    if values::name(name).is_err() {
        return Err(fault("a process type is letters, digits, '-' and '_'"));
    }
    if command.is_empty() {
        return Err(fault("there is no command"));
    }
    Ok((name, command))
}

fn app(name: &str, command: &str, place: Range<usize>, has_dotenv: bool) -> Result<App, LineError> {
    let (env, command) = assignments(command);
    let command = words(command)?;
    let mut words: Vec<OsString> = vec![format!("--name={name}").into()];
    if name != WEB {
        words.push("--workers=1".into());
    }
    if has_dotenv {
        words.push("--env-file=.env".into());
    }
    words.extend(env.into_iter().map(|env| format!("--env={env}").into()));
    let places = BTreeMap::from([(String::new(), place)]);
    let command = command.into_iter().map(OsString::from).collect();
    Ok(App { name: Some(name.to_owned()), command, words, after: Vec::new(), places })
}

/// `NAME=value` before a command is a variable of it.
fn assignments(mut command: &str) -> (Vec<&str>, &str) {
    let mut found = Vec::new();
    while let Some((first, rest)) = command.split_once(' ') {
        let is_plain = |value: &str| !value.contains(['\'', '"', '$', '\\', '`']);
        match first.split_once('=') {
            Some((name, value)) if is_variable_name(name) && is_plain(value) => {
                found.push(first);
                command = rest.trim_start();
            }
            Some(_) | None => break,
        }
    }
    (found, command)
}

/// A Procfile's commands are run by a shell; one that needs none has none here, so that signals reach the program itself.
pub(super) fn words(command: &str) -> Result<Vec<String>, LineError> {
    match command_line::split(command) {
        Err(LineError::OfShell(_)) => {
            let line = if command.contains(JOINTS) { command.to_owned() } else { format!("exec {command}") };
            Ok(vec!["sh".to_owned(), "-c".to_owned(), line])
        }
        words => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps(text: &str) -> Vec<(String, String, String)> {
        let join = |words: &[OsString]| {
            words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        let apps = read(text, false).unwrap().apps;
        apps.iter().map(|app| (app.name.clone().unwrap(), join(&app.command), join(&app.words))).collect()
    }

    #[test]
    fn each_line_is_an_app() {
        let text = "# c\nweb: node app.js\r\n\nclock : A=1 B=x python3 clock.py --every 'a b'\n";
        assert_eq!(
            apps(text),
            [
                ("web".into(), "node app.js".into(), "--name=web".into()),
                (
                    "clock".into(),
                    "python3 clock.py --every a b".into(),
                    "--name=clock --workers=1 --env=A=1 --env=B=x".into()
                ),
            ]
        );
    }

    #[test]
    fn what_needs_a_shell_gets_one_and_gives_way_to_the_program_where_it_can() {
        for (command, line) in [
            ("node app.js -p $PORT", "exec node app.js -p $PORT"),
            ("a && b $X", "a && b $X"),
            ("a | tee log", "a | tee log"),
        ] {
            assert_eq!(words(command).unwrap(), ["sh", "-c", line]);
        }
    }

    #[test]
    fn what_has_no_counterpart_is_said() {
        let read = read("release: ./migrate\nweb: node app.js -p $PORT", true).unwrap();
        assert_eq!((read.apps.len(), read.notes.len()), (1, 2));
        assert!(read.apps[0].words.contains(&"--env-file=.env".into()));
    }

    #[test]
    fn all_that_is_wrong_is_found() {
        let faults = read("web\nweb: a\nweb: b\n../x: c\nd:\ne: 'f\n", false).unwrap_err();
        let spans: Vec<_> = faults.iter().map(|fault| fault.span.clone().unwrap().start).collect();
        assert_eq!(spans, [0, 11, 18, 26, 29]);
        assert!(read("release: x", false).is_err() && read("", false).is_err());
    }
}
