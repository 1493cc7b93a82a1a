//! `--listen [NAME=]ADDR[,OPTIONS]`.
//!
//! Owns where the name ends, where the options begin, and what was meant by one that is none. The forms of addresses and
//! options are `clustr_net`'s. Called by clap.

use clustr_net::activation;
use clustr_net::listener::options::{self, NAMES};
use clustr_supervisor::config::{Addr, Listen};

use super::values::ValueError;
use crate::names;

/// `:3001`, `web=:3001,backlog=512`, `unix:/run/app.sock,mode=660,owner=www:www`, `fd:web`.
pub(crate) fn listen(text: &str) -> Result<Listen, ValueError> {
    let (place, words) = options::split(text);
    let named = place.split_once('=').filter(|(name, _)| !name.is_empty() && !name.contains([':', '/', ',']));
    let address = named.map_or(place, |(_, address)| address);
    refuse_misspelt(address, text)?;
    let (addr, own_name) = match address.strip_prefix("fd:").filter(|name| name.parse::<u32>().is_err()) {
        Some(name) => (Addr::Fd(number(name)?), Some(name)),
        None => (parsed(address)?, None),
    };
    let name = named.map(|(name, _)| name).or(own_name);
    let name = name.map_or_else(|| names::of_listener(&addr), str::to_owned);
    let mut listen = Listen::new(&name, addr);
    listen.options =
        listen.options.and(words).map_err(|error| ValueError::new(error.to_string(), EXAMPLE))?;
    listen.options.check(&listen.addr).map_err(|error| ValueError::new(error.to_string(), address))?;
    Ok(listen)
}

const EXAMPLE: &str = "web=:3001,backlog=512,defer-accept=5s";

fn parsed(address: &str) -> Result<Addr, ValueError> {
    address.parse().map_err(|error: clustr_net::AddrError| {
        ValueError::new(error.fault().to_string(), error.hint().trim_start_matches("try "))
    })
}

/// What stands behind a comma and is no option belongs to the address, where that is a path; unless it is nearly one.
fn refuse_misspelt(address: &str, text: &str) -> Result<(), ValueError> {
    let is_path = address.starts_with("unix:");
    let mut is_among_options = false;
    for part in address.split(',').skip(1) {
        let name = options::name_of(part);
        if NAMES.contains(&name) {
            is_among_options = true;
            continue;
        }
        let meant = names::nearest(name, &NAMES).map(|meant| text.replacen(name, meant, 1));
        if meant.is_some() || is_among_options || !is_path {
            let why = format!("a listener has no option '{name}'");
            return Err(ValueError::new(why, meant.unwrap_or_else(|| EXAMPLE.to_owned())));
        }
    }
    Ok(())
}

/// The descriptor that systemd calls so, the first of several: sd_listen_fds_with_names(3).
fn number(name: &str) -> Result<u32, ValueError> {
    let given = activation::promised(|variable| std::env::var_os(variable), std::process::id());
    let given = given.map_err(|error| ValueError::new(error.to_string(), "fd:3"))?;
    if let Some((number, _)) = given.iter().find(|(_, known)| known == name) {
        return Ok(*number);
    }
    let known: Vec<String> = given.iter().map(|(_, name)| format!("fd:{name}")).collect();
    let instead = if known.is_empty() { "fd:3".to_owned() } else { known.join(", ") };
    Err(ValueError::new(format!("clustr was given no descriptor that is named '{name}'"), instead))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, String, clustr_net::Options) {
        let Listen { name, addr, options } = listen(text).unwrap();
        (name, addr.to_string(), options)
    }

    fn said(text: &str) -> String {
        match listen(text).unwrap_err() {
            ValueError::Invalid { why, instead } => format!("{why}; {instead}"),
            ValueError::Absent { instead } => instead,
        }
    }

    #[test]
    fn a_listener_has_a_name_an_address_and_options() {
        let (name, addr, options) = read("web=:3001,backlog=512,defer-accept=5s");
        assert_eq!((name.as_str(), addr.as_str()), ("web", ":3001"));
        assert_eq!((options.backlog, options.defer_accept, options.blocking), (Some(512), Some(5), true));
        let (name, _, options) = read(":3001,nonblocking");
        assert_eq!((name.as_str(), options.blocking), ("3001", false));
        let (name, addr, options) = read("unix:/run/a,b=1.sock,mode=660,owner=0:0");
        assert_eq!((name.as_str(), addr.as_str()), ("a-b-1.sock", "unix:/run/a,b=1.sock"));
        assert_eq!((options.mode, options.owner, options.group), (Some(0o660), Some(0), Some(0)));
    }

    #[test]
    fn what_is_nearly_an_option_is_named() {
        assert_eq!(said(":3001,bcklog=5"), "a listener has no option 'bcklog'; :3001,backlog=5");
        assert_eq!(said("unix:/x.sock,mod=660"), "a listener has no option 'mod'; unix:/x.sock,mode=660");
        assert!(said("unix:/x.sock,mode=660,grp=www").starts_with("a listener has no option 'grp'"));
        assert!(said(":3001,quick").starts_with("a listener has no option 'quick'"));
        assert!(said("fd:web").contains("no descriptor that is named 'web'"));
    }
}
