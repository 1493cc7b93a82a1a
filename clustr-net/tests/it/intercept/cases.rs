//! The odd ways of real programs, one a test: what each of them gets is what it would get without us, and shared.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use clustr_net::intercept::{Rules, Seen, Sockets, Way};

use super::server;
use super::stage::{PLAN, Stage, answer, ask, free_port, python, works};

pub(super) fn stage() -> Option<Stage> {
    with(Rules::every_port())
}

pub(super) fn with(rules: Rules) -> Option<Stage> {
    python()?;
    let way = works().filter(|way| *way == Way::Adopt)?;
    Some(Stage::new(way, rules, Sockets::per_worker(PLAN)))
}

/// A script that has these lines to begin with; it fails the test when it raises.
pub(super) fn script(port: u16, lines: &str) -> String {
    format!(
        "import os, socket, time, threading\nPORT = {port}\nSLOT = int(os.environ['CLUSTR_SLOT'])\n{lines}"
    )
}

pub(super) const SERVE: &str = "
def serve(*listeners):
    def one(s):
        while True:
            c, _ = s.accept()
            c.recv(100)
            c.sendall(b'%d %d' % (SLOT, os.getpid()))
            c.close()
    for s in listeners[1:]:
        threading.Thread(target=one, args=(s,)).start()
    one(listeners[0])
";

pub(super) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

pub(super) fn slot_of(text: &str) -> u32 {
    text.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{text:?}"))
}

/// So many clients, each answered.
fn asked(port: u16, clients: u32) {
    for _ in 0..clients {
        slot_of(&ask(local(port)));
    }
}

pub(super) fn is_listening(seen: &Seen) -> bool {
    matches!(seen, Seen::Listening { .. })
}

#[test]
fn both_families_on_one_port_are_two_groups() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let lines = script(port, SERVE)
        + "
six = socket.socket(socket.AF_INET6)
six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
six.bind(('::', PORT))
four = socket.socket()
four.bind(('0.0.0.0', PORT))
six.listen(9)
four.listen(9)
serve(six, four)
";
    let workers = [stage.python(0, &lines), stage.python(1, &lines)];
    stage.ready(&workers);
    let deadline = crate::deadline::Deadline::new();
    while stage.count(|_, seen| is_listening(seen)) < 4 {
        deadline.check(|| "four sockets".to_owned());
    }
    assert_eq!(stage.kept().iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2, 2]);
    let both_answer = || {
        for _ in 0..10 {
            slot_of(&ask(local(port)));
            slot_of(&ask((Ipv6Addr::LOCALHOST, port)));
        }
    };
    both_answer();
    workers.iter().for_each(|worker| stage.kill(*worker));
    let successors = [stage.python(0, &lines), stage.python(1, &lines)];
    stage.ready(&successors);
    let deadline = crate::deadline::Deadline::new();
    while stage.count(|of, seen| successors.contains(&of) && is_listening(seen)) < 4 {
        deadline.check(|| "four sockets, again".to_owned());
    }
    both_answer();
    assert_eq!(stage.kept().iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn an_address_that_one_program_wants_twice_is_had_twice_if_it_says_so() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let lines = script(port, SERVE)
        + "
two = [socket.socket(), socket.socket()]
for s in two:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(('127.0.0.1', PORT))
for s in two:
    s.listen(9)
serve(*two)
";
    let workers = [stage.python(0, &lines), stage.python(1, &lines)];
    stage.ready(&workers);
    let deadline = crate::deadline::Deadline::new();
    while stage.kept() != [(format!("127.0.0.1:{port}"), 4)] {
        deadline.check(|| format!("{:?}", stage.kept()));
    }
    stage.kill(workers[0]);
    let successor = stage.python(0, &lines);
    stage.ready(&[successor]);
    asked(port, 20);
    assert_eq!(stage.kept(), [(format!("127.0.0.1:{port}"), 4)]);
}

#[test]
fn an_address_that_one_program_has_already_is_in_use_for_it() {
    let Some(mut stage) = stage() else { return };
    let lines = script(
        free_port(),
        "
import errno
a, b = socket.socket(), socket.socket()
a.bind(('127.0.0.1', PORT))
a.listen(9)
try:
    b.bind(('127.0.0.1', PORT))
except OSError as error:
    assert error.errno == errno.EADDRINUSE, error
else:
    raise Exception('bound twice')
",
    );
    let worker = stage.python(0, &lines);
    assert_eq!(stage.code(worker), Some(0));
}

#[test]
fn a_program_may_try_whether_a_port_is_free() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let lines = script(port, SERVE)
        + "
