//! Which ports are shared, and which each worker has for itself; and those of datagrams.

use std::net::UdpSocket;

use clustr_net::intercept::{Rules, Seen, Why};

use super::cases::{SERVE, is_listening, local, script, slot_of, stage, with};
use super::server;
use super::stage::{ask, free_port};

fn any_port(rules: Rules) -> Option<Vec<u16>> {
    let mut stage = with(rules)?;
    let lines = script(
        0,
        "
s = socket.socket()
s.bind(('127.0.0.1', PORT))
s.listen(9)
print(s.getsockname()[1])
time.sleep(600)
",
    );
    let workers = [stage.python(0, &lines), stage.python(1, &lines), stage.python(2, &lines)];
    let port = |worker: &u64| {
        let Seen::Listening { addr: Some(addr), .. } = stage.wait(*worker, is_listening) else { panic!() };
        addr.socket_addr().unwrap().port()
    };
    Some(workers.iter().map(port).collect())
}

#[test]
fn any_port_is_a_port_of_ones_own() {
    let Some(mut ports) = any_port(Rules::every_port()) else { return };
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3);
}

#[test]
fn any_port_is_the_same_for_all_where_that_is_wanted() {
    let Some(ports) = any_port(Rules { share_zero: true, ..Rules::every_port() }) else { return };
    assert!(ports[0] != 0 && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
}

#[test]
fn datagrams_reach_all_workers_and_wait_for_the_successor() {
    let Some(mut stage) = stage() else { return };
    let port = {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    };
    let lines = script(
        port,
        "
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('127.0.0.1', PORT))
while True:
    _, client = s.recvfrom(100)
    s.sendto(b'%d %d' % (SLOT, os.getpid()), client)
",
    );
    let workers = [stage.python(0, &lines), stage.python(1, &lines)];
    stage.ready(&workers);
    let asked = || {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(crate::deadline::PATIENCE)).unwrap();
        client.connect(local(port)).unwrap();
        client.send(b"x").unwrap();
        client
    };
    let answered = |client: UdpSocket| {
        let mut bytes = [0; 64];
        let len = client.recv(&mut bytes).unwrap();
        slot_of(std::str::from_utf8(&bytes[..len]).unwrap())
    };
    let slots: std::collections::BTreeSet<u32> = (0..40).map(|_| answered(asked())).collect();
    assert_eq!(slots.len(), 2);
    stage.kill(workers[0]);
    stage.kill(workers[1]);
    let waits = asked();
    let successors = [stage.python(0, &lines), stage.python(1, &lines)];
    stage.ready(&successors);
    answered(waits);
    assert_eq!(stage.kept(), [(format!("udp:127.0.0.1:{port}"), 2)]);
}

#[test]
fn only_named_ports_are_shared_and_a_private_one_differs_by_slot() {
    let (named, private) = (free_port(), 20_000 + free_port() % 10_000);
    let rules = Rules { ports: vec![named], private: vec![private], ..Rules::every_port() };
    let Some(mut stage) = with(rules) else { return };
    let lines = script(named, SERVE)
        + &format!(
            "
metrics = socket.socket()
metrics.bind(('127.0.0.1', {private}))
assert metrics.getsockname()[1] == {private} + SLOT
metrics.listen(9)
s = socket.socket()
s.bind(('127.0.0.1', PORT))
s.listen(9)
serve(s, metrics)
"
        );
    let workers = [stage.python(0, &lines), stage.python(3, &lines)];
    for worker in workers {
        stage.wait(worker, |seen| matches!(seen, Seen::Listening { kept: true, .. }));
    }
    assert_eq!(slot_of(&ask(local(private))), 0);
    assert_eq!(slot_of(&ask(local(private + 3))), 3);
    assert_eq!(stage.kept(), [(format!("127.0.0.1:{named}"), 2)]);
    let other = stage.python(5, &server(free_port()));
    let left = stage.wait(other, |seen| matches!(seen, Seen::Unshared { .. }));
    assert!(matches!(left, Seen::Unshared { why: Why::NotNamed, .. }), "{left:?}");
}

#[test]
fn a_privileged_port_is_shared_only_where_it_is_named() {
    let port = free_port();
    let rules = Rules { unprivileged_from: u16::MAX, ..Rules::every_port() };
    let Some(mut stage) = with(rules.clone()) else { return };
    let worker = stage.python(0, &server(port));
    let left = stage.wait(worker, |seen| matches!(seen, Seen::Unshared { .. }));
    assert!(matches!(left, Seen::Unshared { why: Why::Privileged(_), .. }), "{left:?}");
    assert!(stage.kept().is_empty());
    stage.kill(worker);
    let mut stage = with(Rules { ports: vec![port], ..rules }).unwrap();
    let worker = stage.python(0, &server(port));
    stage.ready(&[worker]);
    assert_eq!(stage.kept(), [(format!("127.0.0.1:{port}"), 1)]);
}
