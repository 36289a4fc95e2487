//! Registers between the CPU and the kernel's saved form.

use abi::Context;
use ir::{Cpu, FS_BASE, GS_BASE, HIGH};
use x86::CpuLevel;

/// Numbers of ES, DS, FS and GS.
const SEGMENTS: [usize; 4] = [0, 3, 4, 5];

/// Loads a thread's registers into the CPU.
pub fn load(cpu: &mut Cpu, context: &Context, level: CpuLevel) {
    cpu.slot[..16].copy_from_slice(&context.gpr);
    cpu.slot[FS_BASE as usize] = context.fs_base;
    cpu.slot[GS_BASE as usize] = context.gs_base;
    for (from, to) in context.segments.into_iter().zip(SEGMENTS) {
        cpu.selectors[to] = from;
    }
    cpu.rip = context.rip;
    cpu.set_rflags(context.rflags);
    // The kernel checks MXCSR when a program hands in an image (sigreturn), so that this cannot fail.
    if cpu.fxrstor(&context.fp.fx).is_err() {
        cpu.mxcsr = 0x1F80;
    }
    if level >= CpuLevel::V3 {
        let values = context.fp.high.as_chunks::<16>().0;
        for (to, from) in cpu.v[usize::from(HIGH)..].iter_mut().zip(values) {
            *to = u128::from_le_bytes(*from);
        }
    }
}

/// Saves the CPU's registers.
pub fn save(cpu: &Cpu, context: &mut Context, level: CpuLevel) {
    context.gpr.copy_from_slice(&cpu.slot[..16]);
    context.fs_base = cpu.slot[FS_BASE as usize];
    context.gs_base = cpu.slot[GS_BASE as usize];
    context.segments = SEGMENTS.map(|n| cpu.selectors[n]);
    context.rip = cpu.rip;
    context.rflags = cpu.rflags();
    context.fp.fx = cpu.fxsave();
    if level >= CpuLevel::V3 {
        let values = context.fp.high.as_chunks_mut::<16>().0;
        for (to, from) in values.iter_mut().zip(&cpu.v[usize::from(HIGH)..]) {
            *to = from.to_le_bytes();
        }
    }
}
