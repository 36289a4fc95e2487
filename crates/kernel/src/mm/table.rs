//! The page table of one address space: virtual page number → frame and permissions.

use std::collections::BTreeMap;

use mem::Frame;

/// Pages in one leaf table (4 MiB of addresses).
const LEAF: u64 = 1024;

/// One page-table entry. The permissions are what the CPU may do *now*: a copy-on-write page lacks [`Pte::W`]
/// although its mapping is writable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pte(u32);

impl Pte {
    /// Readable.
    pub const R: u32 = 1;
    /// Writable.
    pub const W: u32 = 2;
    /// Executable.
    pub const X: u32 = 4;
    const PRESENT: u32 = 8;

    /// An entry for `frame` with permissions `bits`.
    pub fn new(frame: Frame, bits: u32) -> Pte {
        Pte(frame.addr() | Pte::PRESENT | bits)
    }
    /// Whether a frame is there.
    pub fn present(self) -> bool {
        self.0 & Pte::PRESENT != 0
    }
    /// Whether all of `bits` are allowed.
    pub fn allows(self, bits: u32) -> bool {
        self.present() && self.0 & bits == bits
    }
    /// The frame.
    pub fn frame(self) -> Frame {
        Frame::containing(self.0)
    }
    /// The same frame with other permissions.
    pub fn with(self, bits: u32) -> Pte {
        Pte::new(self.frame(), bits)
    }
    /// The permissions.
    pub fn bits(self) -> u32 {
        self.0 & (Pte::R | Pte::W | Pte::X)
    }
}

struct Leaf {
    used: u32,
    entries: Box<[Pte; LEAF as usize]>,
}

/// A two-level table; only leaves with pages exist.
#[derive(Default)]
pub struct PageTable {
    leaves: BTreeMap<u64, Leaf>,
    present: u64,
}

impl PageTable {
    /// Number of present pages.
    pub fn present(&self) -> u64 {
        self.present
    }

    /// Number of leaf tables, 4 KiB each.
    pub fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// Whether an entry for page `vpn` needs a new leaf.
    pub fn needs_leaf(&self, vpn: u64) -> bool {
        !self.leaves.contains_key(&(vpn / LEAF))
    }

    /// The entry of page `vpn`; not present if there is none.
    pub fn get(&self, vpn: u64) -> Pte {
        match self.leaves.get(&(vpn / LEAF)) {
            Some(leaf) => leaf.entries[(vpn % LEAF) as usize],
            None => Pte::default(),
        }
    }

    /// Sets the entry of page `vpn` and returns the old one.
    pub fn set(&mut self, vpn: u64, pte: Pte) -> Pte {
        let key = vpn / LEAF;
        if !pte.present() && !self.leaves.contains_key(&key) {
            return Pte::default();
        }
        let leaf = self.leaves.entry(key).or_insert_with(|| Leaf {
            used: 0,
            entries: Box::new([Pte::default(); LEAF as usize]),
        });
        let old = std::mem::replace(&mut leaf.entries[(vpn % LEAF) as usize], pte);
        match (old.present(), pte.present()) {
            (false, true) => {
                leaf.used += 1;
                self.present += 1;
            }
            (true, false) => {
                leaf.used -= 1;
                self.present -= 1;
                if leaf.used == 0 {
                    self.leaves.remove(&key);
                }
            }
            _ => {}
        }
        old
    }

    /// Calls `f` for each present page of `first .. last`; its result replaces the entry.
    pub fn update(&mut self, first: u64, last: u64, mut f: impl FnMut(u64, Pte) -> Pte) {
        if first >= last {
            return;
        }
        let mut emptied = Vec::new();
        for (&key, leaf) in self.leaves.range_mut(first / LEAF..=(last - 1) / LEAF) {
            let base = key * LEAF;
            let from = first.saturating_sub(base).min(LEAF) as usize;
            let to = (last - base).min(LEAF) as usize;
            for (i, entry) in leaf.entries.iter_mut().enumerate().take(to).skip(from) {
                if !entry.present() {
                    continue;
                }
                *entry = f(base + i as u64, *entry);
                if !entry.present() {
                    leaf.used -= 1;
                    self.present -= 1;
                }
            }
            if leaf.used == 0 {
                emptied.push(key);
            }
        }
        for key in emptied {
            self.leaves.remove(&key);
        }
    }

    /// The present pages of `first .. last` in order.
    pub fn range(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, Pte)> + '_ {
        let keys = first / LEAF..last.div_ceil(LEAF).max(first / LEAF);
        self.leaves.range(keys).flat_map(move |(&key, leaf)| {
            leaf.entries
                .iter()
                .enumerate()
                .map(move |(i, &pte)| (key * LEAF + i as u64, pte))
                .filter(move |&(vpn, pte)| pte.present() && (first..last).contains(&vpn))
        })
    }
}
