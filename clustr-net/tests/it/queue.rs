//! A group of queues and the kernel's array: who may come, who goes where, and who loses nothing.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clustr_net::queue::{Member, Plan, QueueError, QueueId, Queues, Removal};
use clustr_net::steer::Steer;
use clustr_net::{Options, sock_diag};
use proptest::prelude::*;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::deadline::{Deadline, PATIENCE};

const PLAN: Plan = Plan { steer: Steer::Hash, seed: 7, probes: None };

fn open(addr: &str) -> Result<(Queues, QueueId), QueueError> {
    Queues::open(&addr.parse().unwrap(), Options::default(), PLAN, 0)
}

fn group(addr: &str, count: u32) -> (Queues, Vec<QueueId>) {
    let (mut queues, first) = open(addr).unwrap();
    let mut ids = vec![first];
    ids.extend((1..count).map(|key| queues.join(key).unwrap()));
    queues.admit(&ids).unwrap();
    (queues, ids)
}

/// A socket of our uid that joins by itself.
fn stranger(port: u16, kind: SocketType) -> Result<OwnedFd, Errno> {
    stranger_at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), kind)
}

fn stranger_at(addr: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    // Children of other tests inherit none.
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &addr)?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, 16)?;
    }
    Ok(socket)
}

fn client(queues: &Queues) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, queues.port())).unwrap()
}

fn errno(error: &QueueError) -> Option<i32> {
    match error {
        QueueError::Bind(error) => error.errno(),
        _ => None,
    }
}

#[test]
fn whoever_is_first_makes_us_fail_even_with_so_reuseport() {
    let in_use = Some(Errno::ADDRINUSE.raw_os_error());
    for (kind, scheme) in [(SocketType::STREAM, ""), (SocketType::DGRAM, "udp:")] {
        let theirs = stranger(0, kind).unwrap();
        let port = SocketAddr::try_from(rustix::net::getsockname(&theirs).unwrap()).unwrap().port();
        for host in ["127.0.0.1", ""] {
            let error = open(&format!("{scheme}{host}:{port}")).err().unwrap();
            assert_eq!(errno(&error), in_use, "{scheme}{host}: {error}");
        }
    }
    let (queues, _) = group("127.0.0.1:0", 2);
    assert_eq!(errno(&open(&queues.addr().to_string()).err().unwrap()), in_use, "another group");
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, queues.port())).is_err());
}

#[test]
fn only_internet_addresses_have_groups() {
    assert!(matches!(open("unix:@clustr-net-queue").err(), Some(QueueError::Family(_))));
    assert!(matches!(open("fd:3").err(), Some(QueueError::Family(_))));
}

#[test]
fn a_queue_that_joins_gets_nobody_until_it_is_admitted() {
    let (mut queues, first) = open("127.0.0.1:0").unwrap();
    queues.admit(&[first]).unwrap();
    let second = queues.join(1).unwrap();
    let held: Vec<_> = (0..50).map(|_| client(&queues)).collect();
    assert_eq!((queues.waiting(first).unwrap(), queues.waiting(second).unwrap()), (50, 0));
    queues.admit(&[second]).unwrap();
    let more: Vec<_> = (0..50).map(|_| client(&queues)).collect();
    assert_eq!((queues.waiting(first).unwrap(), queues.waiting(second).unwrap()), (50, 50));
    queues.admit(&[]).unwrap();
    let still: Vec<_> = (0..10).map(|_| client(&queues)).collect();
    assert_eq!(queues.waiting(second).unwrap(), 60, "with nobody live the program before stays");
    drop((held, more, still));
}

#[test]
fn who_waits_in_a_queue_can_be_taken_out_for_others() {
    let (mut queues, ids) = group("127.0.0.1:0", 2);
    queues.admit(&ids[1..]).unwrap();
    let clients: Vec<_> = (0..10).map(|_| client(&queues)).collect();
    let mut acceptor = Queues::acceptor(ids[1], true);
    let taken: Vec<_> = std::iter::from_fn(|| queues.take(ids[1], &mut acceptor, Duration::ZERO)).collect();
    assert_eq!((taken.len(), queues.waiting(ids[1]).unwrap()), (clients.len(), 0));
    assert!(taken.iter().all(|one| one.listener == ids[1].number() && one.source.is_some()));
}

