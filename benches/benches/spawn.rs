//! What it costs to start workers and to see them end: a primary's whole life, beside a bare loop of fork, exec and wait.
//!
//! One operation starts the program `true` so many times at once, and ends when all have ended. Ours is `Cluster::run`: a
//! loop, a writer thread and everything that is prepared for each worker included.
#![allow(missing_docs)] // criterion's macros make public items without them
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clustr_benches::{ratio, sys};
use clustr_supervisor::{Cluster, RestartMode, Verdict};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use rustix::process::{WaitId, WaitIdOptions, waitid};

const SIZES: [u32; 2] = [1, 32];
const GOAL: u32 = 65;

criterion_group!(benches, both);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    let program = program();
    for workers in SIZES {
        let percent = ratio::percent(|| bare(&program, workers), || ours(&program, workers));
        ratio::print(&format!("spawn and end, {workers} at once"), GOAL, percent);
    }
}

fn both(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spawn");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    let program = program();
    for workers in SIZES {
        group.throughput(Throughput::Elements(u64::from(workers)));
        group.bench_function(BenchmarkId::new("bare", workers), |bencher| {
            bencher.iter_custom(|count| (0..count).map(|_| bare(&program, workers)).sum());
        });
        group.bench_function(BenchmarkId::new("ours", workers), |bencher| {
            bencher.iter_custom(|count| (0..count).map(|_| ours(&program, workers)).sum());
        });
    }
    group.finish();
}

fn bare(program: &CStr, workers: u32) -> Duration {
    let start = Instant::now();
    let started: Vec<OwnedFd> =
        (0..workers).map(|_| sys::spawn(program, c"").expect("a process").1).collect();
    for pidfd in &started {
        waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).expect("an exit");
    }
    start.elapsed()
}

fn ours(program: &CStr, workers: u32) -> Duration {
    let command = program.to_str().expect("a path of ours");
    let start = Instant::now();
    let cluster = Cluster::new().command([command]).workers(workers);
    let verdict = cluster.policy(|policy| policy.restart(RestartMode::Temporary)).run();
    assert_eq!(verdict.expect("a cluster"), Verdict::Finished);
    start.elapsed()
}

/// Where `true` is.
fn program() -> CString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("true")).find(|path| path.is_file());
    let path = found.unwrap_or_else(|| PathBuf::from("/bin/true"));
    CString::new(path.to_string_lossy().into_owned()).expect("a path")
}
