//! Limits of the box as a whole, as a container's control group has them (cgroups(7)): memory, tasks, time.

use mem::Purpose;
use rootfs::limits::Limits;

use crate::Kernel;

/// Exit status when the time limit ends the box: that of timeout(1).
pub const TIMED_OUT: i32 = 124;
/// Exit status when the CPU time limit ends the box: that of a program that SIGXCPU killed.
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
}

impl Kernel {
    /// Sets the limits of the box, before it starts. By default programs may have all memory there is, files three quarters
    /// of it, [`PIDS_DEFAULT`] threads may live, and time does not count.
    pub fn set_limits(&mut self, limits: Limits) {
        let account = self.mm.phys.account();
        account.set_limit(Purpose::Programs, limits.memory);
        account.set_limit(Purpose::Files, limits.storage);
        self.cgroup.limits = limits;
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
        self.cgroup.deadline = self.cgroup.limits.timeout.map(|time| start.saturating_add(time));
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
            let limit = seconds(limits.timeout);
            self.host.log(&format!("boxer: the time limit of {limit} s is over"));
            self.end_box(TIMED_OUT << 8);
        } else if limits.cpu_time.is_some_and(|limit| self.cgroup.cpu_ns >= limit) {
            let limit = seconds(limits.cpu_time);
            self.host.log(&format!("boxer: the limit of {limit} s of CPU time is used up"));
            self.end_box(CPU_EXCEEDED << 8);
        }
    }

    /// Whether the kernel's own records have outgrown their part of memory.
    pub(crate) fn is_overgrown(&self) -> bool {
        self.cgroup.records.is_some_and(|limit| {
            mem::heap_bytes().saturating_sub(self.mm.phys.account().records()) > limit
        })
    }
}

fn seconds(ns: Option<u64>) -> f64 {
    ns.unwrap_or(0) as f64 / 1e9
}
