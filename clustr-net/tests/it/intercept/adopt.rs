//! The worker's own socket, kept: several workers on one port, and none of who waits is lost.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpStream};

use clustr_net::intercept::{Rules, Sockets, Way};

use super::server;
use super::stage::{PLAN, Stage, answer, ask, free_port, python, works};

fn stage() -> Option<Stage> {
    python()?;
    let way = works().filter(|way| *way == Way::Adopt)?;
    Some(Stage::new(way, Rules::every_port(), Sockets::per_worker(PLAN)))
}

fn slots(port: u16, clients: u32) -> BTreeMap<String, u32> {
    let mut served = BTreeMap::new();
    for _ in 0..clients {
        let text = ask((Ipv4Addr::LOCALHOST, port));
        *served.entry(text.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    served
}

#[test]
fn four_workers_share_the_port_that_each_binds_for_itself() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let workers: Vec<u64> = (0..4).map(|slot| stage.python(slot, &server(port))).collect();
    stage.ready(&workers);
    assert_eq!(stage.kept(), [(format!("127.0.0.1:{port}"), 4)]);
    let served = slots(port, 200);
    assert_eq!(served.keys().map(String::as_str).collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    assert!(served.values().all(|count| *count >= 10), "{served:?}");
}

#[test]
fn who_waits_at_a_killed_worker_is_answered_by_its_successor() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let mute = "import socket, time
s = socket.socket()
s.bind(('127.0.0.1', PORT))
s.listen(64)
time.sleep(600)
";
    let mute = mute.replace("PORT", &port.to_string());
    let workers = [stage.python(0, &mute), stage.python(1, &mute)];
    stage.ready(&workers);
    let mut clients: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()).collect();
    workers.iter().for_each(|worker| stage.kill(*worker));
    let successors = [stage.python(0, &server(port)), stage.python(1, &server(port))];
    stage.ready(&successors);
    let mut served = BTreeMap::<String, u32>::new();
    for client in &mut clients {
        *served.entry(answer(client).split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(served.values().sum::<u32>(), 40);
    assert_eq!(served.len(), 2, "{served:?}");
    assert_eq!(stage.kept(), [(format!("127.0.0.1:{port}"), 2)]);
}

#[test]
fn nobody_new_is_sent_to_a_worker_that_is_gone() {
    let Some(mut stage) = stage() else { return };
    let port = free_port();
    let workers: Vec<u64> = (0..3).map(|slot| stage.python(slot, &server(port))).collect();
    stage.ready(&workers);
    stage.kill(workers[1]);
    let served = slots(port, 60);
    assert_eq!(served.keys().map(String::as_str).collect::<Vec<_>>(), ["0", "2"]);
    let successor = stage.python(1, &server(port));
    stage.ready(&[successor]);
    assert_eq!(slots(port, 100).len(), 3);
}

#[test]
fn one_common_queue_serves_all_workers_where_that_is_wanted() {
    let Some(way) = works() else { return };
    if python().is_none() {
        return;
    }
    let mut stage = Stage::new(way, Rules::every_port(), Sockets::shared());
    let port = free_port();
    let workers: Vec<u64> = (0..3).map(|slot| stage.python(slot, &server(port))).collect();
    stage.ready(&workers);
    assert_eq!(stage.kept(), [(format!("127.0.0.1:{port}"), 1)]);
    workers[..2].iter().for_each(|worker| stage.kill(*worker));
    assert_eq!(slots(port, 20).keys().next().map(String::as_str), Some("2"));
}
