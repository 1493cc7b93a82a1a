//! Classic BPF as values: instructions, blocks, and their text.
//!
//! Owns the numbers of the instruction set that steering needs, and jumps that are always right because they come from
//! the lengths of blocks. Never runs a program. Called by `steer`.
//!
//! Sources: linux/filter.h; Documentation/networking/filter.rst, whose assembler syntax the text follows.

use std::fmt;

/// Loads from here on see the network header, wherever the packet's data begins (`SKF_NET_OFF`).
pub(super) const NET: u32 = 0xfff0_0000;
/// Loads from here on see what the kernel knows beside the packet (`SKF_AD_OFF`).
const BESIDE: u32 = 0xffff_f000;
/// The number of the CPU that handles the packet (`SKF_AD_CPU`).
pub(super) const CPU: u32 = BESIDE + 36;
/// A random number (`SKF_AD_RANDOM`).
pub(super) const RANDOM: u32 = BESIDE + 56;

const LD_W: u16 = 0x20;
const LD_H: u16 = 0x28;
const LD_B: u16 = 0x30;
const LD_H_X: u16 = 0x48;
const LD_IMM: u16 = 0x00;
const LD_MEM: u16 = 0x60;
const LDX_MSH: u16 = 0xb1;
const ST: u16 = 0x02;
const ADD: u16 = 0x04;
const SUB: u16 = 0x14;
const MUL: u16 = 0x24;
const AND: u16 = 0x54;
const RSH: u16 = 0x74;
const MOD: u16 = 0x94;
const XOR: u16 = 0xa4;
const XOR_X: u16 = 0xac;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const RET: u16 = 0x06;
const RET_A: u16 = 0x16;
const TAX: u16 = 0x07;

/// One instruction, as `struct sock_filter` has it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Insn {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip if the comparison is true.
    pub jt: u8,
    /// How many to skip if it is false.
    pub jf: u8,
    /// The number that it is done with.
    pub k: u32,
}

/// Instructions in a row. Whatever does not return goes on with what follows the block.
pub(super) type Block = Vec<Insn>;

const fn op(code: u16, k: u32) -> Insn {
    Insn { code, jt: 0, jf: 0, k }
}

/// Loads a word, a half-word or a byte at an offset.
pub(super) const fn word(at: u32) -> Insn {
    op(LD_W, at)
}

pub(super) const fn half(at: u32) -> Insn {
    op(LD_H, at)
}

pub(super) const fn byte(at: u32) -> Insn {
    op(LD_B, at)
}

/// Loads the half-word at an offset from `X`.
pub(super) const fn half_from_x(at: u32) -> Insn {
    op(LD_H_X, at)
}

/// Puts the length of the IPv4 header that begins at an offset into `X`.
pub(super) const fn header_len_to_x(at: u32) -> Insn {
    op(LDX_MSH, at)
}

pub(super) const fn number(k: u32) -> Insn {
    op(LD_IMM, k)
}

pub(super) const fn recall(place: u32) -> Insn {
    op(LD_MEM, place)
}

pub(super) const fn store(place: u32) -> Insn {
    op(ST, place)
}

pub(super) const fn add(k: u32) -> Insn {
    op(ADD, k)
}

pub(super) const fn sub(k: u32) -> Insn {
    op(SUB, k)
}

pub(super) const fn mul(k: u32) -> Insn {
    op(MUL, k)
}

pub(super) const fn and(k: u32) -> Insn {
    op(AND, k)
}

pub(super) const fn rsh(k: u32) -> Insn {
    op(RSH, k)
}

pub(super) const fn modulo(k: u32) -> Insn {
    op(MOD, k)
}

pub(super) const fn xor(k: u32) -> Insn {
    op(XOR, k)
}

pub(super) const fn xor_x() -> Insn {
    op(XOR_X, 0)
}

pub(super) const fn to_x() -> Insn {
    op(TAX, 0)
}

pub(super) const fn ret(k: u32) -> Insn {
    op(RET, k)
}

pub(super) const fn ret_a() -> Insn {
    op(RET_A, 0)
}

