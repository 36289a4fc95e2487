//! The free ranges of an address space, found by size: Linux keeps the largest gap of each subtree for that; here each block of
//! neighbouring gaps knows its largest, so a search looks at blocks and into one of them.

/// Gaps in one block at most. The mappings of a space are bounded (`MAX_MAPS`), so there are some hundreds of blocks at most.
const BLOCK: usize = 256;

/// Neighbouring gaps in order, never empty.
#[derive(Clone, Debug)]
struct Block {
    /// Length of the longest.
    max: u64,
    /// `start .. end` of each.
    gaps: Vec<(u64, u64)>,
}

impl Block {
    fn new(gaps: Vec<(u64, u64)>) -> Block {
        let mut block = Block { max: 0, gaps };
        block.measure();
        block
    }

    fn measure(&mut self) {
        self.max = self.gaps.iter().map(|(start, end)| end - start).max().unwrap_or(0);
    }

    fn start(&self) -> u64 {
        self.gaps.first().map_or(0, |gap| gap.0)
    }
}

/// All free ranges: what is between the mappings, before the first and after the last.
#[derive(Clone, Debug)]
pub struct Gaps {
    blocks: Vec<Block>,
}

impl Default for Gaps {
    fn default() -> Gaps {
        Gaps { blocks: vec![Block::new(vec![(0, u64::MAX)])] }
    }
}

impl Gaps {
    /// `start .. end`, which was free, no longer is.
    pub fn take(&mut self, start: u64, end: u64) {
        let Some((block, at)) = self.find(start) else { return };
        let (first, last) = self.blocks[block].gaps[at];
        debug_assert!(end <= last, "{start:#x} .. {end:#x} is not free");
        if end > last {
            return;
        }
        let rest = [(first, start), (end, last)];
        self.replace(block, at..at + 1, rest.into_iter().filter(|(a, b)| a < b).collect());
    }

    /// `start .. end`, which was not free, is.
    pub fn give(&mut self, start: u64, end: u64) {
        let mut new = (start, end);
        // The gaps that end and begin where it does are joined with it.
        if let Some((block, at)) = self.find(end)
            && self.blocks[block].gaps[at].0 == end
        {
            new.1 = self.blocks[block].gaps[at].1;
            self.replace(block, at..at + 1, Vec::new());
        }
        match self.find(start) {
            Some((block, at)) if self.blocks[block].gaps[at].1 == start => {
                new.0 = self.blocks[block].gaps[at].0;
                self.replace(block, at..at + 1, vec![new]);
            }
            Some((block, at)) => self.replace(block, at + 1..at + 1, vec![new]),
            None => self.replace(0, 0..0, vec![new]),
        }
    }

    /// The highest free range of `len` bytes within `low .. high`.
    pub fn below(&self, len: u64, low: u64, high: u64) -> Option<u64> {
        let end = self.blocks.partition_point(|block| block.start() < high);
        for block in self.blocks[..end].iter().rev() {
            if block.max >= len
                && let Some((_, end)) =
                    block.gaps.iter().rev().find_map(|gap| fit(gap, len, low, high))
            {
                return Some(end - len);
            }
            if block.start() <= low {
                break;
            }
        }
        None
    }

    /// The lowest free range of `len` bytes within `low .. high`.
    pub fn above(&self, len: u64, low: u64, high: u64) -> Option<u64> {
        let first = self.blocks.partition_point(|block| block.start() <= low).saturating_sub(1);
        for block in &self.blocks[first..] {
            if block.start() >= high {
                break;
            }
            if block.max >= len
                && let Some((start, _)) = block.gaps.iter().find_map(|gap| fit(gap, len, low, high))
            {
                return Some(start);
            }
        }
        None
    }

    /// Block and place of the last gap that starts at or below `addr`.
    fn find(&self, addr: u64) -> Option<(usize, usize)> {
        let block = self.blocks.partition_point(|block| block.start() <= addr).checked_sub(1)?;
        let gaps = &self.blocks[block].gaps;
        Some((block, gaps.partition_point(|gap| gap.0 <= addr).checked_sub(1)?))
    }

    fn replace(&mut self, block: usize, range: std::ops::Range<usize>, with: Vec<(u64, u64)>) {
        let Some(one) = self.blocks.get_mut(block) else {
            self.blocks.push(Block::new(with));
            return;
        };
        one.gaps.splice(range, with);
        if one.gaps.len() > BLOCK {
            let rest = one.gaps.split_off(BLOCK / 2);
            one.measure();
            self.blocks.insert(block + 1, Block::new(rest));
            return;
        }
        one.measure();
        let next = self.blocks.get(block + 1).map_or(BLOCK, |next| next.gaps.len());
        if self.blocks[block].gaps.len() + next <= BLOCK / 2 {
            let next = self.blocks.remove(block + 1);
            self.blocks[block].gaps.extend(next.gaps);
            self.blocks[block].measure();
        } else if self.blocks[block].gaps.is_empty() {
            self.blocks.remove(block);
        }
    }
}

/// What of a gap lies in `low .. high`, if that is long enough.
fn fit(gap: &(u64, u64), len: u64, low: u64, high: u64) -> Option<(u64, u64)> {
    let (start, end) = (gap.0.max(low), gap.1.min(high));
    (end.checked_sub(start)? >= len).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::Gaps;

    /// Pages of a small space, free or not, against the same in [`Gaps`].
    #[test]
    fn finds_what_a_walk_over_all_pages_finds() {
        const PAGES: u64 = 4000;
        let mut used = vec![false; PAGES as usize];
        let mut gaps = Gaps::default();
        gaps.take(PAGES, u64::MAX);
        let mut seed = 1_u64;
        let mut below = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % n
        };
        let mut most = 0;
        for round in 0..30_000_u64 {
            let start = below(PAGES);
            let end = start + 1 + below(if round % 9 == 0 { 40 } else { 2 });
            let (start, end) = (start as usize, (end.min(PAGES)) as usize);
            if used[start..end].iter().all(|u| *u) {
                gaps.give(start as u64, end as u64);
                used[start..end].fill(false);
            } else if used[start..end].iter().all(|u| !*u) {
                gaps.take(start as u64, end as u64);
                used[start..end].fill(true);
            }
            let (low, high, len) = (below(PAGES), below(PAGES + 1), 1 + below(6));
            let free = |at: &u64| used[*at as usize..(*at + len) as usize].iter().all(|u| !*u);
            let places = || low..(high + 1).saturating_sub(len).max(low);
            assert_eq!(gaps.below(len, low, high), places().rev().find(free), "round {round}");
            assert_eq!(gaps.above(len, low, high), places().find(free), "round {round}");
            most = most.max(gaps.blocks.len());
        }
        assert!(most > 4, "{most} blocks are no test");
        let listed = gaps.blocks.iter().flat_map(|block| &block.gaps);
        let free: u64 = listed.map(|(start, end)| end - start).sum();
        assert_eq!(free, used.iter().filter(|u| !**u).count() as u64);
    }
}
