//! The listeners that the primary was told to bind, and how a worker finds them.
//!
//! Owns their names and their order: the descriptors that `LISTEN_FDS` counts (sd_listen_fds(3)), and the indices on
//! clustr's channel. The sockets are the table's, so that node's workers, too, get them by their address. Never accepts.
//! Called by `sharing` at the start, and for every worker that is spawned.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use clustr_net::activation::check_name;
use clustr_net::handoff::Family;
use clustr_net::node::{Bound, Table};
use clustr_net::queue::{Plan, QueueId, Queues};
use clustr_net::{Addr, Kind, Listener, Options};

use crate::config::{Delivery, Listen, Share};
use crate::error::{ListenError, StartError};

/// Named listeners, in the order in which they were asked for.
#[derive(Debug)]
pub(super) struct Given(Vec<One>);

#[derive(Debug)]
pub(super) struct One {
    name: String,
    /// In the table.
    number: u64,
    /// `None` for datagrams.
    family: Option<Family>,
}

/// Binds them all, or none. With a plan, each gets its first queue; `is_choice`: nobody has asked for queues.
pub(super) fn bind(
    wanted: &[Listen],
    inherited: &[(u32, OwnedFd)],
    (plan, is_choice): (Option<Plan>, bool),
    hands_over: bool,
) -> Result<Vec<(String, Bound)>, StartError> {
    refuse_doubles(wanted)?;
    // Where clustr has chosen queues, what can have none is shared.
    let has_queues = |addr: &Addr| !is_choice || matches!(addr, Addr::Tcp { .. } | Addr::Udp { .. });
    let open = |Listen { addr, options, .. }: &Listen| {
        options.check(addr).map_err(ListenError::Options)?;
        let options = Options { blocking: options.blocking && !hands_over, ..*options };
        match plan.filter(|_| has_queues(addr)) {
            None => open(addr, inherited, options).map(Bound::from),
            Some(plan) => open_queues(addr, options, plan).map(Bound::from),
        }
    };
    let named = |listen: &Listen| Ok((listen.name.clone(), open(listen)?));
    let bound: Result<_, ListenError> = wanted.iter().map(named).collect();
    bound.map_err(StartError::Listen)
}

/// Of two that are the same the second would fail, and its error blame a stranger. A port that the kernel chooses is
/// another one each time.
fn refuse_doubles(wanted: &[Listen]) -> Result<(), StartError> {
    for (place, listen) in wanted.iter().enumerate() {
        let same = |before: &&Listen| before.addr == listen.addr && !is_chosen(&listen.addr);
        if wanted[..place].iter().any(|before| same(&before)) {
            return Err(StartError::Listen(ListenError::SameAddress(listen.addr.clone())));
        }
    }
    Ok(())
}

const fn is_chosen(addr: &Addr) -> bool {
    matches!(addr, Addr::Tcp { port: 0, .. } | Addr::Udp { port: 0, .. })
}

fn open(addr: &Addr, inherited: &[(u32, OwnedFd)], options: Options) -> Result<Listener, ListenError> {
    let Addr::Fd(number) = addr else {
        return Listener::bind(addr, options).map_err(ListenError::Bind);
    };
    let (_, fd) = inherited.iter().find(|(open, _)| open == number).ok_or(ListenError::NoSuchFd(*number))?;
    let adopted = fd.try_clone().and_then(Listener::adopt).and_then(|listener| {
        rustix::io::ioctl_fionbio(&listener, !options.blocking)?;
        Ok(listener)
    });
    adopted.map_err(|source| ListenError::Adopt { number: *number, source })
}

fn open_queues(addr: &Addr, options: Options, plan: Plan) -> Result<Queues, ListenError> {
    let opened = Queues::open(addr, options, plan, 0).map(|(queues, _)| queues);
    opened.map_err(ListenError::from)
}

/// Whether these listeners can reach a worker at all.
pub(super) fn check(wanted: &[Listen], share: Share, delivery: Delivery) -> Result<(), StartError> {
    let twice =
        |(place, listen): (usize, &Listen)| wanted[..place].iter().any(|before| before.name == listen.name);
    if let Some((_, listen)) = wanted.iter().enumerate().find(|(place, listen)| twice((*place, listen))) {
        return Err(StartError::Listen(ListenError::SameName(listen.name.clone())));
    }
    let named = wanted.iter().try_for_each(|listen| check_name(&listen.name));
    named.map_err(|error| StartError::Listen(ListenError::Name(error)))?;
    match share {
        Share::Handoff if delivery.fds && !delivery.channel && !delivery.node => {
            Err(StartError::Listen(ListenError::HandoffByFds))
        }
        Share::Auto | Share::Shared | Share::PerWorker | Share::Handoff => Ok(()),
    }
}

impl Given {
    /// Puts them into the table, where node's workers find them.
    pub(super) fn new(listeners: Vec<(String, Bound)>, table: &mut Table) -> Self {
        let given = listeners.into_iter().map(|(name, bound)| {
            let family = family(&bound);
            One { name, number: table.give(bound), family }
        });
        Self(given.collect())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.0.iter().any(|one| one.number == number)
    }

