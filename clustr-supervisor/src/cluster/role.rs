//! Which part this process plays: one program is primary and worker.
//!
//! Owns the question, and the safe answer where it is not clear: a worker that took itself for a primary would start
//! workers that do the same. Never starts anything. Called by a program's first lines.

use std::{env, fmt, io};

use clustr_net::Worker;

use super::Cluster;

/// The variable that every worker has, whatever primary started it.
const SLOT: &str = "CLUSTR_SLOT";

/// Which part this process plays.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process's life")]
pub enum Role {
    /// Nobody made it a worker: it may run a cluster of itself.
    Primary(Cluster),
    /// A primary started it: this one's [`Cluster`], or `clustr run`.
    Worker(Worker),
}

/// Why a process cannot play its part.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RoleError {
    /// It has a worker's variables but nothing to serve: it is a process that a worker started, or `clustr run` was not
    /// told what to listen on.
    #[error(
        "{SLOT} is set, but this process was given neither a channel nor listeners: either a worker started it, and it \
         is to be started without that variable; or: clustr run --listen ADDR -- {}", program.display()
    )]
    NothingToServe {
        /// This program.
        program: std::path::PathBuf,
    },
    /// What it was given cannot be used.
    #[error("could not take over what a worker is given")]
    Inherited(#[source] io::Error),
}

/// As for people: a `main` that returns this error shows it in this form.
impl fmt::Debug for RoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToServe { .. } => fmt::Display::fmt(self, f),
            Self::Inherited(source) => write!(f, "{self}: {source}"),
        }
    }
}

/// Tells whether this process is the primary of a new cluster or one of its workers. To be called once, in the first
/// lines of `main`, before anything is opened or started ([`clustr_net::inherited`] says why).
///
/// Under `clustr run --listen ADDR -- PROGRAM`, the same program is a worker of that primary, and unchanged.
///
/// # Errors
/// See [`RoleError`]. It is not clear what this process is then; so it is no primary.
///
/// ```
/// // Nobody has made this process a worker.
/// assert!(matches!(clustr_supervisor::role()?, clustr_supervisor::Role::Primary(_)));
/// # Ok::<(), clustr_supervisor::RoleError>(())
/// ```
pub fn role() -> Result<Role, RoleError> {
    if env::var_os(SLOT).is_none_or(|slot| slot.is_empty()) {
        return Ok(Role::Primary(Cluster::new()));
    }
    match Worker::from_env() {
        Ok(Some(worker)) => Ok(Role::Worker(worker)),
        Ok(None) => Err(nothing_to_serve()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(nothing_to_serve()),
        Err(error) => Err(RoleError::Inherited(error)),
    }
}

fn nothing_to_serve() -> RoleError {
    RoleError::NothingToServe { program: env::args_os().next().unwrap_or_default().into() }
}
