//! Python's servers, which take their listener from `LISTEN_FDS`: gunicorn and uvicorn, in a folder of our own.
//!
//! Owns the virtual environment `target/xtask/python`, and how one is made. Never touches the machine's own Python. Called
//! by `sharing`, and by `peers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{run, tools};

/// What is installed, in versions that are known to work.
const PACKAGES: [&str; 2] = ["gunicorn>=23", "uvicorn>=0.34"];

/// The environment's folder, made if it is not there.
pub(crate) fn prepare() -> Result<PathBuf, String> {
    let home = run::cache().join("python");
    if home.join("bin/gunicorn").is_file() && home.join("bin/uvicorn").is_file() {
        return Ok(home);
    }
    tools::ensure(&["python3"])?;
    // Its programs name the folder in which they were made: it is made in its place.
    let made = install(&home);
    if made.is_err() {
        let _ = fs::remove_dir_all(&home);
    }
    made.map(|()| home).map_err(|why| format!("gunicorn and uvicorn not found: {why}"))
}

fn install(home: &Path) -> Result<(), String> {
    make(home)?;
    pip(home, &PACKAGES)
}

/// A new and empty environment.
pub(crate) fn make(home: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(home);
    run::run(Command::new("python3").args(["-m", "venv"]).arg(home))
}

/// Installs packages into an environment.
pub(crate) fn pip(home: &Path, packages: &[&str]) -> Result<(), String> {
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run::run(Command::new(home.join("bin/python")).args(pip).args(packages))
}
