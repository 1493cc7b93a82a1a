//! A worker's words and a primary's orders, as bytes: the codec writes what it read, the ledger loses and doubles nothing.
//!
//! The input is a sequence of pieces, each with its length in front. An empty piece is a connection that is pushed, one of a
//! single byte sends so many; every other is a word.
#![no_main]

use clustr_net::handoff::Ledger;
use clustr_net::handoff::codec::{Word, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (mut ledger, mut rest) = (Ledger::<u32>::default(), input);
    let (mut pushed, mut back) = (0_u32, Vec::new());
    while let Some((&length, after)) = rest.split_first() {
        let (piece, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        let is_true = match piece {
            [] => {
                pushed += u32::from(ledger.push(pushed).is_ok());
                true
            }
            [count] => {
                let unsent = ledger.unsent().1.len();
                ledger.mark_sent(unsent.min(usize::from(*count)));
                true
            }
            word => hear(word, &mut ledger, &mut back),
        };
        assert_eq!((ledger.unacked() + back.len()) as u64 + ledger.taken(), u64::from(pushed));
        assert!(ledger.open() <= ledger.taken());
        if !is_true {
            break;
        }
    }
    back.extend(ledger.take_back());
    assert_eq!(back.len() as u64 + ledger.taken(), u64::from(pushed));
    let all = back.len();
    back.sort_unstable();
    back.dedup();
    assert_eq!(back.len(), all, "each comes back once");
});

/// Whether the word agrees with the ledger: one that does not is the end of a channel.
fn hear(bytes: &[u8], ledger: &mut Ledger<u32>, back: &mut Vec<u32>) -> bool {
    let Ok(word) = decode(bytes) else { return false };
    let mut written = Vec::new();
    encode(&word, &mut written);
    assert_eq!(written, bytes);
    match word {
        Word::Report(report) => ledger.report(report).is_ok(),
        Word::Refused { first, count } => ledger.refuse(first, count, |item| back.push(item)).is_ok(),
        Word::Leave => {
            back.extend(ledger.take_back());
            true
        }
        Word::Names(names) => names.iter().all(|(name, _)| name.len() <= 255),
        Word::Connections { listeners, .. } => listeners.iter().count() == listeners.count(),
        Word::Ask(_) | Word::Here(_) | Word::Drain | Word::Message(_) | Word::Ready => true,
    }
}
