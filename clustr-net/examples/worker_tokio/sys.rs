//! The one `unsafe` of the example: tokio watches descriptors by number, and wants to be promised that the number stays.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// A descriptor that tokio watches.
pub(crate) struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an owned descriptor stays open, under one number, until it is dropped, and nobody gets it out of here
        // or puts another in its place: it is private, and lent by shared reference only.
        let watched = unsafe { AsyncFd::register(fd) };
        Ok(Self(watched?))
    }

    pub(crate) async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.0.readable().await
    }
}
