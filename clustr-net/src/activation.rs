//! `LISTEN_FDS`, given and taken: listeners that a process is started with, from descriptor 3 on.
//!
//! Owns the four variables and their rules: sd_listen_fds(3), sd_listen_fds_with_names(3), systemd.socket(5). Never starts a
//! process, never changes an environment: whoever starts one puts in what is given here, and leaves out [`VARIABLES`] of its
//! own. Called by whoever starts a worker (to give), by a primary under systemd and by `worker` (to take).
//!
//! `LISTEN_PID` is the pid of the process that the listeners are for, which nobody knows before it exists. So its entry is made
//! before the fork with room for any pid ([`PidEntry`]), and the digits are written in the new process:
//!
//! ```
//! use clustr_net::activation::{self, PidEntry};
//!
//! let given = activation::give(["http", "admin"])?;
//! assert_eq!(given.fds(), c"LISTEN_FDS=2");
//! assert_eq!(given.names(), c"LISTEN_FDNAMES=http:admin");
//! let mut pid = PidEntry::new();
//! pid.write(4711); // after the fork: neither allocates, nor locks, nor fails
//! assert_eq!(pid.as_c_str(), c"LISTEN_PID=4711");
//! # Ok::<(), activation::NameError>(())
//! ```

use std::env;
use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::OwnedFd;

use crate::inherited;

/// The variables that speak of listeners. They are for one process: no worker may see those of its primary.
pub const VARIABLES: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];
/// Bound: bytes of a name.
pub const NAME_BYTES_MAX: usize = 255;
/// What systemd calls a listener that nobody named.
pub const UNNAMED: &str = "unknown";
/// Bound: listeners that are taken.
pub const FDS_MAX: u16 = 1024;

const LISTEN_PID: &[u8] = b"LISTEN_PID=";
const WATCHDOG_PID: &[u8] = b"WATCHDOG_PID=";
/// The digits of the largest `u32`.
const DIGITS_MAX: usize = 10;
const ENTRY_BYTES: usize = WATCHDOG_PID.len() + DIGITS_MAX + 1;

/// A name that `LISTEN_FDNAMES` cannot carry.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing.
    #[error("a listener's name is empty")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("a listener's name has {0} bytes, and at most {NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Something that is no printable ASCII, or the colon that stands between names.
    #[error("the listener's name {name:?} holds {letter:?}, and only printable ASCII without ':' is allowed")]
    Letter {
        /// The name.
        name: String,
        /// The first letter that cannot be.
        letter: char,
    },
}

/// Whether a listener may be called so.
///
/// # Errors
///
/// [`NameError`].
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    match name.chars().find(|&letter| letter == ':' || !matches!(letter, ' '..='~')) {
        Some(letter) => Err(NameError::Letter { name: name.to_owned(), letter }),
        None => Ok(()),
    }
}

/// Entries of the environment that say how many listeners there are, and their names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Given {
    fds: CString,
    names: CString,
}

/// Makes the entries for listeners of these names, which the process shall have as descriptors 3, 4, 5, ….
///
/// # Errors
///
/// [`NameError`] for the first name that cannot be.
#[doc(alias = "LISTEN_FDS")]
pub fn give<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Given, NameError> {
    let names: Vec<&str> = names.into_iter().collect();
    names.iter().try_for_each(|name| check_name(name))?;
    let entry = |text: String| CString::new(text).expect("names were checked, numbers have no NUL byte");
    Ok(Given {
        fds: entry(format!("LISTEN_FDS={}", names.len())),
        names: entry(format!("LISTEN_FDNAMES={}", names.join(":"))),
    })
}

impl Given {
    /// `LISTEN_FDS=n`.
    #[must_use]
    pub fn fds(&self) -> &CStr {
        &self.fds
    }

    /// `LISTEN_FDNAMES=a:b`.
    #[must_use]
    pub fn names(&self) -> &CStr {
        &self.names
    }
}

/// `LISTEN_PID=`, or `WATCHDOG_PID=` (sd_watchdog_enabled(3)), and room for a pid. It is nothing but its bytes and always ends in a NUL byte, so a pointer to it is an
/// entry of an environment.
#[derive(Clone, Debug, Eq, PartialEq)]
#[repr(transparent)]
pub struct PidEntry([u8; ENTRY_BYTES]);

impl PidEntry {
    /// Without a pid yet: `LISTEN_PID=`, which is nobody's.
    #[must_use]
    pub const fn new() -> Self {
        Self::named(LISTEN_PID)
    }

