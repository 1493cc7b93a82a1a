//! What every command that asks a primary does: find it, ask, wait, say what it came to.
//!
//! Owns the order, and whether progress is shown: never with `--json`. Never decides what an answer means: `failure` does.

use clustr_supervisor::control::protocol::Ask;

use crate::args::{Place, Waiting};
use crate::client::Client;
use crate::exit_code;
use crate::failure::Failure;
use crate::render;
use crate::render::progress::{self, Work};
use crate::target;

/// Asks for something that takes long, shows how far it has come, and waits until it is done; the client, for whoever waits
/// for more.
pub(super) fn carry_out(ask: Ask, work: Work, waiting: &Waiting) -> Result<Client, Failure> {
    let mut client = target::connect(&waiting.place)?;
    if let Some(timeout) = waiting.timeout {
        client.hurry(timeout);
    }
    if !waiting.json {
        client.attend(progress::witness(work))?;
    }
    let answer = client.carry_out(ask)?;
    say(&answer, waiting.json)?;
    Ok(client)
}

/// Asks, and waits until it is accepted, which for what takes no time means done.
pub(super) fn set_off(ask: Ask, place: &Place, json: bool) -> Result<u8, Failure> {
    let answer = target::connect(place)?.set_off(ask)?;
    say(&answer, json)?;
    Ok(exit_code::DONE)
}

fn say(answer: &str, json: bool) -> Result<(), Failure> {
    if json { render::json(answer) } else { Ok(()) }
}
