//! `clustr restart`: the same generation in new workers, and waits until they serve.
//!
//! Owns nothing. Whether there is such a slot is the primary's to say.

use clustr_supervisor::control::protocol::Ask;

use crate::args::RestartArgs;
use crate::client::Client;
use crate::exit_code;
use crate::failure::Failure;
use crate::target;

pub(super) fn run(args: &RestartArgs) -> Result<u8, Failure> {
    let mut client = Client::connect(&target::resolve(&args.place)?)?;
    let ask = Ask::Restart { slot: args.slot };
    if args.no_wait {
        client.set_off(ask)?;
    } else {
        client.carry_out(ask, args.timeout)?;
    }
    Ok(exit_code::DONE)
}
