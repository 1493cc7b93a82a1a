//! Whole messages with descriptors: truncated, forged, too many, and with no room for them.

use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use clustr_net::FdChannel;
use clustr_net::fd_channel::{BYTES_MAX, RecvError};
use clustr_net::scm::{self, FDS_MAX};
use proptest::prelude::*;
use rustix::io::{FdFlags, fcntl_getfd};

use crate::support::{alone, leave_room_for, open_descriptors};

fn pair() -> (FdChannel, FdChannel) {
    let (ours, theirs) = FdChannel::pair().unwrap();
    (ours, FdChannel::new(theirs).unwrap())
}

fn many<'a>(fd: &'a impl AsFd, count: usize) -> Vec<BorrowedFd<'a>> {
    (0..count).map(|_| fd.as_fd()).collect()
}

fn recv(channel: &FdChannel) -> Result<(Vec<u8>, Vec<OwnedFd>), RecvError> {
    let (mut buf, mut fds) = (vec![0; 256], Vec::new());
    let result = channel.recv(&mut buf, &mut fds);
    assert!(result.is_ok() || fds.is_empty(), "an error keeps nothing");
    buf.truncate(result?);
    Ok((buf, fds))
}

#[test]
fn messages_arrive_whole_in_order_with_their_own_descriptors() {
    let (ours, theirs) = pair();
    let (near, far) = UnixStream::pair().unwrap();
    for count in [0, 1, 32, FDS_MAX] {
        ours.send(format!("{count}").as_bytes(), &many(&far, count)).unwrap();
    }
    for count in [0, 1, 32, FDS_MAX] {
        let (bytes, fds) = recv(&theirs).unwrap();
        assert_eq!((bytes, fds.len()), (format!("{count}").into_bytes(), count));
        assert!(fds.iter().all(|fd| fcntl_getfd(fd).unwrap() == FdFlags::CLOEXEC));
    }
    drop(far);
    assert_eq!(rustix::net::recv(&near, &mut [0; 1], rustix::net::RecvFlags::empty()).unwrap().0, 0);
    assert!(matches!(recv(&theirs), Err(RecvError::Io(error)) if error.kind() == ErrorKind::WouldBlock));
}

