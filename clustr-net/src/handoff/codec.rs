//! Words of the handoff protocol as bytes, and back.
//!
//! Owns the layout, which golden texts pin. Pure: no socket, no descriptor, no allocation but the caller's buffer. Called by
//! `Sender` and `Receiver`. All numbers are little-endian; the descriptors of [`Word::Connections`] travel beside the bytes.
//!
//! | first byte | word | the rest |
//! |---|---|---|
//! | 1 | `Names` | for each listener: family (0 TCP, 1 Unix), length of its name (1 byte), name |
//! | 2 | `Connections` | number of the first (8 bytes), for each the index of its listener (2 bytes) |
//! | 3 | `Drain` | nothing |
//! | 4 | `Message` | the app's bytes, either way |
//! | 5 | `Ask` | a number (8 bytes) |
//! | 17 | `Report` | acknowledged, granted, closed (8 bytes each), totals |
//! | 18 | `Refused` | number of the first (8 bytes), how many (2 bytes) |
//! | 19 | `Ready` | nothing |
//! | 20 | `Leave` | nothing |
//! | 21 | `Here` | the number that was asked (8 bytes) |

use super::{Family, NAME_BYTES_MAX, NAMES_MAX};
use crate::scm::FDS_MAX;

const NAMES: u8 = 1;
const CONNECTIONS: u8 = 2;
const DRAIN: u8 = 3;
const MESSAGE: u8 = 4;
const ASK: u8 = 5;
const REPORT: u8 = 17;
const REFUSED: u8 = 18;
const READY: u8 = 19;
const LEAVE: u8 = 20;
const HERE: u8 = 21;

/// Bytes of the longest word that is no message: all names.
pub(super) const NAMES_BYTES_MAX: usize = 1 + NAMES_MAX * (2 + NAME_BYTES_MAX);

/// One word, either way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Word<'a> {
    /// Primary: the names of the listeners, by index.
    Names(Names<'a>),
    /// Primary: connections, one for each descriptor.
    Connections {
        /// The number of the first.
        first: u64,
        /// The index of each one's listener.
        listeners: Indices<'a>,
    },
    /// Primary: nothing more will come; finish what is open.
    Drain,
    /// A message of the app.
    Message(&'a [u8]),
    /// Primary: does its loop turn?
    Ask(u64),
    /// Worker: where it stands.
    Report(Report),
    /// Worker: these did not arrive, for want of descriptors.
    Refused {
        /// The number of the first.
        first: u64,
        /// How many.
        count: u16,
    },
    /// Worker: it can serve.
    Ready,
    /// Worker: it takes nothing more; whatever is not acknowledged is the primary's.
    Leave,
    /// Worker: the answer to `Ask`, by its number.
    Here(u64),
}

/// Where a worker stands, in totals since the channel's beginning.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// All connections up to this number are acknowledged, unless they were refused.
    pub acked: u64,
    /// It may be sent connections up to this number.
    pub granted: u64,
    /// Connections that it has closed again.
    pub closed: u64,
}

/// Names of listeners, not copied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names<'a>(&'a [u8]);

/// Indices of listeners, not copied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Indices<'a>(&'a [u8]);

/// Bytes that are no word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a word of the handoff protocol cannot be read")]
pub struct Unreadable;

/// Reads a word.
///
/// # Errors
///
/// [`Unreadable`] for an unknown first byte, a wrong length, too many names.
pub fn decode(bytes: &[u8]) -> Result<Word<'_>, Unreadable> {
    let (kind, rest) = bytes.split_first().ok_or(Unreadable)?;
    match (*kind, rest) {
        (NAMES, rest) => Names::parse(rest).map(Word::Names),
        (CONNECTIONS, rest) => decode_connections(rest),
        (DRAIN, []) => Ok(Word::Drain),
        (MESSAGE, rest) => Ok(Word::Message(rest)),
        (ASK, rest) => decode_number(rest).map(Word::Ask),
        (REPORT, rest) => decode_report(rest),
        (REFUSED, rest) => decode_refused(rest),
        (READY, []) => Ok(Word::Ready),
        (LEAVE, []) => Ok(Word::Leave),
        (HERE, rest) => decode_number(rest).map(Word::Here),
        _ => Err(Unreadable),
    }
}

