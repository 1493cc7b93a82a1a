//! A worker's bytes, in pieces: nothing panics, nothing grows, and the pieces do not matter.
//!
//! The first byte of the input is the length of a piece.
#![no_main]

use clustr_net::node::{Decoder, Message};
use libfuzzer_sys::fuzz_target;

const LINE_MAX: usize = 1 << 12;

fuzz_target!(|input: &[u8]| {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let whole = decode(bytes, bytes.len().max(1));
    let pieces = decode(bytes, usize::from(piece).max(1));
    assert_eq!(whole, pieces);
});

fn decode(bytes: &[u8], piece: usize) -> Vec<Message> {
    let (mut decoder, mut messages) = (Decoder::with_line_max(LINE_MAX), Vec::new());
    for part in bytes.chunks(piece) {
        decoder.push(part);
        while let Some(message) = decoder.decode() {
            let end = message == Message::Overlong;
            if let Message::QueryServer(query) | Message::Listening(query) = &message {
                assert!(!query.describe().contains('\x1b'));
            }
            messages.push(message);
            if end {
                return messages;
            }
        }
        assert!(decoder.waiting() <= LINE_MAX + part.len());
    }
    messages
}
