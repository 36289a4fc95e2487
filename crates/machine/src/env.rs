//! What the interpreter asks of the machine around it.

use interp::Env;
use ir::Block;
use kernel::Kernel;
use mem::{Access, Fault, Frame, PAGE_MASK, PAGE_SIZE, Tables, Translate};
use x86::{LiftError, LiftOptions, MAX_INSTRUCTION_LEN};

/// The one virtual processor.
pub struct Cpu0<'a> {
    /// Memory, clock and entropy.
    pub kernel: &'a mut Kernel,
    /// The processor that CPUID reports.
    pub level: x86::CpuLevel,
}

impl Translate for Cpu0<'_> {
    fn translate(&mut self, va: u64, access: Access) -> Result<u32, Fault> {
        self.kernel.mm.translate_for_program(va, access)
    }
}

impl Cpu0<'_> {
    /// Marks the frame at `phys` as code and returns its bytes from there on.
    fn code_bytes(&mut self, phys: u32) -> &[u8] {
        let frame = Frame::containing(phys);
        self.kernel.mm.mark_code(frame);
        &self.kernel.mm.phys.bytes(frame)[phys as usize % PAGE_SIZE..]
    }
}

impl Env for Cpu0<'_> {
    fn tables(&self) -> Tables {
        self.kernel.mm.look.tables(&self.kernel.mm.phys)
    }

    fn epoch(&self) -> u32 {
        // A wrap after 2^32 changes of executable mappings would need an equal number to be live still.
        (self.kernel.mm.epoch() as u32).wrapping_add(1).max(1)
    }

    fn lift(&mut self, pc: u64) -> Result<Block, Fault> {
        let options = LiftOptions { level: self.level };
        let phys = self.translate(pc, Access::Fetch)?;
        match x86::lift(self.code_bytes(phys), pc, &options) {
            Ok(block) => return Ok(block),
            Err(LiftError::Incomplete { .. }) => {}
        }
        // The instruction goes on in the next page.
        let mut bytes = self.code_bytes(phys).to_vec();
        let next = (pc | PAGE_MASK).wrapping_add(1);
        let phys = self.translate(next, Access::Fetch)?;
        bytes.extend_from_slice(&self.code_bytes(phys)[..MAX_INSTRUCTION_LEN]);
        match x86::lift(&bytes, pc, &options) {
            Ok(block) => Ok(block),
            // Fifteen more bytes complete every instruction.
            Err(LiftError::Incomplete { .. }) => unreachable!("longer than an instruction can be"),
        }
    }

    fn is_writable(&self, pc: u64) -> bool {
        self.kernel.mm.is_writable(pc)
    }

    fn take_stale(&mut self) -> Vec<Frame> {
        self.kernel.mm.phys.take_code_writes()
    }

    fn has_stale(&self) -> bool {
        self.kernel.mm.phys.has_code_writes()
    }

    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> [u32; 4] {
        x86::cpuid(leaf, subleaf, self.level)
    }

    fn rdtsc(&mut self) -> u64 {
        // A counter of 1 GHz.
        self.kernel.now()
    }

    fn rdrand(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.kernel.host.random(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}
