//! Exceptions of the processor: which signal each becomes, and what its frame says (`arch/x86/kernel/traps.c`,
//! `arch/x86/mm/fault.c`).

use abi::EFLAGS_RF;
use abi::signal::*;
use mem::{Access, Fault, FaultKind};

use crate::signal::siginfo;
use crate::{Flow, Kernel, ThreadId};

/// Exceptions other than page faults (SDM vol. 3, 6.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapKind {
    /// #DE: division by zero or overflow → SIGFPE.
    DivideError,
    /// #DB: single step → SIGTRAP; rip is after the instruction.
    SingleStep,
    /// #DB: int1 → SIGTRAP; rip is after it.
    DebugTrap,
    /// #BP: int3 → SIGTRAP; rip is after it.
    Breakpoint,
    /// #OF: int 4 → SIGSEGV; rip is after it.
    Overflow,
    /// #UD: no such instruction → SIGILL.
    InvalidOpcode,
    /// #SS: non-canonical address of the stack segment → SIGBUS.
    StackFault,
    /// #GP: privileged instruction, non-canonical address, misaligned SSE, bad selector (then with an error code) → SIGSEGV.
    GeneralProtection {
        /// What the processor pushes.
        error: u16,
    },
    /// #MF: unmasked x87 exception → SIGFPE; the status word in the context says which.
    X87,
    /// #AC: alignment check → SIGBUS.
    Alignment,
    /// #XM: unmasked SSE exception → SIGFPE; MXCSR in the context says which.
    Simd,
}

impl TrapKind {
    /// The vector.
    fn number(self) -> u64 {
        match self {
            TrapKind::DivideError => 0,
            TrapKind::SingleStep | TrapKind::DebugTrap => 1,
            TrapKind::Breakpoint => 3,
            TrapKind::Overflow => 4,
            TrapKind::InvalidOpcode => 6,
            TrapKind::StackFault => 12,
            TrapKind::GeneralProtection { .. } => 13,
            TrapKind::X87 => 16,
            TrapKind::Alignment => 17,
            TrapKind::Simd => 19,
        }
    }

    /// Whether rip is the instruction, and not after it.
    fn is_fault(self) -> bool {
        use TrapKind::*;
        !matches!(self, SingleStep | DebugTrap | Breakpoint | Overflow)
    }
}

/// `si_code` for the exceptions in `bits` (IE DE ZE OE UE PE); none if there is nothing to report.
fn float_code(bits: u32) -> Option<i32> {
    let by_rank = [
        (0x01, FPE_FLTINV),
        (0x04, FPE_FLTDIV),
        (0x08, FPE_FLTOVF),
        (0x12, FPE_FLTUND),
        (0x20, FPE_FLTRES),
    ];
    by_rank.iter().find(|(mask, _)| bits & mask != 0).map(|&(_, code)| code)
}

impl Kernel {
    /// A memory access failed; registers are as before the instruction.
    pub fn fault(&mut self, tid: ThreadId, fault: Fault) -> Flow {
        let (signal, code) = match fault.kind {
            FaultKind::Unmapped => (SIGSEGV, SEGV_MAPERR),
            FaultKind::Protection => (SIGSEGV, SEGV_ACCERR),
            FaultKind::PastEnd => (SIGBUS, BUS_ADRERR),
            FaultKind::OutOfMemory => {
                self.mm.take_starved();
                self.out_of_memory(tid);
                return Flow::Reschedule;
            }
        };
        let mut info = siginfo(signal, code);
        info.fields[0] = fault.addr;
        // The hardware's error code (SDM vol. 3, 4.7): user mode, kind of access, page present. Linux says of the
        // kernel's half that it is always present (`fault.c`, set_signal_archinfo).
        let present =
            u64::from(fault.addr >= crate::mm::TASK_SIZE || self.mm.is_present(fault.addr));
        let kind = match fault.access {
            Access::Read => 0,
            Access::Write => 2,
            Access::Fetch => 16,
        };
        if let Some(thread) = self.tasks.thread_mut(tid) {
            thread.orig_rax = u64::MAX;
            thread.fault = (14, present | kind | 4, fault.addr);
            thread.ctx.rflags |= EFLAGS_RF;
        }
        self.force_signal(tid, info);
        self.after_entry(tid)
    }

    /// The thread raised an exception; registers as the processor leaves them.
    pub fn trap(&mut self, tid: ThreadId, kind: TrapKind) -> Flow {
        let Some(thread) = self.tasks.thread_mut(tid) else { return Flow::Reschedule };
        thread.orig_rax = u64::MAX;
        let rip = thread.ctx.rip;
        let fp = &thread.ctx.fp;
        let (signal, code, addr) = match kind {
            TrapKind::InvalidOpcode => (SIGILL, ILL_ILLOPN, rip),
            TrapKind::DivideError => (SIGFPE, FPE_INTDIV, rip),
            TrapKind::Breakpoint => (SIGTRAP, SI_KERNEL, 0),
            TrapKind::SingleStep => (SIGTRAP, TRAP_TRACE, rip),
            TrapKind::DebugTrap => (SIGTRAP, TRAP_BRKPT, rip),
            TrapKind::Overflow | TrapKind::GeneralProtection { .. } => (SIGSEGV, SI_KERNEL, 0),
            TrapKind::StackFault => (SIGBUS, SI_KERNEL, 0),
            TrapKind::Alignment => (SIGBUS, BUS_ADRALN, 0),
            TrapKind::X87 | TrapKind::Simd => {
                let bits = if kind == TrapKind::X87 {
                    u32::from(fp.status_word() & !fp.control_word())
                } else {
                    fp.mxcsr() & !(fp.mxcsr() >> 7)
                };
                let Some(code) = float_code(bits) else { return Flow::Continue };
                (SIGFPE, code, rip)
            }
        };
        let error = match kind {
            TrapKind::GeneralProtection { error } => u64::from(error),
            _ => 0,
        };
        let mut info = siginfo(signal, code);
        info.fields[0] = addr;
        thread.fault = (kind.number(), error, thread.fault.2);
        if kind.is_fault() {
            thread.ctx.rflags |= EFLAGS_RF;
        }
        self.force_signal(tid, info);
        self.after_entry(tid)
    }
}
