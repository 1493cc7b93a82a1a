//! Questions to a worker: what is asked, and how it is written.
//!
//! Owns the forms `http:PATH`, `tcp:PORT`, `exec:COMMAND` and what is wrong with any other. Never asks. Called by whoever
//! makes a [`Config`](super::Config).

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Bound: bytes of a path that is asked for.
const PATH_BYTES_MAX: usize = 2048;

/// A question to one worker, and which answer is a good one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Probe {
    /// `GET` of this path over HTTP/1.1, on the first listener that the worker serves: 2xx and 3xx are good.
    Http(Arc<str>),
    /// Whether the worker itself listens on a port of its own, on the loopback address.
    Tcp(Port),
    /// A command for `sh -c`, with the worker's variables and `CLUSTR_PID`: exit code 0 is good.
    Exec(Arc<str>),
}

/// A port that one worker alone has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Port {
    first: u16,
    by_slot: bool,
}

/// How often a worker is asked whether it still serves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Liveness {
    /// What it is asked.
    pub probe: Probe,
    /// From one question to the next; jittered at first, so that workers are not asked all at once. 10 s by default.
    pub every: Duration,
    /// How long an answer may take. 1 s by default.
    pub timeout: Duration,
    /// So many answers in a row that are not good, and the worker is failing. 3 by default.
    pub failures: NonZeroU32,
}

impl Liveness {
    /// With the documented defaults.
    #[must_use]
    pub fn new(probe: Probe) -> Self {
        let failures = NonZeroU32::new(3).expect("three is not zero");
        Self { probe, every: Duration::from_secs(10), timeout: Duration::from_secs(1), failures }
    }
}

/// Why a text is no probe.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// It begins with no known word.
    #[error("it is no kind of probe")]
    Kind,
    /// The path does not begin with a slash.
    #[error("a path begins with '/'")]
    Relative,
    /// The path holds what no request line can.
    #[error("a path is printable ASCII without spaces, at most {PATH_BYTES_MAX} bytes")]
    Path,
    /// The port is none.
    #[error("it is no port, and no port for each slot")]
    Port,
    /// There is no command.
    #[error("there is no command")]
    NoCommand,
}

impl ProbeError {
    /// One that makes sense.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Kind => "http:/health, tcp:9000+slot, exec:COMMAND",
            Self::Relative | Self::Path => "http:/health",
            Self::Port => "tcp:9000, tcp:9000+slot",
            Self::NoCommand => "exec:'pg_isready -q'",
        }
    }
}

impl FromStr for Probe {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Self, ProbeError> {
        match text.split_once(':') {
            Some(("http", path)) => http(path),
            Some(("tcp", port)) => Ok(Self::Tcp(port.parse()?)),
            Some(("exec", command)) if command.trim().is_empty() || command.contains('\0') => {
                Err(ProbeError::NoCommand)
            }
            Some(("exec", command)) => Ok(Self::Exec(command.into())),
            Some(_) | None => Err(ProbeError::Kind),
        }
    }
}

fn http(path: &str) -> Result<Probe, ProbeError> {
    if !path.starts_with('/') {
        return Err(ProbeError::Relative);
    }
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain || path.len() > PATH_BYTES_MAX {
        return Err(ProbeError::Path);
    }
    Ok(Probe::Http(path.into()))
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(path) => write!(f, "http:{path}"),
            Self::Tcp(port) => write!(f, "tcp:{port}"),
            Self::Exec(command) => write!(f, "exec:{command}"),
        }
    }
}

impl Port {
    /// The one of a slot, if there is one.
    #[must_use]
    pub fn of(self, slot: u32) -> Option<u16> {
        if !self.by_slot {
            return Some(self.first);
        }
        self.first.checked_add(u16::try_from(slot).ok()?)
    }
}

impl FromStr for Port {
    type Err = ProbeError;

    /// `9000`, and `9000+slot`: 9000 for slot 0, 9001 for slot 1, ….
    fn from_str(text: &str) -> Result<Self, ProbeError> {
        let (digits, by_slot) = match text.strip_suffix("+slot") {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let first = digits.parse().ok().filter(|port| is_number && *port > 0);
        first.map(|first| Self { first, by_slot }).ok_or(ProbeError::Port)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.first, if self.by_slot { "+slot" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_is_printed_as_it_is_written() {
        for text in ["http:/", "http:/health?deep=1", "tcp:9000", "tcp:9000+slot", "exec:test -e /tmp/a b"] {
            assert_eq!(text.parse::<Probe>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_asked_is_named() {
        for (text, error) in [
            ("", ProbeError::Kind),
            ("https:/", ProbeError::Kind),
            ("http", ProbeError::Kind),
            ("http:", ProbeError::Relative),
            ("http:health", ProbeError::Relative),
            ("http:/a b", ProbeError::Path),
            ("http:/\r\nHost: x", ProbeError::Path),
            ("http:/caf\u{e9}", ProbeError::Path),
            ("tcp:", ProbeError::Port),
            ("tcp:0", ProbeError::Port),
            ("tcp:+1", ProbeError::Port),
            ("tcp:70000", ProbeError::Port),
            ("tcp:9000+2", ProbeError::Port),
            ("exec:", ProbeError::NoCommand),
            ("exec: ", ProbeError::NoCommand),
        ] {
            assert_eq!(text.parse::<Probe>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_port_by_slot_ends_with_the_last_port() {
        let port: Port = "65534+slot".parse().unwrap();
        assert_eq!([0, 1, 2].map(|slot| port.of(slot)), [Some(65_534), Some(65_535), None]);
        assert_eq!("9000".parse::<Port>().unwrap().of(7), Some(9000));
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic_and_a_path_is_always_one_word_of_a_request(text in "(http:/?)?\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
            if let Ok(Probe::Http(path)) = text.parse() {
                prop_assert!(path.starts_with('/') && !path.contains(char::is_whitespace));
            }
        }
    }
}
