//! The process ring: a real primary in this process, real workers beside it.
#![allow(clippy::disallowed_methods, reason = "tests have deadlines of their own")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod apps;
mod balance;
mod clients;
mod cluster;
mod deliveries;
mod examples;
mod fixture;
mod notices;
mod probes;
mod queues;
mod shut;
mod transcripts;
