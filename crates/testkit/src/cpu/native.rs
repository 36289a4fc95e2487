//! Runs cases on the processor, in a child process.
//!
//! Parent and child share a board of cases and results; a socket says whose turn it is. What the child does with a case
//! is in [`super::processor`]. A child that a case kills is replaced; that case is lost.
#![allow(unsafe_code)]

use super::encode::behind;
use super::memory::{Line, Memory};
use super::processor::{self, BATCH, Board};
use super::{Case, ENTRY, End, Outcome, State, WRITABLE_LEN};
use ir::TrapKind;
use std::ptr;

/// The processor as a test oracle.
pub struct Native {
    board: *mut Board,
    child: Option<Child>,
}

// SAFETY: the board is only used through `&mut self`.
unsafe impl Send for Native {}

struct Child {
    pid: i32,
    socket: i32,
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: plain calls on a process and a descriptor of our own.
        unsafe {
            libc::close(self.socket);
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, ptr::null_mut(), 0);
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.child = None;
        // SAFETY: mapped in `new`; the child is gone.
        unsafe { libc::munmap(self.board.cast(), size_of::<Board>()) };
    }
}

fn check(ok: bool, what: &str) {
    assert!(ok, "{what}: {}", std::io::Error::last_os_error());
}

impl Native {
    /// Why the cases cannot be compared on this machine, if so: results that the manuals leave open (flags, last bits of
    /// transcendental functions, x87 pointers) are expected as AMD's processors give them, and every feature of the
    /// processor model has to be there.
    pub fn unsuitable() -> Option<&'static str> {
        use std::arch::is_x86_feature_detected as has;
        if std::arch::x86_64::__cpuid(0).ecx != u32::from_le_bytes(*b"cAMD") {
            return Some("undefined results are compared as AMD's processors give them");
        }
        let v3 = has!("avx2") && has!("fma") && has!("f16c") && has!("bmi2") && has!("lzcnt");
        let rest = has!("movbe") && has!("adx") && has!("sha") && has!("pclmulqdq") && has!("aes");
        let fsgsbase = std::arch::x86_64::__cpuid_count(7, 0).ebx & 1 != 0;
        (!(v3 && rest && fsgsbase)).then_some("this processor lacks an instruction set")
    }

    /// Maps the board. Panics if memory is short.
    pub fn new() -> Native {
        // SAFETY: a plain anonymous mapping; all zero is a valid board.
        let board = unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), size_of::<Board>(), prot, flags, -1, 0)
        };
        check(board != libc::MAP_FAILED, "mmap");
        Native { board: board.cast(), child: None }
    }

    /// Runs all cases.
    pub fn run(&mut self, cases: &[Case]) -> Vec<Outcome> {
        cases.chunks(BATCH).flat_map(|batch| self.run_batch(batch)).collect()
    }

    fn run_batch(&mut self, batch: &[Case]) -> Vec<Outcome> {
        // SAFETY: the board is ours, and the child waits for its turn.
        let board = unsafe { &mut *self.board };
        board.used = 0;
        board.results_used = 0;
        let mut last: Option<(&Case, [u8; 8])> = None;
        for (case, slot) in batch.iter().zip(&mut board.slots) {
            let before = last.filter(|l| l.0.code == case.code);
            slot.same_code = before.is_some();
            let end = before.map_or_else(|| behind(&case.code), |l| l.1);
            last = Some((case, end));
            slot.code_len = case.code.len() + end.len();
            slot.code[..case.code.len()].copy_from_slice(&case.code);
            slot.code[case.code.len()..slot.code_len].copy_from_slice(&end);
            slot.load(&case.state);
            let lines = case.state.memory.lines();
            slot.lines = (board.used, board.used + lines.len());
            board.arena[slot.lines.0..slot.lines.1].copy_from_slice(lines);
            board.used = slot.lines.1;
        }
        board.start = 0;
        board.end = batch.len();
        while board.start < batch.len() {
            // The child that finds the page with another code writes it anew.
            board.slots[board.start].same_code = false;
            let child = self.child.get_or_insert_with(|| start(self.board));
            if !child.turn() {
                self.child = None;
                board.start = board.current + 1; // the one that killed the child is lost
                continue;
            }
            break;
        }
        let board = &*board;
        batch.iter().zip(&board.slots).map(|(case, slot)| outcome(board, case, slot)).collect()
    }
}

/// Keeps what lies within 4 GiB from `start` (a page) on out of processes forked from now on: random addresses would hit
/// it there.
pub fn keep_from_children(start: *const u8) {
    // SAFETY: changes nothing in this process.
    unsafe { libc::madvise(start.cast_mut().cast(), 0xffff_0000, libc::MADV_DONTFORK) };
}

impl Default for Native {
    fn default() -> Native {
        Native::new()
    }
}

impl Child {
    /// Lets the child run what is on the board; false if it died.
    fn turn(&self) -> bool {
        let mut byte = [0u8];
        // SAFETY: one byte from and to a buffer of one byte.
        unsafe {
            libc::send(self.socket, byte.as_ptr().cast(), 1, libc::MSG_NOSIGNAL) == 1
                && libc::recv(self.socket, byte.as_mut_ptr().cast(), 1, 0) == 1
        }
    }
}

fn start(board: *mut Board) -> Child {
    let mut pair = [0; 2];
    // SAFETY: the child allocates nothing and ends in `_exit`.
    unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
        check(libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) == 0, "socketpair");
        let pid = libc::fork();
        check(pid >= 0, "fork");
        if pid == 0 {
            libc::close(pair[0]);
            processor::serve(board, pair[1])
        }
        libc::close(pair[1]);
        Child { pid, socket: pair[0] }
    }
}

fn outcome(board: &Board, case: &Case, s: &processor::Slot) -> Outcome {
    if !s.finished {
        return Outcome { end: End::Lost, rip: 0, state: case.state.clone() };
    }
    let mut state = State { memory: Memory::default(), ..s.state() };
    // The child's lines are those of the writable pages; the others cannot change.
    let first = (WRITABLE_LEN / super::memory::LINE) as u32;
    let constant = case.state.memory.lines().iter().filter(|l| l.number >= first);
    let lines: Vec<Line> = s.changed(board).iter().chain(constant).copied().collect();
    state.memory = Memory::from_lines(lines);
    let (end, rip) = match (s.signal, s.trap) {
        (0, _) => (End::Done, ENTRY + case.code.len() as u64),
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
