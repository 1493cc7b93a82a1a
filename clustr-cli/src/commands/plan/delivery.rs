//! How sockets reach the workers: what was asked for, else what fits the program and works on this machine.
//!
//! Owns the order in which ways are tried. Never looks at more than
//! the command. Called by `plan`.

use std::ffi::OsString;

use clustr_net::intercept::{Lack, Way, found};
use clustr_supervisor::config::{Delivery, Ports, Share};

use crate::args::RunOptions;
use crate::args::run::Delivery as Asked;
use crate::failure::{Failure, Usage};
use crate::launch_form;

/// What was chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) delivery: Delivery,
    /// Why a bind is not intercepted that would be, if that worked here.
    pub(super) lack: Option<Lack>,
}

/// Which ports of a program that binds for itself are shared.
pub(super) fn ports(options: &RunOptions) -> Ports {
    Ports {
        shared: options.port.clone(),
        private: options.private_port.clone(),
        share_zero: options.share_zero,
    }
}

/// What was asked for; else what fits: node's channel for node, and its own bind for every other program.
///
/// # Errors
/// Wishes that contradict each other, or that cannot be met here.
pub(super) fn choose(options: &RunOptions, command: &[OsString], share: Share) -> Result<Chosen, Failure> {
    let asked = |way| options.delivery.contains(&way);
    if options.listen.is_empty() && (asked(Asked::Fds) || asked(Asked::Channel)) {
        return Err(Failure::Usage(Usage {
            what: "--delivery fds and --delivery channel need --listen".to_owned(),
            detail: Some("they carry what clustr itself has bound".to_owned()),
            hint: Some("clustr run --listen :3001 -- COMMAND".to_owned()),
        }));
    }
    let is_auto = options.delivery.is_empty() || asked(Asked::Auto);
    if asked(Asked::Intercept) && options.no_intercept {
        return Err(contradiction("--delivery intercept and --no-intercept contradict each other", None));
    }
    let chosen = if is_auto {
        automatic(options, command, share)?
    } else {
        let delivery = Delivery {
            fds: asked(Asked::Fds),
            channel: asked(Asked::Channel),
            node: asked(Asked::Node),
            intercept: asked(Asked::Intercept),
            ..Delivery::default()
        };
        Chosen { delivery, lack: None }
    };
    match ports_option(options) {
        Some(option) if !chosen.delivery.intercept => {
            let detail = "only a bind that is intercepted can be given another port, or none".to_owned();
            Err(contradiction(&format!("{option} needs --delivery intercept"), Some(detail)))
        }
        Some(_) | None => Ok(chosen),
    }
}

fn automatic(options: &RunOptions, command: &[OsString], share: Share) -> Result<Chosen, Failure> {
    let fits = ports_option(options).is_some() || !launch_form::takes_nodes_channel(command);
    let is_wanted = fits && !options.no_intercept && share != Share::Handoff;
    let as_before = |lack| {
        let node = options.listen.is_empty() || launch_form::is_node(command);
        Chosen { delivery: Delivery { node, ..Delivery::default() }, lack }
    };
    match is_wanted.then(found) {
        None => Ok(as_before(None)),
        Some(Ok(Way::Adopt | Way::Replace { .. })) => {
            let delivery = Delivery { node: false, intercept: true, ..Delivery::default() };
            Ok(Chosen { delivery, lack: None })
        }
        Some(Err(lack)) => match ports_option(options) {
            Some(option) => {
                Err(contradiction(&format!("{option} cannot be met here"), Some(lack.to_string())))
            }
            None => Ok(as_before(Some(lack))),
        },
    }
}

/// The option that only interception can carry out, if there is one.
const fn ports_option(options: &RunOptions) -> Option<&'static str> {
    if !options.port.is_empty() {
        Some("--port")
    } else if !options.private_port.is_empty() {
        Some("--private-port")
    } else if options.share_zero {
        Some("--share-zero")
    } else {
        None
    }
}

fn contradiction(what: &str, detail: Option<String>) -> Failure {
    Failure::Usage(Usage {
        what: what.to_owned(),
        detail,
        hint: Some("clustr run --delivery intercept -- COMMAND".to_owned()),
    })
}
