//! The child process that runs cases on the processor.
//!
//! A case is entered by a few instructions at a fixed address that load *all* registers from a fixed place, and left by
//! a jump behind its code to others that store them there again: no signal in between. What ends otherwise (a fault, a
//! trap, the int3 after a branch) raises a signal, whose handler notes the cause and continues with the same storing
//! instructions, so that everything but the cause is read at one place. Nothing here allocates or panics.
#![allow(unsafe_code)]

use super::memory::{Line, Memory, drain};
use super::{
    CODE, DATA, DATA_LEN, ENTRY, FLAGS, FX_LEN, GATE, LEAVE, MAX_CODE, State, WRITABLE_LEN,
    memory::LINE,
};
use std::arch::global_asm;
use std::mem::offset_of;
use std::ptr;

/// Cases on a board.
pub const BATCH: usize = 256;
/// Bytes of code with what ends it.
const CODE_LEN: usize = MAX_CODE + 8;
const PAGE: usize = 4096;
/// Page with [`Live`], in reach of 32-bit addresses.
const LIVE: u64 = GATE + PAGE as u64;
/// Milliseconds of processor time between two looks at whether a case hangs.
const TICK: i64 = 10;
/// Lines of one case's memory, at most.
const LINES: usize = DATA_LEN / LINE;

/// One case and its result.
#[repr(C)]
pub struct Slot {
    /// The code and what ends it.
    pub code: [u8; CODE_LEN],
    pub code_len: usize,
    /// The code is that of the slot before.
    pub same_code: bool,
    /// Ran to an end of any kind.
    pub finished: bool,
    regs: [u64; 16],
    rflags: u64,
    bases: [u64; 2],
    fx: [u8; FX_LEN],
    high: [u128; 16],
    /// Range of the arena: memory before.
    pub lines: (usize, usize),
    /// Range of the results: memory after.
    after: (usize, usize),
    pub signal: i32,
    pub trap: i64,
    pub error: i64,
    pub address: u64,
    pub rip: u64,
}

impl Slot {
    /// Takes over everything but the memory.
    pub fn load(&mut self, state: &State) {
        self.finished = false;
        self.regs = state.regs;
        self.rflags = state.rflags;
        self.bases = [state.fs, state.gs];
        self.fx = state.fx;
        self.high = state.high;
    }

    /// The state without memory.
    pub fn state(&self) -> State {
        State {
            regs: self.regs,
            rflags: self.rflags,
            fs: self.bases[0],
            gs: self.bases[1],
            fx: self.fx,
            high: self.high,
            memory: Memory::default(),
        }
    }

    /// The writable lines that are not zero afterwards.
    pub fn changed<'a>(&self, board: &'a Board) -> &'a [Line] {
        board.results.get(self.after.0..self.after.1).unwrap_or(&[])
    }
}

/// What parent and child share.
#[repr(C)]
pub struct Board {
    /// Cases to run.
    pub start: usize,
    /// End of the cases to run.
    pub end: usize,
    /// The case that is running.
    pub current: usize,
    /// Lines of `arena` in use.
    pub used: usize,
    /// Lines of `results` in use.
    pub results_used: usize,
    pub slots: [Slot; BATCH],
    pub arena: [Line; BATCH * LINES],
    results: [Line; BATCH * LINES],
}

/// What the entering and leaving instructions load and store.
#[repr(C, align(64))]
struct Live {
    /// XSAVE area in standard format (SDM vol. 1, 13.4): FXSAVE image, header at 512, AVX component.
    xsave: [u8; 2048],
    regs: [u64; 16],
    rflags: u64,
    bases: [u64; 2],
    host_rsp: u64,
    host_bases: [u64; 2],
    entry: u64,
    mxcsr: u32,
    signal: i32,
    trap: i64,
    error: i64,
    address: u64,
    rip: u64,
    /// Count of cases, and of those at the last tick.
    ran: u64,
    ran_at_tick: u64,
}

/// Offset of the AVX component: 576 on every processor that has it.
const HIGH: usize = 576;

