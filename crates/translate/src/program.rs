//! All code of a program or library: its functions, by unwind tables and symbols, and the regions that they become where nothing
//! is known of how they run.

use crate::{CpuLevel, LiftOptions, MAX_INSTRUCTION_LEN, PAGE_SIZE, Pages, page};
use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};
use ir::{Term, TrapKind};
use mem::PAGE_MASK;
use mem::desk::{BlockAt, MAX_BLOCKS, Request};
use object::elf::{FileHeader64, PF_X, PT_LOAD};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{LittleEndian as Little, Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Functions that most programs spend time in, whatever they do, by their names in the symbol tables of libraries and of
/// interpreters. A name that ends in `*` stands for all that begin so.
pub const ALWAYS_HOT: &[&str] = &[
    // The C library's.
    "mem*",
    "__mem*",
    "str*",
    "__str*",
    "wmem*",
    "wcs*",
    "malloc",
    "calloc",
    "realloc",
    "free",
    "cfree",
    "qsort",
    "qsort_r",
    "bsearch",
    "_dl_runtime_resolve*",
    "__tls_get_addr",
    "pthread_mutex_lock",
    "pthread_mutex_unlock",
    "pthread_getspecific",
    "__libc_start_main",
    "fwrite",
    "fputs",
    "getc",
    "fgets",
    "vfprintf",
    "printf",
    "_IO_*",
    // zlib's.
    "inflate*",
    "deflate*",
    "crc32*",
    "adler32*",
    "compress*",
    "uncompress*",
    // Python's, Perl's, Lua's, Ruby's and SQLite's.
    "_PyEval_EvalFrameDefault",
    "_PyObject_*",
    "PyObject_*",
    "_PyDict_*",
    "PyDict_*",
    "PyLong_*",
    "_PyLong_*",
    "PyUnicode_*",
    "_PyUnicode_*",
    "PyList_*",
    "PyTuple_*",
    "_PyType_*",
    "Perl_runops*",
    "Perl_pp_*",
    "Perl_sv_*",
    "Perl_hv_common*",
    "luaV_*",
    "luaH_*",
    "luaD_*",
    "rb_vm_exec",
    "vm_exec*",
    "rb_hash_*",
    "rb_ary_*",
    "rb_str_*",
    "sqlite3VdbeExec",
    "sqlite3_step",
];

/// Most segments of one program that are executed: linkers make one.
const MAX_SEGMENTS: usize = 16;
/// Most functions of one program: a file may say that it has any number.
const MAX_FUNCTIONS: usize = 200_000;
/// Most bytes of one function: the largest that compilers make are some 100 KiB.
const MAX_FUNCTION: u64 = 1 << 20;

/// A program or library, as a file.
pub struct Program<'a> {
    bytes: &'a [u8],
    code: Vec<Code>,
    /// Where it begins, as linked.
    entry: u64,
    functions: Vec<Function>,
}

/// A part of the file that is mapped to be executed.
struct Code {
    /// As linked.
    address: u64,
    /// Offset in the file.
    offset: u64,
    len: u64,
}

/// Where one lies, as linked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Function {
    addresses: Range<u64>,
    is_hot: bool,
}

/// Where a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placement {
    /// Physical address of the file's first byte, a multiple of a page.
    pub phys: u32,
    /// What is added to the addresses as linked.
    pub bias: u64,
}

/// Which functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// [`ALWAYS_HOT`].
    Hot,
}

