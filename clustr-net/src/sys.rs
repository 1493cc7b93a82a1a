//! The crate's unsafe calls, behind safe functions.
//!
//! Owns what no safe wrapper offers: `recvmsg(2)` that keeps what arrived even when the kernel cut the ancillary data
//! short, the adoption of a descriptor that came through `exec`, and four socket options. Never decides anything. Called
//! by `scm`, `inherited`, `listener` and `queue`.
//!
//! Why not nix or rustix here: nix 0.31 refuses to list descriptors once the kernel set `MSG_CTRUNC`, which it does
//! when our descriptor table is full, and what did arrive would then leak at the worst moment; rustix 1.1 reads the
//! sender's pid as a non-zero number, and the kernel writes 0 for a sender that our pid namespace cannot see.

use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

use crate::steer::Insn;

/// Room for 253 descriptors (1,032 bytes), credentials (32 bytes) and whatever else a socket option may add.
const CONTROL_BYTES: usize = 1536;

/// Ancillary data as the kernel writes it, aligned as it wants it.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// What one `recvmsg` brought beside bytes and descriptors: how many bytes, the two truncation marks, and the
/// payload of `SCM_CREDENTIALS`: pid, uid, gid.
pub(crate) struct Arrival {
    pub(crate) bytes: usize,
    pub(crate) bytes_cut: bool,
    pub(crate) control_cut: bool,
    pub(crate) credentials: Option<[u32; 3]>,
}

/// One `recvmsg(2)` with `MSG_CMSG_CLOEXEC`. Every descriptor that came is owned when this returns.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    parts: &mut [IoSliceMut<'_>],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<Arrival> {
    let mut control = Control([0; CONTROL_BYTES]);
    // SAFETY: `msghdr` is integers and pointers, for all of which zero bytes are a valid value (it has private
    // padding on some targets, so that it cannot be written out field by field).
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    // `IoSliceMut` is guaranteed to look like an iovec.
    header.msg_iov = parts.as_mut_ptr().cast();
    header.msg_iovlen = parts.len() as _;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES as _;
    // SAFETY: the header points to iovecs and to a control buffer of the stated lengths, all of which outlive the
    // call and are borrowed mutably by this function.
    let count = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    let bytes = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    let filled: usize = header.msg_controllen as _;
    Ok(Arrival {
        bytes,
        bytes_cut: header.msg_flags & libc::MSG_TRUNC != 0,
        control_cut: header.msg_flags & libc::MSG_CTRUNC != 0,
        credentials: unpack(&control.0[..filled.min(CONTROL_BYTES)], fds),
    })
}

/// Takes the descriptors out of what the kernel has just written, and returns the credentials.
fn unpack(control: &[u8], fds: &mut Vec<OwnedFd>) -> Option<[u32; 3]> {
    let mut credentials = None;
    for part in parts(control).filter(|part| part.level == libc::SOL_SOCKET) {
        let numbers = part.payload.as_chunks::<4>().0;
        match part.kind {
            libc::SCM_RIGHTS => {
                for raw in numbers.iter().copied().map(RawFd::from_ne_bytes) {
                    // SAFETY: the kernel opened this number for this very message, nobody else has seen it, and each
                    // message is unpacked once.
                    fds.push(unsafe { OwnedFd::from_raw_fd(raw) });
                }
            }
            libc::SCM_CREDENTIALS => {
                // Not collected: this comes with every read.
                credentials = <[[u8; 4]; 3]>::try_from(numbers).ok().map(|ids| ids.map(u32::from_ne_bytes));
            }
            _ => {}
        }
    }
    credentials
}

/// One control message.
struct Part<'a> {
    level: i32,
    kind: i32,
    payload: &'a [u8],
}