global_asm!(
    ".pushsection .text",
    "boxer_gate_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [{live} + {host_rsp}], rsp",
    "rdfsbase rax",
    "mov [{live} + {host_bases}], rax",
    "rdgsbase rax",
    "mov [{live} + {host_bases} + 8], rax",
    "mov eax, 7",
    "xor edx, edx",
    "xrstor64 [{live}]",
    "mov rax, [{live} + {bases}]",
    "wrfsbase rax",
    "mov rax, [{live} + {bases} + 8]",
    "wrgsbase rax",
    "push qword ptr [{live} + {rflags}]",
    "popfq",
    "mov rax, [{live} + {regs}]",
    "mov rcx, [{live} + {regs} + 8]",
    "mov rdx, [{live} + {regs} + 16]",
    "mov rbx, [{live} + {regs} + 24]",
    "mov rsp, [{live} + {regs} + 32]",
    "mov rbp, [{live} + {regs} + 40]",
    "mov rsi, [{live} + {regs} + 48]",
    "mov rdi, [{live} + {regs} + 56]",
    "mov r8, [{live} + {regs} + 64]",
    "mov r9, [{live} + {regs} + 72]",
    "mov r10, [{live} + {regs} + 80]",
    "mov r11, [{live} + {regs} + 88]",
    "mov r12, [{live} + {regs} + 96]",
    "mov r13, [{live} + {regs} + 104]",
    "mov r14, [{live} + {regs} + 112]",
    "mov r15, [{live} + {regs} + 120]",
    "jmp qword ptr [{live} + {entry}]",
    "boxer_gate_leave:",
    "mov [{live} + {regs}], rax",
    "mov [{live} + {regs} + 8], rcx",
    "mov [{live} + {regs} + 16], rdx",
    "mov [{live} + {regs} + 24], rbx",
    "mov [{live} + {regs} + 32], rsp",
    "mov [{live} + {regs} + 40], rbp",
    "mov [{live} + {regs} + 48], rsi",
    "mov [{live} + {regs} + 56], rdi",
    "mov [{live} + {regs} + 64], r8",
    "mov [{live} + {regs} + 72], r9",
    "mov [{live} + {regs} + 80], r10",
    "mov [{live} + {regs} + 88], r11",
    "mov [{live} + {regs} + 96], r12",
    "mov [{live} + {regs} + 104], r13",
    "mov [{live} + {regs} + 112], r14",
    "mov [{live} + {regs} + 120], r15",
    "mov rsp, [{live} + {host_rsp}]",
    "pushfq",
    "pop qword ptr [{live} + {rflags}]",
    "push 2", // DF, AC and TF off
    "popfq",
    "rdfsbase rax",
    "mov [{live} + {bases}], rax",
    "rdgsbase rax",
    "mov [{live} + {bases} + 8], rax",
    "mov rax, [{live} + {host_bases}]",
    "wrfsbase rax",
    "mov rax, [{live} + {host_bases} + 8]",
    "wrgsbase rax",
    "mov eax, 7",
    "xor edx, edx",
    "xsave64 [{live}]",
    "fninit",
    "vzeroupper",
    "ldmxcsr [{live} + {mxcsr}]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    "boxer_gate_end:",
    ".popsection",
    live = const LIVE,
    regs = const offset_of!(Live, regs),
    rflags = const offset_of!(Live, rflags),
    bases = const offset_of!(Live, bases),
    host_rsp = const offset_of!(Live, host_rsp),
    host_bases = const offset_of!(Live, host_bases),
    entry = const offset_of!(Live, entry),
    mxcsr = const offset_of!(Live, mxcsr),
);

unsafe extern "C" {
    /// First of the entering instructions.
    static boxer_gate_enter: u8;
    /// First of the leaving instructions.
    static boxer_gate_leave: u8;
    /// Behind them.
    static boxer_gate_end: u8;
}

