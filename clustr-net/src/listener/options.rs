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
//! | `blocking`, `nonblocking` | `blocking` |
//! | `defer-accept=5s` | `defer_accept`, in seconds or minutes |
//! | `fast-open=N` | `fastopen` |
//! | `mode=OCTAL` | `mode` |
//! | `owner=USER`, `owner=USER:GROUP`, `group=GROUP` | `owner`, `group`, by name or number |
//! | `replace-stale` | `replace_stale` |
//!
//! Behind an address, they stand after a comma: [`split`].

use std::str::FromStr;

use nix::unistd::{Group, User};

use crate::addr::{Addr, Host};

/// Every name that an option has.
pub const NAMES: [&str; 13] = [
    "backlog",
    "v6only",
    "reuse-addr",
    "reuse-port",
    "blocking",
    "nonblocking",
    "defer-accept",
    "fast-open",
    "mode",
    "owner",
    "group",
    "replace-stale",
    "fastopen",
];

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
    /// It means nothing for such an address.
    #[error("option {name:?} is for {only} alone")]
    Unfit {
        /// Which.
        name: &'static str,
        /// What has it.
        only: &'static str,
    },
}

/// An address and the options behind it: `:3001,backlog=512`. A path may hold commas: options are what stands after the
/// first comma from which on there is nothing but names of options.
#[must_use]
pub fn split(text: &str) -> (&str, &str) {
    let mut begins = text.len();
    while let Some((before, part)) = text[..begins].rsplit_once(',') {
        if !NAMES.contains(&name_of(part)) {
            break;
        }
        begins = before.len();
    }
    (&text[..begins], text.get(begins + 1..).unwrap_or_default())
}

/// The name of an option as it is written.
#[must_use]
pub fn name_of(part: &str) -> &str {
    part.split_once('=').map_or(part, |(name, _)| name).trim()
}

impl FromStr for Options {
    type Err = OptionsError;

    /// Asks the system's user database for the names of `owner` and `group`, which may block.
    fn from_str(text: &str) -> Result<Self, OptionsError> {
        Self::default().and(text)
    }
}

