//! Runs cases on the processor, in a forked child.
//!
//! Parent and child share an array of cases and results. For each case the child raises SIGUSR1; the handler writes the
//! case's state into its own signal frame, so that returning from it loads *all* registers at once; the trap at the end
//! lands in the same handler, which copies the frame out and puts the saved frame back. Nothing in the child allocates.
#![allow(unsafe_code)]

use super::{CODE, Case, DATA, DATA_LEN, ENTRY, End, FX_LEN, MAX_CODE, Outcome, WRITABLE_LEN};
use ir::TrapKind;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

const BATCH: usize = 128;
const PAGE: usize = 4096;
/// Frame layout beyond the FXSAVE image: the XSAVE header's XSTATE_BV (SDM vol. 1, 13.4.2).
const XSTATE_BV: usize = 512;
/// Bytes of FXSAVE image and XSAVE header.
const FRAME_FX: usize = 576;
/// Bytes of the AVX component: bits 255:128 of the registers.
const HIGH_LEN: usize = 256;

/// One case and its result in shared memory.
#[repr(C)]
#[derive(Clone, Copy)]
struct Shared {
    code: [u8; MAX_CODE],
    code_len: usize,
    regs: [u64; 16],
    rip: u64,
    rflags: u64,
    fx: [u8; FX_LEN],
    high: [u128; 16],
    data: [u8; DATA_LEN],
    signal: i32,
    trap: i64,
    error: i64,
    address: u64,
    finished: u32,
}

#[repr(C)]
struct Board {
    /// Index of the case that is running.
    current: AtomicU32,
    cases: [Shared; BATCH],
}

/// State of the child's handler.
struct Child {
    saved_regs: [i64; 23],
    saved_fx: [u8; FRAME_FX],
    saved_high: [u8; HIGH_LEN],
    /// Offset of the AVX component in a frame; 0 if the processor has none.
    high_at: usize,
    entered: bool,
}

static BOARD: AtomicPtr<Board> = AtomicPtr::new(ptr::null_mut());
static CHILD: AtomicPtr<Child> = AtomicPtr::new(ptr::null_mut());

/// Encoding order to the order of `ucontext_t`.
const REGS: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// RFLAGS bits that a case sets: CF PF AF ZF SF DF OF.
const FLAGS: u64 = 0xcd5;

/// The processor as a test oracle.
pub struct Native {
    board: *mut Board,
    /// Second, writable view of code page and data pages.
    alias: *mut u8,
}

fn check(ok: bool, what: &str) {
    assert!(ok, "{what}: {}", std::io::Error::last_os_error());
}

impl Native {
    /// Whether this is a processor of the make that the fixtures come from; others differ where the manuals leave
    /// results open (flags, last bits of transcendental functions, x87 pointers).
    pub fn is_reference() -> bool {
        std::arch::x86_64::__cpuid(0).ecx == u32::from_le_bytes(*b"cAMD")
    }

    /// Maps the shared pages. Panics where the fixed addresses are taken.
    pub fn new() -> Native {
        // SAFETY: plain mmap calls with checked results; the fixed addresses are only taken if free.
        unsafe {
            let fd = libc::memfd_create(c"boxer-cpu".as_ptr(), 0);
            check(fd >= 0, "memfd_create");
            let len = PAGE + DATA_LEN;
            check(libc::ftruncate(fd, len as i64) == 0, "ftruncate");
            let rw = libc::PROT_READ | libc::PROT_WRITE;
            let map = |at: u64, len: usize, prot: i32, offset: usize| {
                let flags = libc::MAP_SHARED | if at == 0 { 0 } else { libc::MAP_FIXED_NOREPLACE };
                let p = libc::mmap(at as *mut _, len, prot, flags, fd, offset as i64);
                check(p != libc::MAP_FAILED && (at == 0 || p as u64 == at), "mmap");
                p.cast::<u8>()
            };
            map(CODE, PAGE, rw | libc::PROT_EXEC, 0);
            map(DATA, WRITABLE_LEN, rw, PAGE);
            let rest = DATA_LEN - WRITABLE_LEN;
            map(DATA + WRITABLE_LEN as u64, rest, libc::PROT_READ, PAGE + WRITABLE_LEN);
            let alias = map(0, len, rw, 0);
            libc::close(fd);
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let board = libc::mmap(ptr::null_mut(), size_of::<Board>(), rw, flags, -1, 0);
            check(board != libc::MAP_FAILED, "mmap");
            Native { board: board.cast(), alias }
        }
    }

