//! What a stopped thread was about to do: a system call's number and arguments, understood.
//!
//! Owns the meaning of arguments. Pure: memory is read by the caller. Called by `responder`.

use super::filter::{Arch, IPPROTO_IPV6, IPV6_V6ONLY, Kind};

/// A watched call, with its arguments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Call {
    /// `bind(fd, at, len)`.
    Bind { fd: u32, at: u64, len: u32 },
    /// `listen(fd, backlog)`.
    Listen { fd: u32, backlog: i32 },
    /// `setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, at, …)`.
    V6Only { fd: u32, at: u64 },
}

/// Understands a call; `None`: it is none of ours, or its arguments cannot be read. `words` reads 32-bit words out of the
/// caller's memory.
pub(super) fn understand(
    audit_arch: u32,
    number: u32,
    args: [u64; 6],
    words: impl Fn(u64) -> Option<[u32; 5]>,
) -> Option<Call> {
    let arch = Arch::of(audit_arch)?;
    match arch.kind(number)? {
        Kind::Multiplexed => {
            let inner = words(args[1])?;
            let mut wide = [0; 6];
            wide.iter_mut().zip(inner).for_each(|(wide, narrow)| *wide = narrow.into());
            plain(Arch::multiplexed(low(args[0]))?, wide)
        }
        kind @ (Kind::Bind | Kind::Listen | Kind::Option) => plain(kind, args),
    }
}

fn plain(kind: Kind, args: [u64; 6]) -> Option<Call> {
    let fd = low(args[0]);
    match kind {
        Kind::Bind => Some(Call::Bind { fd, at: args[1], len: low(args[2]) }),
        Kind::Listen => Some(Call::Listen { fd, backlog: low(args[1]).cast_signed() }),
        Kind::Option if (low(args[1]), low(args[2])) == (IPPROTO_IPV6, IPV6_V6ONLY) => {
            Some(Call::V6Only { fd, at: args[3] })
        }
        Kind::Option | Kind::Multiplexed => None,
    }
}

/// An `int` is the lower half of its register; what the upper one has means nothing.
#[expect(clippy::cast_possible_truncation, reason = "the kernel does the same")]
const fn low(arg: u64) -> u32 {
    arg as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86_64: u32 = 0xc000_003e;
    const X86: u32 = 0x4000_0003;

    #[test]
    fn arguments_are_understood_in_every_convention() {
        let none = |_| None;
        let bind = Some(Call::Bind { fd: 3, at: 0x7fff_0000_1000, len: 16 });
        assert_eq!(understand(X86_64, 49, [3, 0x7fff_0000_1000, 16, 0, 0, 0], none), bind);
        let dirty = [0xdead_0000_0003, 0xdead_ffff_ffff, 0, 0, 0, 0];
        assert_eq!(understand(X86_64, 50, dirty, none), Some(Call::Listen { fd: 3, backlog: -1 }));
        let words = |at| (at == 0x1000).then_some([4, 128, 0, 0, 0]);
        let listen = Some(Call::Listen { fd: 4, backlog: 128 });
        assert_eq!(understand(X86, 102, [4, 0x1000, 0, 0, 0, 0], words), listen);
        let option = |_| Some([5, 41, 26, 0x2000, 4]);
        let v6_only = Some(Call::V6Only { fd: 5, at: 0x2000 });
        assert_eq!(understand(X86, 102, [14, 0x1000, 0, 0, 0, 0], option), v6_only);
        assert_eq!(understand(0xc000_00b7, 208, [5, 41, 26, 0x2000, 4, 0], none), v6_only);
    }

    #[test]
    fn what_is_not_ours_or_not_readable_is_nothing() {
        assert_eq!(understand(X86_64, 1, [0; 6], |_| None), None);
        assert_eq!(understand(0xc000_00f3, 200, [0; 6], |_| None), None);
        assert_eq!(understand(X86, 102, [2, 0x1000, 0, 0, 0, 0], |_| None), None);
        assert_eq!(understand(X86, 102, [1, 0x1000, 0, 0, 0, 0], |_| Some([0; 5])), None);
    }
}
