//! Why a group of queues could not be made or changed.
//!
//! Owns the words and the errnos. Never decides what follows. Called by `queue`.

use std::io;

use rustix::io::Errno;

use crate::addr::Addr;
use crate::listener::BindError;
use crate::steer::SteerError;

/// Why a group could not be made or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The kernel refused the address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Only TCP and UDP have groups.
    #[error("{0} cannot have a queue for each worker: only TCP and UDP can")]
    Family(Addr),
    /// Somebody else listens on the port with `SO_REUSEPORT`.
    #[error("another socket joins the port {0} in the same moment")]
    Strangers(u16),
    /// No program for what is live.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// The kernel refused a program, or does not say who listens.
    #[error("could not {step}")]
    Kernel {
        /// What was tried.
        step: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// No such queue, or it is leaving.
    #[error("there is no such queue")]
    Unknown,
    /// Somebody who has the queue has shut it down: [`Queues::revive`](super::Queues::revive).
    #[error("the queue was shut down")]
    Deaf,
}

impl QueueError {
    /// The kernel's word, or what stands for it.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Bind(error) => error.errno(),
            Self::Kernel { source, .. } => source.raw_os_error(),
            Self::Family(_) => Some(Errno::OPNOTSUPP.raw_os_error()),
            Self::Strangers(_) => Some(Errno::ADDRINUSE.raw_os_error()),
            Self::Steer(_) | Self::Unknown | Self::Deaf => None,
        }
    }
}

pub(super) const fn kernel(step: &'static str, source: io::Error) -> QueueError {
    QueueError::Kernel { step, source }
}