#[test]
fn a_removal_says_whom_it_costs_and_costs_nobody_else() {
    let (mut queues, ids) = group("127.0.0.1:0", 4);
    let clients: Vec<_> = (0..100).map(|_| client(&queues)).collect();
    let waiting = |queues: &Queues| ids.iter().map(|&id| queues.waiting(id).unwrap_or(0)).collect::<Vec<_>>();
    let before = waiting(&queues);
    assert_eq!(queues.remove(ids[1]).unwrap(), Removal::Closed { lost: before[1] });
    assert_eq!(waiting(&queues), [before[0], 0, before[2], before[3]]);
    assert!(matches!(queues.remove(ids[1]).err(), Some(QueueError::Unknown)));
    assert!(matches!(queues.admit(&[ids[1]]).err(), Some(QueueError::Unknown)));
    drop(clients);
}

#[test]
fn a_removal_takes_a_queue_out_whoever_still_holds_it() {
    let (mut queues, ids) = group("127.0.0.1:0", 3);
    let lent = queues.listener(ids[0]).unwrap().lend().unwrap();
    queues.remove(ids[0]).unwrap();
    assert!(queues.look().unwrap().is_empty());
    let _clients: Vec<_> = (0..40).map(|_| client(&queues)).collect();
    assert_eq!(queues.waiting(ids[1]).unwrap() + queues.waiting(ids[2]).unwrap(), 40);
    drop(lent);
}

#[test]
fn a_removal_waits_where_only_the_last_queue_could_be_filled() {
    let (mut queues, ids) = group("127.0.0.1:0", 3);
    queues.admit(&ids[2..]).unwrap();
    assert_eq!(queues.remove(ids[0]).unwrap(), Removal::Postponed);
    let _clients: Vec<_> = (0..20).map(|_| client(&queues)).collect();
    assert_eq!(queues.waiting(ids[2]).unwrap(), 20);
    assert_eq!(queues.mirror().count(), 3);
    queues.admit(&ids[1..]).unwrap();
    assert_eq!(queues.mirror().count(), 2);
    queues.admit(&ids[1..2]).unwrap();
    assert_eq!(queues.remove(ids[2]).unwrap(), Removal::Closed { lost: 20 });
    assert_eq!(queues.remove(ids[1]).unwrap(), Removal::Closed { lost: 0 });
    assert_eq!(queues.mirror().count(), 0);
}

#[test]
fn with_two_the_other_one_stays_filled_throughout() {
    let (mut queues, ids) = group("127.0.0.1:0", 2);
    queues.admit(&ids[1..]).unwrap();
    assert_eq!(queues.remove(ids[0]).unwrap(), Removal::Closed { lost: 0 });
    let _clients: Vec<_> = (0..20).map(|_| client(&queues)).collect();
    assert_eq!(queues.waiting(ids[1]).unwrap(), 20);
}

#[test]
fn a_stranger_that_joins_is_seen_and_gets_nobody() {
    let (mut queues, mut ids) = group("127.0.0.1:0", 3);
    assert!(queues.look().unwrap().is_empty());
    let theirs = stranger(queues.port(), SocketType::STREAM).unwrap();
    let seen = queues.look().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].inode, sock_diag::inode(&theirs).unwrap());
    assert_eq!(sock_diag::owner(seen[0].inode), Some(std::process::id()));
    ids.push(queues.join(3).unwrap());
    queues.admit(&ids).unwrap();
    queues.remove(ids.remove(0)).unwrap();
    let _clients: Vec<_> = (0..90).map(|_| client(&queues)).collect();
    assert_eq!(ids.iter().map(|&id| queues.waiting(id).unwrap()).sum::<u32>(), 90);
    assert!(ids.iter().all(|&id| queues.waiting(id).unwrap() > 0));
    drop(theirs);
    assert!(queues.look().unwrap().is_empty());
    let _clients: Vec<_> = (0..30).map(|_| client(&queues)).collect();
    assert_eq!(ids.iter().map(|&id| queues.waiting(id).unwrap()).sum::<u32>(), 120);
}

