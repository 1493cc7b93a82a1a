//! Real node processes on the other end of the channel.
//!
//! The scripts report by `process.send`; the tests compare what they report.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use clustr_net::node::{Fate, Said};

use crate::deadline::{Deadline, PATIENCE};
use crate::primary::{Primary, node_is_missing};

/// What every script starts with.
const PRELUDE: &str = "
    const net = require('net'), http = require('http'), https = require('https'), dgram = require('dgram');
    const cluster = require('cluster'), fs = require('fs'), { once } = require('events');
    const say = (...words) => process.send(words.join(' '));
    const failed = (error) => say(error.code, error.syscall);
";

fn script(body: &str) -> String {
    format!("{PRELUDE}\n(async () => {{ {body} }})()")
}

fn get(port: u16) -> String {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text.rsplit("\r\n").next().unwrap().to_owned()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn number(message: &str) -> u16 {
    message.trim_matches('"').parse().unwrap()
}

#[test]
fn online_comes_first_and_the_variables_are_gone_before_the_app_starts() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let worker = primary.start(&script(
        "const names = () => Object.keys(process.env).filter(name => /^NODE_(CHANNEL|UNIQUE)/.test(name));
         const env = require('child_process').execSync('env').toString();
         say(names().length, /NODE_CHANNEL/.test(env), cluster.isWorker, cluster.worker.id)",
    ));
    assert_eq!(primary.message(worker, 1), "\"0 false true 1\"");
    let worker = &primary.workers[worker];
    let Said::Online { pid } = worker.said[0] else { panic!("{:?}", worker.said) };
    assert_eq!(pid, Some(worker.child.id()), "the kernel's word for who speaks");
}

#[test]
fn a_plain_http_server_in_two_processes_answers_from_both() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let app = script(
        "http.createServer((_, answer) => answer.end(String(process.pid))).listen(0, () => say('up'))",
    );
    let workers = [primary.start(&app), primary.start(&app)];
    for worker in workers {
        primary.message(worker, 1);
    }
    let port = primary.table.listeners().next().unwrap().port().unwrap();
    let deadline = Deadline::new();
    let mut waiting: Vec<_> = primary.workers.iter().map(|worker| worker.child.id().to_string()).collect();
    while !waiting.is_empty() {
        let pid = get(port);
        waiting.retain(|wanted| *wanted != pid);
        deadline.check(|| format!("no answer from {waiting:?}"));
    }
    // The app's own word comes first: node says `listening` after the app's callback.
    let mut listening = None;
    primary.until("listening", |primary| {
        listening = primary.workers[0].said.iter().find_map(Said::listening_at);
        listening.is_some()
    });
    assert_eq!(listening, Some(format!("[::]:{port}")));
}

#[test]
fn two_ports_of_chance_are_the_same_two_in_every_worker_and_after_a_crash() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let app = script(
        "for (let n = 0; n < 2; n++) {
             const server = net.createServer().listen(0);
             await once(server, 'listening');
             say(server.address().port);
         }",
    );
    let first = primary.start(&app);
    let ports = primary.messages(first, 2);
    assert_ne!(ports[0], ports[1]);
    let second = primary.start(&app);
    assert_eq!(primary.messages(second, 2), ports);
    for worker in [first, second] {
        primary.kill(worker, Fate::Keep);
    }
    let waiting = TcpStream::connect(("127.0.0.1", number(&ports[0])));
    assert!(waiting.is_ok(), "nobody is refused while all workers are gone");
    let third = primary.start(&app);
    assert_eq!(primary.messages(third, 2), ports);
    primary.kill(third, Fate::Release);
    assert_eq!(primary.table.listeners().count(), 0);
    assert!(TcpStream::connect(("127.0.0.1", number(&ports[0]))).is_err());
}