#[test]
fn an_empty_message_is_no_end_and_the_end_is_no_message() {
    let (ours, theirs) = pair();
    ours.send(b"", &[]).unwrap();
    ours.send(b"", &[ours.as_fd()]).unwrap();
    assert_eq!(recv(&theirs).unwrap().0, b"");
    assert_eq!(recv(&theirs).unwrap().1.len(), 1);
    drop(ours);
    assert!(matches!(recv(&theirs), Err(RecvError::Closed)));
    assert_eq!(theirs.send(b"x", &[]).unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn what_an_end_said_before_it_closed_is_heard_even_if_it_did_not_listen() {
    let (ours, theirs) = pair();
    ours.send(b"unread", &[ours.as_fd()]).unwrap();
    theirs.send(b"last words", &[]).unwrap();
    drop(theirs);
    assert_eq!(recv(&ours).unwrap().0, b"last words");
    assert!(matches!(recv(&ours), Err(RecvError::Closed)));
}

#[test]
fn too_much_is_refused_before_it_leaves() {
    let (ours, theirs) = pair();
    for (bytes, fds) in [(vec![0; BYTES_MAX + 1], 0), (Vec::new(), FDS_MAX + 1)] {
        assert_eq!(ours.send(&bytes, &many(&ours, fds)).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    ours.send(&vec![7; BYTES_MAX], &[]).unwrap();
    let mut buf = vec![0; BYTES_MAX];
    assert_eq!(theirs.recv(&mut buf, &mut Vec::new()).unwrap(), BYTES_MAX);
}

#[test]
fn an_end_that_does_not_read_stops_the_other_and_nothing_is_lost() {
    let (ours, theirs) = pair();
    let mut sent = 0_u32;
    let refused = loop {
        match ours.send(&sent.to_le_bytes(), &[ours.as_fd()]) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    for number in 0..sent {
        assert_eq!(recv(&theirs).unwrap().0, number.to_le_bytes());
    }
}

#[test]
fn a_truncated_or_forged_message_is_an_error_and_closes_what_came() {
    if !alone("fd_channel::a_truncated_or_forged_message_is_an_error_and_closes_what_came") {
        return;
    }
    let (ours, theirs) = pair();
    let before = open_descriptors();
    let two = many(&ours, 2);
    for (forged, what) in [
        (&b"\xc5\x01\x03\x00more than came"[..], "says 3"),
        (b"\xc5\x01\x01\x00fewer", "says 1"),
        (b"\xc5\x01\xff\xffmany", "says 65535"),
        (b"\xc5\x02\x02\x00another version", "none of this version's"),
        (b"\xc4\x01\x02\x00no message", "none of this version's"),
        (b"\xc5\x01\x02", "none of this version's"),
        (b"x", "none of this version's"),
    ] {
        scm::send(&ours, forged, &two).unwrap();
        let error = recv(&theirs).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(open_descriptors(), before, "{what}");
    }
    ours.send(&[0; 257], &two).unwrap();
    assert!(matches!(recv(&theirs), Err(RecvError::TooLong)));
    assert_eq!(open_descriptors(), before);
    ours.send(b"good", &two).unwrap();
    assert_eq!(recv(&theirs).unwrap().1.len(), 2, "the channel goes on");
    // One that was never read is closed with the channel.
    ours.send(b"unread", &two).unwrap();
    drop((ours, theirs));
    assert_eq!(open_descriptors(), before - 2);
}

#[test]
fn a_full_table_is_an_error_that_leaks_nothing_and_the_bytes_are_good() {
    if !alone("fd_channel::a_full_table_is_an_error_that_leaks_nothing_and_the_bytes_are_good") {
        return;
    }
    let (ours, theirs) = pair();
    let filler = leave_room_for(3);
    for count in [4, 20, 253] {
        ours.send(b"batch", &many(&ours, count)).unwrap();
        let (mut buf, mut fds) = ([0; 256], Vec::new());
        let error = theirs.recv(&mut buf, &mut fds).unwrap_err();
        let RecvError::FdsLost { bytes, said, came } = error else { panic!("{error}") };
        assert_eq!((&buf[..bytes], said, came, fds.len()), (&b"batch"[..], count, 3, 0));
    }
    ours.send(b"fits", &many(&ours, 3)).unwrap();
    assert_eq!(recv(&theirs).unwrap().1.len(), 3);
    drop(filler);
}

proptest! {
    /// Whatever is in a packet, and however many descriptors are with it: all of it, or an error and none.
    #[test]
    fn any_packet_is_what_its_manifest_says_or_an_error(
        said in prop_oneof![Just(vec![0xc5, 1]), prop::collection::vec(any::<u8>(), 0..4)],
        rest in prop::collection::vec(prop_oneof![any::<u8>(), 0..4_u8], 0..300),
        fds in 0..4_usize,
    ) {
        let (ours, theirs) = pair();
        let bytes = [said, rest].concat();
        prop_assume!(!bytes.is_empty());
        scm::send(&ours, &bytes, &many(&ours, fds)).unwrap();
        let is_ours = |manifest: u8| bytes.len() <= 4 + 256 && bytes.starts_with(&[0xc5, 1, manifest, 0]);
        match recv(&theirs) {
            Ok((body, came)) => {
                prop_assert!(is_ours(u8::try_from(fds).unwrap()));
                prop_assert_eq!((body.as_slice(), came.len()), (&bytes[4..], fds));
            }
            Err(_) => prop_assert!(!is_ours(u8::try_from(fds).unwrap())),
        }
        ours.send(b"next", &[]).unwrap();
        prop_assert_eq!(recv(&theirs).unwrap().0, b"next");
    }
}

#[test]
fn only_packet_sockets_are_channels() {
    let (mut stream, other) = UnixStream::pair().unwrap();
    stream.write_all(b"x").unwrap();
    assert_eq!(FdChannel::new(other.into()).unwrap_err().kind(), ErrorKind::InvalidInput);
}
