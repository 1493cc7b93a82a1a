//! Primaries of node workers: the least that node's cluster protocol asks for.
//!
//! Owns both ways: one listener for all (the primary then sleeps), or every connection passed on, both answers read and
//! thrown away. Never checks a word of a worker.

use std::io::{BufRead, BufReader};
use std::net::{Ipv6Addr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use clustr_benches::sys;
use clustr_net::scm;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, SocketFlags, accept_with, recv};
use serde_json::Value;

use crate::text;

/// Connections that one turn passes on, as many as clustr's at most.
const BURST: usize = 64;

/// Gives every worker the same listener, and each that ends a successor.
pub(crate) fn share(port: u16, workers: u32, app: &str) -> Result<(), String> {
    let listener = listen(port)?;
    let keep = |id: u32| -> Result<(), String> {
        loop {
            let (channel, mut child) = start(app, id)?;
            for question in questions(&channel)? {
                answer(&channel, question, Some(listener.as_fd()))?;
            }
            child.wait().map_err(text)?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=workers).map(|id| scope.spawn(move || keep(id))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("panicked".into())))
    })
}

/// Accepts, and passes to each worker in turn. Ends with the first of them.
pub(crate) fn pass(port: u16, workers: u32, app: &str) -> Result<(), String> {
    let listener = listen(port)?;
    let workers: Vec<(UnixStream, Child)> =
        (1..=workers).map(|id| start(app, id)).collect::<Result<_, _>>()?;
    for (channel, _) in &workers {
        let question = questions(channel)?.next().ok_or("a worker has ended")?;
        answer(channel, question, None)?;
    }
    // As clustr's primary that hands connections over is scheduled.
    let _known = sys::schedule_as_batch(true);
    let mut passed = 0;
    loop {
        let mut watched: Vec<_> =
            workers.iter().map(|(channel, _)| PollFd::new(channel, PollFlags::IN)).collect();
        watched.push(PollFd::new(&listener, PollFlags::IN));
        poll(&mut watched, None).map_err(text)?;
        let readable: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (channel, _) in
            workers.iter().zip(&readable).filter_map(|(worker, ready)| ready.then_some(worker))
        {
            if recv(channel, &mut [0; 65_536], RecvFlags::DONTWAIT).map_err(text)?.0 == 0 {
                return Ok(());
            }
        }
        for _ in 0..BURST {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let Ok(client) = accept_with(&listener, flags) else { break };
            let line = format!(
                "{{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{{\"cmd\":\"NODE_CLUSTER\",\
                 \"act\":\"newconn\",\"key\":\"k\",\"seq\":{passed}}}}}\n"
            );
            let (channel, _) = &workers[passed % workers.len()];
            scm::send(channel, line.as_bytes(), &[client.as_fd()]).map_err(text)?;
            passed += 1;
        }
    }
}

fn listen(port: u16) -> Result<TcpListener, String> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).map_err(text)?;
    // Node does not do this to what it is given, and a blocking listener would block it.
    listener.set_nonblocking(true).map_err(text)?;
    Ok(listener)
}

/// A node that believes in a primary, whose channel is its standard input.
fn start(app: &str, id: u32) -> Result<(UnixStream, Child), String> {
    let (ours, theirs) = UnixStream::pair().map_err(text)?;
    let mut command = Command::new("node");
    command.arg(app).stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
    command.env("NODE_CHANNEL_FD", "0").env("NODE_CHANNEL_SERIALIZATION_MODE", "json");
    command.env("NODE_UNIQUE_ID", id.to_string());
    Ok((ours, command.spawn().map_err(text)?))
}

/// The numbers of a worker's questions for a listener, as they come, until it ends.
fn questions(channel: &UnixStream) -> Result<impl Iterator<Item = u64>, String> {
    let lines = BufReader::new(channel.try_clone().map_err(text)?).lines();
    let question = |line: String| {
        let message: Value = serde_json::from_str(&line).ok()?;
        (message["act"] == "queryServer").then(|| message["seq"].as_u64())?
    };
    Ok(lines.map_while(Result::ok).filter_map(question))
}

/// The listener, or the promise that connections will come.
fn answer(channel: &UnixStream, question: u64, listener: Option<BorrowedFd<'_>>) -> Result<(), String> {
    let message =
        format!("{{\"cmd\":\"NODE_CLUSTER\",\"ack\":{question},\"key\":\"k\",\"errno\":0,\"data\":null}}");
    let line = match listener {
        Some(_) => format!("{{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{message}}}\n"),
        None => message + "\n",
    };
    let fds: Vec<_> = listener.into_iter().collect();
    scm::send(channel, line.as_bytes(), &fds).map_err(text)?;
    Ok(())
}
