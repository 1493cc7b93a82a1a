//! The seccomp filter that stops a program at `bind` and `listen`: a classic BPF program as a value.
//!
//! Owns the numbers of system calls, by architecture. Pure. Never installs anything. Called by `install`.
//!
//! Only the architecture and the number are looked at on the way to "allow", so that the kernel (since 5.11) remembers for
//! each number that it is always allowed, and does not run the program for it any more. The program never refuses and never
//! kills: what it does not know goes on.
//!
//! Sources: seccomp(2), bpf(4), seccomp_unotify(2), the kernel's syscall tables.

use std::fmt;

pub use crate::steer::Insn;

/// Loads a word of `struct seccomp_data`.
const LD_W: u16 = 0x20;
const JEQ: u16 = 0x15;
const RET: u16 = 0x06;

/// `SECCOMP_RET_USER_NOTIF` and `SECCOMP_RET_ALLOW`.
const NOTIFY: u32 = 0x7fc0_0000;
const ALLOW: u32 = 0x7fff_0000;

/// Where `struct seccomp_data` has the number, the architecture and the arguments (their lower halves, little-endian).
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// `setsockopt(_, IPPROTO_IPV6, IPV6_V6ONLY, …)`.
pub(super) const IPPROTO_IPV6: u32 = 41;
pub(super) const IPV6_V6ONLY: u32 = 26;

/// Which of the calls `socketcall(2)` stands for: net.h.
const SYS_BIND: u32 = 2;
const SYS_LISTEN: u32 = 4;
const SYS_SETSOCKOPT: u32 = 14;

/// A system-call convention that a process may use.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Arch {
    /// x86-64, with the 32-bit-pointer convention (x32) that shares its audit number.
    X86_64,
    /// 32-bit x86, under a 64-bit kernel as well.
    X86,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm, under a 64-bit kernel as well.
    Arm,
}

/// What is stopped at.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Watch {
    /// `setsockopt(IPV6_V6ONLY)` as well, where a socket cannot be looked at later (`Way::Replace`).
    pub v6_only: bool,
}

/// A watched call.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// bind(2).
    Bind,
    /// listen(2).
    Listen,
    /// setsockopt(2).
    Option,
    /// socketcall(2), which may be any of them.
    Multiplexed,
}

/// A program, ready to be installed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Filter(Vec<Insn>);

impl Arch {
    /// The conventions that processes on this machine may use; `None` where clustr does not know its system calls.
    #[must_use]
    pub const fn here() -> Option<&'static [Self]> {
        if cfg!(target_arch = "x86_64") {
            Some(&[Self::X86_64, Self::X86])
        } else if cfg!(target_arch = "aarch64") {
            Some(&[Self::Aarch64, Self::Arm])
        } else {
            None
        }
    }

    /// The one that the kernel calls by this number: `AUDIT_ARCH_…` in linux/audit.h.
    #[must_use]
    pub fn of(audit: u32) -> Option<Self> {
        [Self::X86_64, Self::X86, Self::Aarch64, Self::Arm].into_iter().find(|arch| arch.audit() == audit)
    }

    const fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Numbers and what they mean.
    const fn calls(self) -> &'static [(u32, Kind)] {
        const X32: u32 = 0x4000_0000;
        match self {
            Self::X86_64 => &[
                (49, Kind::Bind),
                (50, Kind::Listen),
                (54, Kind::Option),
                (X32 | 49, Kind::Bind),
                (X32 | 50, Kind::Listen),
                (X32 | 541, Kind::Option),
            ],
            Self::X86 => {
                &[(361, Kind::Bind), (363, Kind::Listen), (366, Kind::Option), (102, Kind::Multiplexed)]
            }
            Self::Aarch64 => &[(200, Kind::Bind), (201, Kind::Listen), (208, Kind::Option)],
            Self::Arm => &[(282, Kind::Bind), (284, Kind::Listen), (294, Kind::Option)],
        }
    }

    /// What a number means.
    #[must_use]
    pub fn kind(self, number: u32) -> Option<Kind> {
        self.calls().iter().find(|(known, _)| *known == number).map(|(_, kind)| *kind)
    }

    /// What socketcall(2) stands for.
    #[must_use]
    pub const fn multiplexed(number: u32) -> Option<Kind> {
        match number {
            SYS_BIND => Some(Kind::Bind),
            SYS_LISTEN => Some(Kind::Listen),
            SYS_SETSOCKOPT => Some(Kind::Option),
            _ => None,
        }
    }
}

impl Filter {
    /// The program for processes that use one of `archs`; calls of any other go on unseen.
    #[must_use]
    pub fn new(archs: &[Arch], watch: Watch) -> Self {
        let mut insns = vec![load(ARCH)];
        for arch in archs {
            let block = block(*arch, watch);
            insns.push(unless_equal(arch.audit(), block.len()));
            insns.extend(block);
        }
        insns.push(ret(ALLOW));
        Self(insns)
    }

    /// The instructions.
    #[must_use]
    pub fn insns(&self) -> &[Insn] {
        &self.0
    }
}

