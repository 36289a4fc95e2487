//! Registers as a tracer sees them: `struct user_regs_struct`, `struct user` and the register sets of core(5) notes.

use abi::{Context, EFLAGS_TF, Errno, FIX_EFLAGS, FpState, Pod};

use super::Thread;
use crate::mm::TASK_SIZE;
use crate::signal::frame;

/// Bytes of `struct user_regs_struct`: 27 words.
pub const PRSTATUS_SIZE: usize = 27 * 8;
/// General registers.
pub const NT_PRSTATUS: u64 = 1;
/// x87 and SSE registers (FXSAVE).
pub const NT_PRFPREG: u64 = 2;
/// The XSAVE area.
pub const NT_X86_XSTATE: u64 = 0x202;
/// Where the debug registers lie in `struct user`, and its size.
const USER_DEBUGREG: u64 = 848;
const USER_SIZE: u64 = 912;

/// Words of `struct user_regs_struct`.
mod word {
    pub const RAX: usize = 10;
    pub const ORIG_RAX: usize = 15;
    pub const RIP: usize = 16;
    pub const CS: usize = 17;
    pub const EFLAGS: usize = 18;
    pub const RSP: usize = 19;
    pub const SS: usize = 20;
    pub const FS_BASE: usize = 21;
    pub const GS_BASE: usize = 22;
    pub const DS: usize = 23;
    pub const ES: usize = 24;
    pub const FS: usize = 25;
    pub const GS: usize = 26;
}

/// Which general register (in encoding order) each of the first fifteen words is, and rsp.
const GENERAL: [(usize, usize); 16] = [
    (0, 15),
    (1, 14),
    (2, 13),
    (3, 12),
    (4, abi::RBP),
    (5, abi::RBX),
    (6, abi::R11),
    (7, abi::R10),
    (8, abi::R9),
    (9, abi::R8),
    (word::RAX, abi::RAX),
    (11, abi::RCX),
    (12, abi::RDX),
    (13, abi::RSI),
    (14, abi::RDI),
    (word::RSP, abi::RSP),
];

fn words(thread: &Thread) -> [u64; 27] {
    let ctx = &thread.ctx;
    let mut words = [0; 27];
    for (at, register) in GENERAL {
        words[at] = ctx.gpr[register];
    }
    words[word::ORIG_RAX] = thread.orig_rax;
    words[word::RIP] = ctx.rip;
    words[word::CS] = u64::from(abi::signal::USER_CS);
    words[word::EFLAGS] = ctx.rflags;
    words[word::SS] = u64::from(abi::signal::USER_SS);
    words[word::FS_BASE] = ctx.fs_base;
    words[word::GS_BASE] = ctx.gs_base;
    let [es, ds, fs, gs] = ctx.segments;
    words[word::DS] = u64::from(ds);
    words[word::ES] = u64::from(es);
    words[word::FS] = u64::from(fs);
    words[word::GS] = u64::from(gs);
    words
}

/// Changes one word (`putreg`): EIO for what a program could not have.
fn set_word(thread: &mut Thread, at: usize, value: u64) -> Result<(), Errno> {
    let ctx: &mut Context = &mut thread.ctx;
    if let Some((_, register)) = GENERAL.iter().find(|(word, _)| *word == at) {
        ctx.gpr[*register] = value;
        return Ok(());
    }
    match at {
        word::ORIG_RAX => thread.orig_rax = value,
        word::RIP => ctx.rip = value,
        word::EFLAGS => {
            // Setting TF oneself makes it the program's own.
            if value & EFLAGS_TF != 0
                && let Some(traced) = thread.ptrace.as_deref_mut()
            {
                traced.stepping = false;
            }
            ctx.rflags = ctx.rflags & !FIX_EFLAGS | value & FIX_EFLAGS;
        }
        word::FS_BASE | word::GS_BASE if value >= TASK_SIZE => return Err(Errno::EIO),
        word::FS_BASE => ctx.fs_base = value,
        word::GS_BASE => ctx.gs_base = value,
        // Selectors: only those that there are.
        word::CS | word::SS if value & 3 != 3 => return Err(Errno::EIO),
        word::DS..=word::GS if value != 0 && value & 3 != 3 => return Err(Errno::EIO),
        _ => {}
    }
    Ok(())
}

