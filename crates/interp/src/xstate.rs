//! XSAVE and XRSTOR in the standard format (SDM vol. 1, 13.7 and 13.8): legacy region, header, AVX component.

use crate::Env;
use crate::slow::{Rest, load, store};
use ir::{Cpu, HIGH, MXCSR_MASK, Op, TrapKind, X87, reg};
use mem::{Access, Fault, PAGE_SIZE, Tables};

/// State components, as in XCR0.
const X87_STATE: u64 = 1;
const SSE_STATE: u64 = 2;
const AVX_STATE: u64 = 4;
const COMPONENTS: u64 = X87_STATE | SSE_STATE | AVX_STATE;
/// Pieces of 16 bytes in the legacy region: 0 x87 control, 1 data pointer and MXCSR, 2.. ST, 10.. XMM.
const ST: std::ops::Range<usize> = 2..10;
const XMM: std::ops::Range<usize> = 10..26;
const HEADER: u64 = 512;
const AVX: u64 = 576;

/// Why it was not carried out.
enum Stop {
    Fault(Fault),
    Gp,
}
impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

/// Runs a [`ir::Class::Xstate`] op on the area at `at`.
pub fn run<E: Env>(op: Op, cpu: &mut Cpu, env: &mut E, tables: Tables, at: u64) -> Rest {
    let asked = cpu.slot[reg::RAX as usize] & 0xFFFF_FFFF | cpu.slot[reg::RDX as usize] << 32;
    let mut area = Area { env, tables, at };
    let result = match op {
        _ if !at.is_multiple_of(64) => Err(Stop::Gp),
        Op::Xsave => save(cpu, &mut area, asked & COMPONENTS).map_err(Stop::Fault),
        _ => restore(cpu, &mut area, asked & COMPONENTS),
    };
    match result {
        Ok(()) => Rest::Done,
        Err(Stop::Fault(fault)) => Rest::Fault(fault),
        Err(Stop::Gp) => Rest::Trap(TrapKind::Gp),
    }
}

struct Area<'a, E: Env> {
    env: &'a mut E,
    tables: Tables,
    at: u64,
}

impl<E: Env> Area<'_, E> {
    fn load(&mut self, offset: u64) -> Result<u128, Fault> {
        load(self.env, self.tables, self.at.wrapping_add(offset))
    }
    fn store(&mut self, offset: u64, value: u128) -> Result<(), Fault> {
        store(self.env, self.tables, self.at.wrapping_add(offset), value)
    }
    fn store64(&mut self, offset: u64, value: u64) -> Result<(), Fault> {
        store(self.env, self.tables, self.at.wrapping_add(offset), value)
    }
    /// Faults as an access to the first `len` bytes would.
    fn probe(&mut self, access: Access, len: u64) -> Result<(), Fault> {
        let mut va = self.at;
        let end = self.at.wrapping_add(len);
        while va.wrapping_sub(self.at) < len {
            self.env.translate(va, access)?;
            let next = (va | (PAGE_SIZE as u64 - 1)).wrapping_add(1);
            va = if next.wrapping_sub(self.at) < len { next } else { end };
        }
        Ok(())
    }
}

fn length(components: u64) -> u64 {
    if components & AVX_STATE != 0 { AVX + 256 } else { AVX }
}

/// Components that are not in their initial configuration.
fn in_use(cpu: &Cpu) -> u64 {
    let clear = |range: std::ops::Range<usize>| cpu.v[range].iter().all(|v| *v == 0);
    let high = usize::from(HIGH);
    let x87 = if cpu.x87 == X87::default() { 0 } else { X87_STATE };
    let sse = if clear(0..16) { 0 } else { SSE_STATE };
    let avx = if clear(high..high + 16) { 0 } else { AVX_STATE };
    x87 | sse | avx
}

fn save<E: Env>(cpu: &Cpu, area: &mut Area<'_, E>, wanted: u64) -> Result<(), Fault> {
    area.probe(Access::Write, length(wanted))?;
    let old = area.load(HEADER)? as u64;
    if wanted & X87_STATE != 0 {
        area.store(0, cpu.fxsave_chunk(0))?;
        area.store64(16, cpu.fxsave_chunk(1) as u64)?;
        for i in ST {
            area.store(16 * i as u64, cpu.fxsave_chunk(i))?;
        }
    }
    if wanted & (SSE_STATE | AVX_STATE) != 0 {
        area.store64(24, (cpu.fxsave_chunk(1) >> 64) as u64)?;
    }
    if wanted & SSE_STATE != 0 {
        for i in XMM {
            area.store(16 * i as u64, cpu.fxsave_chunk(i))?;
        }
    }
    if wanted & AVX_STATE != 0 {
        for i in 0..16 {
            area.store(AVX + 16 * i as u64, cpu.v[usize::from(HIGH) + i])?;
        }
    }
    area.store64(HEADER, old & !wanted | in_use(cpu) & wanted)
}

fn restore<E: Env>(cpu: &mut Cpu, area: &mut Area<'_, E>, wanted: u64) -> Result<(), Stop> {
    area.probe(Access::Read, length(wanted))?;
    let header = area.load(HEADER)?;
    let present = header as u64;
    // XCOMP_BV and the eight bytes after it must be zero, as must all bits of components that XCR0 lacks.
    if present & !COMPONENTS != 0 || header >> 64 != 0 || area.load(HEADER + 16)? as u64 != 0 {
        return Err(Stop::Gp);
    }
    let mut legacy = [0u128; 26];
    for (i, piece) in legacy.iter_mut().enumerate() {
        *piece = area.load(16 * i as u64)?;
    }
    let mut high = [0u128; 16];
    if wanted & present & AVX_STATE != 0 {
        for (i, piece) in high.iter_mut().enumerate() {
            *piece = area.load(AVX + 16 * i as u64)?;
        }
    }
    if wanted & (SSE_STATE | AVX_STATE) != 0 {
        let mxcsr = (legacy[1] >> 64) as u32;
        if mxcsr & !MXCSR_MASK != 0 {
            return Err(Stop::Gp);
        }
        cpu.mxcsr = mxcsr;
    }
    if wanted & X87_STATE != 0 {
        if present & X87_STATE != 0 {
            cpu.put_x87(&std::array::from_fn(|i| legacy[i]));
        } else {
            cpu.x87 = X87::default();
        }
    }
    if wanted & SSE_STATE != 0 {
        let values = if present & SSE_STATE != 0 { &legacy[XMM] } else { &[0; 16][..] };
        cpu.v[..16].copy_from_slice(values);
    }
    if wanted & AVX_STATE != 0 {
        let at = usize::from(HIGH);
        cpu.v[at..at + 16].copy_from_slice(&high);
    }
    Ok(())
}