impl<'a> Program<'a> {
    /// What `bytes` say. None if they are no x86-64 ELF file; tables that are damaged are read as far as they can be.
    pub fn new(bytes: &'a [u8]) -> Option<Program<'a>> {
        let mut program = Program::headers(bytes)?;
        if let Ok(file) = ElfFile64::<Little>::parse(bytes) {
            program.functions = program.functions_of(&file);
        }
        if program.functions.is_empty() {
            program.functions =
                program.code.iter().flat_map(|code| code.pieces(program.entry)).collect();
        }
        Some(program)
    }

    /// As [`Program::new`], without its functions.
    pub fn headers(bytes: &'a [u8]) -> Option<Program<'a>> {
        let header = FileHeader64::<Little>::parse(bytes).ok()?;
        if header.e_machine(Little) != object::elf::EM_X86_64 {
            return None;
        }
        let segments = header.program_headers(Little, bytes).ok()?;
        let executable = segments
            .iter()
            .filter(|s| s.p_type(Little) == PT_LOAD && s.p_flags(Little) & PF_X != 0);
        let code: Vec<Code> = executable
            .take(MAX_SEGMENTS)
            .map(|segment| {
                let offset = segment.p_offset(Little);
                let there = (bytes.len() as u64).saturating_sub(offset);
                let len = segment.p_filesz(Little).min(there);
                Code { address: segment.p_vaddr(Little), offset, len }
            })
            .collect();
        Some(Program { bytes, code, entry: header.e_entry(Little), functions: Vec::new() })
    }

    fn functions_of(&self, file: &ElfFile64<'a, Little>) -> Vec<Function> {
        let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
        let mut hot = BTreeSet::new();
        let symbols = file.symbols().chain(file.dynamic_symbols());
        for symbol in symbols.filter(|symbol| symbol.kind() == SymbolKind::Text).take(MAX_FUNCTIONS)
        {
            let end = symbol.address().saturating_add(symbol.size());
            let known = ends.entry(symbol.address()).or_insert(end);
            *known = end.max(*known);
            if symbol.name_bytes().is_ok_and(is_hot) {
                hot.insert(symbol.address());
            }
        }
        for Range { start, end } in unwound(file) {
            if ends.len() >= MAX_FUNCTIONS {
                break;
            }
            let known = ends.entry(start).or_insert(end);
            *known = end.max(*known);
        }
        let mut functions = Vec::new();
        let starts: Vec<u64> = ends.keys().copied().collect();
        for (n, (start, end)) in ends.into_iter().enumerate() {
            // What is said to lie within it is a function of its own.
            let next = starts.get(n + 1).copied().unwrap_or(u64::MAX);
            let Some(within) = self.code.iter().find(|code| code.holds(start)) else { continue };
            let end = end.min(next).min(within.end()).min(start.saturating_add(MAX_FUNCTION));
            if start < end {
                functions.push(Function { addresses: start..end, is_hot: hot.contains(&start) });
            }
        }
        functions
    }

    /// What is added to the addresses as linked if the byte of the file at `offset` is executed at `pc`; none if it is no code.
    pub fn bias(&self, offset: u64, pc: u64) -> Option<u64> {
        let code = self.code.iter().find(|code| {
            offset.checked_sub(code.offset).is_some_and(|distance| distance < code.len)
        })?;
        let bias = pc.wrapping_sub(code.address.wrapping_add(offset - code.offset));
        (bias & PAGE_MASK == 0).then_some(bias)
    }

    /// Requests for the regions of a program that lies there, and the pages they lie in, without those with a root of which `known`
    /// is true (by guest and physical address).
    pub fn requests(
        &self,
        at: Placement,
        which: Which,
        level: CpuLevel,
        known: impl Fn(u64, u32) -> bool,
    ) -> (Vec<Request>, Pages) {
        let options = LiftOptions { level };
        let mut requests = Vec::new();
        let mut pages = Pages::new();
        for function in &self.functions {
            if which == Which::Hot && !function.is_hot {
                continue;
            }
            let mut walk = Walk { program: self, at, options, function, blocks: BTreeMap::new() };
            walk.all();
            for request in walk.requests() {
                let root = request.blocks.first().map_or(0, |block| block.phys);
                if known(request.root, root) {
                    continue;
                }
                let mut copied = true;
                for place in crate::Source::pages_of(&request).collect::<BTreeSet<_>>() {
                    match self.page_at(at, place) {
                        Some(content) => drop(pages.entry(place).or_insert(content)),
                        None => copied = false,
                    }
                }
                if copied {
                    requests.push(request);
                }
            }
        }
        (requests, pages)
    }

    /// The page of the file at a physical address; behind the file's end there are zeros.
    fn page_at(&self, at: Placement, place: u32) -> Option<Box<[u8; PAGE_SIZE]>> {
        let offset = place.checked_sub(at.phys)? as usize;
        let rest = self.bytes.get(offset..)?;
        let mut content = Box::new([0; PAGE_SIZE]);
        let len = rest.len().min(PAGE_SIZE);
        content.get_mut(..len)?.copy_from_slice(rest.get(..len)?);
        Some(content)
    }

    /// Offset in the file of an address as linked.
    fn offset(&self, address: u64) -> Option<u64> {
        let code = self.code.iter().find(|code| code.holds(address))?;
        code.offset.checked_add(address - code.address)
    }
}

impl Code {
    /// In place of its functions, where no table tells them. One begins where the program does, if that is here.
    fn pieces(&self, entry: u64) -> Vec<Function> {
        let mut starts: BTreeSet<u64> =
            (self.address..self.end()).step_by(MAX_FUNCTION as usize).collect();
        starts.extend(Some(entry).filter(|entry| self.holds(*entry)));
        let ends = starts.iter().copied().skip(1).chain(std::iter::once(self.end()));
        let piece = |(start, end): (&u64, u64)| Function { addresses: *start..end, is_hot: false };
        starts.iter().zip(ends).map(piece).collect()
    }

    fn end(&self) -> u64 {
        self.address.saturating_add(self.len)
    }

    fn holds(&self, address: u64) -> bool {
        (self.address..self.end()).contains(&address)
    }
}

fn is_hot(name: &[u8]) -> bool {
    ALWAYS_HOT.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == pattern.as_bytes(),
    })
}