#[test]
fn a_stranger_that_the_kernel_prefers_for_one_address_is_a_neighbour_and_no_member() {
    for (ours, theirs) in [
        ("[::]:0", Ipv4Addr::LOCALHOST),
        ("[::]:0", Ipv4Addr::UNSPECIFIED),
        ("0.0.0.0:0", Ipv4Addr::LOCALHOST),
    ] {
        let (mut queues, mut ids) = group(ours, 3);
        assert!(queues.neighbours().unwrap().is_empty());
        let socket = stranger_at((theirs, queues.port()).into(), SocketType::STREAM).unwrap();
        let seen = queues.neighbours().unwrap();
        assert_eq!(
            seen.iter().map(|one| one.inode).collect::<Vec<_>>(),
            [sock_diag::inode(&socket).unwrap()],
            "{ours}"
        );
        // It is not in the array: what the mirror says of the others stays true.
        assert!(queues.look().unwrap().is_empty(), "{ours}");
        let _lost = client(&queues);
        assert_eq!(
            ids.iter().map(|&id| queues.waiting(id).unwrap()).sum::<u32>(),
            0,
            "the kernel prefers it"
        );
        ids.push(queues.join(3).unwrap());
        queues.admit(&ids).unwrap();
        drop(socket);
        assert!(queues.neighbours().unwrap().is_empty());
        let _clients: Vec<_> = (0..40).map(|_| client(&queues)).collect();
        assert_eq!(ids.iter().map(|&id| queues.waiting(id).unwrap()).sum::<u32>(), 40);
    }
}

#[test]
fn a_wider_address_takes_nobody_and_is_no_neighbour() {
    // Clients of other tests may have the same port on another address of the loopback, which a wildcard cannot join.
    let found = (0..50).find_map(|_| {
        let (queues, ids) = group("127.0.0.1:0", 2);
        let wide = (Ipv4Addr::UNSPECIFIED, queues.port()).into();
        Some((stranger_at(wide, SocketType::STREAM).ok()?, queues, ids))
    });
    let (_theirs, queues, ids) = found.unwrap();
    assert!(queues.neighbours().unwrap().is_empty());
    let _clients: Vec<_> = (0..20).map(|_| client(&queues)).collect();
    assert_eq!(ids.iter().map(|&id| queues.waiting(id).unwrap()).sum::<u32>(), 20);
}

#[test]
fn a_datagram_queue_that_another_process_holds_counts_as_a_stranger_when_it_is_closed() {
    let (mut queues, ids) = group("udp:127.0.0.1:0", 3);
    let lent = queues.listener(ids[0]).unwrap().lend().unwrap();
    queues.remove(ids[0]).unwrap();
    assert_eq!(queues.look().unwrap().len(), 1);
    queues.admit(&ids[1..]).unwrap();
    for _ in 0..40 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", (Ipv4Addr::LOCALHOST, queues.port())).unwrap();
    }
    let lent = UdpSocket::from(lent);
    assert_eq!(lent.recv(&mut [0; 4]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(lent);
    assert!(queues.look().unwrap().is_empty());
}

#[test]
fn a_handshake_of_a_withheld_queue_is_waited_for_and_answered() {
    let options = Options { defer_accept: Some(30), ..Options::default() };
    let (mut queues, first) = Queues::open(&"127.0.0.1:0".parse().unwrap(), options, PLAN, 0).unwrap();
    let second = queues.join(1).unwrap();
    queues.admit(&[first]).unwrap();
    let mut half = client(&queues);
    queues.admit(&[second]).unwrap();
    let listed = queues.half_open().unwrap();
    assert_eq!((listed.len(), queues.waiting(first).unwrap()), (1, 0));
    half.write_all(b"now").unwrap();
    let deadline = Deadline::new();
    while !queues.half_open().unwrap().is_disjoint(&listed) {
        deadline.check(|| "the handshake is still under way".into());
    }
    assert_eq!(queues.waiting(first).unwrap(), 1, "it stays with the queue that its SYN chose");
    let mut acceptor = Queues::acceptor(first, false);
    let taken = queues.take(first, &mut acceptor, Duration::ZERO).unwrap();
    assert_eq!(queues.remove(first).unwrap(), Removal::Closed { lost: 0 });
    let mut taken = TcpStream::from(taken.fd);
    let mut word = [0; 3];
    taken.read_exact(&mut word).unwrap();
    taken.write_all(b"!").unwrap();
    drop(taken);
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "!");
}

/// Answers everybody who waits in these queues, beside whoever changes them.
fn serve(lent: &Lent, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for (_, listener) in &*lent.lock().unwrap() {
            while let Ok((mut client, _)) = listener.accept() {
                client.write_all(b"!").unwrap();
            }
        }
    }
}

