//! PM2's `ecosystem.config.json`.
//!
//! Owns what each of its keys means here, and the words for those that mean nothing. Never runs JavaScript: of a
//! `.config.js` it is said how JSON comes of it. Called by `config_file`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use serde_json::{Map, Value};

use super::document::Document;
use super::keys::Keys;
use super::source::{Fault, Source};
use super::{App, command_line};
use crate::args::values;

/// Keys that have no counterpart, and what to know of it.
const NOTHING: &[(&[&str], &str)] = &[
    (&["watch", "ignore_watch", "watch_delay", "watch_options"], "files are not watched: clustr reload"),
    (
        &[
            "out_file",
            "error_file",
            "log_file",
            "output",
            "error",
            "merge_logs",
            "combine_logs",
            "log_type",
            "disable_logs",
        ],
        "output is not written to files of each app: it goes to the primary's own, or with run -d to one file",
    ),
    (&["log_date_format", "time"], "lines of output are not dated"),
    (&["user", "uid", "gid", "group"], "workers run as the user of the primary"),
    (&["min_uptime", "max_restarts"], "clustr counts restarts in any period: intensity = \"5/10s\""),
    (&["cron_restart", "cron"], "only a time of each day can be kept: recycle-at = \"04:30\""),
    (&["instance_var", "increment_var"], "workers know their number as CLUSTR_SLOT and NODE_APP_INSTANCE"),
    (
        &["source_map_support", "disable_source_map_support"],
        "node knows source maps by itself: --enable-source-maps",
    ),
    (
        &["shutdown_with_message"],
        "workers are asked to drain over node's channel, which 'disconnect' tells them",
    ),
    (
        &[
            "post_update",
            "vizion",
            "namespace",
            "force",
            "pid_file",
            "filter_env",
            "append_env_to_name",
            "treekill",
        ],
        "it has no counterpart",
    ),
];

/// What begins the name of a profile's variables: `env_production`.
const ENV_OF: &str = "env_";

/// Reads a text.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn read(source: &Source, keys: &Keys, profile: Option<&str>) -> Result<Document, Vec<Fault>> {
    let file: Value =
        serde_json::from_str(&source.text).map_err(|error| vec![syntax(&source.text, &error)])?;
    let apps = file.get("apps").unwrap_or(&file);
    let apps: Vec<&Value> = apps.as_array().map_or_else(|| vec![apps], |apps| apps.iter().collect());
    let mut made =
        Making { keys, profile, has_profile: profile.is_none(), notes: BTreeMap::new(), faults: Vec::new() };
    let apps: Vec<App> =
        apps.into_iter().enumerate().filter_map(|(at, app)| made.app(&format!("apps[{at}]"), app)).collect();
    made.finish(apps, file.get("deploy").is_some())
}

/// The profiles that a text names: those of its apps' variables.
pub(super) fn profiles(text: &str) -> BTreeSet<String> {
    let Ok(file) = serde_json::from_str::<Value>(text) else { return BTreeSet::new() };
    let apps = file.get("apps").unwrap_or(&file);
    let apps = apps.as_array().map_or_else(|| vec![apps], |apps| apps.iter().collect());
    let keys =
        apps.into_iter().filter_map(Value::as_object).flat_map(Map::keys).filter(|key| *key != "env_file");
    keys.filter_map(|key| key.strip_prefix(ENV_OF)).map(str::to_owned).collect()
}

fn syntax(text: &str, error: &serde_json::Error) -> Fault {
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let at = before + error.column().saturating_sub(1);
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default().to_owned();
    Fault::at(&(at..at + 1), what)
}

struct Making<'a> {
    keys: &'a Keys,
    profile: Option<&'a str>,
    /// Whether somebody has variables of the profile.
    has_profile: bool,
    /// Notes, and the keys that they are about.
    notes: BTreeMap<&'static str, Vec<String>>,
    faults: Vec<Fault>,
}

