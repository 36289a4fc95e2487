//! Limits of the box as a whole, as a container's control group has them (cgroups(7)): memory, tasks, time.

use mem::Purpose;
use rootfs::limits::{self, Limits};

use crate::{Kernel, ThreadId};

/// Exit status when the time limit ends the box: that of timeout(1).
pub const TIMED_OUT: i32 = 124;
/// Exit status when the limit of CPU time or of instructions ends the box: that of a program that SIGXCPU killed.
pub const CPU_EXCEEDED: i32 = 128 + abi::signal::SIGXCPU as i32;
/// Threads that may live at once unless said otherwise: enough for servers, and a fork bomb ends early.
pub const PIDS_DEFAULT: u32 = 2048;

/// The limits of a box that runs, and what counts against them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cgroup {
    limits: Limits,
    /// Bytes of the kernel's own memory that are not counted as somebody's.
    records: Option<u64>,
    /// Monotonic ns at which the time is over.
    deadline: Option<u64>,
    /// CPU time used by all threads that ever were, ns.
    pub cpu_ns: u64,
    /// Instructions that all threads that ever were have executed.
    pub instructions: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// Threads that were refused.
    pub refused: u64,
}

/// What a box uses, and has used since its life began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Instructions that programs have executed.
    pub instructions: u64,
    /// Their CPU time, ns.
    pub cpu_ns: u64,
    /// Bytes of memory of programs, and what is kept for them.
    pub memory: u64,
    /// Bytes of files in memory.
    pub storage: u64,
    /// Threads that live.
    pub threads: u64,
    /// Open files.
    pub open_files: u64,
    /// How often a limit was met since then.
    pub met: Met,
}

/// How often programs have met the limits of the box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Processes that were killed for want of memory.
    pub memory: u64,
    /// Times that there was no room for a file.
    pub storage: u64,
    /// Times that no thread was to be had.
    pub threads: u64,
    /// Times that no open file was to be had.
    pub open_files: u64,
}

impl Kernel {
    /// Sets the limits of the box, before it starts. By default programs may have all memory there is, files three quarters
    /// of it, [`PIDS_DEFAULT`] threads may live, and time does not count.
    pub fn set_limits(&mut self, limits: Limits) {
        let account = self.mm.phys.account();
        account.set_limit(Purpose::Programs, limits.memory);
        account.set_limit(Purpose::Files, limits.storage);
        self.shared.open_files.limit(limits.open_files);
        self.cgroup.limits = limits;
    }

    /// What the box uses.
    pub fn usage(&self) -> Usage {
        let account = self.mm.phys.account();
        Usage {
            instructions: self.cgroup.instructions,
            cpu_ns: self.cgroup.cpu_ns,
            memory: account.used(Purpose::Programs),
            storage: account.used(Purpose::Files),
            threads: self.tasks.threads().count() as u64,
            open_files: self.shared.open_files.count(),
            met: Met {
                memory: self.cgroup.oom_kills,
                storage: account.refused_files(),
                threads: self.cgroup.refused,
                open_files: self.shared.open_files.refused(),
            },
        }
    }

    /// How many instructions this thread may execute, if there is a bound.
    #[inline]
    pub fn instructions_left(&self, tid: ThreadId) -> Option<u64> {
        let whole = self.cgroup.limits.instructions;
        let whole = whole.map(|limit| limit.saturating_sub(self.cgroup.instructions));
        match self.attached.measures_nothing() {
            true => whole,
            false => whole.into_iter().chain(self.measured_left(tid)).min(),
        }
    }

    /// A thread has executed so many instructions; whether it has come to a bound, which is seen to.
    #[inline]
    pub fn count_instructions(&mut self, tid: ThreadId, count: u64) -> bool {
        self.cgroup.instructions += count;
        let limit = self.cgroup.limits.instructions;
        if limit.is_some_and(|limit| self.cgroup.instructions >= limit) && self.exit.is_none() {
            let why = limits::instructions_used_up(limit.unwrap_or_default());
            self.host.log(&format!("boxer: {why}"));
            self.end_box(CPU_EXCEEDED << 8);
            return true;
        }
        !self.attached.measures_nothing() && self.measure(tid, count)
    }

    /// How many bytes the kernel's own records may take that are not counted as memory of programs or files. A host that
    /// counts its heap (`mem::CountingHeap`) and has no more of it says so.
    pub fn set_record_limit(&mut self, bytes: u64) {
        self.cgroup.records = Some(bytes);
    }

    /// The time starts to run.
    pub(crate) fn start_clock(&mut self) {
        let start = self.now();
        self.cgroup.cpu_ns = 0;
        self.cgroup.instructions = 0;
        self.cgroup.deadline = self.cgroup.limits.timeout.map(|time| start.saturating_add(time));
    }

    /// Whether there are as many threads as there may be; one that is refused for that counts.
    pub(crate) fn threads_are_over(&mut self) -> bool {
        let over = self.tasks.threads().count() >= self.pids_max();
        self.cgroup.refused += u64::from(over);
        over
    }

    /// Most threads at once.
    pub fn pids_max(&self) -> usize {
        self.cgroup.limits.pids.unwrap_or(PIDS_DEFAULT) as usize
    }

    /// The limit of memory for programs, if one was set.
    pub(crate) fn memory_max(&self) -> Option<u64> {
        self.cgroup.limits.memory
    }

    /// When the box must be looked at even if everybody waits, monotonic ns.
    pub(crate) fn time_limit(&self) -> Option<u64> {
        self.cgroup.deadline
    }

    /// Ends the box if its time is over.
    pub(crate) fn check_time(&mut self) {
        if self.exit.is_some() {
            return;
        }
        let limits = self.cgroup.limits;
        if self.cgroup.deadline.is_some_and(|deadline| self.now() >= deadline) {
            let limit = limits.timeout.unwrap_or(0) as f64 / 1e9;
            self.host.log(&format!("boxer: the time limit of {limit} s is over"));
            self.end_box(TIMED_OUT << 8);
        } else if limits.cpu_time.is_some_and(|limit| self.cgroup.cpu_ns >= limit) {
            let why = limits::cpu_time_used_up(limits.cpu_time.unwrap_or_default());
            self.host.log(&format!("boxer: {why}"));
            self.end_box(CPU_EXCEEDED << 8);
        }
    }

    /// Whether the box has ended, and nothing of it runs any more.
    pub fn has_ended(&self) -> bool {
        self.exit.is_some()
    }

    /// Whether the kernel's own records have outgrown their part of memory.
    pub(crate) fn is_overgrown(&self) -> bool {
        self.cgroup.records.is_some_and(|limit| {
            mem::heap_bytes().saturating_sub(self.mm.phys.account().records()) > limit
        })
    }
}
