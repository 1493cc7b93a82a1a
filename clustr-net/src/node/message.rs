//! What a worker's line says.
//!
//! Owns the reading of lines: dialect, classification, fields. Pure: no I/O. Never fails on a line, whatever it
//! holds. Called by `endpoint`; a fuzz target and a property drive it with hostile bytes.
//!
//! | line | message |
//! |---|---|
//! | `{"cmd":"NODE_CLUSTER","act":"online","seq":0}` | `Online` |
//! | `{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,...,"seq":1}` | `QueryServer` |
//! | `{"cmd":"NODE_CLUSTER","act":"listening",...,"port":3001,"seq":2}` | `Listening` |
//! | `{"cmd":"NODE_CLUSTER","act":"close","key":"1","seq":3}` | `Close` |
//! | `{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":4}` | `ExitedAfterDisconnect` |
//! | `{"cmd":"NODE_CLUSTER","ack":5,"accepted":true,"seq":5}` | `Accepted` |
//! | `{"cmd":"NODE_HANDLE","type":"net.Socket","msg":M}` and a descriptor | `Handle` |
//! | `{"cmd":"NODE_HANDLE_ACK"}`, `{"cmd":"NODE_HANDLE_NACK"}` | `HandleAck`, `HandleNack` |
//! | any other JSON value, `{"cmd":"NODE_"}` included | `User` |

use std::ops::Range;

use serde_json::value::RawValue;

use super::json;
use super::lines::{LINE_BYTES_MAX, Line, Lines};
use super::query::Query;

/// How a runtime writes its internal lines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Dialect {
    /// Node and Deno: internal messages are known by their `cmd`.
    #[default]
    Node,
    /// Bun: internal lines start with byte 0x02, and messages with a descriptor are not wrapped.
    Bun,
}

/// What one line said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// The worker runs; always its first word.
    Online,
    /// It wants to listen.
    QueryServer(Query),
    /// A server of it is up. The fields are those of the query, with the real port.
    Listening(Query),
    /// A server of it was closed.
    Close {
        /// The key of our reply.
        key: String,
    },
    /// It leaves of its own will, and waits for a reply.
    ExitedAfterDisconnect {
        /// The number to acknowledge.
        seq: i64,
    },
    /// The answer to a connection that was handed over.
    Accepted {
        /// The number of our message.
        ack: i64,
        /// Whether the worker serves it.
        accepted: bool,
    },
    /// A handle of the app's: `process.send(message, handle)`. The descriptor comes beside the line.
    Handle {
        /// `net.Socket`, `net.Server`, `dgram.Socket`, `net.Native`, ...
        kind: String,
        /// The app's message, as JSON text.
        inner: String,
    },
    /// Our oldest unacknowledged handle has arrived.
    HandleAck,
    /// Our oldest unacknowledged handle has not arrived.
    HandleNack,
    /// A message of the app's: `process.send(value)`, as JSON text.
    User(String),
    /// An internal message that we do not know. To be ignored.
    UnknownInternal,
    /// A line that is not JSON. To be dropped.
    Garbage {
        /// Its length.
        bytes: usize,
    },
    /// The line is longer than [`LINE_BYTES_MAX`]: the end of the conversation, repeated for ever.
    Overlong,
}

/// Turns bytes, in whatever pieces they arrive, into messages.
///
/// ```
/// use clustr_net::node::{Decoder, Message};
///
/// let mut decoder = Decoder::default();
/// decoder.push(b"{\"cmd\":\"NODE_CLUSTER\",\"act\":\"onl");
/// assert_eq!(decoder.decode(), None);
/// decoder.push(b"ine\",\"seq\":0}\n\"ready\"\n");
/// assert_eq!(decoder.decode(), Some(Message::Online));
/// assert_eq!(decoder.decode(), Some(Message::User("\"ready\"".to_owned())));
/// ```
#[derive(Debug)]
pub struct Decoder {
    lines: Lines,
    dialect: Dialect,
    span: Range<u64>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_line_max(LINE_BYTES_MAX)
    }
}

impl Decoder {
    /// A decoder that cuts off lines of more than `line_max` bytes.
    #[must_use]
    pub const fn with_line_max(line_max: usize) -> Self {
        Self { lines: Lines::new(line_max), dialect: Dialect::Node, span: 0..0 }
    }

    /// Adds what has arrived. Memory is bounded by the longest line and one push, if all messages are taken between.
    pub fn push(&mut self, bytes: &[u8]) {
        self.lines.push(bytes);
    }

    /// The next message, if a whole line is there.
    pub fn decode(&mut self) -> Option<Message> {
        let (line, span) = match self.lines.next() {
            Line::Whole(line, span) => (line, span),
            Line::None => return None,
            Line::TooLong => return Some(Message::Overlong),
        };
        self.span = span;
        let message = match line.strip_prefix(b"\x02") {
            Some(internal) => {
                self.dialect = Dialect::Bun;
                read_marked(internal)
            }
            None => read(line),
        };
        Some(message)
    }

    /// Where in the stream the last message lay, its line feed included.
    pub(crate) fn span(&self) -> Range<u64> {
        self.span.clone()
    }

    /// How many bytes have arrived in all.
    pub(crate) fn received(&self) -> u64 {
        self.lines.received()
    }

    /// How many bytes wait for the end of their line.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lines.waiting()
    }

    /// The dialect of what was read so far.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }
}

