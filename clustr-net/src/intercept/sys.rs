//! Every `unsafe` of interception: what a new process does to itself, the notification's four ioctls, and the short-lived
//! helper that moves epoll registrations.
//!
//! Owns the calls that neither nix nor rustix has. Never decides anything. Called by `install`, `notifier`, `socket` and
//! `replace`.
//!
//! Sources: seccomp(2), seccomp_unotify(2), clone(2), cmsg(3).

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_ulong, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::libc;

use super::filter::Insn;
use super::install::Installer;
use super::replace::Registration;

/// The stack of the helper: its deepest call is epoll_ctl(2).
const STACK_BYTES: usize = 16 * 1024;

/// `SECCOMP_FILTER_FLAG_…`: whoever waits for an answer can only be killed (since 5.19). Without it, every signal repeats
/// the call.
const BEST: libc::c_ulong = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
    | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW
    | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
const PLAIN: libc::c_ulong = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (since 6.6): the two sides run in turn, on one processor.
const SYNC_WAKE_UP: c_ulong = 1;

/// `SO_NETNS_COOKIE` (since 5.14).
const SO_NETNS_COOKIE: c_int = 71;

/// A prepared program, as the kernel wants it.
#[derive(Debug)]
pub(super) struct Program(Vec<libc::sock_filter>);

impl Program {
    pub(super) fn new(insns: &[Insn]) -> Self {
        let as_filter =
            |insn: &Insn| libc::sock_filter { code: insn.code, jt: insn.jt, jf: insn.jf, k: insn.k };
        Self(insns.iter().map(as_filter).collect())
    }
}

/// The step that failed in a new process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Privileges,
    Filter,
    Send,
}

/// Has this thread's calls watched, and sends the notification descriptor over `channel`. Neither allocates nor locks: it
/// may be called between clone and exec.
pub(super) fn install(program: &Program, channel: BorrowedFd<'_>) -> Result<(), (Step, i32)> {
    let notify = match seccomp_listen(program) {
        // Without CAP_SYS_ADMIN the kernel wants this vow first.
        Err(libc::EACCES) => {
            give_up_privileges().map_err(|errno| (Step::Privileges, errno))?;
            seccomp_listen(program)
        }
        other => other,
    };
    let notify = notify.map_err(|errno| (Step::Filter, errno))?;
    let sent = send_number(channel, notify);
    // SAFETY: the kernel has just opened this number for us, and nobody else knows it.
    unsafe { libc::close(notify) };
    sent.map_err(|errno| (Step::Send, errno))
}

/// The filter with the best flags that this kernel has.
fn seccomp_listen(program: &Program) -> Result<c_int, i32> {
    match seccomp_listen_with(program, BEST) {
        Err(libc::EINVAL) => seccomp_listen_with(program, PLAIN),
        other => other,
    }
}

fn seccomp_listen_with(program: &Program, flags: libc::c_ulong) -> Result<c_int, i32> {
    let len = u16::try_from(program.0.len()).map_err(|_| libc::EINVAL)?;
    let prog = libc::sock_fprog { len, filter: program.0.as_ptr().cast_mut() };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the program points to `len` instructions; both outlive the call, which copies them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const prog) };
    c_int::try_from(result).ok().filter(|fd| *fd >= 0).ok_or_else(errno)
}

fn give_up_privileges() -> Result<(), i32> {
    let (yes, none): (c_ulong, c_ulong) = (1, 0);
    // SAFETY: prctl(2) takes numbers only here.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none) };
    if result == 0 { Ok(()) } else { Err(errno()) }
}

/// Room for one descriptor, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 32]);

