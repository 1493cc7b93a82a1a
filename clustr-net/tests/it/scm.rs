//! Bytes and descriptors in one message.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use clustr_net::scm::{FDS_MAX, recv, send};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::support::{alone, leave_room_for, open_descriptors};

fn many<'a>(fd: &'a impl AsFd, count: usize) -> Vec<BorrowedFd<'a>> {
    (0..count).map(|_| fd.as_fd()).collect()
}

#[test]
fn a_descriptor_arrives_with_the_bytes_that_name_it_and_is_not_passed_on_by_exec() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut near, far) = UnixStream::pair().unwrap();
    assert_eq!(send(&ours, b"far", &[far.as_fd()]).unwrap(), 3);
    let (mut buf, mut fds) = ([0; 16], Vec::new());
    let received = recv(&theirs, &mut buf, &mut fds).unwrap();
    assert_eq!((&buf[..received.bytes], fds.len(), received.fds_lost), (&b"far"[..], 1, false));
    assert_eq!(fcntl_getfd(&fds[0]).unwrap(), FdFlags::CLOEXEC);
    UnixStream::from(fds.remove(0)).write_all(b"x").unwrap();
    let mut byte = [0];
    near.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

#[test]
fn a_read_ends_with_the_bytes_that_carried_descriptors() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    send(&ours, b"before ", &[]).unwrap();
    send(&ours, b"with", &[ours.as_fd()]).unwrap();
    send(&ours, b" after", &[]).unwrap();
    let (mut buf, mut fds) = ([0; 64], Vec::new());
    let received = recv(&theirs, &mut buf, &mut fds).unwrap();
    assert!(buf[..received.bytes].ends_with(b"with"), "{:?}", &buf[..received.bytes]);
    assert_eq!(fds.len(), 1);
}

#[test]
fn as_many_descriptors_as_the_kernel_allows_arrive_and_more_are_refused() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    sockopt::set_socket_passcred(&theirs, true).unwrap();
    send(&ours, b"x", &many(&ours, FDS_MAX)).unwrap();
    let (mut buf, mut fds) = ([0; 1], Vec::new());
    let received = recv(&theirs, &mut buf, &mut fds).unwrap();
    assert_eq!((fds.len(), received.fds_lost), (FDS_MAX, false));
    assert_eq!(received.sender.unwrap().pid, Some(std::process::id()));
    let error = send(&ours, b"x", &many(&ours, FDS_MAX + 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn descriptors_without_bytes_are_refused_rather_than_lost() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert_eq!(send(&ours, b"", &[ours.as_fd()]).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_cut_message_says_so_and_its_descriptors_are_owned() {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    send(&ours, b"too long", &[ours.as_fd()]).unwrap();
    let (mut buf, mut fds) = ([0; 3], Vec::new());
    let received = recv(&theirs, &mut buf, &mut fds).unwrap();
    assert_eq!((received.bytes, received.bytes_cut, fds.len()), (3, true, 1));
}

#[test]
fn a_closed_end_is_an_error_and_no_signal() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    assert_eq!(send(&ours, b"x", &[]).unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(send(&ours, b"x", &[ours.as_fd()]).unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(recv(&ours, &mut [0; 4], &mut Vec::new()).unwrap().bytes, 0);
}

#[test]
fn a_full_descriptor_table_loses_what_does_not_fit_says_so_and_leaks_nothing() {
    if !alone("scm::a_full_descriptor_table_loses_what_does_not_fit_says_so_and_leaks_nothing") {
        return;
    }
    const ROOM: usize = 3;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let filler = leave_room_for(ROOM);
    for count in [1, ROOM, ROOM + 2, 100, 1] {
        send(&ours, b"line\n", &many(&ours, count)).unwrap();
        let (mut buf, mut fds) = ([0; 16], Vec::new());
        let received = recv(&theirs, &mut buf, &mut fds).unwrap();
        assert_eq!(received.bytes, 5, "the bytes arrive in any case");
        assert_eq!((fds.len(), received.fds_lost), (count.min(ROOM), count > ROOM));
    }
    let again: Vec<_> = std::iter::from_fn(|| ours.try_clone().ok()).collect();
    assert_eq!(again.len(), ROOM, "all that arrived was closed");
    drop(filler);
}

#[test]
fn nothing_leaks() {
    if !alone("scm::nothing_leaks") {
        return;
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    let before = open_descriptors();
    for round in 0..200 {
        send(&ours, b"x", &many(&ours, round % FDS_MAX + 1)).unwrap();
        let mut fds: Vec<OwnedFd> = Vec::new();
        recv(&theirs, &mut [0; 1], &mut fds).unwrap();
        assert_eq!(fds.len(), round % FDS_MAX + 1);
    }
    assert_eq!(open_descriptors(), before);
}
