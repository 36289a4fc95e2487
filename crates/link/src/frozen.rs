//! Code of the image that becomes part of the box: from the requests of a training to functions and their table.

use crate::LinkError;
use crate::boot::ImageRange;
use rootfs::config::CpuLevel;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use translate::desk::{BlockAt, Field, Request};
use translate::frozen::{Contents, Entry};
use translate::{Code, Layout, Pages, Source};
use wasmparser::{Parser, Payload};

/// Regions to freeze.
#[derive(Clone, Debug)]
pub struct Frozen<'a> {
    /// The processor of the box.
    pub level: CpuLevel,
    /// What to translate, and how much time is spent there (in any unit): what takes most for each byte comes first. Physical
    /// addresses count from the image's start.
    pub requests: Vec<(&'a Request, u64)>,
    /// The pages that these lie in, by their place in the image. The image is compared with them when it is written.
    pub pages: &'a Pages,
    /// Most bytes of Wasm that the functions may take; what comes later is left out.
    pub budget: u64,
    /// Most bytes that those of them may take in which no time was spent.
    pub spare: u64,
}

/// What became of the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrozenReport {
    /// Regions that are part of the box.
    pub regions: u32,
    /// Places where they can be entered.
    pub entries: u32,
    /// Bytes of their functions.
    pub wasm_bytes: u64,
    /// Bytes of x86 that they were made from.
    pub x86_bytes: u64,
    /// Regions for which there was no room.
    pub over_budget: u32,
    /// Of the time in all regions that which is spent in the ones left out, in millionths.
    pub left_out: u64,
    /// Regions whose bytes are no code, or do not lie in the image.
    pub unusable: u32,
}

impl FrozenReport {
    /// As an object of JSON.
    pub fn to_json(&self) -> String {
        let FrozenReport {
            regions,
            entries,
            wasm_bytes,
            x86_bytes,
            over_budget,
            left_out,
            unusable,
        } = self;
        format!(
            "{{\"regions\":{regions},\"entries\":{entries},\"wasmBytes\":{wasm_bytes},\"x86Bytes\":{x86_bytes},\
             \"overBudget\":{over_budget},\"leftOutPerMillion\":{left_out},\"unusable\":{unusable}}}"
        )
    }
}

/// The modules to add, one a region ([`translate::module`]), in the order of their table slots.
pub struct FrozenCode {
    /// The modules.
    pub modules: Vec<Vec<u8>>,
    /// Table slot of the first function.
    pub first_slot: u32,
    /// What became of the requests.
    pub report: FrozenReport,
    /// What they were made from, by its place in the image.
    pub pages: Pages,
}

impl Frozen<'_> {
    /// Room that the table may take, in bytes.
    pub fn most_bytes(&self) -> usize {
        let contents = Contents {
            level: 0,
            entries: self
                .requests
                .iter()
                .flat_map(|(r, _)| vec![NO_ENTRY; r.entries.len() + 1])
                .collect(),
            regions: self.requests.iter().map(|(request, _)| pages(request)).collect(),
        };
        contents.len()
    }

    /// Translates the requests for a booted guest: `memory` is its memory, `desk` the address of its desk, `image` and `table`
    /// what was reserved. Writes the table.
    pub fn generate(
        &self,
        memory: &mut [u8],
        desk: u32,
        first_slot: u32,
        image: ImageRange,
        table: ImageRange,
    ) -> Result<FrozenCode, LinkError> {
        let layout = layout(memory, desk)
            .ok_or_else(|| LinkError::Guest("its desk is not in memory".to_owned()))?;
        let requests: Vec<Option<Request>> =
            self.requests.iter().map(|(request, _)| moved(request, image)).collect();
        let level = match self.level {
            CpuLevel::V2 => translate::CpuLevel::V2,
            CpuLevel::V3 => translate::CpuLevel::V3,
        };
        let made = in_parallel(&requests, |request| {
            let request = request.as_ref()?;
            let source =
                Source { request: request.clone(), pages: copies(self.pages, request, image)? };
            translate::code(&source, level, &layout)
        });
        let mut report = FrozenReport::default();
        let mut contents = Contents { level: level_number(self.level), ..Contents::default() };
        let (mut modules, mut slot) = (Vec::new(), first_slot);
        let all = self.requests.iter().map(|(_, share)| share).sum::<u64>().max(1);
        let mut usable = Vec::new();
        for ((request, code), (_, share)) in requests.iter().zip(made).zip(&self.requests) {
            match (request, code) {
                (Some(request), Some(Code { wasm, x86_bytes })) => {
                    usable.push((request, code_size(&wasm)?, *share, x86_bytes, wasm));
                }
                _ => report.unusable += 1,
            }
        }
        // Most time for each byte first; equals in the order in which they came.
        let worth = |size: u64, share: u64| (u128::from(share) << 64) / u128::from(size.max(1));
        usable.sort_by_key(|(_, size, share, ..)| Reverse(worth(*size, *share)));
        let mut entered = BTreeSet::new();
        let mut spare = self.spare;
        for (request, size, share, x86_bytes, wasm) in usable {
            let fits = share > 0 || size <= spare;
            if !fits || report.wasm_bytes + size > self.budget {
                report.over_budget += 1;
                report.left_out += share * 1_000_000 / all;
                continue;
            }
            if share == 0 {
                spare -= size;
            }
            report.regions += 1;
            report.wasm_bytes += size;
            report.x86_bytes += x86_bytes;
            let region = contents.regions.len() as u32;
            for pc in std::iter::once(&request.root).chain(&request.entries) {
                if let Some(block) = request.blocks.iter().find(|block| block.pc == *pc) {
                    let BlockAt { pc, phys, next } = *block;
                    // What comes first is what most time is spent in.
                    if entered.insert((phys, pc)) {
                        contents.entries.push(Entry { phys, pc, next, region, slot });
                        report.entries += 1;
                    }
                }
                slot += 1;
            }
            contents.regions.push(pages(request));
            modules.push(wasm);
        }
        let bytes = contents.encode();
        memory
            .get_mut(table.start..table.end)
            .and_then(|room| room.get_mut(..bytes.len()))
            .ok_or_else(|| LinkError::Guest("no room for the table of regions".to_owned()))?
            .copy_from_slice(&bytes);
        Ok(FrozenCode { modules, first_slot, report, pages: self.pages.clone() })
    }
}

