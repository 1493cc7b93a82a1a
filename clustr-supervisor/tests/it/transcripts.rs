//! The transcripts of `docs/control-protocol.md`, played against a real primary.

use clustr_core::Verdict;

use crate::fixture::{Client, Primary};

const PAGE: &str = include_str!("../../../docs/control-protocol.md");

#[test]
fn the_page_on_the_control_protocol_is_true() {
    let primary = Primary::start(2);
    let mut played = 0;
    for transcript in transcripts(PAGE) {
        let mut client = primary.connect();
        for line in transcript.lines() {
            play(&mut client, line);
            played += 1;
        }
    }
    assert!(played > 20, "the page has transcripts");
    assert_eq!(primary.wait(), Verdict::Stopped);
}

fn play(client: &mut Client, line: &str) {
    if let Some(request) = line.strip_prefix("→ ") {
        client.send(request);
    } else if let Some(expected) = line.strip_prefix("← ") {
        let received = client.receive();
        assert!(fits(&received, expected), "\nexpected {expected}\nreceived {received}");
    } else {
        panic!("a transcript has lines with → and ←, not '{line}'");
    }
}

/// The fenced blocks marked `transcript`.
fn transcripts(page: &str) -> impl Iterator<Item = &str> {
    page.split("```transcript\n").skip(1).map(|rest| rest.split("\n```").next().unwrap())
}

/// Whether `received` is `expected`, with anything in the places of `…`.
fn fits(received: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| received.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let found =
            if is_last { rest.ends_with(part).then(|| rest.len() - part.len()) } else { rest.find(part) };
        let Some(at) = found else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn a_value_that_differs_fits_and_nothing_else_does() {
    assert!(fits(r#"{"pid":12,"a":1}"#, r#"{"pid":…,"a":1}"#));
    assert!(!fits(r#"{"pid":12,"a":2}"#, r#"{"pid":…,"a":1}"#));
    assert!(!fits(r#"{"pid":12,"a":1}"#, r#"{"pid":…,"b":1}"#));
    assert!(fits("same", "same") && !fits("same again", "same"));
}
