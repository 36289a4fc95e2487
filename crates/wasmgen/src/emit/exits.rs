//! Ways out to the interpreter: one for each set of registers that are newer than memory where the region may be left. What a way
//! stores is what it has more than the next smaller one, in which it goes on.

use crate::emit::Emitter;
use crate::slots::Slots;
use std::collections::BTreeSet;

/// Most sets with a way of their own.
const MOST: usize = 500;

/// The ways out that are open.
#[derive(Default)]
pub struct Exits {
    ways: Vec<Exit>,
}

struct Exit {
    dirty: Slots,
    /// How many labels were open when its own was opened.
    open: u32,
    /// Something leads there.
    used: bool,
}

impl Exits {
    /// The way with most registers among those that store nothing but what is in `dirty`, of the first `n`. The first one
    /// stores nothing.
    fn within(&self, dirty: Slots, n: usize) -> usize {
        (0..n).rev().find(|&at| dirty.contains(self.ways[at].dirty)).unwrap_or(0)
    }
}

impl Emitter<'_> {
    /// Opens the labels of ways out that store `sets`.
    pub fn open_exits(&mut self, mut sets: BTreeSet<Slots>) {
        sets.remove(&Slots::default());
        let mut sets: Vec<Slots> = std::iter::once(Slots::default()).chain(sets).collect();
        sets.sort_by_key(|set| set.count());
        sets.truncate(MOST);
        for dirty in sets {
            let open = self.labels;
            self.exits.ways.push(Exit { dirty, open, used: false });
            self.block();
        }
    }

    /// Closes them. What follows is where all of them lead, with everything stored.
    pub fn close_exits(&mut self) {
        for n in (0..self.exits.ways.len()).rev() {
            self.end();
            let Exit { dirty, used, .. } = self.exits.ways[n];
            if used && n > 0 {
                self.exit_from(dirty, n);
            }
        }
        self.dirty = Slots::default();
    }

    /// Leaves to the interpreter at the address in [`crate::emit::TO`]. Nothing follows.
    pub fn exit(&mut self) {
        self.exit_from(self.dirty, self.exits.ways.len());
    }

    /// Stores what of `dirty` the best way out among the first `n` does not store, and takes that.
    fn exit_from(&mut self, dirty: Slots, n: usize) {
        let at = self.exits.within(dirty, n);
        let exit = &mut self.exits.ways[at];
        exit.used = true;
        let (rest, open) = (dirty.without(exit.dirty), exit.open);
        self.spill(rest);
        let label = self.label(open);
        self.wasm().br(label);
    }
}
