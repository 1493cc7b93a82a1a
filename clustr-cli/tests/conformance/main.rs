//! Node's cluster protocol, as unmodified apps see it: one test for each case, on each node of `CLUSTR_NODES`.
//!
//! Owns what clustr promises to programs of node in `shared` and `handoff`. The apps are in `tests/apps`. Every case ends with a
//! clean stop that leaves nothing behind.
#![expect(clippy::disallowed_methods, reason = "tests start programs and read clocks")]
#![expect(clippy::print_stdout, reason = "what was skipped, and the verdict of each case, is told")]

#[path = "../harness/mod.rs"]
mod harness;

mod ends;
mod errors;
mod handoff;
mod listeners;
mod messages;
mod paths;
mod queues;
mod servers;
mod udp;
