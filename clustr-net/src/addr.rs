//! Addresses as people write them.
//!
//! Owns the text forms and their errors. Never touches a socket and never asks a name server. Called by the command
//! line and the configuration (to parse) and by everything that prints where it listens.
//!
//! | text | meaning |
//! |---|---|
//! | `3001`, `:3001` | TCP, any address, IPv6 and IPv4 |
//! | `127.0.0.1:3001`, `[::1]:3001`, `[fe80::1%eth0]:3001` | TCP, one address |
//! | `localhost:3001` | TCP, the first address of that name |
//! | `unix:/run/app.sock`, `unix:app.sock` | a Unix socket in the file system |
//! | `unix:@app` | a Unix socket in the abstract namespace |
//! | `udp:ADDR` | the same, for datagrams |
//! | `fd:3` | a socket that this process was started with |
//!
//! In Unix names, `\xNN` stands for a byte that cannot be shown, and `\x5c` for the backslash.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Addr {
    /// A TCP port.
    Tcp {
        /// On which address.
        host: Host,
        /// The port; 0 lets the kernel choose.
        port: u16,
    },
    /// A UDP port.
    Udp {
        /// On which address.
        host: Host,
        /// The port; 0 lets the kernel choose.
        port: u16,
    },
    /// A Unix stream socket with a file.
    Unix(PathBuf),
    /// A Unix stream socket with a name in the abstract namespace, here without its leading NUL byte.
    Abstract(Vec<u8>),
    /// A socket that came with the process.
    Fd(u32),
}

/// The host part of an internet address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Host {
    /// All addresses: IPv6 and IPv4 on one socket, or IPv4 where the machine has no IPv6.
    Any,
    /// One address. `::` means IPv6 and IPv4 unless the listener is told otherwise.
    Ip(IpAddr),
    /// A link-local address and its interface, by name or number.
    Zoned(Ipv6Addr, String),
    /// A name to be resolved by whoever binds.
    Name(String),
}

/// A text that is no address: what is wrong with it, where, and what to type instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("address {given:?}: {fault}")]
pub struct AddrError {
    given: String,
    fault: AddrFault,
}

/// What is wrong with the text of an address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddrFault {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// There is a host but no port.
    #[error("it has no port")]
    NoPort,
    /// The port is no number from 0 to 65535.
    #[error("port {0:?} is not a number from 0 to 65535")]
    Port(String),
    /// The host is no address and no name.
    #[error("host {0:?} is neither an IP address nor a name")]
    Host(String),
    /// An IPv6 address without its brackets.
    #[error("IPv6 address {0:?} needs brackets")]
    Brackets(String),
    /// The Unix name is empty, or holds a NUL byte.
    #[error("the name of a Unix socket is empty or holds a NUL byte")]
    UnixName,
    /// The descriptor is no number.
    #[error("descriptor {0:?} is not a number")]
    Fd(String),
    /// `udp:` before something that is no internet address.
    #[error("{0:?} cannot be a UDP address")]
    Udp(String),
}

impl AddrError {
    /// What is wrong.
    #[must_use]
    pub const fn fault(&self) -> &AddrFault {
        &self.fault
    }

    /// Something to type instead.
    #[must_use]
    pub fn hint(&self) -> String {
        match &self.fault {
            AddrFault::Empty => "try ':3001', 'unix:/run/app.sock' or 'fd:3'".to_owned(),
            AddrFault::NoPort => format!("try '{}:3001'; for a Unix socket 'unix:{0}'", self.given),
            AddrFault::Port(_) => "try ':3001', or ':0' to let the system choose".to_owned(),
            AddrFault::Host(_) => "try '127.0.0.1:3001', '[::1]:3001' or 'localhost:3001'".to_owned(),
            AddrFault::Brackets(host) => format!("try '[{host}]:3001'"),
            AddrFault::UnixName => "try 'unix:/run/app.sock', or 'unix:@app' for an abstract name".to_owned(),
            AddrFault::Fd(_) => "try 'fd:3'".to_owned(),
            AddrFault::Udp(_) => "try 'udp::5353' or 'udp:127.0.0.1:5353'".to_owned(),
        }
    }
}

impl Addr {
    /// The internet address, where the host is a numeric one. A zone is left out.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let (Self::Tcp { host, port } | Self::Udp { host, port }) = self else { return None };
        match host {
            Host::Ip(ip) => Some(SocketAddr::new(*ip, *port)),
            Host::Zoned(ip, _) => Some(SocketAddr::new((*ip).into(), *port)),
            Host::Any | Host::Name(_) => None,
        }
    }
}

impl FromStr for Addr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        parse(text).map_err(|fault| AddrError { given: text.to_owned(), fault })
    }
}

