//! Servers that answer every connection with the same bytes.
//!
//! Owns the answer. Never reads more of a request than arrives at once.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use clustr_net::Worker;
use mio::net::{TcpListener as MioListener, TcpStream as MioStream};
use mio::{Events, Interest, Poll, Token};

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

/// Two threads with a loop each, for connections that are kept until their clients close them or say that they will.
pub(crate) fn serve_kept(port: u16) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(text)?;
    listener.set_nonblocking(true).map_err(text)?;
    std::thread::scope(|scope| {
        let threads = [0, 1].map(|_| scope.spawn(|| Kept::new(&listener)?.run()));
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "panicked")?.map_err(text))
    })
}

/// One loop, for both kinds of connections.
pub(crate) fn serve_one(listener: &TcpListener) -> Result<(), String> {
    listener.set_nonblocking(true).map_err(text)?;
    Kept::new(listener).and_then(|mut kept| kept.run()).map_err(text)
}

/// One thread's loop.
struct Kept {
    poll: Poll,
    listener: MioListener,
    clients: HashMap<Token, MioStream>,
    next: usize,
}

impl Kept {
    const LISTENER: Token = Token(0);

    fn new(listener: &TcpListener) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = MioListener::from_std(listener.try_clone()?);
        poll.registry().register(&mut listener, Self::LISTENER, Interest::READABLE)?;
        Ok(Self { poll, listener, clients: HashMap::new(), next: 1 })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(128);
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                match event.token() {
                    Self::LISTENER => self.accept()?,
                    token => self.answer(token),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((mut client, _)) = self.listener.accept() {
            client.set_nodelay(true)?;
            let token = Token(self.next);
            self.next += 1;
            self.poll.registry().register(&mut client, token, Interest::READABLE)?;
            self.clients.insert(token, client);
        }
        Ok(())
    }

    /// Whoever asks has had the last answer: there is one request to read, and room to write.
    fn answer(&mut self, token: Token) {
        const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";
        const LAST: &[u8] = b"connection: close";
        let Some(client) = self.clients.get_mut(&token) else { return };
        let mut request = [0; 1024];
        loop {
            let count = match client.read(&mut request) {
                Ok(count @ 1..) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => break,
            };
            let is_last = request[..count].windows(LAST.len()).any(|word| word.eq_ignore_ascii_case(LAST));
            if client.write_all(ANSWER).is_err() || is_last {
                break;
            }
        }
        self.clients.remove(&token);
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
