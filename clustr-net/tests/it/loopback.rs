//! Connections of our own to a worker: made without waiting, and gone without a trace.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use clustr_net::loopback::{self, Pair};
use clustr_net::steer::ProbePorts;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::deadline::PATIENCE;

fn wait_for(source: impl AsFd, flags: PollFlags) {
    let patience = Timespec { tv_sec: PATIENCE.as_secs().try_into().unwrap(), tv_nsec: 0 };
    let mut fds = [PollFd::new(&source, flags)];
    assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1);
}

fn stream(fd: OwnedFd) -> TcpStream {
    let stream = TcpStream::from(fd);
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A source port outside of what clients get.
fn source_port() -> u16 {
    ProbePorts::outside((32_768, 60_999), 4_000).unwrap().first
        + u16::try_from(std::process::id() % 3_000).unwrap()
}

#[test]
fn what_is_said_at_one_end_of_a_pair_is_heard_at_the_other() {
    let pair = Pair::begin().unwrap();
    wait_for(&pair, PollFlags::IN);
    let mut theirs = stream(pair.accept().unwrap().unwrap());
    assert!(pair.accept().unwrap().is_none());
    let mut ours = stream(pair.into_client());
    ours.write_all(b"hello").unwrap();
    drop(ours);
    let mut text = String::new();
    theirs.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn a_stranger_that_comes_to_a_pairs_listener_is_not_taken_for_our_end() {
    let pair = Pair::begin().unwrap();
    let address: SocketAddr = rustix::net::getsockname(&pair).unwrap().try_into().unwrap();
    let mut stranger = TcpStream::connect(address).unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    wait_for(&pair, PollFlags::IN);
    let theirs = stream(pair.accept().unwrap().unwrap());
    let ours = stream(pair.into_client());
    assert_eq!(theirs.peer_addr().unwrap(), ours.local_addr().unwrap());
    // Its connection ends with the listener, one way or the other.
    assert!(matches!(stranger.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn one_source_port_can_be_used_again_at_once_whoever_closes_first() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let port = source_port();
    for round in 0..60 {
        let ours = loopback::connect(to, Some(port)).unwrap();
        wait_for(&ours, PollFlags::OUT);
        assert!(loopback::failure(&ours).is_none(), "round {round}");
        let (theirs, from) = listener.accept().unwrap();
        assert_eq!(from.port(), port);
        if round % 2 == 0 {
            drop(theirs);
            wait_for(&ours, PollFlags::IN);
            drop(ours);
        } else {
            loopback::reset(ours);
        }
    }
}

#[test]
fn all_addresses_are_reached_on_the_loopback_one() {
    for all in ["0.0.0.0:0", "[::]:0"] {
        let listener = TcpListener::bind(all).unwrap();
        let ours = loopback::connect(listener.local_addr().unwrap(), None).unwrap();
        wait_for(&ours, PollFlags::OUT);
        assert!(loopback::failure(&ours).is_none());
        assert!(listener.accept().unwrap().1.ip().is_loopback());
    }
}

#[test]
fn that_nobody_listens_is_known_when_the_kernel_says_so() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    match loopback::connect(nobody, None) {
        Ok(ours) => {
            wait_for(&ours, PollFlags::OUT);
            assert!(loopback::failure(&ours).is_some());
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused),
    }
}
