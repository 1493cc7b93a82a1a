//! A worker's `queryServer`: a `listen` or `bind` that it asks us to do.
//!
//! Owns the reading of its fields. Never judges them: `table` does. Called by `message`.
//!
//! | app calls | `address` | `port` | `address_kind` | `fd` |
//! |---|---|---|---|---|
//! | `listen(3001)` | none | 3001 | tcp4, which here means any family | none |
//! | `listen(3001, '::1')` | `::1`, resolved by the worker | 3001 | tcp6 | none |
//! | `listen('./x.sock')` | the path, made absolute by the worker | -1 | unix | none |
//! | `listen({fd: 7})` | none | none | fd | 7 |
//! | `socket.bind(5353)` | `0.0.0.0` or `::` | 5353 | udp4, udp6 | -1 or none |

use serde_json::value::RawValue;

use crate::addr::{Addr, Host};

use super::json;

/// What a worker wants to listen on. Each field is as the worker sent it; absent and null are `None`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Query {
    /// The number of the request, for the reply's `ack`.
    pub seq: i64,
    /// The numeric address or the path.
    pub address: Option<String>,
    /// The port; -1 for Unix paths.
    pub port: Option<i64>,
    /// The family.
    pub address_kind: AddressKind,
    /// A descriptor number of the primary, in `listen({fd})`.
    pub fd: Option<i64>,
    /// TCP: bit 0 is IPv6 only. UDP: 1 is IPv6 only, 4 `SO_REUSEADDR`, 64 `SO_REUSEPORT`.
    pub flags: i64,
    /// The wanted backlog, if the app named one that is more than 0.
    pub backlog: Option<u32>,
    /// Counts servers in the worker with equal address, port, kind and fd that are open at the same time.
    pub index: i64,
    /// What the server wants all workers to share, as JSON text: TLS ticket keys, else mostly `null`.
    pub data: String,
    /// The socket file shall be readable by everybody.
    pub readable_all: bool,
    /// The socket file shall be writable by everybody.
    pub writable_all: bool,
}

/// The family of an address, from node's `addressType`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AddressKind {
    /// `4`: TCP over IPv4, or over anything if no address is named.
    Tcp4,
    /// `6`: TCP over IPv6.
    Tcp6,
    /// `-1`: a Unix stream socket.
    Unix,
    /// `"udp4"`: UDP over IPv4.
    Udp4,
    /// `"udp6"`: UDP over IPv6.
    Udp6,
    /// None, but a descriptor number.
    Fd,
    /// Something else.
    Unknown,
}

const FIELDS: [&str; 11] = [
    "seq",
    "address",
    "port",
    "addressType",
    "fd",
    "flags",
    "backlog",
    "index",
    "data",
    "readableAll",
    "writableAll",
];

impl Query {
    /// Reads the object of a `queryServer` or `listening`.
    pub(crate) fn read(object: &str) -> Option<Self> {
        let [seq, address, port, kind, fd, flags, backlog, index, data, readable, writable] =
            json::pick(object, FIELDS)?;
        let fd = json::integer(fd);
        Some(Self {
            seq: json::integer(seq).unwrap_or(0),
            address: json::string(address),
            port: json::integer(port),
            address_kind: AddressKind::read(kind.map(RawValue::get), fd),
            fd,
            flags: json::integer(flags).unwrap_or(0),
            backlog: json::integer(backlog)
                .and_then(|count| u32::try_from(count).ok())
                .filter(|&count| count > 0),
            index: json::integer(index).unwrap_or(0),
            data: json::raw(data),
            readable_all: json::truth(readable),
            writable_all: json::truth(writable),
        })
    }

    /// What it asks for, as a person would write it: `[::]:3001`, `unix:/run/x.sock`, `udp:0.0.0.0:53`, `fd:7`.
    #[must_use]
    pub fn describe(&self) -> String {
        describe(self.address.as_deref(), self.port, self.address_kind, self.fd)
    }
}

