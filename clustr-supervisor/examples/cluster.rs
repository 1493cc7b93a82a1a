//! The well-known cluster.js, in Rust: a worker per CPU, and another one at every death.
//!
//! `cargo run -p clustr-supervisor --example cluster`, then `curl localhost:3001`, and `kill` whoever has answered. Ctrl-C
//! ends it. `$ADDRESS` is another address; at `$CONTROL` the `clustr` program is heard: `clustr status --control PATH`.
#![allow(clippy::print_stdout, reason = "an example speaks")]

use std::error::Error;
use std::io::{self, Read, Write};
use std::{env, process};

use clustr_supervisor::{Connection, Event, Role, role};

fn main() -> Result<(), Box<dyn Error>> {
    match role()? {
        Role::Primary(mut cluster) => {
            if let Some(path) = env::var_os("CONTROL") {
                cluster = cluster.control(path);
            }
            let address = env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:3001".into());
            // No `fork` here: a successor is what every worker has.
            cluster.listen("web", address).on(report).run()?;
        }
        Role::Worker(mut worker) => {
            worker.ready()?;
            for connection in worker.connections() {
                // A client that goes away is not our error.
                drop(answer(&connection?));
            }
        }
    }
    Ok(())
}

fn report(event: &Event) {
    if let Event::Exited { pid, .. } = event {
        println!("death of {pid}");
    }
}

fn answer(mut connection: &Connection) -> io::Result<()> {
    let _ = connection.read(&mut [0; 1024])?;
    let body = format!("served by {}\n", process::id());
    let length = body.len();
    write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}
