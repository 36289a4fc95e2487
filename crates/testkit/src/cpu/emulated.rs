//! Runs cases by `x86::lift` and the interpreter.

use super::promised;
use super::{CODE, Case, DATA, DATA_LEN, ENTRY, End, FX_LEN, Outcome, WRITABLE_LEN};
use interp::{Engine, Env, Exit, Lifted};
use ir::{Cpu, TrapKind};
use mem::{Access, Fault, FaultKind, Frame, Lookaside, PAGE_SIZE, Phys, Tables, Translate};

/// The interpreter with the tester's address space.
pub struct Emulated {
    engine: Engine,
    space: Space,
}

struct Space {
    phys: Phys,
    lookaside: Lookaside,
    code: Frame,
    data: Frame,
    /// Bytes of the code page that belong to the case, for the lifter.
    page: [u8; PAGE_SIZE],
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
        let code = phys.alloc().expect("a frame");
        let data = phys.alloc_run((DATA_LEN / PAGE_SIZE) as u32).expect("frames");
        let lookaside = Lookaside::new();
        let space = Space { phys, lookaside, code, data, page: [0xcc; PAGE_SIZE] };
        Emulated { engine: Engine::new(), space }
    }

    /// Runs one case.
    pub fn run(&mut self, case: &Case) -> Outcome {
        self.engine.clear();
        let space = &mut self.space;
        space.page.fill(0xcc);
        let at = (ENTRY - CODE) as usize;
        space.page[at..at + case.code.len()].copy_from_slice(&case.code);
        space.phys.bytes_mut(space.code).copy_from_slice(&space.page);
        let data = case.state.data();
        for (i, page) in data.chunks(PAGE_SIZE).enumerate() {
            space.phys.bytes_mut(space.data.offset(i as u32)).copy_from_slice(page);
        }
        let mut cpu = load(case);
        let exit = self.engine.run(&mut cpu, space, 4096);
        let (end, rip) = match exit {
            Exit::Trap(TrapKind::Bp) => (End::Done, cpu.rip.wrapping_sub(1)),
            Exit::Trap(kind) => (End::Trap(kind), cpu.rip),
            // Non-canonical addresses are #GP on hardware.
            Exit::Fault(f) if (f.addr as i64) << 16 >> 16 != f.addr as i64 => {
                (End::Trap(TrapKind::Gp), cpu.rip)
            }
            Exit::Fault(f) => (End::Fault(f.addr, f.access == Access::Write), cpu.rip),
            Exit::Syscall | Exit::OutOfFuel => (End::Lost, cpu.rip),
        };
        let mut state = case.state.clone();
        state.regs.copy_from_slice(&cpu.slot[..16]);
        state.rflags = cpu.rflags() & 0xcd5;
        state.fx.copy_from_slice(&cpu.fxsave()[..FX_LEN]);
        state.fx[28..32].fill(0);
        state.high.copy_from_slice(&cpu.v[16..32]);
        let mut after = Vec::with_capacity(DATA_LEN);
        for i in 0..DATA_LEN / PAGE_SIZE {
            after.extend_from_slice(self.space.phys.bytes(self.space.data.offset(i as u32)));
        }
        state.set_data(&after);
        Outcome { end, rip, state }
    }
}

fn load(case: &Case) -> Cpu {
    let mut cpu = Cpu::new();
    let mut image = [0; 512];
    image[..FX_LEN].copy_from_slice(&case.state.fx);
    // Reserved bits of MXCSR cannot be set in a frame either.
    let _ = cpu.fxrstor(&image);
    cpu.slot[..16].copy_from_slice(&case.state.regs);
    cpu.set_rflags(case.state.rflags);
    cpu.v[16..32].copy_from_slice(&case.state.high);
    cpu.rip = ENTRY;
    cpu
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
        1
    }
    fn lift(&mut self, pc: u64) -> Result<Lifted, Fault> {
        let at = pc.wrapping_sub(CODE) as usize;
        let missing = Fault { addr: pc, access: Access::Fetch, kind: FaultKind::Unmapped };
        let bytes = self.page.get(at..).ok_or(missing)?;
        let block = x86::lift(bytes, pc, &x86::LiftOptions { level: promised::LEVEL })
            .map_err(|_| Fault { addr: CODE + PAGE_SIZE as u64, ..missing })?;
        Ok(Lifted { block, writable: false })
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
