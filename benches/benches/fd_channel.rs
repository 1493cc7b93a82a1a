//! What a checked message costs: `FdChannel` beside bare `sendmsg` and `recvmsg`, with 1 and 32 descriptors a message.
//!
//! One operation is a message sent, received, and its descriptors closed, in one thread. Goal: at least 80 % of the bare
//! loop's speed.
#![allow(missing_docs)] // criterion's macros make public items without them
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use clustr_benches::{ratio, sys};
use clustr_net::FdChannel;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};

const BATCHES: [usize; 2] = [1, 32];
const GOAL: u32 = 80;
/// How many go through in one timed turn.
const DESCRIPTORS: usize = 8_000;

criterion_group!(benches, both);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    for batch in BATCHES {
        let (mut bare, mut ours) = (Bare::new(), Ours::new());
        let percent = ratio::percent(|| bare.time(batch), || ours.time(batch));
        ratio::print(&format!("fd_channel, {batch} a message"), GOAL, percent);
    }
}

fn both(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fd_channel");
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        let (mut bare, mut ours) = (Bare::new(), Ours::new());
        group.bench_function(BenchmarkId::new("bare", batch), |bencher| bencher.iter(|| bare.pass(batch)));
        group.bench_function(BenchmarkId::new("ours", batch), |bencher| bencher.iter(|| ours.pass(batch)));
    }
    group.finish();
}

trait Passes {
    /// Sends and receives one message.
    fn pass(&mut self, batch: usize);

    fn time(&mut self, batch: usize) -> Duration {
        let start = Instant::now();
        (0..DESCRIPTORS / batch).for_each(|_| self.pass(batch));
        start.elapsed()
    }
}

struct Bare(OwnedFd, OwnedFd);

impl Bare {
    fn new() -> Self {
        let (ours, theirs) = FdChannel::pair().expect("a pair of sockets");
        Self(ours.into(), theirs)
    }
}

impl Passes for Bare {
    fn pass(&mut self, batch: usize) {
        let fds: [BorrowedFd<'_>; 32] = [self.0.as_fd(); 32];
        sys::send_bare(self.0.as_fd(), &fds[..batch]).expect("room");
        assert_eq!(sys::recv_bare(self.1.as_fd()).expect("a message"), batch);
    }
}

struct Ours {
    near: FdChannel,
    far: FdChannel,
    bytes: [u8; 64],
    fds: Vec<OwnedFd>,
}

impl Ours {
    fn new() -> Self {
        let (near, far) = FdChannel::pair().expect("a pair of sockets");
        let far = FdChannel::new(far).expect("a channel");
        Self { near, far, bytes: [0; 64], fds: Vec::with_capacity(32) }
    }
}

impl Passes for Ours {
    fn pass(&mut self, batch: usize) {
        let fds: [BorrowedFd<'_>; 32] = [self.near.as_fd(); 32];
        self.near.send(b"x", &fds[..batch]).expect("room");
        self.far.recv(&mut self.bytes, &mut self.fds).expect("a message");
        assert_eq!(self.fds.len(), batch);
        self.fds.clear();
    }
}
