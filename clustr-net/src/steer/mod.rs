//! Which queues of a group the kernel fills: classic BPF programs (`SO_ATTACH_REUSEPORT_CBPF`) as values.
//!
//! Owns the four ways to choose and their compilation. Pure: no socket, no clock; the same plan is the same program.
//! Never knows which queue is whose. Called by `queue`, which attaches what comes out.
//!
//! # What the kernel does with a program
//!
//! It runs once for each SYN or datagram, and its result is an index into the group's array. An index beyond the array
//! makes the kernel hash over *all* queues, the withheld ones too, so no program here returns one. At that moment the
//! packet's data begins behind the TCP or UDP header, hence everything is read through `SKF_NET_OFF`, from the network header
//! on. A load that fails would return 0; those here cannot, because the kernel has checked both headers before.
//!
//! | [`Steer`] | looks at | a change of the live queues moves |
//! |---|---|---|
//! | `Hash` | source address and port | any new connection; which is as well |
//! | `Random` | a random number | nothing: there is no order |
//! | `Cpu` | the CPU that takes the packet | CPUs |
//! | `Sticky` | source address | only clients of the queue that came or went |
//!
//! `Hash` and `Sticky` compute the hash themselves (Murmur3's finalizer over the words) from a seed that strangers cannot
//! know, so that nobody can aim at one queue; the hash that a network card gives is not asked for, for it may be 0. An IPv6
//! packet with extension headers counts as one from port 0.
//!
//! `Sticky` maps [`BUCKETS`] buckets to queues by rendezvous (Thaler and Ravishankar, 1998) over their keys, compiled to a tree
//! of jumps: eleven comparisons at most. With 4 queues the fullest has some 10 % more addresses than the average, with
//! [`LIVE_MAX`] there are two buckets for each.
//!
//! # Probes
//!
//! A connection from a loopback address and source port `first + i` of [`ProbePorts`] goes to index `i`, withheld or not: so a
//! question reaches the worker that it is about.
//!
//! Bound: [`INSNS_MAX`] is the kernel's. Of [`LIVE_MAX`] live queues, the most that is compiled, `Sticky` makes some 2,100
//! instructions, the others 70 if their indexes are in a row and 1,600 at the worst. Beyond that it is
//! [`SteerError::TooMany`], and the program before stays attached.
//!
//! Sources: socket(7), `reuseport_select_sock` in the kernel's net/core/sock_reuseport.c.

mod program;

use std::fmt;
use std::str::FromStr;

use crate::balance::mix;
pub use program::Insn;
use program::{Block, CPU, NET, Placed, RANDOM, Test, branch};

/// Bound: instructions of one program (`BPF_MAXINSNS`).
pub const INSNS_MAX: usize = 4096;
/// Bound: live queues of one program.
pub const LIVE_MAX: usize = 512;
/// How many shares of addresses `Sticky` has to give away.
pub const BUCKETS: u32 = 1024;

/// Where the source port is kept while a program runs.
const PORT: u32 = 0;
const TCP: u32 = 6;
const UDP: u32 = 17;

/// How the kernel chooses among live queues.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Steer {
    /// By a hash of source address and port.
    #[default]
    Hash,
    /// By chance.
    Random,
    /// By the CPU on which the packet arrives.
    Cpu,
    /// By source address alone.
    Sticky,
}

/// A queue that may be chosen.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// Its place in the kernel's array.
    pub index: u16,
    /// What its clients stick to, whatever its place: its worker's slot.
    pub key: u32,
}

/// Source ports that lead from a loopback address to a certain queue: port `first + i` to index `i`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ProbePorts {
    /// The port of index 0.
    pub first: u16,
    /// How many indexes there are.
    pub count: u16,
}

/// What to compile.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The way.
    pub steer: Steer,
    /// The queues that may be chosen, in any order.
    pub live: &'a [Target],
    /// Whatever strangers cannot know. Keep it: clients stick as long as it stays.
    pub seed: u32,
    /// Ports for probes, if there are any.
    pub probes: Option<ProbePorts>,
}

/// A program, ready to be attached.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Program(Vec<Insn>);

/// Why there is no program.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SteerError {
    /// Not one queue is live. The program before stays, says whoever attaches.
    #[error("no queue is live")]
    NoneLive,
    /// More than [`LIVE_MAX`].
    #[error("{0} queues are live, and a program has room for {LIVE_MAX}")]
    TooMany(usize),
}