    /// The same for `WATCHDOG_PID=`.
    #[must_use]
    pub const fn watchdog() -> Self {
        Self::named(WATCHDOG_PID)
    }

    const fn named(name: &[u8]) -> Self {
        let mut bytes = [0; ENTRY_BYTES];
        let mut at = 0;
        while at < name.len() {
            bytes[at] = name[at];
            at += 1;
        }
        Self(bytes)
    }

    /// Where the digits begin.
    const fn start(&self) -> usize {
        let mut at = 0;
        while at < WATCHDOG_PID.len() - 1 && self.0[at] != b'=' {
            at += 1;
        }
        at + 1
    }

    /// Writes the pid. Async-signal-safe (signal-safety(7)): no allocation, no lock, no system call, no panic; for the
    /// moment between fork and exec.
    pub const fn write(&mut self, pid: u32) {
        let mut digits = 1;
        let mut rest = pid / 10;
        while rest > 0 {
            digits += 1;
            rest /= 10;
        }
        rest = pid;
        let start = self.start();
        let mut at = ENTRY_BYTES - 1;
        while at >= start {
            let is_digit = at < start + digits;
            // A digit is less than ten.
            self.0[at] = if is_digit { b'0' + (rest % 10).to_le_bytes()[0] } else { 0 };
            rest = if is_digit { rest / 10 } else { rest };
            at -= 1;
        }
    }

    /// The entry as it is now.
    #[must_use]
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).expect("the last byte is never written")
    }
}

impl Default for PidEntry {
    fn default() -> Self {
        Self::new()
    }
}

/// A descriptor that came, and what it is called.
#[derive(Debug)]
pub struct Taken {
    /// [`UNNAMED`] without a name. Several may have the same one.
    pub name: String,
    /// Its number, as in `fd:3`.
    pub number: u32,
    /// The descriptor; it is passed on to nobody.
    pub fd: OwnedFd,
}

/// Why what the variables promise is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// `LISTEN_FDS` is no number, or more than [`FDS_MAX`].
    #[error("LISTEN_FDS is {0:?}, which is no number of listeners")]
    Count(String),
    /// A descriptor is not open, or was not inherited.
    #[error("descriptor {number} of LISTEN_FDS is not there")]
    Missing {
        /// Which.
        number: u32,
        /// The kernel's word.
        source: io::Error,
    },
}

/// Takes what the variables of this process say, if it is for this process. To be called once, before the program opens
/// or starts anything: see [`inherited`]. The variables stay; whoever starts processes leaves [`VARIABLES`] out.
///
/// Without `LISTEN_PID`, whoever has the descriptors is meant: launchers between a supervisor and its program make that useful.
///
/// # Errors
///
/// [`TakeError`]. What was taken before the error is closed.
#[doc(alias = "LISTEN_FDS")]
pub fn take() -> Result<Vec<Taken>, TakeError> {
    let claim = |(number, name)| match inherited::claim(number) {
        Ok(fd) => Ok(Taken { name, number, fd }),
        Err(source) => Err(TakeError::Missing { number, source }),
    };
    promised(|name| env::var_os(name), std::process::id())?.into_iter().map(claim).collect()
}

/// Numbers and names of the descriptors that the variables promise to the process of this pid. Pure.
///
/// # Errors
///
/// [`TakeError::Count`].
pub fn promised(
    variable: impl Fn(&str) -> Option<OsString>,
    pid: u32,
) -> Result<Vec<(u32, String)>, TakeError> {
    let variable = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
    if variable("LISTEN_PID").is_some_and(|wanted| wanted != pid.to_string()) {
        return Ok(Vec::new());
    }
    let Some(text) = variable("LISTEN_FDS") else { return Ok(Vec::new()) };
    let count = text.parse().ok().filter(|&count: &u16| count <= FDS_MAX);
    let count = count.ok_or(TakeError::Count(text))?;
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(|name| if check_name(name).is_ok() { name } else { UNNAMED });
    let names = names.chain(std::iter::repeat(UNNAMED)).map(str::to_owned);
    Ok((inherited::FIRST..).zip(names).take(count.into()).collect())
}

/// Takes one out by name: the first of several.
pub fn by_name(taken: &mut Vec<Taken>, name: &str) -> Option<Taken> {
    let place = taken.iter().position(|one| one.name == name)?;
    Some(taken.remove(place))
}

/// Takes one out by its descriptor's number, as in `fd:3`.
pub fn by_number(taken: &mut Vec<Taken>, number: u32) -> Option<Taken> {
    let place = taken.iter().position(|one| one.number == number)?;
    Some(taken.remove(place))
}

