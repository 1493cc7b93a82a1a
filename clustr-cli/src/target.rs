//! Which primary a command speaks to.
//!
//! Owns the order of the ways to say so: `--control`, `--name`, else the only one that runs. Called by every command
//! but `run`, `check` and `demo`.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clustr_supervisor::control::place;

use crate::args::Place;
use crate::client::{Client, ClientError};

/// A client of the primary, and of the app, that `place` means.
///
/// # Errors
/// There is none, there are several, or it does not answer.
pub(crate) fn connect(place: &Place) -> Result<Client, ClientError> {
    Ok(Client::connect(&resolve(place)?)?.meaning(place.app.clone()))
}

/// The control socket that `place` means.
///
/// # Errors
/// There is none, or there are several.
fn resolve(place: &Place) -> Result<PathBuf, ClientError> {
    if let Some(path) = &place.control {
        return Ok(path.clone());
    }
    let Some(dir) = place::existing_runtime_dir().map_err(ClientError::Folder)? else {
        return Err(ClientError::NobodyHere);
    };
    if let Some(name) = &place.name {
        return Ok(place::socket_path(&dir, name));
    }
    let mut live = all(&dir)?.into_iter().filter(|found| found.live);
    match (live.next(), live.next()) {
        (None, _) => Err(ClientError::NobodyHere),
        (Some(only), None) => Ok(only.path),
        (Some(one), Some(two)) => {
            Err(ClientError::Several([one, two].into_iter().chain(live).map(|found| found.name).collect()))
        }
    }
}

/// A control socket in the runtime folder.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// Whether somebody answers there; a killed primary leaves its socket behind.
    pub(crate) live: bool,
}

/// Every control socket in the folder.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn all(dir: &Path) -> Result<Vec<Found>, ClientError> {
    let found = place::sockets(dir).map_err(ClientError::Folder)?;
    let look =
        |(name, path): (String, PathBuf)| Found { name, live: UnixStream::connect(&path).is_ok(), path };
    Ok(found.into_iter().map(look).collect())
}
