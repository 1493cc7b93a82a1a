//! `clustr version`.

use crate::exit_code;
use crate::failure::Failure;
use crate::render;

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn run(json: bool) -> Result<u8, Failure> {
    let text = if json { format!("{{\"clustr\":\"{VERSION}\"}}") } else { format!("clustr {VERSION}") };
    if json {
        render::json(&text)?;
    } else {
        render::output(&text)?;
    }
    Ok(exit_code::DONE)
}
