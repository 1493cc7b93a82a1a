//! mio behind one enum: what woke the loop, and in which order it is looked at.
//!
//! Owns the poll, the tokens and the one timer. Never reads or writes a source. Called by `supervisor`, and by all that
//! watch something: each app, and the primary itself, is a party with a [`Reactor`] of its own; one [`Poller`] sleeps for all.
//!
//! A token is a place, a serial and a party: a late event for a source that is gone, or whose place another has taken, names
//! nobody. Sources are edge-triggered (epoll(7)): whoever stops reading before "would block" says
//! [`Reactor::again`], and is woken in the next turn without the kernel's help.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use clustr_core::{Time, WorkerId};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Bound: how many kernel events one turn takes; the rest come in the next.
const EVENTS_MAX: usize = 256;

/// Why the loop woke up for an app. The order of the variants is the order within a turn: exits first, so that nothing is
/// done for a worker that is known to have ended. What wakes the primary itself comes after all of these: [`Summons`].
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
    /// Workers have said something by sd_notify.
    Notified,
    /// A worker's output can be read.
    Output(u64),
    /// Clients of the app wait at a listener.
    Listener(u64),
    /// A client of the app waits in the queue of a worker, and none did before; or somebody has shut it down.
    Queue,
    /// Somebody has shut down a listener that workers share.
    HungUp,
}

/// Why the loop woke up for the primary itself: wishes, after all news about who can fulfil them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Summons {
    /// Signals have arrived.
    Signals,
    /// The writer thread has room again.
    Writer,
    /// Somebody connects to the control socket.
    Control,
    /// A control client can be read or written.
    Client(u64),
    /// A handle in this process has something to say.
    Desk,
}

/// Whose a source is: the primary's own, or that of one of its apps.
pub(crate) type Party = u8;

/// Where a source is registered. Give it back with [`Reactor::deregister`] before the source is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Registration(Token);

/// What sleeps for all parties.
#[derive(Debug)]
pub(crate) struct Poller {
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    armed: Option<Time>,
}

/// What one party watches.
#[derive(Debug)]
pub(crate) struct Reactor<W = Wake> {
    registry: Registry,
    party: Party,
    places: Vec<Place<W>>,
    free: Vec<usize>,
    again: Vec<W>,
    /// Of an app: watches for ends alone, which mio cannot: whoever arrives is no end.
    hang_ups: Option<OwnedFd>,
}

#[derive(Debug)]
struct Place<W> {
    serial: u32,
    wake: Option<W>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self { poll, events: Events::with_capacity(EVENTS_MAX), timer, armed: None })
    }

    /// Where one party watches its sources. Each has its own number.
    pub(crate) fn reactor<W>(&self, party: Party) -> io::Result<Reactor<W>> {
        let registry = self.poll.registry().try_clone()?;
        let (places, free, again) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Reactor { registry, party, places, free, again, hang_ups: None })
    }

    /// The same for an app, which watches for the ends of listeners too.
    pub(crate) fn reactor_of_app(&self, party: Party) -> io::Result<Reactor> {
        let mut reactor = self.reactor(party)?;
        let hang_ups = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        reactor.register_readable(&hang_ups, Wake::HungUp)?;
        Ok(Reactor { hang_ups: Some(hang_ups), ..reactor })
    }

    /// Sleeps until something happens or `deadline` comes; not at all if somebody is `restless`. What happened is in
    /// [`Poller::events`] then.
    pub(crate) fn wait(&mut self, deadline: Option<Time>, restless: bool) -> io::Result<()> {
        self.arm(deadline)?;
        match self.poll.poll(&mut self.events, restless.then_some(Duration::ZERO)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            Err(error) => return Err(error),
        }
        if self.events.iter().any(|event| event.token() == TIMER) {
            self.expire();
        }
        Ok(())
    }

    /// Which sources of which parties the last sleep was about.
    pub(crate) fn events(&self) -> impl Iterator<Item = (Party, Registration)> {
        let tokens = self.events.iter().map(mio::event::Event::token).filter(|token| *token != TIMER);
        tokens.map(|token| (split(token).party, Registration(token)))
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
}

impl Reactor {
    /// Watches a listener for its end alone, which is [`Wake::HungUp`]: whoever arrives there wakes nobody. `EPOLLHUP` needs no
    /// asking (epoll_ctl(2)); a Unix socket that is shut down for reading says `EPOLLRDHUP` alone, and refuses everybody.
    pub(crate) fn watch_for_end(&self, source: impl AsFd) -> io::Result<()> {
        let ends = epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        let Some(hang_ups) = &self.hang_ups else { return Err(io::ErrorKind::Unsupported.into()) };
        Ok(epoll::add(hang_ups, source, epoll::EventData::new_u64(0), ends)?)
    }

