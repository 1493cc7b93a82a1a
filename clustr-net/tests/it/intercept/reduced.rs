//! Where no socket can be taken from a program, as in containers: one of the same kind is put in its place.

use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

use clustr_net::intercept::{Rules, Seen, Sockets, Why};

use super::server;
use super::stage::{PLAN, REPLACE, Stage, answer, ask, free_port, python, works};

fn stage() -> Option<Stage> {
    python()?;
    works()?;
    Some(Stage::new(REPLACE, Rules::every_port(), Sockets::per_worker(PLAN)))
}

#[test]
fn workers_share_their_port_and_who_waits_is_answered() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let workers: Vec<u64> = (0..3).map(|slot| stage.python(slot, &server(port))).collect();
    stage.ready(&workers);
    assert_eq!(stage.kept(), [(format!("127.0.0.1:{port}"), 3)]);
    let slots = |clients| -> std::collections::BTreeSet<String> {
        (0..clients).map(|_| ask((Ipv4Addr::LOCALHOST, port))[..1].to_owned()).collect()
    };
    assert_eq!(slots(100).len(), 3);
    workers.iter().for_each(|worker| stage.kill(*worker));
    let mut clients: Vec<TcpStream> =
        (0..30).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()).collect();
    let successors: Vec<u64> = (0..3).map(|slot| stage.python(slot, &server(port))).collect();
    stage.ready(&successors);
    clients.iter_mut().for_each(|client| assert!(!answer(client).is_empty()));
    assert_eq!(slots(100).len(), 3);
}

#[test]
fn both_families_are_told_apart_by_the_option_that_was_seen() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let lines = format!(
        "import fcntl, os, select, socket
six = socket.socket(socket.AF_INET6)
six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
six.setblocking(False)
six.bind(('::', {port}))
four = socket.socket()
four.bind(('0.0.0.0', {port}))
six.listen(9)
four.listen(9)
assert fcntl.fcntl(six, fcntl.F_GETFL) & os.O_NONBLOCK
assert not fcntl.fcntl(four, fcntl.F_GETFL) & os.O_NONBLOCK
assert fcntl.fcntl(four, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
while True:
    for s in select.select([six, four], [], [])[0]:
        c, _ = s.accept()
        c.recv(100)
        c.sendall(b'hello')
        c.close()
"
    );
    let workers = [stage.python(0, &lines), stage.python(1, &lines)];
    stage.ready(&workers);
    let deadline = crate::deadline::Deadline::new();
    while stage.count(|_, seen| matches!(seen, Seen::Listening { .. })) < 4 {
        deadline.check(|| "four sockets".to_owned());
    }
    assert_eq!(ask((Ipv4Addr::LOCALHOST, port)), "hello");
    assert_eq!(ask((Ipv6Addr::LOCALHOST, port)), "hello");
}

#[test]
fn a_port_that_somebody_else_has_is_in_use_and_another_can_be_tried() {
    let Some(mut stage) = stage() else { return };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let lines = format!(
        "import errno, socket
s = socket.socket()
try:
    s.bind(('127.0.0.1', {}))
except OSError as error:
    assert error.errno == errno.EADDRINUSE, error
else:
    raise Exception('bound')
s.bind(('127.0.0.1', {port}))
s.listen(9)
assert s.getsockname()[1] == {port}
",
        taken.local_addr().unwrap().port()
    );
    let worker = stage.python(0, &lines);
    assert_eq!(stage.code(worker), Some(0));
    assert_eq!(stage.kept(), [(format!("127.0.0.1:{port}"), 1)]);
}

#[test]
fn private_ports_and_any_port_work_as_well() {
    let private = 30_000 + free_port() % 2_000;
    let rules = Rules { private: vec![private], share_zero: true, ..Rules::every_port() };
    if python().is_none() || works().is_none() {
        return;
    }
    let mut stage = Stage::new(REPLACE, rules, Sockets::per_worker(PLAN));
    let lines = format!(
        "import os, socket, time
m = socket.socket()
m.bind(('127.0.0.1', {private}))
assert m.getsockname()[1] == {private} + int(os.environ['CLUSTR_SLOT'])
s = socket.socket()
s.bind(('127.0.0.1', 0))
s.listen(9)
time.sleep(600)
"
    );
    let workers = [stage.python(0, &lines), stage.python(1, &lines)];
    let ports: Vec<_> = workers
        .iter()
        .map(|worker| {
            let seen = stage.wait(*worker, |seen| matches!(seen, Seen::Listening { .. }));
            let Seen::Listening { addr, kept: true, .. } = seen else { panic!() };
            addr.unwrap()
        })
        .collect();
    assert_eq!(ports[0], ports[1]);
}

#[test]
fn a_registration_that_cannot_be_moved_is_no_reason_to_fail() {
    let Some(mut stage) = stage() else { return };
    // It may be moved here, as a matter of fact; that it is asked for at all is what shows.
    let port = free_port();
    let lines = format!(
        "import select, socket
s = socket.socket()
e = select.epoll()
e.register(s.fileno(), select.EPOLLIN)
s.bind(('127.0.0.1', {port}))
s.listen(9)
while True:
    e.poll()
    c, _ = s.accept()
    c.recv(100)
    c.sendall(b'hello')
    c.close()
"
    );
    let worker = stage.python(0, &lines);
    stage.ready(&[worker]);
    assert_eq!(ask((Ipv4Addr::LOCALHOST, port)), "hello");
    let left = stage.count(|_, seen| matches!(seen, Seen::Unshared { why: Why::Registered, .. }));
    assert_eq!(left, 0);
}
