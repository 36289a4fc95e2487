//! The frame of a signal handler and rt_sigreturn(2), laid out as Linux does on x86-64
//! (`arch/x86/kernel/signal_64.c`): from high to low addresses the FXSAVE image or XSAVE area (64-aligned),
//! then `struct rt_sigframe { pretcode; ucontext; siginfo }` at an address that is 8 modulo 16.

use abi::signal::*;
use abi::{Context, EFLAGS_DF, EFLAGS_RF, EFLAGS_TF, Errno, FIX_EFLAGS, FpState, Pod};

use super::SigSet;
use crate::{Kernel, Stop, SysResult, ThreadId};

/// Bytes below rsp that belong to the function (psABI).
const RED_ZONE: u64 = 128;
/// Size of the FXSAVE image.
const FX_SIZE: usize = 512;
/// Offset of the AVX component in an XSAVE area: after the image and the header.
const AVX_OFFSET: usize = FX_SIZE + 64;
/// Size of an XSAVE area of x87, SSE and AVX.
const XSAVE_SIZE: usize = AVX_OFFSET + 256;
/// Where Linux says in the image's unused bytes what follows it (`struct _fpx_sw_bytes`).
const SW_RESERVED: usize = 464;
/// First word of those bytes, if an XSAVE area follows.
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
/// What stands behind the area.
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// State components: x87 and SSE; AVX.
const XFEATURES_FPSSE: u64 = 3;
const XFEATURE_AVX: u64 = 4;
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
        let image = fp_image(&ctx.fp, self.processor.avx);
        let fp_at = sp.wrapping_sub(image.len() as u64) & !63;
        let frame = (fp_at.wrapping_sub(FRAME_SIZE) & !15).wrapping_sub(8);
        // A nested handler that would leave its alternate stack has overflowed it.
        if nested && !on_altstack(&alt, frame) {
            return Err(Errno::EFAULT);
        }
        let stack = SigAltStack { flags: altstack_flags(&alt, rsp), ..alt };
        let (trapno, err, cr2) = thread.fault;
        let uc = Ucontext {
            flags: UC_SIGCONTEXT_SS
                | UC_STRICT_RESTORE_SS
                | if self.processor.avx { UC_FP_XSTATE } else { 0 },
            link: 0,
            stack,
            mcontext: save(ctx, old_mask, fp_at, (trapno, err, cr2)),
            sigmask: old_mask.0,
        };
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

    /// Reads what [`fp_image`] wrote and a handler may have changed (`fpu__restore_sig`): without the marks around an
    /// XSAVE area only the image counts, and the rest of the state is as at the start of a program.
    fn read_fp(&mut self, at: u64) -> Result<FpState, Errno> {
        let mut fp = FpState::default();
        self.mm.read_user(at, &mut fp.fx)?;
        let word = |at: usize| u64::from_bytes(&fp.fx[at..]);
        let extended = self.processor.avx
            && word(SW_RESERVED) as u32 == FP_XSTATE_MAGIC1
            && word(SW_RESERVED + 16) == XSAVE_SIZE as u64;
        let features = word(SW_RESERVED + 8);
        let end = at.wrapping_add(XSAVE_SIZE as u64);
        if extended && self.mm.read_pod::<u32>(end)? == FP_XSTATE_MAGIC2 {
            let header: [u64; 3] = [
                self.mm.read_pod(at.wrapping_add(FX_SIZE as u64))?,
                self.mm.read_pod(at.wrapping_add(FX_SIZE as u64 + 8))?,
                self.mm.read_pod(at.wrapping_add(FX_SIZE as u64 + 16))?,
            ];
            // What XRSTOR refuses: unknown components, the compacted format.
            if header[0] & !(XFEATURES_FPSSE | XFEATURE_AVX) != 0 || header[1..] != [0, 0] {
                return Err(Errno::EFAULT);
            }
            let present = header[0] & features;
            let init = FpState::default();
            if present & 1 == 0 {
                fp.fx[..FpState::MXCSR].copy_from_slice(&init.fx[..FpState::MXCSR]);
                fp.fx[32..160].fill(0);
            }
            if present & 2 == 0 {
                fp.fx[160..416].fill(0);
            }
            if present & XFEATURE_AVX != 0 {
                self.mm.read_user(at.wrapping_add(AVX_OFFSET as u64), &mut fp.high)?;
            }
        }
        // Reserved MXCSR bits would fault in FXRSTOR; Linux clears them.
        let mxcsr = u32::from_bytes(&fp.fx[FpState::MXCSR..]) & FpState::MXCSR_MASK;
        mxcsr.to_bytes(&mut fp.fx[FpState::MXCSR..]);
        Ok(fp)
    }

    fn pop_frame(&mut self, tid: ThreadId, frame: u64) -> Result<(), Errno> {
        let uc: Ucontext = self.mm.read_pod(frame.wrapping_add(UC_OFFSET))?;
        let mut fp = FpState::default();
        if uc.mcontext.fpstate != 0 {
            fp = self.read_fp(uc.mcontext.fpstate)?;
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

/// The XSAVE area of x87, SSE and AVX, with the enabled components where PTRACE_GETREGSET puts them.
pub(crate) fn xsave_area(fp: &FpState) -> Vec<u8> {
    let mut area = fp_image(fp, true);
    area.truncate(XSAVE_SIZE);
    area[SW_RESERVED..FX_SIZE].fill(0);
    (XFEATURES_FPSSE | XFEATURE_AVX).to_bytes(&mut area[SW_RESERVED..]);
    area
}

/// The upper halves of an XSAVE area; none if it is too short or has other components.
pub(crate) fn high_of_xsave(area: &[u8]) -> Option<[u8; 256]> {
    let area = area.get(..XSAVE_SIZE)?;
    let present = u64::from_bytes(&area[FX_SIZE..]);
    if present & !(XFEATURES_FPSSE | XFEATURE_AVX) != 0 {
        return None;
    }
    let mut high = [0; 256];
    if present & XFEATURE_AVX != 0 {
        high.copy_from_slice(&area[AVX_OFFSET..]);
    }
    Some(high)
}

/// What is written at `fpstate`: the FXSAVE image, or an XSAVE area in the standard format and the word after it.
fn fp_image(fp: &FpState, avx: bool) -> Vec<u8> {
    let mut image = fp.fx.to_vec();
    image[SW_RESERVED..].fill(0);
    if !avx {
        return image;
    }
    image.resize(XSAVE_SIZE + 4, 0);
    let in_use = if fp.high == [0; 256] { 0 } else { XFEATURE_AVX };
    let words: [(usize, u64); 4] = [
        (SW_RESERVED, u64::from(FP_XSTATE_MAGIC1) | (XSAVE_SIZE as u64 + 4) << 32),
        (SW_RESERVED + 8, XFEATURES_FPSSE | XFEATURE_AVX),
        (SW_RESERVED + 16, XSAVE_SIZE as u64),
        // XSTATE_BV; Linux always sets the bits of the legacy state.
        (FX_SIZE, XFEATURES_FPSSE | in_use),
    ];
    for (at, word) in words {
        word.to_bytes(&mut image[at..]);
    }
    image[AVX_OFFSET..XSAVE_SIZE].copy_from_slice(&fp.high);
    FP_XSTATE_MAGIC2.to_bytes(&mut image[XSAVE_SIZE..]);
    image
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
