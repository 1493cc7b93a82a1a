//! A primary for tests: it starts programs with their calls watched, and a thread answers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use clustr_net::intercept::{Caller, Installer, Responder, Rules, Seen, Sockets, Watch, Way, found};
use clustr_net::queue::Plan;
use clustr_net::steer::Steer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::sys;
use crate::deadline::Deadline;

/// How queues are filled.
pub(crate) const PLAN: Plan = Plan { steer: Steer::Hash, seed: 7, probes: None };

pub(crate) struct Stage {
    inner: Arc<Mutex<Inner>>,
    over: Arc<AtomicBool>,
    pump: Option<std::thread::JoinHandle<()>>,
    way: Way,
    next: u64,
}

struct Inner {
    responder: Responder,
    sockets: Sockets,
    workers: BTreeMap<u64, Child>,
    seen: Vec<(u64, Seen)>,
}

/// The interpreter itself, where `python3` may be a shim that starts it.
pub(crate) fn python() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    let look = || {
        let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        asked.ok().map(|output| String::from_utf8(output.stdout).unwrap().trim().into())
    };
    let found = FOUND.get_or_init(look).as_deref();
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "python3 not found");
        eprintln!("skipped: python3 not found");
    }
    found
}

/// Whether this machine can do it at all; in CI it has to.
pub(crate) fn works() -> Option<Way> {
    match found() {
        Ok(way) => Some(way),
        Err(lack) => {
            assert!(std::env::var_os("CI").is_none(), "{lack}");
            eprintln!("skipped: interception not found: {lack}");
            None
        }
    }
}

/// Where a program's own sockets cannot be had: EPERM, as Docker's profile says it.
pub(crate) const REPLACE: Way = Way::Replace { errno: 1 };

impl Stage {
    pub(crate) fn new(way: Way, rules: Rules, sockets: Sockets) -> Self {
        let responder = Responder::new(way, rules);
        let inner = Inner { responder, sockets, workers: BTreeMap::new(), seen: Vec::new() };
        let inner = Arc::new(Mutex::new(inner));
        let over = Arc::new(AtomicBool::new(false));
        let pump = std::thread::spawn({
            let (inner, over) = (inner.clone(), over.clone());
            move || {
                while !over.load(Ordering::Relaxed) {
                    Inner::turn(&inner);
                }
            }
        });
        Self { inner, over, pump: Some(pump), way, next: 1 }
    }

    /// Starts a program in a slot.
    pub(crate) fn start(&mut self, slot: u32, mut command: Command) -> u64 {
        let worker = self.next;
        self.next += 1;
        let installer = Arc::new(Installer::new(self.watch()).unwrap());
        let theirs = installer.clone();
        sys::before_exec(&mut command, move || {
            theirs.install().map_err(|error| std::io::Error::from_raw_os_error(error.errno()))
        });
        command.env("CLUSTR_SLOT", slot.to_string()).stdin(Stdio::null());
        let mut inner = self.inner.lock().unwrap();
        let child = command.spawn().unwrap();
        drop(command);
        let notifier = Arc::into_inner(installer).expect("the command is gone").take().unwrap();
        inner.responder.watch(Caller { worker, slot }, child.id(), notifier);
        inner.workers.insert(worker, child);
        worker
    }

    fn watch(&self) -> Watch {
        self.way.watch()
    }

    /// A Python program.
    pub(crate) fn python(&mut self, slot: u32, script: &str) -> u64 {
        let mut command = Command::new(python().unwrap());
        command.args(["-c", script]);
        self.start(slot, command)
    }

    /// Waits until so many workers listen; admits them.
    pub(crate) fn ready(&self, workers: &[u64]) {
        for worker in workers {
            let seen = self.wait(*worker, |seen| matches!(seen, Seen::Listening { .. }));
            assert!(matches!(seen, Seen::Listening { .. }));
            self.inner.lock().unwrap().sockets.admit(*worker).unwrap();
        }
    }

