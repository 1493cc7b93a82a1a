//! A connection of either family.
//!
//! Owns nothing but the choice between TCP and a Unix socket. Called by `client`.

use std::io::{self, Read, Write};

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use super::Target;

/// A connection that does not block.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn connect(target: &Target, registry: &Registry, token: Token) -> io::Result<Self> {
        let wish = Interest::READABLE | Interest::WRITABLE;
        match target {
            Target::Tcp(address) => {
                let mut stream = TcpStream::connect(*address)?;
                registry.register(&mut stream, token, wish)?;
                Ok(Self::Tcp(stream))
            }
            Target::Unix(path) => {
                let mut stream = UnixStream::connect(path)?;
                registry.register(&mut stream, token, wish)?;
                Ok(Self::Unix(stream))
            }
        }
    }

    /// Our port; 0 where there is none.
    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Tcp(stream) => stream.local_addr().map_or(0, |local| local.port()),
            Self::Unix(_) => 0,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