    /// Runs all cases.
    pub fn run(&mut self, cases: &[Case]) -> Vec<Outcome> {
        cases.chunks(BATCH).flat_map(|batch| self.run_batch(batch)).collect()
    }

    fn run_batch(&mut self, batch: &[Case]) -> Vec<Outcome> {
        // SAFETY: the board is ours; no child runs now.
        let board = unsafe { &mut *self.board };
        for (case, shared) in batch.iter().zip(&mut board.cases) {
            shared.code = [0xcc; MAX_CODE];
            shared.code[..case.code.len()].copy_from_slice(&case.code);
            shared.code_len = case.code.len();
            shared.regs = case.state.regs;
            shared.rip = ENTRY;
            shared.rflags = case.state.rflags;
            shared.fx = case.state.fx;
            shared.high = case.state.high;
            shared.data.copy_from_slice(&case.state.data());
            shared.finished = 0;
        }
        let mut start = 0;
        while start < batch.len() {
            board.current.store(start as u32, Ordering::SeqCst);
            // SAFETY: the child calls nothing that allocates or locks and ends in `_exit`.
            let pid = unsafe { libc::fork() };
            check(pid >= 0, "fork");
            if pid == 0 {
                // SAFETY: this is the child, see above.
                unsafe { child(self.board, self.alias, start, batch.len()) }
            }
            let mut status = 0;
            // SAFETY: plain call.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            start = board.current.load(Ordering::SeqCst) as usize;
            if start < batch.len() {
                start += 1; // the one that killed the child is lost
            }
        }
        batch.iter().zip(&board.cases).map(|(case, shared)| outcome(case, shared)).collect()
    }
}

impl Default for Native {
    fn default() -> Native {
        Native::new()
    }
}

fn outcome(case: &Case, s: &Shared) -> Outcome {
    let mut state = case.state.clone();
    if s.finished == 0 {
        return Outcome { end: End::Lost, rip: 0, state };
    }
    state.regs = s.regs;
    state.rflags = s.rflags;
    state.fx = s.fx;
    state.high = s.high;
    state.set_data(&s.data);
    let (end, rip) = match (s.signal, s.trap) {
        (libc::SIGTRAP, 3) => (End::Done, s.rip.wrapping_sub(1)),
        (libc::SIGTRAP, 1) => (End::Trap(TrapKind::Db), s.rip),
        (libc::SIGSEGV, 14) => (End::Fault(s.address, s.error & 2 != 0), s.rip),
        (libc::SIGSEGV, 13) | (libc::SIGBUS, 12 | 17) => (End::Trap(TrapKind::Gp), s.rip),
        (libc::SIGILL, _) => (End::Trap(TrapKind::Ud), s.rip),
        (libc::SIGFPE, 0) => (End::Trap(TrapKind::De), s.rip),
        (libc::SIGFPE, 16) => (End::Trap(TrapKind::Mf), s.rip),
        (libc::SIGFPE, 19) => (End::Trap(TrapKind::Xm), s.rip),
        _ => (End::Lost, s.rip),
    };
    Outcome { end, rip, state }
}

/// Runs cases `start..end` and exits.
unsafe fn child(board: *mut Board, alias: *mut u8, start: usize, end: usize) -> ! {
    let mut stack = [0u8; 64 * 1024];
    let high_at = if std::arch::is_x86_feature_detected!("avx") {
        // SDM vol. 1, 13.4: EBX of subleaf 2 is the component's offset in the standard format.
        std::arch::x86_64::__cpuid_count(0xd, 2).ebx as usize
    } else {
        0
    };
    let mut state = Child {
        saved_regs: [0; 23],
        saved_fx: [0; FRAME_FX],
        saved_high: [0; HIGH_LEN],
        high_at,
        entered: false,
    };
    // SAFETY: signal set-up of a process of our own; all pointers stay valid until `_exit`.
    unsafe {
        let alt =
            libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        libc::sigaltstack(&alt, ptr::null_mut());
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        for signal in
            [libc::SIGUSR1, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGBUS]
        {
            libc::sigaction(signal, &action, ptr::null_mut());
        }
        BOARD.store(board, Ordering::SeqCst);
        CHILD.store(&mut state, Ordering::SeqCst);
        libc::alarm(20);
        for i in start..end {
            (*board).current.store(i as u32, Ordering::SeqCst);
            let case = &(*board).cases[i];
            ptr::write_bytes(alias, 0xcc, PAGE);
            let entry = alias.add((ENTRY - CODE) as usize);
            ptr::copy_nonoverlapping(case.code.as_ptr(), entry, case.code_len);
            ptr::copy_nonoverlapping(case.data.as_ptr(), alias.add(PAGE), DATA_LEN);
            libc::raise(libc::SIGUSR1);
            let case = &mut (*board).cases[i];
            ptr::copy_nonoverlapping(alias.add(PAGE), case.data.as_mut_ptr(), DATA_LEN);
            case.finished = 1;
        }
        (*board).current.store(end as u32, Ordering::SeqCst);
        libc::_exit(0)
    }
}

