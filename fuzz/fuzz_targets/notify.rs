//! A worker's datagram: nothing panics, nothing grows, nothing that is shown has control characters.
#![no_main]

use clustr_net::notify::{STATUS_CHARS_MAX, WORDS_MAX, Word, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let message = parse(datagram);
    assert!(message.words.len() <= WORDS_MAX);
    for word in message.words {
        if let Word::Status(text) = word {
            assert!(text.chars().count() <= STATUS_CHARS_MAX && !text.chars().any(char::is_control));
        }
    }
});
