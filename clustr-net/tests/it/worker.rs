//! The worker's end in Rust, against our own primary.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use clustr_net::node::{Fate, Heard, Said, Worker};

use crate::deadline::PATIENCE;
use crate::primary::Primary;

const MARK: &str = "CLUSTR_TEST_WORKER";

/// This binary as a worker: the test of this name starts it again.
fn start(primary: &mut Primary, addr: &str) -> usize {
    let this = std::env::current_exe().unwrap();
    let program = format!("{MARK}={addr}");
    let args = [&program, this.to_str().unwrap(), "--exact", "worker::a_worker_in_rust", "--nocapture"];
    primary.start_command("env", &args)
}

/// Serves until told to leave; answers the client that it has before it does.
fn serve(addr: &str) {
    let mut worker = Worker::from_env().unwrap().expect("the channel is in the environment");
    let listener = worker.listen(&addr.parse().unwrap()).unwrap();
    let again = worker.listen(&listener.local_addr().unwrap().to_string().parse().unwrap());
    worker.send(&format!("\"{:?}\"", again.unwrap_err().kind())).unwrap();
    let mut open = Vec::new();
    loop {
        match worker.wait(Some(&listener), Some(PATIENCE)).unwrap() {
            Some(Heard::Connection(stream)) => {
                open.push(stream);
                worker.send("\"busy\"").unwrap();
            }
            Some(Heard::User(json)) => worker.send(&json).unwrap(),
            Some(Heard::Disconnect | Heard::Closed) => break,
            None => {}
        }
    }
    open.iter_mut().for_each(|stream| stream.write_all(b"done").unwrap());
    worker.leave().unwrap();
}

#[test]
fn a_worker_in_rust() {
    if let Ok(addr) = std::env::var(MARK) {
        serve(&addr);
    }
}

#[test]
fn a_worker_in_rust_shares_serves_and_drains() {
    let mut primary = Primary::new();
    let workers = [start(&mut primary, "127.0.0.1:0"), start(&mut primary, "127.0.0.1:0")];
    for worker in workers {
        assert_eq!(primary.message(worker, 1), "\"AddrInUse\"");
        assert!(primary.workers[worker].has_said(|said| matches!(said, Said::Listening { .. })));
        primary.workers[worker].endpoint.send_user("[1]").unwrap();
        assert_eq!(primary.message(worker, 2), "[1]");
    }
    let port = primary.table.listeners().next().unwrap().port().unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    primary.until("busy", |primary| {
        primary.workers.iter().any(|worker| worker.messages().contains(&"\"busy\"".to_owned()))
    });
    for worker in workers {
        primary.workers[worker].endpoint.disconnect().unwrap();
        assert!(primary.wait_exit(worker).success());
        primary.table.gone(worker as u64, Fate::Release);
    }
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "done");
    assert_eq!(primary.table.listeners().count(), 0);
}

#[test]
fn a_worker_whose_primary_vanishes_hears_it() {
    let (endpoint, theirs) = clustr_net::node::Endpoint::pair().unwrap();
    let mut worker = Worker::new(theirs).unwrap();
    assert!(worker.wait(None, Some(Duration::ZERO)).unwrap().is_none());
    drop(endpoint);
    assert!(matches!(worker.recv().unwrap(), Heard::Closed));
    worker.wait_disconnect().unwrap();
    assert_eq!(worker.send("1").unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(worker.send("{").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(worker.listen(&"127.0.0.1:0".parse().unwrap()).is_err());
    worker.leave().unwrap();
}

#[test]
fn a_worker_that_is_told_to_leave_does_not_wait_for_a_listener() {
    let (mut endpoint, theirs) = clustr_net::node::Endpoint::pair().unwrap();
    let mut worker = Worker::new(theirs).unwrap();
    endpoint.disconnect().unwrap();
    let error = worker.listen(&"127.0.0.1:0".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert!(matches!(worker.recv().unwrap(), Heard::Disconnect));
    assert_eq!(worker.listen(&"unix:/x".parse().unwrap()).unwrap_err().kind(), ErrorKind::InvalidInput);
}
