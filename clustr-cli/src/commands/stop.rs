//! `clustr stop`: ends the app, and waits until nothing runs any more.
//!
//! Owns the last wait: for the primary itself, so that its name is free when this command is done.

use clustr_supervisor::control::protocol::Ask;

use super::asking;
use crate::args::StopArgs;
use crate::exit_code;
use crate::failure::Failure;
use crate::render::progress::Work;

pub(super) fn run(args: &StopArgs) -> Result<u8, Failure> {
    let mut client = asking::carry_out(Ask::Stop { now: args.now }, Work::Stop, &args.waiting)?;
    // The others of several apps go on, and the primary with them.
    if args.waiting.place.app.is_none() {
        client.await_farewell();
    }
    Ok(exit_code::DONE)
}
