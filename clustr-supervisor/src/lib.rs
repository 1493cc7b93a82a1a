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
//! ```no_run
//! use clustr_core::Policy;
//! use clustr_supervisor::config::{Config, Program};
//! use clustr_supervisor::Supervisor;
//!
//! let program = Program { command: vec!["node".into(), "app.js".into()], env: vec![], cwd: None };
//! let policy = Policy::builder(4).build()?;
//! let verdict = Supervisor::new(Config::new("app", program, policy))?.run()?;
//! println!("{verdict:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The map
//!
//! [`config`] says what to run, [`control`] is how it is talked to while it runs, [`news`] is what it tells.

#![deny(rustdoc::broken_intra_doc_links)]

mod advice;
mod clock;
pub mod cluster;
pub mod config;
pub mod control;
mod error;
mod execute;
mod hear;
mod logs;
pub mod news;
mod process;
mod reactor;
mod readiness;
mod relay;
mod requests;
mod sharing;
mod signals;
mod start;
mod status;
mod supervisor;
#[allow(unsafe_code, reason = "the crate's only unsafe code, counted by `cargo xtask tidy`")]
mod sys;
mod tell;
mod worker;

pub use cluster::{Cluster, Event, Handle, HandleError, Pending, Role, RoleError, role};
pub use clustr_core::{
    Backoff, EndReason, Exit, Generation, Intensity, Overdue, Policy, PolicyBuilder, RestartMode, SlotId,
    StopOrder, Verdict, WorkerId,
};
pub use clustr_net::Worker;
pub use config::Config;
pub use error::{ListenError, StartError};
pub use nix::sys::signal::Signal;
pub use supervisor::Supervisor;

/// Where a command would be found, as a worker's start would find it: for `clustr check`.
///
/// # Errors
/// [`StartError::Command`].
pub fn find_program(program: &config::Program) -> Result<std::path::PathBuf, StartError> {
    supervisor::find_program(program)
}
