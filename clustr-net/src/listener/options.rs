//! Choices when binding, as values and as text.
//!
//! Owns the names of the options. Never touches a socket; names of users and groups are looked up when they are read.
//! Called by `listener`, and by a command line or configuration to parse.
//!
//! Text is `name` or `name=value`, with commas between them, as in `backlog=511,v6only` or `mode=0660,group=www-data`:
//!
//! | name | [`Options`] |
//! |---|---|
//! | `backlog=N` | `backlog` |
//! | `v6only` | `v6_only` |
//! | `reuse-addr`, `reuse-port` | `reuse_addr`, `reuse_port` |
//! | `blocking` | `blocking` |
//! | `defer-accept=SECONDS` | `defer_accept` |
//! | `fastopen=N` | `fastopen` |
//! | `mode=OCTAL` | `mode` |
//! | `owner=USER`, `group=GROUP` | `owner`, `group`, by name or number |
//! | `replace-stale` | `replace_stale` |

use std::str::FromStr;

use nix::unistd::{Group, User};

/// Choices when binding. The default suits a server on TCP or Unix.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// Connections that may wait in the kernel; `None` is the most that `net.core.somaxconn` allows.
    pub backlog: Option<u32>,
    /// IPv6 sockets take no IPv4 (`IPV6_V6ONLY`).
    pub v6_only: bool,
    /// `SO_REUSEADDR` for datagrams. Streams always have it.
    pub reuse_addr: bool,
    /// `SO_REUSEPORT`, set before the bind.
    pub reuse_port: bool,
    /// `SO_REUSEPORT`, set after the bind: whoever has the port already makes it fail, and later sockets can join.
    pub reuse_port_after: bool,
    /// The socket blocks whoever accepts, for programs that expect so. A loop must not.
    pub blocking: bool,
    /// `TCP_DEFER_ACCEPT`, in seconds: a connection comes up only when its client has said something.
    pub defer_accept: Option<u32>,
    /// `TCP_FASTOPEN`: how many clients may send with their SYN and wait.
    pub fastopen: Option<u32>,
    /// Permission bits to add to the socket file, as in `0o666`.
    pub mode_added: u32,
    /// Permission bits that the socket file shall have, whatever the umask.
    pub mode: Option<u32>,
    /// The user that the socket file shall belong to.
    pub owner: Option<u32>,
    /// The group that the socket file shall belong to.
    pub group: Option<u32>,
    /// A socket file that nobody listens on any more is removed first. One with a listener is `EADDRINUSE` all the same,
    /// and so is a file that is no socket.
    pub replace_stale: bool,
}

/// A text that is no option, and what is wrong with it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// There is no such option.
    #[error("a listener has no option {0:?}")]
    Unknown(String),
    /// It needs a value, or takes none.
    #[error("option {name:?}: {fault}")]
    Value {
        /// Which.
        name: String,
        /// What is wrong.
        fault: &'static str,
    },
}

impl FromStr for Options {
    type Err = OptionsError;

    /// Asks the system's user database for the names of `owner` and `group`, which may block.
    fn from_str(text: &str) -> Result<Self, OptionsError> {
        let mut options = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
            options.set(name, value)?;
        }
        Ok(options)
    }
}

impl Options {
    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), OptionsError> {
        let failed = |fault| OptionsError::Value { name: name.to_owned(), fault };
        let flag = || value.map_or(Ok(true), |_| Err(failed("it takes no value")));
        let needed = || value.ok_or_else(|| failed("it needs a value"));
        let number = || needed()?.parse().map(Some).map_err(|_| failed("its value is not a number"));
        match name {
            "backlog" => self.backlog = number()?,
            "v6only" => self.v6_only = flag()?,
            "reuse-addr" => self.reuse_addr = flag()?,
            "reuse-port" => self.reuse_port = flag()?,
            "blocking" => self.blocking = flag()?,
            "defer-accept" => self.defer_accept = number()?,
            "fastopen" => self.fastopen = number()?,
            "mode" => {
                self.mode =
                    Some(mode(needed()?).ok_or_else(|| failed("its value is not octal, as in 0660"))?);
            }
            "owner" => self.owner = Some(user(needed()?).ok_or_else(|| failed("there is no such user"))?),
            "group" => self.group = Some(group(needed()?).ok_or_else(|| failed("there is no such group"))?),
            "replace-stale" => self.replace_stale = flag()?,
            _ => return Err(OptionsError::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

fn mode(text: &str) -> Option<u32> {
    let is_octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    u32::from_str_radix(text, 8).ok().filter(|&bits| is_octal && bits <= 0o777)
}

fn user(text: &str) -> Option<u32> {
    let by_name = || User::from_name(text).ok().flatten().map(|user| user.uid.as_raw());
    text.parse().ok().or_else(by_name)
}

fn group(text: &str) -> Option<u32> {
    let by_name = || Group::from_name(text).ok().flatten().map(|group| group.gid.as_raw());
    text.parse().ok().or_else(by_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_they_are_written() {
        let read: Options =
            "backlog=511, v6only,mode=0660,owner=root,group=0,fastopen=5,replace-stale".parse().unwrap();
        let expected = Options {
            backlog: Some(511),
            v6_only: true,
            mode: Some(0o660),
            owner: Some(0),
            group: Some(0),
            fastopen: Some(5),
            replace_stale: true,
            ..Options::default()
        };
        assert_eq!(read, expected);
        assert_eq!("".parse(), Ok(Options::default()));
    }

    #[test]
    fn what_is_no_option_is_said() {
        let said = |text: &str| text.parse::<Options>().unwrap_err().to_string();
        assert_eq!(said("back-log=1"), "a listener has no option \"back-log\"");
        assert_eq!(said("backlog"), "option \"backlog\": it needs a value");
        assert_eq!(said("backlog=-1"), "option \"backlog\": its value is not a number");
        assert_eq!(said("v6only=yes"), "option \"v6only\": it takes no value");
        for mode in ["0888", "1777", "+7", ""] {
            assert!(said(&format!("mode={mode}")).contains("octal"), "{mode}");
        }
        assert!(said("owner=nobody-of-that-name").contains("no such user"));
    }
}
