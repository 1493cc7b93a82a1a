//! The same programs without anybody who intercepts: each worker has a queue of its own, as under interception.
//!
//! Owns the loop that starts them, a server in Rust that they may be, and the time that a filter takes. A worker that ends
//! ends the loop.

use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use clustr_benches::load::monotonic_ns;
use clustr_net::inherited;
use clustr_net::intercept::{Installer, Watch};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::serve::serve_one;
use crate::text;

/// As many connections wait as the kernel allows, as with clustr.
const BACKLOG: i32 = 4_096;

/// Starts so many of a program, each with a queue of its own as its standard input.
pub(crate) fn all(port: u16, workers: usize, command: &[&str]) -> Result<(), String> {
    let mut workers: Vec<Child> =
        (0..workers).map(|_| start(command, queue(port)?)).collect::<Result<_, _>>()?;
    workers.iter_mut().try_for_each(|worker| worker.wait().map(drop).map_err(text))
}

/// A server that binds the port of the variable `PORT` itself, and knows nothing of anybody.
pub(crate) fn plain() -> Result<(), String> {
    let port = std::env::var("PORT").map_err(text)?.parse::<u16>().map_err(text)?;
    serve_one(&TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).map_err(text)?)
}

/// The same server on its standard input.
pub(crate) fn on_input() -> Result<(), String> {
    serve_one(&TcpListener::from(inherited::claim(0).map_err(text)?))
}

/// Says how many nanoseconds it takes to have this process watched.
pub(crate) fn filter() -> Result<(), String> {
    let installer = Installer::new(Watch::default()).map_err(text)?;
    let began = monotonic_ns();
    installer.install().map_err(text)?;
    let took = monotonic_ns() - began;
    writeln!(std::io::stdout(), "{took}").map_err(text)
}

fn queue(port: u16) -> Result<OwnedFd, String> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, flags, None).map_err(text)?;
    sockopt::set_socket_reuseport(&socket, true).map_err(text)?;
    bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).map_err(text)?;
    listen(&socket, BACKLOG).map_err(text)?;
    Ok(socket)
}

fn start(command: &[&str], queue: OwnedFd) -> Result<Child, String> {
    let (program, arguments) = command.split_first().ok_or("no program")?;
    Command::new(program).args(arguments).stdin(Stdio::from(queue)).spawn().map_err(text)
}