impl Program {
    /// Compiles a plan.
    ///
    /// # Errors
    ///
    /// [`SteerError`]: no live queue, or too many.
    pub fn compile(plan: &Plan<'_>) -> Result<Self, SteerError> {
        let mut live = plan.live.to_vec();
        live.sort_unstable_by_key(|target| target.index);
        live.dedup_by_key(|target| target.index);
        if live.is_empty() {
            return Err(SteerError::NoneLive);
        }
        if live.len() > LIVE_MAX {
            return Err(SteerError::TooMany(live.len()));
        }
        let mut block = prelude(plan);
        block.extend(choice(plan, &live));
        debug_assert!(block.len() <= INSNS_MAX, "the bound on queues bounds the length");
        Ok(Self(block))
    }

    /// The instructions.
    #[must_use]
    pub fn insns(&self) -> &[Insn] {
        &self.0
    }
}

impl fmt::Display for Program {
    /// One line an instruction; targets of jumps are places, not distances.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(place, insn)| writeln!(f, "{}", Placed(place, *insn)))
    }
}

impl FromStr for Steer {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "hash" => Ok(Self::Hash),
            "random" => Ok(Self::Random),
            "cpu" => Ok(Self::Cpu),
            "sticky" => Ok(Self::Sticky),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Steer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hash => "hash",
            Self::Random => "random",
            Self::Cpu => "cpu",
            Self::Sticky => "sticky",
        })
    }
}

impl ProbePorts {
    /// `count` ports that no client gets by chance: outside of the ephemeral range (`net.ipv4.ip_local_port_range`, both
    /// ends included), above it if they fit, else right below.
    #[must_use]
    pub fn outside(ephemeral: (u16, u16), count: u16) -> Option<Self> {
        let above = ephemeral.1.checked_add(1).filter(|first| u16::MAX - first >= count.saturating_sub(1));
        let below = ephemeral.0.checked_sub(count).filter(|&first| first >= 1024);
        above.or(below).map(|first| Self { first, count })
    }

    /// Whether this is one of them.
    #[must_use]
    pub const fn has(&self, port: u16) -> bool {
        port >= self.first && port - self.first < self.count
    }

    /// The source port whose connections go to that index.
    #[must_use]
    pub const fn port(&self, index: u16) -> Option<u16> {
        if index < self.count { self.first.checked_add(index) } else { None }
    }
}

/// What has to be read from the packet: probes are sent their way, and `A` has the hash if one is needed.
fn prelude(plan: &Plan<'_>) -> Block {
    let hashes = matches!(plan.steer, Steer::Hash | Steer::Sticky);
    if !hashes && plan.probes.is_none() {
        return Block::new();
    }
    let mut block = vec![program::byte(NET), program::and(0xf0)];
    block.extend(branch(Test::Equals(0x60), read_v6(plan), read_v4(plan)));
    if hashes {
        block.extend(finish(plan.steer == Steer::Hash));
    }
    block
}

fn needs_port(plan: &Plan<'_>) -> bool {
    plan.probes.is_some() || plan.steer == Steer::Hash
}

fn read_v4(plan: &Plan<'_>) -> Block {
    let mut block = Block::new();
    if needs_port(plan) {
        block.extend([program::header_len_to_x(NET), program::half_from_x(NET), program::store(PORT)]);
    }
    if let Some(ports) = plan.probes {
        block.push(program::byte(NET + 12));
        block.extend(branch(Test::Equals(127), probe(ports), vec![]));
    }
    block.extend([program::word(NET + 12), program::xor(plan.seed)]);
    block
}

fn read_v6(plan: &Plan<'_>) -> Block {
    let mut block = Block::new();
    if needs_port(plan) {
        let port = || vec![program::half(NET + 40)];
        block.push(program::byte(NET + 6));
        let other = branch(Test::Equals(UDP), port(), vec![program::number(0)]);
        block.extend(branch(Test::Equals(TCP), port(), other));
        block.push(program::store(PORT));
    }
    if let Some(ports) = plan.probes {
        block.extend(if_loopback_v6(probe(ports)));
    }
    block.extend([program::word(NET + 8), program::xor(plan.seed)]);
    for at in [12, 16, 20] {
        block.extend([program::mul(0xcc9e_2d51), program::to_x(), program::word(NET + at), program::xor_x()]);
    }
    block
}

fn if_loopback_v6(inner: Block) -> Block {
    [(20, 1), (16, 0), (12, 0), (8, 0)].into_iter().fold(inner, |inner, (at, value)| {
        let mut block = vec![program::word(NET + at)];
        block.extend(branch(Test::Equals(value), inner, vec![]));
        block
    })
}

/// Returns the index that a probe's port means, or goes on. A port below the first wraps around to a large number.
fn probe(ports: ProbePorts) -> Block {
    let mut block = vec![program::recall(PORT), program::sub(ports.first.into())];
    block.extend(branch(Test::AtLeast(ports.count.into()), vec![], vec![program::ret_a()]));
    block
}