for _ in range(3):
    probe = socket.socket()
    probe.bind(('127.0.0.1', PORT))
    probe.listen(1)
    probe.close()
s = socket.socket()
s.bind(('127.0.0.1', PORT))
s.listen(9)
serve(s)
";
    let workers = [stage.python(0, &lines), stage.python(1, &lines)];
    stage.ready(&workers);
    asked(port, 20);
    assert_eq!(stage.kept(), [(format!("127.0.0.1:{port}"), 2)]);
}

#[test]
fn a_thread_may_bind_when_the_first_one_is_gone() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let lines = script(port, SERVE)
        + "
import ctypes, platform
main = threading.main_thread().native_id
def late():
    while open(f'/proc/self/task/{main}/stat').read().split(') ')[1][0] != 'Z':
        time.sleep(0.001)
    s = socket.socket()
    s.bind(('127.0.0.1', PORT))
    s.listen(9)
    serve(s)
threading.Thread(target=late).start()
exit_thread = 60 if platform.machine() == 'x86_64' else 93
ctypes.CDLL(None).syscall(exit_thread, 0)
";
    let workers = [stage.python(0, &lines), stage.python(1, &lines)];
    stage.ready(&workers);
    asked(port, 20);
}

#[test]
fn a_grandchild_may_be_the_one_that_binds() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let lines = script(port, SERVE)
        + "
if os.fork() == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    parent = os.getppid()
    s = socket.socket()
    s.bind(('127.0.0.1', PORT))
    s.listen(9)
    s.settimeout(20)
    c, _ = s.accept()
    c.recv(100)
    c.sendall(b'%d' % SLOT)
    os._exit(0)
time.sleep(60)
";
    let worker = stage.python(3, &lines);
    stage.ready(&[worker]);
    assert_eq!(ask(local(port)), "3");
}

#[test]
fn mptcp_stays_mptcp() {
    let Some(mut stage) = stage() else { return };
    if !std::path::Path::new("/proc/sys/net/mptcp/enabled").exists() {
        return eprintln!("MPTCP is not in this kernel: nothing to see");
    }
    let port = free_port();
    let lines = script(port, SERVE)
        + "
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
s.bind(('127.0.0.1', PORT))
s.listen(9)
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == 262
serve(s)
";
    let workers = [stage.python(0, &lines), stage.python(1, &lines)];
    stage.ready(&workers);
    stage.kill(workers[0]);
    let successor = stage.python(0, &lines);
    stage.ready(&[successor]);
    asked(port, 20);
    assert_eq!(stage.kept(), [(format!("127.0.0.1:{port}"), 2)]);
}

#[test]
fn what_a_program_has_set_is_what_it_finds() {
    let Some(mut stage) = stage() else { return };
    let lines = script(
        free_port(),
        "
import fcntl
s = socket.socket()
options = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 50000), (socket.IPPROTO_IP, socket.IP_TOS, 16),
           (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 3), (socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 7)]
for level, name, value in options:
    s.setsockopt(level, name, value)
s.setblocking(False)
os.set_inheritable(s.fileno(), True)
before = [s.getsockopt(level, name) for level, name, _ in options]
number = s.fileno()
s.bind(('127.0.0.1', PORT))
s.listen(9)
assert s.fileno() == number and s.getsockname() == ('127.0.0.1', PORT)
assert [s.getsockopt(level, name) for level, name, _ in options] == before, before
assert fcntl.fcntl(s, fcntl.F_GETFL) & os.O_NONBLOCK and os.get_inheritable(s.fileno())
",
    );
    let worker = stage.python(0, &lines);
    assert_eq!(stage.code(worker), Some(0));
}

#[test]
fn a_client_with_a_port_of_its_own_is_left_alone_and_can_hang_up() {
    let Some(mut stage) = stage() else { return };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let lines = script(
        server.local_addr().unwrap().port(),
        &format!(
            "
for source in (0, {}):
    s = socket.socket()
    s.bind(('127.0.0.1', source))
    s.connect(('127.0.0.1', PORT))
    s.close()
time.sleep(600)
",
            free_port()
        ),
    );
    stage.python(0, &lines);
    for _ in 0..2 {
        let (mut client, _) = server.accept().unwrap();
        let mut text = String::new();
        client.set_read_timeout(Some(crate::deadline::PATIENCE)).unwrap();
        std::io::Read::read_to_string(&mut client, &mut text).unwrap();
    }
}

