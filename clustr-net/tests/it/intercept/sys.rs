//! Steps of a new process that std offers as unsafe, or not at all.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;

const DENY: u32 = 0x0005_0000;
const ALLOW: u32 = 0x7fff_0000;

/// Has `act` done between fork and exec.
pub(crate) fn before_exec(
    command: &mut Command,
    act: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: what the tests do there makes system calls and neither allocates nor locks, on the way that succeeds.
    unsafe { command.pre_exec(act) };
}

/// What Docker's default profile does to who looks at other processes: EPERM.
pub(crate) fn refuse_like_docker() -> io::Result<()> {
    let calls = [libc::SYS_pidfd_getfd, libc::SYS_process_vm_readv, libc::SYS_unshare];
    refuse(&calls.map(|call| (u32::try_from(call).unwrap_or(0), libc::EPERM)))
}

/// No `seccomp(2)` from now on: ENOSYS.
pub(crate) fn refuse_notification() -> io::Result<()> {
    refuse(&[(u32::try_from(libc::SYS_seccomp).unwrap_or(0), libc::ENOSYS)])
}

/// A filter that has these calls fail.
fn refuse(calls: &[(u32, i32)]) -> io::Result<()> {
    let insn = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut program = [insn(0, 0, 0); 16];
    program[0] = insn(0x20, 0, 0);
    let mut len = 1;
    for (call, errno) in calls {
        program[len] = insn(0x15, 1, *call);
        program[len + 1] = insn(0x06, 0, DENY | errno.cast_unsigned());
        len += 2;
    }
    program[len] = insn(0x06, 0, ALLOW);
    let prog = libc::sock_fprog { len: u16::try_from(len + 1).unwrap_or(0), filter: program.as_mut_ptr() };
    // SAFETY: prctl(2) takes numbers only here.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program points to `len` instructions and outlives the call, which copies them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const prog) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