#[test]
fn bind_errors_reach_the_app_and_a_later_try_works() {
    if node_is_missing() {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut primary = Primary::new();
    let worker = primary.start(&script(&format!(
        "const server = net.createServer();
         server.on('error', failed).on('listening', () => say('up'));
         process.on('message', () => server.listen({port}, '127.0.0.1'));
         const other = net.createServer().on('error', failed);
         other.listen(0, '203.0.113.1');"
    )));
    assert_eq!(primary.message(worker, 1), "\"EADDRNOTAVAIL bind\"");
    for round in 2..4 {
        primary.workers[worker].endpoint.send_user("1").unwrap();
        assert_eq!(primary.message(worker, round), "\"EADDRINUSE bind\"");
    }
    drop(taken);
    primary.workers[worker].endpoint.send_user("1").unwrap();
    assert_eq!(primary.message(worker, 4), "\"up\"");
}

#[test]
fn the_same_port_twice_in_one_worker_is_in_use() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let app = script(&format!(
        "const first = net.createServer().listen({0});
         await once(first, 'listening');
         net.createServer().on('error', failed).on('listening', () => say('up')).listen({0});",
        free_port()
    ));
    for _ in 0..2 {
        let worker = primary.start(&app);
        assert_eq!(primary.message(worker, 1), "\"EADDRINUSE bind\"");
    }
}

#[test]
fn closing_and_listening_again_works_as_often_as_one_likes() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let worker = primary.start(&script(&format!(
        "for (let round = 0; round < 4; round++) {{
             const server = net.createServer().listen({0});
             await once(server, 'listening');
             server.close();
             if (round % 2) await once(server, 'close');
         }}
         net.createServer().on('error', failed).listen({0}, () => say('up'));",
        free_port()
    )));
    assert_eq!(primary.message(worker, 1), "\"up\"");
    primary.kill(worker, Fate::Release);
    assert_eq!(primary.table.listeners().count(), 0);
}

#[test]
fn a_server_that_is_closed_before_it_is_answered_harms_nobody() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let worker = primary.start(&script(
        "for (let round = 0; round < 4; round++) net.createServer().listen(0).close();
         net.createServer().listen(0, () => say('up'));",
    ));
    assert_eq!(primary.message(worker, 1), "\"up\"");
    primary.kill(worker, Fate::Release);
    assert_eq!(primary.table.listeners().count(), 0);
}

#[test]
fn the_last_worker_that_closes_a_server_closes_its_port() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let app = script(
        "const server = net.createServer().listen(0, () => say('up'));
         process.on('message', () => server.close());",
    );
    for worker in [primary.start(&app), primary.start(&app)] {
        primary.message(worker, 1);
    }
    for (worker, left) in [(0, 1), (1, 0)] {
        primary.workers[worker].endpoint.send_user("1").unwrap();
        primary.until("close", |primary| {
            primary.workers[worker].has_said(|said| matches!(said, Said::Closed { .. }))
        });
        assert_eq!(primary.table.listeners().count(), left);
    }
}

#[test]
fn unix_sockets_are_shared_whether_absolute_relative_or_abstract() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let abstract_name = format!("clustr-net-node-{}", std::process::id());
    let absolute = primary.folder().join("absolute.sock");
    std::fs::create_dir(primary.folder().join("sub")).unwrap();
    let app = script(&format!(
        "process.chdir('sub');
         const up = async (options) => {{
             const server = net.createServer((socket) => socket.end('hi')).listen(options);
             await once(server, 'listening');
             say(server.address());
         }};
         await up({{ path: {absolute:?}, readableAll: true, writableAll: true }});
         await up('./relative.sock');
         await up('\\0{abstract_name}');"
    ));
    for worker in [primary.start(&app), primary.start(&app)] {
        primary.messages(worker, 3);
    }
    let relative = primary.folder().join("sub/relative.sock");
    let paths: Vec<_> = primary.table.listeners().map(|listener| listener.local_addr().to_string()).collect();
    let unix = |path: &Path| format!("unix:{}", path.display());
    assert_eq!(paths, [unix(&absolute), unix(&relative), format!("unix:@{abstract_name}")]);
    assert_eq!(std::fs::metadata(&absolute).unwrap().permissions().mode() & 0o666, 0o666);
    for path in [&absolute, &relative] {
        let mut text = String::new();
        UnixStream::connect(path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hi");
    }
    primary.kill(0, Fate::Release);
    assert!(absolute.exists());
    primary.kill(1, Fate::Release);
    assert!(!absolute.exists() && !relative.exists());
}

