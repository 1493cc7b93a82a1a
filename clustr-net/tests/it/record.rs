//! The golden transcript of node: recorded, compared, and written anew with `CLUSTR_BLESS=1`.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use clustr_net::node::encode::{self, HandleKind, Reply};
use clustr_net::node::{Decoder, Dialect, Endpoint, Message, Table};
use clustr_net::{Kind, scm};

use crate::deadline::PATIENCE;
use crate::primary::node_is_missing;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/node-20.txt");

/// Everything that a worker can say without a second process, one step after the other.
const SCRIPT: &str = "
    const net = require('net'), https = require('https'), dgram = require('dgram'), { once } = require('events');
    const up = async (server, ...where) => {
        server.listen(...where);
        await Promise.race([once(server, 'listening'), new Promise((done) => server.on('error', done))]);
        server.close();
    };
    (async () => {
        await up(net.createServer(), 0);
        await up(net.createServer(), 0, '127.0.0.1');
        await up(net.createServer(), { port: 0, host: '::1', ipv6Only: true, backlog: 7 });
        await up(net.createServer(), { path: './x.sock', readableAll: true, writableAll: true });
        await up(net.createServer(), '\\0clustr-net-record');
        await up(net.createServer(), { fd: 7 });
        await up(https.createServer({}), 0);
        const udp = dgram.createSocket({ type: 'udp4', reuseAddr: true }).bind(0);
        await once(udp, 'listening');
        udp.close();
        for (const value of ['text', 1.5, true, null, { cmd: 'NODE_' }, ['é', '\\ud83e\\udd80']]) process.send(value);
        const own = net.createServer();
        own.listen({ port: 0, exclusive: true });
        await once(own, 'listening');
        process.send({ a: 'server' }, own);
        own.close();
        require('cluster').worker.disconnect();
    })();
";

/// A message in a golden file.
pub(crate) fn label(message: &Message) -> String {
    format!("{message:?}")
}

#[test]
fn node_still_says_what_was_recorded() {
    if node_is_missing() {
        return;
    }
    let version = Command::new("node").arg("--version").output().unwrap().stdout;
    if !version.starts_with(b"v20.") {
        eprintln!("skipped: the transcript is of node 20");
        return;
    }
    let recorded = record();
    if std::env::var_os("CLUSTR_BLESS").is_some() {
        std::fs::write(GOLDEN, &recorded).unwrap();
    }
    assert_eq!(recorded, std::fs::read_to_string(GOLDEN).unwrap());
}

fn record() -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.js"), SCRIPT).unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "exec 3<&0 0</dev/null; exec node app.js"])
        .envs(Endpoint::environment(3, 1))
        .current_dir(folder.path())
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    let mut text =
        "# What node 20 says, and how it is understood. Volatile parts are made equal.\n".to_owned();
    let (mut table, mut decoder, mut buf) = (Table::new(Vec::new()), Decoder::default(), [0; 4096]);
    let mut unread = Vec::new();
    loop {
        let count = ours.read(&mut buf).unwrap();
        if count == 0 {
            break;
        }
        unread.extend_from_slice(&buf[..count]);
        while let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            decoder.push(&line);
            reply(&mut ours, &mut table, &decoder.decode().unwrap());
            note(&mut text, &String::from_utf8(line).unwrap(), folder.path());
        }
    }
    assert!(child.wait().unwrap().success());
    text
}

/// The bytes of a primary, without its endpoint.
fn reply(ours: &mut UnixStream, table: &mut Table, message: &Message) {
    match message {
        Message::QueryServer(query) => {
            let answer = table.answer(1, query);
            let words = Reply {
                key: &answer.key,
                errno: answer.errno,
                data: &answer.data,
                sockname: answer.sockname,
            };
            let kind = answer
                .fd
                .map(|_| if answer.kind == Kind::Stream { HandleKind::Net } else { HandleKind::Dgram });
            let line = encode::reply(Dialect::Node, kind, 0, query.seq, words);
            scm::send(&*ours, &line, answer.fd.as_slice()).unwrap();
        }
        Message::Close { key } => drop(table.closed(1, key)),
        Message::ExitedAfterDisconnect { seq } => {
            ours.write_all(&encode::acknowledge(Dialect::Node, 0, *seq)).unwrap();
        }
        Message::Handle { .. } => ours.write_all(encode::HANDLE_ACK).unwrap(),
        _ => {}
    }
}

fn note(text: &mut String, line: &str, folder: &std::path::Path) {
    let line = equalise(line.trim_end(), &folder.display().to_string());
    let mut decoder = Decoder::default();
    decoder.push(line.as_bytes());
    decoder.push(b"\n");
    // Values that are no objects are not marked as lines of the transcript, but shown all the same.
    writeln!(text, "{line}\n= {}", label(&decoder.decode().unwrap())).unwrap();
}

/// Ports of chance, ticket keys and the folder differ from run to run.
fn equalise(line: &str, folder: &str) -> String {
    let mut line = line.replace(folder, "/app");
    for (before, digits, after) in [("\"port\":", 4..6, "40000"), ("\"ticketKeys\":\"", 96..97, "00")] {
        let Some(start) = line.find(before).map(|at| at + before.len()) else { continue };
        let len = line[start..].bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits.contains(&len) {
            line.replace_range(start..start + len, after);
        }
    }
    line
}
