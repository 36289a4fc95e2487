//! Sending signals (kill(2), signal(7)).

use abi::Errno;
use abi::signal::*;
use abi::time::RLIMIT_SIGPENDING;

use super::{DefaultAction, SigSet, default_action, siginfo};
use crate::task::process::Report;
use crate::task::{INIT, Run};
use crate::{Kernel, ProcessId, ThreadId, WaitKey};

/// Signals that may be queued for one thread or process without asking how many there are elsewhere.
const QUEUE_FREE: usize = 256;
/// Most queued signals of all queues.
const QUEUED_MAX: usize = 1 << 16;

impl Kernel {
    /// Whether `signal` would be thrown away at once for this thread's process: ignored and not blocked. The first
    /// process ignores everything that it has no handler for (pid_namespaces(7)), unless `force`.
    fn is_ignored(&self, tid: ThreadId, signal: u32, force: bool) -> bool {
        let Some(thread) = self.tasks.thread(tid) else { return true };
        // A tracer sees even what will be ignored.
        if thread.blocked.has(signal) || thread.ptrace.is_some() && signal != SIGKILL {
            return false;
        }
        let handlers = thread.handlers.borrow();
        if thread.pid == INIT && !force && handlers.get(signal).handler == SIG_DFL {
            return true;
        }
        if SigSet::UNBLOCKABLE.has(signal) {
            return false;
        }
        handlers.ignores(signal)
    }

    /// Sends to a whole process. `force`: also kills the first process. False if the queue is full.
    pub fn send_to_process(&mut self, pid: ProcessId, info: Siginfo, force: bool) -> bool {
        let signal = info.signo as u32;
        let Some(process) = self.tasks.process(pid) else { return true };
        if signal == 0 || process.zombie.is_some() {
            return true;
        }
        let limit = process.limits.soft(RLIMIT_SIGPENDING).min(65536) as usize;
        let leader = process.leader();
        self.stop_or_continue(pid, signal);
        if self.is_ignored(leader, signal, force) {
            return true;
        }
        let Some(process) = self.tasks.process_mut(pid) else { return true };
        let queued = process.pending.len();
        if signal >= SIGRTMIN && (queued >= limit || !self.queue_has_room(queued)) {
            return false;
        }
        let Some(process) = self.tasks.process_mut(pid) else { return true };
        process.pending.push(info);
        let threads: Vec<ThreadId> = process.threads.iter().copied().collect();
        self.wakes.borrow_mut().push(WaitKey::signal(pid));
        for tid in threads {
            self.nudge(tid, signal);
        }
        true
    }

    /// Sends to one thread. False if the queue is full.
    pub fn send_to_thread(&mut self, tid: ThreadId, info: Siginfo, force: bool) -> bool {
        let signal = info.signo as u32;
        let Some(thread) = self.tasks.thread(tid) else { return true };
        if signal == 0 || thread.run == Run::Dead {
            return true;
        }
        let pid = thread.pid;
        let limit = self
            .tasks
            .process(pid)
            .map_or(0, |p| p.limits.soft(RLIMIT_SIGPENDING).min(65536) as usize);
        self.stop_or_continue(pid, signal);
        if self.is_ignored(tid, signal, force) {
            return true;
        }
        let Some(thread) = self.tasks.thread_mut(tid) else { return true };
        let queued = thread.pending.len();
        if signal >= SIGRTMIN && (queued >= limit || !self.queue_has_room(queued)) {
            return false;
        }
        let Some(thread) = self.tasks.thread_mut(tid) else { return true };
        thread.pending.push(info);
        self.wakes.borrow_mut().push(WaitKey::signal(pid));
        self.nudge(tid, signal);
        true
    }

    /// Whether one more signal may be queued where `queued` are already.
    fn queue_has_room(&self, queued: usize) -> bool {
        queued < QUEUE_FREE || {
            let threads = self.tasks.threads().map(|t| t.pending.len()).sum::<usize>();
            let shared = self.tasks.processes().map(|p| p.pending.len()).sum::<usize>();
            threads + shared < QUEUED_MAX
        }
    }

    /// Makes the scheduler look at the signals of `tid`.
    fn nudge(&mut self, tid: ThreadId, signal: u32) {
        if let Some(thread) = self.tasks.thread_mut(tid)
            && !thread.blocked.has(signal)
        {
            thread.look_at_signals = true;
            // One that has its turn ahead anyway is not woken.
            self.woken |= tid != self.current && matches!(thread.run, Run::Blocked(_));
        }
    }

