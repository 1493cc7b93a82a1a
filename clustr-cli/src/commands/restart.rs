//! `clustr restart`: the same generation in new workers, and waits until they serve.
//!
//! Owns nothing. Whether there is such a slot is the primary's to say.

use clustr_supervisor::control::protocol::Ask;

use super::asking;
use crate::args::RestartArgs;
use crate::exit_code;
use crate::failure::Failure;
use crate::render::progress::Work;

pub(super) fn run(args: &RestartArgs) -> Result<u8, Failure> {
    let ask = Ask::Restart { slot: args.slot };
    if args.no_wait {
        return asking::set_off(ask, &args.waiting.place, args.waiting.json);
    }
    asking::carry_out(ask, Work::Restart, &args.waiting)?;
    Ok(exit_code::DONE)
}
