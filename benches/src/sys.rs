//! Every `unsafe` of this package: a bare fork and exec, the least that a restart can cost, and a bare `sendmsg` and
//! `recvmsg`, the least that a handoff can; and the policy by which a primary is scheduled.
//!
//! Owns what no safe wrapper offers. Never used by anything that is released.

use std::ffi::{CStr, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::{mem, ptr};

use rustix::process::{Pid, PidfdFlags};

/// Starts a program with one argument and no environment.
///
/// # Errors
///
/// No process can be made. A program that cannot be executed ends with 127.
pub fn spawn(program: &CStr, argument: &CStr) -> io::Result<(Pid, OwnedFd)> {
    let argv: [*const c_char; 3] = [program.as_ptr(), argument.as_ptr(), ptr::null()];
    let envp: [*const c_char; 1] = [ptr::null()];
    // SAFETY: between fork(2) and exec the child calls async-signal-safe functions only (execve, _exit).
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: three null-terminated arrays that outlive the call, which returns only if it fails.
        unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        // SAFETY: leaves the child at once, without running anything of the parent's.
        unsafe { libc::_exit(127) };
    }
    let pid = Pid::from_raw(pid)
        .filter(|pid| pid.as_raw_nonzero().get() > 0)
        .ok_or_else(io::Error::last_os_error)?;
    Ok((pid, rustix::process::pidfd_open(pid, PidfdFlags::empty())?))
}

/// Gives this thread `SCHED_BATCH`, as a primary that hands connections over has it, or the ordinary policy:
/// sched_setscheduler(2). Says whether the kernel did so.
#[must_use]
pub fn schedule_as_batch(batch: bool) -> bool {
    let policy = if batch { libc::SCHED_BATCH } else { libc::SCHED_OTHER };
    // The kernel's `struct sched_param`: a priority, which these policies do not have.
    let priority: libc::c_int = 0;
    // SAFETY: the pointer is to a value that outlives the call, which copies it.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) == 0 }
}

/// Room for 253 descriptors, laid out as the kernel wants it: `size_t len, int level, int type, int fds[]`.
#[repr(C, align(8))]
struct Control {
    len: usize,
    level: i32,
    kind: i32,
    fds: [i32; 254],
}

const CONTROL_HEADER: usize = mem::offset_of!(Control, fds);

/// Sends one byte and descriptors, at most 253, and nothing else.
///
/// # Errors
///
/// What sendmsg(2) says.
pub fn send_bare(socket: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let len = CONTROL_HEADER + mem::size_of_val(fds);
    let mut control = Control { len, level: libc::SOL_SOCKET, kind: libc::SCM_RIGHTS, fds: [0; 254] };
    control.fds.iter_mut().zip(fds).for_each(|(place, fd)| *place = fd.as_raw_fd());
    let mut byte = [1_u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut header = empty_header();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = len.next_multiple_of(8) as _;
    // SAFETY: the header points to one iovec and to a control buffer of at least that length, both of which live on.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
    if sent == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives what [`send_bare`] sent and closes the descriptors; how many there were, 0 at the end.
///
/// # Errors
///
/// What recvmsg(2) says.
pub fn recv_bare(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut control = Control { len: 0, level: 0, kind: 0, fds: [0; 254] };
    let mut byte = [0_u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut header = empty_header();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = mem::size_of::<Control>() as _;
    // SAFETY: the header points to one iovec and to a control buffer of that length, both of which live on.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    let count = control.len.saturating_sub(CONTROL_HEADER) / 4;
    for raw in &control.fds[..count] {
        // SAFETY: the kernel has just opened this number for this message, and nobody else has seen it.
        drop(unsafe { OwnedFd::from_raw_fd(*raw) });
    }
    Ok(count)
}

fn empty_header() -> libc::msghdr {
    // SAFETY: `msghdr` is integers and pointers, for all of which zero bytes are a valid value.
    unsafe { mem::zeroed() }
}
