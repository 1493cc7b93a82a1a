//! Which sharing `auto` comes to.
//!
//! Owns the choice and its reason. Never binds anything. Called by whoever shows what a [`Config`] means, and by the
//! supervisor before it starts.

use clustr_net::Addr;

use super::{Config, Probe, ReadyWhen, Share};
use crate::error::ListenError;

/// How workers get connections, after [`Share::Auto`] was resolved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chosen {
    /// Never [`Share::Auto`].
    pub share: Share,
    /// Why it is not [`Share::Shared`], where clustr has chosen.
    pub why: Option<String>,
}

impl Config {
    /// How workers get connections. [`Share::Auto`] is [`Share::Shared`], unless something is wished that needs a worker to
    /// get connections only once it is ready, or to be asked by itself: then [`Share::PerWorker`]; and where an address cannot
    /// have a queue for each worker, [`Share::Handoff`], if the workers are known to take connections that way.
    ///
    /// # Errors
    /// [`ListenError::NoGate`]: such a wish, such an address, and workers that are not known to. [`ListenError::NoWayToProbe`]:
    /// workers that accept from one queue are to be asked one by one, and are no nodes, which can be given the question.
    /// [`ListenError::Uncounted`]: connections are to be counted that nobody here sees.
    pub fn chosen_share(&self) -> Result<Chosen, ListenError> {
        let chosen = self.choose_share()?;
        if self.recycling.max_requests.is_some() && chosen.share != Share::Handoff {
            return Err(ListenError::Uncounted(chosen.share));
        }
        match (chosen.share, self.http_probe()) {
            (Share::Shared, Some(probe)) if !self.delivery.node => {
                Err(ListenError::NoWayToProbe(probe.clone()))
            }
            _ => Ok(chosen),
        }
    }

    /// What to type where a program's own bind cannot be shared.
    pub const INSTEAD_HINT: &str =
        "clustr run --listen :3001 -- COMMAND, with a program that takes LISTEN_FDS";

    /// What is done where a program's own bind would be shared, if that worked here; and why it does not.
    #[must_use]
    pub fn instead_of_intercept(&self) -> Option<String> {
        let lack = self.intercept_lack?;
        let instead = if self.listen.is_empty() { "node's channel is used" } else { "LISTEN_FDS is used" };
        Some(format!("a program's own bind cannot be shared here: {lack}; {instead} instead"))
    }

    /// What is asked over a worker's own listener.
    pub(crate) fn http_probe(&self) -> Option<&Probe> {
        let probes = [self.ready.probe(), self.live.as_ref().map(|live| &live.probe)];
        probes.into_iter().flatten().find(|probe| matches!(probe, Probe::Http(_)))
    }

    fn choose_share(&self) -> Result<Chosen, ListenError> {
        let Some(wish) = self.wish().filter(|_| self.share == Share::Auto) else {
            return Ok(match self.share {
                Share::Auto if self.delivery.intercept => {
                    let why = if self.listen.is_empty() {
                        "for a program that binds for itself"
                    } else {
                        "as the program may bind for itself too"
                    };
                    Chosen { share: Share::PerWorker, why: Some(why.to_owned()) }
                }
                Share::Auto => Chosen { share: Share::Shared, why: None },
                share @ (Share::Shared | Share::PerWorker | Share::Handoff) => Chosen { share, why: None },
            });
        };
        let Some(addr) = self.listen.iter().map(|listen| &listen.addr).find(|addr| !has_queues(addr)) else {
            return Ok(Chosen { share: Share::PerWorker, why: Some(format!("for {wish}")) });
        };
        let takes_handoffs = self.delivery.node || (self.delivery.channel && !self.delivery.fds);
        if takes_handoffs {
            let why = format!("for {wish}, and {addr} cannot have a queue for each worker");
            return Ok(Chosen { share: Share::Handoff, why: Some(why) });
        }
        Err(ListenError::NoGate { addr: addr.clone(), wish })
    }

    /// What is wished that `shared` cannot fulfil: there a worker accepts from its first accept on.
    fn wish(&self) -> Option<String> {
        let ready = match &self.ready {
            ReadyWhen::Auto | ReadyWhen::Listen => None,
            ReadyWhen::Message => Some("--ready message".to_owned()),
            ReadyWhen::Notify => Some("--ready notify".to_owned()),
            ReadyWhen::Delay(_) => Some("--ready delay".to_owned()),
            ReadyWhen::Probe(probe) => Some(format!("--ready {probe}")),
        };
        ready.or_else(|| self.live.as_ref().map(|live| format!("--live {}", live.probe)))
    }
}