/// Runs batches as the parent asks for them, until it closes the socket.
///
/// # Safety
/// Only in a freshly forked child; `board` is a shared mapping.
pub unsafe fn serve(board: *mut Board, socket: i32) -> ! {
    let mut stack = [0u8; 64 * 1024];
    // SAFETY: a process of our own; each call's result is checked where it matters; pointers live until `_exit`.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let Some(alias) = map_pages() else { libc::_exit(3) };
        let alt =
            libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        libc::sigaltstack(&alt, ptr::null_mut());
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        let all = [
            libc::SIGSEGV,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGTRAP,
            libc::SIGBUS,
            libc::SIGVTALRM,
        ];
        for signal in all {
            libc::sigaction(signal, &action, ptr::null_mut());
        }
        let tick = libc::timeval { tv_sec: 0, tv_usec: TICK * 1000 };
        let timer = libc::itimerval { it_interval: tick, it_value: tick };
        libc::syscall(libc::SYS_setitimer, libc::ITIMER_VIRTUAL, &timer, ptr::null_mut::<u8>());
        let mut byte = 0u8;
        while libc::read(socket, (&raw mut byte).cast(), 1) == 1 {
            let board = &mut *board;
            for i in board.start..board.end.min(BATCH) {
                board.current = i;
                run(board, alias, i);
            }
            if libc::write(socket, (&raw const byte).cast(), 1) != 1 {
                break;
            }
        }
        libc::_exit(0)
    }
}

