//! Accept here, serve there: descriptors passed to workers that are ours, with no word about them.
//!
//! Owns both ends. Never learns what became of a connection; a worker that ends ends the loop.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use clustr_benches::sys;
use clustr_net::{inherited, scm};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::serve::answer;
use crate::text;

/// Accepts, and passes to each worker in turn.
pub(crate) fn primary(port: u16, workers: usize) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(text)?;
    // As clustr's primary that hands connections over is scheduled.
    let _known = sys::schedule_as_batch(true);
    let workers: Vec<(OwnedFd, Child)> = (0..workers).map(|_| start()).collect::<Result<_, _>>()?;
    for (channel, _) in workers.iter().cycle() {
        let (stream, _) = listener.accept().map_err(text)?;
        sys::send_bare(channel.as_fd(), &[stream.as_fd()]).map_err(text)?;
    }
    Ok(())
}

/// Serves what comes over standard input.
pub(crate) fn worker() -> Result<(), String> {
    let channel = inherited::claim(0).map_err(text)?;
    let mut fds = Vec::new();
    while scm::recv(&channel, &mut [0; 1], &mut fds).map_err(text)?.bytes > 0 {
        fds.drain(..).for_each(|fd| answer(&mut TcpStream::from(fd)));
    }
    Ok(())
}

fn start() -> Result<(OwnedFd, Child), String> {
    let own = std::env::current_exe().map_err(text)?;
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.map_err(text)?;
    // This policy is inherited, and no worker of clustr's has it.
    let _known = sys::schedule_as_batch(false);
    let child = Command::new(own).arg("passed").stdin(Stdio::from(theirs)).spawn().map_err(text)?;
    let _known = sys::schedule_as_batch(true);
    Ok((ours, child))
}
