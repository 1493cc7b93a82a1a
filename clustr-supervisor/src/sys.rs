//! Every `unsafe` of this crate: the vfork-style spawn, signals that no safe wrapper asks for or hears without
//! taking them from others, the scheduling policy of a thread, and local time.
//!
//! Owns the few calls that cannot be made through `nix` or `rustix`. Never allocates between clone and exec.
//! Called by `process`, `signals`, `relay` and `recycling` only.
//!
//! The spawn is what glibc's `posix_spawn` does (clone(2) with `CLONE_VM | CLONE_VFORK`), with what it lacks: the
//! pidfd from the clone itself, `close_range`, a restored descriptor limit, and the failed step's name and errno,
//! which the child simply writes into our memory, for it shares it until its exec.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use clustr_net::activation::PidEntry;
use clustr_net::intercept::Installer;

use crate::config::TimeOfDay;
use crate::recycling::Zone;

/// The stack that a child uses until its exec: its deepest call is execve(2) itself.
const STACK_BYTES: usize = 64 * 1024;

/// The highest signal number of Linux, real-time signals included: signal(7).
const SIGNAL_MAX: c_int = 64;

/// The size of the kernel's signal set: rt_sigaction(2).
const SIGSET_BYTES: usize = 8;

/// Everything a child needs, made before it exists.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    /// The program's path.
    pub(crate) path: &'a CStr,
    /// Arguments, the program's own name first.
    pub(crate) argv: &'a [CString],
    /// The whole environment, `NAME=value`.
    pub(crate) envp: &'a [&'a CStr],
    /// Entries more: the child writes its own pid into them.
    pub(crate) pid_entries: &'a mut [PidEntry],
    /// Where to go before the exec.
    pub(crate) cwd: Option<&'a CStr>,
    /// What the child has as descriptor 0, 1, 2, …; nothing else stays open.
    pub(crate) fds: &'a [BorrowedFd<'a>],
    /// The soft and hard limit of descriptors.
    pub(crate) nofile: (u64, u64),
    /// What has its `bind` and `listen` watched.
    pub(crate) installer: Option<&'a Installer>,
    /// Whether the kernel kills it when the calling thread ends.
    pub(crate) dies_with_us: bool,
}

/// The step that failed in the child, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildFault {
    /// Which step.
    pub(crate) step: Step,
    /// The errno.
    pub(crate) errno: c_int,
}

/// The steps of a child before it is the program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    ProcessGroup,
    Watch,
    Descriptors,
    WorkingDirectory,
    Exec,
}

/// Why there is no child.
#[derive(Debug)]
pub(crate) enum SpawnFault {
    /// clone(2) failed.
    Clone(io::Error),
    /// A step in the child failed; the child is a zombie that the caller reaps through the pidfd.
    Child(OwnedFd, ChildFault),
}

/// What the child's function sees: raw pointers into memory that the parent keeps alive.
struct Stage<'a> {
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    /// Each is one of `envp`.
    pid_entries: *mut PidEntry,
    pid_entries_len: usize,
    cwd: *const c_char,
    fds: *const c_int,
    fds_len: c_int,
    nofile: libc::rlimit,
    installer: Option<&'a Installer>,
    /// Our pid, if it shall not outlive us.
    lives_with: Option<libc::pid_t>,
    fault: Option<ChildFault>,
}

