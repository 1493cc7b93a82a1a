//! `clustr init`: a `clustr.toml` to begin with.
//!
//! Owns that nothing is overwritten. What stands in it is made by `config_file`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::args::InitArgs;
use crate::config_file::{STANDARD, starting};
use crate::exit_code;
use crate::failure::Failure;
use crate::render;

pub(super) fn run(args: InitArgs) -> Result<u8, Failure> {
    let path = args.file.unwrap_or_else(|| PathBuf::from(STANDARD));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let starting = starting::text(folder)?;
    write(&path, &starting.text).map_err(|error| {
        let is_there = error.kind() == ErrorKind::AlreadyExists;
        Failure::NotDone {
            what: if is_there {
                format!("'{}' is there already", path.display())
            } else {
                format!("could not write '{}'", path.display())
            },
            detail: (!is_there).then(|| error.to_string()),
            hint: is_there.then(|| "clustr check".to_owned()),
        }
    })?;
    let from = starting.found.map_or_else(
        || "nothing was found here that shall run: its command is an example".to_owned(),
        |found| format!("made from {found}"),
    );
    render::output(&format!("{} is written, {from}\nnext: clustr check", path.display()))?;
    for note in &starting.notes {
        render::warning(note, "docs/configuration.md");
    }
    Ok(exit_code::DONE)
}

/// Whole, or not at all.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes()).inspect_err(|_| {
        // It was not there before; a part of it would be read as if it were all.
        let _ = std::fs::remove_file(path);
    })
}
