//! What it costs to bring a connection from `accept` to another process: the native handoff, credits, acknowledgements and
//! reports of closing included, beside a bare loop of `accept4` and `sendmsg`, which knows nothing of what becomes of them.
//!
//! Clients are connected beforehand and wait in the queue, so that only the two servers are measured. One operation ends
//! when the worker, another process, has had every connection and closed it. Both primaries are scheduled as clustr's is
//! (`SCHED_BATCH`), and both workers as any program. Goal: at least 85 % of the bare loop's speed.
#![allow(missing_docs)] // criterion's macros make public items without them
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock, and starts a worker")]

use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clustr_benches::{ratio, sys};
use clustr_net::handoff::{Family, Handover, Sender};
use clustr_net::{FdChannel, Listener, Options, Worker, inherited};
use criterion::{Criterion, Throughput, criterion_group};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SocketFlags, accept_with};

const CLIENTS: usize = 256;
const GOAL: u32 = 85;
const PART: &str = "CLUSTR_BENCH_WORKER";

criterion_group!(benches, both);

fn main() {
    let part = std::env::var(PART);
    assert!(sys::schedule_as_batch(part.is_err()), "these two policies are anybody's to have");
    match part.as_deref() {
        Ok("bare") => bare_worker(),
        Ok(_) => worker(),
        Err(_) => {
            benches();
            Criterion::default().configure_from_args().final_summary();
            let (mut bare, mut ours) = (Bare::new(), Ours::new());
            let percent = ratio::percent(|| bare.time(4), || ours.time(4));
            ratio::print("handoff, end to end", GOAL, percent);
        }
    }
}

fn both(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handoff");
    group.throughput(Throughput::Elements(CLIENTS as u64)).sample_size(20);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    let (mut bare, mut ours) = (Bare::new(), Ours::new());
    let rounds = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    group.bench_function("bare", |bencher| bencher.iter_custom(|count| bare.time(rounds(count))));
    group.bench_function("ours", |bencher| bencher.iter_custom(|count| ours.time(rounds(count))));
    group.finish();
}

/// Takes descriptors, closes them, and says so when it has had as many as there are clients.
fn bare_worker() {
    let channel = inherited::claim(0).expect("the channel is our standard input");
    let mut count = 0;
    while let Ok(1..) = sys::recv_bare(channel.as_fd()) {
        count += 1;
        if count % CLIENTS == 0 {
            sys::send_bare(channel.as_fd(), &[]).expect("a primary");
        }
    }
}

fn worker() {
    let mut worker = Worker::from_env().expect("a channel").expect("a channel");
    for connection in worker.connections() {
        drop(connection.expect("a connection"));
    }
}

/// A listener whose queue is filled before the clock runs.
struct Site {
    listener: Listener,
    clients: Vec<TcpStream>,
}

impl Site {
    fn new() -> Self {
        let addr = "127.0.0.1:0".parse().expect("an address");
        let listener = Listener::bind(&addr, Options::default()).expect("a port");
        Self { listener, clients: Vec::with_capacity(CLIENTS) }
    }

    fn fill(&mut self) {
        self.clients.clear();
        let addr = ("127.0.0.1", self.listener.port().expect("a port"));
        self.clients.extend((0..CLIENTS).map(|_| TcpStream::connect(addr).expect("room in the queue")));
    }

    fn accept(&self) -> Option<OwnedFd> {
        accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()
    }
}

/// Starts this program as a worker, whose channel is its standard input.
fn start(part: &str, channel: OwnedFd) -> Child {
    let program = std::env::current_exe().expect("ourselves");
    let mut command = Command::new(program);
    command.env(PART, part).env("CLUSTR_CHANNEL_FD", "0").stdin(Stdio::from(channel));
    command.spawn().expect("a worker")
}

struct Bare {
    site: Site,
    channel: Option<OwnedFd>,
    worker: Child,
}

impl Bare {
    fn new() -> Self {
        let (ours, theirs) = FdChannel::pair().expect("a pair of sockets");
        let channel = OwnedFd::from(ours);
        rustix::io::ioctl_fionbio(&channel, false).expect("a socket");
        Self { site: Site::new(), channel: Some(channel), worker: start("bare", theirs) }
    }

    fn time(&mut self, rounds: u32) -> Duration {
        (0..rounds).map(|_| self.round()).sum()
    }

    fn round(&mut self) -> Duration {
        self.site.fill();
        let channel = self.channel.as_ref().expect("open until dropped").as_fd();
        let start = Instant::now();
        while let Some(fd) = self.site.accept() {
            sys::send_bare(channel, &[fd.as_fd()]).expect("a worker");
        }
        let _done = sys::recv_bare(channel).expect("a worker");
        start.elapsed()
    }
}

struct Ours {
    site: Site,
    sender: Option<Sender>,
    worker: Child,
}

impl Ours {
    fn new() -> Self {
        let (ours, theirs) = FdChannel::pair().expect("a pair of sockets");
        let sender = Sender::new(ours, &[("http", Family::Tcp)]).expect("a channel");
        Self { site: Site::new(), sender: Some(sender), worker: start("ours", theirs) }
    }

    fn time(&mut self, rounds: u32) -> Duration {
        (0..rounds).map(|_| self.round()).sum()
    }

    fn round(&mut self) -> Duration {
        self.site.fill();
        let sender = self.sender.as_mut().expect("open until dropped");
        let all = sender.taken() + CLIENTS as u64;
        let start = Instant::now();
        while sender.taken() < all || sender.open() > 0 {
            turn(sender, &self.site);
        }
        start.elapsed()
    }
}

/// A turn of a primary's loop: accept while there is credit, send, and hear.
fn turn(sender: &mut Sender, site: &Site) {
    while sender.credits() > 0 {
        let Some(fd) = site.accept() else { break };
        sender.offer(Handover { fd, listener: 0 }).expect("a credit");
    }
    sender.flush().expect("a worker");
    poll(&mut [PollFd::new(&*sender, PollFlags::IN)], None).expect("a worker");
    let _progress = sender.receive(64, &mut Vec::new()).expect("a worker that speaks our protocol");
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.channel = None;
        self.worker.wait().expect("our worker");
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.sender = None;
        self.worker.wait().expect("our worker");
    }
}