    /// A signal raised by the thread's own instruction: cannot be blocked or ignored away.
    pub fn force_signal(&mut self, tid: ThreadId, info: Siginfo) {
        let signal = info.signo as u32;
        let Some(thread) = self.tasks.thread_mut(tid) else { return };
        let ignored = thread.handlers.borrow().get(signal).handler == SIG_IGN;
        if thread.blocked.has(signal) || ignored {
            thread.handlers.borrow_mut().set(signal, Sigaction::default());
            thread.blocked = thread.blocked.without(SigSet::of(signal));
        }
        thread.forced = thread.handlers.borrow().get(signal).handler == SIG_DFL;
        thread.pending.push(info);
        thread.look_at_signals = true;
    }

    /// The side effects of job-control signals, which happen when they are sent.
    fn stop_or_continue(&mut self, pid: ProcessId, signal: u32) {
        let (drop, resume) = if signal == SIGCONT {
            (SigSet::STOP, true)
        } else if signal == SIGKILL {
            (SigSet::default(), true)
        } else if matches!(default_action(signal), DefaultAction::Stop) {
            (SigSet::of(SIGCONT), false)
        } else {
            return;
        };
        let Some(process) = self.tasks.process_mut(pid) else { return };
        process.pending.discard(drop);
        let was_stopped = resume && process.stopped.take().is_some();
        let threads: Vec<ThreadId> = process.threads.iter().copied().collect();
        for tid in threads {
            if let Some(thread) = self.tasks.thread_mut(tid) {
                thread.pending.discard(drop);
            }
            if signal == SIGKILL {
                self.release_from_trap(tid);
            }
        }
        if signal == SIGCONT {
            self.tell_listeners(pid);
        }
        if was_stopped && signal == SIGCONT {
            self.report_to_parent(pid, Report::Continued);
        }
    }

    /// Stops every thread of the process.
    pub(crate) fn stop_process(&mut self, pid: ProcessId, signal: u32) {
        if let Some(process) = self.tasks.process_mut(pid)
            && process.stopped.is_none()
        {
            process.stopped = Some(signal);
            let threads: Vec<ThreadId> = process.threads.iter().copied().collect();
            self.report_to_parent(pid, Report::Stopped(signal));
            for tid in threads {
                self.trap_group(tid, signal);
            }
        }
    }

    /// Tells the parent that a child stopped or continued (SIGCHLD, wait4).
    fn report_to_parent(&mut self, pid: ProcessId, report: Report) {
        let Some(process) = self.tasks.process_mut(pid) else { return };
        process.report = Some(report);
        let parent = process.parent;
        let (code, status) = match report {
            Report::Stopped(signal) => (CLD_STOPPED, signal as i32),
            Report::Continued => (CLD_CONTINUED, SIGCONT as i32),
        };
        self.wakes.borrow_mut().push(WaitKey::children(parent));
        let Some(leader) = self.tasks.process(parent).map(|p| p.leader()) else { return };
        let quiet = self
            .tasks
            .thread(leader)
            .is_none_or(|t| t.handlers.borrow().get(SIGCHLD).flags & SA_NOCLDSTOP != 0);
        if !quiet {
            let info = self.child_info(pid, code, status);
            self.send_to_process(parent, info, false);
        }
    }

    /// siginfo of SIGCHLD.
    pub(crate) fn child_info(&self, pid: ProcessId, code: i32, status: i32) -> Siginfo {
        let mut info = siginfo(SIGCHLD, code);
        let (uid, cpu) = self.tasks.process(pid).map_or((0, 0), |p| (p.uid, p.usage.cpu_ns));
        let uid = match self.tasks.process(pid).and_then(|p| self.tasks.thread(p.leader())) {
            Some(thread) => thread.creds.uid.real,
            None => uid,
        };
        info.fields[0] = u64::from(pid.0) | u64::from(uid) << 32;
        info.fields[1] = u64::from(status as u32);
        // si_utime in clock ticks.
        info.fields[2] = cpu / 10_000_000;
        info
    }

    /// Whether `tid` may signal process `to` (kill(2)).
    pub fn may_signal(&self, tid: ThreadId, to: ProcessId, signal: u32) -> Result<(), Errno> {
        let Some(target) = self.tasks.process(to) else { return Err(Errno::ESRCH) };
        let sender = &self.tasks[tid];
        if sender.pid == to || sender.creds.capable(crate::task::creds::CAP_KILL) {
            return Ok(());
        }
        let same_session = self.tasks.process(sender.pid).is_some_and(|p| p.sid == target.sid);
        if signal == SIGCONT && same_session {
            return Ok(());
        }
        let Some(thread) = self.tasks.thread(target.leader()) else { return Ok(()) };
        let (from, to) = (&sender.creds.uid, &thread.creds.uid);
        let match_ = |id: u32| id == to.real || id == to.saved;
        if match_(from.real) || match_(from.effective) { Ok(()) } else { Err(Errno::EPERM) }
    }
}
