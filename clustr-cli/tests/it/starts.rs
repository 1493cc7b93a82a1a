//! What cannot start says so, and does not spin.

use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use clustr_benches::started::Stream;
use clustr_benches::wait;

use crate::harness::node::with_node;
use crate::harness::{CLUSTR, Outcome, Run, SOON, app, ensure, example, hold, of_kind};

const IMPATIENT: [&str; 6] = ["--backoff-min", "50ms", "--backoff-max", "10s", "--intensity", "4/10s"];

#[test]
fn a_worker_that_throws_at_start_rests_longer_each_time_and_is_given_up() {
    with_node(|node| {
        let mut primary = Run::app(node, "broken.js").workers(2).options(&IMPATIENT).start()?;
        primary.started.expect_exit(1, SOON)?;
        let news = primary.news();
        for slot in 0..2 {
            let starts = of_kind(&news, "started").filter(|piece| piece["slot"] == slot).count();
            ensure!((1..=5).contains(&starts), "slot {slot} was started {starts} times: {news:?}");
            let of_slot = of_kind(&news, "resting").filter(|piece| piece["slot"] == slot);
            let rests: Vec<u64> = of_slot.filter_map(|piece| piece["rest_ms"].as_u64()).collect();
            let grows = rests.windows(2).all(|pair| pair[0] < pair[1]);
            ensure!(!rests.is_empty() && grows, "slot {slot} rested {rests:?} ms");
        }
        let gave_up = of_kind(&news, "gave-up").next().ok_or("no slot gave up")?;
        ensure!(gave_up["last_output"].to_string().contains("no database"), "{gave_up}");
        ensure!(of_kind(&news, "ended").any(|piece| piece["verdict"] == "gave-up"), "{news:?}");
        primary.nothing_left()
    });
}

#[test]
fn a_person_reads_the_rests_and_the_last_words_of_what_cannot_start() {
    with_node(|node| {
        let run = Run::app(node, "broken.js").workers(1).options(&IMPATIENT).text_news();
        let mut primary = run.start()?;
        primary.started.expect_exit(1, SOON)?;
        let said = primary.started.said(Stream::Err);
        let last = said.rfind("gave up").ok_or_else(|| format!("nothing gave up: {said}"))?;
        ensure!(said[..last].contains("restarting in"), "the rest is not told: {said}");
        let words = said.matches("no database").count();
        ensure!(words > 0 && said[last..].contains("no database"), "its last words are not shown: {said}");
        Ok(())
    });
}

#[test]
fn what_it_said_on_standard_output_before_it_failed_is_shown_as_well() {
    let outcome = (|| {
        let failing = ["sh", "-c", "echo no database there; exit 3"];
        let mut primary = Run::new(&failing).workers(1).options(&IMPATIENT).start()?;
        primary.started.expect_exit(1, SOON)?;
        let news = primary.news();
        let gave_up = of_kind(&news, "gave-up").next().ok_or("no slot gave up")?;
        ensure!(gave_up["last_output"][0] == "no database there", "{gave_up}");
        let mut primary =
            Run::new(&["sleep", "1000"]).workers(1).options(&["--ready", "delay:1ms"]).start()?;
        primary.wait_ready(1)?;
        let said = primary.try_clustr(&["reload", "--", failing[0], failing[1], failing[2]])?;
        let error = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.code() == Some(4) && error.contains("no database there"), "{said:?}");
        primary.stop()
    })();
    hold(outcome);
}

#[test]
fn a_port_in_use_reaches_the_app_and_the_person() {
    with_node(|node| {
        // Somebody else may have the port by now, on a machine where other tests run.
        let (run, foreign) = wait::until("a port of our own", SOON, || {
            let run =
                Run::new(&[&node.program, &example("app.js")]).workers(2).options(&IMPATIENT).text_news();
            let foreign = TcpListener::bind((Ipv6Addr::UNSPECIFIED, run.port())).ok()?;
            Some((run, foreign))
        })?;
        let port = run.port();
        let mut primary = run.start()?;
        primary.started.expect_exit(1, SOON)?;
        let said = primary.started.said(Stream::Err);
        ensure!(said.contains("EADDRINUSE") && said.contains(&port.to_string()), "{said}");
        drop(foreign);
        primary.nothing_left()
    });
}

#[test]
fn a_missing_command_and_one_that_cannot_be_executed_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plain");
    std::fs::write(&file, "just text\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let plain = file.to_string_lossy().into_owned();
    for command in ["no-such-command-anywhere", "./no/such/file", plain.as_str()] {
        hold(refused(&["run", "-n", "1", "--", command], 1, command));
    }
    let folder_itself = folder.path().to_string_lossy().into_owned();
    hold(refused(&["run", "-n", "1", "--", &folder_itself], 1, &folder_itself));
}

#[test]
fn a_command_line_without_sense_is_a_usage_error() {
    hold(refused(&["run", "-n", "0", "--", "true"], 2, "0"));
    hold(refused(&["run", "--wokers", "2", "--", "true"], 2, "--workers"));
    hold(refused(&["run", "-n", "2"], 2, "clustr run"));
    hold(refused(&["stauts"], 2, "status"));
    hold(refused(&["run", "--intensity", "5", "--", "true"], 2, "5/10s"));
}

#[test]
fn a_node_without_a_script_is_refused_with_the_way_out() {
    with_node(|node| {
        let inline = [
            "run",
            "--no-intercept",
            "-n",
            "2",
            "--",
            &node.program,
            "-e",
            "require('http').createServer().listen(0)",
        ];
        refused(&inline, 2, "node app.js")?;
        let script = std::fs::File::open(app("address.js")).map_err(|error| error.to_string())?;
        let piped =
            run_to_end(Command::new(CLUSTR).args(["run", "-n", "2", "--", &node.program]).stdin(script))?;
        ends_with(&piped, 2, "node app.js")
    });
}

#[test]
fn a_launcher_that_keeps_the_channel_to_itself_is_refused_with_the_way_out() {
    with_node(|_| {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let list = r#"{ "scripts": { "start": "node server.js" } }"#;
        std::fs::write(folder.path().join("package.json"), list).map_err(|error| error.to_string())?;
        let mut command = Command::new(CLUSTR);
        command.args(["run", "--no-intercept", "-n", "2", "--", "npm", "start"]).current_dir(folder.path());
        let said = run_to_end(&mut command)?;
        ends_with(&said, 2, "clustr run -- node server.js")
    });
}

fn refused(words: &[&str], code: i32, names: &str) -> Outcome {
    ends_with(&run_to_end(Command::new(CLUSTR).args(words).stdin(Stdio::null()))?, code, names)
        .map_err(|why| format!("clustr {words:?}: {why}"))
}

fn run_to_end(command: &mut Command) -> Result<Output, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let limited =
        command.env("CLUSTR_RUNTIME_DIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    limited.spawn().and_then(std::process::Child::wait_with_output).map_err(|error| error.to_string())
}

/// One clear error: the exit code, a line that names the thing, and nothing on standard output.
fn ends_with(said: &Output, code: i32, names: &str) -> Outcome {
    let error = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.code() == Some(code), "ended with {:?} instead of {code}: {error}", said.status);
    ensure!(error.contains(names), "'{names}' is not named: {error}");
    ensure!(!error.contains("panicked"), "{error}");
    ensure!(said.stdout.is_empty(), "on standard output: {}", String::from_utf8_lossy(&said.stdout));
    Ok(())
}
