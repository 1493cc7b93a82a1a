//! `cargo xtask test`: fetches what the tests need, then runs them all.
//!
//! Owns what a skip means: on a developer's machine a line at the end, in CI a failure, except for what the host
//! itself lacks. Never skips a test; the tests do, and say `skipped: X not found`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::nodes::{self, Node};
use crate::{Outcome, apps, run, tools};

/// What a script cannot install: a skip that names one of these is no failure in CI.
const HOST_LACKS: &[&str] = &["cgroup", "systemd", "tcp_migrate_req", "namespace"];

/// The words with which a test says that it could not run.
const SKIPPED: &str = "skipped: ";

/// Cargo's options that choose what is tested; without one of them everything is.
const CHOICES: &[&str] = &["-p", "--package", "--workspace", "--exclude", "--manifest-path"];

/// What was prepared, and what could not be.
#[derive(Debug, Default)]
struct Needs {
    nodes: Vec<Node>,
    apps: Option<PathBuf>,
    skips: Vec<String>,
}

/// What the run showed.
#[derive(Debug, Default, Eq, PartialEq)]
struct Findings {
    skips: Vec<String>,
    slow: Vec<String>,
    /// Whether the lines are those of tests that passed: read for skips, but nothing to look at.
    passed: bool,
}

/// The chore.
pub(crate) fn run(args: &[String]) -> Outcome {
    let needs = prepare();
    let mut findings = Findings { skips: needs.skips.clone(), ..Findings::default() };
    let result = run::watch(&mut command(&needs, args), |line| findings.note(line));
    report(&findings);
    result.and_then(|()| judge(&findings.skips, run::in_ci()))
}

/// Fetches what the tests need, and goes on without what cannot be had.
fn prepare() -> Needs {
    run::announce("prepare: node versions and npm packages");
    let mut needs = Needs::default();
    let machine = needs.keep(nodes::machine());
    for major in nodes::beside(machine.as_ref()) {
        let fetched = nodes::fetch(major).map_err(|why| format!("node {major} not found: {why}"));
        needs.nodes.extend(fetched.map_err(|why| needs.skips.push(why)));
    }
    needs.nodes.splice(0..0, machine);
    needs.apps = needs.keep(apps::prepare()).flatten();
    needs.keep(tools::ensure(&["python3"]));
    for node in &needs.nodes {
        println!("node {} {}", node.version, node.program.display());
    }
    needs
}

impl Needs {
    /// What was found, or a skip.
    fn keep<T>(&mut self, found: Result<T, String>) -> Option<T> {
        found.map_err(|why| self.skips.push(why)).ok()
    }
}

/// `cargo test`, over everything unless `args` choose, and past the first package that fails; tests that pass show what they printed, for skips are there.
fn command(needs: &Needs, args: &[String]) -> Command {
    let (ours, harness) = split(args);
    let mut command = run::cargo(&["test", "--no-fail-fast"]);
    if !ours.iter().any(|arg| CHOICES.contains(&arg.as_str())) {
        command.arg("--workspace");
    }
    command.args(ours).arg("--").args(harness).arg("--show-output");
    pass_on(&mut command, needs.nodes.iter(), needs.apps.as_ref());
    command
}

/// Tells the tests what was prepared.
pub(crate) fn pass_on<'a>(
    command: &mut Command,
    nodes: impl Iterator<Item = &'a Node>,
    apps: Option<&PathBuf>,
) {
    let programs: Vec<OsString> = nodes.map(|node| node.program.clone().into_os_string()).collect();
    if !programs.is_empty() {
        command.env("CLUSTR_NODES", programs.join(&OsString::from(":")));
    }
    if let Some(apps) = apps {
        command.env("CLUSTR_TEST_APPS", apps);
    }
}

/// Cargo's arguments, and those after `--` for the test programs.
fn split(args: &[String]) -> (&[String], &[String]) {
    match args.iter().position(|arg| arg == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (args, &[]),
    }
}

