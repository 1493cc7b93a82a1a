//! `clustr scale`: so many workers, and waits until it is so.
//!
//! Owns nothing. Whether there may be so many is the primary's to say.

use clustr_supervisor::control::protocol::Ask;

use super::asking;
use crate::args::ScaleArgs;
use crate::args::values::ScaleTarget;
use crate::exit_code;
use crate::failure::Failure;
use crate::render::progress::Work;

pub(super) fn run(args: &ScaleArgs) -> Result<u8, Failure> {
    let ask = match args.target {
        ScaleTarget::To(to) => Ask::Scale { to: Some(to), by: None },
        ScaleTarget::By(by) => Ask::Scale { to: None, by: Some(by) },
    };
    asking::carry_out(ask, Work::Scale, &args.waiting)?;
    Ok(exit_code::DONE)
}