/// Walks the kernel's list of control messages: `size_t len, int level, int type, payload`, padded to a `size_t`.
fn parts(mut control: &[u8]) -> impl Iterator<Item = Part<'_>> {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 8;
    std::iter::from_fn(move || {
        let len = usize::from_ne_bytes(control.get(..WORD)?.try_into().ok()?);
        let level = i32::from_ne_bytes(control.get(WORD..WORD + 4)?.try_into().ok()?);
        let kind = i32::from_ne_bytes(control.get(WORD + 4..HEADER)?.try_into().ok()?);
        let payload = control.get(HEADER..len)?;
        control = control.get(len.next_multiple_of(WORD)..).unwrap_or_default();
        Some(Part { level, kind, payload })
    })
}

/// Owns an open descriptor that came through `exec`: one without the close-on-exec flag.
pub(crate) fn adopt_inherited(number: u32) -> io::Result<OwnedFd> {
    let raw = RawFd::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
    if !came_through_exec(number)? {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: it is open and has no close-on-exec flag, so it was not opened by Rust code of this process, all of
    // which sets the flag, and nobody has taken it over yet, for that sets the flag too (see `inherited`).
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Reads the octal `flags:` line of proc_pid_fdinfo(5), which shows close-on-exec as `O_CLOEXEC`.
fn came_through_exec(number: u32) -> io::Result<bool> {
    const CLOEXEC: u32 = rustix::fs::OFlags::CLOEXEC.bits();
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
    Ok(flags.is_some_and(|flags| flags & CLOEXEC == 0))
}

/// Sets an option whose value is an `int`: setsockopt(2).
fn set_number(fd: BorrowedFd<'_>, level: i32, name: i32, value: u32) -> io::Result<()> {
    let value = libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX);
    let (at, len): (*const libc::c_int, libc::socklen_t) = (&raw const value, 4);
    // SAFETY: the value outlives the call, which reads as many bytes as it is told.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, at.cast(), len) })
}

/// `TCP_DEFER_ACCEPT`, in seconds: tcp(7).
pub(crate) fn set_defer_accept(fd: BorrowedFd<'_>, seconds: u32) -> io::Result<()> {
    set_number(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)
}

/// `TCP_FASTOPEN`, how many may wait half-open: tcp(7).
pub(crate) fn set_fastopen(fd: BorrowedFd<'_>, waiting_max: u32) -> io::Result<()> {
    set_number(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, waiting_max)
}

/// `SO_ATTACH_REUSEPORT_CBPF`: socket(7). The kernel copies and checks the program.
pub(crate) fn attach_steering(fd: BorrowedFd<'_>, insns: &[Insn]) -> io::Result<()> {
    let as_filter = |insn: &Insn| libc::sock_filter { code: insn.code, jt: insn.jt, jf: insn.jf, k: insn.k };
    let mut filter: Vec<libc::sock_filter> = insns.iter().map(as_filter).collect();
    let len = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    let at: *const libc::sock_fprog = &raw const program;
    let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or(0);
    let name = libc::SO_ATTACH_REUSEPORT_CBPF;
    // SAFETY: the program points to `len` instructions; both outlive the call, which only reads them.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, at.cast(), size) })
}

/// `tcpi_unacked` of `TCP_INFO`, which for a listener is the length of its accept queue: tcp(7). `None`: it listens no more.
pub(crate) fn accept_queue_len(fd: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    /// The state of a listener, which stands first (`TCP_LISTEN`).
    const LISTEN: u8 = 10;
    /// Where `tcpi_unacked` stands in `struct tcp_info`: after eight bytes and four words.
    const UNACKED: usize = 8 + 4 * 4;
    let mut facts = [0u8; UNACKED + 4];
    let mut len = libc::socklen_t::try_from(facts.len()).unwrap_or(0);
    let at: *mut u8 = facts.as_mut_ptr();
    // SAFETY: the kernel writes at most `len` bytes, which the buffer has; it cuts the structure to that.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at.cast(), &raw mut len)
    })?;
    let count = [facts[UNACKED], facts[UNACKED + 1], facts[UNACKED + 2], facts[UNACKED + 3]];
    Ok((facts[0] == LISTEN).then_some(u32::from_ne_bytes(count)))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
