//! `clustr man`: manual pages, from the same definition that parses the command line.
//!
//! Owns where they go. Nothing that is hidden from the help has a page. For whoever packs clustr.

use std::path::Path;

use clap_mangen::{Man, generate_to};

use crate::args;
use crate::exit_code;
use crate::failure::Failure;
use crate::render;

pub(super) fn run(folder: Option<&Path>) -> Result<u8, Failure> {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        Man::new(args::definition()).render(&mut page).map_err(Failure::Output)?;
        render::output_bytes(&page)?;
        return Ok(exit_code::DONE);
    };
    generate_to(args::definition(), folder).map_err(|error| Failure::NotDone {
        what: format!("could not write into '{}'", folder.display()),
        detail: Some(error.to_string()),
        hint: Some("mkdir -p DIR, and clustr man DIR".to_owned()),
    })?;
    Ok(exit_code::DONE)
}
