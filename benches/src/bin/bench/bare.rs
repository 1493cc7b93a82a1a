//! The least that a server and a supervisor can be: what the machine leaves room for.
//!
//! Owns two loops that check nothing and are no product. Each runs in a process of its own.

use std::ffi::CString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use clustr_benches::sys;
use rustix::process::{WaitId, WaitIdOptions, waitid};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";

/// Answers every connection with the same bytes, in two threads.
pub(super) fn serve(port: &str) -> Result<(), String> {
    let port: u16 = port.parse().map_err(|_| "no port")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())?;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| listener.incoming().flatten().for_each(answer));
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream) {
    let mut request = [0; 1024];
    if stream.read(&mut request).is_ok_and(|count| count > 0) {
        let _ = stream.write_all(ANSWER);
    }
}

/// Starts a program again whenever it ends.
pub(super) fn restart(program: &str, fifo: &str) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let program = CString::new(program).map_err(|error| error.to_string())?;
    let fifo = CString::new(fifo).map_err(|error| error.to_string())?;
    loop {
        let (_pid, pidfd) = sys::spawn(&program, &fifo).map_err(text)?;
        waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).map_err(|error| error.to_string())?;
    }
}