/// The functions of the unwind table (`.eh_frame`), which compilers write for all code and `strip` leaves.
fn unwound(file: &ElfFile64<'_, Little>) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    let Some(section) = file.section_by_name(".eh_frame") else { return found };
    let Ok(data) = section.data() else { return found };
    let text = file.section_by_name(".text").map_or(0, |text| text.address());
    let bases = BaseAddresses::default().set_eh_frame(section.address()).set_text(text);
    let table = EhFrame::new(data, LittleEndian);
    let mut entries = table.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let Ok(fde) = partial.parse(EhFrame::cie_from_offset) else { continue };
        let start = fde.initial_address();
        found.push(start..start.saturating_add(fde.len()));
        if found.len() >= MAX_FUNCTIONS {
            break;
        }
    }
    found
}

/// The blocks of a function.
struct Walk<'a> {
    program: &'a Program<'a>,
    at: Placement,
    options: LiftOptions,
    function: &'a Function,
    /// By address as linked.
    blocks: BTreeMap<u64, Found>,
}

/// A block.
struct Found {
    end: u64,
    term: Term,
    /// Nothing that was seen leads there: the target of an indirect jump, most likely.
    is_indirect: bool,
}

impl Walk<'_> {
    /// Follows jumps, branches and the returns of calls. What is left over then begins behind a jump or a return: what a table of
    /// jumps leads to.
    fn all(&mut self) {
        let Range { start, end } = self.function.addresses;
        let mut cursor = start;
        while cursor < end {
            match self.blocks.range(..=cursor).next_back() {
                Some((_, block)) if block.end > cursor => cursor = block.end,
                _ => {
                    let is_indirect = cursor != start;
                    if !self.follow(cursor, is_indirect) {
                        cursor += 1;
                    }
                }
            }
        }
    }

    /// All that is reached from there. False if no block begins there.
    fn follow(&mut self, start: u64, is_indirect: bool) -> bool {
        let mut todo = vec![start];
        while let Some(address) = todo.pop() {
            if !self.function.addresses.contains(&address) || self.blocks.contains_key(&address) {
                continue;
            }
            let Some(block) = self.lift(address) else { continue };
            let end = address.saturating_add(u64::from(block.len.max(1)));
            let next =
                successors(&block.term).map(|next| next.map(|pc| pc.wrapping_sub(self.at.bias)));
            todo.extend(next.into_iter().flatten());
            let is_indirect = is_indirect && address == start;
            self.blocks.insert(address, Found { end, term: block.term, is_indirect });
        }
        self.blocks.contains_key(&start)
    }

    fn lift(&self, address: u64) -> Option<ir::Block> {
        let offset = self.program.offset(address)? as usize;
        let pc = address.wrapping_add(self.at.bias);
        let in_page = PAGE_SIZE - offset % PAGE_SIZE;
        let lift = |len: usize| {
            let end = self.program.bytes.len().min(offset.checked_add(len)?);
            x86::lift(self.program.bytes.get(offset..end)?, pc, &self.options).ok()
        };
        // As the interpreter does: to the page's end, or one instruction that goes on in the next.
        let block = lift(in_page).or_else(|| lift(in_page + MAX_INSTRUCTION_LEN))?;
        let undefined = matches!(block.term, Term::Trap { kind: TrapKind::Ud, pc: at } if at == pc);
        (!undefined).then_some(block)
    }

    fn block_at(&self, address: u64) -> Option<BlockAt> {
        let phys = self.at.phys.checked_add(u32::try_from(self.program.offset(address)?).ok()?)?;
        let may_straddle = phys as usize % PAGE_SIZE > PAGE_SIZE - MAX_INSTRUCTION_LEN;
        let next = if may_straddle { page(phys).checked_add(PAGE_SIZE as u32)? } else { 0 };
        Some(BlockAt { pc: address.wrapping_add(self.at.bias), phys, next })
    }

    /// The blocks in regions, by address: a large function has several.
    fn requests(&self) -> Vec<Request> {
        let addresses: Vec<u64> = self.blocks.keys().copied().collect();
        // From other regions of the function, and from where calls return to.
        let mut entered: BTreeSet<u64> = BTreeSet::new();
        let region = |address: u64| addresses.partition_point(|a| *a < address) / MAX_BLOCKS;
        for (&address, block) in &self.blocks {
            let calls = matches!(
                block.term,
                Term::Call { .. } | Term::CallIndirect { .. } | Term::Syscall { .. }
            );
            for next in successors(&block.term).into_iter().flatten() {
                let next = next.wrapping_sub(self.at.bias);
                if calls || next <= address || region(next) != region(address) {
                    entered.insert(next);
                }
            }
            if block.is_indirect {
                entered.insert(address);
            }
        }
        let request = |part: &[u64]| {
            let blocks =
                part.iter().map(|address| self.block_at(*address)).collect::<Option<Vec<_>>>()?;
            let root = blocks.first()?.pc;
            let pc = |address: &u64| address.wrapping_add(self.at.bias);
            let entries = part.iter().skip(1).filter(|address| entered.contains(address)).map(pc);
            let jumps =
                |address: &&u64| self.blocks.get(address).is_some_and(|block| block.is_indirect);
            let indirect = part.iter().filter(jumps).map(pc);
            let (entries, indirect) = (entries.collect(), indirect.collect());
            Some(Request { root, blocks, entries, indirect, ..Request::default() })
        };
        addresses.chunks(MAX_BLOCKS).filter_map(request).collect()
    }
}

