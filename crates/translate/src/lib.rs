//! Regions: from the bytes of hot blocks to a Wasm module. What hosts and programs there are is unknown here.
//!
//! A [`Source`] is what a box asked for ([`mem::desk::Request`]) with a copy of the pages that its blocks lie in. It comes
//! from a box and is not trusted: whatever is in it, the result is a module that does to the box what the interpreter
//! could, or none.

pub mod program;

use ir::{Block, Term};
use mem::PAGE_MASK;
use mem::desk::{BlockAt, Request};
pub use mem::{CHUNK, PAGE_SIZE, Place, desk, frozen};
use std::collections::{BTreeMap, BTreeSet};
pub use wasmgen::Layout;
use wasmgen::Region;
pub use x86::CpuLevel;
use x86::{LiftOptions, MAX_INSTRUCTION_LEN};

/// Pages of code by physical address.
pub type Pages = BTreeMap<u32, Box<[u8; PAGE_SIZE]>>;

/// A region to translate.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// What was asked for.
    pub request: Request,
    /// The bytes.
    pub pages: Pages,
}

impl Source {
    /// Physical addresses of the pages that `request` needs.
    pub fn pages_of(request: &Request) -> impl Iterator<Item = u32> {
        let pages = request.blocks.iter().flat_map(|b| [Some(page(b.phys)), next_page(b)]);
        pages.flatten()
    }

    /// The block that begins there, lifted again as the interpreter did.
    fn block(&self, at: &BlockAt, options: &LiftOptions) -> Option<Block> {
        let bytes = self.pages.get(&page(at.phys))?;
        let bytes = &bytes[at.phys as usize % PAGE_SIZE..];
        if let Ok(block) = x86::lift(bytes, at.pc, options) {
            return Some(block);
        }
        // The instruction goes on in the next page.
        let next = self.pages.get(&next_page(at)?)?;
        let bytes = [bytes, &next[..MAX_INSTRUCTION_LEN]].concat();
        x86::lift(&bytes, at.pc, options).ok()
    }

    fn region(&self, options: &LiftOptions) -> Option<Region> {
        let blocks = self.request.blocks.iter().filter_map(|at| self.block(at, options));
        let blocks: BTreeMap<u64, Block> = blocks.map(|block| (block.pc, block)).collect();
        let mut indirect = self.request.indirect.clone();
        indirect.retain(|pc| blocks.contains_key(pc));
        let root = self.request.root;
        blocks.contains_key(&root).then(|| Region {
            root,
            blocks: blocks.into_values().collect(),
            indirect,
            entries: self.request.entries.clone(),
        })
    }
}

fn page(phys: u32) -> u32 {
    phys & !(PAGE_MASK as u32)
}

fn next_page(block: &BlockAt) -> Option<u32> {
    (block.next != 0).then(|| page(block.next))
}

/// Lines of 64 bytes in a page of 4 KiB.
const LINES: u64 = 64;

/// A region's module, and what it is made from.
pub struct Made {
    /// Imports and exports as [`wasmgen::module`] says.
    pub wasm: Vec<u8>,
    /// What it is made from.
    pub shape: Shape,
}

/// What a region is made from, beside the bytes that lie there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Guest address of each block, and how many bytes of code it covers, in the order of the addresses.
    pub blocks: Vec<(u64, u32)>,
    /// Where it may be entered besides its root, in the order of the functions.
    pub entries: Vec<u64>,
}

/// The module of a region for a processor. It may be entered at more places than were asked for, which come behind those: then it
/// serves others who ask for nearly the same. None if its bytes are no code.
pub fn module(source: &Source, level: CpuLevel, layout: &Layout) -> Option<Made> {
    let mut region = source.region(&LiftOptions { level })?;
    region.entries = entries(&region);
    let lines = desk::spread(source.request.root, LINES) as u32;
    let blocks = region.blocks.iter().map(|block| (block.pc, block.len)).collect();
    let shape = Shape { blocks, entries: region.entries.clone() };
    Some(Made { wasm: wasmgen::module(&[region], layout, lines), shape })
}

/// Those that were asked for, then where else calls return to, loops begin, and indirect jumps lead.
fn entries(region: &Region) -> Vec<u64> {
    let mut more: BTreeSet<u64> = region.indirect.iter().copied().collect();
    for block in &region.blocks {
        match block.term {
            Term::Call { ret, .. } | Term::CallIndirect { ret, .. } => {
                more.insert(ret);
            }
            Term::Jump { target } if target <= block.pc => {
                more.insert(target);
            }
            Term::Branch { taken, .. } | Term::BranchNz { taken, .. } if taken <= block.pc => {
                more.insert(taken);
            }
            _ => {}
        }
    }
    let is_block = |pc: &u64| region.blocks.binary_search_by_key(pc, |block| block.pc).is_ok();
    let asked: BTreeSet<u64> = region.entries.iter().copied().collect();
    let more = more.difference(&asked).copied().filter(is_block);
    let more = more.filter(|pc| *pc != region.root).take(desk::MAX_BLOCKS);
    region.entries.iter().copied().chain(more).collect()
}

