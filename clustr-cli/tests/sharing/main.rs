//! Each way to share with each way to deliver, with real programs.
//!
//! Owns the matrix, and one line for each of its cells: `sharing: PROGRAM [DELIVERY] SHARE ok`, or `FAILED WHY`, or
//! `skipped WHY`, or `refused` where clustr says why it cannot be. One program for each mechanism is tried in the ordinary tests, all of them where `CLUSTR_MATRIX` is
//! set, as `cargo xtask compat sharing` does.
#![expect(clippy::disallowed_methods, reason = "tests start programs and read clocks")]
#![expect(clippy::print_stdout, reason = "each cell of the matrix is told")]

#[path = "../harness/mod.rs"]
mod harness;
mod life;
mod programs;

use harness::node::missing;
use programs::{Program, all};

/// The ways of sharing, in the order of the table.
const SHARES: [&str; 3] = ["shared", "per-worker", "handoff"];

#[test]
fn node_gets_its_connections_in_each_sharing() {
    tried("node");
}

#[test]
fn a_program_with_clustrs_channel_gets_its_connections_in_each_sharing() {
    tried("Rust, std");
}

#[test]
fn a_program_that_knows_listen_fds_gets_its_connections_in_each_sharing_but_handoff() {
    tried("Python");
}

#[test]
fn a_program_that_binds_by_itself_gets_its_connections_in_each_sharing_but_handoff() {
    tried("Python, own bind");
}

#[test]
fn every_other_program_gets_its_connections_too() {
    if std::env::var_os("CLUSTR_MATRIX").is_some() {
        let others = all().into_iter().filter(|program| !ORDINARY.contains(&program.name));
        judged(others.collect());
    }
}

/// Those of the ordinary tests: one for each delivery.
const ORDINARY: [&str; 4] = ["node", "Rust, std", "Python", "Python, own bind"];

fn tried(name: &str) {
    judged(all().into_iter().filter(|program| program.name == name).collect());
}

/// Tries programs in each sharing, past those that fail.
///
/// # Panics
///
/// One has failed, or none was there.
fn judged(programs: Vec<Program>) {
    assert!(!programs.is_empty(), "a name of nobody");
    let mut faults = Vec::new();
    for program in programs {
        for share in SHARES {
            let cell = format!("{} [{}] {share}", program.name, program.delivery);
            if let Some(what) = program.lacks() {
                println!("sharing: {cell} skipped {what} not found");
                missing(what);
                continue;
            }
            let outcome = if program.is_refused(share) {
                life::is_refused(&program, share)
            } else {
                life::lives(&program, share)
            };
            match outcome {
                Ok(verdict) => println!("sharing: {cell} {verdict}"),
                Err(why) => {
                    println!("sharing: {cell} FAILED {}", why.lines().next().unwrap_or_default());
                    faults.push(format!("{cell}: {why}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