    /// Before such a listener is closed.
    pub(crate) fn forget_end(&self, source: impl AsFd) {
        // A source that the kernel no longer knows is just as well forgotten.
        let _ = self.hang_ups.as_ref().map(|hang_ups| epoll::delete(hang_ups, source));
    }

    /// Takes what has ended, so that the next end is an edge again. Whoever looks sees for itself which it was.
    pub(crate) fn take_ends(&self) {
        let mut ended = Vec::with_capacity(EVENTS_MAX);
        if let Some(hang_ups) = &self.hang_ups {
            let _ = epoll::wait(hang_ups, rustix::buffer::spare_capacity(&mut ended), Some(&ZERO));
        }
    }
}

impl<W: Copy> Reactor<W> {
    /// Watches a source for reading and writing.
    pub(crate) fn register(&mut self, source: impl AsFd, wake: W) -> io::Result<Registration> {
        self.register_for(source, wake, Interest::READABLE | Interest::WRITABLE)
    }

    /// Watches a source for reading alone.
    pub(crate) fn register_readable(&mut self, source: impl AsFd, wake: W) -> io::Result<Registration> {
        self.register_for(source, wake, Interest::READABLE)
    }

    fn register_for(&mut self, source: impl AsFd, wake: W, interest: Interest) -> io::Result<Registration> {
        let token = self.seat(wake);
        let fd = source.as_fd().as_raw_fd();
        if let Err(error) = self.registry.register(&mut SourceFd(&fd), token, interest) {
            self.vacate(token);
            return Err(error);
        }
        Ok(Registration(token))
    }

    /// Stops watching; nothing more is heard of this source.
    pub(crate) fn deregister(&mut self, source: impl AsFd, registration: Registration) {
        let fd = source.as_fd().as_raw_fd();
        // A source that the kernel no longer knows is just as well deregistered.
        let _ = self.registry.deregister(&mut SourceFd(&fd));
        self.vacate(registration.0);
    }

    /// A waker for another thread.
    pub(crate) fn waker(&mut self, wake: W) -> io::Result<Waker> {
        let token = self.seat(wake);
        Waker::new(&self.registry, token)
    }

    /// Looks at this source once more in the next turn, whatever the kernel says.
    pub(crate) fn again(&mut self, wake: W) {
        self.again.push(wake);
    }

    /// Whether the next turn shall not wait.
    pub(crate) const fn is_restless(&self) -> bool {
        !self.again.is_empty()
    }

    /// What is to be looked at once more.
    pub(crate) fn take_again(&mut self) -> impl Iterator<Item = W> {
        self.again.drain(..)
    }

    /// What a source of this party stands for, if it is still there.
    pub(crate) fn wake(&self, Registration(token): Registration) -> Option<W> {
        let Parts { place, serial, .. } = split(token);
        let place = self.places.get(place)?;
        place.wake.filter(|_| place.serial == serial)
    }

    fn seat(&mut self, wake: W) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { serial: 0, wake: None });
            self.places.len() - 1
        });
        let place = &mut self.places[index];
        place.wake = Some(wake);
        token(Parts { place: index, serial: place.serial, party: self.party })
    }

    fn vacate(&mut self, token: Token) {
        let Parts { place: index, serial, .. } = split(token);
        if let Some(place) = self.places.get_mut(index).filter(|place| place.serial == serial) {
            place.wake = None;
            place.serial = (serial + 1) & SERIAL_MAX;
            self.free.push(index);
        }
    }
}

const ZERO: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

fn timespec(nanos: u64) -> Timespec {
    let whole = Duration::from_nanos(nanos);
    let tv_sec = i64::try_from(whole.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: i64::from(whole.subsec_nanos()) }
}

// A token has to hold three numbers: clustr is for 64-bit machines.
const _: () = assert!(usize::BITS == 64);

/// The timer's token: of a party that nobody is.
const TIMER: Token = Token(usize::MAX);

/// Serials go round: a late event is of the same turn, in which no place is given away so often.
const SERIAL_MAX: u32 = 0xff_ffff;

/// What a token says.
struct Parts {
    place: usize,
    serial: u32,
    party: Party,
}

/// 8 bits of party, 24 of serial, 32 of place.
fn token(Parts { place, serial, party }: Parts) -> Token {
    Token(usize::from(party) << 56 | (serial as usize) << 32 | place)
}