const NO_ENTRY: Entry = Entry { phys: 0, pc: 0, next: 0, region: 0, slot: 0 };

/// The number by which the table names a processor.
fn level_number(level: CpuLevel) -> u32 {
    match level {
        CpuLevel::V2 => 2,
        CpuLevel::V3 => 3,
    }
}

fn layout(memory: &[u8], desk: u32) -> Option<Layout> {
    let word = |field: Field| {
        let at = desk.checked_add(field.offset())? as usize;
        memory.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    };
    Some(Layout {
        cpu: word(Field::Cpu)?,
        read: word(Field::ReadTable)?,
        write: word(Field::WriteTable)?,
        shared: word(Field::Shared)?,
        helper: word(Field::Helper)?,
    })
}

/// The request with physical addresses for an image that lies there; none if it needs something that is not in the image.
fn moved(request: &Request, image: ImageRange) -> Option<Request> {
    let start = u32::try_from(image.start).ok()?;
    let place = |offset: u32| start.checked_add(offset).filter(|phys| (*phys as usize) < image.end);
    let mut moved = request.clone();
    for block in &mut moved.blocks {
        block.phys = place(block.phys)?;
        block.next = if block.next == 0 { 0 } else { place(block.next)? };
    }
    Some(moved)
}

/// Guest and physical addresses of a request's pages.
fn pages(request: &Request) -> Vec<(u64, u32)> {
    const MASK: u64 = 4095;
    let mut pages = Vec::new();
    for block in &request.blocks {
        pages.push((block.pc & !MASK, block.phys & !(MASK as u32)));
        if block.next != 0 {
            pages.push(((block.pc | MASK).wrapping_add(1), block.next & !(MASK as u32)));
        }
    }
    pages.sort_unstable();
    pages.dedup();
    pages
}

/// The pages of a request that was moved.
fn copies(pages: &Pages, request: &Request, image: ImageRange) -> Option<Pages> {
    let copy = |page: u32| {
        let place = page.checked_sub(u32::try_from(image.start).ok()?)?;
        Some((page, pages.get(&place)?.clone()))
    };
    Source::pages_of(request).map(copy).collect()
}

/// Bytes of a module's functions.
fn code_size(wasm: &[u8]) -> Result<u64, LinkError> {
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|error| LinkError::Guest(format!("a region: {error}")))?;
        if let Payload::CodeSectionStart { size, .. } = payload {
            return Ok(u64::from(size));
        }
    }
    Ok(0)
}

/// The results of `work` in the order of `items`, computed by as many threads as there are cores.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Option<R> + Sync,
) -> Vec<Option<R>> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let mut results: Vec<Option<R>> = Vec::new();
    results.resize_with(items.len(), || None);
    let run = || {
        let mut done = Vec::new();
        loop {
            let n = next.fetch_add(1, Relaxed);
            let Some(item) = items.get(n) else { return done };
            done.push((n, work(item)));
        }
    };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut all = run();
        // What a thread that died had is missing, and left out.
        all.extend(handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()));
        for (n, result) in all {
            if let Some(place) = results.get_mut(n) {
                *place = result;
            }
        }
    });
    results
}
