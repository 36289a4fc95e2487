//! One thread: registers, state, signal mask, and what it shares with others.

use std::cell::RefCell;
use std::rc::Rc;

use abi::Context;
use abi::signal::{SigAltStack, Siginfo};

use super::dispatch::Dispatch;
use super::ptrace::Traced;
use super::seccomp::Seccomp;
use super::{Creds, ProcessId, ThreadId};
use crate::Wait;
use crate::file::FdTable;
use crate::fs::PathCx;
use crate::mm::SpaceId;
use crate::signal::{Pending, SigHandlers, SigSet};

/// What a thread is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Run {
    /// Running guest code, or about to.
    #[default]
    Ready,
    /// A system call waits.
    Blocked(Wait),
    /// A waiting system call is to be run again.
    Retry,
    /// A system call that a tracer saw first is to be made.
    Enter,
    /// The first thread of a process, which has ended: others live on, or the process is a zombie.
    Dead,
}

/// Scratch of the system call under way. It is cleared when a call is entered and kept while the call waits and is
/// run again, so that deadlines stay where they were and progress is not lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restart {
    /// True from the second run on.
    pub again: bool,
    /// Absolute deadline (monotonic ns), set at the first run.
    pub deadline: Option<u64>,
    /// The clock of that deadline, if it is absolute, or counts the time between two lives of the box.
    pub clock: Option<i32>,
    /// Bytes already moved: a signal makes the call return this instead of `EINTR`.
    pub done: u64,
    /// A value of the call's own.
    pub value: u64,
    /// Woken alone, by an exclusive key ([`Wait::exclusive`]).
    pub chosen: bool,
    /// The signals that sigtimedwait(2) waits for.
    pub awaited: SigSet,
    /// The record lock that fcntl(2) waits for, and the file it is of.
    pub lock: Option<(crate::fs::lock::FileKey, crate::fs::lock::Range)>,
    /// The futex queue that the thread is in.
    pub futex: Option<crate::syscall::futex::Place>,
    /// The futex queues that futex_waitv stands in.
    pub waitv: Vec<crate::syscall::futex::Place>,
    /// The queue of semaphores that the thread is in.
    pub sem: Option<crate::ipc::sem::Place>,
    /// Where nanosleep stores the time left when a signal interrupts it.
    pub remain: Option<u64>,
}

