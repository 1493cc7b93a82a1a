//! Clients of the control socket that do not behave.

use std::net::Shutdown;

use crate::fixture::Primary;

const STATUS: &str = r#"{"id":1,"cmd":"status"}"#;
const SUBSCRIBE: &str = r#"{"id":1,"cmd":"subscribe"}"#;

/// As many as may be connected at the same time.
const CLIENTS_MAX: usize = 64;

#[test]
fn subscribers_that_said_their_last_word_and_went_make_room() {
    let primary = Primary::start(1);
    for _ in 0..CLIENTS_MAX * 2 {
        let mut client = primary.connect();
        client.send(SUBSCRIBE);
        client.shut(Shutdown::Write);
    }
    let mut client = primary.connect();
    client.send(STATUS);
    assert!(client.receive().contains(r#""state":"running""#));
}

#[test]
fn a_client_for_whom_there_is_no_room_is_told_so() {
    let primary = Primary::start(1);
    let clients: Vec<_> = (0..CLIENTS_MAX).map(|_| primary.connect()).collect();
    assert!(primary.connect().receive().contains(r#""refusal":"busy""#));
    drop(clients);
    let mut client = primary.connect();
    client.send(STATUS);
    assert!(client.receive().contains(r#""ok":true"#));
}

#[test]
fn blank_lines_without_end_keep_nobody_else_waiting() {
    let primary = Primary::start(1);
    let mut flood = primary.connect();
    let mut client = primary.connect();
    for _ in 0..20 {
        flood.send(&"\n".repeat(30_000));
        client.send(STATUS);
        assert!(client.receive().contains(r#""ok":true"#));
    }
}
