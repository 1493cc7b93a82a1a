//! Steering programs: their text, what an interpreter makes of them, and that the kernel agrees.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

use clustr_net::queue::{self, QueueId, Queues};
use clustr_net::steer::{Plan, ProbePorts, Program, Steer, Target};
use clustr_net::{Addr, Options};
use proptest::prelude::*;
use rustix::net::{AddressFamily, SocketType};

use crate::bpf::{Packet, run};

const SEED: u32 = 0x5eed_1234;
const TCP: u8 = 6;
const WAYS: [Steer; 4] = [Steer::Hash, Steer::Random, Steer::Cpu, Steer::Sticky];

fn targets(indexes: &[u16]) -> Vec<Target> {
    indexes.iter().map(|&index| Target { index, key: index.into() }).collect()
}

fn compile(steer: Steer, live: &[Target], probes: Option<ProbePorts>) -> Program {
    Program::compile(&Plan { steer, live, seed: SEED, probes }).unwrap()
}

fn v4(last: u32, port: u16) -> SocketAddr {
    (Ipv4Addr::from(0x7f00_0000 + last), port).into()
}

/// A client on a chosen loopback address, and if need be a chosen port.
fn connect_from(source: SocketAddr, to: SocketAddr) -> (TcpStream, SocketAddr) {
    let family = if source.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(&socket, &source).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    let client = TcpStream::from(socket);
    let source = client.local_addr().unwrap();
    (client, source)
}

/// A group of so many queues, all live unless told otherwise.
fn group(addr: &str, steer: Steer, count: u32, probes: Option<ProbePorts>) -> (Queues, Vec<QueueId>) {
    let plan = queue::Plan { steer, seed: SEED, probes };
    let (mut queues, first) = Queues::open(&addr.parse().unwrap(), Options::default(), plan, 0).unwrap();
    let mut ids = vec![first];
    ids.extend((1..count).map(|key| queues.join(key).unwrap()));
    queues.admit(&ids).unwrap();
    (queues, ids)
}

/// Which queue has the one client that waits; it is taken out.
fn arrival(queues: &Queues, ids: &[QueueId]) -> QueueId {
    arrival_of(queues, ids, false)
}

fn arrival_of(queues: &Queues, ids: &[QueueId], is_probe: bool) -> QueueId {
    let holds: Vec<_> = ids.iter().copied().filter(|&id| queues.waiting(id).unwrap() > 0).collect();
    assert_eq!(holds.len(), 1, "one client waits in one queue");
    let mut acceptor = Queues::acceptor(holds[0], false);
    let taken = queues.take(holds[0], &mut acceptor, std::time::Duration::ZERO);
    assert_eq!(taken.is_none(), is_probe, "a probe is nobody else's");
    assert_eq!(queues.waiting(holds[0]).unwrap(), 0);
    holds[0]
}

fn reach(queues: &Queues, ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, queues.port())
}