    /// Those of which a worker gets the descriptor: where connections are handed over, only datagrams.
    pub(super) fn lent(&self, hands_over: bool) -> impl Iterator<Item = &One> {
        self.0.iter().filter(move |one| !hands_over || one.family.is_none())
    }

    /// `queue` says which one of a port is the worker's.
    pub(super) fn fds<'a>(
        &self,
        table: &'a Table,
        hands_over: bool,
        queue: impl Fn(u64) -> Option<QueueId>,
    ) -> Vec<BorrowedFd<'a>> {
        let own = |number| table.queues(number)?.listener(queue(number)?);
        let listener = |number| table.listener(number).map(|(listener, _)| listener);
        let fd = |one: &One| Some(listener(one.number).or_else(|| own(one.number))?.as_fd());
        self.lent(hands_over).filter_map(fd).collect()
    }

    pub(super) fn environment(&self, hands_over: bool) -> Vec<(&'static str, String)> {
        let names: Vec<&str> = self.lent(hands_over).map(|one| one.name.as_str()).collect();
        vec![("LISTEN_FDS", names.len().to_string()), ("LISTEN_FDNAMES", names.join(":"))]
    }

    /// The listeners whose connections go over clustr's channel, by index.
    pub(super) fn handed(&self) -> Vec<(&str, Family)> {
        self.0.iter().filter_map(|one| Some((one.name.as_str(), one.family?))).collect()
    }

    /// Their numbers in the table, by index.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0.iter().filter(|one| one.family.is_some()).map(|one| one.number)
    }
}

fn family(bound: &Bound) -> Option<Family> {
    match (bound.kind(), bound.local_addr()) {
        (Kind::Datagram, _) => None,
        (Kind::Stream, Addr::Unix(_) | Addr::Abstract(_)) => Some(Family::Unix),
        (Kind::Stream, Addr::Tcp { .. } | Addr::Udp { .. } | Addr::Fd(_)) => Some(Family::Tcp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(name: &str, addr: &str) -> Listen {
        Listen::new(name, addr.parse().unwrap())
    }

    fn refusal(wanted: &[Listen], share: Share, delivery: Delivery) -> String {
        let StartError::Listen(error) = check(wanted, share, delivery).unwrap_err() else { panic!() };
        error.to_string()
    }

    #[test]
    fn names_are_those_that_systemd_could_give_and_each_is_given_once() {
        let check = |wanted: &[Listen]| check(wanted, Share::Shared, Delivery::default());
        assert!(check(&[listen("web", ":0"), listen("admin", ":0")]).is_ok());
        assert!(check(&[listen("web", ":0"), listen("web", ":0")]).is_err());
        for name in ["", "a:b", "caf\u{e9}", "new\nline", &"x".repeat(256)] {
            assert!(check(&[listen(name, ":0")]).is_err(), "{name:?}");
        }
    }

    #[test]
    fn descriptors_alone_cannot_carry_what_is_handed_over() {
        let fds = Delivery { fds: true, channel: false, messages: false, node: false, intercept: false };
        assert!(refusal(&[listen("web", ":0")], Share::Handoff, fds).contains("LISTEN_FDS"));
    }

    #[test]
    fn where_connections_are_handed_over_only_datagrams_are_lent() {
        let bound =
            bind(&[listen("web", "127.0.0.1:0"), listen("dns", "udp:127.0.0.1:0")], &[], (None, false), true)
                .unwrap();
        let mut table = Table::handing_over(Vec::new());
        let given = Given::new(bound, &mut table);
        assert_eq!(given.environment(true), [("LISTEN_FDS", "1".into()), ("LISTEN_FDNAMES", "dns".into())]);
        assert_eq!(
            (given.fds(&table, true, |_| None).len(), given.fds(&table, false, |_| None).len()),
            (1, 2)
        );
        assert_eq!(given.handed(), [("web", Family::Tcp)]);
    }

    #[test]
    fn what_cannot_have_a_queue_for_each_worker_is_refused() {
        let plan = Some(crate::sharing::queues::plan(clustr_net::steer::Steer::Hash, None));
        for addr in ["unix:/tmp/clustr-never.sock", "unix:@clustr-never", "fd:3"] {
            let StartError::Listen(error) =
                bind(&[listen("web", addr)], &[], (plan, false), false).unwrap_err()
            else {
                panic!()
            };
            assert!(matches!(error, ListenError::NoQueues(_)), "{error}");
            assert!(error.to_string().contains(addr), "{error}");
        }
    }

    #[test]
    fn a_descriptor_that_nobody_gave_us_is_named() {
        let StartError::Listen(error) =
            bind(&[listen("web", "fd:9")], &[], (None, false), false).unwrap_err()
        else {
            panic!()
        };
        assert!(error.to_string().contains('9'), "{error}");
    }
}
