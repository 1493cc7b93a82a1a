//! The reading of workers' lines: golden transcripts of real runtimes, and hostile bytes.

use clustr_net::node::{AddressKind, Decoder, Dialect, Message};
use proptest::prelude::*;

fn one(line: &str) -> Message {
    let mut decoder = Decoder::default();
    decoder.push(line.as_bytes());
    decoder.push(b"\n");
    decoder.decode().unwrap()
}

#[test]
fn what_real_runtimes_say_is_understood() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for pair in lines.chunks(2) {
            let understood = one(pair[0]);
            let lost = matches!(understood, Message::UnknownInternal | Message::Garbage { .. });
            assert!(!lost, "{}: {}", path.display(), pair[0]);
            assert_eq!(format!("= {}", crate::record::label(&understood)), pair[1], "{}", path.display());
        }
        files += 1;
    }
    assert!(files > 0);
}

#[test]
fn values_that_only_look_internal_belong_to_the_app() {
    for line in [
        r#"{"cmd":"NODE_"}"#,
        r#"{"cmd":"node_x"}"#,
        r#"{"cmd":7}"#,
        "null",
        "true",
        "-1.5e3",
        "\"NODE_X\"",
        "[]",
    ] {
        assert_eq!(one(line), Message::User(line.to_owned()));
    }
    assert_eq!(one(r#"{"cmd":"NODE_X"}"#), Message::UnknownInternal);
    assert_eq!(one("{\"cmd\":\"\\u004eODE_X\"}"), Message::UnknownInternal, "escaped is the same");
    assert_eq!(
        one(r#"{"a":1,"cmd":"NODE_X","cmd":"x"}"#),
        Message::User(r#"{"a":1,"cmd":"NODE_X","cmd":"x"}"#.into())
    );
}

#[test]
fn text_that_javascript_allows_is_passed_on_unchanged() {
    for line in [r#"{"\ud800":1}"#, r#""\ud800""#, "\"\u{1f980} é \\n\"", r#"{"a":{"cmd":"NODE_HANDLE"}}"#] {
        assert_eq!(one(line), Message::User(line.to_owned()));
    }
}

#[test]
fn what_is_not_json_is_garbage_and_the_next_line_is_not() {
    let mut decoder = Decoder::default();
    decoder.push(b"Debugger attached.\n\n\xff\xfe\n{\"cmd\":\"NODE_CLUSTER\"\n\x02nonsense\n1\n");
    let sizes: Vec<_> = std::iter::from_fn(|| decoder.decode())
        .map(|message| if let Message::Garbage { bytes } = message { Some(bytes) } else { None })
        .collect();
    assert_eq!(sizes, [Some(18), Some(0), Some(2), Some(21), Some(8), None]);
}

#[test]
fn a_marked_line_switches_to_buns_dialect_and_its_unmarked_acknowledgement_is_known() {
    let mut decoder = Decoder::default();
    assert_eq!(decoder.dialect(), Dialect::Node);
    decoder.push(b"\x02{\"act\":\"online\",\"seq\":0}\n\x02{\"act\":\"queryServer\",\"port\":1,\"addressType\":4,\"seq\":1}\n");
    decoder.push(b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n{\"user\":1}\n");
    assert_eq!(decoder.decode(), Some(Message::Online));
    assert!(
        matches!(decoder.decode(), Some(Message::QueryServer(query)) if query.address_kind == AddressKind::Tcp4)
    );
    assert_eq!(decoder.decode(), Some(Message::HandleAck));
    assert_eq!(decoder.decode(), Some(Message::User("{\"user\":1}".into())));
    assert_eq!(decoder.dialect(), Dialect::Bun);
}

#[test]
fn fields_of_the_wrong_kind_do_not_make_a_message_of_them() {
    for line in [
        r#"{"cmd":"NODE_CLUSTER","act":"close"}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"close","key":7}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":{}}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"fly"}"#,
        r#"{"cmd":"NODE_CLUSTER","ack":1}"#,
        r#"{"cmd":"NODE_CLUSTER"}"#,
    ] {
        assert_eq!(one(line), Message::UnknownInternal, "{line}");
    }
    let accepted = Message::Accepted { ack: 3, accepted: true };
    assert_eq!(one(r#"{"cmd":"NODE_CLUSTER","ack":3,"accepted":true,"seq":9}"#), accepted);
}

/// Bytes that are often nearly right.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(b"\n".to_vec()),
        Just(b"\x02".to_vec()),
        Just(b"{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"seq\":".to_vec()),
        Just(b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":[1]}\n".to_vec()),
        Just(b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n".to_vec()),
        "[0-9a-z\":,{}\\[\\]\\\\-]{0,30}\n".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

fn decode_all(decoder: &mut Decoder, into: &mut Vec<Message>) {
    while let Some(message) = decoder.decode() {
        let end = message == Message::Overlong;
        if !(end && into.last() == Some(&Message::Overlong)) {
            into.push(message);
        }
        if end {
            return;
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic_or_grow_and_pieces_do_not_matter(
        bytes in hostile(),
        cuts in prop::collection::vec(1..64_usize, 1..40),
    ) {
        const LINE_MAX: usize = 100;
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        let mut decoder = Decoder::with_line_max(LINE_MAX);
        decoder.push(&bytes);
        decode_all(&mut decoder, &mut whole);

        let mut decoder = Decoder::with_line_max(LINE_MAX);
        let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() && pieces.last() != Some(&Message::Overlong) {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            decoder.push(piece);
            decode_all(&mut decoder, &mut pieces);
            prop_assert!(decoder.waiting() <= LINE_MAX + piece.len());
            rest = after;
        }
        prop_assert_eq!(whole, pieces);
    }
}
