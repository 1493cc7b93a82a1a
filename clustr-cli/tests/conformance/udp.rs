//! Datagrams.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use clustr_benches::{http, wait};
use serde_json::Value;

use crate::harness::ensure;
use crate::harness::node::on_each_node;
use crate::harness::{Outcome, Run, SOON, free_ports, v4, v6};

#[test]
fn udp_sockets_are_shared_and_their_errors_reach_the_app() {
    on_each_node("udp", |node| {
        let taken = free_ports(1);
        let _foreign = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, taken)).map_err(|error| error.to_string())?;
        let run = Run::app(node, "datagrams.js").workers(2).env("TAKEN", &taken.to_string());
        let mut primary = run.start()?;
        let port = primary.port();
        let mut any = Vec::new();
        for facts in settled(&primary)? {
            ensure!(facts["four"]["port"] == port && facts["six"]["port"] == port + 1, "{facts}");
            ensure!(facts["taken"]["error"] == "EADDRINUSE", "a taken port: {facts}");
            any.push(facts["any"]["port"].as_u64().and_then(|port| u16::try_from(port).ok()));
        }
        ensure!(any.len() == 2 && any[0] == any[1] && any[0] > Some(0), "port 0: {any:?}");
        echoes(v4(port), "four")?;
        echoes(v6(port + 1), "six")?;
        echoes(v4(any[0].unwrap_or(0)), "any")?;
        primary.stop()
    });
}

/// Both workers' facts, when all four sockets have had their answer.
fn settled(primary: &crate::harness::Primary) -> Result<Vec<Value>, String> {
    wait::until("all four sockets of both workers", SOON, || {
        let answers = http::get_from_all(primary.address(), "/", 2, SOON).ok()?;
        let is_whole =
            |facts: &Value| ["four", "six", "any", "taken"].iter().all(|name| !facts[*name].is_null());
        answers.iter().all(is_whole).then_some(answers)
    })
}

fn echoes(target: SocketAddr, name: &str) -> Outcome {
    let text = |error: std::io::Error| format!("{name}: {error}");
    let ours = if target.is_ipv4() { v4(0) } else { v6(0) };
    let socket = UdpSocket::bind(ours).map_err(text)?;
    socket.set_read_timeout(Some(Duration::from_secs(1))).map_err(text)?;
    wait::until(&format!("an echo from {name} at {target}"), SOON, || {
        socket.send_to(b"ping", target).ok()?;
        let mut buffer = [0; 200];
        let (count, _) = socket.recv_from(&mut buffer).ok()?;
        let answer: Value = serde_json::from_slice(&buffer[..count]).ok()?;
        (answer["echo"] == "ping" && answer["name"] == name).then_some(())
    })
}