const fn has_queues(addr: &Addr) -> bool {
    match addr {
        Addr::Tcp { .. } | Addr::Udp { .. } => true,
        Addr::Unix(_) | Addr::Abstract(_) | Addr::Fd(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Delivery, Listen, Liveness, Program};
    use clustr_core::Policy;

    fn config(addrs: &[&str]) -> Config {
        let program = Program { command: vec!["app".into()], env: Vec::new(), cwd: None };
        let mut config = Config::new("app", program, Policy::builder(2).build().unwrap());
        let listen = |addr: &&str| Listen::new("web", addr.parse().unwrap());
        config.listen = addrs.iter().map(listen).collect();
        config.delivery = Delivery { node: false, ..Delivery::default() };
        config
    }

    fn chosen(config: &Config) -> (Share, Option<String>) {
        let Chosen { share, why } = config.chosen_share().unwrap();
        (share, why)
    }

    #[test]
    fn without_a_wish_all_share_one_queue() {
        for ready in [ReadyWhen::Auto, ReadyWhen::Listen] {
            let config = Config { ready, ..config(&[":0", "unix:/tmp/x"]) };
            assert_eq!(chosen(&config), (Share::Shared, None));
        }
    }

    #[test]
    fn whoever_waits_for_readiness_or_asks_workers_has_a_queue_for_each() {
        let probe = || "http:/".parse().unwrap();
        for ready in [
            ReadyWhen::Message,
            ReadyWhen::Notify,
            ReadyWhen::Delay(std::time::Duration::from_secs(1)),
            ReadyWhen::Probe(probe()),
        ] {
            let config = Config { ready, ..config(&[":0", "udp::0"]) };
            let (share, why) = chosen(&config);
            assert!(share == Share::PerWorker && why.unwrap().starts_with("for --ready "));
        }
        let config = Config { live: Some(Liveness::new(probe())), ..config(&[":0"]) };
        assert_eq!(chosen(&config), (Share::PerWorker, Some("for --live http:/".into())));
    }

    #[test]
    fn an_address_without_queues_is_handed_over_where_workers_take_that() {
        let mut config = Config { ready: ReadyWhen::Message, ..config(&["unix:/tmp/x"]) };
        let refused = config.chosen_share().unwrap_err();
        assert!(refused.to_string().contains("unix:/tmp/x"), "{refused}");
        config.delivery = Delivery { fds: false, ..config.delivery };
        assert_eq!(chosen(&config).0, Share::Handoff);
        config.delivery = Delivery::default();
        assert_eq!(chosen(&config).0, Share::Handoff);
    }

    #[test]
    fn one_of_those_that_share_a_queue_is_asked_over_nodes_channel_or_not_at_all() {
        let ready = ReadyWhen::Probe("http:/".parse().unwrap());
        let mut config = Config { ready, share: Share::Shared, ..config(&[":0"]) };
        assert!(config.chosen_share().unwrap_err().to_string().contains("http:/"));
        config.delivery.node = true;
        assert_eq!(chosen(&config).0, Share::Shared);
        config.delivery.node = false;
        config.ready = ReadyWhen::Probe("exec:true".parse().unwrap());
        assert_eq!(chosen(&config).0, Share::Shared);
    }

    #[test]
    fn connections_are_counted_where_they_are_handed_over() {
        let mut config = config(&[":0"]);
        config.recycling.max_requests = std::num::NonZeroU64::new(7);
        for share in [Share::Auto, Share::Shared, Share::PerWorker] {
            config.share = share;
            assert!(matches!(config.chosen_share(), Err(ListenError::Uncounted(_))));
        }
        config.share = Share::Handoff;
        assert_eq!(chosen(&config).0, Share::Handoff);
    }

    #[test]
    fn what_was_asked_for_is_what_it_is() {
        for share in [Share::Shared, Share::PerWorker, Share::Handoff] {
            let config = Config { share, ready: ReadyWhen::Message, ..config(&["unix:/tmp/x"]) };
            assert_eq!(chosen(&config), (share, None));
        }
    }
}
