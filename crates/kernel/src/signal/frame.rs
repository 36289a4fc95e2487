//! The frame of a signal handler and rt_sigreturn(2), laid out as Linux does on x86-64
//! (`arch/x86/kernel/signal_64.c`): from high to low addresses the FXSAVE image (64-aligned), then
//! `struct rt_sigframe { pretcode; ucontext; siginfo }` at an address that is 8 modulo 16.

use abi::signal::*;
use abi::{Context, EFLAGS_DF, EFLAGS_RF, EFLAGS_TF, Errno, FIX_EFLAGS, FpState, Pod};

use super::SigSet;
use crate::{Kernel, Stop, SysResult, ThreadId};

/// Bytes below rsp that belong to the function (psABI).
const RED_ZONE: u64 = 128;
/// Size of the FXSAVE image.
const FX_SIZE: u64 = 512;
/// Offset of the ucontext: after the return address.
const UC_OFFSET: u64 = 8;
/// Offset of the siginfo.
const INFO_OFFSET: u64 = UC_OFFSET + Ucontext::SIZE as u64;
/// Size of the frame.
const FRAME_SIZE: u64 = INFO_OFFSET + Siginfo::SIZE as u64;

fn on_altstack(stack: &SigAltStack, sp: u64) -> bool {
    stack.flags & SS_AUTODISARM == 0 && sp > stack.sp && sp - stack.sp <= stack.size
}

/// `ss_flags` as a program sees them.
pub(crate) fn altstack_flags(stack: &SigAltStack, sp: u64) -> u32 {
    let mode = match stack.size {
        0 => SS_DISABLE,
        _ if on_altstack(stack, sp) => SS_ONSTACK,
        _ => 0,
    };
    mode | stack.flags & SS_AUTODISARM
}

impl Kernel {
    /// Builds the frame for `action` on the thread's stack and points the registers at the handler.
    pub(crate) fn push_frame(
        &mut self,
        tid: ThreadId,
        action: &Sigaction,
        info: &Siginfo,
        old_mask: SigSet,
    ) -> Result<(), Errno> {
        if action.flags & SA_RESTORER == 0 {
            return Err(Errno::EFAULT);
        }
        let thread = &self.tasks[tid];
        let ctx = &thread.ctx;
        let alt = thread.altstack;
        let rsp = ctx.gpr[abi::RSP];
        let nested = on_altstack(&alt, rsp);
        let mut sp = rsp.wrapping_sub(RED_ZONE);
        if action.flags & SA_ONSTACK != 0 && alt.size != 0 && !nested {
            sp = alt.sp.wrapping_add(alt.size);
        }
        let fp_at = sp.wrapping_sub(FX_SIZE) & !63;
        let frame = (fp_at.wrapping_sub(FRAME_SIZE) & !15).wrapping_sub(8);
        // A nested handler that would leave its alternate stack has overflowed it.
        if nested && !on_altstack(&alt, frame) {
            return Err(Errno::EFAULT);
        }
        let stack = SigAltStack { flags: altstack_flags(&alt, rsp), ..alt };
        let (trapno, err, cr2) = thread.fault;
        let uc = Ucontext {
            flags: UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
            link: 0,
            stack,
            mcontext: save(ctx, old_mask, fp_at, (trapno, err, cr2)),
            sigmask: old_mask.0,
        };
        let mut image = ctx.fp.0;
        // No XSAVE area follows (`sw_reserved.magic1` = 0).
        image[464..512].fill(0);
        self.mm.write_user(fp_at, &image)?;
        let mut bytes = [0; FRAME_SIZE as usize];
        action.restorer.to_bytes(&mut bytes);
        uc.to_bytes(&mut bytes[UC_OFFSET as usize..]);
        info.to_bytes(&mut bytes[INFO_OFFSET as usize..]);
        self.mm.write_user(frame, &bytes)?;

        let thread = &mut self.tasks[tid];
        if alt.flags & SS_AUTODISARM != 0 {
            thread.altstack = SigAltStack::default();
        }
        let ctx = &mut thread.ctx;
        ctx.gpr[abi::RDI] = u64::from(info.signo as u32);
        ctx.gpr[abi::RAX] = 0;
        ctx.gpr[abi::RSI] = frame + INFO_OFFSET;
        ctx.gpr[abi::RDX] = frame + UC_OFFSET;
        ctx.gpr[abi::RSP] = frame;
        ctx.rip = action.handler;
        ctx.rflags &= !(EFLAGS_DF | EFLAGS_RF | EFLAGS_TF);
        *ctx.fp = FpState::default();
        Ok(())
    }

