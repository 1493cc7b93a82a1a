//! A packet of any bytes with up to three descriptors: it is what its manifest says, or an error that keeps nothing.
//!
//! The first byte of the input is the number of descriptors.
#![no_main]

use std::os::fd::AsFd;

use clustr_net::{FdChannel, scm};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&first, bytes)) = input.split_first() else { return };
    if bytes.is_empty() || bytes.len() > 4096 {
        return;
    }
    let fds = usize::from(first % 4);
    let (ours, theirs) = FdChannel::pair().expect("a pair of sockets");
    let theirs = FdChannel::new(theirs).expect("a packet socket");
    scm::send(&ours, bytes, &vec![ours.as_fd(); fds]).expect("room for one packet");
    let (mut buf, mut came) = ([0; 256], Vec::new());
    let is_whole = bytes.len() <= 4 + buf.len() && bytes.starts_with(&[0xc5, 1, first % 4, 0]);
    match theirs.recv(&mut buf, &mut came) {
        Ok(count) => assert!(is_whole && buf[..count] == bytes[4..] && came.len() == fds),
        Err(_) => assert!(!is_whole && came.is_empty()),
    }
});
