//! The shell around the rules: one loop, facts in, orders carried out.
//!
//! `clustr-supervisor` runs N worker processes that share their ports, keeps them alive by the rules of
//! [`clustr_core`], and gives them their listeners through [`clustr_net`].
//!
//! **What it does.** It starts workers with a clean environment and exactly the documented descriptors, watches them by
//! pidfd, answers node's cluster protocol, brings their output out line by line, hears commands on a control
//! socket, and stops everything within its deadline.
//!
//! **What it never does.** It decides nothing (that is `clustr-core`'s), never blocks its loop, never wakes up when
//! nothing happens, and never signals a process by a number that somebody else may have by now.
//!
//! # A whole program
//!
//! It is primary and worker: the primary starts it again, once for each CPU.
//!
//! ```no_run
//! use std::io::Write;
//!
//! use clustr_supervisor::{Event, Role, role};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     match role()? {
//!         Role::Primary(cluster) => {
//!             let cluster = cluster.listen("web", "127.0.0.1:3001").on(|event| {
//!                 if let Event::Exited { pid, .. } = event {
//!                     eprintln!("death of {pid}"); // Its successor is there already, or starts soon.
//!                 }
//!             });
//!             // For other threads, or for a signal handler of the program's own.
//!             let handle = cluster.handle();
//!             std::thread::spawn(move || handle.scale_to(4).wait());
//!             cluster.run()?;
//!         }
//!         Role::Worker(mut worker) => {
//!             worker.ready()?;
//!             for connection in worker.connections() {
//!                 connection?.write_all(b"hello\n")?;
//!             }
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The same loop for another program, controlled from outside; this one is run whenever this page is tested:
//!
//! ```
//! use std::time::Duration;
//! use clustr_supervisor::{Cluster, Event, Overdue, Verdict};
//!
//! let cluster = Cluster::new()
//!     .command(["sleep", "1000"])
//!     .workers(2)
//!     .policy(|policy| policy.ready_timeout(Duration::from_millis(10), Overdue::CountsAsReady));
//! let handle = cluster.handle();
//! let events = handle.events()?;
//! let running = std::thread::spawn(move || cluster.run());
//!
//! while !matches!(events.recv()?, Event::Running { ready: 2 }) {}
//! handle.scale_to(3).wait()?;
//! assert_eq!(handle.status().wait()?.apps[0].ready, 3);
//! handle.stop().wait()?;
//! assert_eq!(running.join().unwrap()?, Verdict::Stopped);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Complete programs are in `examples/`: `cluster` (cluster.js retold), `control` (from another thread, with messages),
//! `least_busy` (connections handed over).
//!
//! # The map
//!
//! | module | owns |
//! |---|---|
//! | [`cluster`] | the primary in a few lines: [`Cluster`], [`role`], [`Handle`], [`Event`] |
//! | [`config`] [`Supervisor`] | the same with every word said: what `clustr run` is made of |
//! | [`control`] | the control socket: its place and its words; a [`Handle`] says the same ones |
//! | [`news`] | what is told, as lines for scripts; an [`Event`] is made of each |
//! | `supervisor` `reactor` `heed` | one turn of the loop: what woke it, and for whom |
//! | `app` `hear` `execute` | one app: what that means, what is done |
//! | `order` `apps` `rounds` | several apps: who starts and stops when, and what is wished of all |
//! | `requests` `status` `tell` | answers, pictures, news |
//! | `start` `process` `worker` | a worker's start, its process, and what is held of it |
//! | `sharing` `readiness` | how connections reach workers, and when a silent one counts as ready |
//! | `logs` | output, brought out by the one other thread |
//! | `signals` `relay` `clock` `sys` | signals, time, and all of the crate's `unsafe` |

#![deny(rustdoc::broken_intra_doc_links)]

mod advice;
mod ailments;
mod app;
mod apps;
mod clock;
pub mod cluster;
pub mod config;
pub mod control;
mod departures;
mod error;
mod execute;
mod generations;
mod hear;
mod heed;
mod left_behind;
mod logs;
pub mod news;
mod notify;
mod oom;
mod opening;
mod order;
mod probe;
mod process;
mod queues;
mod reactor;
mod readiness;
mod recycling;
mod relay;
mod requests;
mod rounds;
mod sharing;
mod signals;
mod start;
mod status;
mod supervisor;
#[allow(unsafe_code, reason = "the crate's only unsafe code, counted by `cargo xtask tidy`")]
mod sys;
mod tell;
mod watchdog;
mod worker;

pub use cluster::{Cluster, Event, Events, Handle, HandleError, Pending, Role, RoleError, role};
pub use clustr_core::{
    Backoff, EndReason, Exit, Generation, Intensity, Overdue, Policy, PolicyBuilder, RestartMode, SlotId,
    StopOrder, Verdict, WorkerId,
};
pub use clustr_net::Worker;
pub use clustr_net::worker::{Connection, Heard};
pub use config::Config;
pub use error::{ListenError, StartError};
pub use nix::sys::signal::Signal;
pub use order::{APPS_MAX, OrderError};
pub use supervisor::Supervisor;

/// Where a command would be found, as a worker's start would find it: for `clustr check`.
///
/// # Errors
/// [`StartError::Command`].
pub fn find_program(program: &config::Program) -> Result<std::path::PathBuf, StartError> {
    generations::find_program(program)
}
