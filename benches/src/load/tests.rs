//! The load generator on servers that misbehave on purpose, one for each counter.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use rustix::net::sockopt;

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
const KEPT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A server that treats every connection like this, until the test program ends.
fn server(treat: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(treat));
    address
}

fn read_request(stream: &mut TcpStream) -> bool {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return false,
        }
    }
    true
}

fn ten(target: SocketAddr) -> Plan {
    Plan { clients: 3, requests_max: 10, request_timeout: Duration::from_millis(300), ..Plan::short(target) }
}

#[test]
fn complete_answers_are_successes_and_their_texts_are_told_apart() {
    let address = server(|mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(ANSWER);
    });
    let tally = run(&ten(address)).unwrap();
    assert_eq!((tally.issued, tally.success, tally.failed()), (10, 10, 0), "{tally}");
    assert_eq!(tally.answers["hello"], 10);
    assert_eq!(tally.latency.total(), 10);
}

#[test]
fn a_kept_connection_carries_many_requests() {
    let address = server(|mut stream| {
        while read_request(&mut stream) {
            let _ = stream.write_all(KEPT);
        }
    });
    let plan = Plan { clients: 1, requests_max: 100, ..Plan::keep_alive(address) };
    let tally = run(&plan).unwrap();
    assert_eq!((tally.issued, tally.success), (100, 100), "{tally}");
}

#[test]
fn nobody_listening_is_refused() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tally = run(&ten(address)).unwrap();
    assert_eq!((tally.issued, tally.refused), (10, 10), "{tally}");
}

#[test]
fn a_reset_is_a_reset_and_its_port_is_known() {
    let (told, ports) = std::sync::mpsc::channel();
    let address = server(move |mut stream| {
        told.send(stream.peer_addr().unwrap().port()).unwrap();
        read_request(&mut stream);
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    });
    let tally = run(&ten(address)).unwrap();
    assert_eq!((tally.issued, tally.reset), (10, 10), "{tally}");
    let mut failed: Vec<u16> = tally.failures.iter().map(|failure| failure.port).collect();
    let mut accepted: Vec<u16> = ports.try_iter().collect();
    failed.sort_unstable();
    accepted.sort_unstable();
    assert_eq!(failed, accepted);
}

#[test]
fn half_an_answer_is_truncated_and_so_is_none() {
    for length in [0, 10, ANSWER.len() - 1] {
        let address = server(move |mut stream| {
            read_request(&mut stream);
            let _ = stream.write_all(&ANSWER[..length]);
            let _ = stream.shutdown(Shutdown::Both);
        });
        let tally = run(&ten(address)).unwrap();
        assert_eq!((tally.issued, tally.truncated), (10, 10), "{length}: {tally}");
    }
}

#[test]
fn an_answer_that_does_not_come_is_timed_out() {
    let address = server(|mut stream| {
        let _silent = std::thread::spawn(move || while read_request(&mut stream) {});
    });
    let tally = run(&ten(address)).unwrap();
    assert_eq!((tally.issued, tally.timed_out), (10, 10), "{tally}");
}

#[test]
fn a_paced_load_keeps_its_pace() {
    let address = server(|mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(ANSWER);
    });
    let pace = Pace::PerSecond(200.0);
    let plan = Plan { clients: 16, pace, duration_max: Duration::from_secs(1), ..Plan::short(address) };
    let tally = run(&plan).unwrap();
    assert!((100..=205).contains(&tally.issued), "{tally}");
    assert_eq!(tally.success, tally.issued, "{tally}");
}

#[test]
fn a_pace_that_the_server_cannot_keep_is_told_in_latency_and_in_what_was_left_out() {
    // One client, 100 answers a second at most, 400 wanted.
    let address = server(|mut stream| {
        read_request(&mut stream);
        std::thread::sleep(Duration::from_millis(10));
        let _ = stream.write_all(ANSWER);
    });
    let pace = Pace::PerSecond(400.0);
    let plan = Plan { clients: 1, pace, duration_max: Duration::from_millis(500), ..Plan::short(address) };
    let tally = run(&plan).unwrap();
    assert!(tally.unasked >= 100 && tally.issued <= 60, "{tally}");
    assert!((150..=250).contains(&(tally.unasked + tally.issued)), "{tally}");
    assert!(tally.latency.percentile(50.0) >= Duration::from_millis(15), "{tally}");
}