/// What a branch looks at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    Equals(u32),
    AtLeast(u32),
}

/// `if test { yes } else { no }`.
pub(super) fn branch(test: Test, mut yes: Block, no: Block) -> Block {
    let (code, k) = match test {
        Test::Equals(k) => (JEQ, k),
        Test::AtLeast(k) => (JGE, k),
    };
    let returns = yes.last().is_some_and(|last| matches!(last.code, RET | RET_A));
    if !returns && !no.is_empty() {
        yes.push(op(JA, length(&no)));
    }
    // A conditional jump reaches 255 instructions, an unconditional one all.
    let mut block = match u8::try_from(yes.len()) {
        Ok(jf) => vec![Insn { code, jt: 0, jf, k }],
        Err(_) => vec![Insn { code, jt: 1, jf: 0, k }, op(JA, length(&yes))],
    };
    block.extend(yes);
    block.extend(no);
    block
}

fn length(block: &[Insn]) -> u32 {
    u32::try_from(block.len()).expect("a program is far shorter")
}

/// An instruction and its place, which jumps are relative to.
pub(super) struct Placed(pub(super) usize, pub(super) Insn);

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self(place, Insn { code, jt, jf, k }) = self;
        write!(f, "{place:>4}: ")?;
        match code {
            LD_W if k == CPU => f.write_str("ld cpu"),
            LD_W if k == RANDOM => f.write_str("ld rand"),
            LD_W => write!(f, "ld [{}]", Offset(k)),
            LD_H => write!(f, "ldh [{}]", Offset(k)),
            LD_B => write!(f, "ldb [{}]", Offset(k)),
            LD_H_X => write!(f, "ldh [x + {}]", Offset(k)),
            LD_IMM => write!(f, "ld #{k}"),
            LD_MEM => write!(f, "ld M[{k}]"),
            LDX_MSH => write!(f, "ldxb 4*([{}]&0xf)", Offset(k)),
            ST => write!(f, "st M[{k}]"),
            ADD => write!(f, "add #{k}"),
            SUB => write!(f, "sub #{k}"),
            MUL => write!(f, "mul #{k:#x}"),
            AND => write!(f, "and #{k:#x}"),
            RSH => write!(f, "rsh #{k}"),
            MOD => write!(f, "mod #{k}"),
            XOR => write!(f, "xor #{k:#x}"),
            XOR_X => f.write_str("xor x"),
            TAX => f.write_str("tax"),
            JA => write!(f, "ja {}", place + 1 + k as usize),
            JEQ => write!(f, "jeq #{k}, {}, {}", place + 1 + usize::from(jt), place + 1 + usize::from(jf)),
            JGE => write!(f, "jge #{k}, {}, {}", place + 1 + usize::from(jt), place + 1 + usize::from(jf)),
            RET => write!(f, "ret #{k}"),
            RET_A => f.write_str("ret a"),
            other => write!(f, ".code {other:#x} {jt} {jf} {k}"),
        }
    }
}

struct Offset(u32);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.checked_sub(NET) {
            Some(offset) if self.0 < BESIDE => write!(f, "net+{offset}"),
            Some(_) | None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_over_more_than_a_short_jump_reaches_takes_a_long_one() {
        let short = branch(Test::Equals(1), vec![add(1); 255], vec![]);
        assert_eq!((short.len(), short[0].jf), (256, 255));
        let long = branch(Test::Equals(1), vec![add(1); 256], vec![]);
        assert_eq!((long.len(), long[0].jt, long[0].jf, long[1].k), (258, 1, 0, 256));
    }

    #[test]
    fn a_branch_that_does_not_return_skips_the_other() {
        let block = branch(Test::AtLeast(7), vec![add(1)], vec![add(2), add(3)]);
        let text: Vec<_> = block.iter().enumerate().map(|(at, insn)| Placed(at, *insn).to_string()).collect();
        assert_eq!(
            text,
            ["   0: jge #7, 1, 3", "   1: add #1", "   2: ja 5", "   3: add #2", "   4: add #3"]
        );
    }
}
