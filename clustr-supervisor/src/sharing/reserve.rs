//! Descriptors that connections must not take: what a worker's start and the control socket need is kept free.
//!
//! Owns duplicates of nothing in particular. Never fails: it takes what there is, and the rest when that is freed. Called
//! by `handoff`: only where the primary holds connections can they use up its descriptors.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

/// What a worker's start has open at its widest moment (14), and a client of the control socket beside it.
const KEPT: usize = 16;

#[derive(Debug)]
pub(crate) struct Reserve(Vec<OwnedFd>);

impl Reserve {
    pub(crate) fn new() -> Self {
        let mut reserve = Self(Vec::with_capacity(KEPT));
        reserve.refill();
        reserve
    }

    /// Frees all of them, for somebody to use now.
    pub(crate) fn lend(&mut self) {
        self.0.clear();
    }

    /// Takes back what is free.
    pub(crate) fn refill(&mut self) {
        while self.0.len() < KEPT {
            match rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(fd) => self.0.push(fd),
                Err(_) => return,
            }
        }
    }
}