/// `struct user_regs_struct`.
pub fn general(thread: &Thread) -> [u8; PRSTATUS_SIZE] {
    let mut bytes = [0; PRSTATUS_SIZE];
    for (word, slot) in words(thread).iter().zip(bytes.as_chunks_mut::<8>().0) {
        *slot = word.to_le_bytes();
    }
    bytes
}

/// Changes as many registers as there are words.
pub fn set_general(thread: &mut Thread, bytes: &[u8]) -> Result<(), Errno> {
    for (at, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
        set_word(thread, at, u64::from_le_bytes(*word))?;
    }
    Ok(())
}

/// Changes the FXSAVE image; EINVAL for reserved bits of MXCSR.
pub fn set_fx(thread: &mut Thread, fx: &[u8]) -> Result<(), Errno> {
    let mxcsr = fx.get(FpState::MXCSR..).map_or(0, u32::from_bytes);
    if mxcsr & !FpState::MXCSR_MASK != 0 {
        return Err(Errno::EINVAL);
    }
    let n = fx.len().min(thread.ctx.fp.fx.len());
    thread.ctx.fp.fx[..n].copy_from_slice(&fx[..n]);
    Ok(())
}

/// The bytes of a register set; EINVAL if there is no such set, ENODEV for one that this processor lacks.
pub fn set_of(thread: &Thread, kind: u64, avx: bool) -> Result<Vec<u8>, Errno> {
    match kind {
        NT_PRSTATUS => Ok(general(thread).to_vec()),
        NT_PRFPREG => Ok(thread.ctx.fp.fx.to_vec()),
        NT_X86_XSTATE if avx => Ok(frame::xsave_area(&thread.ctx.fp)),
        NT_X86_XSTATE => Err(Errno::ENODEV),
        _ => Err(Errno::EINVAL),
    }
}

/// Changes a register set, or its beginning.
pub fn change_set(thread: &mut Thread, kind: u64, bytes: &[u8], avx: bool) -> Result<(), Errno> {
    match kind {
        NT_PRSTATUS => set_general(thread, bytes),
        NT_PRFPREG => set_fx(thread, bytes),
        NT_X86_XSTATE if avx => {
            let high = frame::high_of_xsave(bytes).ok_or(Errno::EFAULT)?;
            set_fx(thread, bytes.get(..512).ok_or(Errno::EFAULT)?)?;
            thread.ctx.fp.high = high;
            Ok(())
        }
        NT_X86_XSTATE => Err(Errno::ENODEV),
        _ => Err(Errno::EINVAL),
    }
}

/// A word of `struct user`: general registers, debug registers (which are all zero), nothing else.
pub fn peek(thread: &Thread, at: u64) -> Result<u64, Errno> {
    if !at.is_multiple_of(8) || at >= USER_SIZE {
        return Err(Errno::EIO);
    }
    Ok(words(thread).get((at / 8) as usize).copied().unwrap_or(0))
}

/// Changes a general register. There are no hardware breakpoints: setting a debug register to anything but zero is
/// EINVAL, as for an address that the processor refuses.
pub fn poke(thread: &mut Thread, at: u64, value: u64) -> Result<(), Errno> {
    if !at.is_multiple_of(8) || at >= USER_SIZE {
        return Err(Errno::EIO);
    }
    match at {
        0..216 => set_word(thread, (at / 8) as usize, value),
        USER_DEBUGREG.. if value != 0 => Err(Errno::EINVAL),
        USER_DEBUGREG.. => Ok(()),
        _ => Err(Errno::EIO),
    }
}