impl Options {
    /// The same with what the text says.
    ///
    /// # Errors
    ///
    /// [`OptionsError::Unknown`], [`OptionsError::Value`].
    pub fn and(self, text: &str) -> Result<Self, OptionsError> {
        let (mut options, mut seen) = (self, Vec::new());
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
            options.set(name, value)?;
            refuse_contradiction(&seen, (name, value))?;
            seen.push((name, value));
        }
        Ok(options)
    }

    /// Whether each option means something for such an address.
    ///
    /// # Errors
    ///
    /// [`OptionsError::Unfit`]: the first that does not.
    pub fn check(&self, addr: &Addr) -> Result<(), OptionsError> {
        let (tcp, udp) = (matches!(addr, Addr::Tcp { .. }), matches!(addr, Addr::Udp { .. }));
        let (path, fd) = (matches!(addr, Addr::Unix(_)), matches!(addr, Addr::Fd(_)));
        let rules = [
            (self.backlog.is_some(), !udp && !fd, "backlog", "streams that are bound here"),
            (self.v6_only, tcp || udp, "v6only", "TCP and UDP"),
            (self.v6_only, !is_v4(addr), "v6only", "IPv6"),
            (self.reuse_addr, udp, "reuse-addr", "UDP (TCP always has it)"),
            (self.reuse_port, tcp || udp, "reuse-port", "TCP and UDP"),
            (self.defer_accept.is_some(), tcp, "defer-accept", "TCP"),
            (self.fastopen.is_some(), tcp, "fast-open", "TCP"),
            (self.mode.is_some(), path, "mode", "Unix sockets with a file"),
            (self.owner.is_some(), path, "owner", "Unix sockets with a file"),
            (self.group.is_some(), path, "group", "Unix sockets with a file"),
        ];
        match rules.into_iter().find(|(is_set, fits, ..)| *is_set && !fits) {
            Some((_, _, name, only)) => Err(OptionsError::Unfit { name, only }),
            None => Ok(()),
        }
    }

    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), OptionsError> {
        let failed = |fault| OptionsError::Value { name: name.to_owned(), fault };
        let flag = || value.map_or(Ok(true), |_| Err(failed("it takes no value")));
        let needed = || value.ok_or_else(|| failed("it needs a value"));
        let number = || count(needed()?).map(Some).map_err(failed);
        match name {
            "backlog" => self.backlog = number()?,
            "v6only" => self.v6_only = flag()?,
            "reuse-addr" => self.reuse_addr = flag()?,
            "reuse-port" => self.reuse_port = flag()?,
            "blocking" => self.blocking = flag()?,
            "nonblocking" => self.blocking = !flag()?,
            "defer-accept" => {
                let span = seconds(needed()?);
                self.defer_accept =
                    Some(span.ok_or_else(|| failed("its value is not a time from 1s to 60m, as in 5s"))?);
            }
            "fast-open" | "fastopen" => self.fastopen = number()?,
            "mode" => {
                self.mode =
                    Some(mode(needed()?).ok_or_else(|| failed("its value is not octal, as in 0660"))?);
            }
            "owner" => {
                let (user, group) =
                    needed()?.split_once(':').map_or((needed()?, None), |(user, group)| (user, Some(group)));
                self.owner = Some(user_id(user).ok_or_else(|| failed("there is no such user"))?);
                if let Some(group) = group {
                    self.group = Some(group_id(group).ok_or_else(|| failed("there is no such group"))?);
                }
            }
            "group" => {
                self.group = Some(group_id(needed()?).ok_or_else(|| failed("there is no such group"))?);
            }
            "replace-stale" => self.replace_stale = flag()?,
            _ => return Err(OptionsError::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

/// Of the same text, one thing is said once.
fn refuse_contradiction(
    before: &[(&str, Option<&str>)],
    (name, value): (&str, Option<&str>),
) -> Result<(), OptionsError> {
    let subject = |name: &str| match name {
        "nonblocking" => "blocking".to_owned(),
        "fastopen" => "fast-open".to_owned(),
        other => other.to_owned(),
    };
    let has_group = |(name, value): (&str, Option<&str>)| {
        name == "group" || (name == "owner" && value.is_some_and(|value| value.contains(':')))
    };
    let is_twice = before.iter().any(|(other, _)| subject(other) == subject(name));
    let is_twice = is_twice || (has_group((name, value)) && before.iter().any(|one| has_group(*one)));
    let fault = "what it sets has been set before";
    if is_twice { Err(OptionsError::Value { name: name.to_owned(), fault }) } else { Ok(()) }
}

const fn is_v4(addr: &Addr) -> bool {
    match addr {
        Addr::Tcp { host: Host::Ip(ip), .. } | Addr::Udp { host: Host::Ip(ip), .. } => ip.is_ipv4(),
        Addr::Tcp { .. } | Addr::Udp { .. } | Addr::Unix(_) | Addr::Abstract(_) | Addr::Fd(_) => false,
    }
}

/// What an `int` of the kernel holds.
fn count(text: &str) -> Result<u32, &'static str> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err("its value is not a number");
    }
    let count = text.parse::<i32>().ok().and_then(|count| count.try_into().ok());
    count.ok_or("its value is from 0 to 2147483647")
}

fn mode(text: &str) -> Option<u32> {
    let is_octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    u32::from_str_radix(text, 8).ok().filter(|&bits| is_octal && bits <= 0o777)
}

/// `5`, `5s`, `2m`: whole seconds, at least one and at most an hour, which is more than the kernel ever waits.
fn seconds(text: &str) -> Option<u32> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let count: u32 = digits.parse().ok()?;
    let seconds = match unit {
        "" | "s" => Some(count),
        "m" => count.checked_mul(60),
        _ => None,
    };
    seconds.filter(|&seconds| (1..=3600).contains(&seconds))
}

