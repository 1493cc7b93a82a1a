//! Keys of a configuration file, each read back from a real worker or a real primary.
//!
//! Owns the keys whose effect a shell script can show. That every key means what its option means is a property beside the
//! code; those that are not here (sockets, probes, memory, times of day) have their tests with the options.

use std::fs;

use crate::harness::{Outcome, Primary, Run, SOON, ensure, hold, of_kind};

/// What is run, and then looked at.
struct Case {
    keys: &'static str,
    script: &'static str,
    look: fn(&mut Primary) -> Outcome,
}

const IDLE: &str = "exec sleep 1000";

fn started(primary: &Primary) -> usize {
    of_kind(&primary.news(), "started").count()
}

/// The app's picture, once all of it is ready.
fn picture(primary: &Primary) -> Result<serde_json::Value, String> {
    primary.wait_count("running", 1)?;
    Ok(primary.status()?["apps"][0].clone())
}

fn said(primary: &mut Primary, words: &str) -> Outcome {
    primary.wait_said(words)
}

const CASES: &[Case] = &[
    Case {
        keys: "workers = 3",
        script: IDLE,
        look: |primary| {
            let app = picture(primary)?;
            ensure!(
                app["wanted"] == 3 && app["workers"].as_array().is_some_and(|all| all.len() == 3),
                "{app}"
            );
            Ok(())
        },
    },
    Case {
        keys: "name = 'shop'",
        script: "echo I am $CLUSTR_APP; exec sleep 1000",
        look: |primary| said(primary, "I am shop"),
    },
    Case {
        keys: "control = 'here.sock'",
        script: IDLE,
        look: |primary| {
            let path = primary.socket_path()?;
            ensure!(
                path.ends_with("here.sock") && primary.folder().join("here.sock").exists(),
                "{}",
                path.display()
            );
            let path = path.to_string_lossy().into_owned();
            let status = primary.clustr(&[
                "status",
                "--json",
                "--control",
                &primary.folder().join(path).to_string_lossy(),
            ])?;
            ensure!(status.contains("\"version\":1"), "{status}");
            Ok(())
        },
    },
    Case {
        keys: "cwd = 'runtime'",
        script: "echo in ${PWD##*/}; exec sleep 1000",
        look: |primary| said(primary, "in runtime"),
    },
    Case {
        keys: "env = { A = 'b c', N = 5 }",
        script: "echo \"<$A|$N>\"; exec sleep 1000",
        look: |primary| said(primary, "<b c|5>"),
    },
    Case {
        keys: "env-file = ['one.env', 'two.env']\nenv.C = '3'",
        script: "echo \"<$A|$B|$C>\"; exec sleep 1000",
        look: |primary| said(primary, "<1|two|3>"),
    },
    Case {
        keys: "log = 'json'",
        script: "echo hello; exec sleep 1000",
        look: |primary| said(primary, "\"stream\":\"stdout\",\"line\":\"hello\""),
    },
    Case {
        keys: "log = 'none'",
        script: "echo hello; exec sleep 1000",
        look: |primary| {
            picture(primary)?;
            ensure!(
                !primary.started.lines().iter().any(|line| line.text().contains("hello")),
                "it was not thrown away"
            );
            Ok(())
        },
    },
    Case {
        keys: "ready = 'delay:50ms'\nshare = 'shared'",
        script: IDLE,
        look: |primary| {
            let app = picture(primary)?;
            ensure!(app["workers"][0]["state"] == "ready" && app["share"] == "shared", "{app}");
            Ok(())
        },
    },
    Case {
        keys: "ready = 'notify'\nready-timeout = '50ms'\nintensity = '0/10s'",
        script: IDLE,
        look: |primary| {
            primary.started.expect_exit(1, SOON)?;
            ensure!(of_kind(&primary.news(), "ready").count() == 0, "{:?}", primary.news());
            Ok(())
        },
    },
    Case {
        keys: "restart = 'never'",
        script: "exit 3",
        look: |primary| {
            primary.started.expect_exit(0, SOON)?;
            ensure!(started(primary) == 1, "it was restarted");
            Ok(())
        },
    },
    Case {
        keys: "restart = 'on-failure'",
        script: "exit 0",
        look: |primary| {
            primary.started.expect_exit(0, SOON)?;
            ensure!(started(primary) == 1, "it was restarted");
            Ok(())
        },
    },
    Case {
        keys: "stop-exit-codes = [7, 8]",
        script: "exit 8",
        look: |primary| {
            primary.started.expect_exit(0, SOON)?;
            ensure!(started(primary) == 1, "it was restarted");
            Ok(())
        },
    },
    Case {
        keys: "intensity = '2/1m'\nbackoff-min = '0s'",
        script: "exit 3",
        look: |primary| {
            primary.started.expect_exit(1, SOON)?;
            ensure!(started(primary) <= 3, "it was started {} times", started(primary));
            Ok(())
        },
    },
    Case {
        keys: "backoff-min = '7s'\nbackoff-max = '7s'\nintensity = '9/1m'",
        script: "exit 3",
        look: |primary| {
            let rest = primary
                .wait_news("a rest", SOON, |news| of_kind(news, "resting").next()?["rest_ms"].as_u64())?;
            ensure!((5_500..=8_500).contains(&rest), "it rests for {rest} ms");
            Ok(())
        },
    },
    Case {
        keys: "stop-signal = 'USR2'",
        script: "trap 'echo got it; exit 0' USR2; echo set; while :; do sleep 0.1; done",
        look: |primary| {
            said(primary, "set")?;
            primary.interrupt()?;
            primary.started.expect_exit(0, SOON)?;
            said(primary, "got it")
        },
    },
    Case {
        keys: "stop-timeout = '0s'",
        script: "trap '' TERM; echo set; while :; do sleep 0.1; done",
        look: |primary| {
            said(primary, "set")?;
            primary.interrupt()?;
            primary.started.expect_exit(0, SOON)?;
            let news = primary.news();
            ensure!(of_kind(&news, "exited").any(|exit| exit.to_string().contains("KILL")), "{news:?}");
            Ok(())
        },
    },
    Case {
        keys: "ready = 'delay:1ms'\nmax-age = '100ms'",
        script: IDLE,
        look: |primary| primary.wait_count("exited", 1),
    },
    Case {
        keys: "ready = 'delay:1ms'\nlive = 'exec:false'\nlive-every = '50ms'\nlive-failures = 1\nlive-timeout = '10s'",
        script: IDLE,
        look: |primary| primary.wait_count("exited", 1),
    },
    Case {
        keys: "listen = 'web=127.0.0.1:0'\ndelivery = 'fds'\nshare = 'per-worker'\nbalance = 'random'",
        script: "echo \"<$LISTEN_FDS|$LISTEN_FDNAMES>\"; exec sleep 1000",
        look: |primary| {
            said(primary, "<1|web>")?;
            let app = picture(primary)?;
            ensure!(app["share"] == "per-worker" && app["delivery"] == serde_json::json!(["fds"]), "{app}");
            Ok(())
        },
    },
];

