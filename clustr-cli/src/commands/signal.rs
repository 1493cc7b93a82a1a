//! `clustr signal`: a signal to the workers.
//!
//! Owns nothing. Which process of a worker gets it is the primary's to say.

use clustr_supervisor::control::protocol::Ask;

use super::asking;
use crate::args::SignalArgs;
use crate::failure::Failure;

pub(super) fn run(args: SignalArgs) -> Result<u8, Failure> {
    let SignalArgs { signal, slot, read } = args;
    asking::set_off(Ask::Signal { signal, slot }, &read.place, read.json)
}