/// The fields that tell messages apart.
struct Head<'a> {
    cmd: Option<String>,
    act: Option<String>,
    fields: [Option<&'a RawValue>; 6],
}

impl<'a> Head<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let names = ["cmd", "act", "seq", "ack", "accepted", "key", "type", "msg"];
        let [cmd, act, fields @ ..] = json::pick(text, names)?;
        Some(Self { cmd: json::string(cmd), act: json::string(act), fields })
    }
}

/// A line that Bun marked as internal; its `cmd` is implied.
fn read_marked(line: &[u8]) -> Message {
    let Some((text, head)) = std::str::from_utf8(line).ok().and_then(|text| Some((text, Head::read(text)?)))
    else {
        return Message::Garbage { bytes: line.len() };
    };
    match &head.cmd {
        Some(cmd) if cmd != "NODE_CLUSTER" => read_internal(text, cmd, &head),
        _ => read_cluster(text, &head),
    }
}

/// Node's exact words after each connection that is handed over: read without looking at every field.
fn read_usual(line: &[u8]) -> Option<Message> {
    if line == b"{\"cmd\":\"NODE_HANDLE_ACK\"}" {
        return Some(Message::HandleAck);
    }
    let rest = line.strip_prefix(b"{\"cmd\":\"NODE_CLUSTER\",\"ack\":")?;
    let (ack, rest) = digits(rest)?;
    let rest = rest.strip_prefix(b",\"accepted\":")?;
    let accepted = rest.starts_with(b"true");
    let rest = rest.strip_prefix(if accepted { b"true".as_slice() } else { b"false" })?;
    let (_, rest) = digits(rest.strip_prefix(b",\"seq\":")?)?;
    (rest == b"}").then_some(Message::Accepted { ack, accepted })
}

/// A whole number as `JSON.stringify` writes it, and what follows.
fn digits(text: &[u8]) -> Option<(i64, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(count);
    let is_whole = number.len() == 1 || (1..16).contains(&number.len()) && number[0] != b'0';
    let value = || number.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    is_whole.then(|| (value(), rest))
}

fn read(line: &[u8]) -> Message {
    if let Some(message) = read_usual(line) {
        return message;
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return Message::Garbage { bytes: line.len() };
    };
    let head = Head::read(text);
    if let Some((cmd, head)) = head.as_ref().and_then(|head| Some((head.cmd.as_deref()?, head)))
        && is_internal(cmd)
    {
        return read_internal(text, cmd, head);
    }
    // An object whose names cannot be decoded (half of a surrogate pair) is still a value to pass on.
    if head.is_some() || json::is_valid(text) {
        return Message::User(text.to_owned());
    }
    Message::Garbage { bytes: line.len() }
}

/// Node's rule: `NODE_` and something after it.
fn is_internal(cmd: &str) -> bool {
    cmd.strip_prefix("NODE_").is_some_and(|rest| !rest.is_empty())
}

/// Whether node would take the value for one of its own messages.
pub(crate) fn is_reserved(text: &str) -> bool {
    json::pick(text, ["cmd"]).and_then(|[cmd]| json::string(cmd)).is_some_and(|cmd| is_internal(&cmd))
}

fn read_internal(text: &str, cmd: &str, head: &Head<'_>) -> Message {
    let [.., kind, inner] = head.fields;
    match cmd {
        "NODE_CLUSTER" => read_cluster(text, head),
        "NODE_HANDLE" => {
            Message::Handle { kind: json::string(kind).unwrap_or_default(), inner: json::raw(inner) }
        }
        "NODE_HANDLE_ACK" => Message::HandleAck,
        "NODE_HANDLE_NACK" => Message::HandleNack,
        _ => Message::UnknownInternal,
    }
}

fn read_cluster(text: &str, head: &Head<'_>) -> Message {
    let [seq, ack, accepted, key, ..] = head.fields;
    let query = || Query::read(text);
    let known = match head.act.as_deref() {
        Some("online") => Some(Message::Online),
        Some("queryServer") => query().map(Message::QueryServer),
        Some("listening") => query().map(Message::Listening),
        Some("close") => json::string(key).map(|key| Message::Close { key }),
        Some("exitedAfterDisconnect") => json::integer(seq).map(|seq| Message::ExitedAfterDisconnect { seq }),
        Some(_) => None,
        None => json::integer(ack)
            .filter(|_| accepted.is_some())
            .map(|ack| Message::Accepted { ack, accepted: json::truth(accepted) }),
    };
    known.unwrap_or(Message::UnknownInternal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_words_are_read_as_any_others_would_be() {
        let lines = [
            r#"{"cmd":"NODE_HANDLE_ACK"}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":0,"accepted":true,"seq":5}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":117,"accepted":false,"seq":999999999999999}"#,
        ];
        for line in lines {
            let spaced = line.replace(':', ": ");
            assert_eq!(read_usual(line.as_bytes()), Some(read(spaced.as_bytes())), "{line}");
        }
    }

    #[test]
    fn what_only_looks_usual_is_looked_at_in_full() {
        let lines = [
            r#"{"cmd":"NODE_CLUSTER","ack":05,"accepted":true,"seq":5}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":5,"accepted":true,"seq":}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":5,"accepted":trueish,"seq":5}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":5,"accepted":true,"seq":5,"ack":6}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":99999999999999999999,"accepted":true,"seq":5}"#,
        ];
        for line in lines {
            assert_eq!(read_usual(line.as_bytes()), None, "{line}");
        }
    }
}
