//! `clustr run` with a file: the workers are what it says, a reload reads its variables anew, and a broken one disturbs nobody.

use std::fs;

use clustr_benches::http;

use crate::harness::node::with_node;
use crate::harness::{CLUSTR, Outcome, Run, clustr, ensure, hold, of_kind};

const SERVER: &str = "require('http').createServer((_, response) => response.end(JSON.stringify({
  colour: process.env.COLOUR, folder: process.cwd(), argument: process.argv[2] }))).listen(process.env.PORT);";

/// A run of a file with these lines, whose command is the server.
fn of_file(node: &str, lines: &str) -> Result<Run, String> {
    let run = Run::new(&[]);
    let file = run.folder().join("clustr.toml");
    fs::write(run.folder().join("app.js"), SERVER).map_err(|error| error.to_string())?;
    fs::write(&file, format!("command = ['{node}', 'app.js', 'a b']\n{lines}"))
        .map_err(|error| error.to_string())?;
    let file = file.to_string_lossy().into_owned();
    Ok(run.options(&["--file", &file]))
}

#[test]
fn a_file_elsewhere_runs_in_its_folder_and_options_beside_it_win() {
    with_node(|node| {
        let run = of_file(
            &node.program,
            "workers = 1\n[env]\nCOLOUR = 'blue'\n[profile.dark]\nenv.COLOUR = 'black'\n",
        )?;
        let folder = run.folder().canonicalize().map_err(|error| error.to_string())?;
        let mut primary = run.options(&["--profile", "dark", "-n", "2"]).start()?;
        primary.wait_ready(2)?;
        let said = http::get_json(primary.address(), "/")?;
        ensure!(said["colour"] == "black" && said["argument"] == "a b", "{said}");
        ensure!(said["folder"] == *folder.to_string_lossy(), "{said}");
        primary.stop()
    });
}

#[test]
fn a_reload_reads_its_variables_anew_and_a_broken_file_leaves_the_old_ones_serving() {
    with_node(|node| {
        let run = of_file(&node.program, "workers = 1\n[env]\nCOLOUR = 'blue'\n")?;
        let mut primary = run.start()?;
        primary.wait_ready(1)?;
        let file = primary.folder().join("clustr.toml");
        let file = file.to_string_lossy().into_owned();
        edit(&file, "blue", "red")?;
        let shown = primary.clustr(&["reload", "--dry-run"])?;
        ensure!(shown.contains("~ COLOUR") && shown.contains("clustr.toml"), "{shown}");
        primary.clustr(&["reload", "--settle", "0s"])?;
        ensure!(
            http::get_json(primary.address(), "/")?["colour"] == "red",
            "the reload kept the old variables"
        );
        let pids = primary.worker_pids()?;
        edit(&file, "workers = 1", "wrokers = 1")?;
        let failed = primary.try_clustr(&["reload", "--settle", "0s"])?;
        let why = String::from_utf8_lossy(&failed.stderr).into_owned();
        ensure!(failed.status.code() == Some(4), "{failed:?}");
        ensure!(why.contains("clustr.toml:2:1: unknown key 'wrokers'"), "{why}");
        ensure!(primary.worker_pids()? == pids, "a broken file has replaced a worker");
        ensure!(http::get_json(primary.address(), "/")?["colour"] == "red", "a broken file was believed");
        primary.stop()
    });
}

#[test]
fn what_runs_in_the_background_reads_the_file_from_where_it_was_typed() {
    with_node(|node| {
        let run = of_file(&node.program, "name = 'app'\nworkers = 1\n[env]\nCOLOUR = 'blue'\n")?;
        let (folder, port) = (run.folder().to_path_buf(), run.port());
        let outcome = in_background(&folder, port);
        // Whatever it came to, nothing is left.
        let stopped = clustr(&folder, &["stop", "--timeout", "20s"])?;
        outcome?;
        ensure!(stopped.status.success(), "{stopped:?}");
        Ok(())
    });
}