    /// rt_sigreturn(2): takes the registers and the mask back from the frame. A bad frame is SIGSEGV.
    pub(crate) fn sigreturn(&mut self, tid: ThreadId) -> SysResult {
        let frame = self.tasks[tid].ctx.gpr[abi::RSP].wrapping_sub(8);
        if self.pop_frame(tid, frame).is_err() {
            self.force_signal(tid, super::siginfo(SIGSEGV, SI_KERNEL));
        }
        Err(Stop::NoReturn)
    }

    fn pop_frame(&mut self, tid: ThreadId, frame: u64) -> Result<(), Errno> {
        let uc: Ucontext = self.mm.read_pod(frame.wrapping_add(UC_OFFSET))?;
        let mut fp = FpState::default();
        if uc.mcontext.fpstate != 0 {
            self.mm.read_user(uc.mcontext.fpstate, &mut fp.0)?;
            // Reserved MXCSR bits would fault in FXRSTOR; Linux clears them.
            let at = FpState::MXCSR;
            let mxcsr = u32::from_bytes(&fp.0[at..]) & FpState::MXCSR_MASK;
            mxcsr.to_bytes(&mut fp.0[at..]);
        }
        let thread = &mut self.tasks[tid];
        let rflags = thread.ctx.rflags & !FIX_EFLAGS | uc.mcontext.eflags & FIX_EFLAGS;
        restore(&mut thread.ctx, &uc.mcontext);
        thread.ctx.rflags = rflags;
        *thread.ctx.fp = fp;
        self.set_mask(tid, SigSet(uc.sigmask));
        // As a sigaltstack(2) whose errors do not matter.
        let thread = &mut self.tasks[tid];
        let sp = thread.ctx.gpr[abi::RSP];
        if !on_altstack(&thread.altstack, sp) {
            let flags = uc.stack.flags & !SS_ONSTACK;
            if flags & SS_DISABLE != 0 {
                thread.altstack = SigAltStack::default();
            } else if flags & !SS_AUTODISARM == 0 && uc.stack.size >= MINSIGSTKSZ {
                thread.altstack = SigAltStack { flags, ..uc.stack };
            }
        }
        Ok(())
    }
}

fn save(ctx: &Context, mask: SigSet, fpstate: u64, fault: (u64, u64, u64)) -> Sigcontext {
    let g = &ctx.gpr;
    let mut r8_r15 = [0; 8];
    r8_r15.copy_from_slice(&g[8..16]);
    Sigcontext {
        r8_r15,
        rdi: g[abi::RDI],
        rsi: g[abi::RSI],
        rbp: g[abi::RBP],
        rbx: g[abi::RBX],
        rdx: g[abi::RDX],
        rax: g[abi::RAX],
        rcx: g[abi::RCX],
        rsp: g[abi::RSP],
        rip: ctx.rip,
        eflags: ctx.rflags,
        segments: [USER_CS, 0, 0, USER_SS],
        err: fault.1,
        trapno: fault.0,
        oldmask: mask.0,
        cr2: fault.2,
        fpstate,
        reserved: [0; 8],
    }
}

fn restore(ctx: &mut Context, sc: &Sigcontext) {
    let g = &mut ctx.gpr;
    g[8..16].copy_from_slice(&sc.r8_r15);
    g[abi::RDI] = sc.rdi;
    g[abi::RSI] = sc.rsi;
    g[abi::RBP] = sc.rbp;
    g[abi::RBX] = sc.rbx;
    g[abi::RDX] = sc.rdx;
    g[abi::RAX] = sc.rax;
    g[abi::RCX] = sc.rcx;
    g[abi::RSP] = sc.rsp;
    ctx.rip = sc.rip;
}
