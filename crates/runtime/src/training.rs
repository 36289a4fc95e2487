//! A training: a command runs on an image while hot code is compiled, and which code that was is kept for the linker. What the
//! command changes is dropped.

use crate::error::RunError;
use crate::options::RunOptions;
use crate::run::Outcome;
use crate::step::{self, StepInput};
use crate::translator::{Recorded, Recorder};
use link::{CodeCache, Frozen};
use rootfs::config::CpuLevel;
use std::collections::BTreeMap;
use std::time::Duration;
use translate::desk::Request;
use translate::{PAGE_SIZE, Pages};

/// What a training found.
#[derive(Clone, Debug, Default)]
pub struct Trained {
    /// Regions of the image's code, those first in which most time was spent.
    pub regions: Vec<Hot>,
    /// The pages of the image that they lie in, by their place in it.
    pub pages: Pages,
    /// Regions of other code: made by the program while it ran, or from files that it wrote.
    pub elsewhere: u32,
    /// Guest instructions executed.
    pub retired: u64,
    /// How many of them in regions, from when those were there.
    pub in_regions: u64,
}

/// A region that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hot {
    /// What it is made of; physical addresses count from the image's start.
    pub request: Request,
    /// Its share of the time in regions, in millionths. That of a region that was there for a moment only is 0; none for what
    /// was not found but is there besides ([`Besides`]).
    pub share: Option<u64>,
}

impl Trained {
    /// How many regions were hot, of those that there are.
    pub fn found(&self) -> usize {
        self.regions.iter().filter(|region| region.share.is_some()).count()
    }

    /// What the linker needs; at most `budget` bytes of Wasm become part of the box, and `spare` of what no training found.
    pub fn frozen(&self, level: CpuLevel, budget: u64, spare: u64) -> Frozen<'_> {
        let requests = self
            .regions
            .iter()
            .map(|region| (&region.request, region.share.unwrap_or(0)))
            .collect();
        Frozen { level, requests, pages: &self.pages, budget, spare }
    }

    /// Adds what another training found; of what both found the larger share counts.
    pub fn merge(&mut self, other: Trained) {
        let mut known: BTreeMap<_, usize> =
            self.regions.iter().enumerate().map(|(n, region)| (region.root(), n)).collect();
        for region in other.regions {
            match known.get(&region.root()).and_then(|n| self.regions.get_mut(*n)) {
                Some(same) => same.share = same.share.max(region.share),
                None => {
                    known.insert(region.root(), self.regions.len());
                    self.regions.push(region);
                }
            }
        }
        self.sort();
        self.pages.extend(other.pages);
        self.elsewhere += other.elsewhere;
        self.retired += other.retired;
        self.in_regions += other.in_regions;
    }

    /// Equal ones stay in the order in which they were found.
    fn sort(&mut self) {
        self.regions.sort_by_key(|region| std::cmp::Reverse(region.share));
    }

    /// In bytes, to be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (regions, pages) = (self.regions.len() as u64, self.pages.len() as u64);
        let elsewhere = self.elsewhere.into();
        let mut words = vec![FORMAT, regions, pages, elsewhere, self.retired, self.in_regions];
        for Hot { request, share } in &self.regions {
            words.push(share.map_or(0, |share| share + 1));
            request.encode(&mut words);
        }
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        for (page, content) in &self.pages {
            bytes.extend(u64::from(*page).to_le_bytes());
            bytes.extend(content.as_slice());
        }
        bytes
    }

    /// From those bytes; none if they are not whole, or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Option<Trained> {
        const PAGE: usize = 8 + PAGE_SIZE;
        let head: &[[u8; 8]; 6] = bytes.as_chunks().0.first_chunk()?;
        let [format, count, pages, elsewhere, retired, in_regions] = head.map(u64::from_le_bytes);
        if format != FORMAT {
            return None;
        }
        let elsewhere = u32::try_from(elsewhere).ok()?;
        let content = usize::try_from(pages).ok()?.checked_mul(PAGE)?;
        let (words, content) =
            bytes.get(48..)?.split_at_checked((bytes.len() - 48).checked_sub(content)?)?;
        let (words, rest) = words.as_chunks();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let region = || {
            let share = words.next()?.checked_sub(1);
            Some(Hot { request: Request::decode(&mut words)?, share })
        };
        let regions: Vec<Hot> = std::iter::from_fn(region).collect();
        let page = |bytes: &[u8; PAGE]| {
            let (number, content) = bytes.split_first_chunk()?;
            let number = u32::try_from(u64::from_le_bytes(*number)).ok()?;
            Some((number, Box::new(*content.first_chunk()?)))
        };
        let pages = content.as_chunks().0.iter().map(page).collect::<Option<Pages>>()?;
        let whole = regions.len() as u64 == count && rest.is_empty();
        whole.then_some(Trained { regions, pages, elsewhere, retired, in_regions })
    }
}

