//! Where compiled code is left, and why: for the report that tells what to translate better.

use crate::key::FixedMap;

/// Why a region was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// The instruction there is the interpreter's, or its access is.
    Instruction,
    /// No region begins there.
    NoRegion,
}

/// How often regions were left to an address.
#[derive(Default)]
pub struct Profile {
    times: FixedMap<(u64, Why), (u64, Vec<u8>)>,
}

/// Addresses that are told apart before counting starts over.
const MAX_PLACES: usize = 1 << 16;

impl Profile {
    /// A region was left to `pc`. `code` are the bytes there.
    pub fn note(&mut self, pc: u64, why: Why, code: impl FnOnce() -> Vec<u8>) {
        if self.times.len() >= MAX_PLACES {
            self.times.clear();
        }
        self.times.entry((pc, why)).or_insert_with(|| (0, code())).0 += 1;
    }

    /// The `most` places where it happened most often.
    pub fn top(&self, most: usize) -> Vec<Left> {
        let left = |(&(pc, why), (times, code)): (&(u64, Why), &(u64, Vec<u8>))| Left {
            pc,
            why,
            times: *times,
            code: code.clone(),
        };
        let mut all: Vec<Left> = self.times.iter().map(left).collect();
        all.sort_by_key(|left| (std::cmp::Reverse(left.times), left.pc));
        all.truncate(most);
        all
    }
}

/// A place where regions were left.
#[derive(Clone, Debug)]
pub struct Left {
    /// Guest address.
    pub pc: u64,
    /// The reason.
    pub why: Why,
    /// How often.
    pub times: u64,
    /// The bytes at `pc`, at most 15.
    pub code: Vec<u8>,
}