/// Maps code and data pages, gate and [`Live`]; returns a second, writable view of code page and data pages.
unsafe fn map_pages() -> Option<*mut u8> {
    // SAFETY: fixed addresses are only taken if free.
    unsafe {
        let fd = libc::memfd_create(c"boxer-cpu".as_ptr(), 0);
        let len = PAGE + DATA_LEN;
        if fd < 0 || libc::ftruncate(fd, len as i64) != 0 {
            return None;
        }
        let (read, rw) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
        let map = |at: u64, len: usize, prot: i32, offset: usize| {
            let flags = libc::MAP_SHARED | if at == 0 { 0 } else { libc::MAP_FIXED_NOREPLACE };
            let p = libc::mmap(at as *mut _, len, prot, flags, fd, offset as i64);
            (p != libc::MAP_FAILED && (at == 0 || p as u64 == at)).then_some(p.cast::<u8>())
        };
        map(CODE, PAGE, read | libc::PROT_EXEC, 0)?;
        map(DATA, WRITABLE_LEN, rw, PAGE)?;
        let rest = DATA_LEN - WRITABLE_LEN;
        map(DATA + WRITABLE_LEN as u64, rest, read, PAGE + WRITABLE_LEN)?;
        let alias = map(0, len, rw, 0)?;
        alias.write_bytes(0xcc, PAGE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let gate = libc::mmap(GATE as *mut _, 2 * PAGE, rw, flags, -1, 0);
        if gate as u64 != GATE {
            return None;
        }
        let (enter, leave) = (&raw const boxer_gate_enter, &raw const boxer_gate_leave);
        ptr::copy_nonoverlapping(enter, gate.cast(), leave.offset_from_unsigned(enter));
        let len = (&raw const boxer_gate_end).offset_from_unsigned(leave);
        ptr::copy_nonoverlapping(leave, LEAVE as *mut u8, len);
        let live = &mut *(LIVE as *mut Live);
        live.entry = ENTRY;
        live.mxcsr = 0x1f80;
        if libc::mprotect(gate, PAGE, read | libc::PROT_EXEC) != 0 {
            return None;
        }
        Some(alias)
    }
}

unsafe fn run(board: &mut Board, alias: *mut u8, i: usize) {
    // SAFETY: `map_pages` mapped all of it; slots and arena are within the board.
    unsafe {
        let live = &mut *(LIVE as *mut Live);
        let slot = &mut board.slots[i];
        if !slot.same_code {
            let entry = alias.add((ENTRY - CODE) as usize);
            entry.write_bytes(0xcc, CODE_LEN);
            ptr::copy_nonoverlapping(slot.code.as_ptr(), entry, slot.code_len);
        }
        let data = alias.add(PAGE);
        for line in &board.arena[slot.lines.0..slot.lines.1] {
            let at = data.add(line.number as usize * LINE);
            ptr::copy_nonoverlapping(line.bytes.as_ptr(), at, LINE);
        }
        live.regs = slot.regs;
        live.rflags = slot.rflags & FLAGS | 2;
        live.bases = slot.bases;
        live.xsave[..FX_LEN].copy_from_slice(&slot.fx);
        // Reserved bits of MXCSR would fault.
        live.xsave[26..28].fill(0);
        live.xsave[512..576].fill(0);
        live.xsave[512] = 7;
        live.xsave[HIGH..HIGH + 256].copy_from_slice(bytes_of(&slot.high));
        live.signal = 0;
        live.ran += 1;
        let enter: extern "C" fn() = std::mem::transmute(GATE as *const ());
        enter();
        slot.regs = live.regs;
        slot.rflags = live.rflags & FLAGS;
        slot.bases = live.bases;
        slot.fx.copy_from_slice(&live.xsave[..FX_LEN]);
        let high = &live.xsave[HIGH..HIGH + 256];
        ptr::copy_nonoverlapping(high.as_ptr(), slot.high.as_mut_ptr().cast(), 256);
        let present = live.xsave[512];
        if present & 1 == 0 {
            slot.fx[..24].fill(0);
            slot.fx[32..160].fill(0);
            slot.fx[0] = 0x7f;
            slot.fx[1] = 3;
        }
        // Opcode, instruction and data pointer are not state here.
        slot.fx[5..24].fill(0);
        slot.fx[28..32].fill(0);
        if present & 2 == 0 {
            slot.fx[160..].fill(0);
        }
        if present & 4 == 0 {
            slot.high = [0; 16];
        }
        (slot.signal, slot.trap, slot.error) = (live.signal, live.trap, live.error);
        (slot.address, slot.rip) = (live.address, live.rip);
        let from = board.results_used;
        let mut to = from;
        let results = &mut board.results;
        drain(std::slice::from_raw_parts_mut(data, WRITABLE_LEN), |line| {
            if let Some(place) = results.get_mut(to) {
                *place = line;
                to += 1;
            }
        });
        data.add(WRITABLE_LEN).write_bytes(0, DATA_LEN - WRITABLE_LEN);
        board.results_used = to;
        let slot = &mut board.slots[i];
        slot.after = (from, to);
        slot.finished = true;
    }
}

fn bytes_of(high: &[u128; 16]) -> &[u8; 256] {
    // SAFETY: same size, and any byte is a valid u8.
    unsafe { &*ptr::from_ref(high).cast() }
}

/// Notes the cause and goes on at the leaving instructions. FS may hold anything: no thread-local storage in here.
extern "C" fn on_signal(signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
    // SAFETY: the kernel passes a valid frame; `Live` is mapped; signals of the child come one at a time.
    unsafe {
        let live = &mut *(LIVE as *mut Live);
        let regs = &mut (*context).uc_mcontext.gregs;
        let rip = regs[libc::REG_RIP as usize] as u64;
        let inside = rip.wrapping_sub(CODE) < PAGE as u64;
        if signal == libc::SIGVTALRM {
            // The same case as at the last tick hangs.
            let hangs = inside && live.ran == live.ran_at_tick;
            live.ran_at_tick = live.ran;
            if !hangs {
                return;
            }
        } else if rip.wrapping_sub(GATE) < 2 * PAGE as u64 {
            // A state that cannot be loaded.
            libc::_exit(4);
        }
        live.signal = signal;
        live.trap = regs[libc::REG_TRAPNO as usize];
        live.error = regs[libc::REG_ERR as usize];
        live.address = regs[libc::REG_CR2 as usize] as u64;
        live.rip = rip;
        regs[libc::REG_RIP as usize] = LEAVE as i64;
        // No single steps on the way out.
        regs[libc::REG_EFL as usize] &= !0x100;
    }
}
