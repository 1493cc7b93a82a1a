//! Every `unsafe` of the faults: a filter that a new process puts on itself, and the two ioctls by which its calls are
//! heard and answered.
//!
//! Owns what neither nix nor rustix has. Never decides anything. Sources: seccomp(2), seccomp_unotify(2).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Has these calls of what the command starts reported on a descriptor, which is sent over `channel`.
pub(super) fn watch(command: &mut Command, calls: &[i64], channel: OwnedFd) {
    let filter = filter(calls);
    let install = move || {
        let notify = listen(&filter)?;
        send(channel.as_fd(), notify.as_fd())
    };
    // SAFETY: what runs between fork and exec makes system calls on memory that was prepared before, and nothing else.
    unsafe { command.pre_exec(install) };
}

/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K`.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Where `struct seccomp_data` has the call's number.
const NUMBER: u32 = 0;

/// `if nr in calls: USER_NOTIF else ALLOW`.
fn filter(calls: &[i64]) -> Vec<libc::sock_filter> {
    let op = |code, jt, k| libc::sock_filter { code, jt, jf: 0, k };
    let jumps = calls.iter().enumerate().map(|(place, call)| {
        // Over the calls that follow, and the verdict for all others.
        let over = u8::try_from(calls.len() - place).unwrap_or(u8::MAX);
        op(JUMP_IF_EQUAL, over, u32::try_from(*call).unwrap_or(u32::MAX))
    });
    let verdicts = [op(RETURN, 0, libc::SECCOMP_RET_ALLOW), op(RETURN, 0, libc::SECCOMP_RET_USER_NOTIF)];
    std::iter::once(op(LOAD, 0, NUMBER)).chain(jumps).chain(verdicts).collect()
}

fn listen(filter: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let len = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    let (yes, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: prctl(2) takes numbers only here.
    let _ordinary_users_need_it = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none) };
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: the program points to `len` instructions; both outlive the call, which copies them.
    let number = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    let number = i32::try_from(number).ok().filter(|number| *number >= 0);
    let number = number.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just opened this number for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn send(channel: BorrowedFd<'_>, notify: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [notify];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(channel, &[io::IoSlice::new(b".")], &mut control, SendFlags::empty())?;
    Ok(())
}

/// A call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    /// The thread that makes it.
    pub(super) tid: u32,
    pub(super) number: i64,
}

/// Takes one call that waits; waits if there is none.
pub(super) fn receive(notify: BorrowedFd<'_>) -> io::Result<Call> {
    // SAFETY: integers, for all of which zero bytes are a valid value; the kernel insists on them.
    let mut found: libc::seccomp_notif = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the kernel writes one structure of this type.
    let result = unsafe { libc::ioctl(notify.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut found) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Call { id: found.id, tid: found.pid, number: i64::from(found.data.nr) })
}

/// Lets a call fail, or do what it was about to do. It may be gone meanwhile.
pub(super) fn answer(notify: BorrowedFd<'_>, id: u64, errno: Option<i32>) {
    const PROCEED: u32 = 1;
    let flags = if errno.is_some() { 0 } else { PROCEED };
    let answer = libc::seccomp_notif_resp { id, val: 0, error: -errno.unwrap_or(0), flags };
    // SAFETY: the kernel reads one structure of this type.
    let _gone = unsafe { libc::ioctl(notify.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) };
}
