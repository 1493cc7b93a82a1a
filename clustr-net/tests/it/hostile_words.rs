//! The native handoff against an end that says anything: nothing panics, nothing is lost or doubled, everything ends.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use clustr_net::handoff::codec::{Report, Word, encode};
use clustr_net::handoff::{Family, Handover, Progress, Receiver, Said, Sender};
use clustr_net::{FdChannel, handoff};
use proptest::collection::vec;
use proptest::prelude::*;

/// What a hostile end does next.
#[derive(Clone, Debug)]
enum Step {
    /// A message of any bytes, with so many descriptors.
    Bytes(Vec<u8>, usize),
    Report(u64, u64, u64),
    Refuse(u64, u16),
    /// A batch: its first number, the index of each listener, how many descriptors come with it.
    Batch(u64, Vec<u16>, usize),
    Leave,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![any::<u8>(), 1..=4_u8, 17..=20_u8];
    let bytes = (kind, vec(prop_oneof![any::<u8>(), 0..3_u8], 0..40)).prop_map(|(kind, mut rest)| {
        rest.insert(0, kind);
        rest
    });
    prop_oneof![
        2 => (bytes, 0..3_usize).prop_map(|(bytes, fds)| Step::Bytes(bytes, fds)),
        4 => (0..12_u64, 0..50_u64, 0..12_u64).prop_map(|(a, b, c)| Step::Report(a, b, c)),
        2 => (0..12_u64, 0..4_u16).prop_map(|(first, count)| Step::Refuse(first, count)),
        4 => (0..12_u64, vec(0..3_u16, 0..5), 0..5_usize).prop_map(|(first, of, fds)| Step::Batch(first, of, fds)),
        1 => Just(Step::Leave),
    ]
}

impl Step {
    fn say(&self, channel: &FdChannel, any: &UnixStream) {
        let mut bytes = Vec::new();
        let mut fds = 0;
        match self {
            Self::Bytes(raw, with) => (bytes, fds) = (raw.clone(), *with),
            Self::Report(acked, granted, closed) => {
                let report = Report { acked: *acked, granted: *granted, closed: *closed };
                encode(&Word::Report(report), &mut bytes);
            }
            Self::Refuse(first, count) => {
                encode(&Word::Refused { first: *first, count: *count }, &mut bytes);
            }
            Self::Batch(first, of, with) => {
                bytes.push(2);
                bytes.extend_from_slice(&first.to_le_bytes());
                of.iter().for_each(|index| bytes.extend_from_slice(&index.to_le_bytes()));
                fds = *with;
            }
            Self::Leave => encode(&Word::Leave, &mut bytes),
        }
        // A full or closed channel takes no more words, which is the other end's right.
        let _ = channel.send(&bytes, &vec![any.as_fd(); fds]);
    }
}

/// Connections that can be told apart by the index of their listener.
fn offer(sender: &mut Sender, number: u16, any: &UnixStream) -> bool {
    sender.offer(Handover { fd: any.as_fd().try_clone_to_owned().unwrap(), listener: number }).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_primary_loses_and_doubles_nothing_whatever_a_worker_says(steps in vec(step(), 1..40)) {
        let (ours, theirs) = FdChannel::pair().unwrap();
        let (worker, any) = (FdChannel::new(theirs).unwrap(), UnixStream::pair().unwrap().0);
        let mut sender = Sender::new(ours, &[("http", Family::Tcp)]).unwrap();
        Step::Report(0, 6, 0).say(&worker, &any);
        let (mut said, mut offered, mut over) = (Vec::new(), 0_u16, false);
        for step in steps {
            step.say(&worker, &any);
            match sender.receive(4, &mut said) {
                Ok(progress) => prop_assert_ne!(progress, Progress::Closed),
                Err(_) => over = true,
            }
            if over {
                break;
            }
            offered += u16::from(offer(&mut sender, offered, &any));
            sender.flush().unwrap();
            prop_assert!(sender.unacked() <= 1024 && sender.open() <= sender.taken());
        }
        let mut back: Vec<Handover> = said
            .into_iter()
            .filter_map(|said| if let Said::Returned(handover) = said { Some(handover) } else { None })
            .collect();
        let under_way = sender.unacked();
        let rest: Vec<Handover> = sender.take_back().collect();
        prop_assert_eq!(rest.len(), under_way);
        back.extend(rest);
        prop_assert_eq!(back.len() as u64 + sender.taken(), u64::from(offered));
        let numbers: BTreeSet<u16> = back.iter().map(|handover| handover.listener).collect();
        prop_assert_eq!(numbers.len(), back.len(), "each comes back once");
        prop_assert!(!offer(&mut sender, 0, &any), "nothing more is given to it");
    }

    #[test]
    fn a_worker_hears_no_more_connections_than_came_whatever_a_primary_says(steps in vec(step(), 1..40)) {
        let (ours, theirs) = FdChannel::pair().unwrap();
        let any = UnixStream::pair().unwrap().0;
        let mut receiver = Receiver::new(theirs).unwrap();
        let mut names = vec![1];
        ["http", "admin"].iter().for_each(|name| {
            names.extend_from_slice(&[0, u8::try_from(name.len()).unwrap()]);
            names.extend_from_slice(name.as_bytes());
        });
        ours.send(&names, &[]).unwrap();
        let (mut came, mut heard) = (0, 0);
        for step in &steps {
            step.say(&ours, &any);
            came += match step {
                Step::Batch(_, of, fds) if of.len() == *fds => *fds,
                Step::Bytes(_, fds) => *fds,
                Step::Batch(..) | Step::Report(..) | Step::Refuse(..) | Step::Leave => 0,
            };
        }
        // It ends: with nothing to hear, or with an error.
        while let Ok(Some(word)) = receiver.next() {
            heard += usize::from(matches!(word, handoff::Heard::Connection { .. }));
        }
        prop_assert!(heard <= came);
    }
}
