//! Functions that stand for instructions which mean another part of memory now.

use super::{PAGE, PAGES};
use std::collections::BTreeMap;
use wasm_encoder::{BlockType, Function, InstructionSink, MemArg, ValType};

/// What the guest program imports: the size of the program's memory.
pub const PROGRAM_PAGES: &str = "program-pages";

/// Parameters and results.
type Signature = (&'static [ValType], &'static [ValType]);

/// A function made here.
pub type Made = (Signature, Function);

const I: ValType = ValType::I32;
const THREE: Signature = (&[I, I, I], &[]);
const ONE_TO_ONE: Signature = (&[I], &[I]);

/// Functions made here, in the order of their numbers: those that there always are, one for each data segment that is copied, and the start.
pub struct Instructions {
    /// Number of the first.
    first: u32,
    /// First page of the program's memory.
    base: u32,
    /// Number of the global with the pages that the box has taken.
    pages: u32,
    /// For segments by their numbers.
    inits: BTreeMap<u32, u32>,
}

/// How many there always are.
const ALWAYS: u32 = 5;

impl Instructions {
    pub fn new(first: u32, base: u32, pages: u32) -> Instructions {
        Instructions { first, base, pages, inits: BTreeMap::new() }
    }

    /// The global that holds the size of the box's own memory in pages.
    pub fn own_pages(&self) -> u32 {
        self.pages
    }

    /// `program-pages`.
    pub fn program_pages(&self) -> u32 {
        self.first
    }

    /// `memory.grow` of the box's own.
    pub fn own_grow(&self) -> u32 {
        self.first + 1
    }

    /// `memory.grow` of the program.
    pub fn program_grow(&self) -> u32 {
        self.first + 2
    }

    /// `memory.fill` of the program.
    pub fn fill(&self) -> u32 {
        self.first + 3
    }

    /// `memory.copy` of the program.
    pub fn copy(&self) -> u32 {
        self.first + 4
    }

    /// `memory.init` of the program with a data segment.
    pub fn init(&mut self, segment: u32) -> u32 {
        let next = self.first + ALWAYS + self.inits.len() as u32;
        *self.inits.entry(segment).or_insert(next)
    }

    /// All of them, and the start as the last.
    pub fn finish(self, start: Function) -> Vec<Made> {
        let base = self.base as i32;
        let mut made: Vec<Made> = Vec::new();
        let mut make = |signature: Signature, body: &dyn Fn(&mut InstructionSink<'_>)| {
            let mut function = Function::new([]);
            let mut sink = function.instructions();
            body(&mut sink);
            sink.end();
            made.push((signature, function));
        };
        make((&[], &[I]), &|sink| {
            sink.memory_size(0).i32_const(base).i32_sub();
        });
        // It fails beyond the program's first page, and the answer is what there was. (What there is to be had is less than half of
        // all numbers.)
        make(ONE_TO_ONE, &|sink| {
            sink.local_get(0).i32_const(base).global_get(self.pages).i32_sub().i32_gt_u();
            sink.if_(BlockType::Result(I)).i32_const(-1).else_();
            sink.global_get(self.pages);
            sink.global_get(self.pages).local_get(0).i32_add().global_set(self.pages).end();
        });
        make(ONE_TO_ONE, &|sink| {
            sink.local_get(0).memory_grow(0).local_tee(0).i32_const(-1).i32_eq();
            sink.if_(BlockType::Result(I)).i32_const(-1).else_();
            sink.local_get(0).i32_const(base).i32_sub().end();
        });
        make(THREE, &|sink| {
            self.address(sink, 0);
            sink.local_get(1).local_get(2).memory_fill(0);
        });
        make(THREE, &|sink| {
            self.address(sink, 0);
            self.address(sink, 1);
            sink.local_get(2).memory_copy(0, 0);
        });
        let mut inits: Vec<(&u32, &u32)> = self.inits.iter().collect();
        inits.sort_by_key(|(_, number)| **number);
        for (segment, _) in inits {
            make(THREE, &|sink| {
                self.address(sink, 0);
                sink.local_get(1).local_get(2).memory_init(0, *segment);
            });
        }
        made.push(((&[], &[]), start));
        made
    }

    /// An address of the program's as one of all memory. Those that are none are beyond the end of its memory, whatever its size.
    fn address(&self, sink: &mut InstructionSink<'_>, local: u32) {
        let end = (PAGES - u64::from(self.base)) * PAGE;
        sink.local_get(local).i32_const(end as u32 as i32).i32_ge_u();
        sink.if_(BlockType::Empty);
        trap(sink);
        sink.end();
        sink.local_get(local).i32_const((u64::from(self.base) * PAGE) as u32 as i32).i32_add();
    }
}

/// Traps as an access beyond the end of memory does: no memory has room for this one.
pub fn trap(sink: &mut InstructionSink<'_>) {
    let beyond = MemArg { offset: u64::from(u32::MAX), align: 0, memory_index: 0 };
    sink.i32_const(-1).i32_load(beyond).drop();
}
