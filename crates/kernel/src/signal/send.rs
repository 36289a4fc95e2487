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
        self.send_by_thread(pid, ThreadId(pid.0), info, force)
    }

    /// The same, for thread `first` to take if it can.
    pub(crate) fn send_by_thread(
        &mut self,
        pid: ProcessId,
        first: ThreadId,
        info: Siginfo,
        force: bool,
    ) -> bool {
        let signal = info.signo as u32;
        let Some(process) = self.tasks.process(pid) else { return true };
        if signal == 0 || process.zombie.is_some() {
            return true;
        }
        let limit = process.limits.soft(RLIMIT_SIGPENDING).min(65536) as usize;
        let judge = if process.threads.contains(&first) { first } else { process.leader() };
        self.stop_or_continue(pid, signal);
        if self.is_ignored(judge, signal, force) {
            return true;
        }
        let Some(process) = self.tasks.process_mut(pid) else { return true };
        let queued = process.pending.len();
        if signal >= SIGRTMIN && (queued >= limit || !self.queue_has_room(queued)) {
            return false;
        }
        let Some(process) = self.tasks.process_mut(pid) else { return true };
        process.pending.push(info);
        self.wakes.borrow_mut().push(WaitKey::signal(pid));
        if let Some(tid) = self.choose(pid, first, signal) {
            self.wake_for(tid, signal);
        }
        true
    }

    /// The thread that takes a signal for the whole process (`complete_signal`): `first` if it can, else the one that took
    /// the last such signal or the next after that. None: whoever can again looks then.
    fn choose(&mut self, pid: ProcessId, first: ThreadId, signal: u32) -> Option<ThreadId> {
        if self.takes(first, signal) {
            return Some(first);
        }
        let process = self.tasks.process(pid)?;
        let last = process.signal_target;
        let ring = process.threads.range(last..).chain(process.threads.range(..last));
        let found = ring.copied().find(|&tid| self.takes(tid, signal))?;
        self.tasks.process_mut(pid)?.signal_target = found;
        Some(found)
    }

    /// Whether the thread would take `signal` now (`wants_signal`).
    fn takes(&self, tid: ThreadId, signal: u32) -> bool {
        let Some(thread) = self.tasks.thread(tid) else { return false };
        if thread.run == Run::Dead || !thread.open_to().has(signal) {
            return false;
        }
        if signal == SIGKILL {
            return true;
        }
        let stopped = match &thread.ptrace {
            Some(traced) => traced.trap.is_some(),
            None => self.tasks.process(thread.pid).is_some_and(|p| p.stopped.is_some()),
        };
        !stopped && (tid == self.current || !thread.look_at_signals)
    }

    /// Lets the thread take a signal that it is open to. One that ends the process without a core dump does so at once.
    fn wake_for(&mut self, tid: ThreadId, signal: u32) {
        let Some(thread) = self.tasks.thread(tid) else { return };
        let pid = thread.pid;
        let kills = pid != INIT
            && thread.ptrace.is_none()
            && !thread.blocked.has(signal)
            && thread.handlers.borrow().get(signal).handler == SIG_DFL
            && default_action(signal) == DefaultAction::Terminate
            && self.tasks.process(pid).is_some_and(|p| p.exiting.is_none());
        if kills {
            // As in `nudge`: who sends goes on unless the other one waits, so that a shell waits for a job that it kills before that has begun.
            let waits = matches!(thread.run, Run::Blocked(_));
            self.log_death(tid, signal);
            self.exit_group(pid, signal as i32);
            self.woken |= tid != self.current && waits;
        } else {
            self.nudge(tid, SigSet::of(signal));
        }
    }

    /// Thread `tid` takes none of `signals` any more: what waits for it goes to others (`retarget_shared_pending`).
    pub(crate) fn retarget(&mut self, tid: ThreadId, signals: SigSet) {
        let Some(process) = self.tasks.thread(tid).and_then(|t| self.tasks.process(t.pid)) else {
            return;
        };
        let mut left = SigSet(process.pending.set().0 & signals.0);
        if left == SigSet::default() || process.exiting.is_some() {
            return;
        }
        let after = ThreadId(tid.0.saturating_add(1));
        let ring = process.threads.range(after..).chain(process.threads.range(..tid));
        for other in ring.copied().collect::<Vec<_>>() {
            let Some(thread) = self.tasks.thread(other) else { continue };
            let taken = SigSet(left.0 & thread.open_to().0);
            if taken != SigSet::default() {
                left = left.without(taken);
                self.nudge(other, taken);
            }
        }
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
        if self.takes(tid, signal) {
            self.wake_for(tid, signal);
        }
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

    /// Makes the scheduler look at the signals of `tid`, or its sigtimedwait(2) take them.
    fn nudge(&mut self, tid: ThreadId, signals: SigSet) {
        let Some(thread) = self.tasks.thread_mut(tid) else { return };
        let waits = matches!(thread.run, Run::Blocked(_));
        // One that has its turn ahead anyway is not woken.
        self.woken |= tid != self.current && waits;
        if thread.awaited().0 & signals.0 != 0 {
            thread.run = Run::Retry;
        } else {
            thread.look_at_signals = true;
        }
        if signals.has(SIGKILL) {
            thread.end_patience();
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
                // What came while it was stopped.
                thread.look_at_signals |= was_stopped;
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
        let maker = self.maker(pid);
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
            self.send_by_thread(parent, maker, info, false);
        }
    }

    /// siginfo of SIGCHLD.
    pub(crate) fn child_info(&self, pid: ProcessId, code: i32, status: i32) -> Siginfo {
        let mut info = siginfo(SIGCHLD, code);
        let cpu = self.tasks.process(pid).map_or(0, |p| p.usage.cpu_ns);
        let uid = self.tasks.thread(ThreadId(pid.0)).map_or(0, |t| t.creds.uid.real);
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