impl Hot {
    /// Guest and physical address of its root.
    pub(crate) fn root(&self) -> Option<(u64, u32)> {
        let Request { root, blocks, .. } = &self.request;
        let block = blocks.iter().find(|block| block.pc == *root)?;
        Some((block.pc, block.phys))
    }
}

/// Version of [`Trained::to_bytes`].
const FORMAT: u64 = 0x626F_7865_7254_0004;

/// How a training ends if the command does not.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Time from the start.
    pub total: Duration,
    /// Time in which the command waits for something.
    pub idle: Duration,
}

/// What becomes part of a box although a training did not find it hot: of the programs and libraries in which it found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Besides {
    /// What is hot in most programs ([`translate::program::ALWAYS_HOT`]).
    AlwaysHot,
    /// All their code.
    All,
}

/// Runs a command for [`Trained`]. Its status is of no account; 124 says that the time was over.
pub fn train(
    cache: &CodeCache,
    input: StepInput<'_>,
    mut options: RunOptions,
    patience: Patience,
    besides: Besides,
) -> Result<(Outcome, Trained), RunError> {
    let recorder = Recorder::default();
    options.translation.on = true;
    options.translation.recorder = Some(recorder.clone());
    options.idle = Some(patience.idle);
    options.overrides.limits.timeout = u64::try_from(patience.total.as_nanos()).ok();
    let level = match input.config.cpu {
        CpuLevel::V2 => translate::CpuLevel::V2,
        CpuLevel::V3 => translate::CpuLevel::V3,
    };
    step::run_and(cache, input, options, |image, start| {
        let mut trained = recorder.with(|recorded| of(recorded, start, image.len()));
        trained.add_whole(image, besides, level);
        trained
    })
}

/// What was written down in a box whose image lies from `start` on.
fn of(recorded: &mut Recorded, start: usize, len: usize) -> Trained {
    let mut trained = Trained::default();
    let inside = |phys: u32| {
        let offset = phys.checked_sub(u32::try_from(start).ok()?)?;
        Some(offset).filter(|offset| (*offset as usize) < len)
    };
    let moved = |mut request: Request| {
        for block in &mut request.blocks {
            block.phys = inside(block.phys)?;
            block.next = if block.next == 0 { 0 } else { inside(block.next)? };
        }
        Some(request)
    };
    let all = recorded.tally.values().sum::<u64>().max(1);
    for request in recorded.requests.drain(..) {
        let share = recorded.tally.get(&request.id).map_or(0, |n| n * 1_000_000 / all);
        match moved(request) {
            Some(request) => trained.regions.push(Hot { request, share: Some(share) }),
            None => trained.elsewhere += 1,
        }
    }
    let pages = std::mem::take(&mut recorded.pages).into_iter();
    trained.pages = pages.filter_map(|(page, content)| Some((inside(page)?, content))).collect();
    (trained.retired, trained.in_regions) = recorded.counts;
    trained.sort();
    trained
}