extern "C" fn on_signal(signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel passes a valid frame; `child` set both pointers; signals come one at a time.
    unsafe {
        let child = &mut *CHILD.load(Ordering::SeqCst);
        let board = &mut *BOARD.load(Ordering::SeqCst);
        let Some(case) = board.cases.get_mut(board.current.load(Ordering::SeqCst) as usize) else {
            libc::_exit(2)
        };
        let m = &mut (*context).uc_mcontext;
        let fx = m.fpregs.cast::<u8>();
        let features = fx.add(XSTATE_BV).cast::<u64>();
        if !child.entered {
            child.entered = true;
            child.saved_regs = m.gregs;
            ptr::copy_nonoverlapping(fx, child.saved_fx.as_mut_ptr(), FRAME_FX);
            let high = fx.add(child.high_at);
            ptr::copy_nonoverlapping(high, child.saved_high.as_mut_ptr(), HIGH_LEN);
            for (value, at) in case.regs.iter().zip(REGS) {
                m.gregs[at as usize] = *value as i64;
            }
            m.gregs[libc::REG_RIP as usize] = case.rip as i64;
            let flags = &mut m.gregs[libc::REG_EFL as usize];
            *flags = *flags & !(FLAGS as i64) | (case.rflags & FLAGS) as i64;
            // All but the word that says which bits of MXCSR exist.
            ptr::copy_nonoverlapping(case.fx.as_ptr(), fx, 28);
            ptr::copy_nonoverlapping(case.fx.as_ptr().add(32), fx.add(32), FX_LEN - 32);
            if child.high_at == 0 {
                features.write_unaligned(features.read_unaligned() | 3);
            } else {
                ptr::copy_nonoverlapping(case.high.as_ptr().cast::<u8>(), high, HIGH_LEN);
                features.write_unaligned(features.read_unaligned() | 7);
            }
            return;
        }
        child.entered = false;
        for (value, at) in case.regs.iter_mut().zip(REGS) {
            *value = m.gregs[at as usize] as u64;
        }
        case.rip = m.gregs[libc::REG_RIP as usize] as u64;
        case.rflags = m.gregs[libc::REG_EFL as usize] as u64 & FLAGS;
        case.signal = signal;
        case.trap = m.gregs[libc::REG_TRAPNO as usize];
        case.error = m.gregs[libc::REG_ERR as usize];
        case.address = m.gregs[libc::REG_CR2 as usize] as u64;
        ptr::copy_nonoverlapping(fx, case.fx.as_mut_ptr(), FX_LEN);
        let present = features.read_unaligned();
        if present & 1 == 0 {
            case.fx[..24].fill(0);
            case.fx[32..160].fill(0);
            case.fx[0] = 0x7f;
            case.fx[1] = 3;
        }
        if present & 2 == 0 {
            case.fx[160..].fill(0);
        }
        case.fx[28..32].fill(0);
        if child.high_at != 0 {
            let high = fx.add(child.high_at);
            let to = case.high.as_mut_ptr().cast::<u8>();
            if present & 4 == 0 {
                ptr::write_bytes(to, 0, HIGH_LEN);
            } else {
                ptr::copy_nonoverlapping(high, to, HIGH_LEN);
            }
            ptr::copy_nonoverlapping(child.saved_high.as_ptr(), high, HIGH_LEN);
        }
        m.gregs = child.saved_regs;
        ptr::copy_nonoverlapping(child.saved_fx.as_ptr(), fx, FRAME_FX);
    }
}
