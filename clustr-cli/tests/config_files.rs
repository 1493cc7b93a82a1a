//! Configuration files that make no sense: golden texts that say where, what, and what to write instead.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};

/// A golden file that holds the text alone.
macro_rules! golden {
    ($($text:tt)*) => {
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!($($text)*) })
    };
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "the program under test is run as a person would run it")]
    fn clustr(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clustr"));
        command.args(words).current_dir(self.path()).env("CLUSTR_RUNTIME_DIR", self.path());
        command.env("CLUSTR_STATE_DIR", self.path()).env_remove("COLUMNS");
        // However many CPUs the machine has.
        command.env("WEB_CONCURRENCY", "2").output().unwrap()
    }

    /// A transcript: what was typed, the exit code, and everything that was said.
    fn typed(&self, line: &str) -> String {
        let output = self.clustr(&line.split_whitespace().collect::<Vec<_>>());
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        let out: String = out.split_inclusive('\n').filter(|line| !line.starts_with("program ")).collect();
        let text = format!("$ clustr {line}\nexit {}\n{out}{err}", output.status.code().unwrap());
        text.replace(&self.path().display().to_string(), "[DIR]")
    }

    /// What is said of a file, which is refused by `check` and by `run` in the same words.
    fn refused(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        self.write("clustr.toml", text);
        let output = self.clustr(&["check"]);
        assert_eq!(output.status.code(), Some(78), "{name}: {output:?}");
        assert!(output.stdout.is_empty(), "{name}");
        let said = String::from_utf8(output.stderr).unwrap();
        let run = self.clustr(&["run"]);
        assert_eq!(
            (run.status.code(), String::from_utf8(run.stderr).unwrap()),
            (Some(78), said.clone()),
            "{name}"
        );
        format!("# {name}\n{said}")
    }
}

/// Each broken in one way.
const BROKEN: [(&str, &str); 33] = [
    ("an unknown key", "command = 'node app.js'\nwrokers = 4\n"),
    ("a key written as elsewhere", "command = 'node app.js'\nstop_timeout = '5s'\nReadyTimeout = '5s'\n"),
    ("a key that nobody could mean", "command = 'node app.js'\nfrobnicate = true\n"),
    ("a key twice", "workers = 1\nworkers = 2\ncommand = 'node app.js'\n"),
    ("a table twice", "[app.a]\ncommand = 'node'\n[app.a]\ncommand = 'node'\n"),
    ("no command", "workers = 2\n"),
    ("an empty file", ""),
    ("an empty command", "command = '  '\n"),
    ("an empty array as a command", "command = []\n"),
    ("a program without a name", "command = ['', 'x']\n"),
    ("a command that needs a shell", "command = 'node app.js | tee log'\n"),
    ("a command with an open quote", "command = \"node 'app.js\"\n"),
    ("a command of another type", "command = 5\n"),
    ("a word that is an array", "command = ['node', ['app.js']]\n"),
    ("a time without a unit", "command = 'node app.js'\nstop-timeout = 10\n"),
    ("a time of another type", "command = 'node app.js'\nready-timeout = true\nmax-age = 2026-01-01\n"),
    ("workers that are no number", "command = 'node app.js'\nworkers = 'four'\n"),
    (
        "too many workers, none, and a part",
        "command = 'node app.js'\nworkers = 5000\n[profile.a]\nworkers = 0\n[profile.b]\nworkers = 1.5\n",
    ),
    (
        "a word of a choice",
        "command = 'node app.js'\nshare = 'sharde'\nrestart = 'sometimes'\nlog = 'journal'\n",
    ),
    ("an address", "command = 'node app.js'\nlisten = [':3001', 'foo:bar', ':3001,bcklog=5']\n"),
    ("one value where several stand", "command = 'node app.js'\nworkers = [1, 2]\n"),
    ("a flag that is a word", "command = 'node app.js'\nshare-zero = 'yes'\n"),
    ("exit codes", "command = 'node app.js'\nstop-exit-codes = [0, 999]\n"),
    ("names of variables", "command = 'node app.js'\n[env]\n1A = 'x'\n'A B' = 'x'\nC = ['x']\n"),
    ("variables in another form", "command = 'node app.js'\nenv = ['A=b']\n"),
    (
        "a zero byte, and a secret beside it",
        "command = 'node app.js'\nenv = { API_KEY = \"hunter2\\u0000\" }\n",
    ),
    ("a folder that is none", "command = 'node app.js'\ncwd = 'nowhere'\n"),
    ("a file of variables that is missing", "command = 'node app.js'\nenv-file = ['.env', 'absent.env']\n"),
    ("keys that need another", "command = 'node app.js'\nlive-every = '5s'\n"),
    ("keys that do not fit together", "command = 'node app.js'\nbalance = 'sticky'\nshare = 'shared'\n"),
    ("rests the wrong way round", "command = 'node app.js'\nbackoff-min = '2m'\nbackoff-max = '1m'\n"),
    ("no TOML", "command: node app.js\n  workers: 2\n"),
    ("an open string and an open bracket", "command = 'node app.js\nlisten = [':3001'\nworkers = 2\n"),
];