/// Connects until told to stop. Returns how many were answered, and who was not.
fn load(host: &str, port: u16, stop: &AtomicBool) -> (u32, Vec<String>) {
    let (mut answered, mut failed) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let mut byte = [0; 1];
        let asked = TcpStream::connect((host, port)).and_then(|mut client| {
            client.set_read_timeout(Some(PATIENCE))?;
            client.read_exact(&mut byte)
        });
        match asked {
            Ok(()) => answered += 1,
            Err(error) => failed.push(error.to_string()),
        }
    }
    (answered, failed)
}

type Lent = Mutex<Vec<(QueueId, TcpListener)>>;

fn lend(queues: &Queues, id: QueueId) -> (QueueId, TcpListener) {
    (id, TcpListener::from(queues.listener(id).unwrap().lend().unwrap()))
}

/// Replaces the oldest queue that is served: another joins, the old one is withheld, emptied and removed.
fn replace_one(queues: &mut Queues, lent: &Lent) -> Removal {
    let new = queues.join(9).unwrap();
    let live: Vec<QueueId> = {
        let mut lent = lent.lock().unwrap();
        lent.push(lend(queues, new));
        lent.iter().map(|(id, _)| *id).collect()
    };
    queues.admit(&live[1..]).unwrap();
    let listed = queues.half_open().unwrap();
    let deadline = Deadline::new();
    while queues.waiting(live[0]).unwrap() > 0 || !queues.half_open().unwrap().is_disjoint(&listed) {
        deadline.check(|| "the queue is not empty".into());
    }
    lent.lock().unwrap().remove(0);
    queues.remove(live[0]).unwrap()
}

#[test]
fn under_load_queues_come_and_go_and_nobody_is_refused_reset_or_sent_astray() {
    let (mut queues, ids) = group(":0", 6);
    let (idle, live) = ids.split_at(3);
    queues.admit(live).unwrap();
    let lent: Lent = Mutex::new(live.iter().map(|&id| lend(&queues, id)).collect());
    let (port, stop, over) = (queues.port(), AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&lent, &over));
        let hosts =
            if TcpListener::bind("[::1]:0").is_ok() { ["127.0.0.1", "::1"] } else { ["127.0.0.1"; 2] };
        let clients = hosts.map(|host| scope.spawn(|| load(host, port, &stop)));
        let (mut astray, mut removals) = (0, Vec::new());
        for _ in 0..60 {
            removals.push(replace_one(&mut queues, &lent));
            for &id in idle {
                let mut acceptor = Queues::acceptor(id, false);
                astray += std::iter::from_fn(|| queues.take(id, &mut acceptor, Duration::ZERO)).count();
            }
        }
        stop.store(true, Ordering::Relaxed);
        let done = clients.map(|client| client.join().unwrap());
        over.store(true, Ordering::Relaxed);
        assert_eq!(astray, 0, "clients came to withheld queues");
        assert!(removals.iter().all(|removal| *removal == Removal::Closed { lost: 0 }), "{removals:?}");
        for (answered, failed) in done {
            assert!(answered > 0 && failed.is_empty(), "{answered} answered, failed: {failed:?}");
        }
    });
}

#[derive(Clone, Debug)]
enum Change {
    Join,
    Remove(prop::sample::Index),
    Admit(Vec<bool>),
    StrangerJoins,
    StrangerLeaves,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        2 => Just(Change::Join),
        2 => any::<prop::sample::Index>().prop_map(Change::Remove),
        2 => proptest::collection::vec(any::<bool>(), 8).prop_map(Change::Admit),
        1 => Just(Change::StrangerJoins),
        1 => Just(Change::StrangerLeaves),
    ];
    proptest::collection::vec(change, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The mirror against the kernel: a program that returns one index, and where a client then arrives.
    #[test]
    fn the_kernel_puts_clients_where_the_mirror_says(changes in changes()) {
        let (mut queues, first) = open("127.0.0.1:0").unwrap();
        queues.admit(&[first]).unwrap();
        let mut strangers = Vec::new();
        for change in changes {
            let ids: Vec<_> = queues.queues().map(|(id, ..)| id).collect();
            match change {
                Change::Join if ids.len() < 8 => drop(queues.join(1).unwrap()),
                Change::Remove(which) if ids.len() > 1 => drop(queues.remove(ids[which.index(ids.len())]).unwrap()),
                Change::Admit(live) => {
                    let live: Vec<_> = ids.iter().zip(live).filter(|(_, live)| *live).map(|(id, _)| *id).collect();
                    queues.admit(&live).unwrap();
                }
                Change::StrangerJoins => strangers.push(stranger(queues.port(), SocketType::STREAM).unwrap()),
                Change::StrangerLeaves => drop(strangers.pop()),
                Change::Join | Change::Remove(_) => {}
            }
            prop_assert_eq!(queues.look().unwrap().len(), strangers.len());
        }
        let ids: Vec<_> = queues.queues().map(|(id, ..)| id).collect();
        for id in ids {
            let certain = queues.mirror().index(Member::Ours(id.number())).is_some();
            prop_assert!(certain || !strangers.is_empty(), "each change was looked at");
            if !certain {
                continue;
            }
            queues.admit(&[id]).unwrap();
            let before = queues.waiting(id).unwrap();
            let _client = client(&queues);
            prop_assert_eq!(queues.waiting(id).unwrap(), before + 1);
        }
    }
}