impl Making<'_> {
    fn finish(mut self, apps: Vec<App>, has_deploy: bool) -> Result<Document, Vec<Fault>> {
        if let (Some(profile), false) = (self.profile, self.has_profile) {
            self.faults.push(Fault::of_all(format!("no app has variables in '{ENV_OF}{profile}'")));
        }
        for (at, app) in apps.iter().enumerate() {
            if apps[..at].iter().any(|before| before.name == app.name) {
                let name = app.name.as_deref().unwrap_or_default();
                self.faults.push(Fault::of_all(format!("two apps are named '{name}'")));
            }
        }
        let notes = self.notes.iter().map(|(note, keys)| format!("'{}': {note}", keys.join("', '")));
        let mut notes: Vec<String> = notes.collect();
        if has_deploy {
            notes.push(String::from("'deploy': clustr runs programs, and copies none"));
        }
        if self.faults.is_empty() { Ok(Document { name: None, apps, notes }) } else { Err(self.faults) }
    }

    fn fault(&mut self, at: &str, what: impl std::fmt::Display) {
        self.faults.push(Fault::of_all(format!("{at}: {what}")));
    }

    fn app(&mut self, at: &str, app: &Value) -> Option<App> {
        let Some(app) = app.as_object() else {
            self.fault(at, "an app is an object");
            return None;
        };
        let name = match app.get("name") {
            Some(Value::String(name)) => name.clone(),
            Some(_) => {
                self.fault(at, "'name' is a string");
                return None;
            }
            None => stem(app.get("script").and_then(Value::as_str).unwrap_or("app")),
        };
        if values::name(&name).is_err() {
            self.fault(at, format!("'{name}' can be no name here: letters, digits, '.', '_' and '-'"));
        }
        let command = self.command(at, app)?;
        let mut words: Vec<OsString> = vec![format!("--name={name}").into()];
        for (key, value) in app {
            words.extend(self.option(at, key, value, app));
        }
        if !app.contains_key("instances") {
            words.push("--workers=1".into());
        }
        let command = command.into_iter().map(OsString::from).collect();
        Some(App { name: Some(name), command, words, after: Vec::new(), places: BTreeMap::new() })
    }

    /// PM2 runs a script by node, unless another interpreter is named, or `none`.
    fn command(&mut self, at: &str, app: &Map<String, Value>) -> Option<Vec<String>> {
        let Some(script) = app.get("script").and_then(Value::as_str).filter(|script| !script.is_empty())
        else {
            self.fault(at, "there is no 'script'");
            return None;
        };
        let interpreter = match app.get("interpreter").or_else(|| app.get("exec_interpreter")) {
            Some(Value::String(name)) if name == "none" => None,
            Some(Value::String(name)) => Some(name.clone()),
            _ => by_ending(script),
        };
        let mut command: Vec<String> = interpreter.into_iter().collect();
        if !command.is_empty() {
            for key in ["node_args", "interpreter_args"] {
                command.extend(self.list(at, key, app.get(key)));
            }
        }
        command.push(script.to_owned());
        command.extend(self.list(at, "args", app.get("args")));
        Some(command)
    }

    /// Words: an array, or one string.
    fn list(&mut self, at: &str, key: &str, value: Option<&Value>) -> Vec<String> {
        match value {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(words)) => words.iter().filter_map(text).collect(),
            Some(Value::String(line)) => command_line::split(line).unwrap_or_else(|error| {
                self.fault(at, format!("'{key}': {}", error.text()));
                Vec::new()
            }),
            Some(_) => {
                self.fault(at, format!("'{key}' is a string or an array"));
                Vec::new()
            }
        }
    }

    /// What one key comes to.
    fn option(&mut self, at: &str, key: &str, value: &Value, app: &Map<String, Value>) -> Vec<OsString> {
        let is_profile = |profile: &str| key.strip_prefix(ENV_OF) == Some(profile);
        match key {
            "name" | "script" | "args" | "interpreter" | "exec_interpreter" | "node_args"
            | "interpreter_args" => Vec::new(),
            "env" => self.env(at, key, value),
            "instances" => self.words(at, key, "workers", instances(value)),
            "cwd" | "env_file" => self.words(at, key, &key.replace('_', "-"), text(value)),
            "max_memory_restart" => self.words(at, key, "max-rss", text(value).map(|size| in_1024s(&size))),
            "kill_timeout" => self.words(at, key, "stop-timeout", millis(value)),
            "listen_timeout" => self.words(at, key, "ready-timeout", millis(value)),
            "restart_delay" => {
                let both =
                    ["backoff-min", "backoff-max"].map(|option| self.words(at, key, option, millis(value)));
                both.concat()
            }
            "exp_backoff_restart_delay" => self.words(at, key, "backoff-min", millis(value)),
            "stop_exit_codes" => self.words(at, key, "stop-exit-codes", codes(value)),
            "wait_ready" if *value == Value::Bool(true) => {
                self.words(at, key, "ready", Some("message".to_owned()))
            }
            "autorestart" if *value == Value::Bool(false) => {
                self.words(at, key, "restart", Some("never".to_owned()))
            }
            "wait_ready" | "autorestart" => Vec::new(),
            // Fork mode with one process is what it is here anyway; with more, each has the ports to itself, or fails.
            "exec_mode" => {
                let is_fork = value.as_str().is_some_and(|mode| mode.starts_with("fork"));
                if is_fork && app.get("instances").is_some_and(|count| *count != 1) {
                    self.note(key, "workers share their ports, as in cluster mode");
                }
                Vec::new()
            }
            "cron_restart" | "cron" => match value.as_str().and_then(time_of_day) {
                Some(time) => self.words(at, key, "recycle-at", Some(time)),
                None => self.nothing(key),
            },
            _ if self.profile.is_some_and(is_profile) => {
                self.has_profile = true;
                self.env(at, key, value)
            }
            _ if key.starts_with(ENV_OF) => Vec::new(),
            _ => self.nothing(key),
        }
    }

    fn nothing(&mut self, key: &str) -> Vec<OsString> {
        let known = NOTHING.iter().find(|(keys, _)| keys.contains(&key));
        self.note(key, known.map_or("it is not known here", |(_, note)| note));
        Vec::new()
    }

    fn note(&mut self, key: &str, note: &'static str) {
        let keys = self.notes.entry(note).or_default();
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
    }

    fn words(&mut self, at: &str, key: &str, option: &str, value: Option<String>) -> Vec<OsString> {
        let Some(value) = value else {
            self.fault(at, format!("'{key}' has a value that means nothing here"));
            return Vec::new();
        };
        let word = OsString::from(format!("--{option}={value}"));
        if let Some(fault) = self.keys.fault(&word) {
            self.fault(at, format!("'{key}': {}", fault.why));
            return Vec::new();
        }
        vec![word]
    }

    fn env(&mut self, at: &str, key: &str, value: &Value) -> Vec<OsString> {
        let Some(table) = value.as_object() else {
            self.fault(at, format!("'{key}' is an object"));
            return Vec::new();
        };
        let pair = |(name, value): (&String, &Value)| Some((name.clone(), text(value)?));
        let pairs: Vec<(String, String)> = table.iter().filter_map(pair).collect();
        pairs
            .into_iter()
            .flat_map(|(name, value)| self.words(at, key, "env", Some(format!("{name}={value}"))))
            .collect()
    }
}