/// One byte and one descriptor in a message.
fn send_number(channel: BorrowedFd<'_>, number: c_int) -> Result<(), i32> {
    let mut control = Control([0; 32]);
    let mut byte = [0u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: `msghdr` is integers and pointers, for all of which zero bytes are a valid value.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    let len = size_of::<usize>() + 8 + size_of::<c_int>();
    control.0[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
    let at = size_of::<usize>();
    control.0[at..at + 4].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
    control.0[at + 4..at + 8].copy_from_slice(&libc::SCM_RIGHTS.to_ne_bytes());
    control.0[at + 8..at + 12].copy_from_slice(&number.to_ne_bytes());
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = len.next_multiple_of(size_of::<usize>()) as _;
    // SAFETY: the header points to one byte and to a control buffer of the stated lengths, which outlive the call.
    let sent = unsafe { libc::sendmsg(channel.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
    if sent == 1 { Ok(()) } else { Err(errno()) }
}

/// How large the kernel's notification and response are, in bytes: `SECCOMP_GET_NOTIF_SIZES`.
pub(super) fn sizes() -> io::Result<(usize, usize)> {
    let mut sizes = libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
    let operation = libc::SECCOMP_GET_NOTIF_SIZES;
    let none: c_uint = 0;
    // SAFETY: the kernel writes one structure of this type.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, operation, none, &raw mut sizes) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((
        usize::from(sizes.seccomp_notif).max(size_of::<libc::seccomp_notif>()),
        usize::from(sizes.seccomp_notif_resp).max(size_of::<libc::seccomp_notif_resp>()),
    ))
}

/// A stopped call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notification {
    pub(super) id: u64,
    /// The thread, in our pid namespace; 0 if it is not visible there.
    pub(super) tid: u32,
    pub(super) arch: u32,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

/// Takes one stopped call. `room` is at least the kernel's size for a notification. Waits if there is none: poll first.
pub(super) fn receive(notify: BorrowedFd<'_>, room: &mut [u64]) -> io::Result<Notification> {
    // The kernel insists on zeros.
    room.fill(0);
    assert!(size_of_val(room) >= size_of::<libc::seccomp_notif>(), "`sizes` says so much at least");
    let at: *mut c_void = room.as_mut_ptr().cast();
    // SAFETY: the room is as large as the kernel's structure, aligned to 8, and ours.
    let result = unsafe { libc::ioctl(notify.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, at) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled it in, and every field is an integer.
    let notif = unsafe { ptr::read(at.cast_const().cast::<libc::seccomp_notif>()) };
    Ok(Notification {
        id: notif.id,
        tid: notif.pid,
        arch: notif.data.arch,
        number: notif.data.nr.cast_unsigned(),
        args: notif.data.args,
    })
}

/// Lets a stopped call end: with an errno, or 0, or (`proceed`) by doing what it was about to do. `room` is at least the
/// kernel's size for a response.
pub(super) fn respond(
    notify: BorrowedFd<'_>,
    room: &mut [u64],
    id: u64,
    errno: i32,
    proceed: bool,
) -> io::Result<()> {
    const PROCEED: u32 = 1;
    room.fill(0);
    assert!(size_of_val(room) >= size_of::<libc::seccomp_notif_resp>(), "`sizes` says so much at least");
    let flags = if proceed { PROCEED } else { 0 };
    let response = libc::seccomp_notif_resp { id, val: 0, error: -errno, flags };
    let at: *mut c_void = room.as_mut_ptr().cast();
    // SAFETY: the room is large enough and aligned to 8.
    unsafe { ptr::write(at.cast(), response) };
    // SAFETY: the room is as large as the kernel's structure, which it only reads.
    check(unsafe { libc::ioctl(notify.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, at) })
}

/// Whether a call is still stopped: if so, what was opened by its thread's number was its own.
pub(super) fn is_valid(notify: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads one u64.
    let result =
        unsafe { libc::ioctl(notify.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) };
    result == 0
}

/// Puts `fd` at a number in the caller's descriptor table: `SECCOMP_ADDFD_FLAG_SETFD`. What was there is closed.
pub(super) fn put(
    notify: BorrowedFd<'_>,
    id: u64,
    fd: BorrowedFd<'_>,
    number: u32,
    cloexec: bool,
) -> io::Result<()> {
    const SETFD: u32 = 1;
    let newfd_flags = if cloexec { libc::O_CLOEXEC.cast_unsigned() } else { 0 };
    let srcfd = fd.as_raw_fd().cast_unsigned();
    let addfd = libc::seccomp_notif_addfd { id, flags: SETFD, srcfd, newfd: number, newfd_flags };
    // SAFETY: the kernel reads one structure of this type.
    let result =
        unsafe { libc::ioctl(notify.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const addfd) };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks for the quick way to wake up; says whether the kernel has it.
pub(super) fn wake_in_turn(notify: BorrowedFd<'_>) -> bool {
    // SAFETY: the argument is a number here, no pointer.
    let result =
        unsafe { libc::ioctl(notify.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
    result == 0
}

/// Which network namespace a socket belongs to: `SO_NETNS_COOKIE`.
pub(super) fn netns_cookie(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut len: libc::socklen_t = 8;
    let at: *mut u64 = &raw mut cookie;
    // SAFETY: the kernel writes at most `len` bytes, which `cookie` has.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, at.cast(), &raw mut len)
    })?;
    Ok(cookie)
}

/// What the helper needs, in memory that it shares.
struct Move<'a> {
    socket: c_int,
    number: c_int,
    registrations: &'a [Registration],
    failed: c_int,
}

/// Registers `socket` in epoll instances under the number that it is going to have in another process: an entry is known by
/// file *and* number. The number may be in use here, so a process with a descriptor table of its own does it, and ends.
///
/// No descriptor that it is given may have that number: `replace` sees to it.
pub(super) fn register_as(
    socket: BorrowedFd<'_>,
    number: u32,
    registrations: &[Registration],
) -> io::Result<()> {
    let number = c_int::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut work = Move { socket: socket.as_raw_fd(), number, registrations, failed: 0 };
    let mut stack = vec![0u128; STACK_BYTES / size_of::<u128>()];
    let top: *mut c_void = stack.as_mut_ptr_range().end.cast();
    // No signal at its end: whoever embeds us must not wonder about a child.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let argument: *mut c_void = ptr::from_mut(&mut work).cast();
    // SAFETY: the stack is ours, aligned to 16 and outlives the call, because CLONE_VFORK returns only when the helper has
    // ended; `work` likewise; `register_all` makes system calls only.
    let pid = unsafe { libc::clone(register_all, top, flags, argument) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the pid is that of our own helper, which nobody else waits for; no status is asked for.
    unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WCLONE) };
    if work.failed == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(work.failed)) }
}

