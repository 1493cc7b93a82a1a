//! The exit codes that scripts may rely on.
//!
//! Owns the numbers and their meaning. Never decides which one applies: `failure` does.

/// Done and proven.
pub(crate) const DONE: u8 = 0;
/// Failed or refused; a program that is missing or not executable too.
pub(crate) const FAILED: u8 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;
/// There is no primary of that name.
pub(crate) const NO_PRIMARY: u8 = 3;
/// Rolled back: the old version serves.
pub(crate) const ROLLED_BACK: u8 = 4;
/// A bug in clustr.
pub(crate) const BUG: u8 = 70;
/// The primary is busy with something else: try again.
pub(crate) const BUSY: u8 = 75;
/// A configuration file is invalid.
pub(crate) const CONFIG: u8 = 78;
/// It took longer than it was given.
pub(crate) const TIMED_OUT: u8 = 124;

/// Every code with its meaning, as `clustr --help` lists them.
pub(crate) const MEANINGS: [(u8, &str); 9] = [
    (DONE, "done and proven"),
    (FAILED, "failed or refused; command not found"),
    (USAGE, "the command line makes no sense"),
    (NO_PRIMARY, "no primary there"),
    (ROLLED_BACK, "rolled back: the old version serves"),
    (BUG, "a bug in clustr"),
    (BUSY, "busy: try again"),
    (CONFIG, "a configuration file is invalid"),
    (TIMED_OUT, "timed out"),
];
