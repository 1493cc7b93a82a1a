//! Who shares which listener, without a process.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use clustr_net::node::{Decoder, Fate, Message, Query, Table};
use clustr_net::{Kind, Listener, Options};

use crate::deadline::Deadline;
use crate::support::{alone, open_descriptors};

/// A query with these fields.
fn query(fields: &str) -> Query {
    let mut decoder = Decoder::default();
    decoder.push(
        format!("{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"seq\":1,{fields}}}\n").as_bytes(),
    );
    let Some(Message::QueryServer(query)) = decoder.decode() else { panic!("{fields}") };
    query
}

fn tcp(port: u16, index: u32) -> Query {
    query(&format!("\"address\":\"127.0.0.1\",\"port\":{port},\"addressType\":4,\"index\":{index}"))
}

fn udp(port: u16, index: u32, flags: u32) -> Query {
    query(&format!(
        "\"address\":\"127.0.0.1\",\"port\":{port},\"addressType\":\"udp4\",\"index\":{index},\"flags\":{flags}"
    ))
}

/// The port and key that a worker is given, or the errno.
fn ask(table: &mut Table, worker: u64, query: &Query) -> Result<(u16, String), i32> {
    let answer = table.answer(worker, query);
    match answer.fd {
        Some(fd) => {
            let listener = Listener::adopt(fd.try_clone_to_owned().unwrap()).unwrap();
            assert_eq!(answer.errno, 0);
            Ok((listener.port().unwrap_or(0), answer.key.into_owned()))
        }
        None => Err(answer.errno),
    }
}

fn count(table: &Table) -> usize {
    table.listeners().count()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn equal_queries_share_and_port_zero_is_shared_by_index() {
    let mut table = Table::new(Vec::new());
    let first = ask(&mut table, 1, &tcp(0, 0)).unwrap();
    let second = ask(&mut table, 1, &tcp(0, 1)).unwrap();
    assert_ne!(first, second);
    assert_eq!(ask(&mut table, 2, &tcp(0, 0)), Ok(first));
    assert_eq!(ask(&mut table, 2, &tcp(0, 1)), Ok(second));
    assert_eq!(count(&table), 2);
}

#[test]
fn one_worker_cannot_have_one_port_twice_whatever_the_index_says() {
    let (mut table, port) = (Table::new(Vec::new()), free_port());
    let (_, key) = ask(&mut table, 1, &tcp(port, 0)).unwrap();
    assert_eq!(ask(&mut table, 1, &tcp(port, 1)), Err(-98));
    // Node counts failed tries, so the next try has index 2: it must work once the first is closed.
    table.closed(1, &key);
    assert!(ask(&mut table, 1, &tcp(port, 2)).is_ok());
    assert!(ask(&mut table, 2, &tcp(port, 0)).is_ok(), "shared with a worker that never failed");
    assert_eq!(count(&table), 1);
}

#[test]
fn a_refusal_is_forgotten() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut table, port) = (Table::new(Vec::new()), taken.local_addr().unwrap().port());
    for _ in 0..3 {
        assert_eq!(ask(&mut table, 1, &tcp(port, 0)), Err(-98));
    }
    drop(taken);
    assert_eq!(ask(&mut table, 1, &tcp(port, 3)).unwrap().0, port);
}

#[test]
fn a_listener_closes_with_the_last_worker_that_closes_it_and_survives_those_that_vanish() {
    let mut table = Table::new(Vec::new());
    let (port, key) = ask(&mut table, 1, &tcp(0, 0)).unwrap();
    ask(&mut table, 2, &tcp(0, 0)).unwrap();
    table.closed(1, &key);
    table.closed(1, &key);
    table.closed(3, &key);
    table.closed(2, "no such key");
    assert_eq!(count(&table), 1, "worker 2 still has it");
    table.gone(2, Fate::Keep);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "clients wait for a successor");
    assert_eq!(ask(&mut table, 4, &tcp(0, 0)).unwrap().0, port);
    table.gone(4, Fate::Release);
    assert_eq!(count(&table), 0);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn what_nobody_holds_is_closed_when_that_is_asked_for() {
    let mut table = Table::new(Vec::new());
    ask(&mut table, 1, &tcp(0, 0)).unwrap();
    let (port, _) = ask(&mut table, 1, &tcp(0, 1)).unwrap();
    ask(&mut table, 2, &tcp(0, 0)).unwrap();
    table.gone(1, Fate::Keep);
    let closed: Vec<_> = table.close_idle().iter().map(ToString::to_string).collect();
    assert_eq!((closed, count(&table)), (vec![format!("127.0.0.1:{port}")], 1));
}

