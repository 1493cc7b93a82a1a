//! Servers of every kind answer from every worker.

use clustr_benches::http;
use serde_json::json;

use crate::harness::ensure;
use crate::harness::node::{Node, ask, has_package, on_each_node, on_some_nodes};
use crate::harness::{Outcome, Run, SOON, v6};

#[test]
fn a_worker_knows_that_it_is_one_and_its_children_do_not() {
    on_each_node("worker identity", |node| {
        let mut primary = Run::app(node, "environment.js").workers(2).start()?;
        primary.wait_ready(2)?;
        let answers = http::get_from_all(primary.address(), "/", 2, SOON)?;
        let mut ids = Vec::new();
        for facts in &answers {
            ensure!(facts["isWorker"] == true && facts["isMaster"] == false, "not a worker: {facts}");
            ensure!(facts["connected"] == true, "no channel: {facts}");
            ensure!(facts["own"] == json!([]) && facts["child"] == json!([]), "variables leak: {facts}");
            ids.push(facts["id"].as_u64().ok_or_else(|| format!("no id: {facts}"))?);
        }
        ensure!(ids[0] != ids[1] && ids.iter().all(|id| *id > 0), "ids: {ids:?}");
        primary.stop()
    });
}

#[test]
fn a_plain_http_server_answers_from_every_worker() {
    on_each_node("http", |node| all_answer(node, "address.js"));
}

#[test]
fn an_es_module_answers_from_every_worker() {
    on_each_node("es module", |node| all_answer(node, "module.mjs"));
}

#[test]
fn typescript_answers_from_every_worker() {
    let unfit = |node: &Node| {
        let fit = node.major > 23
            || (node.major == 22 && node.minor >= 18)
            || (node.major == 23 && node.minor >= 6);
        (!fit).then_some("runs no TypeScript")
    };
    on_some_nodes("typescript", unfit, |node| all_answer(node, "typed.ts"));
}

#[test]
fn express_answers_from_every_worker() {
    if has_package("express") {
        on_each_node("express", |node| all_answer(node, "express.js"));
    }
}

#[test]
fn fastify_answers_from_every_worker() {
    if has_package("fastify") {
        let unfit = |node: &Node| (node.major < 20).then_some("too old for fastify 5");
        on_some_nodes("fastify", unfit, |node| all_answer(node, "fastify.js"));
    }
}

#[test]
fn koa_answers_from_every_worker() {
    if has_package("koa") {
        on_each_node("koa", |node| all_answer(node, "koa.js"));
    }
}

#[test]
fn workers_of_https_share_their_ticket_keys_even_across_restarts() {
    on_each_node("https sessions", |node| {
        let mut primary = Run::app(node, "secure.js").workers(2).start()?;
        primary.wait_ready(2)?;
        let (port, file) = (primary.port().to_string(), primary.folder().join("session"));
        let client = || ask(node, "secure-client.js", &[&port, "2", &file.to_string_lossy()]);
        let before = client()?;
        ensure!(before["workers"] == 2, "not every worker answered: {before}");
        ensure!(before["first"] == false && before["later"] == true, "sessions are not resumed: {before}");
        super::ends::kill_workers(&primary)?;
        primary.wait_ready(4)?;
        let after = client()?;
        ensure!(after["first"] == true && after["later"] == true, "not resumed after a restart: {after}");
        let keys = before["keys"].as_array().map_or(0, Vec::len);
        ensure!(keys == 1 && before["keys"] == after["keys"], "keys differ: {before} {after}");
        primary.stop()
    });
}

#[test]
fn http2_answers_from_every_worker() {
    on_each_node("http2", |node| all_answer_to(node, "second.js", "second-client.js"));
}

#[test]
fn websockets_reach_every_worker() {
    if has_package("ws") {
        on_each_node("websocket", |node| all_answer_to(node, "upgrade.js", "upgrade-client.js"));
    }
}

/// The app answers from two workers, and believes to listen where the request came.
fn all_answer(node: &Node, file: &str) -> Outcome {
    let mut primary = Run::app(node, file).workers(2).start()?;
    primary.wait_ready(2)?;
    for target in [primary.address(), v6(primary.port())] {
        for answer in http::get_from_all(target, "/", 2, SOON)? {
            let address = &answer["address"];
            ensure!(address["port"] == primary.port() && address["address"] == "::", "address: {answer}");
        }
    }
    primary.stop()
}

fn all_answer_to(node: &Node, file: &str, client: &str) -> Outcome {
    let mut primary = Run::app(node, file).workers(2).start()?;
    primary.wait_ready(2)?;
    let answer = ask(node, client, &[&primary.port().to_string(), "2"])?;
    ensure!(answer["workers"] == 2, "not every worker answered: {answer}");
    primary.stop()
}