fn parse(text: &str) -> Result<Addr, AddrFault> {
    if let Some(name) = text.strip_prefix("unix:") {
        return parse_unix(name);
    }
    if let Some(number) = text.strip_prefix("fd:") {
        return decimal(number).map(Addr::Fd).ok_or_else(|| AddrFault::Fd(number.to_owned()));
    }
    if let Some(rest) = text.strip_prefix("udp:") {
        if ["unix:", "fd:", "udp:"].iter().any(|prefix| rest.starts_with(prefix)) {
            return Err(AddrFault::Udp(rest.to_owned()));
        }
        return parse_inet(rest).map(|(host, port)| Addr::Udp { host, port });
    }
    parse_inet(text).map(|(host, port)| Addr::Tcp { host, port })
}

fn parse_unix(name: &str) -> Result<Addr, AddrFault> {
    let (bytes, is_abstract) = match name.strip_prefix('@') {
        Some(rest) => (unescape(rest), true),
        None => (unescape(name), false),
    };
    if bytes.is_empty() || (!is_abstract && bytes.contains(&0)) {
        return Err(AddrFault::UnixName);
    }
    Ok(if is_abstract { Addr::Abstract(bytes) } else { Addr::Unix(OsStr::from_bytes(&bytes).into()) })
}

fn parse_inet(text: &str) -> Result<(Host, u16), AddrFault> {
    if text.is_empty() {
        return Err(AddrFault::Empty);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, port) = rest.split_once(']').ok_or_else(|| AddrFault::Host(text.to_owned()))?;
        let port = port.strip_prefix(':').ok_or(AddrFault::NoPort)?;
        let host = parse_v6(inside).ok_or_else(|| AddrFault::Host(inside.to_owned()))?;
        return Ok((host, parse_port(port)?));
    }
    match text.rsplit_once(':') {
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok((Host::Any, parse_port(text)?)),
        None => Err(AddrFault::NoPort),
        Some((host, _)) if host.contains(':') => Err(misplaced_colon(text, host)),
        Some((host, port)) => Ok((parse_host(host)?, parse_port(port)?)),
    }
}

/// `::1` is an address that wants brackets, `::1:3001` may be one with a port, `a:b:c` is nothing at all.
fn misplaced_colon(text: &str, host: &str) -> AddrFault {
    match [text, host].into_iter().find(|part| parse_v6(part).is_some()) {
        Some(address) => AddrFault::Brackets(address.to_owned()),
        None => AddrFault::Host(host.to_owned()),
    }
}

fn parse_host(host: &str) -> Result<Host, AddrFault> {
    if host.is_empty() {
        return Ok(Host::Any);
    }
    if let Ok(ip) = host.parse() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    let letters = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if letters && !numeric { Ok(Host::Name(host.to_owned())) } else { Err(AddrFault::Host(host.to_owned())) }
}

fn parse_v6(text: &str) -> Option<Host> {
    match text.split_once('%') {
        Some((ip, zone)) => {
            let fits = !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_graphic() && byte != b']');
            fits.then_some(Host::Zoned(ip.parse().ok()?, zone.to_owned()))
        }
        None => Some(Host::Ip(IpAddr::V6(text.parse().ok()?))),
    }
}

fn parse_port(text: &str) -> Result<u16, AddrFault> {
    decimal(text).ok_or_else(|| AddrFault::Port(text.to_owned()))
}

/// Digits only: `str::parse` would also take a plus sign.
fn decimal<N: FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl Host {
    /// An address in numbers, as in `127.0.0.1`, `::1` or `fe80::1%eth0`: never a name.
    #[must_use]
    pub fn from_numbers(text: &str) -> Option<Self> {
        text.parse().ok().map(|ip| Self::Ip(IpAddr::V4(ip))).or_else(|| parse_v6(text))
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Udp { host, port } => write!(f, "udp:{host}:{port}"),
            // A file whose name starts with `@` must not turn into an abstract name.
            Self::Unix(path) if path.as_os_str().as_bytes().first() == Some(&b'@') => {
                f.write_str("unix:./")?;
                escape(path.as_os_str().as_bytes(), f)
            }
            Self::Unix(path) => {
                f.write_str("unix:")?;
                escape(path.as_os_str().as_bytes(), f)
            }
            Self::Abstract(name) => {
                f.write_str("unix:@")?;
                escape(name, f)
            }
            Self::Fd(number) => write!(f, "fd:{number}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Zoned(ip, zone) => write!(f, "[{ip}%{zone}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Shows bytes as text that can be read back, and that cannot play tricks on a terminal.
fn escape(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => f.write_str("\\x5c")?,
                _ if letter.is_control() => {
                    let mut utf8 = [0; 4];
                    letter.encode_utf8(&mut utf8).bytes().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
                }
                _ => f.write_char(letter)?,
            }
        }
        chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
    }
    Ok(())
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(plain.as_bytes());
        let digits = after.get(..2).filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => (bytes.push(byte), rest = &after[2..]).1,
            None => (bytes.extend_from_slice(b"\\x"), rest = after).1,
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[cfg(test)]
mod tests;
