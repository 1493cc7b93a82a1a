//! Answers to listen(2).
//!
//! Owns the order of steps: the socket listens before it is kept, and is kept before the caller goes on. Called by
//! `responder`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net;
use rustix::net::sockopt;

use super::super::Way;
use super::super::keeper::Keeper;
use super::super::ledger::{Key, Stage};
use super::super::name;
use super::super::rules::Why;
use super::super::socket::bound_at;
use super::super::thread::inode_of;
use super::bind::errno;
use super::{Reply, Responder, Stopped};
use crate::addr::Addr;
use crate::listener::Listener;

impl Responder {
    pub(super) fn listen(
        &mut self,
        stopped: &Stopped,
        number: u32,
        backlog: i32,
        keeper: &mut dyn Keeper,
    ) -> Reply {
        let (inode, own) = match self.find(stopped, number) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return self.leave(None, Why::Protected);
            }
            Err(_) => return Reply::Proceed,
        };
        if !stopped.is_there() {
            return Reply::Nobody;
        }
        let worker = stopped.caller.worker;
        let Some((key, stage)) = self.ledger.of(worker, inode).map(|(key, stage)| (key.clone(), stage))
        else {
            let addr = own.as_ref().and_then(|own| bound_at(own.as_fd()));
            let addr = addr.map(|addr| name::inet(addr, false));
            self.listens(stopped, addr, false);
            return Reply::Proceed;
        };
        match (stage, own) {
            (Stage::Kept, own) => self.listen_again(stopped, &key, backlog, own),
            (Stage::Bound, None) => Reply::Proceed,
            (Stage::Bound, Some(own)) if is_any(&key.addr) => {
                self.listen_any(stopped, number, (key, own), backlog, keeper)
            }
            (Stage::Bound, Some(own)) => self.keep(stopped, (key, own), backlog, keeper),
        }
    }

    fn find(&self, stopped: &Stopped, number: u32) -> io::Result<(u64, Option<OwnedFd>)> {
        match self.way {
            Way::Adopt => {
                let own = stopped.thread.descriptor(number)?;
                Ok((inode_of(&own)?, Some(own)))
            }
            Way::Replace { .. } => {
                let inode = stopped.thread.inode(number)?;
                let made = self.made.get(&(stopped.caller.worker, inode));
                Ok((inode, made.map(OwnedFd::try_clone).transpose()?))
            }
        }
    }

    /// It listens already; how many may wait there is the program's to say.
    fn listen_again(&mut self, stopped: &Stopped, key: &Key, backlog: i32, own: Option<OwnedFd>) -> Reply {
        match own.map_or(Ok(()), |own| net::listen(&own, backlog)) {
            Ok(()) => {
                self.listens(stopped, Some(key.addr.clone()), true);
                Reply::Done
            }
            Err(errno) => Reply::Refuse(errno),
        }
    }

    /// Has it listen, and keeps it.
    fn keep(
        &mut self,
        stopped: &Stopped,
        (key, own): (Key, OwnedFd),
        backlog: i32,
        keeper: &mut dyn Keeper,
    ) -> Reply {
        let inode = inode_of(&own);
        let mut addr = Some(key.addr.clone()).filter(|addr| !is_any(addr));
        addr = addr.or_else(|| bound_at(own.as_fd()).map(|addr| name::inet(addr, false)));
        let mut own = Some(own);
        let mut listen = || {
            let own = own.take().ok_or(Errno::BADF)?;
            net::listen(&own, backlog)?;
            Listener::of_another(own).map_err(|error| errno(&error))
        };
        match (keeper.keep(stopped.caller, &key, &mut listen), inode) {
            (Ok(()), Ok(inode)) => {
                self.spare(&key);
                self.made.remove(&(stopped.caller.worker, inode));
                self.ledger.note(stopped.caller.worker, key, inode, Stage::Kept);
                self.listens(stopped, addr, true);
                Reply::Done
            }
            (Err(errno), _) => Reply::Refuse(errno),
            (Ok(()), Err(error)) => Reply::Refuse(errno(&error)),
        }
    }

    /// A socket on any port: the first one's becomes everybody's.
    fn listen_any(
        &mut self,
        stopped: &Stopped,
        number: u32,
        (key, own): (Key, OwnedFd),
        backlog: i32,
        keeper: &mut dyn Keeper,
    ) -> Reply {
        if !keeper.has(&key) {
            if !keeper.is_common(&key)
                && let Err(errno) = sockopt::set_socket_reuseport(&own, true)
            {
                return Reply::Refuse(errno);
            }
            return self.keep(stopped, (key, own), backlog, keeper);
        }
        let there = match keeper.left(stopped.caller, &key) {
            Some(left) => Ok(left),
            None => keeper.fresh(stopped.caller, &key),
        };
        match there {
            Ok(there) => {
                let addr = bound_at(there.as_fd()).map(|addr| name::inet(addr, false));
                let reply = self.put_left(stopped, number, key, there, keeper);
                if reply == Reply::Done {
                    self.listens(stopped, addr, true);
                }
                reply
            }
            Err(errno) => Reply::Refuse(errno),
        }
    }
}

fn is_any(addr: &Addr) -> bool {
    matches!(addr, Addr::Tcp { port: 0, .. } | Addr::Udp { port: 0, .. })
}
