//! The demo's server: one worker, which speaks node's channel as a node program would.
//!
//! Owns its open connections. Gets its listener from the primary, answers every request with who it is, and, told to
//! leave, finishes what is open first. One thread, one poll: a client that says nothing holds up nobody.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use clustr_net::addr::{Addr, Host};
use clustr_net::node::{Heard, Worker};
use rustix::event::{PollFd, PollFlags};

use super::failed;
use crate::exit_code;
use crate::failure::{Failure, Usage};

/// Bound: connections that a worker holds; further ones wait in the queue, or go to other workers.
const CONNECTIONS_MAX: usize = 256;
/// Bound: a request's head; a longer one is cut off.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// How long a client may take to read its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until told to leave.
///
/// # Errors
/// It is no worker, or the port cannot be had.
pub(crate) fn work(port: u16) -> Result<u8, Failure> {
    let Some(mut channel) = Worker::from_env().map_err(|error| failed("no channel to the primary", error))?
    else {
        return Err(Failure::Usage(Usage {
            what: "demo-worker runs under clustr only".to_owned(),
            detail: None,
            hint: Some("clustr demo".to_owned()),
        }));
    };
    let addr = Addr::Tcp { host: Host::Ip(Ipv4Addr::LOCALHOST.into()), port };
    let listener = channel.listen(&addr).map_err(|error| failed("could not listen", error))?;
    Server::new(listener).serve(channel).map_err(|error| failed("could not serve", error))?;
    Ok(exit_code::DONE)
}

struct Server {
    /// Gone once we are told to leave.
    listener: Option<TcpListener>,
    clients: Vec<Client>,
    identity: String,
    served: u64,
}

struct Client {
    stream: TcpStream,
    request: Vec<u8>,
}

impl Server {
    fn new(listener: TcpListener) -> Self {
        let word = |name: &str| std::env::var(name).unwrap_or_else(|_| "?".to_owned());
        let (slot, incarnation) = (word("CLUSTR_SLOT"), word("CLUSTR_INCARNATION"));
        let identity = format!("worker {}: slot {slot}, incarnation {incarnation}", std::process::id());
        Self { listener: Some(listener), clients: Vec::new(), identity, served: 0 }
    }

    fn serve(mut self, mut channel: Worker) -> io::Result<()> {
        while self.listener.is_some() || !self.clients.is_empty() {
            self.wait(&channel)?;
            self.answer_clients();
            loop {
                let room = self.clients.len() < CONNECTIONS_MAX;
                match channel.wait(self.listener.as_ref().filter(|_| room), Some(Duration::ZERO))? {
                    Some(Heard::Connection(stream)) => self.take(stream)?,
                    Some(Heard::Disconnect) => self.listener = None,
                    Some(Heard::Closed) => return Ok(()),
                    Some(Heard::User(_)) => {}
                    None => break,
                }
            }
        }
        channel.leave()
    }

    /// Until the primary, a new client or an old one has something to say.
    fn wait(&self, channel: &Worker) -> io::Result<()> {
        let mut fds = vec![PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN)];
        let room = self.clients.len() < CONNECTIONS_MAX;
        fds.extend(
            self.listener.iter().filter(|_| room).map(|listener| PollFd::new(listener, PollFlags::IN)),
        );
        fds.extend(self.clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN)));
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        self.clients.push(Client { stream, request: Vec::new() });
        self.answer_clients();
        Ok(())
    }

    fn answer_clients(&mut self) {
        let Self { clients, identity, served, .. } = self;
        clients.retain_mut(|client| match client.read() {
            Heads::Whole => {
                *served += 1;
                // A client that went away meanwhile has lost its answer, and nobody else.
                let _ = client.answer(&format!("{identity}, request {served}\n"));
                false
            }
            Heads::Incomplete => true,
            Heads::Gone => false,
        });
    }
}

/// How far a request's head has come.
enum Heads {
    Whole,
    Incomplete,
    Gone,
}

impl Client {
    fn read(&mut self) -> Heads {
        let mut piece = [0; 2048];
        match self.stream.read(&mut piece) {
            Ok(0) => return Heads::Gone,
            Ok(count) => self.request.extend_from_slice(&piece[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Heads::Gone,
        }
        if self.request.windows(4).any(|window| window == b"\r\n\r\n") {
            Heads::Whole
        } else if self.request.len() > REQUEST_BYTES_MAX {
            Heads::Gone
        } else {
            Heads::Incomplete
        }
    }

    fn answer(&mut self, body: &str) -> io::Result<()> {
        self.stream.set_nonblocking(false)?;
        self.stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let (pid, length) = (std::process::id(), body.len());
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: close\r\nX-Clustr-Pid: {pid}\r\n\r\n"
        );
        self.stream.write_all(format!("{head}{body}").as_bytes())
    }
}
