//! Runs cases by `x86::lift` and the interpreter.

use super::encode::behind;
use super::memory::{LINE, Memory, drain};
use super::promised;
use super::{
    CODE, Case, DATA, DATA_LEN, ENTRY, End, FLAGS, FX_LEN, MAX_CODE, Outcome, State, WRITABLE_LEN,
};
use interp::{Engine, Env, Exit};
use ir::{Cpu, FS_BASE, GS_BASE, TrapKind, X87};
use mem::{Access, Fault, FaultKind, Frame, Lookaside, PAGE_SIZE, Phys, Tables, Translate};
use x86::fault::Report;

/// Pages for code: each new code gets the next, so that what was compiled before need not be dropped each time.
const CODE_PAGES: u32 = 64;
/// Most instructions of a case.
const MOST: u64 = 4096;

/// The interpreter with the tester's address space.
pub struct Emulated {
    engine: Engine,
    space: Space,
    /// Kept between cases: most of it is temporaries, which mean nothing between instructions.
    cpu: Box<Cpu>,
    /// Code of the last case.
    last: Vec<u8>,
}

struct Space {
    phys: Phys,
    lookaside: Lookaside,
    /// The first of [`CODE_PAGES`].
    codes: Frame,
    code: Frame,
    data: Frame,
    epoch: u32,
    /// Bytes of the code page, for the lifter.
    page: [u8; PAGE_SIZE],
    /// Blocks that were lifted for this code: (address, length, offsets of the instructions).
    blocks: Vec<(u64, u64, Vec<u32>)>,
}

impl Default for Emulated {
    fn default() -> Emulated {
        Emulated::new()
    }
}

impl Emulated {
    /// Maps the pages.
    pub fn new() -> Emulated {
        let mut phys = Phys::new(1 << 20);
        let codes = phys.alloc_run(CODE_PAGES).expect("frames");
        let data = phys.alloc_run((DATA_LEN / PAGE_SIZE) as u32).expect("frames");
        for i in 0..CODE_PAGES {
            phys.bytes_mut(codes.offset(i)).fill(0xcc);
        }
        for i in 0..(DATA_LEN / PAGE_SIZE) as u32 {
            phys.bytes_mut(data.offset(i)).fill(0);
        }
        let space = Space {
            phys,
            lookaside: Lookaside::new(),
            codes,
            code: codes,
            data,
            epoch: 0,
            page: [0xcc; PAGE_SIZE],
            blocks: Vec::new(),
        };
        Emulated { engine: Engine::new(), space, cpu: Box::new(Cpu::new()), last: Vec::new() }
    }

    /// Where the physical memory that is in use begins; 4 GiB from a little before it on are reserved.
    pub fn physical_memory(&self) -> *const u8 {
        self.space.phys.bytes(self.space.codes).as_ptr()
    }

    /// Runs one case.
    pub fn run(&mut self, case: &Case) -> Outcome {
        self.count(case).0
    }

    /// Runs one case; also says how many instructions were executed, the one that a fault or trap stopped included.
    pub fn count(&mut self, case: &Case) -> (Outcome, u64) {
        self.count_in_turns(case, |_, _| MOST)
    }

    /// As [`Emulated::run`], in turns: `other` has its way with the CPU and the data pages, then the interpreter runs about
    /// as many instructions as `other` says, until it ends.
    pub fn run_in_turns(
        &mut self,
        case: &Case,
        other: impl FnMut(&mut Cpu, &mut [u8]) -> u64,
    ) -> Outcome {
        self.count_in_turns(case, other).0
    }

