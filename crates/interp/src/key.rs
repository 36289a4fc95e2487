//! What makes a compiled block the right one, and maps with that as key.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Multiplicative hashing with a fixed seed: the state may be frozen into a box.
#[derive(Default)]
pub struct FixedHasher(u64);

impl Hasher for FixedHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 29;
    }
}

/// A map that iterates in the same order every time.
pub type FixedMap<K, V> = HashMap<K, V, BuildHasherDefault<FixedHasher>>;

/// What makes a compiled block the right one; see the crate's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Guest address of the first instruction.
    pub pc: u64,
    /// Its physical address.
    pub phys: u32,
    /// Physical address of the next page if an instruction at `pc` may reach into it, else 0.
    pub next: u32,
    /// The guest may write there through this address: the block ends after a store.
    pub writable: bool,
}
