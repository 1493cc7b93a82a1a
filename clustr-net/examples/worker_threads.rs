//! A worker with a thread for each connection: nothing but the standard library.
//!
//! It serves whatever made it a worker: `systemd-socket-activate -l 3001 target/debug/examples/worker_threads`, or a primary
//! with `clustr_net::handoff`.
#![allow(clippy::disallowed_methods, reason = "its threads are its own")]

use std::io::{self, BufRead, BufReader, Write};

use clustr_net::Worker;
use clustr_net::worker::Connection;

fn main() -> io::Result<()> {
    let Some(mut worker) = Worker::from_env()? else {
        return Err(io::Error::other(
            "nobody made this a worker: CLUSTR_CHANNEL_FD and LISTEN_FDS are not set",
        ));
    };
    worker.ready()?;
    let mut threads = Vec::new();
    for connection in worker.connections() {
        let connection = connection?;
        threads.push(std::thread::spawn(move || serve(&connection)));
        threads.retain(|thread| !thread.is_finished());
    }
    // Told to drain: what is open is finished.
    threads.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

/// One request, one answer. A client that goes away is not our error.
fn serve(mut connection: &Connection) {
    let asked = BufReader::new(connection).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    if asked.count() > 0 {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n";
        connection.write_all(answer.as_bytes()).ok();
    }
}
