//! What benchmarks and load tests share: a load generator, programs that are started and surely ended, and the
//! kernel's own view of a process.
//!
//! Owns measuring. Never part of a released clustr, and so free to read clocks, start programs and run threads,
//! which the rest of the workspace leaves to one place each.
#![expect(clippy::disallowed_methods, reason = "measuring reads clocks, starts programs and waits")]

pub mod facts;
pub mod faults;
pub mod http;
pub mod load;
pub mod places;
pub mod primary;
pub mod ratio;
pub mod series;
pub mod soak;
pub mod started;
#[expect(unsafe_code, reason = "a bare fork and exec, to compare with")]
pub mod sys;
pub mod trials;
pub mod wait;
