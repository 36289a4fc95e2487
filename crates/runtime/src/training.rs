//! A training: a command runs on an image while hot code is compiled, and which code that was is kept for the linker. What the
//! command changes is dropped.

use crate::error::RunError;
use crate::options::RunOptions;
use crate::run::Outcome;
use crate::step::{self, StepInput};
use crate::translator::Recorder;
use link::{CodeCache, Frozen};
use rootfs::config::CpuLevel;
use std::collections::BTreeSet;
use std::time::Duration;
use translate::desk::Request;
use translate::{PAGE_SIZE, Pages};

/// What a training found.
#[derive(Clone, Debug, Default)]
pub struct Trained {
    /// Regions of the image's code in the order in which they turned out to be hot; physical addresses count from the
    /// image's start.
    pub requests: Vec<Request>,
    /// The pages of the image that they lie in, by their place in it.
    pub pages: Pages,
    /// Regions of other code: made by the program while it ran, or from files that it wrote.
    pub elsewhere: u32,
    /// Guest instructions executed.
    pub retired: u64,
    /// How many of them in regions, from when those were there.
    pub in_regions: u64,
}

impl Trained {
    /// What the linker needs; at most `budget` bytes of Wasm become part of the box.
    pub fn frozen(&self, level: CpuLevel, budget: u64) -> Frozen<'_> {
        Frozen { level, requests: &self.requests, pages: &self.pages, budget }
    }

    /// Adds what another training found, without the regions that are known.
    pub fn merge(&mut self, other: Trained) {
        let root = |request: &Request| {
            let root = request.blocks.iter().find(|block| block.pc == request.root);
            (request.root, root.map(|block| block.phys))
        };
        let mut known: BTreeSet<_> = self.requests.iter().map(root).collect();
        self.requests.extend(other.requests.into_iter().filter(|new| known.insert(root(new))));
        self.pages.extend(other.pages);
        self.elsewhere += other.elsewhere;
        self.retired += other.retired;
        self.in_regions += other.in_regions;
    }

    /// In bytes, to be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (requests, pages) = (self.requests.len() as u64, self.pages.len() as u64);
        let elsewhere = self.elsewhere.into();
        let mut words = vec![FORMAT, requests, pages, elsewhere, self.retired, self.in_regions];
        self.requests.iter().for_each(|request| request.encode(&mut words));
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
        let requests: Vec<Request> = std::iter::from_fn(|| Request::decode(&mut words)).collect();
        let page = |bytes: &[u8; PAGE]| {
            let (number, content) = bytes.split_first_chunk()?;
            let number = u32::try_from(u64::from_le_bytes(*number)).ok()?;
            Some((number, Box::new(*content.first_chunk()?)))
        };
        let pages = content.as_chunks().0.iter().map(page).collect::<Option<Pages>>()?;
        let whole = requests.len() as u64 == count && rest.is_empty();
        whole.then_some(Trained { requests, pages, elsewhere, retired, in_regions })
    }
}

/// Version of [`Trained::to_bytes`].
const FORMAT: u64 = 0x626F_7865_7254_0002;

/// How a training ends if the command does not.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Time from the start.
    pub total: Duration,
    /// Time in which the command waits for something.
    pub idle: Duration,
}

/// Runs a command for [`Trained`]. Its status is of no account; 124 says that the time was over.
pub fn train(
    cache: &CodeCache,
    input: StepInput<'_>,
    mut options: RunOptions,
    patience: Patience,
) -> Result<(Outcome, Trained), RunError> {
    let recorder = Recorder::default();
    options.translation.on = true;
    options.translation.recorder = Some(recorder.clone());
    options.idle = Some(patience.idle);
    options.overrides.limits.timeout = u64::try_from(patience.total.as_nanos()).ok();
    let image_len = input.image_len;
    let (outcome, image_start) = step::run_at(cache, input, options)?;
    let mut trained = Trained::default();
    let inside = |phys: u32| {
        let offset = u64::from(phys).checked_sub(image_start as u64)?;
        u32::try_from(offset).ok().filter(|_| offset < image_len)
    };
    let moved = |mut request: Request| {
        for block in &mut request.blocks {
            block.phys = inside(block.phys)?;
            block.next = if block.next == 0 { 0 } else { inside(block.next)? };
        }
        Some(request)
    };
    recorder.with(|recorded| {
        for request in recorded.requests.drain(..) {
            match moved(request) {
                Some(request) => trained.requests.push(request),
                None => trained.elsewhere += 1,
            }
        }
        let pages = std::mem::take(&mut recorded.pages).into_iter();
        trained.pages =
            pages.filter_map(|(page, content)| Some((inside(page)?, content))).collect();
        (trained.retired, trained.in_regions) = recorded.counts.unwrap_or_default();
    });
    Ok((outcome, trained))
}
