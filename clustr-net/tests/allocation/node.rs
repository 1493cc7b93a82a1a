//! The whole way of a connection to a worker that speaks node's protocol, as a primary's loop goes it.

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use clustr_net::node::{Endpoint, Said, Window};
use clustr_net::{Acceptor, Balance, Balancer, Candidate, Listener, Options, scm};

use crate::sys;

const BATCH: u32 = 16;

/// A worker as node would be, which allocates nothing itself.
struct Worker {
    socket: OwnedFd,
    fds: Vec<OwnedFd>,
    seq: u64,
}

impl Worker {
    /// Takes one connection, says so, and closes it.
    fn serve(&mut self, ack: u64) {
        let mut line = [0; 256];
        let received = scm::recv(&self.socket, &mut line, &mut self.fds).unwrap();
        assert!(line[..received.bytes].ends_with(b"}}\n") && self.fds.len() == 1);
        let mut words = [0; 256];
        let mut rest = &mut words[..];
        write!(rest, "{{\"cmd\":\"NODE_HANDLE_ACK\"}}\n{{\"cmd\":\"NODE_CLUSTER\",").unwrap();
        writeln!(rest, "\"ack\":{ack},\"accepted\":true,\"seq\":{}}}", self.seq).unwrap();
        let left = rest.len();
        scm::send(&self.socket, &words[..words.len() - left], &[]).unwrap();
        self.fds.clear();
        self.seq += 1;
    }
}

#[test]
fn a_connection_for_node_allocates_nothing_in_the_primary() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), Options::default()).unwrap();
    let address = ("127.0.0.1".parse::<std::net::Ipv4Addr>().unwrap(), listener.port().unwrap());
    let (mut endpoint, theirs) = Endpoint::pair().unwrap();
    let mut worker = Worker { socket: theirs, fds: Vec::with_capacity(1), seq: 0 };
    let (mut acceptor, mut balancer) = (Acceptor::new(1, true), Balancer::new(Balance::RoundRobin));
    let mut window = Window::default();
    let (mut clients, mut said) = (Vec::with_capacity(BATCH as usize), Vec::new());
    let mut now = Duration::ZERO;
    let mut turn = || {
        clients.clear();
        now += Duration::from_millis(1);
        acceptor.begin_turn(now);
        acceptor.notice();
        let mut first = None;
        for number in 0..BATCH {
            clients.push(TcpStream::connect(address).unwrap());
            let connection = acceptor.accept(&listener, now).unwrap();
            // Now and then one of them is full, and has its turn later.
            let has_room = |slot| slot == 0 || number % 4 != 0;
            let candidates =
                [0, 1, 2].map(|slot| Candidate { slot, load: window.unanswered(), has_room: has_room(slot) });
            balancer.choose(&candidates, connection.source).unwrap();
            let seq = endpoint.hand_over("1", connection).unwrap();
            window.sent(now);
            first = first.or(Some(seq));
        }
        (first.unwrap()..).take(BATCH as usize).for_each(|ack| worker.serve(ack));
        let _ = endpoint.receive(64, &mut said).unwrap();
        for word in said.drain(..) {
            assert!(matches!(word, Said::Accepted { .. }), "{word:?}");
            window.accepted(now);
        }
        assert_eq!((endpoint.unanswered(), window.unanswered()), (0, 0));
    };
    (0..3).for_each(|_| turn());
    let before = sys::allocations();
    (0..50).for_each(|_| turn());
    assert_eq!(sys::allocations() - before, 0, "for {} connections", 50 * BATCH);
}
