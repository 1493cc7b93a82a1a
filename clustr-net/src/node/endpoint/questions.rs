//! Connections that are nobody's but ours: to see whether a worker's loop turns, and whether it serves.
//!
//! Owns what makes them different from those of clients: their answers are not told as such, and they never come back for another
//! worker. Called by the loop of a primary.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{Endpoint, SendError};
use crate::accept::{Connection, PROBE};

/// The key of a server that no worker has: those of the table are numbers.
const NO_SERVER: &str = "nobody";
/// Bound: probes that one worker may leave unanswered.
const PROBES_MAX: usize = 4;

impl Endpoint {
    /// Asks whether the worker's loop turns, unless it was asked and has not answered: [`Said::Here`](super::Said::Here). It is given a socket
    /// that leads nowhere, for a server that it does not have, which node says by itself; its app notices nothing.
    ///
    /// # Errors
    ///
    /// As [`hand_over`](Self::hand_over); `EMFILE`.
    pub fn ask(&mut self) -> Result<(), SendError> {
        if self.asked.is_some() {
            return Ok(());
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (fd, _) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(io::Error::from)?;
        let nobody = Connection { fd, listener: PROBE, source: None };
        self.asked = Some(self.hand_over(NO_SERVER, nobody).map_err(|(error, _)| error)?);
        Ok(())
    }

    /// Hands over a connection of our own, to see whether the worker serves. What becomes of it shows on our end alone: its
    /// answer is not told, and it never comes back.
    ///
    /// # Errors
    ///
    /// As [`hand_over`](Self::hand_over); [`SendError::Full`] also where the worker has not answered those before.
    pub fn probe(&mut self, key: &str, fd: OwnedFd) -> Result<(), SendError> {
        if self.outbox.ledger.probes() >= PROBES_MAX {
            return Err(SendError::Full);
        }
        let connection = Connection { fd, listener: PROBE, source: None };
        self.hand_over(key, connection).map(drop).map_err(|(error, _)| error)
    }

    /// Takes out what was asked with; says whether it was this.
    pub(super) fn take_asked(&mut self, seq: Option<u64>) -> bool {
        let is_it = seq.is_some() && self.asked == seq;
        if is_it {
            self.asked = None;
            self.outbox.ledger.take(seq.unwrap_or_default());
        }
        is_it
    }
}
