//! A client of the control socket, as any script could write it.
//!
//! Owns one connection. Knows nothing of the protocol's types: what it reads is JSON.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::SOON;

/// A client of the control socket.
#[derive(Debug)]
pub(crate) struct Control {
    stream: BufReader<UnixStream>,
}

impl Control {
    pub(crate) fn connect(path: &Path) -> Result<Self, String> {
        let text = |error: std::io::Error| format!("{}: {error}", path.display());
        let stream = UnixStream::connect(path).map_err(text)?;
        stream.set_read_timeout(Some(SOON)).map_err(text)?;
        stream.set_write_timeout(Some(SOON)).map_err(text)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.get_mut().write_all(bytes).map_err(|error| error.to_string())
    }

    /// Reads the next line; an error if the primary has closed.
    pub(crate) fn read(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        let count = self.stream.read_line(&mut line).map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("the primary closed the connection".into());
        }
        serde_json::from_str(&line).map_err(|error| format!("'{line}': {error}"))
    }

    /// Asks, and reads the first line of the answer.
    pub(crate) fn ask(&mut self, request: &str) -> Result<Value, String> {
        self.send(request.as_bytes())?;
        self.send(b"\n")?;
        self.read()
    }

    /// Says no more, but listens.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.get_mut().shutdown(std::net::Shutdown::Write);
    }
}