#[test]
fn datagram_sockets_are_shared() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let app = script(&format!(
        "const up = async (options, ...where) => {{
             const socket = dgram.createSocket(options);
             socket.on('message', (text, from) => socket.send(text, from.port, from.address));
             socket.bind(...where);
             await once(socket, 'listening');
             say(socket.address().port);
         }};
         await up('udp4');
         await up({{ type: 'udp6', reuseAddr: true }}, 0, '::1');
         await up('udp4', {}, '127.0.0.1');
         dgram.createSocket('udp4').on('error', failed).bind(1, '203.0.113.1');",
        free_port()
    ));
    let first = primary.start(&app);
    let said = primary.messages(first, 4);
    let second = primary.start(&app);
    assert_eq!(primary.messages(second, 4), said);
    assert_eq!(said[3], "\"EADDRNOTAVAIL bind\"");
    for (message, from, to) in
        [(0, "127.0.0.1:0", "127.0.0.1"), (1, "[::1]:0", "::1"), (2, "127.0.0.1:0", "127.0.0.1")]
    {
        let client = UdpSocket::bind(from).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(b"echo", (to, number(&said[message]))).unwrap();
        let mut buf = [0; 8];
        assert_eq!(client.recv_from(&mut buf).unwrap().0, 4, "{to}");
    }
}

#[test]
fn tls_servers_share_their_ticket_keys_also_with_those_that_come_after_a_restart_of_all() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let app = script(
        "const server = https.createServer({}).listen(0);
         await once(server, 'listening');
         say(server.getTicketKeys().toString('hex'));
         const other = https.createServer({}).listen(0);
         await once(other, 'listening');
         say(other.getTicketKeys().toString('hex'));",
    );
    let workers = [primary.start(&app), primary.start(&app)];
    let keys = primary.messages(workers[0], 2);
    assert_eq!((keys[0].len(), primary.messages(workers[1], 2)), (98, keys.clone()));
    assert_ne!(keys[0], keys[1], "a session of one server is of no use at another");
    for worker in workers {
        primary.kill(worker, Fate::Keep);
    }
    let successor = primary.start(&app);
    assert_eq!(primary.messages(successor, 2), keys);
}

#[test]
fn a_failing_tls_server_gets_an_error_and_lives() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let worker =
        primary.start(&script("https.createServer({}).on('error', failed).listen(0, '203.0.113.1');"));
    assert_eq!(primary.message(worker, 1), "\"EADDRNOTAVAIL bind\"");
}

#[test]
fn a_descriptor_number_means_one_that_the_primary_inherited() {
    if node_is_missing() {
        return;
    }
    let inherited = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = inherited.local_addr().unwrap().port();
    let file = std::fs::File::open("/dev/null").unwrap();
    let mut primary = Primary::with_inherited(vec![(7, inherited.into()), (8, file.into())]);
    let app = script(
        "http.createServer((_, answer) => answer.end('hi')).listen({ fd: 7 }, () => say('up'));
         net.createServer().on('error', failed).listen({ fd: 8 });
         net.createServer().on('error', failed).listen({ fd: 99 });",
    );
    for worker in [primary.start(&app), primary.start(&app)] {
        let mut said = primary.messages(worker, 3);
        said.sort();
        assert_eq!(said, ["\"EINVAL bind\"", "\"EINVAL bind\"", "\"up\""]);
    }
    assert_eq!(get(port), "hi");
}

#[test]
fn messages_of_the_app_pass_unchanged_in_both_directions() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let worker = primary
        .start(&script("process.on('message', (message) => process.send(message)); process.send('ready');"));
    assert_eq!(primary.message(worker, 1), "\"ready\"");
    let long = format!("\"{}\"", "x".repeat(200_000));
    let cases = [
        "\"text\"",
        "1.5",
        "true",
        "null",
        r#"{"cmd":"NODE_"}"#,
        "\"é \u{1f980} \\u2028\"",
        "[[],{}]",
        &long,
    ];
    for (count, json) in cases.into_iter().enumerate() {
        primary.workers[worker].endpoint.send_user(json).unwrap();
        let echo = primary.message(worker, count + 2);
        assert_eq!(echo.replace('\u{2028}', "\\u2028"), json);
    }
}