/// A plain value as a word.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Milliseconds, which PM2 writes as a number.
fn millis(value: &Value) -> Option<String> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.map(|number| format!("{number}ms"))
}

/// `max` and 0 are as many as CPUs; below zero, so many fewer.
fn instances(value: &Value) -> Option<String> {
    let number = match value {
        Value::String(text) if text == "max" => Some(0),
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_i64(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match number? {
        0 => Some("auto".to_owned()),
        below @ ..0 => {
            let cpus = i64::try_from(num_cpus::get()).unwrap_or(i64::MAX);
            Some(cpus.saturating_add(below).max(1).to_string())
        }
        number => Some(number.to_string()),
    }
}

fn codes(value: &Value) -> Option<String> {
    let Value::Array(codes) = value else { return text(value) };
    Some(codes.iter().filter_map(text).collect::<Vec<_>>().join(","))
}

/// PM2's M are 1,024 times 1,024 bytes; without a unit, bytes.
fn in_1024s(size: &str) -> String {
    match size.strip_suffix(['K', 'M', 'G', 'k', 'm', 'g']) {
        Some(number) => format!("{number}{}iB", &size[number.len()..]),
        None => size
            .parse::<u64>()
            .map_or_else(|_| size.to_owned(), |bytes| format!("{}KiB", bytes.div_ceil(1024))),
    }
}

/// `30 4 * * *` is half past four of each day.
fn time_of_day(cron: &str) -> Option<String> {
    let parts: Vec<&str> = cron.split_whitespace().collect();
    let [minute, hour, "*", "*", "*"] = parts[..] else { return None };
    let (minute, hour): (u8, u8) = (minute.parse().ok()?, hour.parse().ok()?);
    (minute < 60 && hour < 24).then(|| format!("{hour:02}:{minute:02}"))
}

fn by_ending(script: &str) -> Option<String> {
    let interpreter = match script.rsplit_once('.')?.1 {
        "js" | "mjs" | "cjs" => "node",
        "py" => "python3",
        "rb" => "ruby",
        "sh" => "sh",
        "pl" => "perl",
        "php" => "php",
        _ => return None,
    };
    Some(interpreter.to_owned())
}

fn stem(script: &str) -> String {
    let stem = std::path::Path::new(script).file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { path: "ecosystem.config.json".into(), text: text.to_owned() }
    }

    fn made(text: &str, profile: Option<&str>) -> Result<Document, Vec<Fault>> {
        read(&source(text), &Keys::new(), profile)
    }

    fn lines(document: &Document) -> Vec<String> {
        let join = |words: &[OsString]| {
            words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        document.apps.iter().map(|app| format!("{} -- {}", join(&app.words), join(&app.command))).collect()
    }

    #[test]
    fn keys_with_a_counterpart_become_options() {
        let text = r#"{"apps":[{"name":"api","script":"./api.js","instances":"max","exec_mode":"cluster","args":"-p 'a b'",
            "node_args":["--max-old-space-size=200"],"max_memory_restart":"300M","kill_timeout":5000,"listen_timeout":8000,
            "wait_ready":true,"autorestart":true,"restart_delay":100,"stop_exit_codes":[0,3],"cron_restart":"30 4 * * *",
            "cwd":"/srv","env_file":".env","env":{"A":1,"B":"x y"},"env_production":{"A":2}}]}"#;
        let words = lines(&made(text, Some("production")).unwrap()).remove(0);
        for word in [
            "--name=api",
            "--workers=auto",
            "--max-rss=300MiB",
            "--stop-timeout=5000ms",
            "--ready-timeout=8000ms",
            "--ready=message",
            "--backoff-min=100ms",
            "--backoff-max=100ms",
            "--stop-exit-codes=0,3",
            "--recycle-at=04:30",
            "--cwd=/srv",
            "--env-file=.env",
            "--env=A=1",
            "--env=B=x y",
            "--env=A=2",
        ] {
            assert!(words.contains(word), "{word}: {words}");
        }
        assert!(words.find("--env=A=1") < words.find("--env=A=2"), "the profile lies over the rest: {words}");
        assert!(words.ends_with("-- node --max-old-space-size=200 ./api.js -p a b"), "{words}");
        assert!(made(text, None).unwrap().notes.is_empty());
        assert!(made(text, Some("staging")).is_err());
    }

    #[test]
    fn the_forms_that_pm2_takes_are_taken() {
        for (app, line) in [
            (r#"{"script":"srv/app.js"}"#, "--name=app --workers=1 -- node srv/app.js"),
            (r#"[{"script":"app.py","instances":2}]"#, "--name=app --workers=2 -- python3 app.py"),
            (
                r#"{"apps":{"script":"server","name":"x","args":["a b",5]}}"#,
                "--name=x --workers=1 -- server a b 5",
            ),
            (r#"{"script":"a.js","interpreter":"none"}"#, "--name=a --workers=1 -- a.js"),
            (r#"{"script":"a.ts","interpreter":"bun"}"#, "--name=a --workers=1 -- bun a.ts"),
            (r#"{"script":"a.js","autorestart":false}"#, "--name=a --restart=never --workers=1 -- node a.js"),
        ] {
            assert_eq!(lines(&made(app, None).unwrap()), [line]);
        }
        assert_eq!(instances(&Value::from(-1)).unwrap(), (num_cpus::get().max(2) - 1).to_string());
        assert_eq!([in_1024s("1G"), in_1024s("1048576")], ["1GiB", "1024KiB"]);
    }

    #[test]
    fn what_has_no_counterpart_is_said_once() {
        let text = r#"{"apps":[{"script":"a.js","watch":true,"out_file":"x","error_file":"y"},
            {"script":"b.js","watch":false,"cron_restart":"*/5 * * * *","frobnicate":1,"exec_mode":"fork","instances":4}],
            "deploy":{}}"#;
        let notes = made(text, None).unwrap().notes;
        assert_eq!(notes.len(), 6, "{notes:#?}");
        assert!(notes.iter().any(|note| note.starts_with("'error_file', 'out_file': ")), "{notes:#?}");
    }

    #[test]
    fn all_that_is_wrong_is_found() {
        let text = r#"{"apps":[{"name":"a"},{"script":"b.js","instances":"many","max_memory_restart":"lots","env":5},
            {"script":"b.js","name":"a/b"},{"script":"c.js","args":"a 'b"},7]}"#;
        let faults = made(text, None).unwrap_err();
        assert_eq!(faults.len(), 7, "{faults:#?}");
        let broken = made("{\n  \"apps\": [,]\n}", None).unwrap_err();
        assert_eq!(broken[0].span, Some(13..14));
    }
}
