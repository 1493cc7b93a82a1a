//! The program as people use it: started, loaded, killed, asked and stopped.
//!
//! Owns the promises of `clustr run` and its companions that only a whole process can prove. The conformance test
//! beside it proves node's protocol.
#![expect(clippy::disallowed_methods, reason = "tests start programs and read clocks")]
#![expect(clippy::print_stdout, reason = "what was skipped, and what was measured, is told")]

#[path = "../harness/mod.rs"]
mod harness;

mod apps;
mod bad_versions;
mod config_file;
mod config_keys;
mod confined;
mod control;
mod demo;
mod detach;
mod every_state;
mod hostile;
mod hygiene;
mod idle;
mod intercept;
mod kills;
mod last_ones;
mod left_behind;
mod moves;
mod namespaces;
mod output;
mod probes;
mod reload;
mod seen_off;
mod starts;
mod stops;
mod story;
mod trials;
mod words;
