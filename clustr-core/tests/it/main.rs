//! Whole lives with a virtual clock: scenes, properties and seeded simulation. No process is ever started.
#![allow(clippy::unwrap_used, missing_docs)]

mod histories;
mod scenes;
mod simulation;
mod watch;
mod world;