#[test]
fn each_key_does_what_it_says_on_a_real_worker() {
    for Case { keys, script, look } in CASES {
        let outcome = run(keys, script).and_then(|mut primary| {
            look(&mut primary)?;
            end(primary)
        });
        hold(outcome.map_err(|why| format!("{keys}: {why}")));
    }
}

/// Ends what has not ended by itself; nothing is left of either.
fn end(mut primary: Primary) -> Outcome {
    let has_ended = |primary: &Primary| of_kind(&primary.news(), "ended").count() > 0;
    if !has_ended(&primary) {
        primary.interrupt()?;
        primary.started.expect_exit(0, SOON)?;
    }
    primary.nothing_left()
}

fn run(keys: &str, script: &str) -> Result<Primary, String> {
    let run = Run::new(&[]);
    let write =
        |name: &str, text: &str| fs::write(run.folder().join(name), text).map_err(|error| error.to_string());
    write("one.env", "A=1\nB=1\n")?;
    write("two.env", "B=two\nC=two\n")?;
    fs::create_dir_all(run.folder().join("runtime")).map_err(|error| error.to_string())?;
    // What a case does not say: one worker that says nothing, and is therefore ready soon.
    let has = |key: &str| keys.lines().any(|line| line.starts_with(key));
    let workers = if has("workers") { "" } else { "workers = 1\n" };
    let ready = if has("ready") { "" } else { "ready-timeout = '100ms'\n" };
    let script = script.replace('\\', "\\\\").replace('"', "\\\"");
    write("clustr.toml", &format!("command = ['sh', '-c', \"{script}\"]\n{workers}{ready}{keys}\n"))?;
    let file = run.folder().join("clustr.toml").to_string_lossy().into_owned();
    run.options(&["--file", &file]).start()
}