impl fmt::Display for Filter {
    /// One line an instruction; targets of jumps are places, not distances.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = |place: usize, skip: u8| place + 1 + usize::from(skip);
        self.0.iter().enumerate().try_for_each(|(place, insn)| match insn.code {
            LD_W => writeln!(f, "{place:3}: ld [{}]", insn.k),
            JEQ => {
                let (yes, no) = (target(place, insn.jt), target(place, insn.jf));
                writeln!(f, "{place:3}: jeq #{:#x}, {yes}, {no}", insn.k)
            }
            RET => writeln!(f, "{place:3}: ret #{:#x}", insn.k),
            code => writeln!(f, "{place:3}: {code:#x} #{:#x}", insn.k),
        })
    }
}

/// What is done with the calls of one convention.
fn block(arch: Arch, watch: Watch) -> Vec<Insn> {
    let mut insns = vec![load(NR)];
    for (number, kind) in arch.calls() {
        let inner = match kind {
            Kind::Bind | Kind::Listen => vec![ret(NOTIFY)],
            Kind::Option if watch.v6_only => option(),
            Kind::Option => continue,
            Kind::Multiplexed => multiplexed(watch),
        };
        insns.push(unless_equal(*number, inner.len()));
        insns.extend(inner);
    }
    insns.push(ret(ALLOW));
    insns
}

fn option() -> Vec<Insn> {
    vec![
        load(ARGS + 8),
        unless_equal(IPPROTO_IPV6, 3),
        load(ARGS + 16),
        unless_equal(IPV6_V6ONLY, 1),
        ret(NOTIFY),
        ret(ALLOW),
    ]
}

/// The arguments proper are in memory, which a filter cannot see.
fn multiplexed(watch: Watch) -> Vec<Insn> {
    let mut insns = vec![load(ARGS)];
    let options = watch.v6_only.then_some(SYS_SETSOCKOPT);
    for which in [SYS_BIND, SYS_LISTEN].into_iter().chain(options) {
        insns.extend([unless_equal(which, 1), ret(NOTIFY)]);
    }
    insns.push(ret(ALLOW));
    insns
}

const fn load(at: u32) -> Insn {
    Insn { code: LD_W, jt: 0, jf: 0, k: at }
}

const fn ret(what: u32) -> Insn {
    Insn { code: RET, jt: 0, jf: 0, k: what }
}

/// Skips so many instructions unless what was loaded is this number.
fn unless_equal(number: u32, skip: usize) -> Insn {
    let jf = u8::try_from(skip).expect("a block has some forty instructions at most");
    Insn { code: JEQ, jt: 0, jf, k: number }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Arch; 4] = [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm];

    /// What the kernel does with a program: says what it returns, and whether it looked at an argument.
    fn run(filter: &Filter, arch: u32, number: u32, args: [u32; 3]) -> (u32, bool) {
        let (mut at, mut loaded, mut looked) = (0, 0, false);
        loop {
            let insn = filter.insns()[at];
            at += 1;
            match insn.code {
                LD_W => {
                    looked |= insn.k >= ARGS;
                    loaded = match insn.k {
                        NR => number,
                        ARCH => arch,
                        at => args[usize::try_from((at - ARGS) / 8).unwrap()],
                    };
                }
                JEQ => at += usize::from(if loaded == insn.k { insn.jt } else { insn.jf }),
                RET => return (insn.k, looked),
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn bind_and_listen_stop_and_everything_else_goes_on_without_a_look_at_its_arguments() {
        let filter = Filter::new(&ALL, Watch::default());
        for arch in ALL {
            for number in (0..1000).chain(0x4000_0000..0x4000_0400) {
                let expected = match arch.kind(number) {
                    Some(Kind::Bind | Kind::Listen) => (NOTIFY, false),
                    Some(Kind::Multiplexed) => continue,
                    Some(Kind::Option) | None => (ALLOW, false),
                };
                assert_eq!(run(&filter, arch.audit(), number, [0; 3]), expected, "{arch:?} {number}");
            }
        }
        assert_eq!(run(&filter, 0xc000_00f3, 200, [0; 3]), (ALLOW, false), "an unknown convention");
    }

    #[test]
    fn one_option_stops_where_it_cannot_be_asked_for_later() {
        let filter = Filter::new(&ALL, Watch { v6_only: true });
        let plain = Filter::new(&ALL, Watch::default());
        for (arch, number) in [(Arch::X86_64, 54), (Arch::X86, 366), (Arch::Aarch64, 208), (Arch::Arm, 294)] {
            let stops = |filter, args| run(filter, arch.audit(), number, args).0 == NOTIFY;
            assert!(stops(&filter, [3, IPPROTO_IPV6, IPV6_V6ONLY]));
            assert!(!stops(&plain, [3, IPPROTO_IPV6, IPV6_V6ONLY]));
            assert!(!stops(&filter, [3, IPPROTO_IPV6, 25]) && !stops(&filter, [3, 1, IPV6_V6ONLY]));
        }
    }

    #[test]
    fn the_old_way_of_32_bit_x86_is_seen_too() {
        let filter = Filter::new(&[Arch::X86], Watch { v6_only: true });
        let stops = |which| run(&filter, Arch::X86.audit(), 102, [which, 0, 0]).0 == NOTIFY;
        let stopped: Vec<u32> = (0..21).filter(|which| stops(*which)).collect();
        assert_eq!(stopped, [SYS_BIND, SYS_LISTEN, SYS_SETSOCKOPT]);
    }
}
