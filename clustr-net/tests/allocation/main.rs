//! What a connection costs in memory: nothing, once the first ones have passed.
//!
//! A program of its own, because it counts every allocation.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

#[cfg(feature = "node")]
mod node;
#[allow(unsafe_code)]
mod sys;

use std::net::{TcpListener, TcpStream};

use clustr_net::FdChannel;
use clustr_net::handoff::{Family, Handover, Sender};
use clustr_net::worker::{Heard, Worker};

const BATCH: usize = 16;

#[test]
fn a_connection_allocates_nothing_on_either_side() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (ours, theirs) = FdChannel::pair().unwrap();
    let mut sender = Sender::new(ours, &[("http", Family::Tcp)]).unwrap();
    let mut worker = Worker::new(Some(theirs), Vec::new()).unwrap();
    let mut clients = Vec::with_capacity(BATCH);
    let mut said = Vec::new();
    // The worker's first words are its credits.
    let _ = sender.receive(64, &mut said).unwrap();
    let mut turn = || {
        clients.clear();
        for _ in 0..BATCH {
            clients.push(TcpStream::connect(addr).unwrap());
            let (connection, _) = listener.accept().unwrap();
            sender.offer(Handover { fd: connection.into(), listener: 0 }).unwrap();
        }
        sender.flush().unwrap();
        while let Some(heard) = worker.try_next().unwrap() {
            assert!(matches!(heard, Heard::Connection(_)));
        }
        let _ = sender.receive(64, &mut said).unwrap();
        assert_eq!((sender.unacked(), sender.open(), said.len()), (0, 0, 0));
    };
    (0..3).for_each(|_| turn());
    let before = sys::allocations();
    (0..50).for_each(|_| turn());
    assert_eq!(sys::allocations() - before, 0, "for {} connections", 50 * BATCH);
}
