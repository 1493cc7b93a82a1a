//! Programs that know nothing of clusters, and launchers: each runs as four workers that share its port, unmodified.
//!
//! Owns one line for each program: `programs: NAME | VERSION | SERVED BY | FAILED | FAILED IN RELOADS | ok`, or
//! `programs: NAME | FAILED WHY`, or `programs: NAME | skipped: X not found`. One program for each mechanism is tried in
//! the ordinary tests, all of them where `CLUSTR_MATRIX` is set, as `cargo xtask compat programs` does, or those in whose
//! names its words stand (`CLUSTR_MATRIX=redis,Java`).
#![expect(clippy::disallowed_methods, reason = "tests start programs and threads, and read clocks")]
#![expect(clippy::print_stdout, reason = "what became of each program is told")]

mod clients;
#[path = "../harness/mod.rs"]
mod harness;
mod life;
mod table;

use harness::node::missing;
use table::{Program, all};

/// Those of the ordinary tests; Python's and Java's threads and loops, perl and npm are in `it::intercept`.
const ORDINARY: [&str; 7] = [
    "python3 -m http.server",
    "Rust, std, static",
    "Rust, axum",
    "Python, epoll before bind",
    "Python, UDP",
    "Python, AF_UNIX",
    "Python, AF_UNIX, unlinked first",
];

#[test]
fn a_serial_server_shares_its_port_through_kills_and_reloads() {
    tried("python3 -m http.server");
}

#[test]
fn a_static_program_shares_its_port_through_kills_and_reloads() {
    tried("Rust, std, static");
}

#[test]
fn a_program_with_an_event_loop_shares_its_port_through_kills_and_reloads() {
    tried("Rust, axum");
}

#[test]
fn a_socket_that_is_watched_before_it_is_bound_is_shared_through_kills_and_reloads() {
    tried("Python, epoll before bind");
}

#[test]
fn datagrams_are_shared_by_all_workers_and_by_successors() {
    tried("Python, UDP");
}

#[test]
fn a_path_is_shared_by_all_workers_and_by_successors() {
    tried("Python, AF_UNIX");
}

#[test]
fn a_path_that_each_worker_removes_first_is_shared_all_the_same() {
    tried("Python, AF_UNIX, unlinked first");
}

#[test]
fn every_other_program_and_launcher_shares_its_port() {
    let Ok(wished) = std::env::var("CLUSTR_MATRIX") else { return };
    let is_wished = |name: &str| wished == "1" || wished.split(',').any(|word| name.contains(word));
    let is_left = |name: &str| wished != "1" || !ORDINARY.contains(&name);
    judged(all().into_iter().filter(|program| is_wished(program.name) && is_left(program.name)).collect());
}

fn tried(name: &str) {
    judged(all().into_iter().filter(|program| program.name == name).collect());
}

/// Tries programs one after the other, past those that fail.
///
/// # Panics
///
/// One has failed, or none was there.
fn judged(programs: Vec<Program>) {
    assert!(!programs.is_empty(), "a name of nobody");
    let mut faults = Vec::new();
    for program in programs {
        let name = program.name;
        if let Some(what) = program.lacks() {
            println!("programs: {name} | skipped: {what} not found");
            missing(what);
            continue;
        }
        match life::lives(&program) {
            Ok(found) => println!("programs: {name} | {} | {found} | ok", program.version()),
            Err(why) => {
                println!("programs: {name} | FAILED {why}");
                faults.push(name);
            }
        }
    }
    assert!(faults.is_empty(), "see above: {}", faults.join(", "));
}