#[test]
fn a_load_that_is_stopped_has_counted_everything_it_began() {
    let address = server(|mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(ANSWER);
    });
    let running = start(&Plan { threads: 2, ..Plan::short(address) }).unwrap();
    crate::wait::until_true("50 answers", Duration::from_secs(20), || running.succeeded() >= 50).unwrap();
    let tally = running.stop().unwrap();
    assert_eq!(tally.issued, tally.success + tally.failed(), "{tally}");
}

#[test]
fn a_request_on_a_kept_connection_that_was_closed_unanswered_is_repeated_once_if_that_was_asked_for() {
    // Every connection carries two answers; the third request on it finds the connection closed.
    let serve = |mut stream: TcpStream| {
        for _ in 0..2 {
            if read_request(&mut stream) {
                let _ = stream.write_all(KEPT);
            }
        }
        read_request(&mut stream);
    };
    let plan = Plan { clients: 1, requests_max: 10, ..Plan::keep_alive(server(serve)) };
    let strict = run(&plan).unwrap();
    assert_eq!(
        (strict.issued, strict.success, strict.failed(), strict.closed_idle),
        (10, 7, 3, 0),
        "{strict}"
    );
    let lenient = run(&Plan { repeats_closed_idle: true, ..plan }).unwrap();
    assert_eq!((lenient.issued, lenient.success, lenient.closed_idle), (10, 10, 4), "{lenient}");
}

#[test]
fn a_short_connection_carries_one_request_even_if_the_server_does_not_say_that_it_closes() {
    // The second request on a connection would find it closed.
    let address = server(|mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(KEPT);
    });
    let tally = run(&Plan { clients: 1, requests_max: 10, ..Plan::short(address) }).unwrap();
    assert_eq!((tally.issued, tally.success), (10, 10), "{tally}");
}

#[test]
fn what_fails_on_a_new_connection_or_after_the_first_byte_is_never_repeated() {
    let half = server(|mut stream| {
        if read_request(&mut stream) {
            let _ = stream.write_all(KEPT);
        }
        read_request(&mut stream);
        let _ = stream.write_all(&KEPT[..10]);
    });
    let none = server(|mut stream| {
        read_request(&mut stream);
    });
    for (address, success) in [(half, 5), (none, 0)] {
        let plan =
            Plan { clients: 1, requests_max: 10, repeats_closed_idle: true, ..Plan::keep_alive(address) };
        let tally = run(&plan).unwrap();
        assert_eq!(
            (tally.success, tally.truncated, tally.closed_idle),
            (success, 10 - success, 0),
            "{tally}"
        );
    }
}

#[test]
fn a_body_is_sent_whole_and_over_a_unix_socket_too() {
    let folder = std::env::temp_dir().join(format!("clustr-load-{}", std::process::id()));
    let _ = std::fs::remove_file(&folder);
    let listener = std::os::unix::net::UnixListener::bind(&folder).unwrap();
    let (told, lengths) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = vec![0; 1 << 20];
            let mut length = 0;
            while !request[..length].ends_with(&[b'x'; 10]) || length < 300_000 {
                length += stream.read(&mut request[length..]).unwrap();
            }
            told.send(String::from_utf8_lossy(&request[..length]).into_owned()).unwrap();
            let _ = stream.write_all(ANSWER);
        }
    });
    let plan = Plan { clients: 1, requests_max: 2, body_bytes: 300_000, ..Plan::short(folder.clone()) };
    let tally = run(&plan).unwrap();
    std::fs::remove_file(&folder).unwrap();
    assert_eq!((tally.success, tally.failed()), (2, 0), "{tally}");
    for request in lengths.try_iter() {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("PUT / HTTP/1.1") && head.contains("Content-Length: 300000"), "{head}");
        assert_eq!(body.len(), 300_000);
    }
}

#[test]
fn nobody_at_a_unix_socket_is_refused() {
    let nowhere = std::env::temp_dir().join("clustr-load-nobody-there");
    let tally = run(&Plan { clients: 1, requests_max: 3, ..Plan::short(nowhere) }).unwrap();
    assert_eq!((tally.issued, tally.refused), (3, 3), "{tally}");
}
