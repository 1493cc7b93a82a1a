//! mio behind one enum: what woke the loop, and in which order it is looked at.
//!
//! Owns the poll, the tokens and the one timer. Never reads or writes a source. Called by `supervisor` only.
//!
//! A token is an index and a serial: a late event for a source that is gone, or whose place another has taken, names
//! nobody. Sources are edge-triggered (epoll(7)): whoever stops reading before "would block" says
//! [`Reactor::again`], and is woken in the next turn without the kernel's help.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use clustr_core::{Time, WorkerId};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Bound: how many kernel events one turn takes; the rest come in the next.
const EVENTS_MAX: usize = 256;

/// Why the loop woke up. The order of the variants is the order within a turn: exits first, so that nothing is
/// done for a worker that is known to have ended; new wishes last, after all news about who can fulfil them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Wake {
    /// A worker's process has ended.
    Exit(WorkerId),
    /// clustr's channel to a worker can be read or written.
    Channel(WorkerId),
    /// Node's channel to a worker can be read or written.
    Node(WorkerId),
    /// A question to a worker has come further.
    Probe(WorkerId),
    /// A worker's bind or listen waits for an answer.
    Calls(WorkerId),
    /// A deadline has come.
    Timer,
    /// Workers have said something by sd_notify.
    Notified,
    /// Signals have arrived.
    Signals,
    /// A worker's output can be read.
    Output(u64),
    /// The writer thread has room again.
    Writer,
    /// Somebody connects to the control socket.
    Control,
    /// A control client can be read or written.
    Client(u64),
    /// A handle in this process has something to say.
    Desk,
    /// Clients of the app wait at a listener.
    Listener(u64),
    /// A client of the app waits in the queue of a worker, and none did before; or somebody has shut it down.
    Queue,
    /// Somebody has shut down a listener that workers share.
    HungUp,
}

/// Where a source is registered. Give it back with [`Reactor::deregister`] before the source is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Registration(Token);

#[derive(Debug)]
pub(crate) struct Reactor {
    poll: Poll,
    events: Events,
    places: Vec<Place>,
    free: Vec<usize>,
    again: Vec<Wake>,
    timer: OwnedFd,
    armed: Option<Time>,
    /// Watches for ends alone, which mio cannot: whoever arrives is no end.
    hang_ups: OwnedFd,
}

#[derive(Debug)]
struct Place {
    serial: u32,
    wake: Option<Wake>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let mut reactor = Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            places: Vec::new(),
            free: Vec::new(),
            again: Vec::new(),
            timer,
            armed: None,
            hang_ups: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        };
        let token = reactor.seat(Wake::Timer);
        reactor.poll.registry().register(
            &mut SourceFd(&reactor.timer.as_raw_fd()),
            token,
            Interest::READABLE,
        )?;
        let token = reactor.seat(Wake::HungUp);
        let hang_ups = SourceFd(&reactor.hang_ups.as_raw_fd());
        reactor.poll.registry().register(&mut { hang_ups }, token, Interest::READABLE)?;
        Ok(reactor)
    }

    /// Watches a source for reading and writing.
    pub(crate) fn register(&mut self, source: impl AsFd, wake: Wake) -> io::Result<Registration> {
        self.register_for(source, wake, Interest::READABLE | Interest::WRITABLE)
    }

    /// Watches a source for reading alone.
    pub(crate) fn register_readable(&mut self, source: impl AsFd, wake: Wake) -> io::Result<Registration> {
        self.register_for(source, wake, Interest::READABLE)
    }

    /// Watches a listener for its end alone, which is [`Wake::HungUp`]: whoever arrives there wakes nobody. `EPOLLHUP` needs no
    /// asking (epoll_ctl(2)); a Unix socket that is shut down for reading says `EPOLLRDHUP` alone, and refuses everybody.
    pub(crate) fn watch_for_end(&self, source: impl AsFd) -> io::Result<()> {
        let ends = epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.hang_ups, source, epoll::EventData::new_u64(0), ends)?)
    }

    /// Before such a listener is closed.
    pub(crate) fn forget_end(&self, source: impl AsFd) {
        // A source that the kernel no longer knows is just as well forgotten.
        let _ = epoll::delete(&self.hang_ups, source);
    }

    fn register_for(
        &mut self,
        source: impl AsFd,
        wake: Wake,
        interest: Interest,
    ) -> io::Result<Registration> {
        let token = self.seat(wake);
        let fd = source.as_fd().as_raw_fd();
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&fd), token, interest) {
            self.vacate(token);
            return Err(error);
        }
        Ok(Registration(token))
    }

    /// Stops watching; nothing more is heard of this source.
    pub(crate) fn deregister(&mut self, source: impl AsFd, registration: Registration) {
        let fd = source.as_fd().as_raw_fd();
        // A source that the kernel no longer knows is just as well deregistered.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        self.vacate(registration.0);
    }

    /// A waker for another thread.
    pub(crate) fn waker(&mut self, wake: Wake) -> io::Result<Waker> {
        let token = self.seat(wake);
        Waker::new(self.poll.registry(), token)
    }

    /// Looks at this source once more in the next turn, whatever the kernel says.
    pub(crate) fn again(&mut self, wake: Wake) {
        self.again.push(wake);
    }

    /// Sleeps until something happens or `deadline` comes; fills `woken` in the order of the turn.
    pub(crate) fn wait(&mut self, deadline: Option<Time>, woken: &mut Vec<Wake>) -> io::Result<()> {
        self.arm(deadline)?;
        woken.clear();
        let pause = (!self.again.is_empty()).then_some(Duration::ZERO);
        match self.poll.poll(&mut self.events, pause) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        woken.append(&mut self.again);
        woken.extend(self.events.iter().filter_map(|event| self.wake(event.token())));
        woken.sort_unstable();
        woken.dedup();
        if woken.contains(&Wake::Timer) {
            self.expire();
        }
        if woken.contains(&Wake::HungUp) {
            self.take_ends();
        }
        Ok(())
    }

    /// Sets the timer to an absolute time, so that a long turn delays no deadline.
    fn arm(&mut self, deadline: Option<Time>) -> io::Result<()> {
        if self.armed == deadline {
            return Ok(());
        }
        let value = deadline.map_or(ZERO, |at| timespec(at.as_nanos().max(1)));
        let spec = Itimerspec { it_interval: ZERO, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec)?;
        self.armed = deadline;
        Ok(())
    }

    /// Takes the expiry from the timer, so that the next one is an edge again.
    fn expire(&mut self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.timer, &mut count);
        self.armed = None;
    }

    /// Takes what has ended, so that the next end is an edge again. Whoever looks sees for itself which it was.
    fn take_ends(&self) {
        let mut ended = Vec::with_capacity(EVENTS_MAX);
        let _ = epoll::wait(&self.hang_ups, rustix::buffer::spare_capacity(&mut ended), Some(&ZERO));
    }

    fn seat(&mut self, wake: Wake) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { serial: 0, wake: None });
            self.places.len() - 1
        });
        let place = &mut self.places[index];
        place.wake = Some(wake);
        token(index, place.serial)
    }

    fn vacate(&mut self, token: Token) {
        let (index, serial) = split(token);
        if let Some(place) = self.places.get_mut(index).filter(|place| place.serial == serial) {
            place.wake = None;
            place.serial = place.serial.wrapping_add(1);
            self.free.push(index);
        }
    }

    fn wake(&self, token: Token) -> Option<Wake> {
        let (index, serial) = split(token);
        let place = self.places.get(index)?;
        place.wake.filter(|_| place.serial == serial)
    }
}