fn split(Token(token): Token) -> Parts {
    let [party, serial @ .., _, _, _, _] = token.to_be_bytes();
    let [high, middle, low] = serial;
    let serial = u32::from_be_bytes([0, high, middle, low]);
    Parts { place: token & 0xffff_ffff, serial, party }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sleeps until one of these two parties is woken, or a deadline has come.
    fn woken(poller: &mut Poller, reactor: &mut Reactor, until: Option<Time>) -> Vec<Wake> {
        loop {
            poller.wait(until, reactor.is_restless()).unwrap();
            let mut woken: Vec<Wake> = reactor.take_again().collect();
            woken.extend(poller.events().filter_map(|(_, registration)| reactor.wake(registration)));
            // A child of another test may have ended meanwhile (EINTR): then nothing has woken the loop.
            if !woken.is_empty() || until.is_some_and(|until| until <= crate::clock::now()) {
                return woken;
            }
        }
    }

    fn party_of_one() -> (Poller, Reactor) {
        let poller = Poller::new().unwrap();
        let reactor = poller.reactor_of_app(7).unwrap();
        (poller, reactor)
    }

    #[test]
    fn a_late_event_for_a_place_that_was_given_away_names_nobody() {
        let (_poller, mut reactor) = party_of_one();
        let first = reactor.seat(Wake::Output(1));
        reactor.vacate(first);
        let second = reactor.seat(Wake::Output(2));
        assert_eq!(split(first).place, split(second).place, "the place is used again");
        assert_eq!(reactor.wake(Registration(first)), None);
        assert_eq!(reactor.wake(Registration(second)), Some(Wake::Output(2)));
    }

    #[test]
    fn a_token_holds_the_largest_numbers() {
        for (place, serial, party) in [(0, 0, 0), (0xffff_ffff, SERIAL_MAX, 0xfe), (3, 1, 0x80)] {
            let Parts { place: p, serial: s, party: q } = split(token(Parts { place, serial, party }));
            assert_eq!((p, s, q), (place, serial, party));
        }
        let (_poller, mut reactor) = party_of_one();
        let token = reactor.seat(Wake::Queue);
        reactor.places[split(token).place].serial = SERIAL_MAX;
        let last = super::token(Parts { serial: SERIAL_MAX, ..split(token) });
        reactor.vacate(last);
        assert_eq!(split(reactor.seat(Wake::Queue)).serial, 0);
    }

    #[test]
    fn a_source_wakes_its_own_party_alone() {
        let mut poller = Poller::new().unwrap();
        let mut one: Reactor = poller.reactor(1).unwrap();
        let mut two: Reactor<Summons> = poller.reactor(2).unwrap();
        let (_quiet, silent) = std::os::unix::net::UnixStream::pair().unwrap();
        let (mut speaker, heard) = std::os::unix::net::UnixStream::pair().unwrap();
        one.register_readable(&silent, Wake::Queue).unwrap();
        two.register_readable(&heard, Summons::Desk).unwrap();
        std::io::Write::write_all(&mut speaker, b"x").unwrap();
        while poller.events().next().is_none() {
            poller.wait(None, false).unwrap();
        }
        let woken: Vec<_> = poller.events().map(|(party, at)| (party, two.wake(at))).collect();
        assert_eq!(woken, [(2, Some(Summons::Desk))]);
    }

    #[test]
    fn a_deadline_wakes_the_loop_once() {
        let (mut poller, mut reactor) = party_of_one();
        let at = crate::clock::now() + Duration::from_millis(5);
        assert_eq!(woken(&mut poller, &mut reactor, Some(at)), []);
        reactor.again(Wake::Notified);
        assert_eq!(woken(&mut poller, &mut reactor, None), [Wake::Notified]);
        assert_eq!(poller.events().count(), 0, "an expired timer stays silent");
        poller.wait(None, true).unwrap();
        assert!(poller.events.is_empty());
    }

    #[test]
    fn a_listener_that_is_watched_for_its_end_alone_wakes_nobody_before() {
        let (mut poller, mut reactor) = party_of_one();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let unix_clients: Vec<_> =
            (0..3).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
        reactor.watch_for_end(&unix).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        reactor.watch_for_end(&listener).unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let soon = crate::clock::now() + Duration::from_millis(20);
        let early = woken(&mut poller, &mut reactor, Some(soon));
        assert_eq!(early, [], "{} clients have come", clients.len() + unix_clients.len());
        for (socket, how) in [
            (listener.as_fd(), rustix::net::Shutdown::Both),
            (unix.as_fd(), rustix::net::Shutdown::Read),
            (unix.as_fd(), rustix::net::Shutdown::Both),
        ] {
            rustix::net::shutdown(socket, how).unwrap();
            assert_eq!(woken(&mut poller, &mut reactor, None), [Wake::HungUp]);
            reactor.take_ends();
        }
    }

    #[test]
    fn exits_come_before_clients() {
        let worker = WorkerId { slot: clustr_core::SlotId(9), incarnation: 9 };
        assert!(Wake::Exit(worker) < Wake::Channel(worker));
        assert!(Wake::Channel(worker) < Wake::Listener(0));
    }
}
