//! `clustr reload`: a new generation, and waits until it serves or the old one serves again.
//!
//! Owns nothing. Which of the two it is the primary says.

use std::ffi::OsString;

use clustr_supervisor::control::protocol::{Ask, Batches};

use crate::args::ReloadArgs;
use crate::args::values::Variable;
use crate::client::Client;
use crate::exit_code;
use crate::failure::{Failure, Usage};
use crate::target;

pub(super) fn run(args: ReloadArgs) -> Result<u8, Failure> {
    let (plan, slots) = match (args.canary, args.rolling) {
        (Some(slots), _) => (Batches::Canary, Some(slots)),
        (None, Some(slots)) => (Batches::Rolling, Some(slots)),
        (None, None) => (Batches::All, None),
    };
    let variable = |Variable(name, value)| Ok((text(name)?, text(value)?));
    let env = args.env.into_iter().map(variable).collect::<Result<_, Failure>>()?;
    let settle_ms = args.settle.map(|settle| u64::try_from(settle.as_millis()).unwrap_or(u64::MAX));
    let ask = Ask::Reload { plan, slots, settle_ms, env, command: args.command };
    let mut client = Client::connect(&target::resolve(&args.place)?)?;
    if args.no_wait {
        client.set_off(ask)?;
    } else {
        client.carry_out(ask, args.timeout)?;
    }
    Ok(exit_code::DONE)
}

/// The control protocol is JSON, whose strings are Unicode.
fn text(word: OsString) -> Result<String, Failure> {
    word.into_string().map_err(|word| {
        Failure::Usage(Usage {
            what: format!("'{}' is not Unicode", word.to_string_lossy()),
            detail: Some("a reload can carry nothing else".to_owned()),
            hint: None,
        })
    })
}