#[test]
fn programs_are_as_they_were_agreed_upon() {
    let probes = Some(ProbePorts { first: 61000, count: 4 });
    let mut text = String::new();
    for (steer, live, probes) in [
        (Steer::Hash, &[0, 1, 2, 3][..], None),
        (Steer::Hash, &[0, 2, 3, 7], probes),
        (Steer::Random, &[0, 1, 3], None),
        (Steer::Cpu, &[1], None),
        (Steer::Sticky, &[2], None),
    ] {
        text += &format!("; {steer} over {live:?}, probes: {}\n", probes.is_some());
        text += &compile(steer, &targets(live), probes).to_string();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/steer.golden.txt");
    if std::env::var_os("CLUSTR_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap(), "CLUSTR_BLESS=1 writes it anew");
}

proptest! {
    #[test]
    fn no_program_returns_what_is_withheld(
        live in proptest::collection::btree_set(0_u16..600, 1..80),
        way in 0_usize..4,
        ip in prop_oneof![any::<u32>().prop_map(|ip| IpAddr::V4(ip.into())), any::<u128>().prop_map(|ip| IpAddr::V6(ip.into()))],
        (port, cpu, random, protocol, options) in (any::<u16>(), any::<u32>(), any::<u32>(), any::<u8>(), 0_u8..=10),
    ) {
        let live: Vec<u16> = live.into_iter().collect();
        let program = compile(WAYS[way], &targets(&live), None);
        let mut packet = Packet::from((ip, port).into(), protocol);
        if ip.is_ipv4() {
            packet = packet.with_v4_options(options);
        }
        (packet.cpu, packet.random) = (cpu, random);
        let chosen = run(&program, &packet);
        prop_assert!(live.iter().any(|&index| u32::from(index) == chosen), "{}", chosen);
    }

    #[test]
    fn a_probe_reaches_its_index_and_only_from_a_loopback_address(
        way in 0_usize..4, index in 0_u16..8, ip in any::<u32>(), six in any::<bool>(), options in 0_u8..=10,
    ) {
        let ports = ProbePorts { first: 61000, count: 8 };
        let program = compile(WAYS[way], &targets(&[9]), Some(ports));
        let port = ports.port(index).unwrap();
        let home = if six { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { Ipv4Addr::from(ip & 0xff_ffff | 0x7f00_0000).into() };
        let packet = |source: IpAddr, port| {
            let packet = Packet::from((source, port).into(), TCP);
            if source.is_ipv4() { packet.with_v4_options(options) } else { packet }
        };
        prop_assert_eq!(run(&program, &packet(home, port)), u32::from(index));
        prop_assert_eq!(run(&program, &packet(home, ports.first - 1)), 9);
        prop_assert_eq!(run(&program, &packet(home, ports.first + 8)), 9);
        let away: IpAddr = if six { Ipv6Addr::from(1 << 96 | 1).into() } else { Ipv4Addr::new(128, 0, 0, 1).into() };
        prop_assert_eq!(run(&program, &packet(away, port)), 9);
    }

    #[test]
    fn sticky_moves_only_clients_of_the_queue_that_left(live in proptest::collection::btree_set(0_u16..64, 2..20), leaving in any::<prop::sample::Index>()) {
        let live: Vec<u16> = live.into_iter().collect();
        let leaving = live[leaving.index(live.len())];
        let left: Vec<u16> = live.iter().copied().filter(|&index| index != leaving).collect();
        let (before, after) = (compile(Steer::Sticky, &targets(&live), None), compile(Steer::Sticky, &targets(&left), None));
        for client in 0..200_u32 {
            let packet = |port| Packet::from((Ipv4Addr::from(0x0a00_0000 + client * 7), port).into(), TCP);
            let home = run(&before, &packet(1));
            prop_assert_eq!(home, run(&before, &packet(2)), "whatever the port");
            if home != u32::from(leaving) {
                prop_assert_eq!(home, run(&after, &packet(3)));
            }
        }
    }
}

#[test]
fn sticky_gives_every_queue_its_share_of_addresses() {
    for families in [4, 6] {
        let program = compile(Steer::Sticky, &targets(&[0, 1, 2, 3]), None);
        let mut counts = [0_u32; 4];
        for client in 0..8_000_u32 {
            let source: IpAddr = match families {
                4 => Ipv4Addr::from(0xc0a8_0000 + client).into(),
                _ => Ipv6Addr::from((0x2001_0db8_u128 << 96) + (u128::from(client) << 64)).into(),
            };
            counts[run(&program, &Packet::from((source, 1).into(), TCP)) as usize] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff(2_000) < 400), "{counts:?}");
    }
}

/// Connects from many places, and compares the queue with the interpreter's word.
fn agrees(addr: &str, steer: Steer, to: IpAddr, sources: impl Iterator<Item = SocketAddr>) {
    let (queues, ids) = group(addr, steer, 5, None);
    let program = queues.program().unwrap();
    for source in sources {
        let (_client, source) = connect_from(source, reach(&queues, to));
        let expected = run(&program, &Packet::from(source, TCP));
        assert_eq!(arrival(&queues, &ids), ids[expected as usize], "{steer} from {source}");
    }
}

#[test]
fn the_kernel_agrees_with_the_interpreter() {
    let four = || (1..200).map(|n| v4(n * 977, 0));
    let six = || (0..100).map(|_| SocketAddr::from((Ipv6Addr::LOCALHOST, 0)));
    for steer in [Steer::Hash, Steer::Sticky] {
        agrees("127.0.0.1:0", steer, Ipv4Addr::LOCALHOST.into(), four());
        agrees("[::1]:0", steer, Ipv6Addr::LOCALHOST.into(), six());
        agrees(":0", steer, Ipv4Addr::LOCALHOST.into(), four());
        agrees(":0", steer, Ipv6Addr::LOCALHOST.into(), six());
    }
}

#[test]
fn the_kernel_takes_programs_of_many_queues_with_gaps_between_them() {
    for steer in WAYS {
        let (mut queues, ids) =
            group("127.0.0.1:0", steer, 64, Some(ProbePorts { first: 61_800, count: 64 }));
        let live: Vec<_> = ids.iter().copied().step_by(2).collect();
        queues.admit(&live).unwrap();
        let program = queues.program().unwrap();
        for n in 1..40 {
            let (_client, source) = connect_from(v4(n * 977, 0), reach(&queues, Ipv4Addr::LOCALHOST.into()));
            let arrived = arrival(&queues, &ids);
            assert!(live.contains(&arrived));
            if matches!(steer, Steer::Hash | Steer::Sticky) {
                assert_eq!(arrived, ids[run(&program, &Packet::from(source, TCP)) as usize]);
            }
        }
    }
}

#[test]
fn the_kernel_agrees_about_datagrams() {
    for (addr, to, sources) in [
        (
            "udp:127.0.0.1:0",
            IpAddr::from(Ipv4Addr::LOCALHOST),
            (1..60).map(|n| v4(n * 977, 0)).collect::<Vec<_>>(),
        ),
        ("udp:[::1]:0", Ipv6Addr::LOCALHOST.into(), vec![(Ipv6Addr::LOCALHOST, 0).into(); 60]),
    ] {
        let (queues, ids) = group(addr, Steer::Hash, 3, None);
        let program = queues.program().unwrap();
        for source in sources {
            let client = UdpSocket::bind(source).unwrap();
            client.send_to(b"x", reach(&queues, to)).unwrap();
            let expected = run(&program, &Packet::from(client.local_addr().unwrap(), 17)) as usize;
            let holds: Vec<_> = ids.iter().map(|&id| queues.waiting(id).unwrap()).collect();
            assert_eq!((holds[expected], holds.iter().sum::<u32>()), (1, 1), "{holds:?}");
            let socket = UdpSocket::from(queues.listener(ids[expected]).unwrap().lend().unwrap());
            socket.recv(&mut [0; 4]).unwrap();
        }
    }
}

/// How many of 4,000 connections come to each of four queues. The clients' ports are fixed, so that a hash has no chance.
fn spread(steer: Steer) -> [u32; 4] {
    let (queues, ids) = group("127.0.0.1:0", steer, 4, None);
    let mut counts = [0; 4];
    for n in 0..4_000 {
        let source = v4(1 + n % 50, 20_000 + u16::try_from(n / 50).unwrap());
        let (_client, _) = connect_from(source, reach(&queues, Ipv4Addr::LOCALHOST.into()));
        let queue = arrival(&queues, &ids);
        counts[ids.iter().position(|&id| id == queue).unwrap()] += 1;
    }
    counts
}

#[test]
fn four_thousand_connections_are_spread_within_a_tenth_of_even() {
    let is_even = |counts: [u32; 4]| counts.iter().all(|count| count.abs_diff(1_000) <= 100);
    assert!(is_even(spread(Steer::Hash)));
    // A tenth is 3.7 standard deviations: one run in a thousand is off by chance alone, three in a row never are.
    assert!((0..3).any(|_| is_even(spread(Steer::Random))));
}

#[test]
fn sticky_clients_stay_when_another_queue_is_withheld_or_removed() {
    let (mut queues, ids) = group("127.0.0.1:0", Steer::Sticky, 4, None);
    let homes = |queues: &Queues| -> Vec<QueueId> {
        let connect =
            |n: u32| drop(connect_from(v4(n * 31 + 1, 0), reach(queues, Ipv4Addr::LOCALHOST.into())));
        (0..100)
            .map(|n| (connect(n), arrival(queues, &queues.queues().map(|(id, ..)| id).collect::<Vec<_>>())).1)
            .collect()
    };
    let before = homes(&queues);
    assert_eq!(before, homes(&queues));
    assert!(ids.iter().all(|id| before.contains(id)));
    queues.admit(&[ids[0], ids[2], ids[3]]).unwrap();
    let withheld = homes(&queues);
    queues.remove(ids[1]).unwrap();
    let removed = homes(&queues);
    for (place, home) in before.iter().enumerate().filter(|(_, home)| **home != ids[1]) {
        assert_eq!((withheld[place], removed[place]), (*home, *home));
    }
    assert_eq!(withheld, removed);
}

#[test]
fn a_probe_reaches_a_withheld_queue_and_nobody_else_does() {
    let ports = ProbePorts { first: 61_900, count: 8 };
    for (addr, home) in
        [("127.0.0.1:0", IpAddr::from(Ipv4Addr::LOCALHOST)), ("[::1]:0", Ipv6Addr::LOCALHOST.into())]
    {
        let (mut queues, ids) = group(addr, Steer::Hash, 4, Some(ports));
        queues.admit(&[ids[0], ids[1]]).unwrap();
        for &id in &ids {
            let port = queues.probe_port(id).unwrap();
            let (_probe, _) = connect_from(SocketAddr::new(home, port), reach(&queues, home));
            assert_eq!(arrival_of(&queues, &ids, true), id);
        }
        for _ in 0..50 {
            let (_client, _) = connect_from(SocketAddr::new(home, 0), reach(&queues, home));
            assert!(ids[..2].contains(&arrival(&queues, &ids)));
        }
    }
}

#[test]
fn the_address_of_a_group_is_known() {
    let (queues, _) = group("127.0.0.1:0", Steer::Cpu, 2, None);
    assert!(matches!(queues.addr(), Addr::Tcp { port, .. } if *port == queues.port()));
}
