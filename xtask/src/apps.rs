//! The npm packages that the test apps need (express, fastify, ws …).
//!
//! Owns `target/xtask/apps`, made from the committed `clustr-cli/tests/apps/package.json`. Called by `test` and
//! `compat`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{nodes, run, tools};

/// What the packages are made from; the lock file may be missing.
const SOURCES: &[&str] = &["package.json", "package-lock.json"];

/// Written last: says that the folder is whole, and from which list it was made.
const STAMP: &str = "made-from";

/// The folder whose `node_modules` the test apps use; `None` if no test app needs a package.
pub(crate) fn prepare() -> Result<Option<PathBuf>, String> {
    let wish = run::root().join("clustr-cli/tests/apps");
    if !wish.join(SOURCES[0]).is_file() {
        return Ok(None);
    }
    let home = run::cache().join("apps");
    let list = list(&wish);
    if fs::read_to_string(home.join(STAMP)).is_ok_and(|made| made == list) {
        return Ok(Some(home));
    }
    tools::ensure(&["npm"])?;
    let fresh = home.with_extension(format!("new-{}", std::process::id()));
    let made = install(&wish, &fresh, &list).and_then(|()| nodes::replace(&home, &fresh));
    let _ = fs::remove_dir_all(&fresh);
    made.map(|()| Some(home)).map_err(|why| format!("npm packages of the test apps not found: {why}"))
}

fn install(wish: &Path, fresh: &Path, list: &str) -> Result<(), String> {
    let io = |error: std::io::Error| format!("'{}': {error}", fresh.display());
    fs::create_dir_all(fresh).map_err(io)?;
    for source in SOURCES.iter().filter(|source| wish.join(source).is_file()) {
        fs::copy(wish.join(source), fresh.join(source)).map_err(io)?;
    }
    run::run(&mut nodes::npm_install(fresh))?;
    fs::write(fresh.join(STAMP), list).map_err(io)
}

/// The text that decides whether the folder is still what is wished.
fn list(wish: &Path) -> String {
    SOURCES.iter().filter_map(|source| fs::read_to_string(wish.join(source)).ok()).collect()
}