fn in_background(folder: &std::path::Path, port: u16) -> Outcome {
    let above = folder.parent().ok_or("a temporary folder has one above it")?;
    let relative = format!("{}/clustr.toml", folder.file_name().unwrap_or_default().to_string_lossy());
    let mut command = std::process::Command::new(CLUSTR);
    command.args(["run", "-d", "-f", &relative]).current_dir(above).env("PORT", port.to_string());
    command.env("CLUSTR_RUNTIME_DIR", folder).env("CLUSTR_STATE_DIR", folder).env_remove("WEB_CONCURRENCY");
    let said = command.output().map_err(|error| error.to_string())?;
    ensure!(said.status.success(), "{said:?}");
    let colour = http::get_json(crate::harness::v4(port), "/")?["colour"].clone();
    ensure!(colour == "blue", "{colour}");
    Ok(())
}

#[test]
fn apply_makes_what_runs_what_the_file_says_and_says_how() {
    with_node(|node| {
        let run = of_file(
            &node.program,
            "name = 'app'\nworkers = 1\nstop-timeout = '9s'\n[env]\nCOLOUR = 'blue'\nOLD = '1'\n",
        )?;
        let file = run.folder().join("clustr.toml").to_string_lossy().into_owned();
        let mut primary = run.start()?;
        primary.wait_ready(1)?;
        let apply = |words: &[&str]| primary.try_clustr(&[&["apply", &file], words].concat());
        let out = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(out(&apply(&[])?).contains("is what the file says already"), "something differs at once");

        // The number of workers alone is changed live: the one that is there stays.
        let pids = primary.worker_pids()?;
        edit(&file, "workers = 1", "workers = 2")?;
        let said = apply(&["--dry-run"])?;
        ensure!(
            out(&said).contains("live           workers: 1 -> 2") && primary.worker_pids()? == pids,
            "{said:?}"
        );
        let said = apply(&[])?;
        ensure!(said.status.success() && !out(&said).contains("reload"), "{said:?}");
        let grown = primary.worker_pids()?;
        ensure!(grown.len() == 2 && grown.contains(&pids[0]), "{pids:?} became {grown:?}");

        // Command and variables by a reload, of which no value is shown.
        edit(&file, "'a b'", "'c d'")?;
        edit(&file, "COLOUR = 'blue'\nOLD = '1'", "COLOUR = 'red'\nAPI_KEY = 'hunter2'")?;
        let said = apply(&["--json"])?;
        let outcome: serde_json::Value =
            serde_json::from_str(&out(&said)).map_err(|error| format!("{error}: {said:?}"))?;
        let keys: Vec<_> = outcome["apps"][0]["reload"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|step| step["key"].clone())
            .collect();
        ensure!(keys == ["command", "env.API_KEY", "env.COLOUR", "env.OLD"], "{outcome}");
        ensure!(
            !out(&said).contains("hunter2") && outcome["apps"][0]["live"] == serde_json::json!([]),
            "{outcome}"
        );
        let answer = http::get_json(primary.address(), "/")?;
        ensure!(answer["colour"] == "red" && answer["argument"] == "c d", "{answer}");
        ensure!(
            out(&apply(&["--dry-run"])?).contains("is what the file says already"),
            "something still differs"
        );
        primary.stop()
    });
}

#[test]
fn apply_changes_nothing_where_something_needs_a_new_start_or_the_file_is_broken_or_another() {
    with_node(|node| {
        let run = of_file(&node.program, "name = 'app'\nworkers = 1\n[env]\nCOLOUR = 'blue'\n")?;
        let file = run.folder().join("clustr.toml").to_string_lossy().into_owned();
        let mut primary = run.start()?;
        primary.wait_ready(1)?;
        let pids = primary.worker_pids()?;
        let apply = |words: &[&str]| primary.try_clustr(&[&["apply", &file], words].concat());
        let refused = |words: &[&str], code: i32, why: &str| -> Outcome {
            let said = apply(words)?;
            let error = String::from_utf8_lossy(&said.stderr).into_owned();
            ensure!(said.status.code() == Some(code) && error.contains(why), "{why}: {said:?}");
            Ok(())
        };
        edit(&file, "workers = 1", "workers = 2\nstop-timeout = '1s'")?;
        refused(&[], 1, "by a new start stop-timeout: + 1s")?;
        let shown = apply(&["--dry-run"])?;
        ensure!(
            shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains("stop-timeout"),
            "{shown:?}"
        );
        edit(&file, "workers = 2", "wrokers = 2")?;
        refused(&[], 78, "unknown key 'wrokers'")?;
        edit(&file, "wrokers = 2\nstop-timeout = '1s'", "workers = 1\nenv-file = 'absent.env'")?;
        refused(&[], 78, "absent.env")?;
        // One whose new version cannot even be started.
        edit(&file, "env-file = 'absent.env'", "")?;
        edit(&file, &format!("'{}'", node.program), "'./absent'")?;
        refused(&[], 1, "could not be started")?;
        let elsewhere = primary.folder().join("other.toml").to_string_lossy().into_owned();
        fs::write(&elsewhere, "name = 'app'\ncommand = '/bin/sh x.sh'\n")
            .map_err(|error| error.to_string())?;
        let said = primary.try_clustr(&["apply", &elsewhere])?;
        ensure!(said.status.code() == Some(1), "{said:?}");
        ensure!(String::from_utf8_lossy(&said.stderr).contains("it was started from"), "{said:?}");
        ensure!(primary.worker_pids()? == pids, "a worker was replaced");
        let told = primary.news();
        let is_quiet = of_kind(&told, "started").count() == 1 && of_kind(&told, "warning").count() == 0;
        ensure!(is_quiet, "the primary was disturbed: {told:?}");
        primary.stop()
    });
}

