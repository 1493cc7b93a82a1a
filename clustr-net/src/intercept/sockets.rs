//! The keeper for whoever has no other: what workers listen on, by address.
//!
//! Owns the sockets. Never closes one by itself: a queue waits for its slot's next worker. Called by `responder` and by a
//! primary that is told when workers come and go.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::keeper::{Caller, Keeper};
use super::ledger::Key;
use crate::addr::Addr;
use crate::listener::Listener;
use crate::queue::{Plan, QueueError, QueueId, Queues};

/// What is kept.
#[derive(Debug)]
pub struct Sockets {
    /// `None`: all workers accept from one socket.
    plan: Option<Plan>,
    ports: Vec<Port>,
    admitted: Vec<u64>,
}

#[derive(Debug)]
struct Port {
    key: Key,
    bound: Bound,
}

#[derive(Debug)]
enum Bound {
    Common(Listener),
    Queues { queues: Box<Queues>, seats: Vec<Seat> },
}

#[derive(Debug)]
struct Seat {
    queue: QueueId,
    slot: u32,
    worker: Option<u64>,
}

impl Sockets {
    /// A queue for each worker where there can be (TCP and UDP), filled as `plan` says.
    #[must_use]
    pub const fn per_worker(plan: Plan) -> Self {
        Self { plan: Some(plan), ports: Vec::new(), admitted: Vec::new() }
    }

    /// One socket for all.
    #[must_use]
    pub const fn shared() -> Self {
        Self { plan: None, ports: Vec::new(), admitted: Vec::new() }
    }

    /// A worker can serve: its queues are filled from now on.
    ///
    /// # Errors
    ///
    /// [`Queues::admit`].
    pub fn admit(&mut self, worker: u64) -> Result<(), QueueError> {
        self.admitted.push(worker);
        self.steer()
    }

    /// A worker has ended: its queues wait for the next of its slot, and nobody is sent there meanwhile.
    ///
    /// # Errors
    ///
    /// [`Queues::admit`].
    pub fn vacate(&mut self, worker: u64) -> Result<(), QueueError> {
        self.admitted.retain(|admitted| *admitted != worker);
        let seats = self.ports.iter_mut().flat_map(Port::seats);
        seats.filter(|seat| seat.worker == Some(worker)).for_each(|seat| seat.worker = None);
        self.steer()
    }

    fn steer(&mut self) -> Result<(), QueueError> {
        let admitted = &self.admitted;
        self.ports.iter_mut().try_for_each(|port| match &mut port.bound {
            Bound::Common(_) => Ok(()),
            Bound::Queues { queues, seats } => {
                let live = |seat: &&Seat| seat.worker.is_some_and(|worker| admitted.contains(&worker));
                queues.admit(&seats.iter().filter(live).map(|seat| seat.queue).collect::<Vec<_>>())
            }
        })
    }

    /// What is kept, oldest first: where, and how many sockets.
    pub fn kept(&self) -> impl Iterator<Item = (&Addr, usize)> {
        self.ports.iter().map(|port| match &port.bound {
            Bound::Common(listener) => (listener.local_addr(), 1),
            Bound::Queues { queues, seats } => (queues.addr(), seats.len()),
        })
    }

    fn port(&mut self, key: &Key) -> Option<&mut Port> {
        self.ports.iter_mut().find(|port| port.key == *key)
    }
}

impl Port {
    fn seats(&mut self) -> impl Iterator<Item = &mut Seat> {
        match &mut self.bound {
            Bound::Common(_) => [].iter_mut(),
            Bound::Queues { seats, .. } => seats.iter_mut(),
        }
    }
}

impl Keeper for Sockets {
    fn is_common(&self, key: &Key) -> bool {
        self.plan.is_none() || matches!(key.addr, Addr::Unix(_) | Addr::Abstract(_))
    }

    fn has(&self, key: &Key) -> bool {
        self.ports.iter().any(|port| port.key == *key)
    }

    fn left(&mut self, caller: Caller, key: &Key) -> Option<OwnedFd> {
        match &mut self.port(key)?.bound {
            Bound::Common(listener) => listener.lend().ok(),
            Bound::Queues { queues, seats } => {
                let is_left = |seat: &&mut Seat| seat.slot == caller.slot && seat.worker.is_none();
                let seat = seats.iter_mut().find(is_left)?;
                let fd = queues.listener(seat.queue)?.lend().ok()?;
                seat.worker = Some(caller.worker);
                Some(fd)
            }
        }
    }

    fn fresh(&mut self, caller: Caller, key: &Key) -> Result<OwnedFd, Errno> {
        if let Some(left) = self.left(caller, key) {
            return Ok(left);
        }
        let Some(Port { bound: Bound::Queues { queues, seats }, .. }) = self.port(key) else {
            return Err(Errno::INVAL);
        };
        let queue = queues.join(caller.slot).map_err(|error| errno(&error))?;
        seats.push(Seat { queue, slot: caller.slot, worker: Some(caller.worker) });
        let listener = queues.listener(queue).expect("it has just joined");
        listener.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)
    }

    fn keep(
        &mut self,
        caller: Caller,
        key: &Key,
        listen: &mut dyn FnMut() -> Result<Listener, Errno>,
    ) -> Result<(), Errno> {
        let plan = self.plan.filter(|_| !self.is_common(key));
        if let Some(Port { bound: Bound::Queues { queues, seats }, .. }) = self.port(key) {
            let queue = queues.enrol(caller.slot, listen)?;
            seats.push(Seat { queue, slot: caller.slot, worker: Some(caller.worker) });
            return Ok(());
        }
        let bound = match plan {
            None => Bound::Common(listen()?),
            Some(plan) => {
                let (queues, queue) =
                    Queues::found(listen()?, plan, caller.slot).map_err(|error| errno(&error))?;
                let seat = Seat { queue, slot: caller.slot, worker: Some(caller.worker) };
                Bound::Queues { queues: Box::new(queues), seats: vec![seat] }
            }
        };
        self.ports.push(Port { key: key.clone(), bound });
        Ok(())
    }

    fn closed(&mut self, caller: Caller, key: &Key, inode: u64) {
        let Some(Port { bound: Bound::Queues { queues, seats }, .. }) = self.port(key) else { return };
        let queue = queues.of_inode(inode);
        let own = |seat: &&mut Seat| seat.worker == Some(caller.worker) && Some(seat.queue) == queue;
        seats.iter_mut().filter(own).for_each(|seat| seat.worker = None);
    }
}

fn errno(error: &QueueError) -> Errno {
    error.errno().map_or(Errno::ADDRINUSE, Errno::from_raw_os_error)
}