/// A thread.
pub struct Thread {
    /// Its id.
    pub tid: ThreadId,
    /// Its process.
    pub pid: ProcessId,
    /// Registers while it does not run.
    pub ctx: Context,
    /// Address space (shared by `CLONE_VM`).
    pub space: SpaceId,
    /// Open files (shared by `CLONE_FILES`).
    pub files: Rc<RefCell<FdTable>>,
    /// Root, working directory, umask (shared by `CLONE_FS`).
    pub fs: Rc<RefCell<PathCx>>,
    /// Signal handlers (shared by `CLONE_SIGHAND`).
    pub handlers: Rc<RefCell<SigHandlers>>,
    /// Ids and capabilities.
    pub creds: Creds,
    /// Name, at most 15 bytes (`PR_SET_NAME`, `/proc/pid/comm`).
    pub comm: Vec<u8>,
    /// What it is doing.
    pub run: Run,
    /// Number of the system call under way (also while it waits).
    pub syscall: Option<u64>,
    /// Scratch of that call.
    pub restart: Restart,
    /// Blocked signals.
    pub blocked: SigSet,
    /// Mask to go back to after a call with a mask of its own (sigsuspend, ppoll).
    pub saved_mask: Option<SigSet>,
    /// Signals sent to this thread.
    pub pending: Pending,
    /// Gave up the rest of its time slice (sched_yield).
    pub yielded: bool,
    /// The pending synchronous signal kills even the first process.
    pub forced: bool,
    /// A signal may have become deliverable.
    pub look_at_signals: bool,
    /// Alternate signal stack.
    pub altstack: SigAltStack,
    /// Cleared and woken at the thread's end (`CLONE_CHILD_CLEARTID`).
    pub clear_tid: u64,
    /// Robust futex list and its length (set_robust_list(2)).
    pub robust_list: (u64, u64),
    /// The process that a vfork keeps waiting: woken at exec or end.
    pub vfork_done: bool,
    /// CPU time in ns.
    pub cpu_ns: u64,
    /// CPU time in ns divided by its weight, from a start that lets it take part: who has least runs next.
    pub vruntime: u64,
    /// Of it, time in system calls (an estimate, see [`crate::Kernel::syscall`]).
    pub sys_ns: u64,
    /// Trap number, error code and address of the last fault, for the signal frame.
    pub fault: (u64, u64, u64),
    /// Signal when the parent ends (`PR_SET_PDEATHSIG`).
    pub death_signal: u32,
    /// Timer slack, only remembered (`PR_SET_TIMERSLACK`).
    pub timer_slack: u64,
    /// personality(2).
    pub personality: u32,
    /// The traced call under way (`--strace`).
    pub trace: Option<Box<crate::strace::Begun>>,
    /// Its number.
    pub traced: u64,
    /// nice value.
    pub nice: i32,
    /// Scheduling policy, only remembered, and whether children go back to the ordinary one.
    pub policy: (u32, bool),
    /// Class and level for I/O (ioprio_set(2)), only remembered.
    pub ioprio: u32,
    /// Policy for memory nodes.
    pub mempolicy: crate::syscall::mempolicy::Policy,
    /// Area of restartable sequences.
    pub rseq: Option<crate::syscall::rseq::Area>,
    /// Its tracer, if it has one.
    pub ptrace: Option<Box<Traced>>,
    /// Number of the system call it is in or came from; -1 after any other entry to the kernel.
    pub orig_rax: u64,
    /// It comes from a system call: a tracer may want to see that.
    pub leaving: bool,
    /// The tracer has been asked about the call (`SECCOMP_RET_TRACE`).
    pub asked: bool,
    /// The call was broken off so that a tracer sees the thread; rax says how it goes on.
    pub broken_off: bool,
    /// The broken-off call that restart_syscall(2) goes on with: number, registers, scratch.
    pub restart_block: Option<Box<(u64, [u64; 16], Restart)>>,
    /// The signal that the tracer lets through.
    pub injected: Option<Siginfo>,
    /// Calls that are the program's own affair.
    pub dispatch: Option<Dispatch>,
    /// What PR_MCE_KILL said: kept, and told.
    pub broken_memory: u64,
    /// What PR_SET_IO_FLUSHER said: kept, and told.
    pub flushes: bool,
    /// Wait status of a thread that ended alone.
    pub exit_status: i32,
    /// Filters of system calls.
    pub seccomp: Seccomp,
    /// What its end undoes to semaphores (shared by `CLONE_SYSVSEM`).
    pub undo: Option<crate::ipc::sem::UndoList>,
}

impl Thread {
    /// Whether it stopped for its tracer.
    pub fn is_trapped(&self) -> bool {
        self.ptrace.as_ref().is_some_and(|traced| traced.trap.is_some())
    }

    /// The signals that it takes: those that it does not block, and those that it waits for.
    pub fn open_to(&self) -> SigSet {
        SigSet(!self.blocked.0).with(self.awaited())
    }

    /// The signals that sigtimedwait(2) waits for.
    pub fn awaited(&self) -> SigSet {
        if matches!(self.run, Run::Blocked(_)) { self.restart.awaited } else { SigSet::default() }
    }

    /// Whether it has ended, and stays as long as its process because it was the first.
    pub fn has_ended(&self) -> bool {
        self.run == Run::Dead
    }

    /// What others still see of it when it has ended: its name, ids and values of the scheduler, and neither memory nor files.
    pub fn ended(self) -> Thread {
        let fs = self.fs.borrow().clone();
        let files = self.files.borrow().emptied();
        Thread {
            run: Run::Dead,
            space: SpaceId::NONE,
            files: Rc::new(files.into()),
            fs: Rc::new(fs.into()),
            ctx: Context::default(),
            syscall: None,
            restart: Restart::default(),
            restart_block: None,
            saved_mask: None,
            pending: Pending::default(),
            look_at_signals: false,
            trace: None,
            rseq: None,
            ptrace: None,
            injected: None,
            dispatch: None,
            undo: None,
            robust_list: (0, 0),
            clear_tid: 0,
            ..self
        }
    }

    /// What waits without looking at signals does so no more: the process ends.
    pub fn end_patience(&mut self) {
        if let Run::Blocked(wait) = &mut self.run {
            wait.uninterruptible = false;
        }
    }

    /// Whether the scheduler may pick it (if its process is not stopped).
    pub fn is_runnable(&self) -> bool {
        match &self.run {
            _ if self.is_trapped() => false,
            Run::Ready | Run::Retry | Run::Enter => true,
            Run::Blocked(wait) => self.look_at_signals && !wait.uninterruptible,
            Run::Dead => false,
        }
    }
}

/// `comm` of a program: the last component, cut to 15 bytes.
pub fn comm_of(path: &[u8]) -> Vec<u8> {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
    name[..name.len().min(15)].to_vec()
}
