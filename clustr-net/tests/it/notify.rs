//! sd_notify over real sockets, from real processes.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::time::Duration;

use clustr_net::notify::{DATAGRAM_BYTES_MAX, Heard, Inbox, Outbox, OutboxError, Word};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::deadline::PATIENCE;
use crate::support::{alone, open_descriptors};

fn abstract_inbox(name: &str) -> Inbox {
    Inbox::at_abstract(format!("clustr-net-test-{name}-{}", std::process::id()).as_bytes()).unwrap()
}

fn wait(inbox: &Inbox) -> Heard {
    let timeout = Timespec { tv_sec: PATIENCE.as_secs().try_into().unwrap(), tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::new(inbox, PollFlags::IN)], Some(&timeout)).unwrap();
    inbox.recv().unwrap().expect("a message within the time")
}

#[test]
fn what_we_tell_is_heard_with_our_pid_by_path_and_by_abstract_name() {
    let folder = tempfile::tempdir().unwrap();
    for inbox in [Inbox::at_path(&folder.path().join("notify")).unwrap(), abstract_inbox("tell")] {
        let outbox = Outbox::new(inbox.value()).unwrap();
        outbox.ready("2 workers\nREADY=1").unwrap();
        outbox.reloading(Duration::from_millis(1500)).unwrap();
        outbox.status("busy").unwrap();
        outbox.alive().unwrap();
        outbox.stopping().unwrap();
        let first = inbox.recv().unwrap().unwrap();
        assert_eq!(first.sender.pid, Some(std::process::id()));
        assert_eq!(first.message.words, [Word::Ready, Word::Status("2 workersREADY=1".into())]);
        let second = inbox.recv().unwrap().unwrap().message.words;
        assert_eq!(second, [Word::Reloading, Word::Since(Duration::from_millis(1500))]);
        let rest: Vec<_> =
            std::iter::from_fn(|| inbox.recv().unwrap()).flat_map(|heard| heard.message.words).collect();
        assert_eq!(rest, [Word::Status("busy".into()), Word::Alive, Word::Stopping]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "its file goes with it");
}

#[test]
fn another_process_is_known_by_its_own_pid() {
    let inbox = abstract_inbox("pid");
    let script = "import os,socket; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\n\
                  a=os.environ['NOTIFY_SOCKET']; s.connect('\\0'+a[1:]); s.send(b'READY=1')";
    let python = Command::new("python3").args(["-c", script]).env("NOTIFY_SOCKET", inbox.value()).spawn();
    let Ok(mut python) = python else {
        assert!(std::env::var_os("CI").is_none(), "python3 not found");
        eprintln!("skipped: python3 not found");
        return;
    };
    let pid = python.id();
    assert!(python.wait().unwrap().success());
    let heard = wait(&inbox);
    assert_eq!(
        (heard.message.words, heard.sender.uid),
        (vec![Word::Ready], rustix::process::getuid().as_raw())
    );
    // Where python3 is a shim, its interpreter may be a child of it.
    assert!(heard.sender.pid.is_some_and(|sender| sender == pid || sender != std::process::id()));
}

#[test]
fn descriptors_that_come_along_are_closed_and_too_long_a_datagram_is_nothing() {
    if !alone("notify::descriptors_that_come_along_are_closed_and_too_long_a_datagram_is_nothing") {
        return;
    }
    let inbox = abstract_inbox("fds");
    let sender = UnixDatagram::unbound().unwrap();
    let name = inbox.value().as_encoded_bytes()[1..].to_vec();
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    sender.connect_addr(&address.unwrap()).unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    let before = open_descriptors();
    clustr_net::scm::send(&sender, b"FDSTORE=1\nBARRIER=1", &[near.as_fd(), near.as_fd()]).unwrap();
    drop(near);
    assert_eq!(inbox.recv().unwrap().unwrap().message.words, [Word::FdStore, Word::Barrier]);
    assert_eq!(far.read(&mut [0; 4]).unwrap(), 0, "nobody has the other end any more");
    sender.send(&[b'x'; DATAGRAM_BYTES_MAX + 1]).unwrap();
    let long = inbox.recv().unwrap().unwrap().message;
    assert_eq!((long.words, long.unknown), (vec![], 1));
    assert!(inbox.recv().unwrap().is_none());
    assert_eq!(open_descriptors(), before - 1);
}

#[test]
fn addresses_that_cannot_be_are_refused_with_a_word() {
    let new = |value: &str| Outbox::new(OsStr::new(value));
    assert!(matches!(new("vsock:2:1234"), Err(OutboxError::Vsock(_))));
    for value in ["", "@", "/", "relative", "notify.sock"] {
        assert!(matches!(new(value), Err(OutboxError::Address(_))), "{value}");
    }
    assert_eq!(new("/nowhere/notify").unwrap().stopping().unwrap_err().kind(), ErrorKind::NotFound);
    let gone = abstract_inbox("gone").value().to_owned();
    assert_eq!(Outbox::new(&gone).unwrap().alive().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(Inbox::at_path("relative".as_ref()).is_err() && Inbox::at_abstract(b"").is_err());
}

#[test]
fn a_supervisor_that_does_not_read_makes_us_wait_for_nothing() {
    let inbox = abstract_inbox("full");
    let outbox = Outbox::new(inbox.value()).unwrap();
    let error = (0..100_000).find_map(|_| outbox.alive().err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}
