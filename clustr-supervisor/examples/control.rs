//! A cluster under the control of another thread: it hears `scale N`, `status`, `say WORDS` and `stop` on standard input.
//!
//! `cargo run -p clustr-supervisor --example control`. What is said reaches every worker, which says it to its clients from
//! then on, and tells the primary so. `$ADDRESS` and `$CONTROL` as in `cluster`.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example speaks, and has a thread of its own"
)]

use std::error::Error;
use std::io::{self, Read, Write};
use std::{env, process, thread};

use clustr_supervisor::{Cluster, Connection, Event, Handle, HandleError, Heard, Role, Worker, role};

fn main() -> Result<(), Box<dyn Error>> {
    match role()? {
        Role::Primary(cluster) => control(cluster),
        Role::Worker(worker) => Ok(work(worker)?),
    }
}

fn control(mut cluster: Cluster) -> Result<(), Box<dyn Error>> {
    if let Some(path) = env::var_os("CONTROL") {
        cluster = cluster.control(path);
    }
    let address = env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:3001".into());
    let cluster = cluster.listen("web", address).workers(2);
    let (handle, events) = (cluster.handle(), cluster.handle().events()?);
    // Events may take their time here: it is not the loop that waits for this thread.
    let told =
        thread::spawn(move || events.iter().filter(worth_saying).for_each(|event| println!("{event}")));
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            println!("{line}: {}", obey(&handle, &line).unwrap_or_else(|error| error.to_string()));
        }
    });
    let verdict = cluster.run()?;
    // The last event has come: the cluster has ended.
    told.join().ok();
    println!("{verdict:?}");
    Ok(())
}

const fn worth_saying(event: &Event) -> bool {
    matches!(event, Event::Ready { .. } | Event::Exited { .. } | Event::Message { .. })
}

fn obey(handle: &Handle, line: &str) -> Result<String, HandleError> {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("status", _) => {
            let status = handle.status().wait()?;
            let app = &status.apps[0];
            return Ok(format!("{} of {} workers ready", app.ready, app.wanted));
        }
        ("scale", count) => handle.scale_to(count.parse().unwrap_or(0)).wait()?,
        ("say", words) => handle.send(words).wait()?,
        ("stop", _) => handle.stop().wait()?,
        _ => return Ok("scale N, status, say WORDS or stop".into()),
    }
    Ok("done".into())
}

fn work(mut worker: Worker) -> io::Result<()> {
    let mut words = String::from("hello");
    worker.ready()?;
    loop {
        match worker.wait(None)? {
            // A client that goes away is not our error.
            Some(Heard::Connection(connection)) => drop(answer(&connection, &words)),
            Some(Heard::Message(message)) => {
                words = String::from_utf8_lossy(&message).into_owned();
                worker.send(format!("{} says {words}", process::id()).as_bytes())?;
            }
            Some(Heard::Drain | Heard::Closed) => return Ok(()),
            None => {}
        }
    }
}

fn answer(mut connection: &Connection, words: &str) -> io::Result<()> {
    let _ = connection.read(&mut [0; 1024])?;
    let body = format!("{words} from {}\n", process::id());
    let length = body.len();
    write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}