/// Murmur3's finalizer over the folded address, and the port if it counts.
fn finish(with_port: bool) -> Block {
    let mut block = Block::new();
    if with_port {
        block.extend([program::mul(0xcc9e_2d51), program::to_x(), program::recall(PORT), program::xor_x()]);
    }
    for (shift, factor) in [(16, Some(0x85eb_ca6b)), (13, Some(0xc2b2_ae35)), (16, None)] {
        block.extend([program::to_x(), program::rsh(shift), program::xor_x()]);
        block.extend(factor.map(program::mul));
    }
    block
}

/// From what `A` has to the index of a live queue.
fn choice(plan: &Plan<'_>, live: &[Target]) -> Block {
    let count = u32::try_from(live.len()).expect("at most LIVE_MAX");
    let mut block = match plan.steer {
        Steer::Hash => vec![],
        Steer::Random => vec![program::word(RANDOM)],
        Steer::Cpu => vec![program::word(CPU)],
        Steer::Sticky => {
            let mut block = vec![program::rsh(32 - BUCKETS.ilog2())];
            block.extend(tree(&bucket_runs(live, plan.seed)));
            return block;
        }
    };
    block.push(program::modulo(count));
    block.extend(tree(&position_runs(live)));
    block
}

/// What to do from a number on, up to the next entry.
type Run = (u32, Block);

/// Binary search over runs, the first of which begins at 0.
fn tree(runs: &[Run]) -> Block {
    match runs {
        [] => unreachable!("there is a live queue"),
        [(_, leaf)] => leaf.clone(),
        _ => {
            let (low, high) = runs.split_at(runs.len() / 2);
            branch(Test::AtLeast(high[0].0), tree(high), tree(low))
        }
    }
}

/// Positions among the live ones, to indexes: where these are in a row, a sum will do.
fn position_runs(live: &[Target]) -> Vec<Run> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for (position, target) in (0..).zip(live) {
        let offset = u32::from(target.index) - position;
        if runs.last().is_none_or(|(_, last)| *last != offset) {
            runs.push((position, offset));
        }
    }
    let leaf = |offset| {
        if offset == 0 { vec![program::ret_a()] } else { vec![program::add(offset), program::ret_a()] }
    };
    runs.into_iter().map(|(from, offset)| (from, leaf(offset))).collect()
}

fn bucket_runs(live: &[Target], seed: u32) -> Vec<Run> {
    let mut runs: Vec<(u32, u16)> = Vec::new();
    for bucket in 0..BUCKETS {
        let Some(owner) = live.iter().max_by_key(|target| (weight(bucket, target.key, seed), target.index))
        else {
            continue;
        };
        if runs.last().is_none_or(|(_, last)| *last != owner.index) {
            runs.push((bucket, owner.index));
        }
    }
    runs.into_iter().map(|(from, index)| (from, vec![program::ret(index.into())])).collect()
}

/// How much a queue wants a bucket. The same in every run, so that a restart of the primary moves nobody.
const fn weight(bucket: u32, key: u32, seed: u32) -> u64 {
    mix(mix(((key as u64) << 32) | bucket as u64) ^ seed as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_live_queue_and_too_many_are_no_program() {
        let plan = |live| Program::compile(&Plan { steer: Steer::Hash, live, seed: 0, probes: None });
        assert_eq!(plan(&[]), Err(SteerError::NoneLive));
        let many: Vec<_> = (0..513).map(|index| Target { index, key: index.into() }).collect();
        assert_eq!(plan(&many), Err(SteerError::TooMany(513)));
        assert!(plan(&many[..512]).is_ok());
    }

    #[test]
    fn the_longest_program_of_each_way_fits() {
        let holes: Vec<_> =
            (0..512).map(|index| Target { index: index * 2 + 1, key: index.into() }).collect();
        let probes = Some(ProbePorts { first: 61000, count: 1024 });
        for steer in [Steer::Hash, Steer::Random, Steer::Cpu, Steer::Sticky] {
            let program = Program::compile(&Plan { steer, live: &holes, seed: 7, probes }).unwrap();
            assert!(program.insns().len() <= INSNS_MAX, "{steer}: {}", program.insns().len());
        }
    }

    #[test]
    fn probe_ports_are_outside_of_the_range_that_clients_get() {
        let ports = ProbePorts::outside((32768, 60999), 512).unwrap();
        assert_eq!((ports.first, ports.port(511), ports.port(512)), (61000, Some(61511), None));
        assert_eq!(ProbePorts::outside((32768, 65535), 512).unwrap().first, 32256);
        assert_eq!(ProbePorts::outside((1024, 65535), 1), None);
        assert_eq!(ProbePorts::outside((1024, 65534), 1).unwrap().first, 65535);
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for steer in [Steer::Hash, Steer::Random, Steer::Cpu, Steer::Sticky] {
            assert_eq!(steer.to_string().parse(), Ok(steer));
        }
        assert!("least-busy".parse::<Steer>().is_err());
    }
}
