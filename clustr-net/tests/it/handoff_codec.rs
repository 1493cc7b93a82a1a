//! Words of the native handoff: golden bytes, and hostile ones.

use clustr_net::handoff::Ledger;
use clustr_net::handoff::codec::{Report, Word, decode, encode};
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// A word as a line of the golden text.
fn label(word: &Word<'_>) -> String {
    match word {
        Word::Names(names) => format!("names {:?}", names.iter().collect::<Vec<_>>()),
        Word::Connections { first, listeners } => {
            format!("connections from {first}, of listeners {:?}", listeners.iter().collect::<Vec<_>>())
        }
        Word::Message(bytes) => format!("message {:?}", String::from_utf8_lossy(bytes)),
        Word::Report(Report { acked, granted, closed }) => {
            format!("report: {acked} acked, {granted} granted, {closed} closed")
        }
        Word::Refused { first, count } => format!("refused {count} from {first}"),
        Word::Ask(number) => format!("ask {number}"),
        Word::Here(number) => format!("here {number}"),
        Word::Drain => "drain".into(),
        Word::Ready => "ready".into(),
        Word::Leave => "leave".into(),
    }
}

/// Lines of `hex | label`.
const GOLDEN: &str = include_str!("../handoff.golden.txt");

#[test]
fn words_are_these_bytes_and_these_bytes_are_words() {
    let lines = GOLDEN.lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for (hex, text) in lines.filter_map(|line| line.split_once(" | ")) {
        let golden = bytes(hex);
        if text == "unreadable" {
            assert!(decode(&golden).is_err(), "{hex}");
        } else {
            let word = decode(&golden).unwrap();
            assert_eq!(label(&word), text);
            let mut written = Vec::new();
            encode(&word, &mut written);
            assert_eq!(written, golden, "{text}");
        }
        count += 1;
    }
    assert!(count >= 16);
}

/// Bytes that often begin as a word does.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![any::<u8>(), 1..=5_u8, 17..=21_u8];
    (kind, prop::collection::vec(prop_oneof![any::<u8>(), 0..3_u8], 0..64)).prop_map(|(kind, mut rest)| {
        rest.insert(0, kind);
        rest
    })
}

/// What may happen to a ledger.
#[derive(Clone, Debug)]
enum Step {
    Push,
    Send(usize),
    Report(u64, u64, u64),
    Refuse(u64, u16),
    TakeUnsent,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Push),
        2 => (0..6_usize).prop_map(Step::Send),
        4 => (0..40_u64, 0..50_u64, 0..40_u64).prop_map(|(a, b, c)| Step::Report(a, b, c)),
        1 => (0..40_u64, 0..4_u16).prop_map(|(first, count)| Step::Refuse(first, count)),
        1 => Just(Step::TakeUnsent),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_the_codec_panic_and_what_is_read_is_written_alike(bytes in hostile()) {
        if let Ok(word) = decode(&bytes) {
            let mut written = Vec::new();
            encode(&word, &mut written);
            prop_assert_eq!(&written, &bytes);
            label(&word);
        }
    }

    /// Each connection is with the worker once, or back once, in order; a lie ends the history, as it ends a channel.
    #[test]
    fn a_ledger_loses_nothing_and_doubles_nothing(steps in prop::collection::vec(step(), 1..80)) {
        let mut ledger = Ledger::<u32>::default();
        let (mut pushed, mut back) = (0_u32, Vec::new());
        for step in steps {
            let credits = ledger.credits();
            let lied = match step {
                Step::Push => {
                    let kept = ledger.push(pushed).is_ok();
                    prop_assert_eq!(kept, credits > 0);
                    pushed += u32::from(kept);
                    false
                }
                Step::Send(most) => {
                    let unsent = ledger.unsent().1.len();
                    ledger.mark_sent(unsent.min(most));
                    false
                }
                Step::Report(acked, granted, closed) => {
                    ledger.report(Report { acked, granted, closed }).is_err()
                }
                Step::Refuse(first, count) => ledger.refuse(first, count, |item| back.push(item)).is_err(),
                Step::TakeUnsent => {
                    back.extend(ledger.take_unsent());
                    false
                }
            };
            prop_assert!(ledger.open() <= ledger.taken());
            prop_assert_eq!((ledger.unacked() + back.len()) as u64 + ledger.taken(), u64::from(pushed));
            if lied {
                break;
            }
        }
        back.extend(ledger.take_back());
        prop_assert_eq!((ledger.unacked(), ledger.credits()), (0, 0));
        prop_assert_eq!(back.len() as u64 + ledger.taken(), u64::from(pushed));
        back.sort_unstable();
        let all = back.len();
        back.dedup();
        prop_assert_eq!(back.len(), all);
    }
}
