//! One connection that a worker serves.
//!
//! Owns the stream, and its place among the open ones: as long as a connection, or the guard that was taken out of it, lives,
//! the primary counts it (`least-busy`). Never interprets a byte. Made by `Worker`.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::handoff::{Family, Guard};

/// A connection; it counts as open until it is dropped.
#[derive(Debug)]
pub struct Connection {
    // Dropped in this order: closed first, then reported as closed.
    stream: Stream,
    listener: Arc<str>,
    guard: OpenGuard,
}

/// The stream of a connection.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

/// Counts a connection as open, for a stream that has gone its own way: to be dropped when the stream is closed. May go
/// to another thread.
#[derive(Debug)]
#[must_use = "the connection counts as closed once this is dropped"]
pub struct OpenGuard {
    /// None: the worker accepted it by itself, and the primary does not know of it.
    _guard: Option<Guard>,
}

impl Connection {
    pub(super) fn new(fd: OwnedFd, family: Family, listener: Arc<str>, guard: Option<Guard>) -> Self {
        let stream = match family {
            Family::Tcp => Stream::Tcp(fd.into()),
            Family::Unix => Stream::Unix(fd.into()),
        };
        Self { stream, listener, guard: OpenGuard { _guard: guard } }
    }

    /// The name of the listener that it came from.
    #[must_use]
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// The stream, to ask for its peer or to set its options.
    #[must_use]
    pub const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The stream, if it is TCP.
    #[must_use]
    pub const fn as_tcp(&self) -> Option<&TcpStream> {
        match &self.stream {
            Stream::Tcp(stream) => Some(stream),
            Stream::Unix(_) => None,
        }
    }

    /// The stream, if it is a Unix socket.
    #[must_use]
    pub const fn as_unix(&self) -> Option<&UnixStream> {
        match &self.stream {
            Stream::Tcp(_) => None,
            Stream::Unix(stream) => Some(stream),
        }
    }

    /// Takes it apart, for what wants a stream of its own: tokio, mio, TLS. The guard is to be kept as long as the
    /// stream.
    pub fn into_parts(self) -> (Stream, OpenGuard) {
        (self.stream, self.guard)
    }

    /// Whether reading and writing wait.
    ///
    /// # Errors
    ///
    /// What ioctl(2) says.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(self, nonblocking)?)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Tcp(stream) => stream.into(),
            Stream::Unix(stream) => stream.into(),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).read(buf),
            Stream::Unix(stream) => (&mut &*stream).read(buf),
        }
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).read_vectored(bufs),
            Stream::Unix(stream) => (&mut &*stream).read_vectored(bufs),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).write(buf),
            Stream::Unix(stream) => (&mut &*stream).write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&mut &*stream).write_vectored(bufs),
            Stream::Unix(stream) => (&mut &*stream).write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! read_and_write_through {
    ($($type:ty => $field:ident),+) => {$(
        impl Read for $type {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                (&self.$field).read(buf)
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                (&self.$field).read_vectored(bufs)
            }
        }

        impl Write for $type {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                (&self.$field).write(buf)
            }

            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                (&self.$field).write_vectored(bufs)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    )+};
}

read_and_write_through!(Connection => stream, &Connection => stream);