#[test]
fn a_broken_file_is_told_where_and_what_to_write_instead() {
    let place = Place::new();
    place.write(".env", "A=1\n");
    let said: Vec<String> = BROKEN.iter().map(|(name, text)| place.refused(name, text)).collect();
    golden!(said.join("\n"));
}

#[test]
fn what_is_wrong_between_several_apps_is_told_too() {
    let place = Place::new();
    let broken = [
        (
            "a circle",
            "[app.a]\ncommand = 'node'\nafter = 'b'\n[app.b]\ncommand = 'node'\nafter = ['c']\n[app.c]\ncommand = 'node'\nafter = ['b']\n",
        ),
        ("after itself", "[app.a]\ncommand = 'node'\nafter = 'a'\n"),
        ("after nobody", "[app.web]\ncommand = 'node'\nafter = ['bd', 5]\n[app.db]\ncommand = 'node'\n"),
        ("after without others", "command = 'node'\nafter = 'b'\n"),
        (
            "keys in the wrong place",
            "command = 'node'\nlisten = ':3001'\n[app.a]\nname = 'b'\nlog-format = 'json'\ncommand = 'node'\n",
        ),
        (
            "an address of two apps",
            "[app.a]\ncommand = 'node app.js'\nlisten = ':3001'\n[app.b]\ncommand = 'node app.js'\nlisten = [':0', ':3001']\n",
        ),
        ("an address twice", "command = 'node app.js'\nlisten = [':3001', ':3001']\n"),
        ("a name that is none", "[app.'a/b']\ncommand = 'node'\n"),
        ("an array of apps", "[[app]]\nname = 'a'\n"),
        ("an app that is no table", "[app]\na = 5\n"),
        ("an app without a command", "[app.a]\nworkers = 2\n[app.b]\ncommand = 'node'\nwrokers = 2\n"),
        ("a profile in an app", "[app.a]\ncommand = 'node'\n[app.a.profile.production]\nworkers = 2\n"),
        ("a profile in a profile", "command = 'node'\n[profile.a.profile.b]\nworkers = 2\n"),
        (
            "a broken profile that nobody asked for",
            "command = 'node'\n[profile.production]\nstop-timeout = 'soon'\n",
        ),
        ("an empty app table", "[app]\n"),
    ];
    let said: Vec<String> = broken.iter().map(|(name, text)| place.refused(name, text)).collect();
    golden!(said.join("\n"));
}

#[test]
fn a_file_that_cannot_be_one_is_not_read() {
    let place = Place::new();
    let mut said = vec![
        place.refused("not UTF-8", b"command = 'node'\nname = '\xff'\n"),
        place.refused("more than a mebibyte", "# \n".repeat(400_000)),
    ];
    std::fs::remove_file(place.path().join("clustr.toml")).unwrap();
    std::fs::create_dir(place.path().join("clustr.toml")).unwrap();
    for line in [
        "run",
        "check absent.toml",
        "check /dev/zero",
        "check -f absent/clustr.toml",
        "run -f x.toml -- node",
        "run --profile x -- node",
        "check a.toml -f b.toml",
    ] {
        said.push(place.typed(line));
    }
    std::fs::remove_dir(place.path().join("clustr.toml")).unwrap();
    for line in ["run", "check", "run -d", "check --json"] {
        said.push(place.typed(line));
    }
    golden!(said.join("\n"));
}