#[test]
fn handles_of_the_app_arrive_and_what_it_says_later_arrives_later() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let worker = primary.start(&script(
        "const server = net.createServer((socket) => {
             process.send({ got: 'client' }, socket);
             process.send('after');
         });
         server.listen({ port: 0, host: '127.0.0.1', exclusive: true }, () => {
             say(server.address().port);
             process.send({ got: 'server' }, server);
         });",
    ));
    let port = number(&primary.message(worker, 1));
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(primary.message(worker, 2), "\"after\"");
    let said = std::mem::take(&mut primary.workers[worker].said);
    let mut handles = said.into_iter().filter_map(|said| match said {
        Said::UserHandle { json, fd, kind } => Some((json, fd, kind)),
        _ => None,
    });
    let (json, _fd, kind) = handles.next().unwrap();
    assert_eq!((json.as_str(), kind.as_str()), (r#"{"got":"server"}"#, "net.Server"));
    let (json, fd, kind) = handles.next().unwrap();
    assert_eq!((json.as_str(), kind.as_str()), (r#"{"got":"client"}"#, "net.Socket"));
    TcpStream::from(fd).write_all(b"from the primary").unwrap();
    let mut text = [0; 16];
    client.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"from the primary");
}

#[test]
fn a_worker_that_is_told_to_leave_finishes_its_request_closes_its_channel_and_exits() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let worker = primary.start(&script(
        "http.createServer((_, answer) => {
             say('busy');
             process.once('disconnect', () => {});
             process.on('message', () => answer.end('done'));
         }).listen(0, '127.0.0.1', () => say('up'));",
    ));
    primary.message(worker, 1);
    let port = primary.table.listeners().next().unwrap().port().unwrap();
    let client = std::thread::spawn(move || get(port));
    primary.message(worker, 2);
    primary.workers[worker].endpoint.disconnect().unwrap();
    primary.workers[worker].endpoint.send_user("1").unwrap();
    assert!(primary.wait_exit(worker).success());
    assert_eq!(client.join().unwrap(), "done");
    let worker_said = &primary.workers[worker];
    assert!(worker_said.has_said(|said| matches!(said, Said::Closed { .. })));
    assert!(!worker_said.has_said(|said| matches!(said, Said::Leaving)));
    assert!(!worker_said.endpoint.is_open());
    assert_eq!(primary.table.listeners().count(), 1, "a successor may come");
    primary.table.gone(worker as u64, Fate::Release);
    assert_eq!(primary.table.listeners().count(), 0);
}

#[test]
fn a_worker_that_leaves_of_its_own_will_is_acknowledged() {
    if node_is_missing() {
        return;
    }
    for how in ["disconnect", "kill"] {
        let mut primary = Primary::new();
        let app = script(&format!("net.createServer().listen(0, () => cluster.worker.{how}());"));
        let worker = primary.start(&app);
        assert!(primary.wait_exit(worker).success(), "{how}");
        assert!(primary.workers[worker].has_said(|said| matches!(said, Said::Leaving)), "{how}");
    }
}

#[test]
fn a_program_without_a_script_is_recognised() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let worker = primary.start_command("node", &["-e", "require('net').createServer().listen(0)"]);
    primary.until("half", |primary| {
        primary.workers[worker].has_said(|said| matches!(said, Said::HalfInitialised))
    });
    assert_eq!(primary.table.listeners().count(), 0);
}

#[test]
fn a_second_process_on_the_same_channel_takes_the_first_ones_place() {
    if node_is_missing() {
        return;
    }
    let mut primary = Primary::new();
    let app = script(&format!(
        "net.createServer().on('error', failed).listen({}, () => process.send('up', () => process.exit()))",
        free_port()
    ));
    std::fs::write(primary.folder().join("app.js"), app).unwrap();
    let worker = primary.start_command("sh", &["-c", "node app.js; node app.js"]);
    let mut seen = 0;
    primary.until("both", |primary| {
        let online =
            primary.workers[worker].said.iter().filter(|said| matches!(said, Said::Online { .. })).count();
        if online > seen {
            primary.table.gone(worker as u64, Fate::Keep);
            seen = online;
        }
        primary.workers[worker].closed
    });
    let said = primary.workers[worker].messages();
    assert!(seen == 2 && said.first().is_some_and(|first| first == "\"up\""), "{said:?}");
}