/// The helper.
extern "C" fn register_all(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the `Move` of `register_as`, which waits (CLONE_VFORK) and does not touch it meanwhile.
    let work = unsafe { &mut *argument.cast::<Move<'_>>() };
    // SAFETY: dup2(2) takes numbers only; this process has a descriptor table of its own (no CLONE_FILES).
    if unsafe { libc::dup2(work.socket, work.number) } < 0 {
        work.failed = errno();
        return 1;
    }
    for one in work.registrations {
        let mut event = libc::epoll_event { events: one.events, u64: one.data };
        let epoll = one.epoll.as_raw_fd();
        // SAFETY: the event outlives the call, which copies it.
        let result = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, work.number, &raw mut event) };
        // One that is there already is as good: the call may be a repeated one.
        if result != 0 && errno() != libc::EEXIST {
            work.failed = errno();
        }
    }
    0
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A process that binds and listens on a loopback port, and ends.
#[derive(Debug)]
pub(super) struct Trial {
    pid: Cell<Option<libc::pid_t>>,
}

impl Trial {
    /// Starts it: a copy of this process that makes system calls only.
    pub(super) fn start(installer: &Installer) -> io::Result<Self> {
        let none: c_ulong = 0;
        // No signal at its end: whoever embeds us must not wonder about a child.
        // SAFETY: without flags and a stack, clone(2) is fork(2); the copy makes system calls only, and ends by _exit.
        let pid = unsafe { libc::syscall(libc::SYS_clone, none, none, none, none, none) };
        if pid == 0 {
            let code = try_out(installer);
            // SAFETY: _exit(2) runs nothing of this process.
            unsafe { libc::_exit(code) };
        }
        let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0);
        pid.map(|pid| Self { pid: Cell::new(Some(pid)) }).ok_or_else(io::Error::last_os_error)
    }

    /// The errno with which it has ended; waits for its end. `None`: every call was good.
    pub(super) fn errno(&self) -> Option<i32> {
        let pid = self.pid.take()?;
        let mut status = 0;
        // SAFETY: the pid is our own child's, which nobody else waits for; `status` outlives the call.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WCLONE) };
        let ended = waited == pid && libc::WIFEXITED(status);
        let code = if ended { libc::WEXITSTATUS(status) } else { libc::ECHILD };
        (code != 0).then_some(code)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some(pid) = self.pid.get() {
            // SAFETY: kill(2) takes numbers only; the child has not been waited for, so the number is its own.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            self.errno();
        }
    }
}

/// What the trial does; returns the errno of the first step that fails, or 0.
fn try_out(installer: &Installer) -> c_int {
    if let Err(error) = installer.install() {
        return error.errno();
    }
    // SAFETY: socket(2) takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    let addr = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or(0),
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: libc::INADDR_LOOPBACK.to_be() },
        sin_zero: [0; 8],
    };
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).unwrap_or(0);
    // SAFETY: the address has the stated length and outlives the call.
    if unsafe { libc::bind(fd, ptr::from_ref(&addr).cast(), len) } != 0 {
        return errno();
    }
    // SAFETY: listen(2) takes numbers only.
    if unsafe { libc::listen(fd, 1) } != 0 {
        return errno();
    }
    0
}
