//! Tests of clustr-net with the real kernel, and with real node processes.
//!
//! One binary, one module per subject. Nothing sleeps: whoever waits has a deadline (`deadline`).
#![allow(clippy::disallowed_methods, reason = "tests start processes and need a clock")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests are tests, too")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one word among many")]

mod accept;
mod activation;
mod bpf;
mod deadline;
mod fd_channel;
mod handoff_codec;
mod hostile_words;
mod inherited;
mod intercept;
mod listener;
mod loopback;
mod notify;
mod options;
mod queue;
mod scm;
mod sock_diag;
mod steer;
mod support;

#[cfg(feature = "worker")]
mod handoff;

#[cfg(feature = "node")]
mod codec;
#[cfg(feature = "node")]
mod endpoint;
#[cfg(feature = "node")]
mod node;
#[cfg(feature = "node")]
mod primary;
#[cfg(feature = "node")]
mod record;
#[cfg(feature = "node")]
mod table;
#[cfg(feature = "node")]
mod worker;
