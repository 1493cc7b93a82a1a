//! What a newcomer reads: every help text is a golden file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::{Command, Output};

/// A golden file that holds the text alone.
macro_rules! golden {
    ($($text:tt)*) => {
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!($($text)*) })
    };
}

#[expect(clippy::disallowed_methods, reason = "the program under test is run as a person would run it")]
fn clustr(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clustr"));
    command.args(words).env_remove("COLUMNS").env_remove("NO_COLOR").output().unwrap()
}

fn help(words: &[&str]) -> String {
    let output = clustr(words);
    assert_eq!(output.status.code(), Some(0), "{words:?}");
    assert!(output.stderr.is_empty(), "help that was asked for is no complaint: {words:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\x1b'), "no colours where there is no terminal");
    text
}

#[test]
fn the_first_help_is_golden() {
    golden!("help_short", help(&["-h"]));
    golden!("help_long", help(&["--help"]));
}

#[test]
fn each_commands_help_is_golden() {
    for command in [
        "run",
        "status",
        "events",
        "scale",
        "reload",
        "restart",
        "stop",
        "signal",
        "send",
        "list",
        "check",
        "export",
        "doctor",
        "apply",
        "init",
        "demo",
        "completions",
        "version",
    ] {
        golden!(format!("help_{command}"), help(&[command, "--help"]));
    }
    golden!("help_run_short", help(&["run", "-h"]));
}

#[test]
fn clustr_alone_is_a_question_and_gets_the_help_as_its_answer() {
    let output = clustr(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), help(&["-h"]));
}

#[test]
fn every_help_fits_a_hundred_columns() {
    for words in [&["--help"] as &[&str], &["run", "--help"], &["demo", "--help"]] {
        for line in help(words).lines() {
            assert!(line.chars().count() <= 100, "{words:?}: {line}");
        }
    }
}

#[test]
fn the_version_is_the_crates() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(help(&["version"]), format!("clustr {version}\n"));
    assert_eq!(help(&["--version"]), format!("clustr {version}\n"));
    assert_eq!(help(&["version", "--json"]), format!("{{\"clustr\":\"{version}\"}}\n"));
}

#[test]
fn completions_are_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = help(&["completions", shell]);
        assert!(script.contains("stop-timeout"), "{shell}");
        for hidden in ["demo-worker", "die-with-parent"] {
            assert!(!script.contains(hidden), "{shell} offers {hidden}");
        }
    }
}

#[test]
fn manual_pages_are_made_for_each_command_that_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(help(&["man", path]), "");
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name));
    for command in ["run", "status", "reload", "stop", "doctor", "export", "apply"] {
        let page = page(&format!("clustr-{command}.1")).unwrap();
        assert!(page.contains(".SH OPTIONS") && page.contains("Examples"), "{command}: {page}");
    }
    assert!(
        page("clustr-demo-worker.1").is_err() && page("clustr-man.1").is_err(),
        "what is hidden has none"
    );
    assert_eq!(help(&["man"]), page("clustr.1").unwrap());
    let refused = clustr(&["man", "/nowhere"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("could not write into '/nowhere'"));
}