impl From<TakeError> for io::Error {
    fn from(error: TakeError) -> Self {
        let kind = match &error {
            TakeError::Count(_) => io::ErrorKind::InvalidInput,
            TakeError::Missing { source, .. } => source.kind(),
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(variables: &[(&str, &str)]) -> Result<Vec<(u32, String)>, TakeError> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        promised(find, 42)
    }

    fn all(count: &str, names: Option<&str>) -> Vec<(u32, String)> {
        let names = names.map(|names| ("LISTEN_FDNAMES", names));
        of(&[("LISTEN_FDS", count)].into_iter().chain(names).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn listeners_are_named_in_order_and_without_a_name_unknown() {
        assert_eq!(all("2", Some("http:admin")), [(3, "http".into()), (4, "admin".into())]);
        assert_eq!(all("2", Some("http")), [(3, "http".into()), (4, "unknown".into())]);
        assert_eq!(all("2", Some(":\x07")), [(3, "unknown".into()), (4, "unknown".into())]);
        assert_eq!(all("1", None), [(3, "unknown".into())]);
        assert!(all("0", Some("http")).is_empty());
    }

    #[test]
    fn what_is_for_another_process_is_not_ours() {
        let with_pid = |pid| of(&[("LISTEN_FDS", "1"), ("LISTEN_PID", pid)]).unwrap().len();
        assert_eq!([with_pid("42"), with_pid("43"), with_pid(""), with_pid("042")], [1, 0, 0, 0]);
        assert!(of(&[("LISTEN_PID", "42")]).unwrap().is_empty());
        let none = of(&[("LISTEN_FDS", "none"), ("LISTEN_PID", "43")]);
        assert!(none.unwrap().is_empty(), "not our business");
    }

    #[test]
    fn a_count_that_is_none_is_said() {
        for count in ["", "x", "-1", "1025", "99999999999"] {
            assert!(matches!(of(&[("LISTEN_FDS", count)]), Err(TakeError::Count(_))), "{count}");
        }
    }

    #[test]
    fn names_are_printable_ascii_without_a_colon() {
        assert_eq!(check_name("http api ~1"), Ok(()));
        assert_eq!(check_name(""), Err(NameError::Empty));
        assert_eq!(check_name(&"n".repeat(255)), Ok(()));
        assert_eq!(check_name(&"n".repeat(256)), Err(NameError::TooLong(256)));
        for letter in [':', '\n', '\x7f', 'é', '\0'] {
            let name = format!("a{letter}b");
            assert_eq!(check_name(&name), Err(NameError::Letter { name: name.clone(), letter }));
        }
        assert!(give(["http", "a:b"]).is_err());
    }

    proptest! {
        #[test]
        fn any_pid_fits_into_the_entry_and_the_last_one_wins(first in any::<u32>(), pid in any::<u32>()) {
            let mut entry = PidEntry::new();
            for pid in [first, pid] {
                entry.write(pid);
                prop_assert_eq!(entry.as_c_str().to_str().unwrap(), format!("LISTEN_PID={pid}"));
            }
            let mut entry = PidEntry::watchdog();
            for pid in [first, pid] {
                entry.write(pid);
                prop_assert_eq!(entry.as_c_str().to_str().unwrap(), format!("WATCHDOG_PID={pid}"));
            }
        }

        #[test]
        fn no_environment_makes_it_panic_or_grow(values in proptest::collection::vec(proptest::option::of(".{0,60}"), 3)) {
            let names = VARIABLES.iter().zip(&values);
            let set: Vec<_> = names.filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
            prop_assert!(of(&set).map_or(0, |all| all.len()) <= FDS_MAX.into());
        }

        #[test]
        fn what_is_given_is_what_is_taken(names in proptest::collection::vec("[ -9;-~]{1,40}", 0..20)) {
            let given = give(names.iter().map(String::as_str)).unwrap();
            let value = |entry: &CStr| entry.to_str().unwrap().split_once('=').unwrap().1.to_owned();
            let (fds, listed) = (value(given.fds()), value(given.names()));
            let taken = of(&[("LISTEN_FDS", &fds), ("LISTEN_FDNAMES", &listed), ("LISTEN_PID", "42")]).unwrap();
            prop_assert_eq!(taken.into_iter().map(|(_, name)| name).collect::<Vec<_>>(), names);
        }
    }

    #[test]
    fn an_entry_without_a_pid_is_nobodys() {
        let entry = PidEntry::default();
        assert_eq!(entry.as_c_str(), c"LISTEN_PID=");
        assert_eq!(of(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "")]).unwrap().len(), 0);
    }
}