#[test]
fn a_hundred_problems_are_counted_and_twenty_shown() {
    let place = Place::new();
    let text: String = (0..100).map(|at| format!("unknown{at} = {at}\n")).collect();
    let said = place.refused("many", text + "command = 'node'\n");
    assert!(said.contains("has 100 problems") && said.contains("and 80 more"), "{said}");
    assert_eq!(said.matches("unknown key").count(), 20);
}

#[test]
fn a_key_has_so_many_values_and_no_more() {
    let place = Place::new();
    let ports = |count: usize| format!("command = 'node'\nport = [{}]\n", "3001, ".repeat(count));
    assert!(place.refused("ports", ports(257)).contains("clustr.toml:2:8: 'port' has more than 256 values"));
    place.write("clustr.toml", ports(256));
    assert!(!place.typed("check").contains("has a problem"));
}

#[test]
fn check_prints_what_a_file_comes_to_and_no_secret() {
    let place = Place::new();
    place.write("vars.env", "FROM_FILE=1\nDB_PASSWORD=hunter2\n");
    place.write(
        "clustr.toml",
        "name = 'shop'\ncommand = ['/bin/sh', '-c', 'exec node \"$0\"', 'app.js']\nworkers = 2\nlisten = 'web=:3001'\n\
         env-file = 'vars.env'\nstop-timeout = '5s'\nno-intercept = true\n\
         [env]\nDATABASE_URL = 'postgres://ann:hunter2@db/shop'\nDEBUG = true\nLIMIT = 0x10\n\
         [profile.production]\nworkers = 3\n[profile.production.env]\nDEBUG = false\nAPI_KEY = 'hunter2'\n",
    );
    let lines = [
        "check",
        "check --profile production",
        "check --profile prodction",
        "check -n 7 --env DEBUG=2 --json",
    ];
    let said: Vec<String> = lines.iter().map(|line| place.typed(line)).collect();
    let said = said.join("\n");
    assert!(!said.contains("hunter2"), "{said}");
    golden!(said);
}

#[test]
fn the_schema_for_editors_is_printed_alone() {
    let place = Place::new();
    let printed = place.clustr(&["check", "--schema"]);
    assert!(printed.status.success() && printed.stderr.is_empty());
    let schema: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(schema["properties"]["share"]["enum"][3], "handoff");
    assert_eq!(place.clustr(&["check", "--schema", "x.toml"]).status.code(), Some(2));
}

#[test]
fn several_apps_are_checked_in_the_order_of_their_start() {
    let place = Place::new();
    place.write(
        "clustr.toml",
        "name = 'shop'\nworkers = 1\nlog = 'json'\n[app.web]\ncommand = '/bin/sh web.sh'\nworkers = 2\nafter = 'queue'\n\
         [app.queue]\ncommand = '/bin/sh queue.sh'\n[profile.production]\nworkers = 4\n\
         [profile.production.app.web]\nstop-timeout = '1m'\n",
    );
    golden!(["check", "check --profile production"].map(|line| place.typed(line)).join("\n"));
}

#[test]
fn a_file_elsewhere_is_meant_from_its_own_folder() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("sub")).unwrap();
    place.write("sub/vars.env", "A=1\n");
    place.write("sub/my.toml", "command = './app.sh'\nenv-file = 'vars.env'\nworkers = 1\n");
    place.write("sub/app.sh", "#!/bin/sh\n");
    use std::os::unix::fs::PermissionsExt;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path().join("sub/app.sh"), executable).unwrap();
    let said = place.typed("check sub/my.toml");
    assert!(said.contains("folder     [DIR]/sub\n") && said.contains("A=1"), "{said}");
}

