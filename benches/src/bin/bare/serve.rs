//! Servers that answer every connection with the same bytes.
//!
//! Owns the answer. Never reads more of a request than arrives at once.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

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

/// A thread for each connection, which is kept until its client closes it or says that it will.
pub(crate) fn serve_kept(port: u16) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(text)?;
    for stream in listener.incoming().flatten() {
        stream.set_nodelay(true).map_err(text)?;
        std::thread::spawn(move || answer_all(stream));
    }
    Ok(())
}

fn answer_all(mut stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";
    const LAST: &[u8] = b"connection: close";
    let mut request = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut request) {
        let is_last = request[..count].windows(LAST.len()).any(|word| word.eq_ignore_ascii_case(LAST));
        if stream.write_all(ANSWER).is_err() || is_last {
            return;
        }
    }
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