#[test]
fn a_port_that_somebody_else_has_is_in_use() {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
    let Some(mut stage) = stage() else { return };
    for shares in [false, true] {
        let other = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseport(&other, shares).unwrap();
        sockopt::set_socket_reuseaddr(&other, true).unwrap();
        let port = free_port();
        bind(&other, &local(port)).unwrap();
        listen(&other, 1).unwrap();
        let lines = script(
            port,
            "
import errno
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    s.bind(('127.0.0.1', PORT))
except OSError as error:
    assert error.errno == errno.EADDRINUSE, error
else:
    raise Exception('bound')
",
        );
        let worker = stage.python(0, &lines);
        assert_eq!(stage.code(worker), Some(0));
    }
}

#[test]
fn connections_of_a_moment_ago_keep_nobody_from_the_port() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    {
        let Some(mut before) = self::stage() else { return };
        let worker = before.python(0, &server(port));
        before.ready(&[worker]);
        // The server closes first, so its end is in TIME_WAIT for a minute.
        ask(local(port));
    }
    let worker = stage.python(0, &server(port));
    stage.ready(&[worker]);
    assert_eq!(slot_of(&ask(local(port))), 0);
}

#[test]
fn a_program_may_have_a_filter_of_its_own_but_no_listener() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let lines = script(port, SERVE)
        + "
import ctypes, errno, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
allow = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))
prog = struct.pack('HxxxxxxQ', 1, ctypes.addressof(allow))
libc.prctl(38, 1, 0, 0, 0)
seccomp = 317 if platform.machine() == 'x86_64' else 277
assert libc.syscall(seccomp, 1, 0, prog) == 0
assert libc.syscall(seccomp, 1, 8, prog) == -1 and ctypes.get_errno() == errno.EBUSY
s = socket.socket()
s.bind(('127.0.0.1', PORT))
s.listen(9)
serve(s)
";
    let worker = stage.python(0, &lines);
    stage.ready(&[worker]);
    assert_eq!(slot_of(&ask(local(port))), 0);
}

#[test]
fn signals_during_the_wait_repeat_nothing() {
    let Some(mut stage) = stage() else { return };
    let lines = script(
        free_port(),
        "
import signal
hits = 0
def hit(*_):
    global hits
    hits += 1
signal.signal(signal.SIGALRM, hit)
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
kept = []
for _ in range(50):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(('127.0.0.1', PORT))
    s.listen(9)
    kept.append(s)
while hits < 3:
    time.sleep(0.001)
signal.setitimer(signal.ITIMER_REAL, 0)
",
    );
    let worker = stage.python(0, &lines);
    assert_eq!(stage.code(worker), Some(0));
    assert_eq!(stage.count(|_, seen| is_listening(seen)), 50);
}

const EPOLL: &str = "
import select
s = socket.socket()
s.setblocking(False)
e = select.epoll()
e.register(s.fileno(), select.EPOLLIN)
s.bind(('127.0.0.1', PORT))
s.listen(9)
e.modify(s.fileno(), select.EPOLLIN)
while True:
    for fd, what in e.poll():
        assert fd == s.fileno(), (fd, what)
        try:
            c, _ = s.accept()
        except BlockingIOError:
            continue
        c.setblocking(True)
        c.recv(100)
        c.sendall(b'%d %d' % (SLOT, os.getpid()))
        c.close()
";

#[test]
fn a_socket_that_is_registered_with_epoll_before_it_is_bound_is_heard_in_the_successor_too() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let first = stage.python(0, &script(port, EPOLL));
    stage.ready(&[first]);
    let before = ask(local(port));
    stage.kill(first);
    let mut waits = TcpStream::connect(local(port)).unwrap();
    let successor = stage.python(0, &script(port, EPOLL));
    stage.ready(&[successor]);
    let served = answer(&mut waits);
    assert_eq!(slot_of(&served), 0);
    assert_ne!(served, before);
    assert_eq!(ask(local(port)), served);
}

#[test]
fn workers_outlive_the_primary_and_bind_no_more() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let lines = script(port, SERVE)
        + "
import errno
s = socket.socket()
s.bind(('127.0.0.1', PORT))
s.listen(9)
c, _ = s.accept()
c.recv(100)
try:
    socket.socket().bind(('127.0.0.1', 0))
except OSError as error:
    c.sendall(b'%d' % error.errno)
c.close()
time.sleep(600)
";
    let worker = stage.python(0, &lines);
    stage.ready(&[worker]);
    let mut client = TcpStream::connect(local(port)).unwrap();
    let mut orphan = stage.abandon(worker);
    let said = answer(&mut client);
    orphan.kill().unwrap();
    orphan.wait().unwrap();
    assert_eq!(said, "38", "ENOSYS");
}
