//! The kernel's list of sockets.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use clustr_net::{Kind, Listener, Options, sock_diag};

use crate::deadline::Deadline;

#[test]
fn a_listener_is_listed_with_its_inode_its_owner_and_its_queue() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), Options::default()).unwrap();
    let port = listener.port().unwrap();
    let _clients: Vec<_> = (0..3).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()).collect();
    let found = sock_diag::listening(Kind::Stream, port).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].inode, sock_diag::inode(&listener).unwrap());
    assert_eq!((found[0].waiting, found[0].uid), (3, rustix::process::getuid().as_raw()));
    assert_eq!(Some(found[0].addr), listener.local_addr().socket_addr());
    assert_eq!(sock_diag::owner(found[0].inode), Some(std::process::id()));
    drop(listener);
    assert!(sock_diag::listening(Kind::Stream, port).unwrap().is_empty());
}

#[test]
fn both_families_and_datagrams_are_listed() {
    let six = TcpListener::bind("[::1]:0").unwrap();
    let found = sock_diag::listening(Kind::Stream, six.local_addr().unwrap().port()).unwrap();
    assert_eq!(found.iter().map(|one| one.addr).collect::<Vec<_>>(), [six.local_addr().unwrap()]);
    let only = Options { v6_only: true, ..Options::default() };
    let only = Listener::bind(&"[::1]:0".parse().unwrap(), only).unwrap();
    assert!(sock_diag::listening(Kind::Stream, only.port().unwrap()).unwrap()[0].v6_only);
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = datagrams.local_addr().unwrap().port();
    assert_eq!(sock_diag::listening(Kind::Datagram, port).unwrap().len(), 1);
    assert!(
        sock_diag::listening(Kind::Stream, port)
            .unwrap()
            .iter()
            .all(|one| one.addr.ip() != Ipv4Addr::LOCALHOST)
    );
}

#[test]
fn a_handshake_that_waits_for_the_clients_word_is_half_open() {
    let options = Options { defer_accept: Some(30), ..Options::default() };
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), options).unwrap();
    let port = listener.port().unwrap();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let half = sock_diag::half_open(port).unwrap();
    let remotes: Vec<_> = half.iter().map(|one| one.remote).collect();
    assert_eq!(remotes, [client.local_addr().unwrap()]);
    client.write_all(b"now").unwrap();
    let deadline = Deadline::new();
    while !sock_diag::half_open(port).unwrap().is_disjoint(&half) {
        deadline.check(|| "the handshake is still half-open".into());
    }
    assert_eq!(sock_diag::listening(Kind::Stream, port).unwrap()[0].waiting, 1);
}

#[test]
fn a_connection_is_established_once_somebody_has_accepted_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    assert_eq!(sock_diag::established(port).unwrap(), [0; 0]);
    let (accepted, _) = listener.accept().unwrap();
    assert_eq!(sock_diag::established(port).unwrap(), [sock_diag::inode(&accepted).unwrap()]);
    drop(accepted);
    assert_eq!(sock_diag::established(port).unwrap(), [0; 0]);
}
