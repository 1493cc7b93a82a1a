//! How evenly a queue for each worker is filled, and who stays with whom.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use clustr_supervisor::config::Balance;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::deliveries::{ask, heard, kill, wait_for_all, wait_for_successors};
use crate::fixture::{DEADLINE, Primary};
use crate::queues::queued;

const CONNECTIONS: u32 = 4_000;
const WORKERS: u32 = 4;

/// How many connections each worker has answered, by its process.
type Shares = BTreeMap<String, u32>;

#[test]
fn connections_one_at_a_time_are_spread_evenly_by_hash() {
    is_spread_evenly(Balance::Hash, 1);
}

#[test]
fn connections_in_a_crowd_are_spread_evenly_by_hash() {
    is_spread_evenly(Balance::Hash, 32);
}

#[test]
fn connections_one_at_a_time_are_spread_evenly_by_chance() {
    is_spread_evenly(Balance::Random, 1);
}

#[test]
fn connections_in_a_crowd_are_spread_evenly_by_chance() {
    is_spread_evenly(Balance::Random, 32);
}

/// Each share is binomial, with a deviation of 27: one run in some thousand is beyond 100 by chance, three are not.
fn is_spread_evenly(balance: Balance, at_once: u32) {
    let unlike: Vec<Shares> =
        (0..3).map(|_| spread(balance, at_once)).take_while(|run| !is_even(run)).collect();
    assert!(unlike.len() < 3, "{unlike:?}");
}

fn is_even(shares: &Shares) -> bool {
    let even = CONNECTIONS / WORKERS;
    shares.len() == WORKERS as usize
        && shares.values().all(|count| (even * 9 / 10..=even * 11 / 10).contains(count))
}

fn spread(balance: Balance, at_once: u32) -> Shares {
    let primary = balanced(WORKERS, balance);
    let (address, pids) = (primary.address(), primary.pids());
    wait_for_all(address, &pids);
    let own_share = || (0..CONNECTIONS / at_once).map(|_| ask(address, "hello")).collect::<Vec<_>>();
    let answers: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..at_once).map(|_| scope.spawn(own_share)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let mut shares = Shares::new();
    answers.into_iter().for_each(|pid| *shares.entry(pid).or_default() += 1);
    shares
}

fn balanced(workers: u32, balance: Balance) -> Primary {
    Primary::start_with(workers, |config| {
        queued(config);
        config.balance = balance;
    })
}

#[test]
fn a_client_address_stays_with_its_worker_while_another_is_killed_and_replaced() {
    let primary = balanced(3, Balance::Sticky);
    let (address, pids) = (primary.address(), primary.pids());
    let before = homes(address);
    assert_eq!(before, homes(address), "clients move without a reason");
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 3, "not every worker has a client: {before:?}");
    kill(pids[1]);
    let dead = pids[1].to_string();
    let during = homes(address);
    let pids = wait_for_successors(&primary, &pids);
    let (successor, after) = (pids[1].to_string(), homes(address));
    for (place, home) in before.iter().enumerate() {
        if *home == dead {
            assert_eq!(after[place], successor, "client {place} did not return to its slot");
        } else {
            assert_eq!((&during[place], &after[place]), (home, home), "client {place} moved");
        }
    }
}

/// Who answers each of 24 client addresses.
fn homes(address: SocketAddr) -> Vec<String> {
    (1..=24).map(|last| heard(from(Ipv4Addr::new(127, 0, 0, last), address))).collect()
}

fn from(own: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from((own, 0))).unwrap();
    connect(&socket, &address).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"hello").unwrap();
    stream
}
