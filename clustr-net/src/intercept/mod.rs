//! Any program, unmodified: its own `bind` and `listen`, shared.
//!
//! Owns the seccomp filter that stops a process at these two calls, and the answers to them. Never starts a process, decides
//! when one lives, or owns what is listened on ([`Keeper`]). Called by a primary whose programs speak no protocol of ours.
//!
//! # What happens
//!
//! ```text
//! primary                                   worker, between fork and exec
//!   Installer::new ───────────────────────▶ Installer::install
//!   Installer::take ◀── notification descriptor
//!                                           exec: the program, which knows nothing
//!   Responder::hear ◀────────────────────── bind(3001)    stopped in the kernel
//!     binds the very socket, by a duplicate
//!     ─────────────────────────────────────▶ 0
//!   Responder::hear ◀────────────────────── listen        stopped again
//!     listens, and keeps the duplicate ────▶ 0            the worker is ready
//! ```
//!
//! The filter is inherited by all that the worker starts, in whatever language, linked in whatever way. What is kept is a
//! queue of its own for each worker, in one SO_REUSEPORT group ([`queue`](crate::queue)); it outlives a worker that is
//! killed, and the next of its slot finds it in the place of its own socket, with everybody who waits. Unix sockets have one
//! queue for all.
//!
//! # Two ways, and when there is none
//!
//! [`probe()`] starts a process and has it bind and listen, and so knows what works here: [`Way::Adopt`] as above;
//! [`Way::Replace`] where pidfd_getfd(2) is forbidden, as in containers: a socket of the same kind is made and put in the
//! place of the program's, whose options it does not have; or neither, with a [`Lack`] that says why.
//!
//! # What it does not see
//!
//! A bind through io_uring, or by a 64-bit convention other than this machine's. A second socket that a program binds to an
//! address that it has already is refused, as without clustr, unless the program has set `SO_REUSEPORT` itself. Datagram and
//! seqpacket sockets of the Unix family are left alone. A program that closes its listener and goes on leaves a queue that
//! nobody serves until it binds again or ends. The kernel steers no MPTCP sockets: it hashes over all queues.
//!
//! This is no security boundary, and refuses nothing that the kernel would not refuse.
//!
//! Sources: seccomp_unotify(2), pidfd_getfd(2); kernel 5.9 or later, 5.19 for signals during the wait.

mod call;
mod filter;
mod install;
mod keeper;
mod ledger;
mod name;
mod notifier;
mod probe;
mod replace;
mod responder;
mod rules;
mod socket;
mod sockets;
mod spare;
#[allow(unsafe_code)]
mod sys;
mod thread;

pub use filter::{Arch, Filter, Insn, Kind, Watch};
pub use install::{InstallError, Installer};
pub use keeper::{Caller, Keeper};
pub use ledger::Key;
pub use notifier::Notifier;
pub use probe::{Lack, found, probe};
pub use responder::{Responder, Seen};
pub use rules::{Rules, Why};
pub use sockets::Sockets;

/// How a program's socket is shared.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Way {
    /// Its own socket is kept, by a duplicate.
    Adopt,
    /// One of the same kind is made, and put in its place: a program's own cannot be had here.
    Replace {
        /// What pidfd_getfd(2) said.
        errno: i32,
    },
}

impl Way {
    /// Its name, for people and for scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adopt => "adopt",
            Self::Replace { .. } => "replace",
        }
    }

    /// Why it is not [`Way::Adopt`], which is the better one.
    #[must_use]
    pub fn why(self) -> Option<String> {
        match self {
            Self::Adopt => None,
            Self::Replace { errno } => {
                let error = std::io::Error::from_raw_os_error(errno);
                Some(format!("pidfd_getfd is forbidden, as in many containers: {error}"))
            }
        }
    }

    /// What has to be watched for it.
    #[must_use]
    pub const fn watch(self) -> Watch {
        Watch { v6_only: matches!(self, Self::Replace { .. }) }
    }
}
