//! System calls: the dispatcher. What there is stands in [`table`]; the functions lie beside each other by subject.

pub mod table;

pub mod aio;
pub mod file;
pub mod futex;
pub mod ids;
pub mod ioprio;
pub mod ipc;
pub mod memory;
pub mod mempolicy;
pub mod pidfd;
pub mod pkey;
pub mod prctl;
pub mod proc;
pub mod process_vm;
pub mod ptrace;
pub mod rseq;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod system;
pub mod time;
pub mod timer;
pub mod wait;
pub mod waitv;

use abi::Errno;

use crate::task::Run;
use crate::task::seccomp::{Seccomp, Verdict};
use crate::{Kernel, Stop, SysResult, ThreadId};

/// A system call's function: the kernel, the calling thread, the six argument registers.
pub type Handler = fn(&mut Kernel, ThreadId, Args) -> SysResult;

/// The argument registers rdi, rsi, rdx, r10, r8, r9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Args(pub [u64; 6]);

impl Args {
    /// Argument `i` as it is: pointers, sizes, unsigned longs.
    pub fn u64(&self, i: usize) -> u64 {
        self.0[i]
    }
    /// Argument `i` as a long.
    pub fn i64(&self, i: usize) -> i64 {
        self.0[i] as i64
    }
    /// Argument `i` as an int: descriptors, ids, flags.
    pub fn i32(&self, i: usize) -> i32 {
        self.0[i] as i32
    }
    /// Argument `i` as an unsigned int.
    pub fn u32(&self, i: usize) -> u32 {
        self.0[i] as u32
    }
    /// Argument `i` as a size.
    pub fn usize(&self, i: usize) -> usize {
        usize::try_from(self.0[i]).unwrap_or(usize::MAX)
    }
}

impl Kernel {
    /// Runs (or runs again) the system call that the thread is in and stores what came of it.
    pub(crate) fn run_syscall(&mut self, tid: ThreadId) {
        let thread = &mut self.tasks[tid];
        thread.run = Run::Ready;
        let Some(nr) = thread.syscall else { return };
        let g = &thread.ctx.gpr;
        let args = Args([g[abi::RDI], g[abi::RSI], g[abi::RDX], g[abi::R10], g[abi::R8], g[9]]);
        let again = thread.restart.again;
        if self.strace && !again {
            self.trace_begin(tid, nr, args);
        }
        let result = match self.table.row(nr) {
            Some(row) => (row.handler)(self, tid, args),
            None => self.unsupported(nr),
        };
        self.finish_syscall(tid, nr, result);
    }

    /// Makes the call that the thread has come for, unless a tracer or a filter has something against it.
    pub(crate) fn enter_syscall(&mut self, tid: ThreadId) {
        let thread = &mut self.tasks[tid];
        thread.run = Run::Ready;
        let nr = thread.orig_rax;
        let asked = std::mem::take(&mut thread.asked);
        thread.syscall = Some(nr);
        let skipped = thread.ptrace.is_some() && ((nr as i64) < 0 || self.is_emulated(tid));
        let verdict = if skipped {
            Verdict::Skip
        } else if matches!(self.tasks[tid].seccomp, Seccomp::Off) {
            Verdict::Run
        } else {
            self.seccomp(tid, nr, asked)
        };
        match verdict {
            Verdict::Run => self.run_syscall(tid),
            Verdict::Skip => {
                let thread = &mut self.tasks[tid];
                thread.syscall = None;
                thread.leaving = thread.ptrace.is_some();
            }
            Verdict::Ask(message) => self.stop_for_seccomp(tid, message),
            Verdict::Gone => {}
        }
    }

    fn finish_syscall(&mut self, tid: ThreadId, nr: u64, result: SysResult) {
        let value = match result {
            Ok(value) => value,
            Err(Stop::Errno(errno)) => errno.to_rax(),
            Err(Stop::Block(wait)) => {
                if let Some(thread) = self.tasks.thread_mut(tid) {
                    thread.run = Run::Blocked(wait);
                    let pid = thread.pid;
                    if let Some(process) = self.tasks.process_mut(pid) {
                        process.usage.switches += 1;
                    }
                }
                return;
            }
            Err(Stop::NoReturn) => {
                // After execve(2) the thread has its process's id.
                let tid = if self.tasks.thread(tid).is_some() { tid } else { self.current };
                if let Some(thread) = self.tasks.thread_mut(tid) {
                    thread.syscall = None;
                    thread.leaving = thread.ptrace.is_some();
                }
                self.trace_no_return(tid, nr);
                return;
            }
        };
        let Some(thread) = self.tasks.thread_mut(tid) else { return };
        thread.syscall = None;
        thread.leaving = thread.ptrace.is_some();
        thread.ctx.gpr[abi::RAX] = value;
        if let Some(mask) = thread.saved_mask.take() {
            self.set_mask(tid, mask);
        }
        self.trace_end(tid, value, false);
    }

    /// A call that is not in the table, or is there to say that it is not supported.
    pub(crate) fn unsupported(&mut self, nr: u64) -> SysResult {
        // Numbers beyond the table count together, so that a guest cannot make the list grow.
        let key = nr.min(table::NUMBERS as u64);
        *self.unlisted.entry(key).or_insert(0) += 1;
        Err(Errno::ENOSYS.into())
    }
}

/// Handler of the rows that only name a call.
pub fn not_supported(k: &mut Kernel, tid: ThreadId, _: Args) -> SysResult {
    let nr = k.tasks[tid].syscall.unwrap_or(u64::MAX);
    k.unsupported(nr)
}
