//! The worker of restart benchmarks: it is there, says so if it is asked to, and does nothing.
//!
//! Owns nothing. Ends by a signal. `trivial FIFO` writes its pid and the moment of its first line into the FIFO.

use std::fs::OpenOptions;
use std::io::{Read, Write};

use clustr_benches::load::monotonic_ns;
use rustix::process::{Signal, set_parent_process_death_signal};

fn main() -> std::io::Result<()> {
    let now = monotonic_ns();
    if let Some(fifo) = std::env::args_os().nth(1) {
        let line = format!("{} {now}\n", std::process::id());
        // A worker of the bare loop carries no mark by which it could be found: it ends with whoever started it.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        OpenOptions::new().write(true).open(fifo)?.write_all(line.as_bytes())?;
    }
    // A pipe whose write end is ours never has anything to read.
    let (mut never, _kept) = std::io::pipe()?;
    never.read_exact(&mut [0])
}