/// Where a block goes on within its function; for a call, where that returns to.
fn successors(term: &Term) -> [Option<u64>; 2] {
    match *term {
        Term::Jump { target } => [Some(target), None],
        Term::Branch { taken, fallthrough, .. } | Term::BranchNz { taken, fallthrough, .. } => {
            [Some(taken), Some(fallthrough)]
        }
        Term::Call { ret, .. } | Term::CallIndirect { ret, .. } => [Some(ret), None],
        Term::Syscall { next } => [Some(next), None],
        Term::JumpIndirect { .. } | Term::Ret { .. } | Term::Trap { .. } => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Placement = Placement { phys: 0x10_0000, bias: 0x5555_5555_4000 };

    /// This test's own program.
    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn nearly_all_code_of_a_program_is_found_and_each_region_is_code() {
        let bytes = own();
        let program = Program::new(&bytes).unwrap();
        let (requests, pages) = program.requests(AT, Which::All, CpuLevel::V2, |_, _| false);
        let options = LiftOptions::default();
        let mut covered = BTreeMap::new();
        for request in requests {
            assert!(request.blocks.len() <= MAX_BLOCKS && request.root == request.blocks[0].pc);
            let mut source = crate::Source { request, pages: Pages::new() };
            for place in crate::Source::pages_of(&source.request) {
                source.pages.insert(place, pages[&place].clone());
            }
            for at in &source.request.blocks {
                let block = source.block(at, &options).unwrap();
                assert_eq!(u64::from(at.phys - AT.phys) & PAGE_MASK, at.pc & PAGE_MASK);
                covered.insert(at.pc, at.pc + u64::from(block.len));
            }
        }
        let text: u64 = program.functions.iter().map(|f| f.addresses.end - f.addresses.start).sum();
        let mut sum = 0;
        let mut behind = 0;
        for (start, end) in covered {
            sum += end.saturating_sub(start.max(behind));
            behind = behind.max(end);
        }
        assert!(text > 100_000 && sum * 100 >= text * 98, "{sum} of {text}");
    }

    #[test]
    fn names_choose_what_is_always_hot() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let library = maps
            .lines()
            .find_map(|line| line.split(' ').next_back().filter(|path| path.contains("/libc.so")));
        let Some(path) = library else {
            println!("skipped: no C library beside this program");
            return;
        };
        let bytes = std::fs::read(path).unwrap();
        let program = Program::new(&bytes).unwrap();
        let file = ElfFile64::<Little>::parse(&*bytes).unwrap();
        let malloc = file.dynamic_symbols().find(|s| s.name_bytes() == Ok(b"malloc")).unwrap();
        let (hot, _) = program.requests(AT, Which::Hot, CpuLevel::V2, |_, _| false);
        assert!(hot.iter().any(|request| request.root == malloc.address() + AT.bias));
        let (all, _) = program.requests(AT, Which::All, CpuLevel::V2, |_, _| false);
        assert!(hot.len() > 100 && hot.len() < all.len() / 2, "{} of {}", hot.len(), all.len());
        let known = |pc: u64, _| pc == hot[0].root;
        let (rest, _) = program.requests(AT, Which::Hot, CpuLevel::V2, known);
        assert_eq!(rest.len(), hot.len() - 1);
    }

    #[test]
    fn damaged_files_are_read_as_far_as_they_can_be() {
        // The headers, the tables at both ends, and no more code than a test has time for.
        let whole = own();
        let mut random = 1_u64;
        let mut next = move |n: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % n
        };
        assert!(Program::new(b"").is_none() && Program::new(b"#!/bin/sh\n").is_none());
        for _ in 0..200 {
            let mut bytes = whole[..64 + next(40_000)].to_vec();
            for _ in 0..next(20) {
                let at = next(bytes.len().min(1_000));
                bytes[at] = next(256) as u8;
            }
            if let Some(program) = Program::new(&bytes) {
                let (requests, pages) =
                    program.requests(AT, Which::All, CpuLevel::V3, |_, _| false);
                assert!(requests.is_empty() || !pages.is_empty());
            }
        }
    }
}
