//! The primary accepts, and hands each connection to the worker that has the fewest open; each has a thread of its own.
//!
//! `cargo run -p clustr-supervisor --example least_busy`, then `curl localhost:3001` beside a client that says nothing
//! (`nc localhost 3001`): others are sent to workers without such clients. Told to leave, a worker finishes what is open.
//! `$ADDRESS` and `$CONTROL` as in `cluster`.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example speaks, and its threads are its own"
)]

use std::error::Error;
use std::io::{self, Read, Write};
use std::time::Duration;
use std::{env, process, thread};

use clustr_supervisor::config::{Balance, Share};
use clustr_supervisor::{Connection, Role, Worker, role};

fn main() -> Result<(), Box<dyn Error>> {
    match role()? {
        Role::Primary(mut cluster) => {
            if let Some(path) = env::var_os("CONTROL") {
                cluster = cluster.control(path);
            }
            let address = env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:3001".into());
            let cluster = cluster
                .listen("web", address)
                .share(Share::Handoff)
                .balance(Balance::LeastBusy)
                .workers(2)
                .policy(|policy| policy.stop_timeout(Duration::from_secs(5)))
                .on(|event| println!("{event}"));
            println!("{:?}", cluster.run()?);
        }
        Role::Worker(worker) => work(worker)?,
    }
    Ok(())
}

fn work(mut worker: Worker) -> io::Result<()> {
    worker.ready()?;
    let mut threads = Vec::new();
    for connection in worker.connections() {
        let connection = connection?;
        // A client that goes away is not our error.
        threads.push(thread::spawn(move || drop(answer(&connection))));
        threads.retain(|thread| !thread.is_finished());
    }
    threads.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

fn answer(mut connection: &Connection) -> io::Result<()> {
    let _ = connection.read(&mut [0; 1024])?;
    let body = format!("served by {}\n", process::id());
    let length = body.len();
    write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}
