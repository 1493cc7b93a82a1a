//! Which workers share which listener.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use clustr_benches::{http, wait};
use serde_json::Value;

use crate::harness::ensure;
use crate::harness::node::{Node, on_each_node, on_some_nodes};
use crate::harness::{Primary, Run, SOON, v4, v6};

#[test]
fn workers_that_ask_for_any_port_get_the_same_even_after_a_crash() {
    on_each_node("listen(0)", |node| {
        let mut primary = Run::app(node, "zero.js").workers(3).start()?;
        primary.wait_count("listening", 6)?;
        let before = ports(&primary)?;
        ensure!(before.len() == 2, "listeners: {before:?}");
        check_both(&before)?;
        super::ends::kill_workers(&primary)?;
        primary.wait_count("listening", 12)?;
        let after = ports(&primary)?;
        ensure!(before == after, "ports changed: {before:?} {after:?}");
        check_both(&after)?;
        primary.stop()
    });
}

#[test]
fn servers_on_names_and_families_see_their_clients() {
    on_each_node("addresses", |node| {
        let mut primary = Run::app(node, "families.js").workers(2).start()?;
        primary.wait_count("listening", 8)?;
        let port = primary.port();
        let cases = [
            (v4(port), "both", "::ffff:127.0.0.1"),
            (v6(port), "both", "::1"),
            (v6(port + 2), "six", "::1"),
            (v4(port + 3), "four", "127.0.0.1"),
        ];
        for (target, which, remote) in cases {
            for answer in http::get_from_all(target, "/", 2, SOON)? {
                ensure!(answer["which"] == which && answer["remoteAddress"] == remote, "{target}: {answer}");
                ensure!(answer["address"]["port"] == target.port(), "{target}: {answer}");
            }
        }
        let by_name =
            [v4(port + 1), v6(port + 1)].into_iter().find_map(|target| http::get_json(target, "/").ok());
        ensure!(by_name.is_some_and(|answer| answer["which"] == "name"), "localhost does not answer");
        ensure!(http::get(v4(port + 2), "/").is_err(), "an IPv6-only server answers on IPv4");
        ensure!(http::get(v6(port + 3), "/").is_err(), "an IPv4 server answers on IPv6");
        primary.stop()
    });
}

#[test]
fn a_server_may_close_and_listen_again() {
    on_each_node("close and listen again", |node| {
        let mut primary = Run::app(node, "relisten.js").workers(2).start()?;
        let last = v4(primary.port() + 1);
        for answer in http::get_from_all(last, "/", 2, SOON)? {
            ensure!(answer["failed"].is_null(), "{answer}");
        }
        ensure!(ports(&primary)? == [last.port()], "a closed listener is kept: {:?}", ports(&primary)?);
        primary.stop()
    });
}

#[test]
fn a_server_that_closes_before_its_answer_leaves_no_listener() {
    // Up to 18, node listens all the same, under its own primary too.
    let unfit = |node: &Node| (node.major < 20).then_some("listens all the same");
    on_some_nodes("close before the answer", unfit, |node| {
        let mut primary = Run::app(node, "hasty.js").workers(2).start()?;
        http::get_from_all(primary.address(), "/", 2, SOON)?;
        let port = primary.port();
        wait::until_true("the hasty listener's end", SOON, || {
            ports(&primary).is_ok_and(|ports| ports == [port])
        })?;
        ensure!(TcpListener::bind(v6(port + 1)).is_ok(), "its port is still taken");
        ensure!(primary.news().iter().all(|news| news["news"] != "exited"), "a worker ended");
        primary.stop()
    });
}

#[test]
fn exclusive_listens_past_the_cluster() {
    on_each_node("exclusive and reusePort", |node| {
        let mut primary = Run::app(node, "alone.js").workers(2).start()?;
        let answers = http::get_from_all(primary.address(), "/", 2, SOON)?;
        let all =
            |name: &str| answers.iter().filter_map(|answer| answer[name].as_str()).collect::<BTreeSet<_>>();
        ensure!(all("exclusive") == ["EADDRINUSE", "listening"].into(), "{answers:?}");
        ensure!(all("reusePort") == ["listening"].into(), "{answers:?}");
        let known = ports(&primary)?;
        ensure!(!known.contains(&(primary.port() + 1)), "we were asked for an exclusive port: {known:?}");
        primary.stop()
    });
}

#[test]
fn a_worker_may_listen_on_a_descriptor_of_the_primary() {
    on_some_nodes("listen({fd})", crate::paths::no_queues, |node| {
        let run = Run::app(node, "handle.js").workers(2).env("SOCKET", "5").env("NO_SOCKET", "6");
        let run = run.through(&["sh", "-c", r#"exec "$@" 5<&0 6</dev/null </dev/null"#, "sh"]);
        let port = run.port();
        let bound = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let listener = OwnedFd::from(bound.map_err(|error| error.to_string())?);
        let mut command = run.to_command();
        command.stdin(Stdio::from(listener));
        let mut primary = run.start_as(&mut command)?;
        drop(command);
        for answer in http::get_from_all(primary.address(), "/", 2, SOON)? {
            ensure!(answer["error"] == "EINVAL", "a descriptor that is no socket: {answer}");
        }
        primary.stop()
    });
}

/// Each of two ports answers from all three workers, and each as the same server.
fn check_both(ports: &[u16]) -> Result<(), String> {
    let mut which = BTreeSet::new();
    for port in ports {
        let answers = http::get_from_all(v4(*port), "/", 3, SOON)?;
        let kinds: BTreeSet<&str> = answers.iter().filter_map(|answer| answer["which"].as_str()).collect();
        ensure!(kinds.len() == 1, "one port, several servers: {answers:?}");
        ensure!(answers.iter().all(|answer| answer["port"] == *port), "{answers:?}");
        which.extend(kinds.into_iter().map(str::to_owned));
    }
    ensure!(which.len() == 2, "two ports, one server: {which:?}");
    Ok(())
}

/// The TCP ports that the status shows, sorted.
fn ports(primary: &Primary) -> Result<Vec<u16>, String> {
    let status = primary.status()?;
    let listeners = status["apps"][0]["listeners"].as_array().cloned().unwrap_or_default();
    let port = |listener: &Value| listener["address"].as_str()?.rsplit_once(':')?.1.parse().ok();
    let mut ports: Vec<u16> = listeners.iter().filter_map(port).collect();
    ports.sort_unstable();
    Ok(ports)
}
