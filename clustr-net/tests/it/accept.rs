//! Accepting at the limit of descriptors: nobody is accepted to be closed, nothing leaks, and it goes on by itself.

use std::io::{Read, Write};
use std::iter::from_fn;
use std::net::TcpStream;
use std::time::Duration;

use clustr_net::accept::REST;
use clustr_net::{Acceptor, Connection, Listener, Options};

use crate::deadline::PATIENCE;
use crate::support::{alone, leave_room_for, open_descriptors};

const MS: Duration = Duration::from_millis(1);

#[test]
fn without_descriptors_a_listener_rests_and_everybody_is_accepted_later() {
    if !alone("accept::without_descriptors_a_listener_rests_and_everybody_is_accepted_later") {
        return;
    }
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), Options::default()).unwrap();
    let address = ("127.0.0.1", listener.port().unwrap());
    let before = open_descriptors();
    let mut clients: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
    let filler = leave_room_for(3);
    let mut acceptor = Acceptor::new(1, true);

    acceptor.begin_turn(MS);
    let mut accepted: Vec<Connection> = from_fn(|| acceptor.accept(&listener, MS)).collect();
    assert_eq!((accepted.len(), acceptor.rests_until()), (3, Some(MS + REST)), "the rest of them waits");
    acceptor.begin_turn(REST);
    assert!(
        acceptor.accept(&listener, REST).is_none() && !acceptor.is_cut_short(),
        "it rests without turning"
    );

    // One that is closed makes room for the next at once; then there is none again.
    answer(accepted.remove(0));
    acceptor.wake();
    let more: Vec<Connection> = from_fn(|| acceptor.accept(&listener, REST)).collect();
    assert_eq!((more.len(), acceptor.rests_until()), (1, Some(REST + REST)));

    // Nobody tells that there is room elsewhere: after its rest it sees by itself.
    drop(filler);
    assert!(acceptor.accept(&listener, REST).is_none());
    acceptor.begin_turn(REST * 2);
    let last: Vec<Connection> = from_fn(|| acceptor.accept(&listener, REST * 2)).collect();
    assert_eq!((last.len(), acceptor.rests_until(), acceptor.may_hold()), (6, None, false));
    accepted.into_iter().chain(more).chain(last).for_each(answer);
    clients.iter_mut().for_each(expect_answer);
    drop(clients);
    assert_eq!(open_descriptors(), before);
}

fn answer(connection: Connection) {
    assert!(connection.source.is_some_and(|ip| ip.is_loopback()));
    TcpStream::from(connection.fd).write_all(b"served").unwrap();
}

fn expect_answer(client: &mut TcpStream) {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "served");
}