fn user_id(text: &str) -> Option<u32> {
    let by_name = || User::from_name(text).ok().flatten().map(|user| user.uid.as_raw());
    text.parse().ok().or_else(by_name)
}

fn group_id(text: &str) -> Option<u32> {
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
    fn times_owners_and_what_is_switched_off_are_read() {
        let read = Options { blocking: true, ..Options::default() }
            .and("nonblocking,defer-accept=2m,fast-open=8,owner=root:0")
            .unwrap();
        let expected = Options {
            defer_accept: Some(120),
            fastopen: Some(8),
            owner: Some(0),
            group: Some(0),
            ..Options::default()
        };
        assert_eq!(read, expected);
        assert!(["0", "0s", "5h", "s", "-1", "5 s"].iter().all(|text| seconds(text).is_none()));
    }

    #[test]
    fn options_stand_behind_an_address_whose_path_may_hold_commas() {
        assert_eq!(split(":3001"), (":3001", ""));
        assert_eq!(split(":3001,backlog=5,v6only"), (":3001", "backlog=5,v6only"));
        assert_eq!(split("unix:/tmp/a,b.sock"), ("unix:/tmp/a,b.sock", ""));
        assert_eq!(split("unix:/tmp/mode=1,b,mode=660"), ("unix:/tmp/mode=1,b", "mode=660"));
        assert_eq!(split(":3001,bcklog=5"), (":3001,bcklog=5", ""));
        assert_eq!(split(",v6only"), ("", "v6only"));
        let names = |name: &&str| split(&format!(":1,{name}")).0 == ":1";
        assert!(NAMES.iter().all(names));
    }

    #[test]
    fn an_option_that_means_nothing_there_is_named() {
        let said = |addr: &str, text: &str| {
            let options: Options = text.parse().unwrap();
            options.check(&addr.parse().unwrap()).map_err(|error| error.to_string()).err()
        };
        assert_eq!(said(":1", "backlog=5,v6only,defer-accept=1s,fast-open=1,reuse-port"), None);
        assert_eq!(said("unix:/x", "mode=660,owner=0,group=0,backlog=1,nonblocking"), None);
        assert_eq!(said(":1", "mode=660").unwrap(), "option \"mode\" is for Unix sockets with a file alone");
        assert!(said("udp::1", "backlog=1").is_some() && said("unix:@x", "owner=0").is_some());
        assert!(said("fd:3", "backlog=1").is_some() && said("fd:3", "nonblocking").is_none());
        assert_eq!(said("127.0.0.1:1", "v6only").unwrap(), "option \"v6only\" is for IPv6 alone");
        assert!(said("[::1]:1", "v6only").is_none() && said("localhost:1", "v6only").is_none());
        assert!(said("unix:/x", "v6only").is_some() && said(":1", "reuse-addr").is_some());
    }

    #[test]
    fn what_is_no_option_is_said() {
        let said = |text: &str| text.parse::<Options>().unwrap_err().to_string();
        assert_eq!(said("back-log=1"), "a listener has no option \"back-log\"");
        assert_eq!(said("backlog"), "option \"backlog\": it needs a value");
        assert_eq!(said("backlog=-1"), "option \"backlog\": its value is not a number");
        for (option, fault) in [
            ("backlog=2147483648", "its value is from 0 to 2147483647"),
            ("fast-open=99999999999", "its value is from 0 to 2147483647"),
            ("defer-accept=61m", "its value is not a time from 1s to 60m, as in 5s"),
            ("blocking,nonblocking", "what it sets has been set before"),
            ("fast-open=1,fastopen=2", "what it sets has been set before"),
            ("owner=0:0,group=1", "what it sets has been set before"),
        ] {
            assert!(said(option).ends_with(fault), "{option}: {}", said(option));
        }
        assert_eq!(said("v6only=yes"), "option \"v6only\": it takes no value");
        for mode in ["0888", "1777", "+7", ""] {
            assert!(said(&format!("mode={mode}")).contains("octal"), "{mode}");
        }
        assert!(said("owner=nobody-of-that-name").contains("no such user"));
    }
}
