//! Classic BPF, interpreted: what the kernel is expected to do with a steering program.

use std::net::{IpAddr, SocketAddr};

use clustr_net::steer::{Insn, Program};

/// A packet as a program sees it.
pub(crate) struct Packet {
    net: Vec<u8>,
    pub(crate) cpu: u32,
    pub(crate) random: u32,
}

impl Packet {
    /// IP and transport header of what `source` sends.
    pub(crate) fn from(source: SocketAddr, protocol: u8) -> Self {
        let mut net = match source.ip() {
            IpAddr::V4(ip) => {
                let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
                header.extend(ip.octets());
                header.extend([127, 0, 0, 1]);
                header
            }
            IpAddr::V6(ip) => {
                let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
                header.extend(ip.octets());
                header.extend(std::net::Ipv6Addr::LOCALHOST.octets());
                header
            }
        };
        net.extend(source.port().to_be_bytes());
        net.extend([0; 18]);
        Self { net, cpu: 0, random: 0 }
    }

    /// The same with IPv4 options of four bytes each.
    pub(crate) fn with_v4_options(mut self, words: u8) -> Self {
        self.net[0] += words;
        self.net.splice(20..20, vec![1; usize::from(words) * 4]);
        self
    }

    fn load(&self, offset: u32, size: usize) -> Option<u32> {
        match offset {
            0xffff_f024 => return Some(self.cpu),
            0xffff_f038 => return Some(self.random),
            _ => {}
        }
        let at = offset.checked_sub(0xfff0_0000)? as usize;
        let bytes = self.net.get(at..at + size)?;
        Some(bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
    }
}

/// Runs a program; a failed load returns 0, as in the kernel.
pub(crate) fn run(program: &Program, packet: &Packet) -> u32 {
    let (mut a, mut x, mut memory, mut pc) = (0u32, 0u32, [0u32; 16], 0usize);
    loop {
        let Insn { code, jt, jf, k } = program.insns()[pc];
        pc += 1;
        let mut jump = |test: bool| pc += usize::from(if test { jt } else { jf });
        match code {
            0x20 | 0x28 | 0x30 | 0x48 => {
                let (offset, size) = match code {
                    0x20 => (k, 4),
                    0x28 => (k, 2),
                    0x30 => (k, 1),
                    _ => (k.wrapping_add(x), 2),
                };
                match packet.load(offset, size) {
                    Some(value) => a = value,
                    None => return 0,
                }
            }
            0x00 => a = k,
            0x60 => a = memory[k as usize],
            0x02 => memory[k as usize] = a,
            0xb1 => match packet.load(k, 1) {
                Some(value) => x = (value & 0xf) * 4,
                None => return 0,
            },
            0x04 => a = a.wrapping_add(k),
            0x14 => a = a.wrapping_sub(k),
            0x24 => a = a.wrapping_mul(k),
            0x54 => a &= k,
            0x74 => a >>= k,
            0x94 => a %= k,
            0xa4 => a ^= k,
            0xac => a ^= x,
            0x07 => x = a,
            0x05 => pc += k as usize,
            0x15 => jump(a == k),
            0x35 => jump(a >= k),
            0x06 => return k,
            0x16 => return a,
            other => panic!("instruction {other:#x} is none of ours"),
        }
    }
}