    fn count_in_turns(
        &mut self,
        case: &Case,
        mut other: impl FnMut(&mut Cpu, &mut [u8]) -> u64,
    ) -> (Outcome, u64) {
        if self.last != case.code {
            self.set_code(&case.code);
        }
        let space = &mut self.space;
        for line in case.state.memory.lines() {
            let (page, at) = page_and_offset(line.number);
            let bytes = space.phys.bytes_mut(space.data.offset(page));
            bytes[at..at + LINE].copy_from_slice(&line.bytes);
        }
        let cpu = &mut *self.cpu;
        load(cpu, case);
        let before = self.engine.retired();
        let mut data = Vec::with_capacity(DATA_LEN);
        let exit = loop {
            let pages = 0..(DATA_LEN / PAGE_SIZE) as u32;
            data.clear();
            for i in pages.clone() {
                data.extend_from_slice(space.phys.bytes(space.data.offset(i)));
            }
            let fuel = other(cpu, &mut data);
            for (i, bytes) in pages.zip(data.chunks(PAGE_SIZE)) {
                space.phys.bytes_mut(space.data.offset(i)).copy_from_slice(bytes);
            }
            let exit = self.engine.run(cpu, space, fuel);
            if exit != Exit::OutOfFuel || self.engine.retired() - before >= MOST {
                break exit;
            }
        };
        let (end, rip) = match exit {
            Exit::Trap(TrapKind::Bp) => (End::Done, cpu.rip.wrapping_sub(1)),
            Exit::Trap(kind) => (End::Trap(kind), cpu.rip),
            Exit::Fault(f) => (space.report(cpu, f), cpu.rip),
            Exit::Syscall | Exit::OutOfFuel => (End::Lost, cpu.rip),
        };
        let executed = self.engine.retired() - before + space.in_last_block(rip);
        let stopped = u64::from(end != End::Done);
        let mut lines = Vec::with_capacity(case.state.memory.lines().len() + 4);
        for i in 0..(DATA_LEN / PAGE_SIZE) as u32 {
            drain(space.phys.bytes_mut(space.data.offset(i)), |mut line| {
                line.number += i * (PAGE_SIZE / LINE) as u32;
                lines.push(line);
            });
        }
        let mut state = State { memory: Memory::from_lines(lines), ..State::default() };
        state.regs.copy_from_slice(&cpu.slot[..16]);
        state.rflags = cpu.rflags() & FLAGS;
        state.fs = cpu.slot[usize::from(FS_BASE)];
        state.gs = cpu.slot[usize::from(GS_BASE)];
        state.fx.copy_from_slice(&cpu.fxsave()[..FX_LEN]);
        // Opcode, instruction and data pointer are not state here.
        state.fx[5..24].fill(0);
        state.fx[28..32].fill(0);
        state.high.copy_from_slice(&cpu.v[16..32]);
        (Outcome { end, rip, state }, executed + stopped)
    }

    fn set_code(&mut self, code: &[u8]) {
        let (space, at) = (&mut self.space, (ENTRY - CODE) as usize);
        space.epoch += 1;
        let n = space.epoch % CODE_PAGES;
        if n == 0 {
            self.engine.clear();
        }
        space.code = space.codes.offset(n);
        space.blocks.clear();
        space.page[at..at + MAX_CODE].fill(0xcc);
        space.page[at..at + code.len()].copy_from_slice(code);
        // What a program reads there is what it reads on the processor; the lifter sees int3 behind the code.
        let page = space.phys.bytes_mut(space.code);
        page[at..at + MAX_CODE + 8].fill(0xcc);
        page[at..at + code.len()].copy_from_slice(code);
        page[at + code.len()..at + code.len() + 8].copy_from_slice(&behind(code));
        self.last.clear();
        self.last.extend_from_slice(code);
    }
}

impl Space {
    /// A fault as the machine reports it to the kernel.
    fn report(&mut self, cpu: &Cpu, fault: Fault) -> End {
        let mut regs = [0; 18];
        regs[..16].copy_from_slice(&cpu.slot[..16]);
        regs[16] = cpu.slot[usize::from(FS_BASE)];
        regs[17] = cpu.slot[usize::from(GS_BASE)];
        let at = cpu.rip.wrapping_sub(CODE) as usize;
        let fetch = fault.access == Access::Fetch;
        let bytes = if fetch { &[][..] } else { self.page.get(at..).unwrap_or(&[]) };
        let bytes = &bytes[..bytes.len().min(x86::MAX_INSTRUCTION_LEN)];
        let store = fault.access == Access::Write;
        match x86::fault::judge(bytes, cpu.rip, fault.addr, store, &regs) {
            Report::Load => End::Fault(fault.addr, false),
            Report::Store(start) => {
                let first = self.translate(start, Access::Write).err();
                End::Fault(first.map_or(fault.addr, |f| f.addr), true)
            }
            Report::General | Report::Stack => End::Trap(TrapKind::Gp),
        }
    }
}