/// Starts a child; returns its pid and pidfd once it has become the program.
///
/// Every descriptor in `fds` must have a number of at least `fds.len()`, so that placing one never overwrites
/// another that is still to be placed: [`crate::process::spawn`] sees to that.
pub(crate) fn spawn(prepared: Prepared<'_>) -> Result<(u32, OwnedFd), SpawnFault> {
    let (pid_entries, pid_entries_len) = (prepared.pid_entries.as_mut_ptr(), prepared.pid_entries.len());
    let own = (0..pid_entries_len).map(|place| pid_entries.wrapping_add(place).cast_const().cast());
    let argv: Vec<*const c_char> = pointers(prepared.argv.iter().map(|word| word.as_ptr()));
    let envp: Vec<*const c_char> = pointers(prepared.envp.iter().map(|entry| entry.as_ptr()).chain(own));
    let fds: Vec<c_int> = prepared.fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut stage = Stage {
        path: prepared.path.as_ptr(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        pid_entries,
        pid_entries_len,
        cwd: prepared.cwd.map_or(ptr::null(), CStr::as_ptr),
        fds: fds.as_ptr(),
        fds_len: c_int::try_from(fds.len()).unwrap_or(0),
        nofile: libc::rlimit { rlim_cur: prepared.nofile.0, rlim_max: prepared.nofile.1 },
        installer: prepared.installer,
        lives_with: prepared.dies_with_us.then(|| std::process::id().cast_signed()),
        fault: None,
    };
    let (pid, pidfd) = with_signals_blocked(|| clone_and_wait(&mut stage)).map_err(SpawnFault::Clone)?;
    match stage.fault {
        Some(fault) => Err(SpawnFault::Child(pidfd, fault)),
        None => Ok((pid, pidfd)),
    }
}

/// A null-terminated array of C strings.
fn pointers(strings: impl Iterator<Item = *const c_char>) -> Vec<*const c_char> {
    strings.chain([ptr::null()]).collect()
}

/// Runs the child on a stack of its own; returns when it has called exec or ended.
fn clone_and_wait(stage: &mut Stage<'_>) -> io::Result<(u32, OwnedFd)> {
    // Not filled with zeros: of its pages, a child touches the highest few.
    let mut stack: Vec<u128> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    let top: *mut c_void = stack.spare_capacity_mut().as_mut_ptr_range().end.cast();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: c_int = -1;
    let argument: *mut c_void = ptr::from_mut(stage).cast();
    // SAFETY: the stack is ours, aligned to 16 and outlives the call, because CLONE_VFORK returns only when the
    // child has left it by exec or _exit; `stage` likewise; `child` calls async-signal-safe functions only.
    let pid = unsafe { libc::clone(child, top, flags, argument, ptr::from_mut(&mut pidfd)) };
    let pid = u32::try_from(pid).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the clone succeeded, so the kernel has just made this descriptor for us (CLONE_PIDFD).
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((pid, pidfd))
}

/// The child shares our memory until its exec, so no signal handler of ours may run in it.
fn with_signals_blocked<T>(act: impl FnOnce() -> T) -> T {
    let before = set_mask(&full_mask());
    let result = act();
    set_mask(&before);
    result
}

fn full_mask() -> libc::sigset_t {
    let mut set = empty_mask();
    // SAFETY: `set` is a valid signal set that we own.
    unsafe { libc::sigfillset(&raw mut set) };
    set
}

fn empty_mask() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset(3) initialises the whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: it was initialised by the line above.
    unsafe { set.assume_init() }
}

/// Sets this thread's signal mask and returns the one before.
fn set_mask(mask: &libc::sigset_t) -> libc::sigset_t {
    let mut before = empty_mask();
    // SAFETY: both sets are valid for the call; SIG_SETMASK with valid pointers cannot fail.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, &raw mut before) };
    before
}

/// The new process, until it is the program. Ends by exec, or by `_exit` with the fault written down.
extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the `Stage` of `spawn`, which waits (CLONE_VFORK) and does not touch it meanwhile.
    let stage = unsafe { &mut *argument.cast::<Stage<'_>>() };
    let (step, errno) = become_program(stage);
    stage.fault = Some(ChildFault { step, errno });
    127
}

/// Walks through the steps; returns only at the first one that fails.
fn become_program(stage: &Stage<'_>) -> (Step, c_int) {
    // SAFETY: setpgid(2) takes numbers only.
    if unsafe { libc::setpgid(0, 0) } != 0 {
        return (Step::ProcessGroup, errno());
    }
    default_dispositions();
    // Its channel is closed with the other descriptors.
    if let Some(Err(error)) = stage.installer.map(Installer::install) {
        return (Step::Watch, error.errno());
    }
    if !place_descriptors(stage) {
        return (Step::Descriptors, errno());
    }
    // SAFETY: the limit is a valid value; the call copies it. A failure leaves the raised limit, which is no fault.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const stage.nofile) };
    // SAFETY: `cwd` is null or a C string that the parent keeps alive.
    if !stage.cwd.is_null() && unsafe { libc::chdir(stage.cwd) } != 0 {
        return (Step::WorkingDirectory, errno());
    }
    if !stage.lives_with.is_none_or(die_with) {
        return (Step::Exec, libc::ESRCH);
    }
    set_mask(&empty_mask());
    write_pid(stage);
    // SAFETY: path, argv and envp are null-terminated and kept alive by the parent.
    unsafe { libc::execve(stage.path, stage.argv, stage.envp) };
    (Step::Exec, errno())
}