#[test]
fn a_queue_that_somebody_has_shut_down_listens_again_and_stands_where_the_kernel_puts_it() {
    for which in 0..4 {
        let (mut queues, ids) = group("127.0.0.1:0", 4);
        let (port, lent) = (queues.port(), queues.listener(ids[which]).unwrap().lend().unwrap());
        assert!(queues.revive().unwrap().is_empty());
        rustix::net::shutdown(&lent, rustix::net::Shutdown::Read).unwrap();
        assert_eq!(queues.revive().unwrap(), [ids[which]]);
        assert_eq!(
            (queues.port(), queues.mirror().members().last()),
            (port, Some(Member::Ours(ids[which].number())))
        );
        for &id in &ids {
            queues.admit(&[id]).unwrap();
            let before = queues.waiting(id).unwrap();
            let _client = client(&queues);
            assert_eq!(queues.waiting(id).unwrap(), before + 1, "{which}");
        }
    }
}

/// So many clients, each in the queue of somebody who may have it.
fn all_come_to(queues: &Queues, live: &[QueueId], clients: u32) {
    let waiting = |id: &QueueId| queues.waiting(*id).unwrap();
    let before: u32 = live.iter().map(waiting).sum();
    let _kept: Vec<TcpStream> = (0..clients).map(|_| client(queues)).collect();
    assert_eq!(live.iter().map(waiting).sum::<u32>(), before + clients);
}

#[test]
fn workers_that_shut_down_their_queues_as_they_leave_take_nobody_along_however_often() {
    for shutters in [&[0, 1, 2, 3][..], &[3, 1, 0, 2], &[2, 0], &[1, 2, 3]] {
        let (mut queues, mut old) = group("127.0.0.1:0", 4);
        for key in 0..6 {
            let new: Vec<QueueId> = (0..4).map(|_| queues.join(key).unwrap()).collect();
            queues.admit(&new).unwrap();
            for &which in shutters {
                rustix::net::shutdown(queues.listener(old[which]).unwrap(), rustix::net::Shutdown::Both)
                    .unwrap();
            }
            for id in &old {
                let removed = queues.remove(*id).unwrap();
                // Some kept their clients of the round before: nobody accepts here.
                assert!(matches!(removed, Removal::Closed { .. }), "{shutters:?}: {removed:?}");
            }
            assert_eq!(queues.queues().count(), 4);
            all_come_to(&queues, &new, 40);
            old = new;
        }
    }
}

#[test]
fn queues_that_were_shut_down_are_told_from_others_and_none_keeps_the_rest_from_listening() {
    let (mut queues, ids) = group("127.0.0.1:0", 4);
    for which in [2, 0] {
        rustix::net::shutdown(queues.listener(ids[which]).unwrap(), rustix::net::Shutdown::Both).unwrap();
    }
    // Nobody attaches a program through a queue that has left the group: it could never join again.
    queues.admit(&ids[1..2]).unwrap();
    assert_eq!(queues.revive().unwrap(), [ids[0], ids[2]]);
    queues.admit(&ids).unwrap();
    all_come_to(&queues, &ids, 40);
}

#[test]
fn the_only_queue_of_a_port_that_the_kernel_chose_keeps_the_port_when_it_is_shut_down() {
    let (mut queues, ids) = group("127.0.0.1:0", 1);
    let lent = queues.listener(ids[0]).unwrap().lend().unwrap();
    rustix::net::shutdown(&lent, rustix::net::Shutdown::Both).unwrap();
    assert_eq!(queues.revive().unwrap(), ids);
    let _client = client(&queues);
    assert_eq!(queues.waiting(ids[0]).unwrap(), 1);
}
