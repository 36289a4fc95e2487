//! Processes and threads as plain data.

pub mod access;
pub mod cgroup;
pub mod clone;
pub mod creds;
pub mod dispatch;
pub mod end;
pub mod files;
pub mod limits;
pub mod oom;
pub mod process;
pub mod ptrace;
pub mod seccomp;
pub mod thread;
pub mod user_regs;

use std::collections::BTreeMap;
use std::ops::{Bound, Index, IndexMut};

pub use crate::id::{ProcessId, ThreadId};
pub use creds::Creds;
pub use process::Process;
pub use thread::{Restart, Run, Thread};

/// The first process: its end is the end of the box.
pub const INIT: ProcessId = ProcessId(1);

/// Largest id plus one (`kernel.pid_max`).
const PID_MAX: u32 = 1 << 22;
/// Most tasks at once (`kernel.threads-max`).
pub const TASKS_MAX: usize = 8192;

/// All tasks.
#[derive(Default)]
pub struct Tasks {
    threads: BTreeMap<ThreadId, Thread>,
    processes: BTreeMap<ProcessId, Process>,
    last_id: u32,
    /// [`Thread::vruntime`] of whoever was picked last, or of an earlier one that had more.
    pub(crate) vruntime: u64,
    /// Ended threads that a tracer may still wait for.
    pub(crate) ghosts: Vec<ptrace::Ghost>,
}

impl Tasks {
    /// A free id for a thread or process; `None` when there are too many.
    pub fn new_id(&mut self) -> Option<u32> {
        if self.threads.len() >= TASKS_MAX {
            return None;
        }
        for _ in 0..PID_MAX {
            self.last_id = if self.last_id + 1 >= PID_MAX { 300 } else { self.last_id + 1 };
            let id = self.last_id;
            let used = self.threads.contains_key(&ThreadId(id))
                || self.processes.contains_key(&ProcessId(id))
                || self.processes.values().any(|p| p.pgid.0 == id || p.sid.0 == id);
            if !used {
                return Some(id);
            }
        }
        None
    }

    /// The id given last (`/proc/loadavg`, `/proc/sys/kernel/ns_last_pid`).
    pub fn last_id(&self) -> u32 {
        self.last_id
    }

    /// A thread that may not exist.
    pub fn thread(&self, tid: ThreadId) -> Option<&Thread> {
        self.threads.get(&tid)
    }
    /// A thread that may not exist, to change.
    pub fn thread_mut(&mut self, tid: ThreadId) -> Option<&mut Thread> {
        self.threads.get_mut(&tid)
    }
    /// A process that may not exist.
    pub fn process(&self, pid: ProcessId) -> Option<&Process> {
        self.processes.get(&pid)
    }
    /// A process that may not exist, to change.
    pub fn process_mut(&mut self, pid: ProcessId) -> Option<&mut Process> {
        self.processes.get_mut(&pid)
    }
    /// All threads in order of id.
    pub fn threads(&self) -> impl Iterator<Item = &Thread> {
        self.threads.values()
    }
    /// All threads, to change.
    pub fn threads_mut(&mut self) -> impl Iterator<Item = &mut Thread> {
        self.threads.values_mut()
    }
    /// All processes (zombies too) in order of id.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }
    /// All processes, to change.
    pub fn processes_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.processes.values_mut()
    }
    /// Of the threads for which `want` holds, the one that has had least of the CPU; among equals the next after `tid` in order of
    /// id, and `tid` itself last.
    pub fn next_thread(&self, tid: ThreadId, want: impl Fn(&Thread) -> bool) -> Option<ThreadId> {
        let after = self.threads.range((Bound::Excluded(tid), Bound::Unbounded));
        let wanted = after.chain(self.threads.range(..=tid)).filter(|(_, thread)| want(thread));
        wanted.min_by_key(|(_, thread)| thread.vruntime).map(|(id, _)| *id)
    }
    /// Enters a thread.
    pub fn add_thread(&mut self, thread: Thread) {
        self.threads.insert(thread.tid, thread);
    }
    /// Enters a process.
    pub fn add_process(&mut self, process: Process) {
        self.last_id = self.last_id.max(process.pid.0);
        self.processes.insert(process.pid, process);
    }
    /// Takes a thread out.
    pub fn remove_thread(&mut self, tid: ThreadId) -> Option<Thread> {
        self.threads.remove(&tid)
    }
    /// Takes a process out.
    pub fn remove_process(&mut self, pid: ProcessId) -> Option<Process> {
        self.processes.remove(&pid)
    }
    /// Ids of the processes in group `pgid`.
    pub fn group(&self, pgid: ProcessId) -> Vec<ProcessId> {
        self.processes.values().filter(|p| p.pgid == pgid).map(|p| p.pid).collect()
    }
}

/// For ids that come from the kernel itself (the running thread, its process), which exist by construction.
impl Index<ThreadId> for Tasks {
    type Output = Thread;
    fn index(&self, tid: ThreadId) -> &Thread {
        match self.threads.get(&tid) {
            Some(thread) => thread,
            None => unreachable!("no thread {tid}"),
        }
    }
}

impl IndexMut<ThreadId> for Tasks {
    fn index_mut(&mut self, tid: ThreadId) -> &mut Thread {
        match self.threads.get_mut(&tid) {
            Some(thread) => thread,
            None => unreachable!("no thread {tid}"),
        }
    }
}

impl Index<ProcessId> for Tasks {
    type Output = Process;
    fn index(&self, pid: ProcessId) -> &Process {
        match self.processes.get(&pid) {
            Some(process) => process,
            None => unreachable!("no process {pid}"),
        }
    }
}

impl IndexMut<ProcessId> for Tasks {
    fn index_mut(&mut self, pid: ProcessId) -> &mut Process {
        match self.processes.get_mut(&pid) {
            Some(process) => process,
            None => unreachable!("no process {pid}"),
        }
    }
}
