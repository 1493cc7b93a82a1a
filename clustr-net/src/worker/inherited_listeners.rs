//! The listeners that `LISTEN_FDS` counts.
//!
//! Owns the reading of the three variables (sd_listen_fds(3)). Never binds. Called by `Worker::from_env`.

use std::env;
use std::io::{self, ErrorKind};

use crate::inherited;
use crate::listener::Listener;

/// Takes them, each with its name: what `LISTEN_FDNAMES` says, else `unknown`, as systemd calls them.
pub(super) fn take() -> io::Result<Vec<(String, Listener)>> {
    let variable = |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let for_us = variable("LISTEN_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let Some(count) = variable("LISTEN_FDS").filter(|_| for_us) else { return Ok(Vec::new()) };
    let count = count.parse().map_err(|_| ErrorKind::InvalidInput)?;
    named(count, variable("LISTEN_FDNAMES").as_deref())
        .map(|(number, name)| Ok((name, Listener::adopt(inherited::claim(number)?)?)))
        .collect()
}

/// Numbers and names.
fn named(count: u16, names: Option<&str>) -> impl Iterator<Item = (u32, String)> {
    let names = names.into_iter().flat_map(|names| names.split(':'));
    let names = names.map(str::to_owned).chain(std::iter::repeat_with(|| "unknown".to_owned()));
    (inherited::FIRST..).zip(names).take(count.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(count: u16, names: Option<&str>) -> Vec<(u32, String)> {
        named(count, names).collect()
    }

    #[test]
    fn listeners_are_named_in_order_and_without_a_name_unknown() {
        assert_eq!(all(2, Some("http:admin")), [(3, "http".into()), (4, "admin".into())]);
        assert_eq!(all(2, Some("http")), [(3, "http".into()), (4, "unknown".into())]);
        assert_eq!(all(1, None), [(3, "unknown".into())]);
        assert!(all(0, Some("http")).is_empty());
    }
}