/// Has the kernel kill this process when the thread that has made it ends: prctl(2). Says whether its process still lives: an
/// end that came before would not be heard of.
fn die_with(parent: libc::pid_t) -> bool {
    let (signal, none): (libc::c_ulong, libc::c_ulong) = (libc::SIGKILL as _, 0);
    // SAFETY: prctl(2) takes numbers only here; with a valid signal it cannot fail.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, none, none, none) };
    // SAFETY: getppid(2) takes nothing and cannot fail.
    unsafe { libc::getppid() == parent }
}

/// `LISTEN_PID` and `WATCHDOG_PID` name the process that is meant, which nobody else can know before it exists.
fn write_pid(stage: &Stage<'_>) {
    // SAFETY: the entries are the parent's, which keeps them alive and does not touch them while it waits for us
    // (CLONE_VFORK); the pointers in `envp` are made of this one.
    let entries = unsafe { std::slice::from_raw_parts_mut(stage.pid_entries, stage.pid_entries_len) };
    // SAFETY: getpid(2) takes nothing and cannot fail.
    let pid = unsafe { libc::getpid() }.unsigned_abs();
    entries.iter_mut().for_each(|entry| entry.write(pid));
}

/// Ignored signals stay ignored across exec(2), so every disposition is put back. Asked of the kernel, because the C
/// library keeps its own two signals from us, which a parent may have left ignored all the same.
fn default_dispositions() {
    // The kernel's `struct sigaction` is shorter than this on every architecture, and all zero means SIG_DFL.
    let default = [0u64; 8];
    for signal in 1..=SIGNAL_MAX {
        // SAFETY: `default` is a valid action; for SIGKILL and SIGSTOP the call fails harmlessly. CLONE_VM without
        // CLONE_SIGHAND: the parent's dispositions are not touched.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const default, 0usize, SIGSET_BYTES) };
    }
}

/// Puts descriptors at 0, 1, 2, … and closes everything above them.
fn place_descriptors(stage: &Stage<'_>) -> bool {
    for target in 0..stage.fds_len {
        // SAFETY: `fds` has `fds_len` entries.
        let place = unsafe { stage.fds.add(usize::try_from(target).unwrap_or(0)) };
        // SAFETY: the entry is inside the array, which the parent keeps alive.
        let source = unsafe { *place };
        // SAFETY: dup2(2) takes numbers only; it clears close-on-exec on the target.
        if unsafe { libc::dup2(source, target) } < 0 {
            return false;
        }
    }
    let first = libc::c_uint::try_from(stage.fds_len).unwrap_or(0);
    // SAFETY: close_range(2) takes numbers only; the child has a descriptor table of its own (no CLONE_FILES). Where
    // it is missing (before Linux 5.9), close-on-exec still closes all that is ours.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    true
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Whether this process was started with the signal ignored, as nohup(1) does with SIGHUP.
pub(crate) fn is_ignored(signal: c_int) -> bool {
    handler(signal) == Some(libc::SIG_IGN)
}

/// Whether a signal has its default disposition.
#[cfg(test)]
pub(crate) fn is_default(signal: c_int) -> bool {
    handler(signal) == Some(libc::SIG_DFL)
}

/// Gives a signal its default disposition: an ignored SIGCHLD would make exits unknowable (wait(2)).
pub(crate) fn set_default(signal: c_int) {
    // SAFETY: SIG_DFL is a valid disposition for every catchable signal.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Has a signal relayed, if nobody in this process hears or ignores it.
pub(crate) fn relay(signal: c_int) {
    let ours: extern "C" fn(c_int) = on_signal;
    if handler(signal) != Some(libc::SIG_DFL) {
        return;
    }
    // SAFETY: all zero is a valid `sigaction` with an empty mask.
    let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
    action.sa_sigaction = ours as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the action is valid, and `on_signal` calls async-signal-safe functions only.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}

/// Puts back what was there before [`relay`], unless somebody has taken the signal over since.
pub(crate) fn stop_relaying(signal: c_int) {
    let ours: extern "C" fn(c_int) = on_signal;
    if handler(signal) == Some(ours as libc::sighandler_t) {
        set_default(signal);
    }
}

/// The handler: writes the signal's number to all who listen. Keeps `errno` for whom it has interrupted.
extern "C" fn on_signal(signal: c_int) {
    // SAFETY: the address of this thread's errno is always valid.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above; only this thread uses it.
    let before = unsafe { *errno };
    crate::relay::pass_on(signal);
    // SAFETY: as above.
    unsafe { *errno = before };
}

fn handler(signal: c_int) -> Option<libc::sighandler_t> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; `action` is large enough for the answer.
    let result = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all-zero is a valid `sigaction` value, and the kernel has filled it in where the call succeeded.
    let action = unsafe { action.assume_init() };
    (result == 0).then_some(action.sa_sigaction)
}

/// Whether this thread has the policy that every thread has by default: sched_getscheduler(2).
pub(crate) fn is_ordinarily_scheduled() -> bool {
    // SAFETY: the call takes a number only, 0 for the calling thread.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
}

/// Gives this thread `SCHED_BATCH`, or the ordinary policy; says whether the kernel did so: sched_setscheduler(2).
pub(crate) fn schedule_as_batch(batch: bool) -> bool {
    let policy = if batch { libc::SCHED_BATCH } else { libc::SCHED_OTHER };
    // The kernel's `struct sched_param`: a priority, which these policies do not have.
    let priority: c_int = 0;
    // SAFETY: the pointer is to a value that outlives the call, which copies it.
    unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) == 0 }
}

