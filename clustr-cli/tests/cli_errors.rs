//! What goes wrong before anything runs: one clear error each, in one shape, with its exit code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

/// A golden file that holds the text alone.
macro_rules! golden {
    ($($text:tt)*) => {
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!($($text)*) })
    };
}

/// A folder of its own for control sockets and files, so that nothing of the machine shows.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let mut file = std::fs::File::create(self.path().join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "the program under test is run as a person would run it")]
    fn clustr(&self, words: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clustr"));
        command.args(words).current_dir(self.path()).env("CLUSTR_RUNTIME_DIR", self.path());
        command.env("CLUSTR_STATE_DIR", self.path());
        command.env_remove("WEB_CONCURRENCY").env_remove("COLUMNS").envs(env.iter().copied());
        command.output().unwrap()
    }

    /// A transcript: what was typed, the exit code, and everything that was said.
    fn typed(&self, line: &str, env: &[(&str, &str)]) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.clustr(&words, env);
        let mut text = String::new();
        let variables: String = env.iter().map(|(name, value)| format!("{name}={value} ")).collect();
        let _ = writeln!(text, "$ {variables}clustr {line}\nexit {}", output.status.code().unwrap());
        text.push_str(&String::from_utf8(output.stdout).unwrap());
        text.push_str(&String::from_utf8(output.stderr).unwrap());
        text.replace(&self.path().display().to_string(), "[DIR]")
    }

    fn transcript(&self, lines: &[&str]) -> String {
        lines.iter().map(|line| self.typed(line, &[])).collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn a_mistyped_command_line_names_what_was_meant() {
    let place = Place::new();
    golden!(place.transcript(&[
        "statsu --json",
        "frobnicate",
        "run --wrokers 2 -- node app.js",
        "run --frobnicate -- node app.js",
        "run -n 4 node app.js",
        "run node app.js -p 3001",
        "run --port 80 node app.js",
        "run",
        "run --",
        "status extra",
        "status --jsno",
        "--frobnicate",
        "scale",
        "run -n 2 -n 3 -- node app.js",
        "stop --name a --control b",
        "completions tcsh",
    ]));
}

#[test]
fn a_value_that_makes_no_sense_is_named_with_one_that_does() {
    let place = Place::new();
    golden!(place.transcript(&[
        "run -n 0 -- node app.js",
        "run -n four -- node app.js",
        "run -n 5000 -- node app.js",
        "run -n -- node app.js",
        "run --stop-timeout 10 -- node app.js",
        "run --stop-timeout soon -- node app.js",
        "run --ready-timeout 0s -- node app.js",
        "run --stop-timeout 48h -- node app.js",
        "run --intensity 5 -- node app.js",
        "run --intensity 5/0s -- node app.js",
        "run --backoff-min 2m --backoff-max 1m -- node app.js",
        "run --stop-signal FOO -- node app.js",
        "run --stop-signal KILL -- node app.js",
        "run --restart sometimes -- node app.js",
        "run --ready yes -- node app.js",
        "run --log loudly -- node app.js",
        "run --env NAME -- node app.js",
        "run --env 1A=b -- node app.js",
        "run --name ../x -- node app.js",
        "run --cwd nowhere -- node app.js",
        "scale many",
        "run --balance sticky -- node app.js",
        "run --balance random -- node app.js",
        "run --share handoff --balance hash -- node app.js",
        "run --share per-worker --balance least-busy -- node app.js",
        "run --listen 300000 -- node app.js",
        "run -l web= -- node app.js",
        "run -l 1.2.3.4 -- node app.js",
        "run -l fd:x -- node app.js",
        "run -l :3001,bcklog=512 -- node app.js",
        "run -l :3001,backlog=many -- node app.js",
        "run -l :3001,mode=660 -- node app.js",
        "run -l :3001,quick -- node app.js",
        "run -l unix:/tmp/app.sock,mod=660 -- node app.js",
        "run -l :3001,defer-accept=never -- node app.js",
        "run --delivery fds -- node app.js",
        "run --delivery channel -- node app.js",
        "run --stop-exit-codes 0,999 -- node app.js",
        "run -d --log inherit -- node app.js",
        "run --json -- node app.js",
        "signal FOO",
        "run --ready http:health -- node app.js",
        "run --ready tcp:0 -- node app.js",
        "run --ready exec: -- node app.js",
        "run --ready delay:2 -- node app.js",
        "run --ready delay:1m -- node app.js",
        "run --live yes -- node app.js",
        "run --live-every 1s -- node app.js",
        "run --live http:/ --live-failures 0 -- node app.js",
        "run --max-rss 400 -- node app.js",
        "run --max-age 0s -- node app.js",
        "run --max-requests 0 -- node app.js",
        "run --recycle-at 25:00 -- node app.js",
        "demo --port 0",
        "demo --duration 0s",
    ]));
}

#[test]
fn a_number_that_cannot_be_meant_is_not_called_an_option_or_a_digit() {
    let place = Place::new();
    golden!(place.transcript(&[
        "run -n -1 -- node app.js",
        "run --stop-timeout -1s -- node app.js",
        "reload --settle -1s",
        "restart -1",
        "restart abc",
        "status --slot x",
        "send hello --slot x",
        "signal USR2 all",
        "signal 64",
        "run --stop-signal RTMIN+3 -- node app.js",
        "run --watchdog 1ms -- node app.js",
    ]));
}

#[test]
fn a_listener_that_cannot_be_had_is_named_before_anything_is_started() {
    let place = Place::new();
    golden!(place.transcript(&[
        "run -l web=:0 -l web=:0 -- node app.js",
        "run -l :3999 -l other=:3999 -- node app.js",
        "run -l we:b=:0 -- node app.js",
        "run -l fd:99 -- node app.js",
        "run -l unix:/nowhere/app.sock -- node app.js",
        "run -l :0 --share handoff --delivery fds -- node app.js",
        "run -l unix:app.sock --share per-worker -- node app.js",
        "run -l unix:app.sock --ready notify -- /bin/sh",
        "run -l :0 --share shared --ready http:/health -- /bin/sh",
        "run -l :0 --share shared --live http:/health -- /bin/sh",
        "run -l :0 --max-requests 1000 -- /bin/sh",
    ]));
}

#[test]
fn what_this_version_does_not_have_is_recognised_and_refused() {
    let place = Place::new();
    golden!(place.transcript(&[
        "run --log journal -- node app.js",
        "run --log file:app.log -- node app.js",
        "logs -f",
    ]));
}

#[test]
fn a_command_in_a_form_that_cannot_work_is_refused() {
    let place = Place::new();
    place.write("package.json", r#"{"scripts":{"start":"node server.js","dev":"next dev | tee log"}}"#);
    std::fs::create_dir(place.path().join("folder")).unwrap();
    golden!(place.transcript(&[
        "run --no-intercept -n 2 -- node -e 1",
        "run -n 1 -- node",
        "run --no-intercept -n 2 -- npm start",
        "run --no-intercept -n 2 -- npm run dev",
        "run --no-intercept -n 2 -- npx tsx app.ts",
        "run --no-intercept -n 2 -- node --watch app.js",
        "run --no-intercept -n 2 -- deno run -A main.ts",
        "run -n 2 -- ./absent",
        "run -n 2 -- no-such-program",
        "run -n 2 -- ./package.json",
        "run -n 2 -- ./folder",
    ]));
}

#[test]
fn wishes_over_ports_that_nobody_can_meet_are_refused() {
    let place = Place::new();
    golden!(place.transcript(&[
        "run --port 0 -- ./server",
        "run --port 3001 --delivery node -- node app.js",
        "run --private-port 9229 --no-intercept -- ./server",
        "run --share-zero --share handoff -- ./server",
        "run --delivery intercept --no-intercept -- ./server",
        "run --delivery intercept --share handoff -- /bin/sh",
        "run --balance least-busy -- /bin/sh",
    ]));
}

#[test]
fn launchers_have_their_bind_intercepted_and_node_itself_has_not() {
    let place = Place::new();
    for (command, delivery) in [
        ("check -n 2 -- npm start", "intercept"),
        ("check -n 2 -- node --watch app.js", "intercept"),
        ("check -n 2 -- node -e 1", "intercept"),
        ("check -n 2 -- /bin/sh app.sh", "intercept"),
        ("check -n 2 --listen :0 -- /bin/sh app.sh", "fds, channel, intercept"),
        ("check -n 2 -- node app.js", "node"),
        ("check -n 2 --port 3001 -- node app.js", "intercept"),
        ("check -n 2 --no-intercept -- /bin/sh app.sh", "node"),
        ("check -n 2 --share handoff -- /bin/sh app.sh", "node"),
    ] {
        let said = place.typed(command, &[]);
        assert!(said.contains(&format!("delivery   {delivery}\n")), "{command}: {said}");
    }
}

#[test]
fn a_file_of_variables_is_blamed_by_its_line() {
    let place = Place::new();
    place.write("bad.env", "A=1\n\n# fine\nB 2\n");
    place.write("open.env", "A=1\nB=\"2\n");
    golden!(place.transcript(&[
        "run --env-file bad.env -- ./x",
        "run --env-file open.env -- ./x",
        "run --env-file none.env -- ./x",
    ]));
}

#[test]
fn the_number_of_workers_in_the_environment_is_checked_too() {
    let place = Place::new();
    let typed = |value| place.typed("check -- /bin/sh", &[("WEB_CONCURRENCY", value)]);
    let [wrong, three] = ["many", "3"].map(typed);
    golden!(wrong);
    assert!(three.contains("workers    3\n"), "{three}");
    assert!(place.typed("check -n 2 -- /bin/sh", &[("WEB_CONCURRENCY", "many")]).contains("workers    2\n"));
}

#[test]
fn check_says_what_run_would_do() {
    let place = Place::new();
    place.write("vars.env", "B=2\n");
    golden!(place.transcript(&[
        "check -n 3 --env A=1 --env-file vars.env --ready message --stop-timeout 1m -- /bin/sh app.sh",
        "check -n 1 --name shop --log json -- /bin/sh",
        "check -n 1 -l :3001 --ready http:/health --live exec:./alive --live-every 5s --watchdog 3s --max-rss 400M --max-age 12h --recycle-at 04:30 -- /bin/sh",
        "check -n 1 -l unix:app.sock --delivery channel --ready delay:2s -- /bin/sh",
        "check -n 1 -- ./absent",
    ]));
}

#[test]
fn check_refuses_what_could_only_fail_later() {
    let place = Place::new();
    golden!(place.transcript(&[
        "check -n 2 --ready tcp:9000 -- /bin/sh",
        "check -n 2 --live tcp:65535+slot -- /bin/sh",
        "run -n 2 --live tcp:9000 -- /bin/sh",
        "check -n 1 --control /nowhere/x.sock -- /bin/sh",
        "run -d -n 1 --control /nowhere/x.sock -- /bin/sh",
        "check -n 1 --watchdog 1ms -- /bin/sh",
    ]));
    for fine in ["-n 1 --ready tcp:9000", "-n 2 --live tcp:65534+slot", "-n 1 --control x.sock"] {
        let said = place.typed(&format!("check {fine} -- /bin/sh"), &[]);
        assert!(said.contains("\nexit 0\n"), "{said}");
    }
}

#[test]
fn a_long_first_rest_alone_is_the_longest_one_too() {
    let place = Place::new();
    let said = place.typed("check -n 1 --backoff-min 40s -- /bin/sh", &[]);
    assert!(said.contains("rests      40s"), "{said}");
}

#[test]
fn a_script_that_wants_json_is_told_as_json_that_its_words_make_no_sense() {
    let place = Place::new();
    golden!(place.transcript(&[
        "status --json --slot x",
        "scale --json",
        "frobnicate --json",
        "run --json -- node app.js",
        "run -d --json -n 0 -- node app.js",
        "run -n 0 -- node app.js --json",
    ]));
}

#[test]
fn a_primary_that_is_not_there_is_exit_code_3() {
    let place = Place::new();
    drop(UnixListener::bind(place.path().join("stale.sock")).unwrap());
    golden!(place.transcript(&[
        "status",
        "status --name shop",
        "status --control ./nowhere.sock",
        "events",
        "scale -1",
        "scale +2 --name stale",
        "stop",
        "stop --now --timeout 1s --name shop",
        "status --json",
        "reload --json --name shop",
        "reload --dry-run",
        "signal USR2",
        "send hello --json",
        "list",
        "list --json",
    ]));
}

#[test]
fn of_several_primaries_one_has_to_be_named() {
    let place = Place::new();
    let _one = UnixListener::bind(place.path().join("one.sock")).unwrap();
    let _two = UnixListener::bind(place.path().join("two.sock")).unwrap();
    golden!(place.typed("status", &[]));
}

#[test]
fn a_runtime_folder_of_others_is_refused() {
    let place = Place::new();
    place.write("file", "");
    let folder = place.path().join("file").display().to_string();
    let output = place.clustr(&["list"], &[("CLUSTR_RUNTIME_DIR", &folder)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is not a folder"));
}

#[test]
fn a_doctor_names_who_has_an_address_and_what_is_wrong_with_a_file() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = place.clustr(&["doctor", &addr], &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let pid = std::process::id();
    assert!(said.contains(&format!("{addr} is taken by ")) && said.contains(&format!("pid {pid}")), "{said}");
    assert!(said.contains(&format!("mend: kill {pid}")), "{said}");

    place.write("clustr.toml", "command = 'node app.js'\nwrokers = 4\n");
    let output = place.clustr(&["doctor", "--json"], &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["version"], &report["ok"]), (&1.into(), &false.into()));
    let checks = report["checks"].as_array().unwrap();
    let file = checks.iter().find(|check| check["check"] == "file").unwrap();
    assert_eq!((&file["level"], &file["mend"]), (&"fail".into(), &"clustr check clustr.toml".into()));
}

#[test]
fn a_doctor_reads_the_addresses_of_a_file_and_changes_nothing() {
    let place = Place::new();
    place.write("clustr.toml", "command = 'node app.js'\nlisten = ['unix:app.sock', '127.0.0.1:0']\n");
    let output = place.clustr(&["doctor", "--json"], &[]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str| {
        let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["check"] == name);
        checks.map(|check| check["detail"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("address"), ["unix:app.sock is free", "127.0.0.1:0 is free"]);
    assert_eq!(of("file"), ["clustr.toml can be read"]);
    assert_eq!(of("runtime folder"), [place.path().display().to_string()]);
    // Whether all of this machine is good is not the test's to say; the exit code is.
    assert_eq!(output.status.code(), Some(i32::from(report["ok"] != true)));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "nothing but the file itself");
}
