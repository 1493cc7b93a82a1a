//! In tests only: a key means what its option means.
//!
//! Owns an example of every key. What follows from the options is then the same code, so that each test of an option on a real
//! worker is one of its key.

use std::ffi::OsString;

use clap::FromArgMatches;
use proptest::prelude::*;

use super::document;
use super::keys::{AFTER, COMMAND, Keys};
use crate::args::RunOptions;
use crate::args::run::definition;

/// A key with a value, and the words of a command line that say the same.
pub(super) const EXAMPLES: &[(&str, &str, &[&str])] = &[
    ("workers", "4", &["--workers", "4"]),
    ("workers", "'auto'", &["-n", "auto"]),
    ("listen", "':3001'", &["--listen", ":3001"]),
    (
        "listen",
        "['web=:3001,backlog=512', 'unix:/tmp/a.sock']",
        &["-l", "web=:3001,backlog=512", "-l", "unix:/tmp/a.sock"],
    ),
    ("share", "'per-worker'", &["--share", "per-worker"]),
    ("balance", "'random'", &["--balance", "random"]),
    ("delivery", "'node'", &["--delivery", "node"]),
    ("delivery", "['fds', 'channel']", &["--delivery", "fds", "--delivery", "channel"]),
    ("port", "3001", &["--port", "3001"]),
    ("port", "[3001, '3002']", &["--port", "3001", "--port", "3002"]),
    ("private-port", "[9000]", &["--private-port", "9000"]),
    ("share-zero", "true", &["--share-zero"]),
    ("share-zero", "false", &[]),
    ("no-intercept", "true", &["--no-intercept"]),
    ("die-with-primary", "true", &["--die-with-primary"]),
    ("name", "'shop'", &["--name", "shop"]),
    ("control", "'run/c.sock'", &["--control", "run/c.sock"]),
    ("restart", "'transient'", &["--restart", "transient"]),
    ("restart", "'never'", &["--restart", "never"]),
    ("intensity", "'3/1m'", &["--intensity", "3/1m"]),
    ("backoff-min", "'0s'", &["--backoff-min", "0s"]),
    ("backoff-max", "'1m 30s'", &["--backoff-max", "1m 30s"]),
    ("stop-exit-codes", "[0, 78]", &["--stop-exit-codes", "0,78"]),
    ("stop-exit-codes", "3", &["--stop-exit-codes", "3"]),
    ("ready", "'http:/health?a=b'", &["--ready", "http:/health?a=b"]),
    ("ready", "'exec:test -e /tmp/x'", &["--ready", "exec:test -e /tmp/x"]),
    ("ready-timeout", "'5s'", &["--ready-timeout", "5s"]),
    ("live", "'tcp:9000+slot'", &["--live", "tcp:9000+slot"]),
    ("live-every", "'2s'", &["--live-every", "2s"]),
    ("live-timeout", "'500ms'", &["--live-timeout", "500ms"]),
    ("live-failures", "5", &["--live-failures", "5"]),
    ("watchdog", "'3s'", &["--watchdog", "3s"]),
    ("max-rss", "'400M'", &["--max-rss", "400M"]),
    ("max-age", "'7days'", &["--max-age", "7days"]),
    ("max-requests", "100_000", &["--max-requests", "100000"]),
    ("recycle-at", "'04:30'", &["--recycle-at", "04:30"]),
    ("recycle-at", "['04:30', '16:30']", &["--recycle-at", "04:30", "--recycle-at", "16:30"]),
    ("stop-timeout", "'0s'", &["--stop-timeout", "0s"]),
    ("hang-timeout", "'off'", &["--hang-timeout", "off"]),
    ("stop-signal", "'USR2'", &["--stop-signal", "USR2"]),
    ("stop-signal", "15", &["--stop-signal", "15"]),
    ("stop-order", "'signal'", &["--stop-order", "signal"]),
    (
        "env",
        "{ A = 'b=c d', B = '', C = 5, D = true }",
        &["--env", "A=b=c d", "--env", "B=", "--env", "C=5", "--env", "D=true"],
    ),
    ("env-file", "['.env', 'b.env']", &["--env-file", ".env", "--env-file", "b.env"]),
    ("cwd", "'/srv/app'", &["--cwd", "/srv/app"]),
    ("log", "'json'", &["--log", "json"]),
    ("log-format", "'json'", &["--log-format", "json"]),
];

fn options<S: AsRef<std::ffi::OsStr>>(words: &[S]) -> RunOptions {
    let words = words.iter().map(|word| OsString::from(word.as_ref()));
    let matches = definition().try_get_matches_from(words).unwrap();
    RunOptions::from_arg_matches(&matches).unwrap()
}

/// The options of the one app of a file.
fn of_file(text: &str) -> RunOptions {
    let document = document::read(text, &Keys::new(), None).unwrap();
    let [app] = <[super::App; 1]>::try_from(document.apps).unwrap();
    assert_eq!(app.command, ["node", "app.js"]);
    options(&app.words)
}

/// What only has a meaning beside another key.
fn beside(key: &str) -> &'static [(&'static str, &'static str, &'static [&'static str])] {
    if key.starts_with("live-") { &[("live", "'http:/'", &["--live", "http:/"])] } else { &[] }
}

fn agrees(examples: &[(&str, &str, &[&str])]) {
    let lines: String = examples.iter().map(|(key, value, _)| format!("{key} = {value}\n")).collect();
    let words: Vec<&str> = examples.iter().flat_map(|(_, _, words)| words.iter().copied()).collect();
    let file = of_file(&format!("command = 'node app.js'\n{lines}"));
    assert_eq!(format!("{file:?}"), format!("{:?}", options(&words)), "{lines}");
}

#[test]
fn every_key_has_an_example_and_means_what_its_option_means() {
    for key in Keys::new().all().iter().filter(|key| ![COMMAND, AFTER].contains(&key.name.as_str())) {
        let examples: Vec<_> = EXAMPLES.iter().filter(|(name, ..)| *name == key.name).collect();
        assert!(!examples.is_empty(), "there is no example of '{}'", key.name);
        for example in examples {
            agrees(&[beside(&key.name), &[*example]].concat());
            let said = options(
                &[beside(&key.name), &[*example]].concat().iter().flat_map(|e| e.2).collect::<Vec<_>>(),
            );
            let is_said = format!("{said:?}") != format!("{:?}", options::<&str>(&[]));
            assert!(is_said || example.2.is_empty(), "the example of '{}' says nothing", key.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_keys_together_mean_what_their_options_mean_together(
        mut chosen in proptest::sample::subsequence(EXAMPLES.to_vec(), 0..12)
    ) {
        chosen.dedup_by_key(|example| example.0);
        if chosen.iter().any(|(key, ..)| key.starts_with("live-")) && !chosen.iter().any(|(key, ..)| *key == "live") {
            chosen.extend(beside("live-every"));
        }
        agrees(&chosen);
    }

    #[test]
    fn no_text_is_a_panic(text in "(command|workers|env|\\[app\\.a\\]|after|\\[profile\\.x\\]|=|'|\"|\\{|\\}|\\[|\\]|,|\n|\\PC){0,40}") {
        let keys = Keys::new();
        let read = document::read(&text, &keys, None);
        let source = super::source::Source { path: "f".into(), text };
        if let Err(faults) = read {
            prop_assert!(!faults.is_empty());
            let _ = source.refuse(faults);
        }
    }
}
