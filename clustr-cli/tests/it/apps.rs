//! Several apps under one primary: started in order, each by itself asked for more, replaced, stopped in reverse.

use std::fs;

use clustr_benches::{facts, http, wait};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::node::with_node;
use crate::harness::{CLUSTR, Outcome, Primary, Run, SOON, app, ensure, hold, news_of, of_kind, v4};

const WEB: &str = "require('http').createServer((_, response) => response.end(JSON.stringify({
  app: process.env.CLUSTR_APP, slot: process.env.CLUSTR_SLOT }))).listen(process.env.PORT);";

/// A primary of the apps that these lines describe, with a server in node beside the file.
fn of_file(lines: &str) -> Result<Run, String> {
    let run = Run::new(&[]);
    let text = |error: std::io::Error| error.to_string();
    fs::write(run.folder().join("web.js"), WEB).map_err(text)?;
    let file = run.folder().join("clustr.toml");
    fs::write(&file, lines).map_err(text)?;
    let file = file.to_string_lossy().into_owned();
    Ok(run.options(&["--file", &file]))
}

/// What `status` says of this app.
fn app_of(primary: &Primary, name: &str) -> Result<Value, String> {
    let status = primary.status()?;
    let apps = status["apps"].as_array().ok_or("no apps in the status")?;
    apps.iter().find(|app| app["name"] == name).cloned().ok_or(format!("no {name} in {status}"))
}

fn pids_of(app: &Value) -> Vec<u64> {
    let workers = app["workers"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    workers.iter().filter_map(|worker| worker["pid"].as_u64()).collect()
}

/// Where among the news this was told of this app first, waiting for it.
fn place(primary: &Primary, kind: &str, app: &str) -> Result<usize, String> {
    primary.wait_news(&format!("{kind} of {app}"), SOON, |news| {
        news.iter().position(|one| one["news"] == kind && one["app"] == app)
    })
}

#[test]
fn apps_of_two_languages_start_in_order_live_by_themselves_and_stop_in_reverse() {
    with_node(|node| {
        let lines = format!(
            "[app.web]\ncommand = ['{}', 'web.js']\nworkers = 1\nafter = ['api']\n
             [app.api]\ncommand = ['python3', '{}']\nworkers = 2\n",
            node.program,
            app("inherited.py")
        );
        let run = of_file(&lines)?;
        let api_port = run.port() + 1;
        let file = run.folder().join("clustr.toml");
        fs::write(&file, format!("{lines}env.PORT = '{api_port}'\n")).map_err(|error| error.to_string())?;
        let mut primary = run.options(&["--name", "shop"]).start()?;
        ensure!(
            place(&primary, "running", "api")? < place(&primary, "started", "web")?,
            "web did not wait: {:?}",
            primary.news()
        );
        place(&primary, "running", "web")?;
        ensure!(http::get_json(primary.address(), "/")?["app"] == "web", "web does not serve");
        // Its generation, and who has answered.
        let said = http::get(v4(api_port), "/")?;
        let served_by =
            said.strip_prefix("1 ").and_then(|pid| pid.parse().ok()).ok_or(format!("'{said}'"))?;
        let api = pids_of(&app_of(&primary, "api")?);
        ensure!(api.len() == 2 && api.contains(&served_by), "{served_by} is none of {api:?}");
        one_by_one(&primary, &api)?;
        primary.clustr(&["stop"])?;
        primary.started.expect_exit(0, SOON)?;
        ensure!(
            place(&primary, "ended", "web")? < place(&primary, "ending", "api")?,
            "api did not wait: {:?}",
            primary.news()
        );
        primary.nothing_left()
    });
}

/// What is for one app leaves the other; what is for all goes round.
fn one_by_one(primary: &Primary, api: &[u64]) -> Outcome {
    primary.clustr(&["scale", "3", "--app", "web"])?;
    ensure!(app_of(primary, "web")?["ready"] == 3, "{}", app_of(primary, "web")?);
    let refused = primary.try_clustr(&["scale", "3"])?;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1) && why.contains("api, web"), "{refused:?}");
    ensure!(pids_of(&app_of(primary, "api")?) == api, "api was touched");
    primary.clustr(&["reload", "--app", "api", "--settle", "0s"])?;
    let generation = |name| Ok::<Value, String>(app_of(primary, name)?["generation"].clone());
    let generations = || Ok::<[Value; 2], String>([generation("api")?, generation("web")?]);
    ensure!(generations()? == [2, 1], "{:?}", generations()?);
    primary.clustr(&["reload", "--settle", "0s"])?;
    ensure!(generations()? == [3, 2], "{:?}", generations()?);
    let shown = primary.clustr(&["status", "--app", "web"])?;
    ensure!(shown.contains("3 of 3 workers ready") && !shown.contains("api"), "{shown}");
    let shown = primary.clustr(&["status"])?;
    ensure!(shown.contains("api: 2 of 2") && shown.contains("web: 3 of 3"), "{shown}");
    Ok(())
}