fn page_and_offset(line: u32) -> (u32, usize) {
    let per_page = (PAGE_SIZE / LINE) as u32;
    (line / per_page, (line % per_page) as usize * LINE)
}

fn load(cpu: &mut Cpu, case: &Case) {
    cpu.x87 = X87::default();
    cpu.other_flags = 0;
    let mut image = [0; 512];
    image[..FX_LEN].copy_from_slice(&case.state.fx);
    // Reserved bits of MXCSR cannot be set in a frame either.
    let _ = cpu.fxrstor(&image);
    cpu.slot[..16].copy_from_slice(&case.state.regs);
    cpu.slot[usize::from(FS_BASE)] = case.state.fs;
    cpu.slot[usize::from(GS_BASE)] = case.state.gs;
    cpu.set_rflags(case.state.rflags);
    cpu.v[16..32].copy_from_slice(&case.state.high);
    cpu.rip = ENTRY;
}

impl Space {
    /// How many instructions of the block that holds `rip` come before it.
    fn in_last_block(&self, rip: u64) -> u64 {
        let block = self.blocks.iter().rev().find(|b| rip.wrapping_sub(b.0) < b.1);
        block.map_or(0, |b| b.2.partition_point(|&at| b.0 + u64::from(at) < rip) as u64)
    }
}

impl Translate for Space {
    fn translate(&mut self, va: u64, access: Access) -> Result<u32, Fault> {
        let offset = va.wrapping_sub(DATA);
        if offset < DATA_LEN as u64 && access != Access::Fetch {
            if access == Access::Write && offset >= WRITABLE_LEN as u64 {
                return Err(Fault { addr: va, access, kind: FaultKind::Protection });
            }
            let frame = self.data.offset((offset / PAGE_SIZE as u64) as u32);
            self.lookaside.fill(va, frame, offset < WRITABLE_LEN as u64);
            return Ok(frame.addr() + (va % PAGE_SIZE as u64) as u32);
        }
        if va.wrapping_sub(CODE) < PAGE_SIZE as u64 {
            if access == Access::Write {
                return Err(Fault { addr: va, access, kind: FaultKind::Protection });
            }
            return Ok(self.code.addr() + (va % PAGE_SIZE as u64) as u32);
        }
        Err(Fault { addr: va, access, kind: FaultKind::Unmapped })
    }
}

impl Env for Space {
    fn tables(&self) -> Tables {
        self.lookaside.tables(&self.phys)
    }
    fn epoch(&self) -> u32 {
        self.epoch
    }
    fn lift(&mut self, pc: u64) -> Result<ir::Block, Fault> {
        let at = pc.wrapping_sub(CODE) as usize;
        let missing = Fault { addr: pc, access: Access::Fetch, kind: FaultKind::Unmapped };
        let bytes = self.page.get(at..).ok_or(missing)?;
        let block = x86::lift(bytes, pc, &x86::LiftOptions { level: promised::LEVEL })
            .map_err(|_| Fault { addr: CODE + PAGE_SIZE as u64, ..missing })?;
        let offsets = block.marks.iter().map(|m| m.offset).collect();
        self.blocks.push((block.pc, u64::from(block.len), offsets));
        Ok(block)
    }
    fn is_writable(&self, _: u64) -> bool {
        false
    }
    fn take_stale(&mut self) -> Vec<Frame> {
        Vec::new()
    }
    fn has_stale(&self) -> bool {
        false
    }
    fn cpuid(&mut self, _leaf: u32, _subleaf: u32) -> [u32; 4] {
        [0; 4]
    }
    fn rdtsc(&mut self) -> u64 {
        0
    }
    fn rdrand(&mut self) -> u64 {
        0
    }
}
