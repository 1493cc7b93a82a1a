//! Our lines to a worker.
//!
//! Owns their exact bytes, in both dialects. Pure: no I/O. Called by `endpoint`.
//!
//! In node's dialect a message that comes with a descriptor is wrapped,
//! `{"cmd":"NODE_HANDLE","type":"net.Native","msg":{...}}`; in Bun's it has a mark, `"$hasHandle":true`, and every
//! internal line starts with byte 0x02.

use std::io::Write as _;
use std::net::SocketAddr;

use super::json::quoted;
use super::message::Dialect;

/// What kind of descriptor comes with a line, for node's `NODE_HANDLE`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HandleKind {
    /// `net.Native`: a TCP or Unix socket.
    Net,
    /// `dgram.Native`: a UDP socket.
    Dgram,
}

/// The answer to a `queryServer`. `data` is JSON text; `errno` is 0 or negative.
#[must_use]
pub fn reply(dialect: Dialect, handle: Option<HandleKind>, seq: u64, ack: i64, reply: Reply<'_>) -> Vec<u8> {
    let Reply { key, errno, data, sockname } = reply;
    let key = quoted(key);
    let name = sockname.map(sockname_field).unwrap_or_default();
    let fields = format!("\"ack\":{ack},\"key\":{key},\"errno\":{errno},\"data\":{data}{name}");
    cluster(dialect, handle, seq, &fields)
}

/// What `server.address()` returns where the worker has no socket of its own to ask.
fn sockname_field(name: SocketAddr) -> String {
    let family = if name.is_ipv6() { "IPv6" } else { "IPv4" };
    let (ip, port) = (name.ip(), name.port());
    format!(",\"sockname\":{{\"address\":\"{ip}\",\"family\":\"{family}\",\"port\":{port}}}")
}

/// The words of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reply<'a> {
    /// The key by which the worker will name this server.
    pub key: &'a str,
    /// 0, or a negative errno.
    pub errno: i32,
    /// JSON text that all workers of the listener share.
    pub data: &'a str,
    /// Where the server listens, if it is TCP and its connections will be handed over.
    pub sockname: Option<SocketAddr>,
}

/// The answer to an `exitedAfterDisconnect`.
#[must_use]
pub fn acknowledge(dialect: Dialect, seq: u64, ack: i64) -> Vec<u8> {
    cluster(dialect, None, seq, &format!("\"ack\":{ack}"))
}

/// Close all servers, finish what is open, then close the channel.
#[must_use]
pub fn disconnect(dialect: Dialect, seq: u64) -> Vec<u8> {
    cluster(dialect, None, seq, "\"act\":\"disconnect\"")
}

/// One accepted connection; its descriptor comes with the line. Written into `line`, whose room is used again: there
/// is one such line for each connection.
pub fn newconn(dialect: Dialect, seq: u64, key: &str, line: &mut Vec<u8>) {
    let (head, tail) = match dialect {
        Dialect::Node => ("{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{", "}}\n"),
        Dialect::Bun => ("\u{2}{", ",\"$hasHandle\":true}\n"),
    };
    line.clear();
    line.extend_from_slice(head.as_bytes());
    line.extend_from_slice(b"\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\",\"key\":");
    // Neither can fail: a vector takes all bytes.
    let _ = serde_json::to_writer(&mut *line, key);
    let _ = write!(line, ",\"seq\":{seq}{tail}");
}

/// A handle of the worker's has arrived. Bun, too, writes this line without its mark.
pub const HANDLE_ACK: &[u8] = b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n";

/// A handle of the worker's has not arrived.
pub const HANDLE_NACK: &[u8] = b"{\"cmd\":\"NODE_HANDLE_NACK\"}\n";

/// A message for the app: one JSON value, on one line.
#[must_use]
pub fn user(json: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(json.len() + 1);
    // A line feed stands between the tokens of a value or nowhere: inside strings it is always escaped.
    line.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    line.push(b'\n');
    line
}

fn cluster(dialect: Dialect, handle: Option<HandleKind>, seq: u64, fields: &str) -> Vec<u8> {
    let message = format!("{{\"cmd\":\"NODE_CLUSTER\",{fields},\"seq\":{seq}");
    let line = match (dialect, handle) {
        (Dialect::Node, None) => format!("{message}}}\n"),
        (Dialect::Node, Some(kind)) => {
            format!("{{\"cmd\":\"NODE_HANDLE\",\"type\":\"{}\",\"msg\":{message}}}}}\n", kind.name())
        }
        (Dialect::Bun, None) => format!("\u{2}{message}}}\n"),
        (Dialect::Bun, Some(_)) => format!("\u{2}{message},\"$hasHandle\":true}}\n"),
    };
    line.into_bytes()
}

impl HandleKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Net => "net.Native",
            Self::Dgram => "dgram.Native",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: Vec<u8>) -> String {
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_reply_with_a_descriptor_is_wrapped_for_node_and_marked_for_bun() {
        let words = Reply { key: "1", errno: 0, data: "null", sockname: None };
        assert_eq!(
            text(reply(Dialect::Node, Some(HandleKind::Net), 7, 2, words)),
            "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_CLUSTER\",\"ack\":2,\"key\":\"1\",\
             \"errno\":0,\"data\":null,\"seq\":7}}\n"
        );
        assert_eq!(
            text(reply(Dialect::Bun, Some(HandleKind::Dgram), 7, 2, words)),
            "\u{2}{\"cmd\":\"NODE_CLUSTER\",\"ack\":2,\"key\":\"1\",\"errno\":0,\"data\":null,\"seq\":7,\
             \"$hasHandle\":true}\n"
        );
    }

    #[test]
    fn a_reply_without_a_descriptor_names_where_the_server_listens() {
        let line = |name: &str| {
            let words = Reply { key: "1", errno: 0, data: "null", sockname: Some(name.parse().unwrap()) };
            text(reply(Dialect::Node, None, 7, 2, words))
        };
        assert_eq!(
            line("[::]:3001"),
            "{\"cmd\":\"NODE_CLUSTER\",\"ack\":2,\"key\":\"1\",\"errno\":0,\"data\":null,\
             \"sockname\":{\"address\":\"::\",\"family\":\"IPv6\",\"port\":3001},\"seq\":7}\n"
        );
        assert!(line("127.0.0.1:80").contains("{\"address\":\"127.0.0.1\",\"family\":\"IPv4\",\"port\":80}"));
    }

    fn connection(dialect: Dialect, seq: u64, key: &str) -> String {
        let mut line = b"what was there before".to_vec();
        newconn(dialect, seq, key, &mut line);
        text(line)
    }

    #[test]
    fn a_connection_is_wrapped_for_node_and_marked_for_bun() {
        assert_eq!(
            connection(Dialect::Bun, 9, "4"),
            "\u{2}{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\",\"key\":\"4\",\"seq\":9,\"$hasHandle\":true}\n"
        );
    }

    #[test]
    fn a_key_cannot_break_out_of_its_string() {
        assert_eq!(
            connection(Dialect::Node, 1, "a\"b\n"),
            "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\",\
             \"key\":\"a\\\"b\\n\",\"seq\":1}}\n"
        );
    }

    #[test]
    fn a_value_over_several_lines_becomes_one() {
        assert_eq!(text(user("{\n  \"a\": 1\r\n}")), "{   \"a\": 1  }\n");
    }
}
