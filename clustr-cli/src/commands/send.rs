//! `clustr send`: a message to the workers.
//!
//! Owns nothing. Over which channel it goes is the primary's to say.

use clustr_supervisor::control::protocol::Ask;

use super::asking;
use crate::args::SendArgs;
use crate::failure::Failure;

pub(super) fn run(args: SendArgs) -> Result<u8, Failure> {
    let SendArgs { message, slot, read } = args;
    asking::set_off(Ask::Send { message, slot }, &read.place, read.json)
}