    /// Waits until a worker shows something.
    pub(crate) fn wait(&self, worker: u64, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let deadline = Deadline::new();
        loop {
            let inner = self.inner.lock().unwrap();
            let mut found = inner.seen.iter().filter(|(of, seen)| *of == worker && wanted(seen));
            if let Some((_, seen)) = found.next() {
                return seen.clone();
            }
            deadline.check(|| format!("{:?}", inner.seen));
            drop(inner);
            std::thread::yield_now();
        }
    }

    /// How often something was shown.
    pub(crate) fn count(&self, wanted: impl Fn(u64, &Seen) -> bool) -> usize {
        self.inner.lock().unwrap().seen.iter().filter(|(of, seen)| wanted(*of, seen)).count()
    }

    /// SIGKILL; what it has bound is free for the next of its slot.
    pub(crate) fn kill(&self, worker: u64) {
        let mut inner = self.inner.lock().unwrap();
        let mut child = inner.workers.remove(&worker).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let Inner { responder, sockets, seen, .. } = &mut *inner;
        sockets.vacate(worker).unwrap();
        seen.extend(responder.forget(worker, sockets));
    }

    /// As if the primary had been killed: nobody answers this worker any more. Returns it.
    pub(crate) fn abandon(&mut self, worker: u64) -> Child {
        let mut inner = self.inner.lock().unwrap();
        let child = inner.workers.remove(&worker).unwrap();
        let Inner { responder, sockets, seen, .. } = &mut *inner;
        seen.extend(responder.forget(worker, sockets));
        child
    }

    /// The code of a worker, if it has ended by itself.
    pub(crate) fn ended(&self, worker: u64) -> Option<i32> {
        let status = self.inner.lock().unwrap().workers.get_mut(&worker).unwrap().try_wait().unwrap();
        status.and_then(|status| status.code())
    }

    /// Waits for the end of a worker, and returns its code.
    pub(crate) fn code(&self, worker: u64) -> Option<i32> {
        let deadline = Deadline::new();
        loop {
            let status = self.inner.lock().unwrap().workers.get_mut(&worker).unwrap().try_wait().unwrap();
            if let Some(status) = status {
                return status.code();
            }
            deadline.check(|| "a worker does not end".to_owned());
            std::thread::yield_now();
        }
    }

    /// Where things are kept, and in how many sockets.
    pub(crate) fn kept(&self) -> Vec<(String, usize)> {
        let inner = self.inner.lock().unwrap();
        inner.sockets.kept().map(|(addr, count)| (addr.to_string(), count)).collect()
    }
}

impl Inner {
    fn turn(inner: &Mutex<Self>) {
        let mut locked = inner.lock().unwrap();
        let Self { responder, sockets, workers, seen } = &mut *locked;
        for worker in workers.keys() {
            // One that has ended is forgotten by `kill`.
            let _ = responder.hear(*worker, sockets, now(), seen).unwrap();
        }
        if responder.deadline().is_some_and(|at| at <= now()) {
            let shown = responder.handle_timeout(sockets, now());
            seen.extend(shown);
        }
        let fds: Vec<_> = workers
            .keys()
            .filter_map(|worker| responder.notifier(*worker)?.as_fd().try_clone_to_owned().ok())
            .collect();
        drop(locked);
        let mut polled: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        // Those that have hung up stay readable: a bound on how often is looked at them.
        let span = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let _ = poll(&mut polled, Some(&span));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(pump) = self.pump.take() {
            let _ = pump.join();
        }
        let Ok(mut inner) = self.inner.lock() else { return };
        for child in inner.workers.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// A port that nobody has. Between this and its use another test may take it, as good as never.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What the server says to whoever connects: everything until it closes.
pub(crate) fn ask(addr: impl Into<SocketAddr>) -> String {
    let mut client = TcpStream::connect(addr.into()).unwrap();
    answer(&mut client)
}

/// The answer to a client that may have waited.
pub(crate) fn answer(client: &mut TcpStream) -> String {
    client.set_read_timeout(Some(crate::deadline::PATIENCE)).unwrap();
    let _ = client.write_all(b"GET / HTTP/1.0\r\n\r\n");
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    text
}