/// The zone of this process: tzset(3).
pub(crate) const fn zone() -> LocalZone {
    LocalZone
}

/// Local time, as the environment and the system say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalZone;

impl Zone for LocalZone {
    fn date(&self, unix_s: i64) -> Option<(i32, i32, i32)> {
        let mut local = midnight((1970, 1, 1));
        // SAFETY: both pointers are to values that outlive the call, which fills in the second.
        let filled = unsafe { libc::localtime_r(&raw const unix_s, &raw mut local) };
        (!filled.is_null()).then_some((local.tm_year + 1900, local.tm_mon + 1, local.tm_mday))
    }

    fn moment(&self, date: (i32, i32, i32), time: TimeOfDay) -> Option<i64> {
        let mut local = midnight(date);
        local.tm_hour = time.hour().into();
        local.tm_min = time.minute().into();
        // SAFETY: the pointer is to a value that outlives the call, which puts it into its usual form.
        let moment = unsafe { libc::mktime(&raw mut local) };
        // -1 is an error, or a second before 1970.
        (moment != -1).then_some(moment)
    }
}

/// The beginning of a day, whether or not summer time is in force.
const fn midnight((year, month, day): (i32, i32, i32)) -> libc::tm {
    libc::tm {
        tm_sec: 0,
        tm_min: 0,
        tm_hour: 0,
        tm_mday: day,
        tm_mon: month - 1,
        tm_year: year - 1900,
        tm_wday: 0,
        tm_yday: 0,
        tm_isdst: -1,
        tm_gmtoff: 0,
        tm_zone: ptr::null(),
    }
}

unsafe extern "C" {
    /// Where the executable begins in memory, and where its code ends: end(3), and the linker's own name.
    static __executable_start: u8;
    static etext: u8;
}

/// Unmaps the pages of the executable's code, which come back from the page cache, one by one, when they are needed:
/// madvise(2). What only a start needs, as the reading of arguments, is most of it.
pub(crate) fn forget_code() {
    let page = rustix::param::page_size();
    let first = (&raw const __executable_start).addr().next_multiple_of(page);
    let end = (&raw const etext).addr() / page * page;
    let start = ptr::without_provenance_mut::<c_void>(first);
    // SAFETY: the range is this executable's own headers, constants and code, private mappings of a file that nothing writes
    // to, neither through these pages (they are read-only, relocations lie behind them) nor otherwise (ETXTBSY): what is
    // dropped is what is read again. A failure leaves everything as it is.
    unsafe { libc::madvise(start, end.saturating_sub(first), libc::MADV_DONTNEED) };
}