impl Findings {
    /// Keeps the two kinds of lines that matter at the end; says whether the line is worth printing.
    fn note(&mut self, line: &str) -> bool {
        match line {
            "successes:" => self.passed = true,
            _ if line == "failures:" || line.starts_with("test result:") => self.passed = false,
            _ => {}
        }
        if let Some((_, what)) = line.split_once(SKIPPED) {
            push_new(&mut self.skips, what);
        }
        if let Some((test, _)) = line.split_once(" has been running for over 60 seconds") {
            push_new(&mut self.slow, test.trim_start_matches("test "));
        }
        !self.passed
    }
}

fn push_new(list: &mut Vec<String>, what: &str) {
    if !list.iter().any(|known| known == what) {
        list.push(what.to_owned());
    }
}

fn report(findings: &Findings) {
    run::announce("summary");
    for slow in &findings.slow {
        println!("slow (over 60 s): {slow}");
    }
    for skip in &findings.skips {
        println!("{SKIPPED}{skip}");
    }
    if findings.skips.is_empty() {
        println!("nothing was skipped");
    }
}

/// In CI every skip is a failure, except for what no script could install.
fn judge(skips: &[String], in_ci: bool) -> Outcome {
    let host_lacks = |skip: &str| HOST_LACKS.iter().any(|lack| skip.to_lowercase().contains(lack));
    let faults = skips.iter().filter(|skip| !host_lacks(skip)).count();
    if in_ci && faults > 0 { Err(format!("{faults} skipped, and CI is set")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_skip_is_a_failure_in_ci_unless_the_host_lacks_it() {
        let python = strings(&["python3 not found"]);
        assert!(judge(&python, true).is_err());
        assert!(judge(&python, false).is_ok());
        assert!(
            judge(&strings(&["cgroup controllers not found", "systemd as PID 1 not found"]), true).is_ok()
        );
    }

    #[test]
    fn skips_and_slow_tests_are_noted_once() {
        let mut findings = Findings::default();
        for line in
            ["skipped: x not found", "skipped: x not found", "test a::b has been running for over 60 seconds"]
        {
            findings.note(line);
        }
        assert_eq!((findings.skips, findings.slow), (strings(&["x not found"]), strings(&["a::b"])));
    }

    #[test]
    fn what_tests_that_passed_have_printed_is_read_but_not_shown() {
        let mut findings = Findings::default();
        let lines = [
            "test a ... ok",
            "successes:",
            "skipped: x not found",
            "failures:",
            "why",
            "successes:",
            "test result: ok",
        ];
        let shown: Vec<&str> = lines.into_iter().filter(|line| findings.note(line)).collect();
        assert_eq!(shown, ["test a ... ok", "failures:", "why", "test result: ok"]);
        assert_eq!(findings.skips, ["x not found"]);
    }

    #[test]
    fn arguments_choose_what_is_tested() {
        let words = |args: &[&str]| -> Vec<String> {
            let command = command(&Needs::default(), &strings(args));
            command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(words(&[]), ["test", "--no-fail-fast", "--workspace", "--", "--show-output"]);
        assert_eq!(
            words(&["-p", "xtask", "--", "skip"]),
            ["test", "--no-fail-fast", "-p", "xtask", "--", "skip", "--show-output"]
        );
    }

    #[test]
    fn tests_are_told_every_node_and_the_apps() {
        let node = |program: &str| Node { program: program.into(), version: "20.0.0".into() };
        let needs = Needs {
            nodes: vec![node("/a/node"), node("/b/node")],
            apps: Some("/apps".into()),
            skips: vec![],
        };
        let command = command(&needs, &[]);
        let env: Vec<_> =
            command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?))).collect();
        assert!(env.contains(&("CLUSTR_NODES", "/a/node:/b/node")), "{env:?}");
        assert!(env.contains(&("CLUSTR_TEST_APPS", "/apps")), "{env:?}");
    }
}
