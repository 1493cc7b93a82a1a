//! `clustr stop`: ends the app, and waits until nothing runs any more.
//!
//! Owns the last wait: for the primary itself, so that its name is free when this command is done.

use clustr_supervisor::control::protocol::Ask;

use crate::args::StopArgs;
use crate::client::Client;
use crate::exit_code;
use crate::failure::Failure;
use crate::target;

pub(super) fn run(args: &StopArgs) -> Result<u8, Failure> {
    let mut client = Client::connect(&target::resolve(&args.place)?)?;
    client.carry_out(Ask::Stop { now: args.now }, args.timeout)?;
    client.await_farewell();
    Ok(exit_code::DONE)
}
