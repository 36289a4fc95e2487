//! Out of memory: who is killed (`mm/oom_kill.c`), and what proc(5) says of it.

use abi::Errno;
use abi::signal::SIGKILL;
use mem::Purpose;

use super::creds::CAP_SYS_RESOURCE;
use super::{Process, ProcessId, ThreadId};
use crate::Kernel;

/// A process with this adjustment is never chosen (`OOM_SCORE_ADJ_MIN`).
pub const ADJ_MIN: i32 = -1000;
/// The largest adjustment.
pub const ADJ_MAX: i32 = 1000;

/// `oom_adj` (−17 to 15) of an `oom_score_adj`.
pub fn old_adj(adj: i32) -> i32 {
    if adj == ADJ_MAX { 15 } else { adj * 17 / 1000 }
}

/// The `oom_score_adj` of an `oom_adj`; none if it is out of range.
pub fn from_old_adj(adj: i32) -> Option<i32> {
    match adj {
        15 => Some(ADJ_MAX),
        -17..15 => Some(adj * 1000 / 17),
        _ => None,
    }
}

impl Kernel {
    /// Writes `/proc/pid/oom_score_adj`: it takes CAP_SYS_RESOURCE to go below what a process with it has set (0).
    pub(crate) fn set_oom_score_adj(&mut self, pid: ProcessId, adj: i32) -> Result<(), Errno> {
        if !(ADJ_MIN..=ADJ_MAX).contains(&adj) {
            return Err(Errno::EINVAL);
        }
        let writer = self.tasks.thread(self.current);
        let capable = writer.is_some_and(|t| t.creds.capable(CAP_SYS_RESOURCE));
        let process = self.tasks.process_mut(pid).ok_or(Errno::ESRCH)?;
        if adj < process.oom_score_adj_min && !capable {
            return Err(Errno::EACCES);
        }
        process.oom_score_adj = adj;
        if capable {
            process.oom_score_adj_min = adj;
        }
        Ok(())
    }

    /// How much the end of `pid` would give back, in bytes, moved by its `oom_score_adj`; none if it is not to be killed.
    fn badness(&self, process: &Process) -> Option<i64> {
        if process.oom_score_adj == ADJ_MIN || process.zombie.is_some() || process.exiting.is_some()
        {
            return None;
        }
        let thread = self.tasks.thread(process.leader())?;
        let memory = self.mm.space(thread.space).map_or(0, |s| s.resident() + s.records());
        let total = self.mm.phys.account().limit(Purpose::Programs);
        let adjustment = i64::from(process.oom_score_adj) * (total / 1000) as i64;
        Some((memory + thread.files.borrow().bytes()) as i64 + adjustment)
    }

    /// `/proc/pid/oom_score`: 0 to 1333, 666 for a small process.
    pub(crate) fn oom_score(&self, process: &Process) -> i64 {
        let total = self.mm.phys.account().limit(Purpose::Programs).max(1) as i64;
        let Some(points) = self.badness(process) else { return 0 };
        ((1000 + points * 1000 / total) * 2 / 3).max(0)
    }

    /// Memory is used up: kills the process that has most of it, at once. `tid` goes if nobody else can.
    pub(crate) fn out_of_memory(&mut self, tid: ThreadId) {
        let worst = self
            .tasks
            .processes()
            .filter_map(|p| Some((self.badness(p)?, p.pid)))
            // Of equals the youngest.
            .max();
        let own = self.tasks.thread(tid).map(|t| t.pid);
        if let Some(pid) = worst.map(|(_, pid)| pid).or(own) {
            self.kill_for_memory(pid);
        }
    }

    fn kill_for_memory(&mut self, pid: ProcessId) {
        let Some(process) = self.tasks.process(pid) else { return };
        let name = self.tasks.thread(process.leader()).map(|t| t.comm.clone()).unwrap_or_default();
        let name = String::from_utf8_lossy(&name).into_owned();
        self.host.log(&format!("boxer: out of memory: killed process {pid} ({name})"));
        self.cgroup.oom_kills += 1;
        self.exit_group(pid, SIGKILL as i32);
        let threads: Vec<ThreadId> = self
            .tasks
            .process(pid)
            .map(|p| p.threads.iter().copied().collect())
            .unwrap_or_default();
        for thread in threads {
            self.end_thread(thread);
        }
        self.mm.reap();
    }
}