#[test]
fn what_a_worker_left_and_nobody_asked_for_since_is_let_go() {
    let mut table = Table::new(Vec::new());
    let (wanted, key) = ask(&mut table, 1, &tcp(0, 0)).unwrap();
    ask(&mut table, 1, &tcp(0, 1)).unwrap();
    assert!(table.holds(1, &key) && !table.holds(2, &key));
    assert!(table.gone(1, Fate::Keep).left, "it left both");
    assert!(!table.gone(1, Fate::Keep).left, "and is gone");
    assert_eq!(ask(&mut table, 2, &tcp(0, 0)).unwrap().0, wanted);
    table.release(1);
    let left: Vec<_> = table.listeners().map(Listener::port).collect();
    assert_eq!(left, [Some(wanted)], "its successor has taken up one");
}

#[test]
fn listeners_that_nobody_holds_make_room_for_those_that_are_asked_for() {
    let mut table = Table::new(Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let path = |number: u32| {
        let path = folder.path().join(number.to_string());
        query(&format!("\"address\":\"{}\",\"port\":-1,\"addressType\":-1,\"index\":0", path.display()))
    };
    for number in 0..1_024 {
        ask(&mut table, 1, &path(number)).unwrap();
    }
    assert_eq!(ask(&mut table, 1, &path(9_999)), Err(-24), "all are held");
    table.gone(1, Fate::Keep);
    assert!(ask(&mut table, 2, &path(9_999)).is_ok());
    assert_eq!(count(&table), 1_024);
}

#[test]
fn a_listener_that_was_given_answers_for_its_address_and_is_closed_by_nobody() {
    let mut table = Table::new(Vec::new());
    table.give(Listener::bind(&":0".parse().unwrap(), Options::default()).unwrap());
    let port = table.listeners().next().unwrap().port().unwrap();
    let any = query(&format!("\"address\":null,\"port\":{port},\"addressType\":4,\"index\":0"));
    let (given, key) = ask(&mut table, 1, &any).unwrap();
    assert_eq!(given, port);
    assert_eq!(ask(&mut table, 1, &any), Err(-98));
    table.closed(1, &key);
    table.gone(1, Fate::Release);
    assert!(table.close_idle().is_empty());
    assert_eq!(ask(&mut table, 1, &any).unwrap().0, port);
}

#[test]
fn what_closes_says_how_many_wait_in_it_and_is_held_until_its_last_worker_is_gone() {
    let mut table = Table::new(Vec::new());
    let (port, key) = ask(&mut table, 1, &tcp(0, 0)).unwrap();
    let number = table.number_of(&key).unwrap();
    assert!(table.is_held(number));
    table.gone(1, Fate::Keep);
    assert!(!table.is_held(number));
    let _waiting: Vec<_> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let closed = table.close(number).unwrap();
    // A client is told that it is connected before its last word has reached the queue.
    let deadline = Deadline::new();
    while closed.waiting() < 3 {
        deadline.check(|| format!("{} wait", closed.waiting()));
        std::thread::yield_now();
    }
    assert!(!table.is_held(number) && table.close(number).is_none());
}

#[test]
fn somebody_waits_in_a_unix_socket_or_nobody_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let mut table = Table::new(Vec::new());
    let listener = Listener::bind(&format!("unix:{}", path.display()).parse().unwrap(), Options::default());
    let number = table.give(listener.unwrap());
    let closed = table.close(number).unwrap();
    assert_eq!(closed.waiting(), 0);
    let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert_eq!(closed.waiting(), 1);
}

#[test]
fn a_datagram_port_can_be_had_twice_by_one_worker_if_it_says_so() {
    let (mut table, port) = (Table::new(Vec::new()), free_port());
    let first = ask(&mut table, 1, &udp(port, 0, 4)).unwrap();
    let second = ask(&mut table, 1, &udp(port, 1, 4)).unwrap();
    assert_ne!(first.1, second.1);
    assert_eq!(ask(&mut table, 2, &udp(port, 0, 4)), Ok(first));
    assert_eq!(ask(&mut table, 2, &udp(port, 1, 4)), Ok(second));
    let (mut plain, port) = (Table::new(Vec::new()), free_port());
    assert!(ask(&mut plain, 1, &udp(port, 0, 0)).is_ok());
    assert_eq!(ask(&mut plain, 1, &udp(port, 1, 0)), Err(-98));
    assert_eq!(plain.answer(2, &udp(port, 0, 0)).kind, Kind::Datagram);
}

