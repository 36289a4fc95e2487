//! How a box and a host that translates hot code speak with each other, through memory alone: layouts and the encoding of
//! requests, both ends.
//!
//! The guest program keeps one [`Desk`] at a fixed place, exported as the Wasm global `boxer-desk`. A host that can
//! translate sets [`Field::Listening`] before the box starts; elsewhere it stays 0 and nothing of this happens. The box
//! then calls WASI's `sched_yield` between steps while it has requests or waits for answers: during that call the host
//! reads the requests and writes the answers. What compiled code needs while it runs lies in [`Shared`].
#![allow(unsafe_code)] // a large structure of zeros is made in place

use core::mem::offset_of;
use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};
use std::collections::BTreeSet;

/// Version of everything in this file. A host leaves a box of another one alone.
pub const VERSION: u32 = 7;

/// Guest instructions in regions between two entries of the tally.
pub const TALLY: i64 = 20_000;

/// Most entries of the tally.
pub const MAX_TALLY: usize = 1 << 18;

/// Most entries of the heat between two calls.
pub const MAX_HEAT: usize = 1 << 12;

macro_rules! desk {
    ($($(#[$doc:meta])* $name:ident $field:ident;)*) => {
        /// The desk: little-endian words in linear memory.
        #[repr(C)]
        pub struct Desk { $($(#[$doc])* pub $name: AtomicU32,)* }

        /// A word of [`Desk`], by number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Field { $($(#[$doc])* $field),* }

        impl Desk {
            /// Nothing but the version.
            pub const fn new() -> Desk {
                let mut desk = Desk { $($name: AtomicU32::new(0)),* };
                desk.version = AtomicU32::new(VERSION);
                desk
            }
        }

        $(const _: () = assert!(offset_of!(Desk, $name) == Field::$field.offset() as usize);)*
    };
}
desk! {
    /// [`VERSION`].
    version Version;
    /// The host writes 1 before it calls `_start`.
    listening Listening;
    /// Address of the `ir::Cpu`.
    cpu Cpu;
    /// Address of the lookaside table for reads.
    read_table ReadTable;
    /// Address of the lookaside table for writes.
    write_table WriteTable;
    /// Address of the [`Shared`].
    shared Shared;
    /// Index in the function table of the function that runs one op.
    helper Helper;
    /// The processor that the programs see: 2 or 3 (x86-64-v2, -v3).
    level Level;
    /// Address of the requests.
    requests RequestsPtr;
    /// Their length in 64-bit words; the guest takes them back after the call.
    requests_len RequestsLen;
    /// Address of a buffer for [`Install`]s.
    installs InstallsPtr;
    /// How many it holds.
    installs_cap InstallsCap;
    /// How many the host has written; the guest sets it to 0.
    installs_len InstallsLen;
    /// The host writes how many samples must fall on a block until it is asked for, at least 1.
    threshold Threshold;
    /// The host writes how many interpreted guest instructions lie between two samples, at least 1.
    sample Sample;
    /// Guest instructions executed so far, low half.
    retired Retired;
    /// High half.
    retired_high RetiredHigh;
    /// How many of them in regions, low half.
    in_regions InRegions;
    /// High half.
    in_regions_high InRegionsHigh;
    /// The host writes 1 before it calls `_start` if it wants the tally.
    tally Tally;
    /// Address of the tally: ids of regions, one for each [`TALLY`] instructions that ran in regions.
    tally_ptr TallyPtr;
    /// Their number, at most [`MAX_TALLY`].
    tally_len TallyLen;
    /// Address of the heat: ids of requests without an answer, one for each sample that fell on their blocks meanwhile.
    heat HeatPtr;
    /// Their number, at most [`MAX_HEAT`]; the guest takes them back after the call.
    heat_len HeatLen;
}

impl Default for Desk {
    fn default() -> Self {
        Desk::new()
    }
}

impl Field {
    /// Offset from the desk's address, in bytes.
    pub const fn offset(self) -> u32 {
        self as u32 * 4
    }
}

/// An answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Install {
    /// [`Request::id`].
    pub id: u32,
    /// Index of the compiled function in the box's table; 0: there is none; [`FORGET`].
    pub slot: u32,
}

/// Value of [`Install::slot`]: there is none yet, because it was not hot enough; it may be asked for again.
pub const FORGET: u32 = u32::MAX;

/// Most requests that a host keeps waiting until they are hot enough.
pub const MAX_PENDING: usize = 2048;

/// Entries of [`Shared::jumps`], as a power of two.
const JUMP_BITS: u32 = 16;
/// Entries of [`Shared::jumps`].
pub const JUMPS: usize = 1 << JUMP_BITS;
/// Spreads addresses over a cache of jumps (Fibonacci hashing: 2^64 divided by the golden ratio). Functions begin at multiples
/// of 16, and many tables of one size lie behind each other: without it most of them meet in a few places.
pub const JUMP_FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
/// How far [`JUMP_FACTOR`]'s product is shifted right for the index.
pub const JUMP_SHIFT: u32 = 64 - JUMP_BITS;

/// What compiled code and the interpreter share while either runs.
#[repr(C)]
pub struct Shared {
    /// Guest instructions left; compiled code subtracts and leaves when it is negative.
    pub fuel: AtomicI64,
    /// How a region was left: 0, or [`INTERPRET`].
    pub leave: AtomicU32,
    /// Epoch of links: entries of `jumps` with another one do not hold.
    pub epoch: AtomicU32,
    /// Where regions are, by [`jump_index`] of their root.
    pub jumps: [Jump; JUMPS],
}

/// How deep the calls of regions may nest, as the interpreter tells each that it enters: a frame may take some KiB of the
/// host's stack.
pub const DEPTH: i32 = 256;

/// Value of [`Shared::leave`]: the instruction at the returned address must be interpreted.
pub const INTERPRET: u32 = 1;

/// See [`Shared::jumps`].
#[repr(C)]
pub struct Jump {
    /// Guest address.
    pub pc: AtomicU64,
    /// Index in the function table.
    pub slot: AtomicU32,
    /// Epoch of links in which that holds; 0 in none.
    pub epoch: AtomicU32,
}

/// Spreads addresses over `n` places, a power of two from 2 on.
pub const fn spread(pc: u64, n: u64) -> u64 {
    pc.wrapping_mul(JUMP_FACTOR) >> (64 - n.trailing_zeros())
}

/// Place of `pc` in [`Shared::jumps`].
pub const fn jump_index(pc: u64) -> usize {
    spread(pc, JUMPS as u64) as usize
}

/// Offsets of [`Shared`]'s fields.
pub mod shared {
    use super::{Jump, Shared, offset_of};
    /// [`Shared::fuel`].
    pub const FUEL: u64 = offset_of!(Shared, fuel) as u64;
    /// [`Shared::leave`].
    pub const LEAVE: u64 = offset_of!(Shared, leave) as u64;
    /// [`Shared::epoch`].
    pub const EPOCH: u64 = offset_of!(Shared, epoch) as u64;
    /// [`Shared::jumps`].
    pub const JUMPS: u64 = offset_of!(Shared, jumps) as u64;
    /// Size of a [`Jump`].
    pub const JUMP_SIZE: u64 = size_of::<Jump>() as u64;
    /// [`Jump::pc`].
    pub const JUMP_PC: u64 = offset_of!(Jump, pc) as u64;
    /// [`Jump::slot`].
    pub const JUMP_SLOT: u64 = offset_of!(Jump, slot) as u64;
    /// [`Jump::epoch`].
    pub const JUMP_EPOCH: u64 = offset_of!(Jump, epoch) as u64;
    const _: () = assert!(FUEL == 0 && LEAVE == 8 && EPOCH == 12 && JUMPS == 16 && JUMP_SIZE == 16);
}

impl Shared {
    /// No region is known.
    pub fn new() -> Box<Shared> {
        // SAFETY: all fields are numbers. (It is too large to be made on the stack.)
        unsafe { Box::new_zeroed().assume_init() }
    }
}

/// Most blocks, and most targets of indirect jumps, in one request.
pub const MAX_BLOCKS: usize = 400;

/// What the box wants to have translated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// What the answer is for.
    pub id: u32,
    /// Guest address of the block that the region begins with; one of `blocks`.
    pub root: u64,
    /// The blocks, each known by its first instruction.
    pub blocks: Vec<BlockAt>,
    /// Addresses of those blocks that indirect jumps may reach.
    pub indirect: Vec<u64>,
    /// Addresses of those blocks where the region may be entered besides its root: where its calls return to.
    pub entries: Vec<u64>,
}

/// Where a block begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockAt {
    /// Guest address.
    pub pc: u64,
    /// Physical address.
    pub phys: u32,
    /// Physical address of the page after, if an instruction at `pc` may reach into it, else 0.
    pub next: u32,
}

impl Request {
    /// Appends the encoding, in words: id, root, number of blocks, for each of them `pc` and `phys | next << 32`, number
    /// of indirect targets, those, number of entries, those.
    pub fn encode(&self, words: &mut Vec<u64>) {
        words.extend([u64::from(self.id), self.root, self.blocks.len() as u64]);
        for block in &self.blocks {
            words.extend([block.pc, u64::from(block.phys) | u64::from(block.next) << 32]);
        }
        for addresses in [&self.indirect, &self.entries] {
            words.push(addresses.len() as u64);
            words.extend(addresses);
        }
    }

    /// Takes one request off the front of `words`; `None` if they do not begin with a well-formed one.
    pub fn decode(words: &mut impl Iterator<Item = u64>) -> Option<Request> {
        let id = u32::try_from(words.next()?).ok()?;
        let root = words.next()?;
        let count = |n: u64| usize::try_from(n).ok().filter(|n| *n <= MAX_BLOCKS);
        let mut blocks = Vec::new();
        for _ in 0..count(words.next()?)? {
            let (pc, place) = (words.next()?, words.next()?);
            blocks.push(BlockAt { pc, phys: place as u32, next: (place >> 32) as u32 });
        }
        let known: BTreeSet<u64> = blocks.iter().map(|block| block.pc).collect();
        let (mut indirect, mut entries) = (Vec::new(), Vec::new());
        for addresses in [&mut indirect, &mut entries] {
            for _ in 0..count(words.next()?)? {
                addresses.push(words.next()?);
            }
        }
        indirect.retain(|target| known.contains(target));
        // The answer counts them: one that is no block makes the request a mistake.
        if !entries.iter().all(|entry| known.contains(entry)) {
            return None;
        }
        known.contains(&root).then_some(Request { id, root, blocks, indirect, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let block = |pc, phys, next| BlockAt { pc, phys, next };
        Request {
            id: 7,
            root: 0x40_1000,
            blocks: vec![block(0x40_1000, 0x9000, 0), block(0x40_1FFE, 0x9FFE, 0xFFFF_F000)],
            indirect: vec![0x40_1FFE],
            entries: vec![0x40_1FFE],
        }
    }

    fn decode(words: &[u64]) -> Option<Request> {
        Request::decode(&mut words.iter().copied())
    }

    #[test]
    fn requests_survive_their_encoding_one_after_another() {
        let mut words = Vec::new();
        let second = Request { id: 8, indirect: vec![], ..request() };
        request().encode(&mut words);
        second.encode(&mut words);
        let mut words = words.into_iter();
        assert_eq!(Request::decode(&mut words), Some(request()));
        assert_eq!(Request::decode(&mut words), Some(second));
        assert_eq!(Request::decode(&mut words), None);
    }

    #[test]
    fn every_cut_and_every_wild_count_is_refused() {
        let mut words = Vec::new();
        request().encode(&mut words);
        for len in 0..words.len() {
            assert_eq!(decode(&words[..len]), None, "cut to {len} words");
        }
        for (at, wild) in [(0, 1 << 32), (2, MAX_BLOCKS as u64 + 1), (2, u64::MAX), (7, u64::MAX)] {
            let mut damaged = words.clone();
            damaged[at] = wild;
            assert_eq!(decode(&damaged), None, "word {at}");
        }
    }

    #[test]
    fn a_root_outside_is_refused_and_targets_outside_are_dropped() {
        let mut words = Vec::new();
        Request { root: 5, ..request() }.encode(&mut words);
        assert_eq!(decode(&words), None);
        words.clear();
        Request { entries: vec![5], ..request() }.encode(&mut words);
        assert_eq!(decode(&words), None);
        words.clear();
        Request { indirect: vec![5, 0x40_1000], ..request() }.encode(&mut words);
        assert_eq!(decode(&words).map(|r| r.indirect), Some(vec![0x40_1000]));
    }
}