#[test]
fn one_that_gives_up_leaves_the_others_and_those_after_it_never_start() {
    let outcome = (|| {
        let options = "ready-timeout = '50ms'\nworkers = 1\n";
        let lines = format!(
            "[app.good]\ncommand = ['sleep', '1000']\n{options}
             [app.bad]\ncommand = ['sh', '-c', 'echo no; exit 3']\nintensity = '1/10s'\nbackoff-min = '0ms'\nworkers = 1\n
             [app.late]\ncommand = ['sleep', '1000']\nafter = ['bad']\n{options}"
        );
        let mut primary = of_file(&lines)?.options(&["--name", "shop"]).start()?;
        place(&primary, "running", "good")?;
        place(&primary, "ended", "bad")?;
        let told = |news: &[Value]| {
            let is_it = |one: &Value| {
                one["detail"].as_str().is_some_and(|text| text.starts_with("app=late is not started"))
            };
            of_kind(news, "warning").any(is_it).then_some(())
        };
        primary.wait_news("that late is not started", SOON, told)?;
        let states = ["good", "bad", "late"].map(|name| Ok(app_of(&primary, name)?["state"].clone()));
        let states = states.into_iter().collect::<Result<Vec<Value>, String>>()?;
        ensure!(states == ["running", "gave-up", "not-started"], "{states:?}");
        let shown = primary.clustr(&["status"])?;
        ensure!(shown.contains("bad: gave up") && shown.contains("late: not started"), "{shown}");
        let refused = primary.try_clustr(&["restart", "--app", "bad"])?;
        ensure!(refused.status.code() == Some(1), "{refused:?}");
        primary.started.signal(Signal::TERM)?;
        primary.started.expect_exit(1, SOON)?;
        primary.nothing_left()
    })();
    hold(outcome);
}

#[test]
fn a_second_signal_stops_all_apps_at_once() {
    let outcome = (|| {
        let stubborn = "command = ['sh', '-c', \"trap '' TERM; echo up; while :; do sleep 1; done\"]\nready-timeout = '50ms'\nworkers = 1\n";
        let lines = format!("[app.db]\n{stubborn}\n[app.web]\nafter = ['db']\n{stubborn}");
        let mut primary = of_file(&lines)?.options(&["--name", "shop"]).start()?;
        place(&primary, "running", "web")?;
        primary.wait_said("web.0 | up")?;
        primary.started.signal(Signal::TERM)?;
        place(&primary, "stopping", "web")?;
        ensure!(
            of_kind(&primary.news(), "stopping").all(|one| one["app"] == "web"),
            "db was asked too early"
        );
        // One that comes sooner is the echo of the first.
        wait::observe_for(std::time::Duration::from_millis(600));
        primary.started.signal(Signal::TERM)?;
        primary.started.expect_exit(0, std::time::Duration::from_secs(9))?;
        primary.nothing_left()
    })();
    hold(outcome);
}

#[test]
fn what_all_apps_of_a_killed_primary_left_is_ended_by_the_next_one() {
    let outcome = (|| {
        let options = "command = ['sleep', '1000']\nready-timeout = '50ms'\nworkers = 2\n";
        let lines = format!("[app.one]\n{options}[app.two]\nstop-signal = 'INT'\n{options}");
        let run = of_file(&lines)?.options(&["--name", "shop"]);
        let (mut again, mut primary) = {
            let mut command = run.to_command();
            let words: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
            let mut again = std::process::Command::new(CLUSTR);
            again.args(words);
            let primary = run.start_as(&mut command)?;
            again.env("CLUSTR_RUNTIME_DIR", primary.folder().join("runtime")).env_remove("WEB_CONCURRENCY");
            (again, primary)
        };
        place(&primary, "running", "one")?;
        place(&primary, "running", "two")?;
        let left: Vec<u64> = ["one", "two"]
            .map(|name| app_of(&primary, name))
            .into_iter()
            .flatten()
            .flat_map(|app| pids_of(&app))
            .collect();
        ensure!(left.len() == 4, "{left:?}");
        let record = primary.folder().join("runtime/shop.sock.workers");
        let is_complete = || fs::read_to_string(&record).unwrap_or_default().lines().count() == 5;
        wait::until_true("the record of all workers", SOON, is_complete)?;
        primary.started.signal(Signal::KILL)?;
        primary.started.wait_exit(SOON)?;
        let mut next = clustr_benches::started::Started::new(&mut again)?;
        next.wait_for("two apps that run", SOON, |lines| {
            (of_kind(&news_of(lines), "running").count() == 2).then_some(())
        })?;
        let lives = |pid: &u64| u32::try_from(*pid).is_ok_and(facts::lives);
        ensure!(!left.iter().any(lives), "of {left:?} some still live");
        next.signal(Signal::TERM)?;
        next.expect_exit(0, SOON)
    })();
    hold(outcome);
}