impl Source {
    /// The code of `blocks`, one behind the other, if all of it lies in the pages that were asked for.
    pub fn code_of(&self, blocks: &[(u64, u32)]) -> Option<Vec<u8>> {
        let mut places: BTreeMap<u64, u32> = BTreeMap::new();
        for block in &self.request.blocks {
            let at = block.pc & !PAGE_MASK;
            places.insert(at, page(block.phys));
            if let Some(next) = next_page(block) {
                places.insert(at.wrapping_add(PAGE_SIZE as u64), next);
            }
        }
        let mut code = Vec::new();
        for &(pc, len) in blocks {
            for at in (0..u64::from(len)).map(|n| pc.wrapping_add(n)) {
                let page = self.pages.get(places.get(&(at & !PAGE_MASK))?)?;
                code.push(page[(at & PAGE_MASK) as usize]);
            }
        }
        Some(code)
    }
}

/// A translated region.
pub struct Code {
    /// As [`module`], one of many whose code will lie together.
    pub wasm: Vec<u8>,
    /// How many bytes of x86 it was made from.
    pub x86_bytes: u64,
}

/// As [`module`], to be put together with others.
pub fn code(source: &Source, level: CpuLevel, layout: &Layout) -> Option<Code> {
    let region = source.region(&LiftOptions { level })?;
    let x86_bytes = region.blocks.iter().map(|block| u64::from(block.len)).sum();
    Some(Code { wasm: wasmgen::module(&[region], layout, 0), x86_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout =
        Layout { cpu: 0x1000, read: 0x2000, write: 0x3000, shared: 0x4000, helper: 7 };

    /// A request for these blocks, in pages filled with `bytes` from each block's place on.
    fn source(blocks: &[BlockAt], bytes: &[u8]) -> Source {
        let root = blocks.first().map_or(0, |b| b.pc);
        let request = Request { id: 3, root, blocks: blocks.to_vec(), ..Request::default() };
        let mut pages: Pages =
            Source::pages_of(&request).map(|page| (page, Box::new([0xF4; PAGE_SIZE]))).collect();
        for block in blocks {
            let mut at = block.phys;
            for &byte in bytes {
                let page = pages.get_mut(&page(at)).unwrap();
                page[at as usize % PAGE_SIZE] = byte;
                at += 1;
                if (at as usize).is_multiple_of(PAGE_SIZE) {
                    at = block.next;
                }
            }
        }
        Source { request, pages }
    }

    #[test]
    fn blocks_are_lifted_at_their_guest_addresses() {
        let at = BlockAt { pc: 0x40_0100, phys: 0x7100, next: 0 };
        // add rax, rbx; jmp to itself
        let source = source(&[at], b"\x48\x01\xd8\xeb\xfb");
        let block = source.block(&at, &LiftOptions::default()).unwrap();
        assert_eq!((block.pc, block.len), (0x40_0100, 5));
        assert_eq!(block.term, ir::Term::Jump { target: 0x40_0100 });
    }

    #[test]
    fn an_instruction_goes_on_in_the_next_page_wherever_that_lies() {
        let at = BlockAt { pc: 0x40_0FFE, phys: 0x7FFE, next: 0x3000 };
        // mov eax, 0x12345678
        let source = source(&[at], b"\xb8\x78\x56\x34\x12");
        let block = source.block(&at, &LiftOptions::default()).unwrap();
        assert_eq!((block.len, block.insts[0].imm), (5, 0x1234_5678));
        // Without that page there is no block, and without its root no region.
        let cut = BlockAt { next: 0, ..at };
        let source = Source { request: Request { blocks: vec![cut], ..source.request }, ..source };
        assert!(source.region(&LiftOptions::default()).is_none());
    }

    #[test]
    fn what_was_asked_for_comes_first_among_the_places_to_enter() {
        // call 5 bytes on; jmp to itself; ret
        let at = |pc| BlockAt { pc, phys: 0x7000 + (pc & PAGE_MASK) as u32, next: 0 };
        let mut source = source(&[at(0x40_0100)], b"\xe8\x02\x00\x00\x00\xeb\xfe\xc3");
        source.request.blocks.extend([at(0x40_0105), at(0x40_0107)]);
        for (asked, entries) in [
            (vec![], vec![0x40_0105]),
            (vec![0x40_0107], vec![0x40_0107, 0x40_0105]),
            (vec![0x40_0105], vec![0x40_0105]),
        ] {
            source.request.entries = asked;
            let Made { shape, .. } = module(&source, CpuLevel::V2, &LAYOUT).unwrap();
            let blocks = vec![(0x40_0100, 5), (0x40_0105, 2), (0x40_0107, 1)];
            assert_eq!(shape, Shape { blocks, entries });
        }
        let code = source.code_of(&[(0x40_0107, 1), (0x40_0105, 2)]);
        assert_eq!(code.as_deref(), Some(&b"\xc3\xeb\xfe"[..]));
        assert_eq!(source.code_of(&[(0x40_0FFF, 2)]), None);
    }

    #[test]
    fn what_is_no_code_becomes_no_module() {
        let good = source(&[BlockAt { pc: 0x40_0100, phys: 0x7100, next: 0 }], b"\x90\xeb\xfd");
        let wasm = module(&good, CpuLevel::V2, &LAYOUT).unwrap();
        assert!(wasm.wasm.starts_with(b"\0asm"));
        let bad = Source { pages: Pages::new(), ..good };
        assert!(module(&bad, CpuLevel::V2, &LAYOUT).is_none());
    }
}
