//! Regions: from the bytes of hot blocks to a Wasm module. What hosts and programs there are is unknown here.
//!
//! A [`Source`] is what a box asked for ([`mem::desk::Request`]) with a copy of the pages that its blocks lie in. It comes
//! from a box and is not trusted: whatever is in it, the result is a module that does to the box what the interpreter
//! could, or none.

pub mod program;

use ir::Block;
use mem::PAGE_MASK;
use mem::desk::{BlockAt, Request};
pub use mem::{PAGE_SIZE, desk, frozen};
use std::collections::BTreeMap;
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

/// The module of a region for a processor; imports and export as [`wasmgen::module`] says. None if its bytes are no code.
pub fn module(source: &Source, level: CpuLevel, layout: &Layout) -> Option<Vec<u8>> {
    let region = source.region(&LiftOptions { level })?;
    let lines = desk::spread(source.request.root, LINES) as u32;
    Some(wasmgen::module(&[region], layout, lines))
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
    fn what_is_no_code_becomes_no_module() {
        let good = source(&[BlockAt { pc: 0x40_0100, phys: 0x7100, next: 0 }], b"\x90\xeb\xfd");
        let wasm = module(&good, CpuLevel::V2, &LAYOUT).unwrap();
        assert!(wasm.starts_with(b"\0asm"));
        let bad = Source { pages: Pages::new(), ..good };
        assert_eq!(module(&bad, CpuLevel::V2, &LAYOUT), None);
    }
}