fn edit(file: &str, from: &str, to: &str) -> Outcome {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    ensure!(text.contains(from), "'{from}' is not in the file");
    fs::write(file, text.replace(from, to)).map_err(|error| error.to_string())
}

#[test]
fn of_several_apps_only_those_are_changed_that_the_file_has_changed() {
    hold((|| {
        let run = Run::new(&[]);
        let file = run.folder().join("clustr.toml").to_string_lossy().into_owned();
        let lines = "name = 'shop'\nready-timeout = '100ms'\nworkers = 1\n\
                     [app.queue]\ncommand = ['sh', '-c', 'exec sleep 1000']\nenv = { COLOUR = 'blue' }\n\
                     [app.web]\ncommand = ['sh', '-c', 'exec sleep 2000']\nafter = 'queue'\nworkers = 1 # of web\n";
        fs::write(&file, lines).map_err(|error| error.to_string())?;
        let mut primary = run.options(&["--file", &file]).start()?;
        primary.wait_ready(2)?;
        let apply = |words: &[&str]| -> Result<(Option<i32>, String), String> {
            let said = primary.try_clustr(&[&["apply", &file], words].concat())?;
            let bytes = if said.status.success() { said.stdout } else { said.stderr };
            Ok((said.status.code(), String::from_utf8_lossy(&bytes).into_owned()))
        };
        let pids = || -> Result<[Vec<u64>; 2], String> {
            let status = primary.status()?;
            let of = |app: &serde_json::Value| {
                let workers = app["workers"].as_array().into_iter().flatten();
                // Those that are about to leave after a reload are nobody's any more.
                let serving = workers.filter(|worker| worker["state"] == "ready");
                serving.filter_map(|worker| worker["pid"].as_u64()).collect()
            };
            Ok([of(&status["apps"][0]), of(&status["apps"][1])])
        };
        let nothing = "queue is what the file says already\nweb is what the file says already\n";
        ensure!(apply(&[])? == (Some(0), nothing.to_owned()), "{:?}", apply(&[])?);

        let before = pids()?;
        edit(&file, "workers = 1 # of web", "workers = 2 # of web")?;
        edit(&file, "blue", "red")?;
        let (code, said) = apply(&["--app", "web"])?;
        ensure!(code == Some(0) && said.contains("web: changed\nlive           workers: 1 -> 2"), "{said}");
        let after = pids()?;
        ensure!(after[0] == before[0] && after[1].len() == 2, "{before:?} became {after:?}");
        let (code, said) = apply(&[])?;
        ensure!(
            code == Some(0) && said.contains("queue: changed\nby a reload    env.COLOUR (changed)"),
            "{said}"
        );
        let last = pids()?;
        ensure!(last[0] != after[0] && last[1] == after[1], "{after:?} became {last:?}");

        edit(&file, "after = 'queue'", "")?;
        edit(&file, "[app.web]", "[app.third]\ncommand = 'sleep 3000'\n[app.web]")?;
        let (code, said) = apply(&[])?;
        ensure!(code == Some(1) && said.contains("by a new start app: + third"), "{said}");
        ensure!(said.contains("by a new start after: - queue"), "{said}");
        ensure!(pids()? == last, "something was changed");
        ensure!(apply(&["--app", "fourth"])?.0 == Some(1), "an app that is nowhere was applied");
        primary.stop()
    })());
}
