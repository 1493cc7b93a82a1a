//! Rust and its standard library alone, built with rustc, without shared libraries: one client after the other.

use std::io::{Read, Write};
use std::net::TcpListener;

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|word| word.parse().ok()).expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    loop {
        let (mut client, _) = listener.accept()?;
        // Whoever hangs up has not harmed anybody else.
        let _ = client.read(&mut [0; 1000]);
        let _ = write!(client, "HTTP/1.0 200 OK\r\n\r\n{}", std::process::id());
    }
}
