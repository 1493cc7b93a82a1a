//! The loop of one load thread.
//!
//! Owns its poll and its clients. Reads the clock once a turn, and once an answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::client::{Client, Step};
use super::tally::{Failure, FailureKind, Tally};
use super::{Connections, Pace, Plan, Shared, TellApart, monotonic_ns};

/// The longest sleep: stop flags and deadlines are looked at this often.
const TICK: Duration = Duration::from_millis(10);

/// The loop of one load thread.
pub(super) struct Engine {
    plan: Plan,
    shared: Arc<Shared>,
    poll: Poll,
    request: Vec<u8>,
    clients: Vec<Client>,
    /// Clients that may ask.
    free: Vec<usize>,
    /// Clients whose request is sent once more.
    again: Vec<usize>,
    tally: Tally,
    began_at_ns: u64,
    ended_at_ns: u64,
    /// The next request of a paced load.
    due_at_ns: u64,
    interval_ns: u64,
    swept_at_ns: u64,
}

impl Engine {
    pub(super) fn new(plan: &Plan, clients: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let interval_ns = match plan.pace {
            Pace::ClosedLoop => 0,
            Pace::PerSecond(rate) => nanos(Duration::from_secs_f64(plan.threads as f64 / rate.max(0.001))),
        };
        Ok(Self {
            request: request(plan),
            plan: plan.clone(),
            shared,
            poll: Poll::new()?,
            clients: (0..clients).map(|_| Client::new(plan.connections == Connections::Short)).collect(),
            free: (0..clients).rev().collect(),
            again: Vec::new(),
            tally: Tally::default(),
            began_at_ns: 0,
            ended_at_ns: 0,
            due_at_ns: 0,
            interval_ns,
            swept_at_ns: 0,
        })
    }

    pub(super) fn run(&mut self) -> io::Result<Tally> {
        let mut events = Events::with_capacity(self.clients.len().max(1));
        let mut buffer = vec![0; 16 << 10];
        self.began_at_ns = monotonic_ns();
        self.due_at_ns = self.began_at_ns;
        self.ended_at_ns = self.began_at_ns;
        loop {
            let now = monotonic_ns();
            self.sweep(now);
            while let Some(number) = self.again.pop() {
                self.send(number)?;
            }
            let over = self.is_over(now);
            if over && !self.clients.iter().any(Client::is_asking) {
                break;
            }
            if !over {
                self.issue(now)?;
            }
            self.wait(&mut events, now)?;
            for event in &events {
                let step = self.clients[event.token().0].advance(event, &self.request, &mut buffer);
                self.settle(event.token().0, step);
            }
        }
        self.tally.elapsed = Duration::from_nanos(self.ended_at_ns - self.began_at_ns);
        Ok(std::mem::take(&mut self.tally))
    }