/// Appends a word to `out`.
pub fn encode(word: &Word<'_>, out: &mut Vec<u8>) {
    match word {
        Word::Names(names) => put(out, NAMES, &[names.0]),
        Word::Connections { first, listeners } => {
            put(out, CONNECTIONS, &[&first.to_le_bytes(), listeners.0]);
        }
        Word::Drain => put(out, DRAIN, &[]),
        Word::Message(bytes) => put(out, MESSAGE, &[bytes]),
        Word::Report(report) => out.extend_from_slice(&report.to_bytes()),
        Word::Refused { first, count } => put(out, REFUSED, &[&first.to_le_bytes(), &count.to_le_bytes()]),
        Word::Ready => put(out, READY, &[]),
        Word::Leave => put(out, LEAVE, &[]),
        Word::Ask(number) => put(out, ASK, &[&number.to_le_bytes()]),
        Word::Here(number) => put(out, HERE, &[&number.to_le_bytes()]),
    }
}

/// Appends a batch of connections to `out`; its listeners need not stand in one place.
pub(super) fn encode_connections(first: u64, listeners: impl Iterator<Item = u16>, out: &mut Vec<u8>) {
    put(out, CONNECTIONS, &[&first.to_le_bytes()]);
    listeners.for_each(|index| out.extend_from_slice(&index.to_le_bytes()));
}

/// Appends the names of listeners to `out`; `None` if there are too many, or one is too long.
pub(super) fn encode_names(names: &[(&str, Family)], out: &mut Vec<u8>) -> Option<()> {
    put(out, NAMES, &[]);
    for (name, family) in names {
        let family = u8::from(*family == Family::Unix);
        out.extend_from_slice(&[family, u8::try_from(name.len()).ok()?]);
        out.extend_from_slice(name.as_bytes());
    }
    (names.len() <= NAMES_MAX).then_some(())
}

impl Report {
    pub(super) const BYTES: usize = 25;

    /// The word, in an array: it is sent for every connection.
    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [REPORT; Self::BYTES];
        let (totals, _) = bytes[1..].as_chunks_mut::<8>();
        for (place, total) in totals.iter_mut().zip([self.acked, self.granted, self.closed]) {
            *place = total.to_le_bytes();
        }
        bytes
    }
}

impl<'a> Names<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let (mut rest, mut count) = (bytes, 0);
        while !rest.is_empty() {
            rest = split_name(rest).ok_or(Unreadable)?.1;
            count += 1;
        }
        if count > NAMES_MAX { Err(Unreadable) } else { Ok(Self(bytes)) }
    }

    /// Each listener's name and family, by index.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Family)> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (name, after) = split_name(rest)?;
            rest = after;
            Some(name)
        })
    }
}

fn split_name(bytes: &[u8]) -> Option<((&str, Family), &[u8])> {
    let (family, rest) = bytes.split_first()?;
    let family = match family {
        0 => Family::Tcp,
        1 => Family::Unix,
        _ => return None,
    };
    let (len, rest) = rest.split_first()?;
    let (name, after) = rest.split_at_checked(usize::from(*len))?;
    Some(((std::str::from_utf8(name).ok()?, family), after))
}

impl<'a> Indices<'a> {
    /// How many.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len() / 2
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.0.as_chunks().0.iter().map(|index| u16::from_le_bytes(*index))
    }
}

fn decode_connections(bytes: &[u8]) -> Result<Word<'_>, Unreadable> {
    let (first, rest) = bytes.split_first_chunk().ok_or(Unreadable)?;
    if rest.is_empty() || rest.len() % 2 != 0 || rest.len() / 2 > FDS_MAX {
        return Err(Unreadable);
    }
    Ok(Word::Connections { first: u64::from_le_bytes(*first), listeners: Indices(rest) })
}

fn decode_number(bytes: &[u8]) -> Result<u64, Unreadable> {
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| Unreadable)
}

fn decode_report(bytes: &[u8]) -> Result<Word<'_>, Unreadable> {
    let ([acked, granted, closed], []) = bytes.as_chunks() else { return Err(Unreadable) };
    let [acked, granted, closed] = [acked, granted, closed].map(|total| u64::from_le_bytes(*total));
    Ok(Word::Report(Report { acked, granted, closed }))
}

fn decode_refused(bytes: &[u8]) -> Result<Word<'_>, Unreadable> {
    let (first, rest) = bytes.split_first_chunk().ok_or(Unreadable)?;
    let count = u16::from_le_bytes(rest.try_into().map_err(|_| Unreadable)?);
    Ok(Word::Refused { first: u64::from_le_bytes(*first), count })
}

fn put(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    out.push(kind);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}
