//! A machine for tests and measurements: flat pages, no kernel. Anonymous memory comes into being where it is mapped;
//! code is lifted by `x86`.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;

use interp::{Engine, Env, Exit};
use ir::Cpu;
use mem::{
    Access, Fault, FaultKind, Frame, Lookaside, PAGE_MASK, PAGE_SIZE, Phys, Tables, Translate,
};

/// What a page allows.
#[derive(Clone, Copy)]
pub struct Prot {
    pub write: bool,
    pub exec: bool,
}

/// Memory of one program.
pub struct Flat {
    pub phys: Phys,
    look: Lookaside,
    pages: HashMap<u64, (Frame, Prot)>,
    epoch: u32,
    pub tsc: u64,
}

impl Default for Flat {
    fn default() -> Self {
        Flat::new()
    }
}

impl Flat {
    pub fn new() -> Flat {
        Flat {
            phys: Phys::new(1 << 30),
            look: Lookaside::new(),
            pages: HashMap::new(),
            epoch: 1,
            tsc: 0,
        }
    }

    /// Maps zeroed pages over `va .. va + len` (existing ones stay and take the new protection).
    pub fn map(&mut self, va: u64, len: u64, prot: Prot) {
        let first = va & !PAGE_MASK;
        let last = (va + len + PAGE_MASK) & !PAGE_MASK;
        let count = ((last - first) / PAGE_SIZE as u64) as u32;
        let run = self.phys.alloc_run(count).expect("memory");
        for i in 0..count {
            let page = first + u64::from(i) * PAGE_SIZE as u64;
            let entry = self.pages.entry(page).or_insert((run.offset(i), prot));
            entry.1 = Prot { write: entry.1.write || prot.write, exec: entry.1.exec || prot.exec };
        }
        self.look.clear_range(first, last - first);
        self.epoch += 1;
    }

    /// Copies bytes in, whatever the protection.
    pub fn write(&mut self, va: u64, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            let at = va + i as u64;
            let (frame, _) = self.pages[&(at & !PAGE_MASK)];
            self.phys.code_written(frame);
            self.phys.bytes_mut(frame)[(at & PAGE_MASK) as usize] = *byte;
        }
    }

    /// Copies bytes out; `None` where nothing is mapped.
    pub fn read(&self, va: u64, len: usize) -> Option<Vec<u8>> {
        (0..len as u64)
            .map(|i| {
                let at = va + i;
                let (frame, _) = self.pages.get(&(at & !PAGE_MASK))?;
                Some(self.phys.bytes(*frame)[(at & PAGE_MASK) as usize])
            })
            .collect()
    }

    /// Changes the protection of one page.
    pub fn protect(&mut self, va: u64, prot: Prot) {
        if let Some(entry) = self.pages.get_mut(&(va & !PAGE_MASK)) {
            entry.1 = prot;
        }
        self.look.clear_range(va & !PAGE_MASK, PAGE_SIZE as u64);
        self.epoch += 1;
    }

    /// Loads a static ELF; returns its entry.
    pub fn load_elf(&mut self, file: &[u8]) -> u64 {
        use object::{Object, ObjectSegment, SegmentFlags};
        let elf = object::File::parse(file).expect("an ELF");
        for segment in elf.segments() {
            let SegmentFlags::Elf { p_flags } = segment.flags() else { continue };
            let prot = Prot { write: p_flags & 2 != 0, exec: p_flags & 1 != 0 };
            self.map(segment.address(), segment.size(), prot);
            self.write(segment.address(), segment.data().expect("data"));
        }
        elf.entry()
    }
}

impl Translate for Flat {
    fn translate(&mut self, va: u64, access: Access) -> Result<u32, Fault> {
        let fault = |kind| Fault { addr: va, access, kind };
        let page = va & !PAGE_MASK;
        let &(frame, prot) = self.pages.get(&page).ok_or(fault(FaultKind::Unmapped))?;
        let allowed = match access {
            Access::Read => true,
            Access::Write => prot.write,
            Access::Fetch => prot.exec,
        };
        if !allowed {
            return Err(fault(FaultKind::Protection));
        }
        if access == Access::Write {
            self.phys.code_written(frame);
        }
        if access != Access::Fetch {
            let writable = prot.write && !self.phys.is_code(frame);
            self.look.fill(va, frame, writable);
        }
        Ok(frame.addr() + (va & PAGE_MASK) as u32)
    }
}

impl Env for Flat {
    fn tables(&self) -> Tables {
        self.look.tables(&self.phys)
    }
    fn epoch(&self) -> u32 {
        self.epoch
    }
    fn lift(&mut self, pc: u64) -> Result<ir::Block, Fault> {
        let mut bytes = Vec::new();
        for page in [pc & !PAGE_MASK, (pc & !PAGE_MASK) + PAGE_SIZE as u64] {
            if let Some(&(frame, _)) = self.pages.get(&page).filter(|p| p.1.exec) {
                self.phys.mark_code(frame);
                self.look.protect_frame(frame);
                bytes.extend_from_slice(self.phys.bytes(frame));
            } else {
                break;
            }
        }
        let options = x86::LiftOptions::default();
        let from = (pc & PAGE_MASK) as usize;
        match x86::lift(&bytes[from..], pc, &options) {
            Ok(block) => {
                block.verify().expect("lifted IR is well-formed");
                Ok(block)
            }
            Err(_) => {
                let addr = (pc | PAGE_MASK) + 1;
                Err(Fault { addr, access: Access::Fetch, kind: FaultKind::Unmapped })
            }
        }
    }
    fn is_writable(&self, pc: u64) -> bool {
        self.pages.get(&(pc & !PAGE_MASK)).is_some_and(|p| p.1.write)
    }
    fn take_stale(&mut self) -> Vec<Frame> {
        self.phys.take_code_writes()
    }
    fn has_stale(&self) -> bool {
        self.phys.has_code_writes()
    }
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> [u32; 4] {
        x86::cpuid(leaf, subleaf, x86::CpuLevel::default())
    }
    fn rdtsc(&mut self) -> u64 {
        self.tsc += 1000;
        self.tsc
    }
    fn rdrand(&mut self) -> u64 {
        self.tsc = self.tsc.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.tsc
    }
}

/// Runs until something other than `write` or running out of fuel happens; returns that, with what was written.
pub fn run(engine: &mut Engine, cpu: &mut Cpu, env: &mut Flat, slice: u64) -> (Exit, Vec<u8>) {
    let mut out = Vec::new();
    loop {
        match engine.run(cpu, env, slice) {
            Exit::OutOfFuel => {}
            Exit::Syscall if cpu.slot[0] == 1 => {
                let len = cpu.slot[2] as usize;
                out.extend(env.read(cpu.slot[6], len).unwrap_or_default());
                cpu.slot[0] = len as u64;
            }
            exit => return (exit, out),
        }
    }
}
