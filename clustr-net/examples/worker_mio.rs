//! A worker with one mio loop: the worker is a source like any other.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use clustr_net::Worker;
use clustr_net::worker::{Heard, OpenGuard, Stream};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

const WORKER: Token = Token(0);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n";

/// A client, and the count of it.
struct Client {
    stream: TcpStream,
    asked: Vec<u8>,
    _open: OpenGuard,
}

fn main() -> io::Result<()> {
    let Some(mut worker) = Worker::from_env()? else {
        return Err(io::Error::other(
            "nobody made this a worker: CLUSTR_CHANNEL_FD and LISTEN_FDS are not set",
        ));
    };
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(64));
    poll.registry().register(&mut worker, WORKER, Interest::READABLE)?;
    worker.ready()?;
    let (mut clients, mut last, mut draining) = (HashMap::new(), WORKER, false);
    while !draining || !clients.is_empty() {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == WORKER {
                draining |= welcome(&mut worker, poll.registry(), &mut clients, &mut last)?;
            } else if clients.get_mut(&event.token()).is_some_and(Client::is_done) {
                clients.remove(&event.token());
            }
        }
    }
    Ok(())
}

/// Takes everybody who has come; whether it is time to leave.
fn welcome(
    worker: &mut Worker,
    registry: &Registry,
    clients: &mut HashMap<Token, Client>,
    last: &mut Token,
) -> io::Result<bool> {
    loop {
        match worker.try_next()? {
            Some(Heard::Connection(connection)) => {
                let (Stream::Tcp(stream), open) = connection.into_parts() else { continue };
                let mut stream = TcpStream::from_std(stream);
                *last = Token(last.0 + 1);
                registry.register(&mut stream, *last, Interest::READABLE)?;
                clients.insert(*last, Client { stream, asked: Vec::new(), _open: open });
            }
            Some(Heard::Message(_)) => {}
            Some(Heard::Drain | Heard::Closed) => return Ok(true),
            None => return Ok(false),
        }
    }
}

impl Client {
    /// Reads what has come, and answers a request; whether that was all.
    fn is_done(&mut self) -> bool {
        let mut piece = [0; 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return true,
                Ok(count) => self.asked.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return true,
            }
        }
        let asked = self.asked.windows(4).any(|end| end == b"\r\n\r\n");
        if asked {
            // An answer this short fits into an empty socket; a client that has left needs none.
            self.stream.write_all(ANSWER).ok();
        }
        asked || self.asked.len() > 8 << 10
    }
}
