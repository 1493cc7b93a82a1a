//! `clustr run` with a file: the workers are what it says, a reload reads its variables anew, and a broken one disturbs nobody.

use std::fs;

use clustr_benches::http;

use crate::harness::node::with_node;
use crate::harness::{CLUSTR, Outcome, Run, clustr, ensure};

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
        let edit = |from: &str, to: &str| {
            let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
            fs::write(&file, text.replace(from, to)).map_err(|error| error.to_string())
        };
        edit("blue", "red")?;
        let shown = primary.clustr(&["reload", "--dry-run"])?;
        ensure!(shown.contains("~ COLOUR") && shown.contains("clustr.toml"), "{shown}");
        primary.clustr(&["reload", "--settle", "0s"])?;
        ensure!(
            http::get_json(primary.address(), "/")?["colour"] == "red",
            "the reload kept the old variables"
        );
        let pids = primary.worker_pids()?;
        edit("workers = 1", "wrokers = 1")?;
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