/// An address of node's as a person would write it.
pub(crate) fn describe(
    address: Option<&str>,
    port: Option<i64>,
    kind: AddressKind,
    fd: Option<i64>,
) -> String {
    if let Some(fd) = fd.filter(|&fd| fd >= 0) {
        return format!("fd:{fd}");
    }
    let port = port.unwrap_or(0);
    // What is no numeric address is shown escaped: it came from a worker and may hold anything.
    let host = |any: &str| match address {
        None => any.to_owned(),
        Some(text) => Host::from_numbers(text)
            .map_or_else(|| text.escape_default().to_string(), |host| host.to_string()),
    };
    match kind {
        AddressKind::Udp4 => format!("udp:{}:{port}", host("0.0.0.0")),
        AddressKind::Udp6 => format!("udp:{}:{port}", host("[::]")),
        AddressKind::Unix => unix(address.unwrap_or_default()).to_string(),
        AddressKind::Tcp4 | AddressKind::Tcp6 | AddressKind::Fd | AddressKind::Unknown => {
            format!("{}:{port}", host("[::]"))
        }
    }
}

/// The Unix address that node means. It takes `'\0name'` for a relative path and puts the working directory before
/// it; a NUL byte can stand in no path, so what follows it is the abstract name.
pub(crate) fn unix(address: &str) -> Addr {
    match address.split_once('\0') {
        Some((_, name)) => Addr::Abstract(name.as_bytes().to_vec()),
        None => Addr::Unix(address.into()),
    }
}

impl AddressKind {
    /// Reads `addressType`: 4, 6, -1, `"udp4"`, `"udp6"`, or none of them beside a descriptor.
    fn read(value: Option<&str>, fd: Option<i64>) -> Self {
        match value {
            Some("4") => Self::Tcp4,
            Some("6") => Self::Tcp6,
            Some("-1") => Self::Unix,
            Some("\"udp4\"") => Self::Udp4,
            Some("\"udp6\"") => Self::Udp6,
            _ if fd.is_some_and(|fd| fd >= 0) => Self::Fd,
            _ => Self::Unknown,
        }
    }

    /// Whether it is for datagrams.
    #[must_use]
    pub const fn is_datagram(self) -> bool {
        matches!(self, Self::Udp4 | Self::Udp6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_absent_null_boolean_or_numbers() {
        let query =
            Query::read(r#"{"seq":2,"port":3001,"addressType":4,"backlog":false,"flags":null}"#).unwrap();
        assert_eq!((query.seq, query.port, query.backlog, query.flags), (2, Some(3001), None, 0));
        assert_eq!((query.index, query.data.as_str(), query.readable_all), (0, "null", false));
        let query =
            Query::read(r#"{"backlog":511,"readableAll":true,"writableAll":1,"data":{"a":1}}"#).unwrap();
        assert_eq!((query.backlog, query.readable_all, query.writable_all), (Some(511), true, true));
        assert_eq!((query.address_kind, query.data.as_str()), (AddressKind::Unknown, r#"{"a":1}"#));
    }

    #[test]
    fn a_query_is_described_as_a_person_would_write_it() {
        let cases = [
            (r#"{"address":null,"port":3001,"addressType":4}"#, "[::]:3001"),
            (r#"{"address":"127.0.0.1","port":80,"addressType":4}"#, "127.0.0.1:80"),
            (r#"{"address":"::1","port":80,"addressType":6}"#, "[::1]:80"),
            (r#"{"address":"/x.sock","port":-1,"addressType":-1}"#, "unix:/x.sock"),
            (r#"{"address":"/cwd/\u0000x","port":-1,"addressType":-1}"#, "unix:@x"),
            (r#"{"address":"0.0.0.0","port":null,"addressType":"udp4","fd":-1}"#, "udp:0.0.0.0:0"),
            (r#"{"address":"::","port":53,"addressType":"udp6"}"#, "udp:[::]:53"),
            (r#"{"fd":7}"#, "fd:7"),
            (r#"{"address":"\u001b[2J","port":1,"addressType":4}"#, "\\u{1b}[2J:1"),
        ];
        for (object, text) in cases {
            assert_eq!(Query::read(object).unwrap().describe(), text);
        }
    }
}
