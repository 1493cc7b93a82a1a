//! Servers that answer every connection with the same bytes.
//!
//! Owns the answer. Never reads more of a request than arrives at once.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use clustr_net::Worker;

use crate::text;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";

/// Two threads on one listener: what the load generator gets out of this machine at most.
pub(crate) fn serve(port: u16) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(text)?;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| listener.incoming().flatten().for_each(|mut stream| answer(&mut stream)));
        }
    });
    Ok(())
}

/// The same as a worker of clustr, by `LISTEN_FDS` or clustr's channel, one connection at a time.
pub(crate) fn worker() -> Result<(), String> {
    let mut worker = Worker::from_env().map_err(text)?.ok_or("nobody made this a worker")?;
    worker.ready().map_err(text)?;
    for connection in worker.connections() {
        let connection = connection.map_err(text)?;
        answer(&mut &connection);
    }
    Ok(())
}

pub(crate) fn answer(stream: &mut (impl Read + Write)) {
    let mut request = [0; 1024];
    if stream.read(&mut request).is_ok_and(|count| count > 0) {
        let _ = stream.write_all(ANSWER);
    }
}
