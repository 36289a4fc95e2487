//! Loading a program into the current, empty address space.

use std::rc::Rc;

use abi::Errno;
use abi::auxv::*;
use abi::mman::{PROT_EXEC, PROT_READ, PROT_WRITE};
use mem::{PAGE_MASK, PAGE_SHIFT, PAGE_SIZE};

use super::elf::{Elf, PF_R, PF_W, PF_X, Phdr};
use super::stack::{self, StackSpec};
use crate::mm::map::{Place, page_up};
use crate::mm::{LOW_END, MapRequest, MapSource, Mm, Rights};

/// Programs that may lie anywhere lie here (Linux: two thirds of the address space, 0x5555_5555_4000).
const PIE_BASE: u64 = 0x5555_4000;
/// Top of the stack: a guard page below the end of the low 4 GiB.
pub const STACK_TOP: u64 = LOW_END - 0x1000;
/// Stack that is mapped at once; more on demand.
const STACK_INITIAL: u64 = 132 << 10;

/// A program or interpreter to be mapped.
#[derive(Clone)]
pub struct Object {
    /// Its headers.
    pub elf: Elf,
    /// Its content.
    pub source: Rc<dyn MapSource>,
}

/// Everything that a new program needs.
pub struct Program<'a> {
    /// The program.
    pub main: Object,
    /// Its dynamic linker.
    pub interpreter: Option<Object>,
    /// Stack contents; ids and AT_SECURE are in its `auxv` already.
    pub stack: StackSpec<'a>,
}

/// Registers of the loaded program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First instruction.
    pub rip: u64,
    /// Stack pointer.
    pub rsp: u64,
}

/// Maps one segment; the part beyond the file is zero.
fn map_segment(mm: &mut Mm, object: &Object, p: &Phdr, bias: u64) -> Result<(), Errno> {
    let mut prot = 0;
    for (flag, bit) in [(PF_R, PROT_READ), (PF_W, PROT_WRITE), (PF_X, PROT_EXEC)] {
        if p.flags & flag != 0 {
            prot |= bit;
        }
    }
    let rights = Rights::private(prot);
    let vaddr = p.vaddr.checked_add(bias).ok_or(Errno::ENOEXEC)?;
    let start = vaddr & !PAGE_MASK;
    let head = vaddr - start;
    let file_end = vaddr + p.filesz;
    let mem_end = page_up(vaddr + p.memsz).ok_or(Errno::ENOEXEC)?;
    let mut at = start;
    if p.filesz > 0 {
        let len = page_up(head + p.filesz).ok_or(Errno::ENOEXEC)?;
        let page = (p.offset - head) >> PAGE_SHIFT;
        let source = Some(object.source.clone());
        mm.map(MapRequest { addr: start, len, place: Place::Fixed, rights, source, page })?;
        at = start + len;
        // The rest of the last page is .bss; Linux too ignores that it may be read-only.
        if p.memsz > p.filesz && prot & PROT_WRITE != 0 && file_end < at {
            mm.zero_user(file_end, at - file_end)?;
        }
    }
    if mem_end > at {
        let len = mem_end - at;
        mm.map(MapRequest { addr: at, len, place: Place::Fixed, rights, source: None, page: 0 })?;
    }
    Ok(())
}

/// Maps all segments and returns the load bias.
fn map_object(mm: &mut Mm, object: &Object, base: Option<u64>) -> Result<u64, Errno> {
    object.elf.check()?;
    let (low, high) = object.elf.extent();
    let len = high.checked_sub(low).ok_or(Errno::ENOEXEC)?;
    let bias = if object.elf.is_relocatable() {
        let align = object.elf.align();
        let at = match base {
            Some(base) => base.next_multiple_of(align),
            None => {
                // Reserve more than needed, so that an aligned place is inside.
                let space = mm.space(mm.current()).ok_or(Errno::ENOMEM)?;
                let slack = align - PAGE_SIZE as u64;
                space.find_free(0, len.saturating_add(slack), false)?.next_multiple_of(align)
            }
        };
        at.wrapping_sub(low)
    } else {
        0
    };
    let segments: Vec<Phdr> = object.elf.loads().copied().collect();
    for p in &segments {
        map_segment(mm, object, p, bias)?;
    }
    Ok(bias)
}

/// Maps the program, its interpreter and its stack into the current space, which must be empty.
pub fn load(mm: &mut Mm, program: &Program) -> Result<Entry, Errno> {
    let stack_limit = {
        let space = mm.space_mut(mm.current()).ok_or(Errno::ENOMEM)?;
        let gap = space.limits.stack.clamp(8 << 20, 512 << 20);
        space.layout.stack_top = STACK_TOP;
        // One MiB more than the stack may grow, as a guard.
        space.layout.mmap_base = (STACK_TOP - gap - (1 << 20)) & !0xf_ffff;
        space.limits.stack
    };
    let elf = &program.main.elf;
    let bias = map_object(mm, &program.main, Some(PIE_BASE))?;
    let (_, high) = elf.extent();
    let entry = elf.header.entry.wrapping_add(bias);

    let mut prot = PROT_READ | PROT_WRITE;
    if elf.executable_stack() {
        prot |= PROT_EXEC;
    }
    let rights = Rights { grows_down: true, ..Rights::private(prot) };
    let len = STACK_INITIAL.min(stack_limit & !PAGE_MASK).max(PAGE_SIZE as u64);
    let addr = STACK_TOP - len;
    // A program whose segments reach up to here leaves no room.
    mm.map(MapRequest { addr, len, place: Place::FixedNoReplace, rights, source: None, page: 0 })
        .map_err(|_| Errno::ENOMEM)?;

    let (rip, base) = match &program.interpreter {
        Some(object) => {
            let bias = map_object(mm, object, None)?;
            (object.elf.header.entry.wrapping_add(bias), bias)
        }
        None => (entry, 0),
    };
    let phdr = elf.phdr_address();
    let mut spec = program.stack.clone();
    let mut auxv = vec![
        (AT_PAGESZ, PAGE_SIZE as u64),
        (AT_CLKTCK, 100),
        (AT_PHDR, if phdr == 0 { 0 } else { phdr.wrapping_add(bias) }),
        (AT_PHENT, <Phdr as abi::Pod>::SIZE as u64),
        (AT_PHNUM, u64::from(elf.header.phnum)),
        (AT_BASE, base),
        (AT_FLAGS, 0),
        (AT_ENTRY, entry),
    ];
    auxv.append(&mut spec.auxv);
    auxv.push((AT_MINSIGSTKSZ, 2048));
    spec.auxv = auxv;
    let stack = stack::build(mm, STACK_TOP, &spec)?;

    let space = mm.space_mut(mm.current()).ok_or(Errno::ENOMEM)?;
    let layout = &mut space.layout;
    let code = elf.loads().find(|p| p.flags & PF_X != 0);
    layout.start_code = code.map_or(0, |p| p.vaddr.wrapping_add(bias));
    layout.end_code = code.map_or(0, |p| p.vaddr.wrapping_add(bias).wrapping_add(p.filesz));
    layout.brk_start = high.wrapping_add(bias);
    // A program alone with its dynamic linker (`ld.so prog`) keeps its heap away from what it will map.
    if layout.brk_start >= LOW_END {
        layout.brk_start = PIE_BASE;
    }
    layout.brk = layout.brk_start;
    layout.args = stack.args;
    layout.env = stack.env;
    layout.auxv = stack.auxv.clone();
    Ok(Entry { rip, rsp: stack.sp })
}
