//! Registers between the CPU and the kernel's saved form.

use abi::Context;
use ir::{Cpu, FS_BASE, GS_BASE};

/// Loads a thread's registers into the CPU.
pub fn load(cpu: &mut Cpu, context: &Context) {
    cpu.slot[..16].copy_from_slice(&context.gpr);
    cpu.slot[FS_BASE as usize] = context.fs_base;
    cpu.slot[GS_BASE as usize] = context.gs_base;
    cpu.rip = context.rip;
    cpu.set_rflags(context.rflags);
    // The kernel checks MXCSR when a program hands in an image (sigreturn), so that this cannot fail.
    if cpu.fxrstor(&context.fp.0).is_err() {
        cpu.mxcsr = 0x1F80;
    }
}

/// Saves the CPU's registers.
pub fn save(cpu: &Cpu, context: &mut Context) {
    context.gpr.copy_from_slice(&cpu.slot[..16]);
    context.fs_base = cpu.slot[FS_BASE as usize];
    context.gs_base = cpu.slot[GS_BASE as usize];
    context.rip = cpu.rip;
    context.rflags = cpu.rflags();
    context.fp.0 = cpu.fxsave();
}
