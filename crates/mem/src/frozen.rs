//! Regions that were compiled before a box runs, and became part of it: the table in the box's memory that says which there
//! are. The linker writes it, the guest looks things up in it; nothing is read before it is needed.
//!
//! What a region was made of are bytes of the root filesystem image. Files map in place and the image never changes, so
//! the physical address of a block says what it is.

/// Version of the layout, the first word.
const VERSION: u32 = 0x6672_7A01;
/// Words before the entries: version, processor (2 or 3), numbers of entries, regions and pages.
const HEAD: usize = 5;
/// Words of an entry: physical address, guest address (low, high), the page after (or 0), region, index in the function table.
const ENTRY: usize = 6;
/// Words of a region: its first page and how many it has.
const REGION: usize = 2;
/// Words of a page: guest address (low, high), physical address.
const PAGE: usize = 3;

/// A place where a region may be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Physical address of the block.
    pub phys: u32,
    /// Its guest address.
    pub pc: u64,
    /// Physical address of the page after, if an instruction at `pc` may reach into it, else 0.
    pub next: u32,
    /// Number of the region.
    pub region: u32,
    /// Index in the function table.
    pub slot: u32,
}

/// What the table is made of.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The processor that the code was lifted for: 2 or 3 (x86-64-v2, -v3).
    pub level: u32,
    /// In any order.
    pub entries: Vec<Entry>,
    /// Guest and physical addresses of each region's pages.
    pub regions: Vec<Vec<(u64, u32)>>,
}

impl Contents {
    /// Length of the table in bytes.
    pub fn len(&self) -> usize {
        let pages: usize = self.regions.iter().map(Vec::len).sum();
        4 * (HEAD + ENTRY * self.entries.len() + REGION * self.regions.len() + PAGE * pages)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The table. Of entries at the same addresses the first one counts.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = self.entries.clone();
        entries.sort_by_key(|entry| (entry.phys, entry.pc));
        let pages: usize = self.regions.iter().map(Vec::len).sum();
        let halves = |n: u64| [n as u32, (n >> 32) as u32];
        let mut words = vec![
            VERSION,
            self.level,
            entries.len() as u32,
            self.regions.len() as u32,
            pages as u32,
        ];
        for Entry { phys, pc, next, region, slot } in entries {
            let [low, high] = halves(pc);
            words.extend([phys, low, high, next, region, slot]);
        }
        let mut first = 0;
        for region in &self.regions {
            words.extend([first, region.len() as u32]);
            first += region.len() as u32;
        }
        for (pc, phys) in self.regions.iter().flatten() {
            words.extend(halves(*pc));
            words.push(*phys);
        }
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}

/// The table in memory.
#[derive(Clone, Copy, Debug)]
pub struct Frozen {
    words: &'static [[u8; 4]],
    level: u32,
    entries: usize,
    regions: usize,
}

impl Frozen {
    /// The table that `bytes` begin with; none if it is not one.
    pub fn new(bytes: &'static [u8]) -> Option<Frozen> {
        let words = bytes.as_chunks().0;
        let head: &[[u8; 4]; HEAD] = words.first_chunk()?;
        let [version, level, entries, regions, pages] = head.map(u32::from_le_bytes);
        let (entries, regions, pages) = (entries as usize, regions as usize, pages as usize);
        let parts = [(ENTRY, entries), (REGION, regions), (PAGE, pages)];
        let len = parts.iter().try_fold(HEAD, |len, (words, count)| {
            words.checked_mul(*count).and_then(|part| len.checked_add(part))
        })?;
        (version == VERSION && len <= words.len()).then_some(Frozen {
            words,
            level,
            entries,
            regions,
        })
    }

    /// The processor that the code was lifted for: 2 or 3.
    pub fn level(&self) -> u32 {
        self.level
    }

    fn words<const N: usize>(&self, at: usize) -> Option<[u32; N]> {
        let words: &[[u8; 4]; N] = self.words.get(at..)?.first_chunk()?;
        Some(words.map(u32::from_le_bytes))
    }

    fn entry(&self, n: usize) -> Option<Entry> {
        let [phys, low, high, next, region, slot] =
            self.words::<ENTRY>(HEAD.checked_add(ENTRY * n)?)?;
        Some(Entry { phys, pc: u64::from(low) | u64::from(high) << 32, next, region, slot })
    }

    /// Where the block at these addresses may enter a region.
    pub fn find(&self, phys: u32, pc: u64) -> Option<Entry> {
        let (mut low, mut high) = (0, self.entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(middle)?;
            if (entry.phys, entry.pc) < (phys, pc) { low = middle + 1 } else { high = middle }
        }
        (low < self.entries)
            .then(|| self.entry(low))
            .flatten()
            .filter(|e| (e.phys, e.pc) == (phys, pc))
    }

    /// Guest and physical addresses of a region's pages; none if there is no such region.
    pub fn pages(&self, region: u32) -> Vec<(u64, u32)> {
        let regions = HEAD + ENTRY * self.entries;
        let pages = regions + REGION * self.regions;
        if region as usize >= self.regions {
            return Vec::new();
        }
        let Some([first, count]) = self.words::<REGION>(regions + REGION * region as usize) else {
            return Vec::new();
        };
        let page = |n: u32| {
            let [low, high, phys] = self.words::<PAGE>(pages + PAGE * n as usize)?;
            Some((u64::from(low) | u64::from(high) << 32, phys))
        };
        (first..first.saturating_add(count)).map_while(page).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Contents {
        let entry = |phys, pc, region, slot| Entry { phys, pc, next: 0, region, slot };
        Contents {
            level: 2,
            entries: vec![
                entry(0x9010, 0x7F_1000_0010, 1, 12),
                entry(0x5000, 0x40_0000, 0, 10),
                entry(0x9010, 0x40_4010, 0, 11),
            ],
            regions: vec![
                vec![(0x40_0000, 0x5000), (0x40_4000, 0x9000)],
                vec![(0x7F_1000_0000, 0x9000)],
            ],
        }
    }

    fn table(bytes: Vec<u8>) -> Option<Frozen> {
        Frozen::new(bytes.leak())
    }

    #[test]
    fn what_was_written_is_found_and_nothing_else() {
        let contents = contents();
        let bytes = contents.encode();
        assert_eq!(bytes.len(), contents.len());
        let table = table(bytes).unwrap();
        for entry in &contents.entries {
            assert_eq!(table.find(entry.phys, entry.pc), Some(*entry));
            assert_eq!(table.pages(entry.region), contents.regions[entry.region as usize]);
        }
        for (phys, pc) in [(0x9010, 0x40_0000), (0x9011, 0x40_4010), (0, 0), (u32::MAX, u64::MAX)] {
            assert_eq!(table.find(phys, pc), None);
        }
        assert_eq!((table.level(), table.pages(2)), (2, vec![]));
    }

    #[test]
    fn a_cut_or_wild_table_is_none() {
        let bytes = contents().encode();
        for len in 0..bytes.len() - 3 {
            assert!(table(bytes[..len & !3].to_vec()).is_none(), "cut to {len} bytes");
        }
        for word in [0, 2, 3, 4] {
            let mut wild = bytes.clone();
            wild[4 * word..4 * word + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert!(table(wild).is_none(), "word {word}");
        }
    }
}