    fn is_over(&self, now: u64) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
            || now - self.began_at_ns >= nanos(self.plan.duration_max)
            || self.shared.issued.load(Ordering::Relaxed) >= self.plan.requests_max
    }

    /// Lets as many free clients ask as the pace allows.
    fn issue(&mut self, now: u64) -> io::Result<()> {
        while self.interval_ns == 0 || self.due_at_ns <= now {
            let Some(number) = self.free.pop() else { break };
            if self.shared.issued.fetch_add(1, Ordering::Relaxed) >= self.plan.requests_max {
                self.free.push(number);
                break;
            }
            let due = if self.interval_ns == 0 { monotonic_ns() } else { self.due_at_ns };
            self.due_at_ns += self.interval_ns;
            self.ask(number, due)?;
        }
        self.let_go(now);
        Ok(())
    }

    /// A pace that could not be kept is not caught up with later; what was left out is counted.
    fn let_go(&mut self, now: u64) {
        let late = now.saturating_sub(nanos(TICK)).saturating_sub(self.due_at_ns);
        if self.interval_ns > 0 && late > 0 {
            let left_out = late.div_ceil(self.interval_ns);
            self.tally.unasked += left_out;
            self.due_at_ns += left_out * self.interval_ns;
        }
    }

    /// A request's clock begins when it was due: a server that keeps every client waiting is not spared by it.
    fn ask(&mut self, number: usize, due_at_ns: u64) -> io::Result<()> {
        self.tally.issued += 1;
        let client = &mut self.clients[number];
        client.issued_at_ns = due_at_ns;
        client.repeated = false;
        self.send(number)
    }

    fn send(&mut self, number: usize) -> io::Result<()> {
        let client = &mut self.clients[number];
        let asked = client.ask(&self.plan.target, self.poll.registry(), Token(number), self.plan.ports);
        match asked {
            Ok(()) => {
                let step = client.send_at_once(&self.request);
                self.settle(number, step);
                Ok(())
            }
            Err(error) if is_refusal(&error) => {
                client.close();
                self.settle(number, Step::Failed(FailureKind::Refused));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn wait(&mut self, events: &mut Events, now: u64) -> io::Result<()> {
        let paced = self.interval_ns > 0 && !self.free.is_empty();
        let until_due = Duration::from_nanos(self.due_at_ns.saturating_sub(now));
        let timeout = if paced { TICK.min(until_due) } else { TICK };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn settle(&mut self, number: usize, step: Step) {
        match step {
            Step::Waiting => {}
            Step::Freed => self.free.push(number),
            Step::Answered { free } => {
                self.ended_at_ns = monotonic_ns();
                let client = &self.clients[number];
                let answer = told_apart(&self.plan.tell_apart, client);
                self.tally.succeed(self.ended_at_ns - client.issued_at_ns, answer);
                self.shared.succeeded.fetch_add(1, Ordering::Relaxed);
                if free {
                    self.free.push(number);
                }
            }
            Step::Failed(kind) if self.plan.repeats_closed_idle && self.clients[number].may_repeat(kind) => {
                self.tally.closed_idle += 1;
                self.clients[number].repeated = true;
                self.again.push(number);
            }
            Step::Failed(kind) => {
                self.ended_at_ns = monotonic_ns();
                let client = &self.clients[number];
                self.tally.fail(Failure {
                    kind,
                    port: client.port,
                    issued_at_ns: client.issued_at_ns,
                    failed_at_ns: self.ended_at_ns,
                    reused: client.served > 0,
                });
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                self.free.push(number);
            }
        }
    }

    /// Ends what takes too long.
    fn sweep(&mut self, now: u64) {
        if now - self.swept_at_ns < nanos(TICK) {
            return;
        }
        self.swept_at_ns = now;
        let timeout = nanos(self.plan.request_timeout);
        for number in 0..self.clients.len() {
            let client = &mut self.clients[number];
            if now.saturating_sub(client.issued_at_ns) < timeout {
                continue;
            }
            if client.is_asking() {
                let served = client.served;
                client.close();
                client.served = served;
                self.settle(number, Step::Failed(FailureKind::TimedOut));
            } else if client.is_ending() {
                client.close();
                self.settle(number, Step::Freed);
            }
        }
    }
}

fn told_apart(by: &TellApart, client: &Client) -> Option<String> {
    match by {
        TellApart::Nothing => None,
        TellApart::Body => Some(client.text()),
        TellApart::Header(name) => Some(client.header(name)),
    }
}

fn request(plan: &Plan) -> Vec<u8> {
    let connection = match plan.connections {
        Connections::Short => "close",
        Connections::KeepAlive => "keep-alive",
    };
    let Plan { target, path, body_bytes, .. } = plan;
    let (method, length) = match body_bytes {
        0 => ("GET", String::new()),
        _ => ("PUT", format!("Content-Length: {body_bytes}\r\n")),
    };
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {target}\r\n{length}Connection: {connection}\r\n\r\n");
    let mut request = head.into_bytes();
    request.resize(request.len() + body_bytes, b'x');
    request
}

/// Nobody listens: at all, under that name, or with room for one more.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    matches!(error.kind(), ConnectionRefused | NotFound | WouldBlock)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