#[test]
fn what_cannot_be_an_address_is_invalid() {
    let mut table = Table::new(vec![(7, std::fs::File::open("/dev/null").unwrap().into())]);
    for fields in [
        "\"address\":null,\"port\":-1,\"addressType\":-1",
        "\"address\":null,\"port\":-1,\"addressType\":4",
        "\"address\":null,\"port\":70000,\"addressType\":4",
        "\"address\":null,\"port\":null,\"addressType\":4",
        "\"address\":\"localhost\",\"port\":80,\"addressType\":4",
        "\"address\":\"\",\"port\":80,\"addressType\":4",
        "\"address\":\"\",\"port\":-1,\"addressType\":-1",
        "\"fd\":7",
        "\"fd\":8",
        "\"fd\":99999999999",
        "\"port\":80,\"addressType\":\"ipx\"",
        "\"a\":1",
    ] {
        assert!(matches!(table.answer(1, &query(fields)).errno, -22 | -2), "{fields}");
    }
    let long = format!("\"address\":\"{}\",\"port\":-1,\"addressType\":-1", "x".repeat(5000));
    assert_eq!(table.answer(1, &query(&long)).errno, -36);
    assert_eq!(count(&table), 0);
}

#[test]
fn ticket_keys_are_ours_and_every_other_data_is_the_first_workers() {
    let mut table = Table::new(Vec::new());
    let with = |index: u32, data: &str| {
        query(&format!(
            "\"address\":\"127.0.0.1\",\"port\":0,\"addressType\":4,\"index\":{index},\"data\":{data}"
        ))
    };
    let tls = with(0, r#"{"ticketKeys":"00"}"#);
    let keys = table.answer(1, &tls).data.into_owned();
    assert_eq!((keys.len(), table.answer(2, &tls).data.as_ref()), (96 + 17, keys.as_str()));
    table.gone(1, Fate::Keep);
    table.gone(2, Fate::Keep);
    assert_eq!(table.answer(3, &tls).data, keys.as_str());
    assert_eq!(table.answer(1, &with(1, r#"{"a":1}"#)).data, r#"{"a":1}"#);
    assert_eq!(table.answer(2, &with(1, "null")).data, r#"{"a":1}"#);
    let refused = query(r#""address":"203.0.113.1","port":0,"addressType":4,"data":{"ticketKeys":"00"}"#);
    assert_eq!(table.answer(1, &refused).data, r#"{"ticketKeys":"00"}"#);
}

#[test]
fn an_inherited_socket_can_be_closed_and_asked_for_again() {
    let inherited = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = inherited.local_addr().unwrap().port();
    let mut table = Table::new(vec![(3, inherited.into())]);
    for _ in 0..2 {
        let (found, key) = ask(&mut table, 1, &query("\"fd\":3")).unwrap();
        assert_eq!(found, port);
        table.closed(1, &key);
        assert_eq!(count(&table), 0);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "it is still the primary's");
    }
}

#[test]
fn every_descriptor_that_is_handed_out_is_nonblocking_and_none_leaks() {
    if !alone("table::every_descriptor_that_is_handed_out_is_nonblocking_and_none_leaks") {
        return;
    }
    let inherited = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut table = Table::new(vec![(3, inherited.into())]);
    let before = open_descriptors();
    for worker in 0..50 {
        for query in [tcp(0, 0), udp(0, 0, 0), query("\"fd\":3"), query("\"fd\":4")] {
            if let Some(fd) = table.answer(worker, &query).fd {
                let flags = rustix::fs::fcntl_getfl(fd.as_fd()).unwrap();
                assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
            }
        }
        table.gone(worker, Fate::Release);
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn one_app_cannot_take_all_of_the_primarys_descriptors() {
    if !alone("table::one_app_cannot_take_all_of_the_primarys_descriptors") {
        return;
    }
    let mut table = Table::new(Vec::new());
    let name = |n: u32| {
        format!(
            "\"address\":\"/\\u0000clustr-net-{}-{n}\",\"port\":-1,\"addressType\":-1",
            std::process::id()
        )
    };
    let raise = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: raise.maximum, ..raise },
    )
    .unwrap();
    let errors: Vec<_> =
        (0..1100).map(|n| table.answer(1, &query(&name(n))).errno).filter(|&errno| errno != 0).collect();
    assert!(!errors.is_empty() && errors.iter().all(|&errno| errno == -24), "{errors:?}");
    assert!(count(&table) <= 1024);
}