const ZERO: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

fn timespec(nanos: u64) -> Timespec {
    let whole = Duration::from_nanos(nanos);
    let tv_sec = i64::try_from(whole.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: i64::from(whole.subsec_nanos()) }
}

// A token has to hold both numbers: clustr is for 64-bit machines.
const _: () = assert!(usize::BITS == 64);

fn token(index: usize, serial: u32) -> Token {
    Token((serial as usize) << 32 | index)
}

fn split(token: Token) -> (usize, u32) {
    let serial = u32::try_from(token.0 >> 32).unwrap_or(u32::MAX);
    (token.0 & 0xffff_ffff, serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_event_for_a_place_that_was_given_away_names_nobody() {
        let mut reactor = Reactor::new().unwrap();
        let first = reactor.seat(Wake::Client(1));
        reactor.vacate(first);
        let second = reactor.seat(Wake::Client(2));
        assert_eq!(split(first).0, split(second).0, "the place is used again");
        assert_eq!(reactor.wake(first), None);
        assert_eq!(reactor.wake(second), Some(Wake::Client(2)));
    }

    #[test]
    fn a_deadline_wakes_the_loop_once() {
        let mut reactor = Reactor::new().unwrap();
        let mut woken = Vec::new();
        let at = crate::clock::now() + Duration::from_millis(5);
        // A child of another test may have ended meanwhile (EINTR): then nothing has woken the loop.
        while woken.is_empty() {
            reactor.wait(Some(at), &mut woken).unwrap();
        }
        assert_eq!(woken, [Wake::Timer]);
        reactor.again(Wake::Writer);
        reactor.wait(None, &mut woken).unwrap();
        assert_eq!(woken, [Wake::Writer], "an expired timer stays silent");
    }

    #[test]
    fn a_listener_that_is_watched_for_its_end_alone_wakes_nobody_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let unix_clients: Vec<_> =
            (0..3).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
        let mut reactor = Reactor::new().unwrap();
        reactor.watch_for_end(&unix).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        reactor.watch_for_end(&listener).unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let mut woken = Vec::new();
        let soon = crate::clock::now() + Duration::from_millis(20);
        while woken.is_empty() {
            reactor.wait(Some(soon), &mut woken).unwrap();
        }
        assert_eq!(woken, [Wake::Timer], "{} clients have come", clients.len() + unix_clients.len());
        for (socket, how) in [
            (listener.as_fd(), rustix::net::Shutdown::Both),
            (unix.as_fd(), rustix::net::Shutdown::Read),
            (unix.as_fd(), rustix::net::Shutdown::Both),
        ] {
            rustix::net::shutdown(socket, how).unwrap();
            woken.clear();
            while woken.is_empty() {
                reactor.wait(None, &mut woken).unwrap();
            }
            assert_eq!(woken, [Wake::HungUp]);
        }
    }

    #[test]
    fn exits_come_before_wishes() {
        let worker = WorkerId { slot: clustr_core::SlotId(9), incarnation: 9 };
        assert!(Wake::Exit(worker) < Wake::Client(0));
        assert!(Wake::Channel(worker) < Wake::Signals);
    }
}