#[test]
fn a_file_to_begin_with_is_written_once() {
    let place = Place::new();
    place.write("package.json", r#"{"scripts":{"start":"node server.js"}}"#);
    let mut said =
        vec![place.typed("init"), std::fs::read_to_string(place.path().join("clustr.toml")).unwrap()];
    said.extend(["init", "check", "init nowhere/clustr.toml"].map(|line| place.typed(line)));
    std::fs::remove_file(place.path().join("package.json")).unwrap();
    said.push(place.typed("init other.toml"));
    golden!(said.join("\n"));
}

#[test]
fn files_of_others_are_read_and_what_has_no_counterpart_is_said() {
    let place = Place::new();
    place.write("Procfile", "release: ./migrate\nweb: /bin/sh web.sh --port $PORT\n");
    let mut said = vec![place.typed("check"), place.typed("check --profile x"), place.typed("init")];
    said.push(std::fs::read_to_string(place.path().join("clustr.toml")).unwrap());
    std::fs::remove_file(place.path().join("clustr.toml")).unwrap();
    place.write("Procfile", "web /bin/sh\nweb: 'x\nweb:\n");
    said.push(place.typed("check Procfile"));
    std::fs::remove_file(place.path().join("Procfile")).unwrap();
    place.write(
        "ecosystem.config.json",
        r#"{"apps":[{"name":"api","script":"app.sh","instances":2,"watch":true,"max_memory_restart":"300M","kill_timeout":5000,
            "out_file":"x.log","env":{"NODE_ENV":"development"},"env_production":{"NODE_ENV":"production","API_KEY":"hunter2"}}],
            "deploy":{}}"#,
    );
    said.extend(
        ["check", "check --profile production", "check --profile staging", "init"]
            .map(|line| place.typed(line)),
    );
    assert!(!said.concat().contains("hunter2"), "{said:?}");
    said.push(std::fs::read_to_string(place.path().join("clustr.toml")).unwrap());
    place.write("ecosystem.config.json", "{\n  \"apps\": [,]\n}");
    place.write("broken.json", r#"{"apps":[{"name":"a"},{"script":"b.js","instances":"many","env":5}]}"#);
    place.write("ecosystem.config.js", "module.exports = {}");
    place.write("compose.yml", "");
    let lines = [
        "check ecosystem.config.json",
        "check broken.json",
        "check ecosystem.config.js",
        "check compose.yml",
    ];
    said.extend(lines.map(|line| place.typed(line)));
    golden!(said.join("\n"));
}

/// What is exported, without where this test has its program.
fn exported(place: &Place, line: &str) -> String {
    let text = place.typed(&format!("export {line}"));
    text.replace(env!("CARGO_BIN_EXE_clustr"), "/usr/bin/clustr")
}

const SHOP: &str = "name = 'shop'\ncommand = 'node app.js'\nworkers = 4\nlisten = 'web=:3001'\nstop-timeout = '25s'\n\
    ready = 'http:/health'\nshare = 'per-worker'\nmax-rss = '400M'\n";

#[test]
fn what_a_file_says_is_exported_for_each_that_may_run_it() {
    let place = Place::new();
    place.write("clustr.toml", SHOP);
    let all = ["systemd", "kubernetes", "compose", "dockerfile"].map(|target| exported(&place, target));
    golden!(all.join("\n"));
}

#[test]
fn what_is_typed_is_exported_as_it_is() {
    let place = Place::new();
    place.write("app.py", "");
    golden!(
        [
            exported(&place, "systemd -n 2 --env GREETING=a$b%c -- /bin/sh -c exit"),
            exported(&place, "kubernetes -n 2 -- /bin/sh -c exit"),
            exported(&place, "-n 2 systemd -- /bin/sh"),
            exported(&place, "nomad -- /bin/sh"),
        ]
        .join("\n")
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "systemd's own judgement is asked for")]
fn a_unit_that_is_exported_is_one_for_systemd() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: systemd not found");
        return;
    }
    let place = Place::new();
    place.write("clustr.toml", SHOP);
    let unit = place.clustr(&["export", "systemd", "--env", "GREETING=good day $1 100%"]);
    assert_eq!(unit.status.code(), Some(0), "{unit:?}");
    // It also looks at units of the machine, which are none of ours.
    let judged = |text: &str| {
        place.write("shop.service", text);
        let path = place.path().join("shop.service");
        let judged =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&judged.stderr).into_owned();
        said.lines().filter(|line| line.contains("shop.service")).map(str::to_owned).collect::<Vec<_>>()
    };
    let unit = String::from_utf8(unit.stdout).unwrap();
    if judged(&unit.replace("KillMode=mixed", "KillMode=odd")).is_empty() {
        // Where it cannot judge at all, as in some containers, it does not see a broken one either.
        println!("skipped: systemd not found");
        return;
    }
    assert_eq!(judged(&unit), [""; 0]);
}
